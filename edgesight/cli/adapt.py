"""Commands of adaptation as it runs: the server of many clients' frames, and a client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli import doors, ending
from edgesight.cli.plan.adapt import METHODS_HELP, method_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgesight.host.adapt.client import Answered, CameraClient
    from edgesight.host.adapt.lanes import Executor
    from edgesight.host.adapt.planning import Model

group = typer.Typer(
    no_args_is_help=True, help="Frames of many clients, whose input sizes and models follow their links."
)

SituationFile = Annotated[
    Path,
    typer.Argument(metavar="SITUATION", help="JSON file, as for `edgesight plan adapt`: profile and gpus are read."),
]


@group.command()
def serve(  # noqa: PLR0913 - a command's options are its surface
    situation: SituationFile,
    models: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Model repository, as for `edgesight datacenter serve`, with each model of the profile by its name.",
        ),
    ] = None,
    declared: Annotated[
        bool,
        typer.Option(
            "--declared", help="Run nothing: a batch takes the time that the profile declares, and answers say so."
        ),
    ] = False,
    memory: Annotated[
        int | None, typer.Option(min=1, help="MiB that all models may take in memory; default half of the machine's.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help=METHODS_HELP)] = "pairwise",
    load_limit: Annotated[
        float, typer.Option("--load-limit", min=0.01, max=1.0, help="Share of a GPU's throughput that is planned for.")
    ] = 0.9,
    margin: Annotated[
        float,
        typer.Option(
            min=-0.5,
            max=0.9,
            help="Share of the estimated bandwidth that is not counted on; below 0 more than that is, since clients "
            "size frames down by themselves.",
        ),
    ] = -0.1,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="PLAN", help="Begin with what `edgesight plan adapt --out` has the GPUs run and hold."),
    ] = None,
    http: doors.Http = None,
    grpc: doors.Grpc = "127.0.0.1:8001",
    health: doors.Health = None,
    insecure: doors.Insecure = False,
    tls: doors.TlsFile = None,
    tokens: doors.TokensFile = None,
) -> None:
    """Answer frames of clients whose links move, and tell each which input size and model to use next.

    Clients come as they ask, by `edgesight adapt ask` or any client of the Open Inference Protocol; SITUATION's own are
    not read. Every half second it is planned anew, as `edgesight plan adapt` does, by what clients say of their links.
    A frame whose answer would be late is dropped. Stop with Ctrl-C.
    """
    from edgesight.host.adapt.serve import serve
    from edgesight.host.process import write_log
    from edgesight.plan.adapt.data import AdaptPlan, Situation
    from edgesight.plan.adapt.online import OnlinePlanner
    from edgesight.plan.profile import read

    if declared == (models is not None):
        raise ending.ArgumentError("what runs the models is not said: give one of --models FOLDER and --declared")
    write_log()
    begins = None if plan is None else read(plan, AdaptPlan)
    asked = read(situation, Situation)
    planner = OnlinePlanner(asked, method_of(method), margin=margin, load_limit=load_limit, begins=begins)
    options = doors.options_of(http, grpc, health, insecure, tls, tokens, None)
    assert options is not None  # gRPC has a default
    serve(planner, _executor(models, memory, planner.gpus, planner.models), options)


def _executor(
    folder: Path | None, memory: int | None, gpus: Sequence[str], models: Sequence[Model]
) -> Callable[[], Executor]:
    if folder is None:
        from edgesight.host.adapt.declared import Declared

        return Declared
    from edgesight.host.adapt.models import OfRepository
    from edgesight.host.process import machine_memory

    budget = machine_memory() // 2 if memory is None else memory << 20
    return lambda: OfRepository(folder, gpus, models, budget)


@group.command()
def ask(  # noqa: PLR0913 - a command's options are its surface
    situation: SituationFile,
    pictures: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Pictures that are sent, one after the other and from the first on.")
    ],
    slo_ms: Annotated[float, typer.Option("--slo-ms", min=1.0, max=60_000.0, help="From a frame to its answer.")],
    rate: Annotated[float, typer.Option(min=0.01, max=240.0, help="Frames a second.")],
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's gRPC.")] = "127.0.0.1:8001",
    seconds: Annotated[float, typer.Option(min=0.1, max=1e6, help="For how long.")] = 10.0,
    name: Annotated[str, typer.Option(help="By which the server knows this client.")] = "camera",
    quality: Annotated[int, typer.Option(min=1, max=95, help="Of the JPEGs that are sent.")] = 75,
    authority: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PEM file of who signs the server's certificate; without it nothing is encrypted."
        ),
    ] = None,
    token: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File whose one line is this client's token.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One line of JSON for each frame.")] = False,
) -> None:
    """Send pictures as a camera does, sized as the link and the server's plan have it, and print the answers.

    SITUATION is the server's. The exit status is 1 where an answer came late or not at all; frames that could only have
    been late are not sent, and count as late.
    """
    import asyncio

    from edgesight.host.adapt.client import CameraClient
    from edgesight.host.adapt.frames import Frames
    from edgesight.host.adapt.planning import Wants
    from edgesight.host.adapt.remote import GrpcServer
    from edgesight.host.link.addresses import host_and_port, joined
    from edgesight.plan.adapt.data import Situation
    from edgesight.plan.adapt.online import FrameSizer, models
    from edgesight.plan.profile import read

    told = read(situation, Situation)
    address = joined(*host_and_port(server, "--server"))
    frames = Frames(pictures, quality)
    smallest = models(told.profile)[-1]

    def sizer(wants: Wants) -> FrameSizer:
        return FrameSizer(told.profile, wants, told.overhead_ms)

    async def run() -> int:
        async with GrpcServer(address, authority, _line_of(token)) as remote:
            client = CameraClient(name, remote, sizer, slo_ms=slo_ms, rate=rate)
            await client.open(frames.maker(0), smallest)
            return await _ask_all(client, frames.maker, max(round(seconds * rate), 1), rate, json_)

    if asyncio.run(run()):
        raise typer.Exit(1)


def _line_of(path: Path | None) -> str | None:
    from edgesight.host.adapt.planning import AdaptError
    from edgesight.host.files import read_regular

    if path is None:
        return None
    try:
        return read_regular(path, 4_096).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdaptError(f"{path} cannot be read ({error}): name a file that holds the token") from error


async def _ask_all(
    client: CameraClient, maker: Callable[[int], Callable[[Model], bytes]], count: int, rate: float, json_: bool
) -> int:
    """Send `count` frames, say each answer as it comes; returns how many were late or never came."""
    import asyncio

    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def one(number: int) -> None:
        due = begun + number / rate
        await asyncio.sleep(due - loop.time())
        answer = await client.ask(maker(number), due)
        print(json.dumps(_plain(number, answer)) if json_ else _line(number, answer), flush=True)

    await asyncio.gather(*map(one, range(count)))
    counts = client.counts
    print(
        f"{counts.frames} frames: {counts.late} late, of which {counts.not_sent} were not sent; mean accuracy "
        f"{counts.accuracy / counts.frames:.3f}, {counts.switches} changes of the model",
        file=sys.stderr if json_ else sys.stdout,
    )
    return counts.late


def _plain(number: int, answer: Answered) -> dict[str, Any]:
    return {
        "frame": number,
        "sized_for": answer.sized_for.name if answer.sized_for is not None else None,
        "input_px": answer.sized_for.input_px if answer.sized_for is not None else None,
        "sent_bytes": answer.sent_bytes,
        "late": answer.late,
        "took_ms": round(1e3 * answer.took_s, 3),
        "answer": dict(answer.reply.parameters) if answer.reply is not None else None,
        "outputs": {name: value.tolist() for name, value in answer.reply.outputs.items()} if answer.reply else None,
        "fault": answer.fault,
    }


def _line(number: int, answer: Answered) -> str:
    if answer.sized_for is None:
        return f"{number}: not sent, since its answer could only be late"
    size = f"{answer.sized_for.input_px} px, {answer.sent_bytes} bytes"
    if answer.reply is None:
        return f"{number}: {size}; no answer ({answer.fault})"
    told = answer.reply.parameters
    late = ", late" if answer.late else ""
    best = "".join(f"; {name}: largest {value.argmax()}" for name, value in answer.reply.outputs.items())
    return f"{number}: {size}; by {told['ran']} ({told['executor']}), {1e3 * answer.took_s:.1f} ms{late}{best}"
