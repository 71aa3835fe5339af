"""A site whose pictures are darker and of other shares of classes: recalibrated there, while its edge is asked.

Words owned here: site.
"""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.link.programs import Asked as AskedOf
from edgesight.bench.link.programs import Material, asking
from edgesight.bench.photograph.asked import Found
from edgesight.bench.photograph.kernels import LOSS, Made
from edgesight.bench.photograph.processes import DEADLINE_MS, pair
from edgesight.bench.photograph.stranger import pictures_of
from edgesight.bench.report import Check
from edgesight.host.package import Package
from edgesight.quant.splits import DataSet, Split

RESPLITS = 200
HELD = 0.95  # share of the re-splits in which all offered targets hold
LIGHT = 0.6  # of the light that is left
RARE = 3  # of every second class one picture of so many is left
PER_SECOND = 4.0  # queries while thresholds are swapped
_BEFORE_S, _AFTER_S = 6.0, 6.0
_QUALITY = 95
_TYPES = "edgesight.host.calibrate"


@dataclass(frozen=True)
class Site:
    """Its pictures: a folder of class folders, and how many there are."""

    folder: Path
    pictures: list[Path]


def site_of(data: DataSet, dataset: str, folder: Path) -> Site:
    """Pictures that nothing was trained on, darkened, in other shares of classes, as files in `folder`."""
    written: list[Path] = []
    for name, split in (("calibration", data.calibration), ("test", data.test)):
        chosen = kept(split)
        files = pictures_of(split, chosen, dataset, folder / f"{name}-files")
        for number, (index, file) in enumerate(zip(chosen, files, strict=True)):
            below = folder / "pictures" / data.classes[split.labels[index]]
            below.mkdir(parents=True, exist_ok=True)
            # Letters alone: figures at a name's end would tell of groups of pictures.
            written.append(below / f"{name}{number}x.jpg")
            written[-1].write_bytes(darkened(file.read_bytes()))
    return Site(folder / "pictures", written)


def kept(split: Split) -> npt.NDArray[np.int64]:
    """Which pictures of a split are the site's: all of every other class, and few of those between."""
    rows: list[int] = []
    for label in np.unique(split.labels):
        own = np.flatnonzero(split.labels == label)
        rows += own[:: RARE if label % 2 else 1].tolist()
    return np.array(sorted(rows), np.int64)


def darkened(content: bytes) -> bytes:
    """A picture's file with less light."""
    with Image.open(io.BytesIO(content)) as picture:
        values = np.asarray(picture.convert("RGB"), np.float64) * LIGHT
    made = io.BytesIO()
    Image.fromarray(values.round().astype(np.uint8)).save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()
