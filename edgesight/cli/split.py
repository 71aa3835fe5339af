"""The command that runs a cut network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli.requests import Given, requests_of

if TYPE_CHECKING:
    from edgesight.host.split.run import Answered, Runner, Tensors


def split(
    folder: Annotated[Path, typer.Argument(metavar="PIECES", help="Folder that `edgesight plan pieces` wrote.")],
    datacenter: Annotated[
        str, typer.Option(help="HOST:PORT at which the pieces' repository is served over gRPC: ours, or Triton's.")
    ],
    given: Given,
    keys: Annotated[
        Path | None, typer.Option(help="Keys folder of `edgesight datacenter client`; without it nothing is encrypted.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1e6, help="Requests a second, whether or not answers keep up; default one by one."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Of this device, for each piece.")] = 1,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN",
            help="Stay with the exit and cut that `edgesight plan split --out` chose, whatever the link does.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One line of JSON for each request.")] = False,
) -> None:
    """Answer with a network that is cut between this device and a data centre, and cut anew as the link moves.

    Exit and cut are those of highest expected accuracy within the deadline of the pieces, late answers counted as
    nothing, by what the link has carried so far; with --plan they are that plan's. The exit status is 1 where an answer
    came late or not at all.
    """
    import asyncio

    from edgesight.host.link.addresses import host_and_port, joined
    from edgesight.host.split.pieces import Pieces
    from edgesight.host.split.remote import GrpcRemote
    from edgesight.host.split.run import Runner
    from edgesight.plan.profile import read
    from edgesight.plan.split.plan import SplitPlan
    from edgesight.plan.split.planner import Planned, Stays, choice_of

    address = joined(*host_and_port(datacenter, "--datacenter"))
    pieces = Pieces.load(folder)
    requests = requests_of({one.name: one.shape for one in pieces.manifest.inputs}, given)
    planner: Planned | Stays
    if plan is None:
        planner = Planned(pieces)
    else:
        chosen = choice_of(read(plan, SplitPlan))
        pieces.split(*chosen)  # refuses what there are no pieces for
        planner = Stays(*chosen)

    async def run() -> int:
        async with GrpcRemote(address, keys) as remote:
            runner = Runner(pieces, planner, remote, threads=threads)
            try:
                await runner.open()
                return await _ask_all(runner, requests, rate, json_)
            finally:
                await runner.close()

    if asyncio.run(run()):
        raise typer.Exit(1)


async def _ask_all(runner: Runner, requests: Sequence[Tensors], rate: float | None, json_: bool) -> int:
    """Ask all, say each answer as it comes; returns how many were late or never came."""
    import asyncio

    from edgesight.host.doors.bodies import write_json

    loop = asyncio.get_running_loop()
    begun, missed = loop.time(), 0

    async def one(number: int, inputs: Tensors) -> None:
        nonlocal missed
        if rate is not None:
            await asyncio.sleep(begun + number / rate - loop.time())
        answer = await runner.ask(inputs)
        missed += answer.late
        print(write_json(_plain(number, answer)).decode() if json_ else _line(number, answer), flush=True)

    if rate is None:
        for number, inputs in enumerate(requests):
            await one(number, inputs)
    else:
        await asyncio.gather(*(one(number, inputs) for number, inputs in enumerate(requests)))
    counts = runner.counts
    by = ", ".join(f"{count} by the {who}" for who, count in counts.answers.items())
    print(
        f"{len(requests)} requests: {by}; {missed} late; {counts.changes} changes of the cut, {counts.probes} probes",
        file=sys.stderr if json_ else sys.stdout,
    )
    return missed


def _plain(number: int, answer: Answered) -> dict[str, Any]:
    return {
        "request": number,
        "output": None if answer.output is None else answer.output.tolist(),
        "exit": answer.exit,
        "cut": answer.cut,
        "by": answer.by,
        "late": answer.late,
        "took_ms": round(1e3 * answer.took_s, 3),
        "device_ms": round(1e3 * answer.device_s, 3),
        "sent_bytes": answer.sent_bytes,
        "fault": answer.fault,
    }


def _line(number: int, answer: Answered) -> str:
    said = "no answer" if answer.output is None else f"largest of {answer.output.size}: {int(answer.output.argmax())}"
    why = f" ({answer.fault})" if answer.fault is not None else ""
    late = ", late" if answer.late else ""
    return (
        f"{number}: {said}; exit {answer.exit}, cut behind {answer.cut}, by the {answer.by}, "
        f"{1e3 * answer.took_s:.1f} ms{late}{why}"
    )
