"""What is worth saying of a data set before hours go into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from edgesight.host.files import from_home
from edgesight.quant.splits import DataSet


def remarks(data: DataSet, data_set: str) -> list[str]:
    """What is odd about a data set, and what its size lets one expect: a line each, for before the hours.

    `data_set` is the name that it was loaded by; of a folder, empty folders are named, too.
    """
    said = []
    root = from_home(data_set.removeprefix("folder:"))
    if data_set.startswith("folder:") and root.is_dir():
        folders = [path for path in root.rglob("*") if path.is_dir()]
        empty = sorted(str(path.relative_to(root)) for path in folders if not any(path.iterdir()))
        if empty:
            said.append(f"{_listed(empty)}: an empty folder is no class; what is to be told apart needs pictures")
    splits = {"train": data.train, "calibration": data.calibration, "test": data.test}
    counts = {name: np.bincount(split.labels, minlength=len(data.classes)) for name, split in splits.items()}
    of_class = np.sum(list(counts.values()), axis=0)
    few = [
        f"{name} ({of_class[index]}: " + ", ".join(f"{counts[split][index]} {split}" for split in splits) + ")"
        for index, name in enumerate(data.classes)
        if of_class[index] < _FEW_OF_A_CLASS
    ]
    if few:
        said.append(
            f"few pictures of {_listed(few)}: some hundred of a class can be learnt from and measured, these hardly"
        )
    images = len(data.calibration)
    if images < _ENOUGH:
        # The distance of a one-sided 95 % bound from a measured share of 90 %, by the normal approximation.
        below = 100 * 1.64 * math.sqrt(0.9 * 0.1 / max(1, images * _TESTED))
        pictures = math.ceil(_ENOUGH / max(1, images) * sum(map(len, splits.values())) / 1_000) * 1_000
        said.append(
            f"{images} calibration images: at an accuracy of 90 % a target will lie about {below:.1f} points below it, "
            f"since so few images prove no more; one point takes about {_ENOUGH:,} of them, here about {pictures:,} "
            "pictures in all"
        )
    return said


_FEW_OF_A_CLASS: Final = 50


_ENOUGH: Final = 3_500  # calibration images, for a target one point below an accuracy of 90 %


_TESTED: Final = 0.7  # share of them that a target is tested on; the others fit the confidence curves


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
