"""Commands of who makes keys: the data centre's authority, and tokens of clients."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgesight.cli import doors, ending
from edgesight.cli.options import Json

group = typer.Typer(
    no_args_is_help=True, help="Keys that edges and data centres know each other by, and tokens of their clients."
)


@group.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="New folder for the data centre's keys.")],
    json_: Json = False,
) -> None:
    """Make a data centre's keys: its own authority and the certificate that it shows. They stay where they are made."""
    from edgesight.host.datacenter.authority import make_authority

    make_authority(folder)
    if json_:
        ending.print_json({"folder": str(folder)})
    else:
        print(folder)
        print(
            f"next: `edgesight datacenter PACKAGE --keys {folder}` serves; "
            f"`edgesight datacenter enroll NAME --keys {folder}` prints the token by which an edge gets its keys",
            file=sys.stderr,  # not to whoever takes the folder's name from standard output
        )


@group.command("token")
def token(
    name: Annotated[str, typer.Argument(help="What the client is to be called.")],
    file: doors.TokensPath,
    manages: Annotated[
        bool,
        typer.Option(
            "--manages", help="It may also load and unload models, and see others' pictures on the live page."
        ),
    ] = False,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until it ends; default never.")] = None,
    json_: Json = False,
) -> None:
    """Print a new token by which a client of the Open Inference Protocol is let in; FILE keeps its hash alone."""
    from edgesight.host.doors.tokens import make_token

    token = make_token(file, name, manages=manages, life=None if days is None else days * 86_400)
    if json_:
        ending.print_json({"client": name, "token": token})
    else:
        print(token)


@group.command("revoke-token")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Client that is to be let in no more.")],
    file: doors.TokensPath,
    json_: Json = False,
) -> None:
    """Take a client's token back; doors that are open see it with the next request."""
    from edgesight.host.doors.tokens import revoke_token

    revoke_token(file, name)
    if json_:
        ending.print_json({"client": name, "revoked": True})
    else:
        print(f"client {name}: revoked")


@group.command("tokens")
def tokens(file: doors.TokensPath, json_: Json = False) -> None:
    """List the clients that have a token."""
    from datetime import datetime

    from edgesight.host.doors.tokens import read_tokens

    entries = read_tokens(file)
    if json_:
        listed = [dataclasses.asdict(entry) for entry in entries]
        ending.print_json([{key: value for key, value in one.items() if key != "sha256"} for one in listed])
        return
    for entry in entries:
        until = "" if entry.expires is None else f" until {datetime.fromtimestamp(entry.expires):%Y-%m-%d %H:%M}"
        print(f"{entry.name}: may ask{' and manage' if entry.manages else ''}{until}")
