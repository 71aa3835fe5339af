"""Commands of who asks: an edge, queries to it, and new thresholds for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgesight.cli import applications, board, doors, ending
from edgesight.cli.options import Json, warn


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
    audits: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which a share of the answers are kept, to watch whether accuracy targets still hold; see "
            "`edgesight audit`."
        ),
    ] = None,
    audit_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the answers that a target covers: so many are audits.")
    ] = 0.005,
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
    from edgesight.host.audits import Auditing
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
    run_edge(
        setups,
        socket,
        power=power,
        hedge_budget=budget,
        audits=Auditing(audits, audit_share) if audits is not None else None,
        doors=opened,
    )


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
