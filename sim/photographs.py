"""Pictures as a back end takes them, which may be too many to be held at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.link.concealment import Pixels

_BATCH = 64
_BATCH_BYTES = 1 << 25  # of photographs, at most


class Photographs(Protocol):
    """Pictures as the back end takes them, held or made on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __getitem__(self, chosen: npt.NDArray[np.int64], /) -> Pixels:
        """Those at the indices `chosen` [n]: uint8 [n, H, W, C]."""


def batches(photographs: Photographs, count: int) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers below `count`, in pieces for so many photographs as are held at once."""
    each = int(np.prod(photographs.shape[1:]))
    size = max(1, min(_BATCH, _BATCH_BYTES // each))
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
