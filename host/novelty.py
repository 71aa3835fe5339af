"""How a picture is told from those that a kernel was calibrated on: a conformal p-value, from numpy alone.

A detector (`edgesight.host.detector`) gives each picture, in the back end's form, a score: the higher the stranger.

The p-value of a picture is (1 + c) / (1 + n), where c is how many of the n calibration pictures score at least as high.
Whatever the detector is worth, a picture that is drawn as these were has a p-value of at most p with a probability of
at most p (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Bates et al., arXiv 2104.08279). So
a picture whose p-value lies below a level is called *strange*, and at most that share of the others is, too.

Words owned here: strange.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.back_end import form_for
from edgesight.host.detector import LAYERS, Detector, Pictures, Pixels, detector_of
from edgesight.host.files import sha256
from edgesight.host.kernel import Kernel, KernelError, Novelty
from edgesight.host.package import Package

LEVEL: Final = 0.018
"""Below this p-value a picture is called strange."""
_MOST_BYTES = 1 << 23  # of all arrays together
_MOST_ARRAYS = 2 * LAYERS + 9  # the reference, and what the larger detector has

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class NoveltyTest:
    """A detector with the scores of the calibration pictures, and the level below which a picture is strange.

    Attributes:
        detector: gives the scores.
        reference: the calibration pictures' scores [n], rising.
        level: a p-value.
    """

    detector: Detector
    reference: npt.NDArray[np.float64]
    level: float

    @classmethod
    def against(cls, detector: Detector, pictures: Pictures, level: float = LEVEL) -> NoveltyTest:
        """The test against calibration `pictures`."""
        return cls(detector, np.sort(detector.scores(pictures)), level)

    @property
    def can_flag(self) -> bool:
        """Whether there are pictures enough that a p-value can lie below the level at all."""
        return 1.0 / (len(self.reference) + 1) < self.level

    def p_value(self, image: Pixels) -> float:
        """The p-value of `image` uint8 [H, W, C]: above 0, at most 1."""
        return float(self.p_values(np.array([self.detector.score(image)]))[0])

    def p_values(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The p-values [N] of `scores` [N]."""
        count = len(self.reference)
        as_high = count - np.searchsorted(self.reference, scores, side="left")
        values: npt.NDArray[np.float64] = (1 + as_high) / (1 + count)
        return values

    def strange(self, pictures: Pictures) -> Bools:
        """Which of `pictures` are called strange: [N].

        Calibration pictures, too, which then count among those as high as themselves: the others, given the lowest
        score that is strange, are as if drawn anew from the pictures that are not.
        """
        found: Bools = self.p_values(self.detector.scores(pictures)) < self.level
        return found

    def packed(self) -> bytes:
        """As a file of a kernel package."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {"reference": self.reference, **self.detector.arrays()}
        np.savez_compressed(file, **arrays)
        return file.getvalue()


def novelty_test(package: Package) -> NoveltyTest | None:
    """The test that a package holds; None where it has none. Raises KernelError where it cannot be used."""
    novelty = package.kernel.novelty
    if novelty is None:
        return None
    content = package.read(novelty.file)
    try:
        return _unpacked(content, package.kernel, novelty.level, novelty.images)
    except Exception as error:  # whatever damaged archives and arrays raise: its kinds are many, and not documented
        told = f"it has no array {error}" if isinstance(error, KeyError) else error
        raise KernelError(
            f"{package.path / novelty.file}: tells no strange pictures ({told}): calibrate the package again"
        ) from error


def carry(package: Package, test: NoveltyTest | None, **fields: object) -> Package:
    """Put `test` into a package, or none, with other `fields` of its manifest; returns it as it now is."""
    before = package.kernel.novelty
    if test is None:
        return package.put({}, [before.file] if before is not None else [], novelty=None, **fields)
    content = test.packed()
    try:
        _unpacked(content, package.kernel, test.level, len(test.reference))
    except Exception as error:  # a fault of ours: better no package than one that no edge takes
        raise KernelError(
            f"{package.path}: its test of strange pictures cannot be read back ({error}): calibrate again"
        ) from error
    name = f"novelty-{sha256(content)[:8]}.npz"
    told = Novelty(file=name, level=test.level, images=len(test.reference))
    gone = [before.file] if before is not None and before.file != name else []
    return package.put({name: content}, gone, novelty=told.model_dump(), **fields)


def _unpacked(content: bytes, kernel: Kernel, level: float, images: int) -> NoveltyTest:
    with zipfile.ZipFile(io.BytesIO(content)) as listed:
        members = listed.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > _MOST_ARRAYS or size > _MOST_BYTES:
        raise ValueError(f"{len(members)} arrays of {size} bytes: at most {_MOST_ARRAYS} of {_MOST_BYTES} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays: dict[str, npt.NDArray[Any]] = {name: file[name] for name in file.files}
    expected = form_for(kernel).shape
    shape = arrays["shape"]
    if shape.dtype == np.int64 and shape.shape == (3,) and tuple(shape) != expected:  # before anything of it is made
        raise ValueError(f"it is for pictures of {shape.tolist()}, the kernel's are {list(expected)}")
    detector = detector_of(arrays)
    reference = arrays["reference"]
    if reference.ndim != 1 or reference.dtype != np.float64 or reference.size == 0:
        raise ValueError(f"reference: {reference.dtype} {list(reference.shape)}, expected float64 [n]")
    if not np.isfinite(reference).all() or (np.diff(reference) < 0).any():
        raise ValueError("reference: its scores must be numbers, and rise")
    made = NoveltyTest(detector, reference, level)
    if len(reference) != images or not made.can_flag:
        raise ValueError(f"{len(reference)} scores, {images} images and a level of {level:g} tell nothing apart")
    return made
