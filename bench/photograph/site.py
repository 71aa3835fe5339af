"""A site whose pictures are darker and of other shares of classes: recalibrated there, while its edge is asked.

Words owned here: site.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.link.programs import Asked as Query
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
BEFORE_S, AFTER_S = 6.0, 6.0  # of queries before and after the swap
_QUALITY = 95


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


def measure(made: Made, folder: Path, console: Console) -> Found:
    """Recalibrate on half of a site's pictures, look at the other half, and swap under load.

    Raises CommandError, or what the link and the swap raise.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = made.data()
    site = site_of(data, made.dataset, folder)
    package = folder / "kernel"
    shutil.copytree(made.package, package)
    calibrate = ["calibrate", str(package), f"folder:{site.folder}", "--targets", "auto", "--loss", str(LOSS)]
    console.print(f"a site of {len(site.pictures)} pictures ...", highlight=False)
    run_command(console, *calibrate, "--resplits", str(RESPLITS))
    calibration = Package.load(package).kernel.calibration
    assert calibration is not None
    assert calibration.resplits is not None
    checked = calibration.resplits
    held = 1.0 - checked.broken / checked.count
    swapped = asyncio.run(_swapped(made.package, package, site.pictures, folder / "link", console))
    body = {
        "pictures": len(site.pictures),
        "light": LIGHT,
        "targets": [target.accuracy for target in calibration.targets],
        "refused": [refused.accuracy for refused in calibration.refused],
        "rests_on": calibration.rests_on.model_dump(),
        "resplits": checked.model_dump(),
        "swap": swapped,
    }
    asked = f"of {swapped['asked']} queries"
    checks = (
        Check("site: targets offered", len(calibration.targets), 1, False, "targets", "simulated"),
        Check("site: re-splits", checked.count, RESPLITS, False, "re-splits", "measured"),
        Check("site: re-splits in which all targets hold", held, HELD, False, f"of {checked.count}", "measured"),
        Check("site: answered while thresholds are swapped", swapped["answered"], 1.0, False, asked, "measured"),
    )
    return Found(body, checks)


async def _swapped(
    before: Path, after: Path, pictures: Sequence[Path], folder: Path, console: Console
) -> dict[str, Any]:
    """Ask an edge at a steady rate while the thresholds of `after` take the place of those of `before`."""
    running = folder / "kernel"
    shutil.copytree(before, running)
    asked: list[Query] = []
    material = Material(np.empty((len(pictures), 1, 1, 1), np.uint8), list(pictures), *[np.empty(0, np.int64)] * 2)
    async with pair(Package.load(running), folder, pictures[0]) as both:

        def deadline() -> float:
            return DEADLINE_MS / 1e3

        def image(count: int) -> int:
            return len(asked) % count

        async with asking(both.edge, both.socket, material, PER_SECOND, deadline, image, asked):
            await asyncio.sleep(BEFORE_S)
            shutil.copytree(after, running, dirs_exist_ok=True)
            at = time.monotonic()
            await asyncio.to_thread(run_command, console, "swap", "--socket", str(both.socket))
            swapped_s = time.monotonic() - at
            await asyncio.sleep(AFTER_S)
    answered = [one for one in asked if one.answer is not None]
    return {
        "asked": len(asked),
        "answered": len(answered) / max(1, len(asked)),
        "errors": sorted({one.error for one in asked if one.error is not None}),
        "longest_s": max((one.took_s for one in asked), default=0.0),
        "longest_kept_off_s": max((one.kept_off_s for one in asked), default=0.0),
        "swap_s": swapped_s,
        "under": sorted({one.answer.accuracy_target for one in answered if one.answer is not None}),
    }
