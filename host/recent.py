"""The last pictures that were answered, for whoever looks on: in memory alone, and few of them.

Words owned here: seen (a picture that was answered, and what was said of it), recent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

KEPT: Final = 16
"""Pictures, at most."""
SIDE: Final = 128
"""Pixels of a picture's side from which on it is kept thinned out."""
PER_S: Final = KEPT / 2
"""Pictures a second, on the mean: who looks on has the time to ask for those that are kept."""
_FILE_BYTES = 1 << 19  # of a picture that is kept as its file; of a larger one it is kept what was said alone

Pixels = npt.NDArray[np.uint8]  # [H, W, C]
Said = Callable[[], Mapping[str, object]]


@dataclass(frozen=True)
class Seen:
    """A picture that was answered.

    Attributes:
        of: application or model that was asked.
        number: by which it is asked for, of all that this one saw.
        at: seconds since 1970.
        said: what was answered, in plain values, by name.
        picture: its pixels uint8 [H, W, C], or its file as it came; None: it was too large to be kept.
    """

    of: str
    number: int
    at: float
    said: Mapping[str, object]
    picture: Pixels | bytes | None


class Recent:
    """The last pictures of one application, or of one data centre."""

    def __init__(self) -> None:
        """None was seen."""
        self._seen: deque[Seen] = deque(maxlen=KEPT)
        self._count = 0
        self._room, self._at = PER_S, time.monotonic()  # pictures that may come at once, and when that was so

    def add(self, of: str, picture: Pixels | bytes, said: Said) -> None:
        """Another one, for which the oldest goes; where pictures come fast, some are passed over.

        `said` is asked, at once, of one that is kept.
        """
        now = time.monotonic()
        self._room, self._at = min(PER_S, self._room + PER_S * (now - self._at)), now
        if self._room >= 1.0:
            self._room -= 1.0
            self._seen.append(Seen(of, self._count, time.time(), said(), _small(picture)))
            self._count += 1

    def all(self) -> Sequence[Seen]:
        """Those that are kept, the oldest first."""
        return tuple(self._seen)


def _small(picture: Pixels | bytes) -> Pixels | bytes | None:
    if isinstance(picture, bytes):
        return picture if len(picture) <= _FILE_BYTES else None
    step = max(1, -(-max(picture.shape[:2]) // SIDE))
    return picture[::step, ::step].copy()  # it may be a part of a large request
