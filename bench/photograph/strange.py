"""How many strange pictures a kernel flags, how many of its own, and what that costs."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.host.images import image_content, read_image
from edgesight.host.novelty import NoveltyTest, novelty_test
from edgesight.host.package import Package
from edgesight.host.picture_files import SUFFIXES
from edgesight.host.pictures import read, refit
from edgesight.quant.splits import DataSet

FLAGGED = 0.95  # share of strange pictures of each kind, at least
OWN = 0.02  # share of the test split, at most
MS = 1.0  # a picture on one core
MOST = 500  # pictures of a kind
_TIMED = 300
_SEED = 11

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kernel:
    """A kernel that tells strange pictures.

    Attributes:
        package: it.
        data: its data set, in its forms.
        odd: names of odd pictures that are strange to it.
        others: strange pictures in its back end's form, by a name for people.
        told: pictures in that form of which it is only told how many are flagged, by a name for people.
    """

    package: Package
    data: DataSet
    odd: tuple[str, ...]
    others: Mapping[str, Pixels]
    told: Mapping[str, Pixels]


def measure(kernels: Mapping[str, Kernel], pictures: Path | None, console: Console) -> Found:
    """Flag pictures of all kinds by each of the kernels, whose names these are; `pictures` is the folder of odd ones.

    Raises KernelError where a package's test cannot be used, or ImageError.
    """
    body: dict[str, Any] = {}
    checks: list[Check] = []
    for name, kernel in kernels.items():
        console.print(f"strange to {name} ...", highlight=False, markup=False)
        test = novelty_test(kernel.package)
        if test is None:
            body[name] = None
            checks.append(Check(f"strange to {name}: tells strange pictures", 0, 1, False, "kernel", "measured"))
            continue
        shown = some(kernel.data)
        kinds = kinds_of(shown) | dict(kernel.others)
        flagged = {kind: float(test.strange(images).mean()) for kind, images in kinds.items()}
        own, each = float(test.strange(kernel.data.test.photographs).mean()), milliseconds(test, shown)
        odd = odd_pictures(test, kernel, pictures)
        body[name] = {
            "flagged": flagged,
            "pictures": {kind: len(images) for kind, images in kinds.items()},
            "own": own,
            "test_images": len(kernel.data.test),
            "level": test.level,
            "calibration_images": len(test.reference),
            "milliseconds": each,
            "odd": odd,
            "told": {kind: float(test.strange(images).mean()) for kind, images in kernel.told.items()},
        }
        for kind, share in flagged.items():
            unit = f"of {len(kinds[kind])}"
            checks.append(Check(f"strange to {name}: {kind}", share, FLAGGED, False, unit, "measured"))
        checks.append(
            Check(f"strange to {name}: its own", own, OWN, True, f"of {len(kernel.data.test)} images", "measured")
        )
        checks.append(Check(f"strange to {name}: time", each, MS, True, "ms a picture", "measured"))
        missed = [file for file, found in odd.items() if not found["strange"]]
        if odd:
            checks.append(
                Check(f"strange to {name}: odd pictures missed", len(missed), 0, True, f"of {len(odd)}", "measured")
            )
    return Found(body, tuple(checks))


def kinds_of(own: Pixels) -> dict[str, Pixels]:
    """Noise and white pictures, in the form of `own` uint8 [N, H, W, C]."""
    noise = np.random.default_rng(_SEED).integers(0, 256, own.shape, np.uint8)
    return {"noise": noise, "white": np.full_like(own[:1], 255)}


def odd_pictures(test: NoveltyTest, kernel: Kernel, folder: Path | None) -> dict[str, dict[str, Any]]:
    """What is said of the odd pictures in a folder, by their files' names."""
    found: dict[str, dict[str, Any]] = {}
    for name in kernel.odd if folder is not None else ():
        assert folder is not None
        told = kernel.package.kernel
        picture = read_image(image_content(folder / name), told.input, name, told.backend_input)
        value = test.p_value(picture.for_back_end)
        found[name] = {"p_value": value, "strange": value < test.level}
    return found


def milliseconds(test: NoveltyTest, images: Pixels) -> float:
    """Median time of a picture's p-value on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        took = []
        for image in images[:_TIMED]:
            begun = time.perf_counter()
            test.p_value(image)
            took.append(time.perf_counter() - begun)
    finally:
        os.sched_setaffinity(0, cores)
    return float(np.median(took)) * 1e3


def pictures_in(path: Path, shape: tuple[int, int, int]) -> Pixels:
    """Pictures of a folder or .zip file, evenly from all over, in the form `shape` (H, W, C): uint8 [N, H, W, C].

    Raises Unreadable where one cannot be read, and OSError.
    """

    def spread(names: list[str]) -> list[str]:
        named = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)
        return named[:: max(1, -(-len(named) // MOST))]

    if path.is_dir():
        below = [str(file) for file in path.rglob("*") if file.is_file()]
        contents = [Path(name).read_bytes() for name in spread(below)]
    else:
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(name) for name in spread(archive.namelist())]
    return np.stack([read(content, *shape).pixels for content in contents])


def some(data: DataSet) -> Pixels:
    """Pictures of a data set's test split in its back end's form: uint8 [N, H, W, C]."""
    return data.test.photographs[np.random.default_rng(_SEED).permutation(len(data.test))[:MOST]]


def refitted(pictures: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """`pictures` uint8 [N, H, W, C] in another form `shape` (H, W, C)."""
    return np.stack([refit(picture, shape) for picture in pictures])
