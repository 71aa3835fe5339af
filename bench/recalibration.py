"""Thresholds for a site of its own: its pictures are unlike those of the data set, and its targets must hold for them.

A site is made of a data set's held-back pictures: darkened, and some classes rarer. Many times over, the kernel is
calibrated on a part of the site's pictures, with suggested targets (`--targets auto`), and looked at on the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesight.bench.report import Check
from edgesight.host.accuracy_targets import AUTO, CalibrationError
from edgesight.host.calibrate import LOSSES, calibrate
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.kernel import Sample
from edgesight.host.link.quality import ladder_of
from edgesight.host.observed import Observed, right_under
from edgesight.host.package import Package
from edgesight.quant.splits import Photographs, Split
from edgesight.sim.observe import Stages, observe_once

BROKEN = 0.05  # share of re-splits that may miss a target
BRIGHTNESS = 0.6
RARER = 0.3  # share that is left of the rarer classes
_UNKNOWN = "0" * 64


@dataclass(frozen=True)
class Darkened:
    """Photographs with every level times `brightness`."""

    photographs: Photographs
    chosen: npt.NDArray[np.int64]
    brightness: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self.chosen), *self.photographs.shape[1:]

    def __getitem__(self, chosen: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        """Those at the indices `chosen` [n]: uint8 [n, H, W, C]."""
        return darkened(self.photographs[self.chosen[chosen]], self.brightness)


def darkened(pixels: npt.NDArray[np.uint8], brightness: float) -> npt.NDArray[np.uint8]:
    """`pixels` with every level times `brightness`, rounded."""
    made: npt.NDArray[np.uint8] = np.rint(pixels * brightness).astype(np.uint8)
    return made


def site_of(split: Split, rarer: Collection[int], *, brightness: float = BRIGHTNESS, seed: int = 0) -> Split:
    """A site's pictures, made of those of a `split`: darkened, of the `rarer` classes a share of `RARER`."""
    drawn = np.random.default_rng(seed).random(len(split))
    chosen = np.flatnonzero(~np.isin(split.labels, list(rarer)) | (drawn < RARER))
    larger = None if split.larger is None else Darkened(split.larger, chosen, brightness)
    ids = tuple(f"{split.ids[index]} times {brightness:g}" for index in chosen)
    return Split(darkened(split.images[chosen], brightness), split.labels[chosen], ids, larger)


@dataclass(frozen=True)
class Recalibrated:
    """What came of many calibrations on parts of a site's pictures."""

    resplits: int
    offering: int  # re-splits that offered a target
    broken: int  # re-splits that offered one which the rest missed, in a loss bucket that it was promised for
    highest: float  # target that was offered, the median of those that offered any; 0 where none did
    calibration_images: int
    held_out_images: int


def recalibrate(
    package: Package,
    stages: Stages,
    site: Split,
    *,
    loss: float,
    calibration_images: int,
    count: int = 200,
    seed: int = 0,
) -> Recalibrated:
    """Calibrate on so many of the `site`'s pictures and look at the rest, `count` times.

    Photographs go by the ladder that the package has, chosen before any of these pictures was seen. The rest should be
    the larger part, since its own sampling noise counts against the promise.
    """
    kernel = package.kernel
    model = OnnxModel(package.path / "datacenter.onnx", kernel.backend_input)
    steps = ladder_of(kernel.calibration.ladder if kernel.calibration is not None else [])
    losses = sorted({*LOSSES, loss})
    observed = observe_once(package, model, stages, site, losses, seed, steps, kernel.dataset_sha256)
    return of_observed(observed, loss=loss, calibration_images=calibration_images, count=count, seed=seed)


def of_observed(
    observed: Observed, *, loss: float, calibration_images: int, count: int = 200, seed: int = 0
) -> Recalibrated:
    """`recalibrate`, of what was observed of the site."""
    generator = np.random.default_rng(seed)
    guaranteed = observed.buckets_up_to(loss)
    sample = Sample(dataset="site", dataset_sha256=_UNKNOWN, split="all", distribution="those of the site")
    highest, broken = [], 0
    for number in range(count):
        order = generator.permutation(observed.count)
        part, rest = observed.take(order[:calibration_images]), observed.take(order[calibration_images:])
        try:
            made = calibrate(part, AUTO, loss=loss, backend_sha256=_UNKNOWN, rests_on=sample, seed=number)
        except CalibrationError:  # so few images that none can be expected to hold
            continue
        if made.targets:
            highest.append(max(target.accuracy for target in made.targets))
        broken += any(
            right_under(rest, np.array(target.thresholds))[:guaranteed].mean(axis=1).min() < target.accuracy
            for target in made.targets
        )
    return Recalibrated(
        resplits=count,
        offering=len(highest),
        broken=broken,
        highest=float(np.median(highest)) if highest else 0.0,
        calibration_images=calibration_images,
        held_out_images=observed.count - calibration_images,
    )


def checks_of(found: Recalibrated) -> list[Check]:
    """Held against what is promised: targets are offered, and hold in 95 % of the re-splits."""
    most = BROKEN * found.resplits
    of = f"of {found.resplits}"
    return [
        Check("own site: re-splits that miss a target", found.broken, most, True, of, "measured"),
        Check("own site: re-splits that offer a target", found.offering, found.resplits - most, False, of, "measured"),
    ]


def write_folder(site: Split, classes: tuple[str, ...], folder: Path) -> None:
    """The site's photographs as PNG files below `folder`, as `edgesight calibrate` takes them."""
    for index, label in enumerate(site.labels):
        below = folder / classes[label].replace("/", "_")
        below.mkdir(parents=True, exist_ok=True)
        pixels = site.photographs[np.array([index])][0]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        picture.save(below / f"picture{index}.png")
