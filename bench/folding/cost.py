"""Section `cost`: the cost model against Yosys, layer by layer, on drawn networks that its prices were not fitted to.

A layer is a matrix with all that hangs on it up to the next one: its window, its memories, its quantiser, poolings and
joins. Every instance is mapped by itself, as where the hierarchy is kept. Some of the networks are mapped as one module
as well, where Yosys finds other, mostly larger solutions for the same logic: that spread is the mapper's own, and is
told without a bar.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.drawn import Drawn, drawn
from edgesight.bench.folding.fitting import batches
from edgesight.bench.folding.parts import taken_by_parts, taken_whole
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.model import cost_model
from edgesight.hls.dataflow.operators import Matrix
from edgesight.hls.rtl.parts import Part
from edgesight.sim.workers import progress

# None of which the model was fitted to. Those before them were to be so, too, but showed what the model lacked; number
# 33 showed that Yosys puts some FIFOs into block memory.
SEED, NUMBERS = 3, range(16, 56)
AS_ONE = 8  # of them are mapped as one module, too
LAYERS = 40  # at least
MEDIAN, WORST = 0.10, 0.25  # of the relative error
APART, WHOLE = "instance by instance", "as one module"
_RESOURCES: Mapping[str, str] = {"LUT": "luts", "FF": "flip_flops", "BRAM": "half_blocks", "DSP": "dsps"}
_BARRED = ("LUT", "FF", "BRAM")
_NOTHING = Cells(0, 0, 0, 0)


@dataclass(frozen=True)
class Predicted:
    """A layer, or a network, with what it takes, mapped in one way, and what was predicted."""

    name: str
    mapped: str  # APART or WHOLE
    taken: Cells
    predicted: Cells

    def error(self, resource: str) -> float | None:
        """The relative error; None where there is nothing to predict and nothing was."""
        taken, predicted = (getattr(cells, _RESOURCES[resource]) for cells in (self.taken, self.predicted))
        return None if taken == predicted == 0 else (predicted - taken) / max(taken, 1)


def lacks(_: Asked) -> str | None:
    """What is missing: nothing but Yosys, which says so itself."""
    return None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Synthesise the networks and predict what they take; raises BoardError."""
    folder = folder.resolve()
    found = [*apart(folder), *whole(folder)]
    console.print(_table(found))
    body: dict[str, Any] = {
        "seed": SEED,
        "layers": [asdict(each) | {"errors": {of: each.error(of) for of in _RESOURCES}} for each in found],
    }
    return Found(body, tuple(checks_of(found)))


def apart(folder: Path) -> list[Predicted]:
    """The layers of the networks, instance by instance."""
    found = []
    with progress() as bar:
        task = bar.add_task("networks by instances", total=len(NUMBERS))
        for numbers in batches(NUMBERS):
            networks = [drawn(SEED, number) for number in numbers]
            taken = taken_by_parts([network.emitted() for network in networks], folder)
            for network, parts in zip(networks, taken, strict=True):
                found += layers(network, parts)
            bar.advance(task, len(numbers))
    return found


def layers(network: Drawn, parts: Sequence[tuple[Part, Cells]]) -> list[Predicted]:
    """The layers of a network, by its instances with what they take."""
    places = [place for place, operator in enumerate(network.network.operators) if isinstance(operator, Matrix)]
    found = []
    for first, end in zip([0, *places[1:]], [*places[1:], len(network.network.operators)], strict=True):
        own = [(part, cells) for part, cells in parts if first <= part.place < end]
        taken = sum((cells for _, cells in own), _NOTHING)
        layer = network.network.operators[first or places[0]].name
        predicted = cost_model().parts(part for part, _ in own)
        found.append(Predicted(f"{network.name} {layer}", APART, taken, predicted))
    return found


def whole(folder: Path) -> list[Predicted]:
    """Some of the networks, as one module each."""
    found = []
    with progress() as bar:
        task = bar.add_task("networks as one module", total=AS_ONE)
        for numbers in batches(NUMBERS[:AS_ONE]):
            networks = [drawn(SEED, number).emitted() for number in numbers]
            for network, taken in zip(networks, taken_whole(networks, folder), strict=True):
                found.append(Predicted(network.name, WHOLE, taken, cost_model().parts(network.parts)))
            bar.advance(task, len(numbers))
    return found


def checks_of(found: Sequence[Predicted]) -> list[Check]:
    """How many layers there are, and the median and worst error of each resource, over those that have any of it."""
    some = [each for each in found if each.mapped == APART]
    checks = [Check("layers that the prices were not fitted to", len(some), LAYERS, False, "layers", "measured")]
    for resource in _BARRED:
        errors = {each.name: abs(error) for each in some if (error := each.error(resource)) is not None}
        if not errors:
            continue
        worst = max(errors, key=errors.__getitem__)
        of = f"{resource} of {len(errors)} layers"
        checks += [
            Check(f"median error, {of}", statistics.median(errors.values()), MEDIAN, True, "ratio", "measured"),
            Check(f"worst error, {of} ({worst})", errors[worst], WORST, True, "ratio", "measured"),
        ]
    return checks


def _table(found: Sequence[Predicted]) -> PlainTable:
    columns = ("layer", "mapped", "Yosys", "predicted", "LUT error")
    table = PlainTable("The cost model against Yosys", columns, words=("layer", "mapped"))
    for each in found:
        error = each.error("LUT") or 0.0
        table.add_row(each.name, each.mapped, str(each.taken), str(each.predicted), f"{error:+.1%}")
    return table
