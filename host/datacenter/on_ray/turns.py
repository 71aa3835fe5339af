"""Who of a model's callers is next to be with the replicas, and what may wait for that.

Replicas have as many requests as fill them; all others wait here, where the caller goes next who had least, and of a
caller's own the more urgent level and within it the nearest deadline.

Words owned here: turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from edgesight.host.datacenter.batching import NO_LEVEL, Limits
from edgesight.host.datacenter.shares import Line, Share, Shares
from edgesight.host.doors.served import Code, Refused

_KEPT_SHARES = 1_024
_RETRY_S = 0.1  # seconds after which there may be room again


class Turns:
    """Of one model; runs in the loop that makes it."""

    def __init__(self, name: str, at_once: int, limits: Limits) -> None:
        """`at_once` requests have their turn together."""
        self._name, self._limits = name, limits
        self._free = at_once
        self._shares: Shares[asyncio.Future[None]] = Shares()
        self._numbers = itertools.count()
        self._open: Counter[str] = Counter()  # requests that wait or have their turn, by caller
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._over: Refused | None = None

    def __len__(self) -> int:
        """Requests that wait."""
        return self._waiting

    @contextlib.asynccontextmanager
    async def turn(
        self, caller: str, held: int, rows: int, until: float, level: int = NO_LEVEL
    ) -> AsyncIterator[float]:
        """Wait for a turn, at most `until`, of the loop's clock: seconds that it took.

        The request holds so many bytes. Raises Refused where there is no room for it, or its turn does not come.
        """
        share = self._shares.of(caller)
        self._check_room(share, held)
        self._open[caller] += 1
        share.bytes += held
        self._idle.clear()
        try:
            came = asyncio.get_running_loop().time()
            await self._next(share, until, level)
            share.used += rows
            try:
                yield asyncio.get_running_loop().time() - came
            finally:
                self._free += 1
                self._give()
        finally:
            share.bytes -= held
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
            if not self._open:
                self._idle.set()
                self._shares.forget(_KEPT_SHARES)

    async def close(self, drain: float, error: Refused) -> None:
        """Let those that are here have their turn, for at most `drain` seconds; refuse the others with `error`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain)
        self._over = error
        for share in self._shares:
            for one in list(share.waiting):
                if not one.done():
                    one.set_exception(error)

    def _check_room(self, share: Share[asyncio.Future[None]], held: int) -> None:
        """Raise Refused where the caller has its part of what may be here."""
        if self._over is not None:
            raise self._over
        limits, opened = self._limits, self._open[share.name]
        active = len(self._open.keys() | {share.name})
        if opened >= max(limits.jobs // active, limits.fewest):
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"{opened} requests of yours wait for model {self._name}, the most that may: ask again later",
                _RETRY_S,
            )
        part = min(limits.caller_bytes, limits.bytes // active)
        if share.bytes + held > part:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"your requests for model {self._name} hold {share.bytes} bytes, and with this one more than {part}: "
                "ask again later",
                _RETRY_S,
            )

    async def _next(self, share: Share[asyncio.Future[None]], until: float, level: int) -> None:
        """Wait until it is the turn of a request that comes now."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        number = next(self._numbers)
        self._shares.wait(share, until, number, mine, level)
        self._waiting += 1
        self._give()
        late = loop.call_at(until, self._late, mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:  # its turn had come just now
                self._free += 1
                self._give()
            raise
        finally:
            late.cancel()
            self._waiting -= 1
            share.waiting.remove(until, number, level)

    def _late(self, one: asyncio.Future[None]) -> None:
        if not one.done():
            told = (
                f"others go before it, and no replica comes to model {self._name} in time: give it more, or ask later"
            )
            one.set_exception(Refused(Code.DEADLINE_EXCEEDED, told, _RETRY_S))

    def _give(self) -> None:
        """Turns, as long as there are any."""
        while self._free:
            taken: Sequence[asyncio.Future[None]] = self._shares.take(_waiting, lambda share: 1, 1)
            if not taken:
                return
            if not taken[0].done():
                self._free -= 1
                taken[0].set_result(None)


def _waiting(share: Share[asyncio.Future[None]]) -> Line[asyncio.Future[None]]:
    return share.waiting
