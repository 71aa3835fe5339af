"""Kernel packages and answers as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgesight.cli import ending
from edgesight.host.answer import Answer
from edgesight.host.kernel import ALWAYS, BackEndInput, Calibration, Input, Rung, Trunk
from edgesight.host.package import Package
from edgesight.host.registers import THRESHOLD_NEVER

CHECKED = [
    "the checksum of kernel.json, over thresholds, calibration, classes, input and all other fields",
    "every threshold against the calibration's curves, every count against the others",
    "the checksum of every file that kernel.json lists",
    "the build hash and the weights' checksum against the files in rtl/",
]


def describe(package: Package, console: Console) -> None:
    """Print what a kernel package holds: its layers and folding, and the accuracy targets that it keeps."""
    kernel = package.kernel
    height, width, channels = kernel.input.shape
    told = f"{kernel.labels} classes" if kernel.classes else f"{kernel.outputs} values"
    if kernel.logits_in_record:
        told += ", logits in the record"
    console.print(
        f"[bold]{escape(kernel.name)}[/bold] {height}x{width}x{channels}, {told}, "
        f"data set {escape(str(kernel.dataset))}, "
        f"build {kernel.build_hash}"
    )
    for stage in kernel.stages:
        table = Table(
            title=escape(
                f"{stage.name}: {stage.parameters} parameters, {stage.multiplications} multiplications a frame; "
                f"interval bound {stage.bound_cycles} cycles ({stage.bound_layer})"
            )
        )
        for column in ("layer", "kind", "weights", "PE", "SIMD", "reuse asked", "built", "cycles a frame"):
            table.add_column(
                column, justify="left" if column in ("layer", "kind", "weights") else "right", overflow="fold"
            )
        for layer in stage.layers:
            weights = f"{layer.weight_bits} bit" if layer.weight_bits else ""
            numbers = (layer.pe, layer.simd, layer.reuse_asked, layer.reuse_built, layer.cycles)
            table.add_row(escape(layer.name), layer.kind, weights, *map(str, numbers))
        console.print(table)
        if stage.trunk is not None:
            console.print(_from_features(stage.name, stage.multiplications, stage.trunk), soft_wrap=True, markup=False)
    if kernel.runtime_weights is not None:
        console.print(
            escape(f"Loaded at run time: the weights of {', '.join(kernel.runtime_weights.layers)}."), soft_wrap=True
        )
    calibration = kernel.calibration
    if kernel.backend_input is not None:
        console.print(f"Back end: takes {_form(kernel.backend_input, kernel.input)}.", soft_wrap=True, highlight=False)
    if calibration is not None and calibration.ladder:
        console.print(f"Photographs travel at {_way(calibration.ladder)}.", soft_wrap=True, highlight=False)
    if kernel.logits_in_record:
        console.print("A network alone: each record carries its frame's logits.")
    elif calibration is None:
        console.print("Not calibrated: `edgesight calibrate` sets its accuracy targets.")
    else:
        _describe_targets(calibration, console)
    if calibration is not None and calibration.resplits is not None:
        checked = calibration.resplits
        console.print(f"Promise checked on {checked.count} re-splits: {checked.broken} broke a target.")
    console.print(f"Checked: {'; '.join(CHECKED)} ({len(kernel.files)} files).", soft_wrap=True, highlight=False)
    console.print(
        "Not known: who made it. A package is a program: its sources are compiled and run on this machine, so use only "
        "those of people whom you trust.",
        soft_wrap=True,
        highlight=False,
    )


def _form(form: BackEndInput, fabric: Input) -> str:
    """What a back end takes, in words."""
    if form == BackEndInput.same_as(fabric):
        return "the fabric's picture"
    told = f"photographs of {form.height}x{form.width}x{form.channels} as {form.element}, {form.layout}"
    if form.element == "float32":
        told += f", less {_numbers(form.mean)}, over {_numbers(form.deviation)}"
    return told + (f"; {len(form.outputs)} of its logits are the classes" if form.outputs is not None else "")


def _numbers(by_channel: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in by_channel)


def _way(ladder: Sequence[Rung]) -> str:
    """How photographs go to the data centre, in words."""
    first, *coarser = (
        f"JPEG quality {rung.quality}{f', 1/{rung.divisor} of each side' if rung.divisor > 1 else ''} "
        f"({rung.bytes:,.0f} bytes, back end {rung.accuracy:.4f})"
        for rung in ladder
    )
    return first + (f"; where bandwidth is short, without a guarantee, at {', '.join(coarser)}" if coarser else "")


def _from_features(name: str, multiplications: int, trunk: Trunk) -> str:
    """What a stage goes on from, and what that saves."""
    return (
        f"{name} goes on from what layer {trunk.layer} of stage{trunk.stage} made, "
        f"{trunk.height}x{trunk.width}x{trunk.channels} of {trunk.bits} bits: from the pixels it would take "
        f"{trunk.multiplications + multiplications} multiplications."
    )


def _describe_targets(calibration: Calibration, console: Console) -> None:
    """Print what is promised, and what was measured by packet loss."""
    most = _percent(calibration.loss)
    table = Table(
        title=f"Accuracy targets, {1 - calibration.family_error:.0%} sure of all of them",
        caption=f"on links that lose up to {most} of their packets",
    )
    for column in ("target", "thresholds", "lower bound", "offloaded"):
        table.add_column(column, justify="right")
    for target in calibration.targets:
        table.add_row(
            f"{target.accuracy:.3f}",
            ", ".join({THRESHOLD_NEVER: "never", ALWAYS: "always"}.get(one, str(one)) for one in target.thresholds),
            f"{target.lower_bound:.4f}",
            f"{target.calibration_offload:.1%}",
        )
    for refused in calibration.refused:
        table.add_row(f"{refused.accuracy:.3f}", "refused", f"{refused.best_reachable:.4f}")
    console.print(table)
    beyond = calibration.buckets[-1].loss > calibration.loss
    sample = calibration.rests_on
    measured_on = "the calibration split" if sample.split == "calibration" else f"pictures of {escape(sample.dataset)}"
    table = Table(
        title=f"Accuracy on {measured_on}, by packet loss",
        caption=f"* beyond {most}: measured, not guaranteed" if beyond else None,
    )
    table.add_column("")
    for bucket in calibration.buckets:
        table.add_column(_percent(bucket.loss) + ("*" if bucket.loss > calibration.loss else ""), justify="right")
    for target in calibration.targets:
        table.add_row(f"target {target.accuracy:.3f}", *(f"{one:.4f}" for one in target.calibration_accuracies))
    table.add_row("back end alone", *(f"{bucket.accuracy:.4f}" for bucket in calibration.buckets))
    table.add_row("images of which nothing came", *(f"{bucket.nothing_came:.2%}" for bucket in calibration.buckets))
    console.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def describe_answer(answer: Answer, console: Console) -> None:
    """Print one answer and the way it took."""
    legs = ", ".join(f"{leg.name} {leg.milliseconds:.2f} ms ({leg.obtained})" for leg in answer.legs)
    said = f", confidence {answer.confidence:.1%}, by {answer.stage}; {legs}"
    console.print(f"[bold]{escape(answer.class_name)}[/bold]{escape(said)}")
    if answer.energy_joules is not None:
        console.print(f"energy {answer.energy_joules:.3g} J above idle ({answer.energy_obtained}; mean of late)")
    if answer.degraded:
        reason = escape(str(answer.reason))
        console.print(f"degraded: {reason}; the accuracy target does not cover this answer alone")
    elif not answer.guaranteed:
        console.print(str(answer.reason), markup=False)
    else:
        held_for = escape(str(answer.guaranteed_for))
        console.print(f"accuracy target {answer.accuracy_target:g} guaranteed for {held_for}, over many")
    if answer.hedged:
        console.print("hedged: the data centre was asked before the fabric had answered, so that legs overlap")


def load(path: Path) -> Package:
    """The package at `path`, checked."""
    return Package.load(path)


def show_package(package: Package, json_: bool) -> None:
    """Print what a package holds."""
    if json_:
        ending.print_json({**package.kernel.model_dump(mode="json"), "checked": CHECKED})
    else:
        describe(package, Console())


def end_of_bench(met: bool, report: Path, json_: bool) -> None:
    """Print the report where JSON is asked for; the status is 1 where a bar was missed."""
    if json_:
        print(report.read_text(), end="")
    if not met:
        raise typer.Exit(1)
