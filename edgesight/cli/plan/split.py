"""The command for splits: where to cut a network, and at which exit to stop."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import (
    OutFile,
    PictureFile,
    Seconds,
    check_outputs,
    group,
    left,
    print_rows,
    shows_example,
    shows_schema,
)

if TYPE_CHECKING:
    from edgesight.plan.split.bandwidth import SeriesPlan
    from edgesight.plan.split.plan import Choice, SplitPlan

METHODS_HELP = (
    "edgent; or to compare: neurosurgeon (cut the whole network), exit-only (all on the device), server-first (the "
    "first layers at the data centre)."
)


@group.command()
def split(  # noqa: PLR0913 - a command's options are its surface
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="JSON, as `edgesight plan profile-join` writes it.")
    ],
    deadline_ms: Annotated[float, typer.Option("--deadline-ms", help="Milliseconds from request to answer.")],
    mbps: Annotated[float | None, typer.Option(help="Bandwidth of the link, in Mbit/s.")] = None,
    round_trip_ms: Annotated[float, typer.Option("--round-trip-ms", help="Of the link.")] = 0.0,
    accuracy: Annotated[float | None, typer.Option(help="Least accuracy that will do, 0 to 1.")] = None,
    method: Annotated[str, typer.Option(help=METHODS_HELP)] = "edgent",
    exit_: Annotated[str | None, typer.Option("--exit", help="With --cut: look at this exit alone.")] = None,
    cut: Annotated[int | None, typer.Option(help="With --exit: how many layers the device runs.")] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of --mbps: a trace, of Mbit/s by the second or Mahimahi's; choose after each second.",
        ),
    ] = None,
    fall_back: Annotated[
        bool,
        typer.Option(
            "--fall-back", help="With --series: the device goes on computing, and answers where the link fails."
        ),
    ] = False,
    seconds: Seconds = 60.0,
    out: OutFile = None,
    picture: PictureFile = None,
    example: Annotated[bool, shows_example("split")] = False,
    example_trace: Annotated[bool, shows_example("trace", "--example-trace")] = False,
    schema: Annotated[bool, shows_schema("split")] = False,
    json_: Json = False,
) -> None:
    """Choose the exit and the cut of highest accuracy that answer within the deadline.

    With --series the link moves: after each observation the choice is the one with the highest expected accuracy when
    late answers count nothing, under what Bayesian change-point detection predicts. Exits with 1 when nothing meets the
    needs, saying why and what comes nearest.
    """
    begun = time.monotonic()
    from edgesight.plan.profile import Link, PlanError, Slo, checked, claim, read, read_trace, write
    from edgesight.plan.split.bandwidth import SeriesPlan, follow
    from edgesight.plan.split.plan import METHODS, Choices, SplitPlan, SplitProfile, fixed
    from edgesight.plan.split.plan import split as plan_split

    check_outputs(out, claim(SplitPlan, SeriesPlan), picture)
    needs = checked({"latency_ms": deadline_ms, "accuracy": accuracy}, Slo, "--deadline-ms, --accuracy")
    found = read(profile, SplitProfile)
    if method not in METHODS:
        raise PlanError(f"--method {method}: choose one of {', '.join(METHODS)}")
    if (mbps is None) == (series is None):
        raise PlanError("give either --mbps, for one bandwidth, or --series, for one that moves")
    if (exit_ is None) != (cut is None):
        raise PlanError("--exit and --cut belong together: give both or none")
    choices = Choices.of(found, method, begun + seconds)
    if series is not None:
        if exit_ is not None or method != "edgent":
            raise PlanError("--series chooses exit and cut by itself: leave out --method, --exit and --cut")
        delay = _not_negative("--round-trip-ms", round_trip_ms)
        trace = read_trace(series)
        print(trace.describe(), file=sys.stderr if json_ else sys.stdout)
        rest = left(seconds, begun)
        followed = follow(choices, needs, delay, trace.by_second, fall_back=fall_back, seconds=rest)
        if out is not None:
            write(out, followed, SplitPlan)
        if picture is not None:
            from edgesight.plan.split.picture import draw_series

            draw_series(followed, picture)
        if json_:
            print_json(followed)
        else:
            _print_series(followed, Console())
        return
    if fall_back:
        raise PlanError("--fall-back belongs to --series: at a stated bandwidth nothing is late; leave it out")
    if exit_ is not None and method != "edgent":
        raise PlanError("--exit and --cut look at one choice, which no method makes: leave out --method")
    link = checked({"mbps": mbps, "round_trip_ms": round_trip_ms}, Link, "--mbps, --round-trip-ms")
    if exit_ is not None and cut is not None:
        plan = fixed(found, link, needs, exit_, cut)
    else:
        plan = plan_split(choices, link, needs, method)
    if out is not None:
        write(out, plan, SeriesPlan)
    if picture is not None:
        from edgesight.plan.split.picture import draw_plan

        draw_plan(choices, plan, picture)
    if json_:
        print_json(plan)
    else:
        _print_plan(plan, Console())
    if not plan.feasible:
        raise typer.Exit(1)


def _print_plan(plan: SplitPlan, console: Console) -> None:
    shown = plan.choice or plan.nearest
    if plan.reason is not None:
        console.print(Text.assemble(("No plan:", "red"), f" {plan.reason}"), soft_wrap=True)
    if shown is None:
        return
    behind = shown.cut_behind or "the input"
    where = (
        "all on the device"
        if shown.cut == shown.layers
        else f"cut behind {behind} ({shown.cut} of {shown.layers} layers)"
    )
    first = "The nearest: exit" if plan.choice is None and plan.method != "fixed" else "Exit"
    said = Text.assemble(f"{first} ", (shown.exit, "bold"), f", accuracy {shown.accuracy:.4g}; {where} ({plan.method})")
    console.print(said, soft_wrap=True)
    print_rows(
        console,
        f"{shown.latency_ms:.4g} ms of {plan.deadline_ms:g} ms, at {plan.mbps:g} Mbit/s ({plan.obtained})",
        ("leg", "ms", "bytes"),
        _legs(shown),
    )


def _legs(choice: Choice) -> list[tuple[str, str, str]]:
    return [
        ("device", f"{choice.device_ms:.4g}", ""),
        ("round trip", f"{choice.round_trip_ms:.4g}", ""),
        ("up", f"{choice.up_ms:.4g}", str(choice.up_bytes)),
        ("data centre", f"{choice.datacenter_ms:.4g}", ""),
        ("down", f"{choice.down_ms:.4g}", str(choice.down_bytes)),
    ]


def _print_series(plan: SeriesPlan, console: Console) -> None:
    rows = []
    before = None
    for number, step in enumerate(plan.steps, 1):
        if before is None or (step.exit, step.cut) != (before.exit, before.cut):
            cut = "" if step.cut is None else f"{step.cut} of {step.layers}"
            cut = "on the device" if step.cut is not None and step.cut == step.layers else cut
            rates = (f"{step.observed_mbps:.4g}", f"{step.run_mbps:.4g}")
            rows.append((str(number), *rates, step.exit or "none", cut, f"{step.on_time:.1%}", step.fallback or ""))
        before = step
    columns = ("observation", "Mbit/s", "since the last change", "exit", "cut", "on time", "else")
    print_rows(console, f"Changes of the choice along {len(plan.steps)} observations ({plan.obtained})", columns, rows)
    late = sum(1 - step.on_time for step in plan.steps if step.fallback is None) / len(plan.steps)
    console.print(f"expected without an answer on time: {late:.1%} of requests")
    if plan.left_out:
        console.print(f"no time was left for the last {plan.left_out} observations: give --seconds more")


def _not_negative(option: str, value: float) -> float:
    from edgesight.plan.profile import PlanError

    if not 0 <= value < float("inf"):
        raise PlanError(f"{option} {value:g}: give 0 or more")
    return value
