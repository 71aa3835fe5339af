"""Detectors of strange pictures: what gives a picture a score, the higher the stranger, from numpy alone.

Small pictures are judged by a small convolutional network, of which two things count: how sure it is that the picture
is none of its data set, and how far its features lie from every class's. Photographs are judged by their textures
(`edgesight.host.textures`), once for each group of strangers; a small network's word on the whole photograph is added
where the group are inverted ones, which textures alone tell too seldom. All parts are scaled by what held-back pictures
get, and the largest is the score. Both are trained on a data set's train split (`edgesight.quant.novelty`).

Words owned here: detector, score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.textures import SMALLEST, smaller, textures

MOST_SIDE: Final = 48
"""Longest side, in pixels, that the network looks at: of larger pictures it sees means of squares."""
MOST_DEVIATIONS: Final = 4.0
"""Of a texture from its mean, beyond which no more is seen of it."""
_FAR = np.float32(20.0)  # deviations, beyond which no texture counts more
LAYERS: Final = 4
"""Of convolutions, at most."""
_STEP = 1e-4  # of a score: processors round differently, and should still agree

Arrays = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
Layer = tuple[Floats, Floats]  # weights and biases


class Pictures(Protocol):
    """Pictures uint8 [N, H, W, C]: an array, or what makes parts of one on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""

    def __getitem__(self, chosen: npt.NDArray[np.int64], /) -> Pixels:
        """Those at the indices `chosen` [n]: uint8 [n, H, W, C]."""


@dataclass(frozen=True)
class Detector(ABC):
    """What both kinds have; every array of a detector is float32.

    Attributes:
        shape: of the pictures that it takes, (H, W, C).
        scale: [parts, 2]: median, and distance of the 99th percentile from it, of each part of the score.
    """

    shape: Shape
    scale: Floats

    @abstractmethod
    def parts(self, picture: Pixels) -> Floats:
        """The parts of the score of `picture` uint8 [H, W, C], not scaled: [parts]."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """What `detector_of` makes it of again, by name."""

    def scores(self, pictures: Pictures) -> npt.NDArray[np.float64]:
        """The score [N] of each of `pictures`; one by one, so that none hangs on those beside it."""
        found = [self.score(pictures[np.array([index])][0]) for index in range(pictures.shape[0])]
        return np.array(found, np.float64)

    def score(self, picture: Pixels) -> float:
        """How strange `picture` uint8 [H, W, C] is: 0 as the middle of held-back ones, 1 as their outermost percent."""
        scaled = (self.parts(picture) - self.scale[:, 0]) / self.scale[:, 1]
        return float(np.round(scaled.max() / _STEP) * _STEP)

    def _check_scale(self, parts: int) -> None:
        _expect("scale", self.scale, parts, 2)
        if not (self.scale[:, 1] > 0).all():
            raise ValueError("scale: a spread of 0 or less")


@dataclass(frozen=True)
class PhotographDetector(Detector):
    """Judges photographs by their textures [T] and H mixtures of them, once for each of G groups of strangers.

    The first group are inverted photographs: what a network makes of the photograph, made smaller, is added to its
    part.

    Attributes:
        mean: [T], of own pictures.
        deviation: [T], of own pictures.
        mixing: weights [T, H] and biases [H]; negative mixtures are cut off.
        judges: [T + H, G]: what tells each group of strangers.
        convolutions: as of `NetworkDetector`.
        head: [C]: how much the means of the last convolution's C outputs tell of an inverted photograph.
    """

    mean: Floats
    deviation: Floats
    mixing: Layer
    judges: Floats
    convolutions: tuple[Layer, ...]
    head: Floats

    def __post_init__(self) -> None:
        """Hold the arrays against each other; ValueError naming the one that does not fit."""
        if not has_textures(self.shape):
            raise ValueError(f"pictures of {list(self.shape)} are too small to be judged by their textures")
        black = np.zeros(self.shape, np.uint8)
        small = smaller(black)
        count, mixed = textures(black, small).size, self.mixing[1].size
        _expect("texture_mean", self.mean, count)
        _expect("texture_deviation", self.deviation, count)
        _expect("mixing", self.mixing[0], count, mixed)
        _expect("mixing_bias", self.mixing[1], mixed)
        _expect("judges", self.judges, count + mixed, self.scale.shape[0] - 1 if self.scale.ndim else 0)
        _expect("head", self.head, _expect_convolutions(self.convolutions, small.shape)[2])
        self._check_scale(self.judges.shape[1] + 1)
        if not (self.deviation > 0).all():
            raise ValueError("texture_deviation: 0 or less")

    def parts(self, picture: Pixels) -> Floats:
        """How much it looks like each group of strangers, and how far off it is by itself: [G + 1]."""
        small = smaller(picture)
        found = self.judged(textures(picture, small))
        found[0] += self.seen(small)
        return found

    def judged(self, found: Floats) -> Floats:
        """The parts for textures [T] alone: [G + 1]."""
        far = np.minimum(np.abs((found - self.mean) / self.deviation), _FAR)
        square = np.log(np.vdot(far, far) / far.size + 1e-6)
        return np.append(self.mixed(found) @ self.judges, square).astype(np.float32)

    def mixed(self, found: Floats) -> Floats:
        """Textures [..., T], scaled, and mixtures of them: [..., T + H]."""
        scaled = deviations(found, self.mean, self.deviation)
        return np.concatenate([scaled, np.maximum(scaled @ self.mixing[0] + self.mixing[1], 0)], axis=-1)

    def seen(self, small: Floats) -> float:
        """How much a photograph looks inverted to the network, from its `smaller` form [h, w, C]."""
        outputs = _convolved(small / np.float32(127.5) - np.float32(1), self.convolutions)
        told = outputs.reshape(-1, self.head.size) @ self.head
        return float(told.sum() / told.size)

    def arrays(self) -> Arrays:
        """What `detector_of` makes it of again, by name."""
        return {
            **_named(self.convolutions),
            "shape": np.array(self.shape, np.int64),
            "scale": self.scale,
            "texture_mean": self.mean,
            "texture_deviation": self.deviation,
            "mixing": self.mixing[0],
            "mixing_bias": self.mixing[1],
            "judges": self.judges,
            "head": self.head,
        }


@dataclass(frozen=True)
class NetworkDetector(Detector):
    """Judges small pictures; P is positions x channels after the last convolution, F the hidden features.

    Attributes:
        convolutions: of each layer the weights [9 * inputs, outputs], rows and columns of the window first, and the
            biases [outputs]. A window has 3 x 3 pixels and moves by 2; what lies beyond the edge counts 0.
        hidden: weights [P, F] and biases [F].
        head: weights [F, classes + 1] and biases [classes + 1]; the last output is for pictures that are none.
        whitening: [D, D], which makes the features (D: the last convolution's means by channel, then the hidden ones)
            vary alike and independently within a class.
        centres: [classes, D], each class's whitened mean.
    """

    convolutions: tuple[Layer, ...]
    hidden: Layer
    head: Layer
    whitening: Floats
    centres: Floats

    def __post_init__(self) -> None:
        """Hold the arrays against each other; ValueError naming the one that does not fit."""
        height, width, inputs = _expect_convolutions(self.convolutions, reduced(self.shape))
        features, outputs = self.hidden[1].size, self.head[1].size
        both = inputs + features
        _expect("hidden", self.hidden[0], height * width * inputs, features)
        _expect("hidden_bias", self.hidden[1], features)
        _expect("head", self.head[0], features, outputs)
        _expect("head_bias", self.head[1], outputs)
        _expect("whitening", self.whitening, both, both)
        _expect("centres", self.centres, outputs - 1, both)
        self._check_scale(2)

    def parts(self, picture: Pixels) -> Floats:
        """How sure it is that the picture is none, and how far its features lie from every class: [2]."""
        features = self.features(picture)
        logits = features[-self.hidden[1].size :] @ self.head[0] + self.head[1]
        known = logits[:-1]
        most = known.max()
        sure = logits[-1] - most - np.log(np.exp(known - most).sum())
        away = features @ self.whitening - self.centres
        return np.array([sure, np.log((away * away).sum(1).min() + 1e-6)], np.float32)

    def features(self, picture: Pixels) -> Floats:
        """What the network sees in `picture` uint8 [H, W, C]: [D], the hidden features last."""
        seen = _convolved(reduced_bytes(picture[None])[0] / np.float32(127.5) - np.float32(1), self.convolutions)
        hidden = np.maximum(seen.reshape(-1) @ self.hidden[0] + self.hidden[1], 0)
        return np.concatenate([seen.mean((0, 1)), hidden])

    def arrays(self) -> Arrays:
        """What `detector_of` makes it of again, by name."""
        return {
            **_named(self.convolutions),
            "shape": np.array(self.shape, np.int64),
            "hidden": self.hidden[0],
            "hidden_bias": self.hidden[1],
            "head": self.head[0],
            "head_bias": self.head[1],
            "whitening": self.whitening,
            "centres": self.centres,
            "scale": self.scale,
        }


def detector_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Detector:
    """The detector whose arrays these are, by name; raises KeyError or ValueError."""
    shape = arrays["shape"]
    if shape.shape != (3,) or shape.dtype != np.int64 or (shape < 1).any() or (shape > 4096).any():
        raise ValueError(f"shape: {shape.dtype} {list(shape.shape)}, expected a picture's height, width and channels")
    form = int(shape[0]), int(shape[1]), int(shape[2])
    layers = sum(name.startswith("weights") for name in arrays)
    convolutions = tuple((arrays[f"weights{layer}"], arrays[f"bias{layer}"]) for layer in range(layers))
    if "judges" in arrays:
        return PhotographDetector(
            form,
            arrays["scale"],
            mean=arrays["texture_mean"],
            deviation=arrays["texture_deviation"],
            mixing=(arrays["mixing"], arrays["mixing_bias"]),
            judges=arrays["judges"],
            convolutions=convolutions,
            head=arrays["head"],
        )
    return NetworkDetector(
        form,
        arrays["scale"],
        convolutions=convolutions,
        hidden=(arrays["hidden"], arrays["hidden_bias"]),
        head=(arrays["head"], arrays["head_bias"]),
        whitening=arrays["whitening"],
        centres=arrays["centres"],
    )


def deviations(found: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Textures [..., T] as deviations from their mean [T], so far as more is seen of them."""
    seen: Floats = np.clip((found - mean) / deviation, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return seen


def has_textures(shape: tuple[int, int, int]) -> bool:
    """Whether pictures of a `shape` (H, W, C) are large enough that their textures are looked at."""
    return min(shape[:2]) >= SMALLEST


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
    height, width, channels = reduced(images.shape[1:])
    squares = images[:, : height * step, : width * step].reshape(-1, height, step, width, step, channels)
    sums = squares.sum((2, 4), dtype=np.uint32)
    means: Pixels = ((sums + step * step // 2) // (step * step)).astype(np.uint8)
    return means


def _expect(name: str, array: npt.NDArray[Any], *shape: int) -> None:
    if array.dtype != np.float32 or array.shape != shape or not array.size:
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}, expected float32 {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds what is no number")


def _expect_convolutions(layers: tuple[Layer, ...], shape: tuple[int, ...]) -> Shape:
    """The shape of what `layers` make of pictures of a `shape` (h, w, C); ValueError naming the one that won't fit."""
    if not 1 <= len(layers) <= LAYERS:
        raise ValueError(f"{len(layers)} convolutions: expected 1 to {LAYERS}")
    height, width, inputs = shape
    for layer, (weights, bias) in enumerate(layers):
        _expect(f"weights{layer}", weights, 9 * inputs, bias.size)
        _expect(f"bias{layer}", bias, bias.size)
        height, width, inputs = (height + 1) // 2, (width + 1) // 2, bias.size
    return height, width, inputs


def _named(layers: tuple[Layer, ...]) -> Arrays:
    weights = {f"weights{layer}": weights for layer, (weights, _) in enumerate(layers)}
    return weights | {f"bias{layer}": bias for layer, (_, bias) in enumerate(layers)}


def _step(height: int, width: int) -> int:
    return -(-max(height, width) // MOST_SIDE)


def _convolved(seen: Floats, layers: tuple[Layer, ...]) -> Floats:
    """What `layers` make of `seen` [h, w, inputs], negative outputs cut off; each gives half as many, rounded up."""
    for weights, bias in layers:
        height, width, inputs = seen.shape
        down, across = (height + 1) // 2, (width + 1) // 2
        padded = np.zeros((2 * down + 1, 2 * across + 1, inputs), np.float32)
        padded[1 : height + 1, 1 : width + 1] = seen
        # A window's row is one piece of memory, so that views of all windows are copied at once.
        row, column, each = padded.strides
        places, steps = (down, across, 3, 3 * inputs), (2 * row, 2 * column, row, each)
        windows = np.lib.stride_tricks.as_strided(padded, places, steps, writeable=False)
        outputs = windows.reshape(down * across, 9 * inputs) @ weights
        outputs += bias
        seen = np.maximum(outputs, 0, out=outputs).reshape(down, across, -1)
    return seen
