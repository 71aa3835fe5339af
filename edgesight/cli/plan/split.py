"""Commands for splits: where to cut a network and at which exit to stop, and the profiles that this is planned from."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console
from rich.text import Text

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import OutFile, PictureFile, Seconds, check_outputs, group, left
from edgesight.host.obtained import Obtained

if TYPE_CHECKING:
    import numpy as np

    from edgesight.plan.split.bandwidth import SeriesPlan
    from edgesight.plan.split.plan import Choice, SplitPlan

_OBTAINED = f"one of {', '.join(get_args(Obtained))}"
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


@group.command()
def profile(  # noqa: PLR0913 - a command's options are its surface
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="ONNX or Brevitas' QONNX file, or the folder of a kernel package.")
    ],
    device: Annotated[str, typer.Option(help="What the measured machine is to be called.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON to write; two of them make a profile.")],
    repeats: Annotated[int, typer.Option(min=1, help="Runs, of which the medians count.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    input_bits: Annotated[
        int | None,
        typer.Option("--input-bits", help="Bits that an element of the input is sent in; default its type's."),
    ] = None,
    tensor_bits: Annotated[
        int | None,
        typer.Option("--tensor-bits", help="Bits of an element that no quantiser gives bits; default its type's."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=FILE", help="An input to run (.npy) instead of a random one; repeatable."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=1x3x64x64", help="Shape of an input whose sizes are left open, else 1; repeatable."),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure a network's layers on this machine, or take a kernel's stages from its simulated RTL.

    Every output of the network is an exit. Of a kernel package the Verilated library is run, which `edgesight verilate`
    builds.
    """
    from edgesight.plan.profile import PlanError, claim, write
    from edgesight.plan.split.measure import measure_onnx, measure_package
    from edgesight.plan.split.measured import MeasuredNetwork

    claim(MeasuredNetwork).check_file(out)
    if network.is_dir():
        if given or shape:
            raise PlanError("--input, --shape: a kernel package says what its input is; leave them out")
        from edgesight.host.package import Package

        measured = measure_package(Package.load(network), device)
    else:
        measured = measure_onnx(
            network,
            device,
            repeats=repeats,
            threads=threads,
            input_bits=input_bits,
            tensor_bits=tensor_bits,
            inputs=dict(array_of(text) for text in given or []),
            shapes=dict(shape_of(text) for text in shape or []),
        )
    write(out, measured)
    if json_:
        print_json(measured)
        return
    console = Console()
    console.print(f"{measured.origin} ({measured.obtained})", markup=False)
    _print_rows(
        console,
        f"{measured.name} on {device}",
        ("layer", "ms", "bytes behind it"),
        [(layer.name, f"{layer.ms:.4g}", str(layer.output_bytes)) for layer in measured.layers],
    )
    for exit_ in measured.exits:
        own = sum(layer.ms for layer in exit_.layers)
        console.print(
            f"exit {exit_.name}: behind layer {exit_.after}, {len(exit_.layers)} layers of its own, {own:.4g} ms",
            markup=False,
        )
    if measured.whole_ms is not None and measured.apart_ms is not None:
        console.print(
            f"to the last exit {measured.whole_ms:.4g} ms in one piece, which layers are scaled to; by themselves they "
            f"took {measured.apart_ms:.4g} ms"
        )


def array_of(text: str) -> tuple[str, np.ndarray]:
    """The name and the array of one `--input`; raises PlanError."""
    import numpy as np

    from edgesight.plan.profile import PlanError

    name, equals, file = text.rpartition("=")
    if not equals or not name:
        raise PlanError(f"--input {text}: expected NAME=FILE, such as image=photo.npy")
    try:
        value = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlanError(f"--input {text}: cannot be read as an array of numpy ({error}): give a .npy file") from error
    if not isinstance(value, np.ndarray):
        raise PlanError(f"--input {text}: holds several arrays; give a .npy file with one")
    return name, value


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """The name and the sizes of one `--shape`; raises PlanError."""
    from edgesight.plan.profile import PlanError

    name, _, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if not name or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise PlanError(f"--shape {text}: expected NAME=SIZES, such as image=1x3x224x224")
    return name, tuple(int(part) for part in parts)


@group.command("profile-join")
def profile_join(  # noqa: PLR0913 - a command's options are its surface
    device: Annotated[
        Path, typer.Argument(metavar="DEVICE", help="What `edgesight plan profile` wrote on the device.")
    ],
    datacenter: Annotated[Path, typer.Argument(metavar="DATACENTER", help="The same, of the data centre.")],
    accuracy: Annotated[list[str], typer.Option(metavar="EXIT=SHARE", help="Accuracy of an exit; one for each.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Profile to write, for `edgesight plan split`.")],
    accuracy_obtained: Annotated[
        str, typer.Option("--accuracy-obtained", help=f"How they were obtained: {_OBTAINED}.")
    ] = "measured",
    device_factor: Annotated[
        float, typer.Option("--device-factor", help="Multiply the device's times, which makes them projected.")
    ] = 1.0,
    datacenter_factor: Annotated[
        float, typer.Option("--datacenter-factor", help="The same, at the data centre.")
    ] = 1.0,
    answer_bytes: Annotated[
        int | None, typer.Option("--answer-bytes", help="Bytes of an answer; default the network's whole output.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make the profile of a split from two measurements: of one network on two machines, or of two networks."""
    from edgesight.plan.profile import PlanError, claim, read, write
    from edgesight.plan.split.join import join
    from edgesight.plan.split.measured import MeasuredNetwork
    from edgesight.plan.split.plan import SplitProfile

    claim(SplitProfile).check_file(out)
    accuracies = {}
    for text in accuracy:
        name, _, share = text.rpartition("=")
        try:
            accuracies[name] = float(share)
        except ValueError:
            raise PlanError(f"--accuracy {text}: expected EXIT=SHARE, such as exit1=0.92") from None
    if accuracy_obtained not in get_args(Obtained):
        raise PlanError(f"--accuracy-obtained {accuracy_obtained}: choose {_OBTAINED}")
    joined = join(
        read(device, MeasuredNetwork),
        read(datacenter, MeasuredNetwork),
        accuracies,
        accuracy_obtained,  # type: ignore[arg-type] # checked above
        device_factor=device_factor,
        datacenter_factor=datacenter_factor,
        answer_bytes=answer_bytes,
    )
    write(out, joined)
    if json_:
        print_json(joined)
    else:
        print(out)


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
    _print_rows(
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
    _print_rows(console, f"Changes of the choice along {len(plan.steps)} observations ({plan.obtained})", columns, rows)
    late = sum(1 - step.on_time for step in plan.steps if step.fallback is None) / len(plan.steps)
    console.print(f"expected without an answer on time: {late:.1%} of requests")
    if plan.left_out:
        console.print(f"no time was left for the last {plan.left_out} observations: give --seconds more")


def _print_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from edgesight.bench.report import PlainTable

    table = PlainTable(title, columns, words=(columns[0], "exit", "cut", "else"))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _not_negative(option: str, value: float) -> float:
    from edgesight.plan.profile import PlanError

    if not 0 <= value < float("inf"):
        raise PlanError(f"{option} {value:g}: give 0 or more")
    return value
