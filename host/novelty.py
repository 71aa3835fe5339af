"""How a picture is told from those that a kernel was calibrated on: a conformal p-value, from numpy alone.

A detector gives each picture, in the fabric's form, a score: the stranger, the higher. It is a small convolutional
network, trained on the data set's train split against pictures that are none (`edgesight.quant.novelty`), of which two
things count: how sure it is that the picture is none, and how far its features lie from every class's. Both are scaled
by what held-back pictures get, and the larger is the score.

The p-value of a picture is (1 + c) / (1 + n), where c is how many of the n calibration pictures score at least as high.
Whatever the detector is worth, a picture that is drawn as these were has a p-value of at most p with a probability of
at most p (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Bates et al., arXiv 2104.08279). So
a picture whose p-value lies below a level is called *strange*, and at most that share of the others is, too.

Words owned here: detector, score, strange.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.kernel import Kernel, KernelError
from edgesight.host.package import Package

LEVEL: Final = 0.01
"""Below this p-value a picture is called strange."""
MOST_SIDE: Final = 48
"""Longest side, in pixels, that the detector looks at: of larger pictures it sees means of squares."""
_LAYERS = 4  # of convolutions, at most
_MOST_BYTES = 1 << 23  # of all arrays together
_MOST_ARRAYS = 2 * _LAYERS + 8
_STEP = 1e-4  # of a score: processors round differently, and should still agree

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Detector:
    """The arrays of a detector, float32; P is positions x channels after the last convolution, F the hidden features.

    Attributes:
        shape: of the pictures that it takes, (H, W, C).
        convolutions: of each layer the weights [9 * inputs, outputs], rows and columns of the window first, and the
            biases [outputs]. A window has 3 x 3 pixels and moves by 2; what lies beyond the edge counts 0.
        hidden: weights [P, F] and biases [F].
        head: weights [F, classes + 1] and biases [classes + 1]; the last output is for pictures that are none.
        whitening: [D, D], which makes the features (D: the last convolution's means by channel, then the hidden ones)
            vary alike and independently within a class.
        centres: [classes, D], each class's whitened mean.
        scale: [2, 2]: median, and distance of the 99th percentile from it, of either part of the score.
    """

    shape: tuple[int, int, int]
    convolutions: tuple[tuple[Floats, Floats], ...]
    hidden: tuple[Floats, Floats]
    head: tuple[Floats, Floats]
    whitening: Floats
    centres: Floats
    scale: Floats

    def __post_init__(self) -> None:
        """Hold the arrays against each other; ValueError naming the one that does not fit."""
        if not 1 <= len(self.convolutions) <= _LAYERS:
            raise ValueError(f"{len(self.convolutions)} convolutions: expected 1 to {_LAYERS}")
        height, width, inputs = reduced(self.shape)
        for layer, (weights, bias) in enumerate(self.convolutions):
            outputs = bias.size
            _expect(f"weights{layer}", weights, 9 * inputs, outputs)
            _expect(f"bias{layer}", bias, outputs)
            height, width, inputs = (height + 1) // 2, (width + 1) // 2, outputs
        features, outputs = self.hidden[1].size, self.head[1].size
        both = inputs + features
        _expect("hidden", self.hidden[0], height * width * inputs, features)
        _expect("hidden_bias", self.hidden[1], features)
        _expect("head", self.head[0], features, outputs)
        _expect("head_bias", self.head[1], outputs)
        _expect("whitening", self.whitening, both, both)
        _expect("centres", self.centres, outputs - 1, both)
        _expect("scale", self.scale, 2, 2)
        if not (self.scale[:, 1] > 0).all():
            raise ValueError("scale: a spread of 0 or less")

    @property
    def multiplications(self) -> int:
        """Multiplications a picture."""
        height, width, _ = reduced(self.shape)
        count = sum(array.size for array in (self.hidden[0], self.head[0], self.whitening, self.centres))
        for weights, _ in self.convolutions:
            height, width = (height + 1) // 2, (width + 1) // 2
            count += height * width * weights.size
        return count

    def scores(self, images: Pixels) -> npt.NDArray[np.float64]:
        """The score [N] of each of `images` uint8 [N, H, W, C]; one by one, so that none hangs on those beside it."""
        return np.array([self.score(image) for image in images], np.float64)

    def score(self, image: Pixels) -> float:
        """How strange `image` uint8 [H, W, C] is: 0 like the middle of held-back pictures, 1 like their outermost %."""
        scaled = (self.parts(image) - self.scale[:, 0]) / self.scale[:, 1]
        return float(np.round(scaled.max() / _STEP) * _STEP)

    def parts(self, image: Pixels) -> Floats:
        """Both parts of the score, not scaled: [2]."""
        features = self.features(image)
        logits = features[-self.hidden[1].size :] @ self.head[0] + self.head[1]
        known = logits[:-1]
        most = known.max()
        sure = logits[-1] - most - np.log(np.exp(known - most).sum())
        away = features @ self.whitening - self.centres
        return np.array([sure, np.log((away * away).sum(1).min() + 1e-6)], np.float32)

    def features(self, image: Pixels) -> Floats:
        """What the network sees in `image` uint8 [H, W, C]: [D], the hidden features last."""
        seen = reduced_bytes(image[None])[0] / np.float32(127.5) - np.float32(1)
        for weights, bias in self.convolutions:
            seen = _convolved(seen, weights, bias)
        hidden = np.maximum(seen.reshape(-1) @ self.hidden[0] + self.hidden[1], 0)
        return np.concatenate([seen.mean((0, 1)), hidden])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `detector_of` makes it of again, by name."""
        layers = {f"weights{layer}": weights for layer, (weights, _) in enumerate(self.convolutions)}
        biases = {f"bias{layer}": bias for layer, (_, bias) in enumerate(self.convolutions)}
        return {
            **layers,
            **biases,
            "shape": np.array(self.shape, np.int64),
            "hidden": self.hidden[0],
            "hidden_bias": self.hidden[1],
            "head": self.head[0],
            "head_bias": self.head[1],
            "whitening": self.whitening,
            "centres": self.centres,
            "scale": self.scale,
        }


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
    def against(cls, detector: Detector, pictures: Pixels, level: float = LEVEL) -> NoveltyTest:
        """The test against calibration `pictures` uint8 [n, H, W, C]."""
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

    def strange(self, images: Pixels) -> Bools:
        """Which of `images` uint8 [N, H, W, C] are called strange: [N].

        Calibration pictures, too, which then count among those as high as themselves: the others, given the lowest
        score that is strange, are as if drawn anew from the pictures that are not.
        """
        found: Bools = self.p_values(self.detector.scores(images)) < self.level
        return found

    def packed(self) -> bytes:
        """As a file of a kernel package."""
        file = io.BytesIO()
        np.savez_compressed(file, reference=self.reference, **self.detector.arrays())
        return file.getvalue()


def novelty_test(package: Package) -> NoveltyTest | None:
    """The test that a package holds; None where it has none. Raises KernelError where it cannot be used."""
    novelty = package.kernel.novelty
    if novelty is None:
        return None
    try:
        return _unpacked(package.read(novelty.file), package.kernel, novelty.level)
    except (ValueError, KeyError, OSError, EOFError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, KernelError):
            raise
        raise KernelError(
            f"{package.path / novelty.file}: tells no strange pictures ({error}): calibrate the package again"
        ) from error


def reduced(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape (H, W, C) that the detector sees of a picture of `shape`."""
    height, width, channels = shape
    step = _step(height, width)
    return height // step, width // step, channels


def reduced_bytes(images: Pixels) -> Pixels:
    """`images` uint8 [N, H, W, C] as the detector sees them: uint8, of a `reduced` shape."""
    step = _step(*images.shape[1:3])
    if step == 1:
        return images
    height, width, channels = reduced(images.shape[1:])  # type: ignore[arg-type] # of three dimensions
    squares = images[:, : height * step, : width * step].reshape(-1, height, step, width, step, channels)
    sums = squares.sum((2, 4), dtype=np.uint32)
    means: Pixels = ((sums + step * step // 2) // (step * step)).astype(np.uint8)
    return means


def _unpacked(content: bytes, kernel: Kernel, level: float) -> NoveltyTest:
    with zipfile.ZipFile(io.BytesIO(content)) as listed:
        members = listed.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > _MOST_ARRAYS or size > _MOST_BYTES:
        raise ValueError(f"{len(members)} arrays of {size} bytes: at most {_MOST_ARRAYS} of {_MOST_BYTES} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays: dict[str, npt.NDArray[Any]] = {name: file[name] for name in file.files}
    detector = _detector_of(arrays)
    if detector.shape != kernel.input.shape:
        raise ValueError(f"it is for pictures of {list(detector.shape)}, the kernel's are {list(kernel.input.shape)}")
    reference = arrays["reference"]
    if reference.ndim != 1 or reference.dtype != np.float64 or reference.size == 0:
        raise ValueError(f"reference: {reference.dtype} {list(reference.shape)}, expected float64 [n]")
    if not np.isfinite(reference).all() or (np.diff(reference) < 0).any():
        raise ValueError("reference: its scores must be numbers, and rise")
    return NoveltyTest(detector, reference, level)


def _detector_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Detector:
    """The detector whose arrays these are, by name; raises KeyError or ValueError."""
    shape = arrays["shape"]
    if shape.shape != (3,) or shape.dtype != np.int64 or not ((0 < shape) & (shape <= 1024)).all():
        raise ValueError(f"shape: {shape.dtype} {list(shape.shape)}, expected a picture's height, width and channels")
    layers = sum(name.startswith("weights") for name in arrays)
    return Detector(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        convolutions=tuple((arrays[f"weights{layer}"], arrays[f"bias{layer}"]) for layer in range(layers)),
        hidden=(arrays["hidden"], arrays["hidden_bias"]),
        head=(arrays["head"], arrays["head_bias"]),
        whitening=arrays["whitening"],
        centres=arrays["centres"],
        scale=arrays["scale"],
    )


def _expect(name: str, array: npt.NDArray[Any], *shape: int) -> None:
    if array.dtype != np.float32 or array.shape != shape or not array.size:
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}, expected float32 {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds what is no number")


def _step(height: int, width: int) -> int:
    return -(-max(height, width) // MOST_SIDE)


def _convolved(seen: Floats, weights: Floats, bias: Floats) -> Floats:
    """A layer's outputs, negative ones cut off: [ceil(h / 2), ceil(w / 2), outputs] of `seen` [h, w, inputs]."""
    height, width, inputs = seen.shape
    down, across = (height + 1) // 2, (width + 1) // 2
    padded = np.zeros((2 * down + 1, 2 * across + 1, inputs), np.float32)
    padded[1 : height + 1, 1 : width + 1] = seen
    windows = np.empty((down, across, 9, inputs), np.float32)
    for row in range(3):
        for column in range(3):
            part = padded[row : row + 2 * down - 1 : 2, column : column + 2 * across - 1 : 2]
            windows[:, :, 3 * row + column] = part
    outputs = windows.reshape(down * across, 9 * inputs) @ weights + bias
    return np.maximum(outputs, 0, out=outputs).reshape(down, across, -1)
