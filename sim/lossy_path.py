"""A photograph's way to the data centre without a network: in strips, some of them lost, repaired and enlarged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import Strip
from edgesight.host.link.quality import Step, smaller
from edgesight.host.link.strips import QUALITY, Encoded, TooLittle, assemble, encode, kind_of, resize

AS_ASKED = Step(QUALITY, 1)  # how a photograph goes where nothing was measured, and what travels raw
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


def sent(photograph: Pixels, step: Step) -> Encoded:
    """A photograph uint8 [H, W, C] as it goes over the link; raises LinkError as `encode` does."""
    return encode(smaller(photograph, step.divisor), step.quality, kind=kind_of(photograph))


def unharmed(encoded: Encoded, shape: tuple[int, ...]) -> Pixels:
    """What the data centre sees where nothing is lost, at the photograph's `shape` (H, W, C)."""
    return resize(assemble(map(Strip.parse, encoded.pack(request=0, left_ms=0))).image(), shape)


def through_loss(
    encoded: Encoded, shape: tuple[int, ...], loss: float, generator: np.random.Generator, parity: int
) -> Pixels | None:
    """Likewise, where each strip is lost independently with probability `loss`; None where too little arrives."""
    strips = map(Strip.parse, encoded.pack(request=0, left_ms=0, parity=parity))
    kept = [strip for strip in strips if generator.random() >= loss]
    try:
        return resize(assemble(kept).image(), shape)
    except TooLittle:
        return None
