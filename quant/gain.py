"""How much better one network is than another on the same images, and whether that is more than luck.

Words owned here: gain."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGMAS: Final = 1.96  # of a normal distribution, that hold 95 % of it


@dataclass(frozen=True)
class Gain:
    """A difference of two accuracies, in shares of the images.

    Attributes:
        difference: as measured.
        low: the least that is likely, with 95 % confidence.
        high: the most that is likely.
        proved: whether the better one is so with that confidence.
    """

    difference: float
    low: float
    high: float
    proved: bool


def gain(better: NDArray[np.bool_], worse: NDArray[np.bool_]) -> Gain:
    """Compare two networks image by image: which each answers rightly, bool `[N]`.

    Both see the same images, so it is those that only one of them gets right that count (McNemar 1947); the interval is
    Wald's for a paired difference of shares. Images that are near copies make it too narrow.
    """
    differences = better.astype(np.float64) - worse.astype(np.float64)
    mean = float(differences.mean())
    reach = _SIGMAS * float(differences.std()) / len(differences) ** 0.5
    return Gain(round(mean, 6), round(mean - reach, 6), round(mean + reach, 6), mean - reach > 0)


def packed(right: NDArray[np.bool_]) -> str:
    """Eight answers a byte, in base64, for a card."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """What `packed` packed, bool `[count]`."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(np.bool_)
