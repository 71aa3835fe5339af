"""The command that plans a workflow: variants and workers for its operators."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import OutFile, PictureFile, Seconds, check_outputs, group, left, shows_example, shows_schema

if TYPE_CHECKING:
    from rich.console import Console

    from edgesight.plan.workflow.problem import Curve, Workflow, WorkflowPlan


class Method(str, Enum):
    """How to plan."""

    exact = "exact"
    authors = "authors"


@group.command()
def workflow(  # noqa: PLR0913 - a command's options are its surface
    path: Annotated[
        Path, typer.Argument(metavar="WORKFLOW", help="A JSON file, or a directory in JellyBean's published format.")
    ],
    accuracy: Annotated[
        float | None, typer.Option(help="Share from 0 to 1 asked of the sink; default: what the workflow asks for.")
    ] = None,
    method: Annotated[
        Method, typer.Option(help="exact: a mixed-integer program, with its gap; authors: JellyBean's own search.")
    ] = Method.exact,
    curve: Annotated[bool, typer.Option("--curve", help="Every step of accuracy and what it costs.")] = False,
    seconds: Seconds = 60.0,
    out: OutFile = None,
    picture: PictureFile = None,
    example: Annotated[bool, shows_example("workflow")] = False,
    schema: Annotated[bool, shows_schema("workflow")] = False,
    json_: Json = False,
) -> None:
    """Choose a variant and workers for each operator, so that the accuracy holds and an hour costs least."""
    begun = time.monotonic()
    from rich.console import Console
    from rich.text import Text

    from edgesight.plan.profile import PlanError, claim, write
    from edgesight.plan.workflow.plan import curve as trace
    from edgesight.plan.workflow.plan import plan
    from edgesight.plan.workflow.problem import Curve, WorkflowPlan

    check_outputs(out, claim(Curve, WorkflowPlan), picture)
    console = Console(stderr=json_)
    read = _read(path, console)
    if curve:
        if accuracy is not None:
            raise PlanError("--accuracy: a curve shows every accuracy; leave one of the two out")
        steps = trace(read, method.value, left(seconds, begun))
        if not steps.plans:
            raise PlanError(f"{path}: {plan(read, 0.0, method.value, left(seconds, begun)).reason}")
        _print_curve(steps, console)
        if json_:
            print_json(steps)
        if out is not None:
            write(out, steps, WorkflowPlan)
        if picture is not None:
            from edgesight.plan.workflow.picture import draw_curve

            draw_curve([steps], picture)
        return
    made = plan(read, accuracy, method.value, left(seconds, begun))
    if json_:
        print_json(made)
    if out is not None:
        write(out, made, Curve)
    if not made.feasible:
        console.print(Text.assemble(("No plan:", "red"), f" {made.reason}"), soft_wrap=True)
        raise typer.Exit(1)
    _print_plan(read, made, console)
    if picture is not None:
        from edgesight.plan.workflow.picture import draw_plan

        draw_plan(read, made, picture)


def _read(path: Path, console: Console) -> Workflow:
    from rich.text import Text

    from edgesight.plan.profile import read
    from edgesight.plan.workflow.jellybean import read_directory
    from edgesight.plan.workflow.problem import Workflow

    if not path.is_dir():
        return read(path, Workflow)
    published = read_directory(path)
    for warning in published.warnings:
        console.print(Text.assemble(("warning:", "yellow"), f" {warning}"), soft_wrap=True, highlight=False)
    return published.workflow


def _print_plan(workflow: Workflow, made: WorkflowPlan, console: Console) -> None:
    from edgesight.bench.report import PlainTable
    from edgesight.plan.workflow.cost import Facts

    facts = Facts.of(workflow)
    columns = ("operator", "variant", "worker", "tier", "requests/s", "full", "$/h")
    table = PlainTable("Plan (projected)", columns, words=("operator", "variant", "worker"))
    last = None
    for assignment in made.assignments:
        operator, worker = assignment.operator, facts.workers[assignment.worker]
        full = assignment.rate / facts.capacity(worker.name, operator, made.variants[operator])
        table.add_row(
            *((operator, made.variants[operator]) if operator != last else ("", "")),
            *(worker.name, str(worker.tier), f"{assignment.rate:.4g}", f"{full:.0%}", f"{worker.dollars_per_hour:g}"),
        )
        last = operator
    console.print(table)
    gap = f"no plan is more than {made.gap or 0:.2%} cheaper (bound: {made.bound_from or 'none'})"
    gap = "proven optimal" if made.proven else gap
    console.print(
        f"${made.dollars_per_hour:.3f}/h = {made.compute_dollars_per_hour:.3f} workers + "
        f"{made.communication_dollars_per_hour:.3f} messages; accuracy {made.accuracy:.4f}, "
        f"{made.accuracy_asked:.4f} asked; {gap}",
        highlight=False,
    )


def _print_curve(steps: Curve, console: Console) -> None:
    from edgesight.bench.report import PlainTable

    columns = ("accuracy", "$/h", "workers", "messages", "gap", "variants")
    table = PlainTable(f"What accuracy costs, {steps.method} (projected)", columns, words=("variants",))
    for made in steps.plans:
        table.add_row(
            f"{made.accuracy:.4f}",
            f"{made.dollars_per_hour:.3f}",
            f"{made.compute_dollars_per_hour:.3f}",
            f"{made.communication_dollars_per_hour:.3f}",
            "optimal" if made.proven else f"≤ {made.gap or 0:.2%}",
            ", ".join(f"{operator}: {variant}" for operator, variant in sorted(made.variants.items())),
        )
    console.print(table)
