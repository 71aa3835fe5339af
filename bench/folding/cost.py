"""Section `cost`: the cost model against Yosys, on layers that it was not fitted to.

Each drawn network has a layer or two with what stands between. Yosys maps it twice: instance by instance, as it does
where the hierarchy is kept and as the model was fitted, and as one module without hierarchy, where its mapper finds
other, mostly larger solutions for the same logic.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.drawn import drawn
from edgesight.bench.folding.fitting import batches
from edgesight.bench.folding.parts import taken_apart, taken_whole
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.model import cost_model
from edgesight.sim.workers import progress

SEED, NETWORKS = 2, 44  # none of which the model was fitted to
MEDIAN, WORST = 0.10, 0.25  # of the relative error
_RESOURCES: Mapping[str, str] = {"LUT": "luts", "FF": "flip_flops", "BRAM": "half_blocks", "DSP": "dsps"}
_COLUMNS = ("network", "Yosys", "predicted", "LUT error", "as one module")
_BARRED = ("LUT", "FF", "BRAM")


@dataclass(frozen=True)
class Predicted:
    """A network with what it takes and what was predicted."""

    name: str
    modules: tuple[str, ...]
    apart: Cells  # instance by instance
    whole: Cells  # as one module
    predicted: Cells

    def error(self, resource: str, *, whole: bool = False) -> float | None:
        """The relative error; None where there is nothing to predict and nothing was."""
        mapped = self.whole if whole else self.apart
        taken, predicted = (getattr(cells, _RESOURCES[resource]) for cells in (mapped, self.predicted))
        return None if taken == predicted == 0 else (predicted - taken) / max(taken, 1)


def lacks(_: Asked) -> str | None:
    """What is missing: nothing but Yosys, which says so itself."""
    return None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Synthesise the networks and predict what they take; raises BoardError."""
    found = []
    with progress() as bar:
        task = bar.add_task("networks", total=NETWORKS)
        for numbers in batches(NETWORKS):
            networks = [drawn(SEED, number).emitted() for number in numbers]
            both = (taken_apart(networks, folder.resolve()), taken_whole(networks, folder.resolve()))
            for network, apart, whole in zip(networks, *both, strict=True):
                modules = tuple(sorted({part.module for part in network.parts}))
                predicted = cost_model().parts(network.parts)
                found.append(Predicted(network.name, modules, apart, whole, predicted))
            bar.advance(task, len(numbers))
    console.print(_table(found))
    body: dict[str, Any] = {
        "seed": SEED,
        "networks": [
            asdict(each)
            | {
                "errors": {of: each.error(of) for of in _RESOURCES},
                "errors_whole": {of: each.error(of, whole=True) for of in _RESOURCES},
            }
            for each in found
        ],
    }
    return Found(body, tuple(checks_of(found)))


def checks_of(found: Sequence[Predicted]) -> list[Check]:
    """Median and worst error of each resource, over the networks that have any of it, mapped in either way."""
    checks = []
    for whole, how in ((False, "instance by instance"), (True, "as one module")):
        for resource in _BARRED:
            errors = {
                each.name: abs(error) for each in found if (error := each.error(resource, whole=whole)) is not None
            }
            worst = max(errors, key=errors.__getitem__)
            of = f"{resource} of {len(errors)} networks, {how}"
            checks += [
                Check(f"median error, {of}", statistics.median(errors.values()), MEDIAN, True, "ratio", "measured"),
                Check(f"worst error, {of} ({worst})", errors[worst], WORST, True, "ratio", "measured"),
            ]
    return checks


def _table(found: Sequence[Predicted]) -> PlainTable:
    table = PlainTable(
        "The cost model against Yosys", ("network", "Yosys", "predicted", "LUT error"), words=("network",)
    )
    for each in found:
        errors = (each.error("LUT") or 0.0, each.error("LUT", whole=True) or 0.0)
        table.add_row(each.name, str(each.apart), str(each.predicted), *(f"{error:+.1%}" for error in errors))
    return table
