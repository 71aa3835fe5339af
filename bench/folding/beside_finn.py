"""Section `finn`: layers of two networks, ours and FINN's, through the same synthesis and the same simulation.

Both at the same boundary: a map comes in, and what the thresholds make of its windows goes out; memories of weights
and FIFOs lie outside. FINN's streams are SIMD channels wide and PE outputs wide; ours are whole pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from edgesight.bench.folding import finn, ours
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.layers import CNV_SMALL, RESNET8, TIMES, Layer
from edgesight.bench.folding.ours import Simulated
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.cost.cells import DSP_COST, HALF_BLOCK_COST, Cells
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.workers import progress

IN_THE_SUM, IN_A_LAYER = 1.0, 1.2  # of our cost over theirs
NETWORKS: Mapping[str, Mapping[str, Layer]] = {"CNV W2A2": CNV_SMALL, "ResNet-8 W4A4": RESNET8}


@dataclass(frozen=True)
class Compared:
    """A layer of both. `model`: FINN's with its model for simulations in the place of its DSPs."""

    name: str
    layer: Layer
    times: int  # in its network
    ours: Cells
    theirs: Cells
    model: Cells
    our_fold: tuple[int, int]  # PE, SIMD
    threshold_pe: int  # of FINN's thresholds
    our_run: Simulated
    their_run: Simulated

    @property
    def ratio(self) -> float:
        """Our cost over theirs."""
        return self.ours.cost / self.theirs.cost

    def told(self) -> dict[str, Any]:
        """As it is reported."""
        costs = {"our_cost": self.ours.cost, "their_cost": self.theirs.cost, "ratio": self.ratio}
        return {**asdict(self), "title": self.layer.title, "interval_bound": self.layer.cycles, **costs}


def lacks(_: Asked) -> str | None:
    """What is missing, in words."""
    absent = missing_tools()
    return f"{', '.join(absent)} not found" if absent else None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Compare all layers; raises NotInstalled, FinnError, BoardError, StreamsError."""
    folder = folder.resolve()
    package = finn.library(folder)
    found = {name: compare(name, layers, package, folder) for name, layers in NETWORKS.items()}
    for name, layers in found.items():
        console.print(_table(name, layers))
    body = {
        "peer": finn.PACKAGE,
        "changes": [{"file": change.file, "why": change.why} for change in finn.CHANGES],
        "cost": f"LUT + {DSP_COST} a DSP + {HALF_BLOCK_COST} a RAMB18",
        "networks": {name: [each.told() for each in layers] for name, layers in found.items()},
    }
    return Found(body, tuple(check for name, layers in found.items() for check in checks_of(name, layers)))


def compare(network: str, layers: Mapping[str, Layer], package: Path, folder: Path) -> list[Compared]:
    """Both sides of each layer; what was found of one before stands."""
    budget = max(layer.cycles for layer in layers.values())
    with progress() as bar:
        task = bar.add_task(network, total=len(layers))
        found = []
        for name, layer in layers.items():
            found.append(compared(name, layer, package, folder, budget))
            bar.advance(task)
    return found


def compared(name: str, layer: Layer, package: Path, folder: Path, budget: int) -> Compared:
    """Both sides of a layer of a network that takes `budget` cycles a frame."""
    fold = ours.products(ours.emitted(layer)).fold
    theirs, threshold_pe = finn.taken(layer, package, folder, budget)
    return Compared(
        name=name,
        layer=layer,
        times=TIMES.get(name, 1),
        ours=ours.taken(layer, folder),
        theirs=theirs,
        model=finn.taken_by_model(layer, package, folder, threshold_pe),
        our_fold=(fold.pe, fold.simd),
        threshold_pe=threshold_pe,
        our_run=ours.simulated(layer, folder),
        their_run=finn.simulated(layer, package, folder, threshold_pe, ours.traffic(layer)),
    )


def checks_of(network: str, layers: Sequence[Compared]) -> list[Check]:
    """Our cost over theirs, in the sum and by layer, and whether both compute the same."""
    mine, theirs = (sum(each.times * cells.cost for each, cells in part) for part in (
        [(each, each.ours) for each in layers], [(each, each.theirs) for each in layers]
    ))  # fmt: skip
    wrong = sum(bool(run.error) for each in layers for run in (each.our_run, each.their_run))
    checks = [
        Check(f"{network}: our cost over FINN's", mine / theirs, IN_THE_SUM, True, "ratio", "measured"),
        Check(f"{network}: modules that compute something else", wrong, 0, True, "modules", "simulated"),
    ]
    for each in layers:
        what = f"{network}, {each.name} ({each.layer.title}): our cost over FINN's"
        checks.append(Check(what, each.ratio, IN_A_LAYER, True, "ratio", "measured"))
    return checks


def _table(network: str, layers: Sequence[Compared]) -> PlainTable:
    columns = ("layer", "ours", "FINN's", "cost", "FINN's cost", "ratio", "cycles", "FINN's cycles")
    table = PlainTable(f"{network}: ours and FINN's", columns, words=("layer", "ours", "FINN's"))
    for each in layers:
        ratio = Text(f"{each.ratio:.2f}", "green" if each.ratio <= IN_A_LAYER else "red", justify="right")
        table.add_row(
            each.name, str(each.ours), str(each.theirs), str(each.ours.cost), str(each.theirs.cost), ratio,
            f"{each.our_run.interval:.0f}", f"{each.their_run.interval:.0f}",
        )  # fmt: skip
    return table
