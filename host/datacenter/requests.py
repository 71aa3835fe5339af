"""Requests at the data centre: what is known of one while its strips come, while it waits, and after its reply.

Words owned here: request in assembly.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.shares import Share
from edgesight.host.link.server import ServerPeer
from edgesight.host.link.strips import Assembly

_REMEMBERED = 1_024  # replies of one client

Image = npt.NDArray[np.uint8]  # [H, W, C]


@dataclass
class Incoming:
    """A request in assembly."""

    assembly: Assembly
    attempt: int
    deadline: float  # of the loop's clock
    last: float  # when the last strip came
    bytes: int = 0  # that it holds
    timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Wait for no more strips."""
        if self.timer is not None:
            self.timer.cancel()


@dataclass(eq=False)
class Ready:
    """A request that waits for the model."""

    peer: ServerPeer
    number: int
    order: int  # of coming
    request: Incoming
    share: Share[Ready]
    image: Image = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))  # once it is decoded


@dataclass
class Settled:
    """What was said of a request, and to which of its attempts; None when it was cancelled."""

    attempt: int
    reply: bytes | None


class Client:
    """What is known of one client: requests in assembly and what became of others, both bounded."""

    def __init__(self, share: Share[Ready]) -> None:
        """It takes its part of `share`."""
        self.share = share
        self.assembling: dict[int, Incoming] = {}
        self.pending: set[int] = set()  # with the model or waiting for it
        self.settled: OrderedDict[int, Settled] = OrderedDict()
        self.forgotten = -1  # highest request id of which nothing is remembered any more

    def settle(self, number: int, settled: Settled) -> None:
        """Remember what became of a request."""
        self.settled[number] = settled
        if len(self.settled) > _REMEMBERED:
            self.forgotten = max(self.forgotten, self.settled.popitem(last=False)[0])
