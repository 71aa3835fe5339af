"""Commands for adaptation: plan who uses which model on which GPU, and replay links that move."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import OutFile, PictureFile, Seconds, check_outputs, group, left, shows_example, shows_schema

if TYPE_CHECKING:
    from edgesight.plan.adapt.data import AdaptPlan, Situation
    from edgesight.plan.adapt.plan import Method

_MOST_ROWS = 100  # of clients and of GPUs that are printed

METHODS_HELP = "pairwise (ours), authors (knapsacks and annealing), exact, fixed (one model for all) or greedy."

SituationFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="JSON with profile (or the name of a shipped one: jellyfish, jellyfish-simulator), clients and gpus.",
    ),
]
MethodName = Annotated[str, typer.Option("--method", help=METHODS_HELP)]


@group.command()
def adapt(  # noqa: PLR0913 - a command's options are its surface
    file: SituationFile,
    method: MethodName = "pairwise",
    model: Annotated[str | None, typer.Option(help="The model of --method fixed; default the best one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the annealing.")] = 0,
    seconds: Seconds = 60.0,
    out: OutFile = None,
    picture: PictureFile = None,
    example: Annotated[bool, shows_example("adapt")] = False,
    schema: Annotated[bool, shows_schema("adapt")] = False,
    json_: Json = False,
) -> None:
    """Give each client an input size and a model, and each GPU its models, for the best mean accuracy in time.

    A client is served when twice the latency of its model's batch fits into what the transfer leaves of its SLO, and
    the GPU's throughput carries all its clients' frames. Exits with 1 when not all can be served, saying who and why.
    """
    begun = time.monotonic()
    from edgesight.plan.adapt.data import AdaptPlan, read_situation
    from edgesight.plan.adapt.plan import plan
    from edgesight.plan.profile import PlanError, claim, write

    check_outputs(out, claim(AdaptPlan), picture)
    chosen = method_of(method)
    if model is not None and chosen != "fixed":
        raise PlanError(
            f"--model {model}: only --method fixed takes a model; method {chosen} chooses its own"
            "; leave one of the two out"
        )
    situation = read_situation(file)
    made = plan(situation, chosen, seed=seed, seconds=left(seconds, begun), model=model)
    if out is not None:
        write(out, made)
    if picture is not None:
        from edgesight.plan.adapt.picture import draw_plan

        draw_plan(situation, made, picture)
    if json_:
        print_json(made)
    else:
        _print_plan(situation, made)
    if not made.feasible:
        raise typer.Exit(1)


@group.command("adapt-replay")
def adapt_replay(  # noqa: PLR0913 - a command's options are its surface
    file: SituationFile,
    trace: Annotated[
        list[Path],
        typer.Option(
            "--trace",
            help="File of Mbit/s, one value a second, or Mahimahi's (rising milliseconds), which mbit:FILE and "
            "mahimahi:FILE make certain; several: a run on each.",
        ),
    ],
    method: Annotated[list[str] | None, typer.Option("--method", help="May be repeated. " + METHODS_HELP)] = None,
    told: Annotated[
        bool, typer.Option("--told/--no-told", help="Also run a scheduler that is told the bandwidth to come.")
    ] = True,
    seconds: Annotated[float, typer.Option(min=1.0, help="Simulated time.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the moments at which clients and cameras begin.")] = 0,
    load_limit: Annotated[
        float | None,
        typer.Option("--load-limit", min=0.01, max=1.0, help="Share of a GPU's throughput that is planned for."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Share of the estimated bandwidth that is not counted on.")
    ] = None,
    out: OutFile = None,
    picture: PictureFile = None,
    example: Annotated[bool, shows_example("adapt")] = False,
    example_trace: Annotated[bool, shows_example("trace", "--example-trace")] = False,
    schema: Annotated[bool, shows_schema("adapt")] = False,
    json_: Json = False,
) -> None:
    """Replay bandwidth traces against the online scheduler: requests in time, accuracy, scheduling time. Simulated.

    The clients' links follow the trace, each from a moment of its own; the file's bandwidths are not used.

    What is in time comes first and accuracy next. A lower --load-limit (0.75; 0.9 for the methods of others) or a
    higher --margin (0.15) moves that trade: smaller frames, of which more are in time.
    """
    import json

    from edgesight.bench.plan.adapt_replay import replay
    from edgesight.bench.plan.adapt_simulation import Scheduling
    from edgesight.host.files import json_claim, write_output
    from edgesight.plan.adapt.data import read_situation
    from edgesight.plan.adapt.scheduler import MARGIN
    from edgesight.plan.profile import read_trace

    claim = json_claim("replay's report", "obtained", "seconds", "seed", "runs")
    check_outputs(out, claim, picture)
    situation = read_situation(file)
    chosen = [method_of(name) for name in method or ["pairwise"]]
    margin = MARGIN if margin is None else margin
    runs = [Scheduling(name, False, margin, load_limit) for name in chosen]
    runs += [Scheduling(chosen[0], True, margin, load_limit)] if told else []
    rows: list[dict[str, Any]] = []
    for path in trace:
        read = read_trace(path)
        print(read.describe(), file=sys.stderr if json_ else sys.stdout)
        for scheduling in runs:
            rows.append(replay(situation, path.stem, read.by_second, scheduling, seconds=seconds, seed=seed))
    body = {"obtained": "simulated", "seconds": seconds, "seed": seed, "runs": rows}
    if out is not None:
        write_output(out, (json.dumps(body, indent=1) + "\n").encode(), claim)
    if picture is not None:
        from edgesight.plan.adapt.picture import draw_replay

        draw_replay(rows, picture)
    if json_:
        print_json(body)
    else:
        _print_replay(rows)


def method_of(name: str) -> Method:
    """The planner's method of that name; raises PlanError."""
    from edgesight.plan.adapt.plan import METHODS
    from edgesight.plan.profile import PlanError

    for method in METHODS:
        if method == name:
            return method
    raise PlanError(f"--method {name}: expected one of {', '.join(METHODS)}")


def _print_plan(situation: Situation, plan: AdaptPlan) -> None:
    from rich.console import Console
    from rich.text import Text

    from edgesight.bench.report import PlainTable

    console = Console()
    columns = ("client", "model", "px", "GPU", "accuracy", "sent in ms", "budget ms", "SLO ms")
    title = f"Clients ({plan.method}, every time projected)"
    table = PlainTable(title, columns, words=("client", "model", "GPU"))
    slos = {client.name: client.latency_ms for client in situation.clients}
    for entry in plan.clients[:_MOST_ROWS]:
        table.add_row(
            entry.client,
            entry.model,
            str(entry.input_px),
            entry.gpu,
            f"{entry.accuracy:.1%}",
            f"{entry.transfer_ms:.1f}",
            f"{entry.budget_ms:.1f}",
            f"{slos[entry.client]:g}",
        )
    console.print(table)
    columns = ("GPU", "runs", "batch", "its ms", "frames/s", "of", "load ms", "holds")
    table = PlainTable("GPUs", columns, words=("GPU", "runs", "holds"))
    for gpu in plan.gpus[:_MOST_ROWS]:
        table.add_row(
            gpu.gpu,
            gpu.model or "nothing",
            str(gpu.batch),
            f"{gpu.latency_ms:.1f}",
            f"{gpu.rate:g}",
            f"{gpu.throughput:.0f}",
            f"{gpu.load_ms:.1f}",
            ", ".join(gpu.resident),
        )
    console.print(table)
    best = plan.best_possible
    bound = "" if best is None else f" (of plans that serve as many requests none has more than {best:.4f})"
    console.print(f"Mean accuracy per request {plan.mean_accuracy:.4f}{bound}; planned in {plan.planning_ms:.1f} ms.")
    if max(len(plan.clients), len(plan.gpus), len(plan.unserved)) > _MOST_ROWS:
        console.print(f"Of each, {_MOST_ROWS} are shown; --json writes them all.")
    for missed in plan.unserved[:_MOST_ROWS]:
        console.print(
            Text.assemble((f"Not served: client {missed.client}:", "red"), f" {missed.reason}"), soft_wrap=True
        )


def _print_replay(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from edgesight.bench.report import PlainTable

    columns = ("trace", "method", "in time", "dropped", "accuracy", "P99 ms", "switches", "round ms", "worst ms")
    table = PlainTable("Replay (simulated; round times measured)", columns, words=("trace", "method"))
    for row in rows:
        table.add_row(
            row["trace"],
            row["method"],
            f"{row['in_time']:.2%}",
            str(row["dropped_by_client"] + row["dropped_by_server"]),
            f"{row['accuracy']:.3f}",
            f"{row['latency_ms']['p99']:.1f}",
            str(row["model_switches"]),
            f"{row['round_ms']['median']:.1f}",
            f"{row['round_ms']['worst']:.1f}",
        )
    console = Console()
    console.print(table)
    for trace in dict.fromkeys(row["trace"] for row in rows):
        most = max(row["most_in_time"] for row in rows if row["trace"] == trace)
        console.print(f"{trace}: no scheduler has more than {most:.2%} in time: its links carry no more.", markup=False)
