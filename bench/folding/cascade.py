"""Section `cascade`: a cascade folded by its exit rates beside its last stage alone, at equal look-up tables.

Fashion-MNIST, whole test set. Stages are the shipped networks; the threshold is the lowest by which the cascade is as
accurate as its last stage alone on the calibration split; nothing is offloaded. Foldings come from the solver for the
PYNQ-Z2; intervals are those of the Verilated kernels. From them the rates of the test set in its own order, and in
bursts of images that all go on, are simulated image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.cache import found
from edgesight.bench.kept import ROOT, Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.aims import Aim, folded
from edgesight.hls.boards import load_board
from edgesight.hls.budget import Solved
from edgesight.hls.compile import FRAME_SLOTS, DataSetFacts, Network, compile_package
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import data_set_of
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import random_images
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import build_library

FASTER, LOSS = 3.0, 0.001  # rate over the last stage's, and accuracy that it may cost
BOARD = "pynq-z2"
BUDGETS = (42_000,)  # look-up tables: what the solver takes of the board's
BURST = 64  # images one after the other that all go on
_FRAMES, _SEED = 24, 0
_ZOO = ROOT / "quant" / "zoo" / "fashion-mnist"
_FETCHED = ROOT / "build" / "data"

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """What the stages say of a split: margins of stage 0, and who is right."""

    margins: npt.NDArray[np.int64]
    first: Flags
    last: Flags

    def accuracy(self, forwarded: Flags) -> float:
        """Of a cascade that forwards these images."""
        return float(np.where(forwarded, self.last, self.first).mean())


@dataclass(frozen=True)
class Compared:
    """Rates in images a second at a number of look-up tables, by Verilated intervals."""

    max_luts: int
    alone: float
    in_order: float
    bursts: float  # the same images, the forwarded ones in bursts
    all_forwarded: float  # the worst case
    intervals: tuple[int, ...]  # of the cascade's stages
    interval_alone: int


def lacks(_: Asked) -> str | None:
    """What is missing, in words."""
    absent = missing_tools()
    if absent:
        return f"{', '.join(absent)} not found"
    from edgesight.quant.datasets import folder_of
    from edgesight.quant.splits import DataSetError

    try:
        folder_of("fashion-mnist", None, _FETCHED)
    except DataSetError as error:
        return str(error)
    return None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Choose the threshold, fold, measure the intervals and pass the test set."""
    calibration, test = answers()
    threshold = lowest_threshold(calibration)
    share = float((calibration.margins < threshold).mean())
    forwarded = test.margins < threshold
    compared = [compare(luts, share, forwarded, folder.resolve()) for luts in BUDGETS]
    loss = float(test.last.mean()) - test.accuracy(forwarded)
    console.print(_table(compared))
    told = f"threshold {threshold}: {share:.1%} of the calibration split go on, {forwarded.mean():.1%} of the test set"
    console.print(told, highlight=False)
    body: dict[str, Any] = {
        "threshold": threshold,
        "forwarded": {"calibration": share, "test": float(forwarded.mean())},
        "accuracy": {"last_stage": float(test.last.mean()), "cascade": test.accuracy(forwarded)},
        "compared": [asdict(each) for each in compared],
    }
    return Found(body, tuple(checks_of(compared, loss)))


def checks_of(compared: Sequence[Compared], loss: float) -> list[Check]:
    """The best rate over the last stage's alone, in order and in bursts, and what it costs."""
    checks = [Check("accuracy lost against the last stage alone", loss, LOSS, True, "share", "simulated")]
    rates = {
        "in order": {each.max_luts: each.in_order / each.alone for each in compared},
        "in bursts": {each.max_luts: each.bursts / each.alone for each in compared},
    }
    for name, ratios in rates.items():
        best = max(ratios, key=ratios.__getitem__)
        what = f"images/s over those of the last stage alone, {name}, {best} LUTs"
        checks.append(Check(what, ratios[best], FASTER, False, "ratio", "simulated"))
    return checks


def answers() -> tuple[Answers, Answers]:
    """What the shipped stages say of the calibration split and of the test set."""
    from edgesight.quant import datasets

    data = datasets.load("fashion-mnist", datasets.folder_of("fashion-mnist", None, _FETCHED))
    reference = PackageReference(Package.load(ROOT / "bitstreams" / "fashion-mnist"))
    splits = []
    for split in (data.calibration, data.test):
        first, last = (np.asarray(logits, np.int64) for logits in reference(split.images))
        ordered = np.sort(first, axis=1)
        margins = ordered[:, -1] - ordered[:, -2]
        splits.append(Answers(margins, first.argmax(1) == split.labels, last.argmax(1) == split.labels))
    return splits[0], splits[1]


def lowest_threshold(calibration: Answers) -> int:
    """The lowest margin from which stage 0 answers, by which the cascade loses nothing."""
    for threshold in np.unique(calibration.margins):
        if calibration.accuracy(calibration.margins < threshold) >= calibration.last.mean():
            return int(threshold)
    return int(calibration.margins.max()) + 1


def compare(max_luts: int, share: float, forwarded: Flags, folder: Path) -> Compared:
    """The last stage alone and the cascade, each as fast as so many look-up tables allow."""
    board = load_board(BOARD)
    stages = [_ZOO / "stage0.onnx", _ZOO / "stage1.onnx"]
    [alone] = intervals(stages[1:], folded(stages[1:], Aim(board, None, max_luts, (1.0,)), [{}]).solved, folder)
    both = intervals(stages, folded(stages, Aim(board, None, max_luts, (1.0, share)), [{}, {}]).solved, folder)

    def rate(images: Flags) -> float:
        return board.clock_mhz * 1e6 * len(images) / passed(images, both, FRAME_SLOTS)

    return Compared(
        max_luts,
        board.clock_mhz * 1e6 / alone,
        rate(forwarded),
        rate(in_bursts(forwarded)),
        rate(np.ones(len(forwarded), bool)),
        tuple(both),
        alone,
    )


def in_bursts(forwarded: Flags) -> Flags:
    """The same count of forwarded images, in bursts."""
    bursts = -(-int(forwarded.sum()) // BURST)
    starts = np.linspace(0, len(forwarded), bursts, endpoint=False).astype(int)
    placed = np.zeros(len(forwarded), bool)
    left = int(forwarded.sum())
    for start in starts:
        some = min(BURST, left, len(forwarded) - start)
        placed[start : start + some] = True
        left -= some
    return placed


def passed(forwarded: Flags, intervals: Sequence[int], slots: int) -> float:
    """Cycles until all images are answered: stage 0 stands still while `slots` frames wait for stage 1 or are in it."""
    ends: list[float] = []  # of the frames in stage 1
    first = last = 0.0
    for goes_on in forwarded:
        begin = first
        if len(ends) >= slots:
            begin = max(begin, ends[-slots])
        first = begin + intervals[0]
        if goes_on:
            last = max(last, first) + intervals[1]
            ends.append(last)
    return max(first, last)


def intervals(networks: Sequence[Path], solved: Solved, folder: Path) -> list[int]:
    """Cycles from a frame to the next at each stage of a kernel, Verilated."""
    facts = DataSetFacts(*data_set_of(_ZOO))
    name = "_".join(f"{path.stem}_{folding.cycles}" for path, folding in zip(networks, solved.foldings, strict=True))
    stages = [
        Network(f"stage{at}", path, folding)
        for at, (path, folding) in enumerate(zip(networks, solved.foldings, strict=True))
    ]
    package = compile_package("cascade", stages, facts, None, folder / "packages" / name)

    def measure(_: str) -> dict[str, Any]:
        build_library(package)
        fabric = VerilatedFabric(package)
        try:
            measured = fabric.measure_intervals(random_images(package.kernel.input, _FRAMES, _SEED))
        finally:
            fabric.close()
        return {"intervals": [each.interval_cycles for each in measured]}

    rtl = {file: (package.path / file).read_text() for file in package.kernel.files if file.startswith("rtl/")}
    return [int(interval) for interval in found(folder, "verilator", rtl, measure)["intervals"]]


def _table(compared: Sequence[Compared]) -> PlainTable:
    columns = ("LUTs", "last stage alone", "cascade in order", "ratio", "in bursts", "all go on")
    table = PlainTable("Images a second", columns, words=())
    for each in compared:
        table.add_row(
            str(each.max_luts), f"{each.alone:.0f}", f"{each.in_order:.0f}", f"{each.in_order / each.alone:.2f}",
            f"{each.bursts:.0f}", f"{each.all_forwarded:.0f}",
        )  # fmt: skip
    return table
