"""Requests at the data centre: what is known of one while its strips come, while it waits, and after its reply.

Words owned here: request in assembly.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.shares import Share
from edgesight.host.datacenter.traces import tell_offloaded
from edgesight.host.link.datagrams import Status, Trace
from edgesight.host.link.server import ServerPeer
from edgesight.host.link.strips import Assembly

_REMEMBERED = 1_024  # replies of one client
_TRACED = 256  # its requests whose trace is known

Image = npt.NDArray[np.uint8]  # [H, W, C]
See = Callable[[Image, str, int, float], None]
"""Is given a picture that was answered, the edge, the label, and seconds since the last that came of it."""


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
        self._traces: OrderedDict[int, tuple[str, float]] = OrderedDict()  # with the time when it came

    def trace(self, trace: Trace) -> None:
        """A request belongs to a trace."""
        if trace.request not in self.settled:
            self._traces.setdefault(trace.request, (trace.traceparent, time.time()))
            if len(self._traces) > _TRACED:
                self._traces.popitem(last=False)

    def tell(self, number: int, model: str, status: Status) -> None:
        """What became of a request, where it is traced: a line of the log, and a span where OpenTelemetry is there."""
        traceparent, came = self._traces.pop(number, (None, 0.0))
        if traceparent is not None:
            tell_offloaded(traceparent, self.share.name, model, status.name, came)

    def settle(self, number: int, settled: Settled) -> None:
        """Remember what became of a request."""
        self.settled[number] = settled
        if len(self.settled) > _REMEMBERED:
            self.forgotten = max(self.forgotten, self.settled.popitem(last=False)[0])


def unseen(picture: Image, edge: str, label: int, seconds: float) -> None:
    """Nobody looks on."""
