"""The command that runs a planned workflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli.requests import Given, requests_of

if TYPE_CHECKING:
    from edgesight.host.workflow.run import Runner

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster to run on: HOST:PORT of its head, or `auto` where this machine belongs to it; without it one "
        "is begun here.",
    ),
]


def workflow(
    path: Annotated[Path, typer.Argument(metavar="WORKFLOW", help="JSON file, as for `edgesight plan workflow`.")],
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What `edgesight plan workflow --out` wrote for it.")],
    models: Annotated[Path, typer.Option(help="Folder of the operators' networks, OPERATOR/VARIANT.onnx.")],
    given: Given,
    ray: Ray = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1e6, help="Requests a second, whether or not answers keep up; default one by one."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One line of JSON for each request.")] = False,
) -> None:
    """Run a workflow on the workers of a Ray cluster, as it was planned.

    A worker is a node that was begun by `ray start --labels edgesight-node=NAME`; what it states of cores and memory it
    is held to. Requests go where the plan's flows say. The exit status is 1 where a request got no answer.
    """
    import asyncio

    from edgesight.host.ray_cluster import joined
    from edgesight.host.workflow.run import Runner
    from edgesight.plan.profile import read
    from edgesight.plan.workflow.problem import Workflow, WorkflowPlan
    from edgesight.plan.workflow.stations import execution, model_files

    described = read(path, Workflow)
    run = execution(described, read(plan, WorkflowPlan), model_files(models, described))
    requests = requests_of({name: form.shape for name, form in run.sources.items()}, given)

    async def main(library: Any) -> int:
        runner = Runner(library, run)
        await runner.start()
        try:
            return await _ask_all(runner, requests, rate, json_)
        finally:
            await runner.end()

    with joined(ray) as library:
        missed = asyncio.run(main(library))
    if missed:
        raise typer.Exit(1)


async def _ask_all(runner: Runner, requests: Sequence[Any], rate: float | None, json_: bool) -> int:
    """Ask all, say each answer as it comes; returns how many there was none for."""
    import asyncio

    from edgesight.host.doors.bodies import write_json
    from edgesight.host.workflow.run import WorkflowError

    loop = asyncio.get_running_loop()
    begun, missed = loop.time(), 0

    async def one(number: int, inputs: Any) -> None:
        nonlocal missed
        due = loop.time() if rate is None else begun + number / rate
        await asyncio.sleep(due - loop.time())
        outputs, fault = None, None
        try:
            outputs = {name: value.tolist() for name, value in (await runner.ask(inputs)).items()}
        except WorkflowError as error:
            fault = str(error)
            missed += 1
        took = round(1e3 * (loop.time() - due), 3)
        if json_:
            told = {"request": number, "outputs": outputs, "took_ms": took, "fault": fault}
            print(write_json(told).decode(), flush=True)
        else:
            print(f"{number}: {outputs if fault is None else fault}, {took:.1f} ms", flush=True)

    if rate is None:
        for number, inputs in enumerate(requests):
            await one(number, inputs)
    else:
        await asyncio.gather(*(one(number, inputs) for number, inputs in enumerate(requests)))
    try:
        said = (await runner.told()).items()
        stations = ", ".join(f"{told.runs} by {operator} on {worker}" for (operator, worker), told in said)
    except WorkflowError as error:
        stations = str(error)
    print(f"{len(requests)} requests, {missed} without an answer: {stations}", file=sys.stderr if json_ else sys.stdout)
    return missed
