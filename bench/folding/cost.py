"""Section `cost`: the cost model against Yosys, on layers that its prices were not fitted to.

Each drawn network has a layer or two with what stands between. Instance by instance, as Yosys maps where the hierarchy
is kept, the networks are those of the fit: each few are predicted by prices that were fitted to all others. As one
module without hierarchy, where Yosys finds other, mostly larger solutions for the same logic, they are others,
predicted by the prices that the compiler has.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.folding import fitting
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.drawn import drawn
from edgesight.bench.folding.parts import tables, taken_whole
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.model import cost_model
from edgesight.sim.workers import progress

SEED, NETWORKS = 2, 44  # mapped as one module; none of which the model was fitted to
MEDIAN, WORST = 0.10, 0.25  # of the relative error
APART, WHOLE = "instance by instance", "as one module"
_RESOURCES: Mapping[str, str] = {"LUT": "luts", "FF": "flip_flops", "BRAM": "half_blocks", "DSP": "dsps"}
_BARRED = ("LUT", "FF", "BRAM")


@dataclass(frozen=True)
class Predicted:
    """A network with what it takes, mapped in one way, and what was predicted."""

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
        "seeds": {APART: fitting.SEED, WHOLE: SEED},
        "networks": [asdict(each) | {"errors": {of: each.error(of) for of in _RESOURCES}} for each in found],
    }
    return Found(body, tuple(checks_of(found)))


def apart(folder: Path) -> list[Predicted]:
    """The networks of the fit, each predicted by prices that were fitted to those of the other batches."""
    networks, measured = fitting.synthesised(folder), tables(folder)
    found = []
    for numbers in fitting.batches(len(networks)):
        others = [each for number, network in enumerate(networks) if number not in numbers for each in network]
        model = fitting.fitted(others, measured, [])
        for number in numbers:
            taken = sum((cells for _, cells in networks[number]), Cells(0, 0, 0, 0))
            name = f"drawn{fitting.SEED}_{number}"
            found.append(Predicted(name, APART, taken, model.parts(part for part, _ in networks[number])))
    return found


def whole(folder: Path) -> list[Predicted]:
    """Other networks, as one module each."""
    found = []
    with progress() as bar:
        task = bar.add_task("networks as one module", total=NETWORKS)
        for numbers in fitting.batches(NETWORKS):
            networks = [drawn(SEED, number).emitted() for number in numbers]
            for network, taken in zip(networks, taken_whole(networks, folder), strict=True):
                found.append(Predicted(network.name, WHOLE, taken, cost_model().parts(network.parts)))
            bar.advance(task, len(numbers))
    return found


def checks_of(found: Sequence[Predicted]) -> list[Check]:
    """Median and worst error of each resource, over the networks that have any of it, mapped in either way."""
    checks = []
    for how in (APART, WHOLE):
        for resource in _BARRED:
            some = [each for each in found if each.mapped == how]
            errors = {each.name: abs(error) for each in some if (error := each.error(resource)) is not None}
            if not errors:
                continue
            worst = max(errors, key=errors.__getitem__)
            of = f"{resource} of {len(errors)} networks, {how}"
            checks += [
                Check(f"median error, {of}", statistics.median(errors.values()), MEDIAN, True, "ratio", "measured"),
                Check(f"worst error, {of} ({worst})", errors[worst], WORST, True, "ratio", "measured"),
            ]
    return checks


def _table(found: Sequence[Predicted]) -> PlainTable:
    columns = ("network", "mapped", "Yosys", "predicted", "LUT error")
    table = PlainTable("The cost model against Yosys", columns, words=("network", "mapped"))
    for each in found:
        error = each.error("LUT") or 0.0
        table.add_row(each.name, each.mapped, str(each.taken), str(each.predicted), f"{error:+.1%}")
    return table
