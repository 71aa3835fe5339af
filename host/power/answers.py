"""What is run while an answer's energy is measured: a fabric, the images, and the thresholds that they are under."""

from __future__ import annotations

from pathlib import Path

from edgesight.host.cascade import Cascade
from edgesight.host.fabric.base import ALWAYS, DryFabric, Fabric
from edgesight.host.images import array_file, random_images
from edgesight.host.kernel import KernelError
from edgesight.host.power.loop import FabricLoop
from edgesight.host.power.readings import PowerError

_RANDOM = 512  # images, where none are given


def check(accuracy: float | None, images: Path | None) -> None:
    """Raise PowerError where an accuracy target is to be kept on no real images."""
    if accuracy is not None and images is None:
        raise PowerError(
            "--accuracy needs --images: how many stages an image takes depends on what it shows; give them, too"
        )


def answering(fabric: Fabric, maker: str, accuracy: float | None, images: Path | None) -> tuple[FabricLoop, str]:
    """The loop that `edgesight.host.power.measure.measure` runs, and what its report calls that.

    `fabric`, opened as `maker`, answers the array in the file `images`, or random ones, under the target that keeps
    `accuracy`; without one, stage 0 answers them all. Raises PowerError, KernelError, ImageError, or TargetRefused.
    """
    check(accuracy, images)
    kernel = fabric.package.kernel
    if fabric.simulated:
        raise PowerError(f"fabric {maker} is simulated: a sensor would see the simulation's power; use a board")
    if not isinstance(fabric, DryFabric):
        raise PowerError(
            f"fabric {maker} cannot run without its hardware, so that the host program's share is unknown: use pynq or "
            "serial:PORT"
        )
    pool = random_images(kernel.input, _RANDOM, 0) if images is None else array_file(images)
    if accuracy is None:
        fabric.set_thresholds(0, [ALWAYS] * len(kernel.stages))
        row, what = 0, "every image answered by stage 0"
    else:
        row, what = _target_row(fabric, accuracy), f"accuracy target {accuracy:g}"
    subject = f"{kernel.name} on fabric {maker} and the host program that feeds it, {what}, {images or 'random images'}"
    return FabricLoop(fabric, pool, row), subject


def _target_row(fabric: Fabric, accuracy: float) -> int:
    """Write the row of the target that keeps `accuracy`; returns its index."""
    calibration = fabric.package.kernel.calibration
    if calibration is None:
        raise KernelError(f"{fabric.package.path}: is not calibrated: run `edgesight calibrate` where it was compiled")
    return Cascade(fabric, calibration, None).target(accuracy).set_index
