"""A site whose pictures are darker and of other shares of classes: recalibrated there, while its edge is asked.

Words owned here: site.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.kept import Found
from edgesight.bench.link.programs import Asked as Query
from edgesight.bench.link.programs import Material, asking
from edgesight.bench.photograph.kernels import LOSS, Made
from edgesight.bench.photograph.processes import DEADLINE_MS, pair
from edgesight.bench.recalibration import BRIGHTNESS, checks_of, recalibrate, site_of, write_folder
from edgesight.bench.report import Check
from edgesight.hls.package_reference import PackageReference
from edgesight.host.package import Package

RESPLITS = 200
CALIBRATED = 0.3  # share of the site's pictures that a re-split calibrates on; the rest is looked at
RARER = 2  # of so many classes one is rarer at the site
PER_SECOND = 4.0  # queries while thresholds are swapped
BEFORE_S, AFTER_S = 6.0, 6.0  # of queries before and after the swap


def measure(made: Made, folder: Path, console: Console) -> Found:
    """Recalibrate on half of a site's pictures, look at the other half, and swap under load.

    Raises CommandError, or what the link and the swap raise.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package, data = made.opened(), made.data()
    rarer = range(1, len(data.classes), RARER)
    site = site_of(data.test, rarer)  # pictures that nothing was learnt or chosen from
    found = recalibrate(
        package,
        PackageReference(package),
        site,
        loss=LOSS,
        calibration_images=round(CALIBRATED * len(site)),
        count=RESPLITS,
    )
    console.print(f"a site of {len(site)} pictures ...", highlight=False)
    pictures = folder / "pictures"
    write_folder(site, data.classes, pictures)
    recalibrated = folder / "kernel"
    shutil.copytree(made.package, recalibrated)
    calibrate = ["calibrate", str(recalibrated), f"folder:{pictures}", "--targets", "auto", "--loss", str(LOSS)]
    run_command(console, *calibrate)
    calibration = Package.load(recalibrated).kernel.calibration
    assert calibration is not None
    files = sorted(pictures.rglob("*.png"))
    swapped = asyncio.run(_swapped(made.package, recalibrated, files, folder / "link", console))
    body = {
        "pictures": len(site),
        "brightness": BRIGHTNESS,
        "resplits": asdict(found),
        "targets": [target.accuracy for target in calibration.targets],
        "refused": [refused.accuracy for refused in calibration.refused],
        "rests_on": calibration.rests_on.model_dump(),
        "swap": swapped,
    }
    asked = f"of {swapped['asked']} queries"
    answered = Check(
        "own site: answered while thresholds are swapped", swapped["answered"], 1.0, False, asked, "measured"
    )
    return Found(body, (*checks_of(found), answered))


async def _swapped(
    before: Path, after: Path, pictures: Sequence[Path], folder: Path, console: Console
) -> dict[str, Any]:
    """Ask an edge at a steady rate while the thresholds of `after` take the place of those of `before`."""
    running = folder / "kernel"
    shutil.copytree(before, running)
    asked: list[Query] = []
    material = Material(np.empty((len(pictures), 1, 1, 1), np.uint8), list(pictures), *[np.empty(0, np.int64)] * 2)
    async with pair(Package.load(running), folder) as both:

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
