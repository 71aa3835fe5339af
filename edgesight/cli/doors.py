"""Options of whoever opens doors of the Open Inference Protocol, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesight.host.doors.access import Access, Tls
    from edgesight.host.doors.serve import Options

Http = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Speak the Open Inference Protocol over HTTP there, and show a live page at /live; port 0 chooses one.",
    ),
]
Grpc = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Speak the Open Inference Protocol over gRPC there; port 0 chooses one."),
]
Health = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Say there over plain HTTP, to anyone, whether it is live and ready, and tell Prometheus at /metrics.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Let HTTP and gRPC be plain and open to others than this machine."),
]
TlsFile = Annotated[
    Path | None,
    typer.Option(
        "--tls", metavar="FILE", help="PEM file with a private key and the certificates that HTTP and gRPC show."
    ),
]
TokensFile = Annotated[
    Path | None,
    typer.Option("--tokens", metavar="FILE", help="Let in who shows a token of this file, which `keys token` writes."),
]
ClientsFile = Annotated[
    Path | None,
    typer.Option(
        "--clients",
        metavar="FILE",
        help="Let in who shows a client's certificate of the data centre's authority, whose own is in this PEM file.",
    ),
]
TokensPath = Annotated[Path, typer.Option("--tokens", metavar="FILE", help="File of the clients' tokens.")]


@dataclass(frozen=True)
class Addresses:
    """Where the doors are to be, each a host and a port; None: no such door."""

    http: tuple[str, int] | None
    grpc: tuple[str, int] | None
    health: tuple[str, int] | None


def addresses_of(
    http: str | None, grpc: str | None, health: str | None, others: Mapping[str, object]
) -> Addresses | None:
    """Where to open doors, None for none; `others` are options, by name, that are of use with HTTP or gRPC alone.

    Raises AddressError or DoorError.
    """
    from edgesight.host.doors.access import DoorError
    from edgesight.host.link.addresses import host_and_port

    if http is None and grpc is None:
        for option, value in others.items():
            if value is not None:
                raise DoorError(f"{option} without a door: open one by --http or --grpc")
        if health is None:
            return None
    return Addresses(
        http=host_and_port(http, "--http", least=0) if http is not None else None,
        grpc=host_and_port(grpc, "--grpc", least=0) if grpc is not None else None,
        health=host_and_port(health, "--health", least=0) if health is not None else None,
    )


def options_of(
    http: str | None,
    grpc: str | None,
    health: str | None,
    insecure: bool,
    tls: Path | None,
    tokens: Path | None,
    clients: Path | None,
) -> Options | None:
    """Which doors to open, None where there are none to; raises AddressError, DoorError or KeysError."""
    others = {"--tls": tls, "--tokens": tokens, "--clients": clients, "--insecure": insecure or None}
    opened = addresses_of(http, grpc, health, others)
    if opened is None:
        return None
    from edgesight.host.doors.serve import Options  # needs what an edge without doors does not

    access = access_of(tls, tokens, clients)
    return Options(opened.grpc, opened.http, opened.health, access=access, insecure=insecure)


def access_of(tls: Path | None, tokens: Path | None, clients: Path | None) -> Access:
    """Who may come in; raises DoorError or KeysError."""
    from edgesight.host.doors.access import Anyone, ByToken, DoorError

    if clients is not None:
        if tls is None or tokens is not None:
            raise DoorError("--clients asks for certificates instead of tokens: give --tls with it, and not --tokens")
        from edgesight.host.applications.clients import by_authority

        return by_authority(_tls(tls), clients)
    if tokens is None:
        if tls is not None:
            raise DoorError("--tls hides what is said, and lets anyone in: say by --tokens or --clients who may come")
        return Anyone()
    from edgesight.host.doors.tokens import Tokens

    return ByToken(Tokens(tokens).find, _tls(tls) if tls is not None else None)


def _tls(path: Path) -> Tls:
    """The key and the certificates in the file at `path`; raises DoorError or KeysError."""
    from edgesight.host.doors.access import DoorError, Tls
    from edgesight.host.link.keys import read_private

    key, begin, chain = read_private(path, "name a PEM file").partition(b"-----BEGIN CERTIFICATE-----")
    if b"PRIVATE KEY" not in key or not chain:
        raise DoorError(f"{path} must hold a private key and behind it certificates, in PEM: put them into one file")
    made = Tls(key, begin + chain)
    made.context()  # so that what cannot be used is told before anything is opened
    return made
