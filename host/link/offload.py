"""What offloading an image means to whoever asks, whatever carries it: nothing here needs QUIC.

Words owned here: offloaded, coarse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.link.datagrams import LinkError, Reply


@dataclass(frozen=True)
class Offloaded(Reply):
    """A reply, and how well the link carried the request; accuracy targets hold for some links only."""

    loss: float = 0.0  # share of packets that the link lost of late, as the edge measured it
    coarse: bool = False  # for want of bandwidth it went smaller, at a lower quality, or with less parity than usual


class NoAnswer(LinkError):
    """The data centre did not answer in time: says why. The edge answers in its stead."""

    def __init__(self, message: str, *, asked: bool = True) -> None:
        """`asked` is False where nothing was sent, nor waited for."""
        super().__init__(message)
        self.asked = asked


class Offload(Protocol):
    """The way to the data centre."""

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        """Label of uint8 [H, W, C] `within` seconds under an accuracy target; raises LinkError where there is none.

        `trace` is a W3C `traceparent` under which the data centre tells of the request. Cancelling this takes the
        request back from the data centre, too.
        """
