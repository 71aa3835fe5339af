"""A fabric that says again what another one said: simulating once is enough for several ways to ask.

Words owned here: recorded fabric.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import Images, Records
from edgesight.host.package import Package


class RecordedFabric:
    """Gives each of its images the record that it has, whatever the thresholds: those are in the records already."""

    def __init__(
        self, package: Package, images: Images, records: Records, *, simulated: bool, seconds: float = 0.0
    ) -> None:
        """`records` [N] of `images` uint8 [N, H, W, C]; a run takes `seconds`. `simulated` as of the one recorded."""
        self.package = package
        self.simulated = simulated
        self._seconds = seconds
        self._records = {image.tobytes(): record for image, record in zip(images, records, strict=True)}

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """They are in the records already."""

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Records [N] of images uint8 [N, H, W, C]."""
        time.sleep(self._seconds)
        return np.array([self._records[image.tobytes()] for image in images])

    def close(self) -> None:
        """Nothing is held."""
