"""The cost model's prices, fitted to instances that were synthesised: `python -m edgesight.bench.folding.fitting`.

Prices are not negative, and each instance counts by its relative error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from edgesight.bench.folding import kernels
from edgesight.bench.folding.drawn import drawn
from edgesight.bench.folding.parts import tables, taken_by_parts
from edgesight.hls.cost import model as cost
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import BY_MODULE, REGISTERS, Features
from edgesight.hls.cost.kernel import KERNEL, kernel_features
from edgesight.hls.cost.model import CostModel
from edgesight.hls.rtl.parts import Part
from edgesight.host.files import write_atomically
from edgesight.sim.workers import progress

# Seeds and numbers of the networks that the model is fitted to, instance by instance.
FITTED_TO = ((1, range(32)), (3, range(16)))
BATCH = 4  # networks that go through one synthesis
_FLOOR = 16.0  # cells; an error in fewer counts as one in so many
FITTED = ("luts", "flip_flops")


def batches(numbers: range) -> Iterator[range]:
    """Those of some drawn networks that go through one synthesis."""
    return (numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH))


def synthesised(folder: Path) -> list[list[tuple[Part, Cells]]]:
    """By network that the model is fitted to, each instance with what it takes; raises BoardError."""
    found = []
    with progress() as bar:
        task = bar.add_task("networks to fit to", total=sum(len(numbers) for _, numbers in FITTED_TO))
        for seed, all_numbers in FITTED_TO:
            for numbers in batches(all_numbers):
                found += taken_by_parts([drawn(seed, number).emitted() for number in numbers], folder)
                bar.advance(task, len(numbers))
    return found


def around(folder: Path) -> list[tuple[Features, Cells]]:
    """What is around the networks of kernels, each with what it takes; raises BoardError."""
    drawn_kernels = [kernels.networks(*kernel) for kernel in kernels.KERNELS]
    return [(kernel_features(stages), kernels.taken(stages, folder)) for stages in drawn_kernels]


def fitted(
    instances: Sequence[tuple[Part, Cells]],
    tables: tuple[list[list[list[int]]], list[int]],
    kernels: Sequence[tuple[Features, Cells]],
) -> CostModel:
    """Prices of every module's features that fit what instances, and what is around a kernel's networks, take."""
    bare = CostModel({}, *tables)
    rows = [
        ({(part.module, name): count for name, count in bare.features(part).items()}, cells)
        for part, cells in instances
    ]
    rows += [({(KERNEL, name): count for name, count in features.items()}, cells) for features, cells in kernels]
    prices: dict[str, dict[str, dict[str, float]]] = {
        module: {of: {} for of in FITTED} for module in (*BY_MODULE, KERNEL)
    }
    for resource in FITTED:
        for (module, name), price in _prices(rows, resource).items():
            prices[module][resource][name] = price
    return CostModel(prices, *tables)


def _prices(rows: Sequence[tuple[dict[tuple[str, str], float], Cells]], resource: str) -> dict[tuple[str, str], float]:
    names = sorted({name for features, _ in rows for name, count in features.items() if count})
    counted = {module for module, feature in names if feature == REGISTERS}
    if resource == "luts":
        names = [name for name in names if name[1] != REGISTERS]
    else:
        names = [name for name in names if name[0] not in counted or name[1] == REGISTERS]
    counts = np.array([[features.get(name, 0.0) for name in names] for features, _ in rows])
    cells = np.array([getattr(cells, resource) for _, cells in rows], float)
    weight = 1 / np.maximum(cells, _FLOOR)
    scale = np.maximum(counts.max(axis=0), 1.0)
    found, _ = nnls(counts / scale * weight[:, None], cells * weight, maxiter=100 * len(names))
    return {name: round(float(price), 4) for name, price in zip(names, found / scale, strict=True) if price}


def written(model: CostModel, path: Path) -> None:
    """Keep a model in a file."""
    body: dict[str, Any] = {"made_by": "python -m edgesight.bench.folding.fitting", "products": model.products}
    body |= {"largest": model.largest, "prices": model.prices}
    write_atomically(path, (json.dumps(body, indent=1) + "\n").encode())


def refit(folder: Path) -> CostModel:
    """Fit the model anew, with what was synthesised before kept in `folder`; writes it where the compiler reads it."""
    instances = [instance for network in synthesised(folder) for instance in network]
    model = fitted(instances, tables(folder), around(folder))
    written(model, Path(cost.__file__).parent / "xc7.json")
    return model


if __name__ == "__main__":
    refit(Path("build/bench/folding/cost").resolve())
