"""Section `cascade`: a cascade folded by its exit rates beside its last stage alone, at equal look-up tables.

Fashion-MNIST, whole test set. Stages are those of the zoo's steep pair; the threshold is the lowest by which the
cascade is as accurate as its last stage alone on the calibration split; nothing is offloaded. Foldings come from the
solver for the PYNQ-Z2; intervals are those of the Verilated kernels. From them the passage of the test set in its own
order, and in bursts of images that all go on, is computed image by image. The first images of both orders also go
through the Verilated cascade itself, by which that passage is checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
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
from edgesight.hls.checks import FRAME_SLOTS
from edgesight.hls.compile import DataSetFacts, Network, compile_package, read_network
from edgesight.hls.cost.cells import Cells
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.zoo import data_set_of
from edgesight.host.fabric.base import ALWAYS, Images
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import random_images
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import build_library

FASTER, LOSS = 3.0, 0.001  # rate over the last stage's, and accuracy that it may cost
NEAR = 0.02  # of the cycles that the Verilated cascade takes for some images, by which the computed ones may be off
BOARD = "pynq-z2"
MAX_LUTS = 42_000  # what the solver takes of the board's
BURST = 64  # images one after the other that all go on
SLOTS = 64  # frames that the cascade buffers: a burst, and more than the last stage alone has use for
SURE = 3.0  # standard deviations of a share: of other images, hardly ever more go on
REPLAYED = 1000  # images through the Verilated cascade, in each order: a few bursts and what follows them
_FRAMES, _SEED, _BATCH = 12, 0, 256
ZOO = ROOT / "quant" / "zoo" / "fashion-mnist-steep"
_STAGES = (ZOO / "stage0.onnx", ZOO / "stage1.onnx")
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
class Built:
    """A kernel that the solver folded: predicted cells, and Verilated cycles from a frame to the next at each stage."""

    predicted: Cells
    intervals: tuple[int, ...]


@dataclass(frozen=True)
class Replayed:
    """Images through the Verilated cascade: what it took, what was computed, and images that another stage answered."""

    order: str
    images: int
    cycles: int
    computed: int
    elsewhere: int


@dataclass(frozen=True)
class Compared:
    """Rates in images a second, by Verilated intervals."""

    alone: float
    in_order: float
    bursts: float  # the same images, the forwarded ones in bursts
    all_forwarded: float  # the worst case


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
    folder = folder.resolve()
    images, calibration, test = answers()
    threshold = lowest_threshold(calibration)
    share = float((calibration.margins < threshold).mean())
    forwarded = test.margins < threshold
    alone, both, replayed = built(share, threshold, images, forwarded, folder)
    compared = compare(alone, both, forwarded)
    loss = float(test.last.mean()) - test.accuracy(forwarded)
    console.print(_table(compared, alone, both))
    told = (
        f"threshold {threshold}: {share:.1%} of the calibration split go on, {forwarded.mean():.1%} of the test set; "
        f"accuracy {test.first.mean():.2%} of the first stage alone, {test.last.mean():.2%} of the last, "
        f"{test.accuracy(forwarded):.2%} of the cascade"
    )
    console.print(told, highlight=False, soft_wrap=True)
    body: dict[str, Any] = {
        "threshold": threshold,
        "forwarded": {"calibration": share, "test": float(forwarded.mean())},
        "accuracy": {
            "first_stage": float(test.first.mean()),
            "last_stage": float(test.last.mean()),
            "cascade": test.accuracy(forwarded),
        },
        "built": {"alone": asdict(alone), "cascade": asdict(both)},
        "compared": asdict(compared),
        "replayed": [asdict(each) for each in replayed],
    }
    return Found(body, tuple(checks_of(compared, loss, replayed)))


def checks_of(compared: Compared, loss: float, replayed: Sequence[Replayed]) -> list[Check]:
    """The rates over the last stage's alone, in order and in bursts, what they cost, and how sure they are."""
    checks = [Check("accuracy lost against the last stage alone", loss, LOSS, True, "share", "simulated")]
    for name, rate in (("in order", compared.in_order), ("in bursts", compared.bursts)):
        what = f"images/s over those of the last stage alone, {name}, {MAX_LUTS} LUTs"
        checks.append(Check(what, rate / compared.alone, FASTER, False, "ratio", "simulated"))
    for each in replayed:
        off = abs(each.computed / each.cycles - 1)
        what = f"computed cycles of {each.images} images {each.order} beside the Verilated cascade's"
        checks.append(Check(what, off, NEAR, True, "share", "simulated"))
        checks.append(
            Check(f"images {each.order} that another stage answered", each.elsewhere, 0, True, "images", "simulated")
        )
    return checks


def answers() -> tuple[Images, Answers, Answers]:
    """The images of the test set, and what the stages say of the calibration split and of these."""
    from edgesight.quant import datasets

    data = datasets.load("fashion-mnist", datasets.folder_of("fashion-mnist", None, _FETCHED))
    stages = [Reference(read_network(path)) for path in _STAGES]
    splits = []
    for split in (data.calibration, data.test):
        first, last = (_logits(stage, split.images) for stage in stages)
        ordered = np.sort(first, axis=1)
        margins = ordered[:, -1] - ordered[:, -2]
        splits.append(Answers(margins, first.argmax(1) == split.labels, last.argmax(1) == split.labels))
    return data.test.images, splits[0], splits[1]


def _logits(stage: Reference, images: Images) -> npt.NDArray[np.int64]:
    """Integer logits [N, classes]."""
    batches = [images[start : start + _BATCH].astype(np.int64) for start in range(0, len(images), _BATCH)]
    return np.concatenate([stage.integers(batch)[0].reshape(len(batch), -1) for batch in batches])


def lowest_threshold(calibration: Answers) -> int:
    """The lowest margin from which stage 0 answers, by which the cascade loses nothing."""
    for threshold in np.unique(calibration.margins):
        if calibration.accuracy(calibration.margins < threshold) >= calibration.last.mean():
            return int(threshold)
    return int(calibration.margins.max()) + 1


def built(
    share: float, threshold: int, images: Images, forwarded: Flags, folder: Path
) -> tuple[Built, Built, list[Replayed]]:
    """The last stage alone and the cascade, each as fast as so many look-up tables allow, and images through this.

    The last stage is folded for a larger share than the calibration split's, since of other images more may go on.
    """
    board = load_board(BOARD)
    of_others = share + SURE * math.sqrt(share * (1 - share) / len(images))
    alone = folded(_STAGES[1:], Aim(board, None, MAX_LUTS, (1.0,)), [{}]).solved
    both = folded(_STAGES, Aim(board, None, MAX_LUTS, (1.0, of_others), SLOTS), [{}, {}]).solved
    [interval], _ = verilated(_STAGES[1:], alone, FRAME_SLOTS, {}, folder)
    orders = {"in order": np.arange(len(images)), "in bursts": order_of(forwarded)}
    first = {name: order[:REPLAYED] for name, order in orders.items()}
    frames = {name: (images[order], threshold) for name, order in first.items()}
    intervals, passages = verilated(_STAGES, both, SLOTS, frames, folder)
    replayed = [
        Replayed(
            name,
            len(order),
            passages[name].cycles,
            round(passed(forwarded[order], intervals, SLOTS)),
            int((np.array(passages[name].stages) != forwarded[order]).sum()),
        )
        for name, order in first.items()
    ]
    return Built(alone.cells, (interval,)), Built(both.cells, tuple(intervals)), replayed


def compare(alone: Built, both: Built, forwarded: Flags) -> Compared:
    """The rates at the board's clock."""
    clock = load_board(BOARD).clock_mhz * 1e6

    def rate(flags: Flags) -> float:
        return clock * len(flags) / passed(flags, both.intervals, SLOTS)

    return Compared(
        clock / alone.intervals[0],
        rate(forwarded),
        rate(in_bursts(forwarded)),
        rate(np.ones(len(forwarded), bool)),
    )


def order_of(forwarded: Flags) -> npt.NDArray[np.int64]:
    """The images in an order by which those that go on come in bursts."""
    placed = in_bursts(forwarded)
    order = np.empty(len(forwarded), np.int64)
    order[placed], order[~placed] = np.flatnonzero(forwarded), np.flatnonzero(~forwarded)
    return order


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


@dataclass(frozen=True)
class Passage:
    """What a Verilated kernel did with images: cycles, and which stage answered each."""

    cycles: int
    stages: list[int]  # as the records have them: of an image that is to be offloaded with a bit more


def verilated(
    networks: Sequence[Path], solved: Solved, slots: int, frames: Mapping[str, tuple[Images, int]], folder: Path
) -> tuple[list[int], dict[str, Passage]]:
    """Cycles from a frame to the next at each stage of a kernel, and the passage of `frames` under their thresholds."""
    facts = DataSetFacts(*data_set_of(ZOO))
    name = "_".join(f"{path.stem}_{folding.cycles}" for path, folding in zip(networks, solved.foldings, strict=True))
    stages = [
        Network(f"stage{at}", path, folding)
        for at, (path, folding) in enumerate(zip(networks, solved.foldings, strict=True))
    ]
    package = compile_package("cascade", stages, facts, None, folder / "packages" / name, slots)

    def measure(_: str) -> dict[str, Any]:
        build_library(package)
        fabric = VerilatedFabric(package)
        try:
            measured = fabric.measure_intervals(random_images(package.kernel.input, _FRAMES, _SEED))
            passages = {key: asdict(_passage(fabric, images, least)) for key, (images, least) in frames.items()}
        finally:
            fabric.close()
        return {"intervals": [each.interval_cycles for each in measured], "passages": passages}

    made_of = {file: (package.path / file).read_text() for file in package.kernel.files if file.startswith("rtl/")}
    for key, (images, least) in frames.items():
        made_of[key] = f"{least} {hashlib.sha256(images.tobytes()).hexdigest()}"
    kept = found(folder, "verilator", made_of, measure)
    return [int(each) for each in kept["intervals"]], {key: Passage(**each) for key, each in kept["passages"].items()}


def _passage(fabric: VerilatedFabric, images: Images, threshold: int) -> Passage:
    """Send images one behind the other; the last stage answers whatever its margin is."""
    fabric.reset()
    fabric.set_thresholds(0, [threshold, ALWAYS])
    before = fabric.simulated_cycles
    records = fabric.run(images, np.zeros(len(images), np.uint8))
    return Passage(fabric.simulated_cycles - before, [int(stage) for stage in records["stage"]])


def _table(compared: Compared, alone: Built, both: Built) -> PlainTable:
    columns = ("kernel", "LUTs, predicted", "DSPs", "cycles by stage", "in order", "in bursts", "all go on")
    table = PlainTable("Images a second", columns, words=("kernel",))
    rates = (compared.in_order, compared.bursts, compared.all_forwarded)
    for name, kernel, told in (
        ("last stage alone", alone, [f"{compared.alone:.0f}"] * 3),
        ("cascade", both, [f"{rate:.0f} ({rate / compared.alone:.2f}x)" for rate in rates]),
    ):
        taken = kernel.predicted
        table.add_row(name, str(taken.luts), str(taken.dsps), ", ".join(map(str, kernel.intervals)), *told)
    return table
