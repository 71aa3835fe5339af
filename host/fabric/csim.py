"""The cascade in hls4ml's own bit-exact C++: fast, without cycles."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import (
    NEVER,
    OFFLOAD,
    FabricError,
    Images,
    Place,
    Records,
    check_images,
    check_kernel,
    record_type,
)
from edgesight.host.fabric.loading import check_loadable
from edgesight.host.libraries import find
from edgesight.host.package import Package

Logits = npt.NDArray[np.int32]  # [N, classes]
Features = npt.NDArray[np.int32]  # [N, H, W, C], as a stage leaves them behind
# hls4ml's C++ keeps streams between its layers in static variables, and a library is loaded once, however many fabrics
# are opened on it: two threads inside it would mix up their images.
_ONE_AT_A_TIME = threading.Lock()


class CsimFabric:
    """A `Fabric` on the package's csim library.

    C interface: `int edgesight_csim(int stage, const void *frames, int n, int32_t *logits, int32_t *features)` with
    integer logits [n, classes]; 0 is success. Frames are images [n, H, W, C] in the input's element, or, of a stage
    that goes on from a trunk, the features int32 [n, H, W, C] that the stage before gave; `features` is null where a
    stage leaves none. Header errors cannot occur, so every record is an answer or an offload. A stage runs on the
    images that the one before was unsure of, as in the hardware.
    """

    simulated = False
    simulated_cycles = 0
    place = Place("csim")

    def __init__(self, package: Package) -> None:
        """Load the library; raises FabricError when it is not there or does not fit."""
        check_kernel(package)
        self.package = package
        self._function = _library_of(package)
        stages = len(package.kernel.stages)
        self._thresholds = np.full((stages, package.kernel.threshold_sets), NEVER, np.uint32)

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        """Answer by the library and thresholds of `package`, of the same structure; FabricError, being as before."""
        check_loadable(self.package, package)
        table = np.full_like(self._thresholds, NEVER)
        for row, values in thresholds.items():
            self._check_row(row, values)
            table[:, row] = values
        self._function = _library_of(package)
        self.package, self._thresholds = package, table

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table."""
        self._check_row(set_index, thresholds)
        self._thresholds[:, set_index] = thresholds

    def _check_row(self, set_index: int, thresholds: Sequence[int]) -> None:
        stages, sets = self._thresholds.shape
        if not 0 <= set_index < sets or len(thresholds) != stages:
            raise FabricError(f"row {set_index} of {len(thresholds)} thresholds: give one of {sets} rows, and {stages}")

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Records [N] of images uint8 [N, H, W, C], each under its threshold set [N]."""
        check_images(self.package, images)
        if sets.shape != (len(images),) or (sets.size and int(sets.max()) >= self._thresholds.shape[1]):
            raise FabricError(
                f"threshold sets {list(sets.shape)} for {len(images)} images: give one below "
                f"{self._thresholds.shape[1]} for each image"
            )
        records = np.zeros(len(images), record_type(self.package.kernel))
        records["tag"] = np.arange(len(images))
        unsure = np.arange(len(images))
        features = None
        for stage, thresholds in enumerate(self._thresholds):
            logits, features = self._stage(stage, images[unsure], features)
            if self.package.kernel.logits_in_record:
                records["logits"] = logits
            labels, margins = decide(logits)
            records["label"][unsure] = labels
            records["margin"][unsure] = margins
            records["stage"][unsure] = stage
            passed = below(margins, thresholds[sets[unsure]])
            unsure, features = unsure[passed], None if features is None else features[passed]
        records["stage"][unsure] |= OFFLOAD
        return records

    def logits(self, images: Images) -> list[Logits]:
        """Integer logits [N, classes] of every stage."""
        check_images(self.package, images)
        found, features = [], None
        for stage in range(len(self.package.kernel.stages)):
            logits, features = self._stage(stage, images, features)
            found.append(logits)
        return found

    def close(self) -> None:
        """Nothing is held that would need releasing."""

    def _stage(self, stage: int, images: Images, before: Features | None) -> tuple[Logits, Features | None]:
        """A stage's logits and the features that it leaves; `before` are those of the stage before, of these images."""
        stages = self.package.kernel.stages
        frames: npt.NDArray[Any] = np.ascontiguousarray(images if stages[stage].trunk is None else before)
        trunk = stages[stage + 1].trunk if stage + 1 < len(stages) else None
        features = None if trunk is None else np.zeros((len(images), *trunk.shape), np.int32)
        logits = np.zeros((len(images), self.package.kernel.outputs), np.int32)
        if len(images):
            left = None if features is None else features.ctypes.data
            with _ONE_AT_A_TIME:
                code = self._function(stage, frames.ctypes.data, len(images), logits.ctypes.data, left)
            if code != 0:
                raise FabricError(
                    f"csim of stage {stage} failed with code {code}: build it anew by "
                    f"`edgesight csim {self.package.path}`"
                )
        return logits, features


def _library_of(package: Package) -> Any:
    """The package's compiled C++; FabricError where it is not there or does not fit."""
    path = find(package, "csim")
    if path is None:
        raise FabricError(
            f"the csim library of {package.path} is missing or damaged: build it here by "
            f"`edgesight csim {package.path}`, or use another fabric"
        )
    try:
        function = ctypes.CDLL(str(path)).edgesight_csim
    except (OSError, AttributeError) as error:
        raise FabricError(
            f"{path} cannot be used ({error}): remove it and build it anew by `edgesight csim {package.path}`"
        ) from error
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = ctypes.c_int
    return function


def decide(logits: Logits) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Labels [N] and margins [N] of integer logits [N, classes]: the lowest index wins a tie, whose margin is 0.

    The margin of a single logit is 0.
    """
    wide = logits.astype(np.int64)
    labels = np.argmax(wide, axis=1)
    if wide.shape[1] == 1:
        return labels, np.zeros(len(wide), np.int64)
    two_best = np.partition(wide, -2, axis=1)[:, -2:]
    return labels, two_best[:, 1] - two_best[:, 0]


def below(
    margins: npt.NDArray[np.int64], thresholds: npt.NDArray[np.uint32] | npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Where a stage is not sure enough; `NEVER` is above every margin."""
    unsure: npt.NDArray[np.bool_] = (margins < thresholds) | (thresholds == NEVER)
    return unsure
