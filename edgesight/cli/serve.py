"""Commands of who runs: keys, data centre, edge, queries."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from edgesight.cli import applications, board, doors, ending
from edgesight.cli.options import Json, KeysFolder, PackagePath, warn
from edgesight.cli.show import load

keys = typer.Typer(
    no_args_is_help=True, help="Keys that edges and data centres know each other by, and tokens of their clients."
)


class _ServeByDefault(TyperGroup):
    """What is no command's name is a package to serve: `edgesight datacenter PACKAGE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


datacenter = typer.Typer(
    no_args_is_help=True,
    cls=_ServeByDefault,
    help="The back end, and which edges may ask it. `edgesight datacenter PACKAGE` serves.",
)


@keys.command("make")
def keys_make(
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


@keys.command("token")
def keys_token(
    name: Annotated[str, typer.Argument(help="What the client is to be called.")],
    file: doors.TokensPath,
    manages: Annotated[bool, typer.Option("--manages", help="It may also load and unload models.")] = False,
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


@keys.command("revoke-token")
def keys_revoke_token(
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


@keys.command("tokens")
def keys_tokens(file: doors.TokensPath, json_: Json = False) -> None:
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


@datacenter.command()
def enroll(
    name: Annotated[str, typer.Argument(help="What the edge is to be called.")],
    keys_folder: KeysFolder,
    address: Annotated[str, typer.Option(help="HOST:PORT at which the edge reaches this data centre.")] = (
        "127.0.0.1:4433"
    ),
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of the edge of this name, whose keys are revoked.")
    ] = False,
    json_: Json = False,
) -> None:
    """Print a token with which one edge gets its certificate; it works once, for ten minutes. Keep it to yourself."""
    from edgesight.host.datacenter.authority import Authority
    from edgesight.host.link.addresses import host_and_port

    at = host_and_port(address, "--address")
    with closing(Authority(keys_folder)) as authority:
        token = authority.invite(name, *at, replace=replace).pack()
    if json_:
        ending.print_json({"edge": name, "token": token})
    else:
        print(token)


@datacenter.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Edge that may not talk to this data centre any more.")],
    keys_folder: KeysFolder,
    json_: Json = False,
) -> None:
    """Take back an edge's certificates and tokens; a running data centre cuts it off within seconds."""
    from edgesight.host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        authority.revoke(name)
    if json_:
        ending.print_json({"edge": name, "revoked": True})
    else:
        print(f"edge {name}: revoked")


@datacenter.command()
def edges(
    keys_folder: KeysFolder,
    all_: Annotated[
        bool, typer.Option("--all", help="Every certificate that was given, and what was done for whom.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the edges that were enrolled."""
    import time
    from datetime import datetime

    from edgesight.host.datacenter.authority import Authority

    def day(at: float) -> str:
        return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"

    with closing(Authority(keys_folder)) as authority:
        known = authority.certificates() if all_ else authority.edges()
        events = authority.events() if all_ else []
    if json_:
        listed = [dataclasses.asdict(entry) for entry in known]
        ending.print_json({"edges": listed, "events": [dataclasses.asdict(one) for one in events]} if all_ else listed)
        return
    for entry in known:
        if entry.revoked is not None:
            state = f"revoked on {day(entry.revoked)}"
        else:
            state = f"{'may talk until' if entry.expires > time.time() else 'expired on'} {day(entry.expires)}"
        print(f"{entry.name}: {state}" + (f", given on {day(entry.issued)}, {entry.serial}" if all_ else ""))
    for event in events:
        print(f"{day(event.at)} {event.name}: {event.what}")


@datacenter.command()
def serve(
    package: PackagePath,
    keys_folder: KeysFolder,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="UDP port; 0 chooses one.")] = 4433,
    model: Annotated[Path | None, typer.Option(help="ONNX back end; default the package's datacenter.onnx.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the back end.")] = 1,
    max_edges: Annotated[
        int, typer.Option(min=1, help="Edges that may be connected at a time; each may have two connections.")
    ] = 64,
) -> None:
    """Serve the back end to edges, over QUIC datagrams; stop with Ctrl-C."""
    from edgesight.host.datacenter.serve import serve as serve_edges
    from edgesight.host.process import write_log

    write_log()
    opened = load(package)
    calibration = opened.kernel.calibration
    serve_edges(
        model or opened.path / "datacenter.onnx",
        keys_folder,
        form=opened.kernel.backend_input,
        at=(host.strip("[]"), port),
        expected_sha256=calibration.backend_sha256 if calibration else None,
        threads=threads,
        max_edges=max_edges,
    )


def edge(  # noqa: PLR0913 - a command's options are its surface
    package: Annotated[
        Path | None, typer.Argument(metavar="PACKAGE", help="Kernel package; --enroll and --application do without.")
    ] = None,
    fabric: Annotated[str, typer.Option(help=board.FABRIC_HELP)] = "verilated",
    socket: Annotated[Path, typer.Option(help="Unix socket that queries come to.")] = Path("edgesight.sock"),
    datacenter: Annotated[str | None, typer.Option(help="HOST:PORT of the data centre; none answers alone.")] = None,
    keys_folder: Annotated[
        Path | None, typer.Option("--keys", help="The edge's keys folder, written by --enroll.")
    ] = None,
    enroll: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Get this edge's keys first, with the token in FILE, or - for standard input; "
            "`edgesight datacenter enroll` prints one.",
        ),
    ] = None,
    power: Annotated[
        str | None,
        typer.Option(help="Sensor whose energy answers carry, as `board power --sensor` takes it."),
    ] = None,
    hedge: Annotated[
        str, typer.Option(help="auto: ask the data centre before the fabric has answered, when time is short; or off.")
    ] = "auto",
    hedge_budget: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of the requests to the data centre that hedging may add needlessly."
        ),
    ] = 0.1,
    application: Annotated[list[str] | None, typer.Option(metavar=applications.FORM, help=applications.HELP)] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="What a request over HTTP or gRPC means that says none; default the highest target."
        ),
    ] = None,
    http: doors.Http = None,
    grpc: doors.Grpc = None,
    health: doors.Health = None,
    insecure: doors.Insecure = False,
    tls: doors.TlsFile = None,
    tokens: doors.TokensFile = None,
    clients: doors.ClientsFile = None,
) -> None:
    """Answer queries on the fabric, and offload what it is unsure of; stop with Ctrl-C."""
    from edgesight.host.applications.run import Setup, run_edge
    from edgesight.host.edge import EdgeError
    from edgesight.host.link.addresses import host_and_port
    from edgesight.host.process import write_log

    write_log()
    if hedge not in ("auto", "off"):
        raise EdgeError(f"--hedge {hedge}: expected auto or off")

    if enroll is not None:
        from edgesight.host.link.enrollment import enroll as enroll_edge
        from edgesight.host.link.enrollment import read_token

        if keys_folder is None:
            raise EdgeError("--enroll without --keys: name the folder that this edge's keys are to be written to")
        print(f"edge {enroll_edge(read_token(enroll), keys_folder)}: enrolled, keys in {keys_folder}")
        if package is None and not application:
            return
    at = host_and_port(datacenter, "--datacenter") if datacenter is not None else None
    default = Setup(Path(), fabric, accuracy=accuracy, datacenter=at, keys_folder=keys_folder)
    setups = applications.setups_of(package, application or [], default)
    if not setups:
        raise EdgeError("no kernel package is given: name a folder with kernel.json")
    opened = doors.options_of(http, grpc, health, insecure, tls, tokens, clients)
    budget = hedge_budget if hedge == "auto" else None
    run_edge(setups, socket, power=power, hedge_budget=budget, doors=opened)


def query(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="Pictures (JPEG, PNG, BMP, GIF, PPM, TIFF, WEBP) or .npy arrays of at most 32 MiB, folders of them, "
            "or - for standard input. A name that begins with a dash: ./-name.png, or after --.",
        ),
    ],
    accuracy: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of right answers that will do, 0 to 1.")
    ],
    deadline_ms: Annotated[
        float, typer.Option("--deadline-ms", min=0.001, help="Milliseconds in which an answer must be there.")
    ],
    socket: Annotated[Path, typer.Option(help="The edge's Unix socket.")] = Path("edgesight.sock"),
    json_: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each picture, with `error` where it has no answer.")
    ] = False,
) -> None:
    """Ask a running edge what is on pictures, saying how accurate and how fast.

    The exit status is 1 where a picture could not be answered.
    """
    from edgesight.cli.show import describe_answer
    from edgesight.host.cascade import TargetRefused
    from edgesight.host.edge import EdgeError
    from edgesight.host.fabric.base import FabricError
    from edgesight.host.images import ImageError, listed
    from edgesight.host.queries import query as ask

    console, failed = Console(), False

    def fail(picture: Path, error: Exception) -> None:
        nonlocal failed
        failed = True
        if json_:
            print(json.dumps({"picture": str(picture), "error": str(error)}), flush=True)
        print(f"error: {error}", file=sys.stderr)

    several = len(images) > 1 or images[0].is_dir()
    for given in images:
        try:
            found = listed(given)
        except ImageError as error:
            fail(given, error)
            continue
        for image in found:
            try:
                answer = ask(socket, image, accuracy, deadline_ms)
            except (FabricError, ImageError) as error:
                fail(image, error)
                continue
            except (EdgeError, TargetRefused) as error:
                fail(image, error)
                raise typer.Exit(1) from None  # it would be the same for the others
            warn(list(answer.warnings))
            if json_:
                print(json.dumps({"picture": str(image), **answer.model_dump()}), flush=True)
                continue
            if several:
                console.print(f"{image}:", markup=False, highlight=False)
            describe_answer(answer, console)
    if failed:
        raise typer.Exit(1)


def swap(
    socket: Annotated[Path, typer.Option(help="The edge's Unix socket.")] = Path("edgesight.sock"),
    json_: Json = False,
) -> None:
    """Have a running edge take over the thresholds that its package holds now; it answers queries throughout.

    Where they are damaged, or of other networks, the edge says so and goes on with those that it has.
    """
    from edgesight.host.queries import reload

    made = reload(socket)
    if json_:
        ending.print_json(made.model_dump())
    else:
        targets = ", ".join(f"{target:g}" for target in made.targets)
        print(f"accuracy targets {targets}, calibrated on {made.images} images, for pictures like {made.distribution}")
