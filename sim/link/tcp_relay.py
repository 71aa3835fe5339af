"""Links as a TCP relay: what clients send to a port of its own goes to one target, as fast as that link's trace has it.

Many links in one process, without root. Upward a byte leaves when the trace lets it; what waits beyond a bound is not
read, so that TCP holds the sender back. Downward nothing is shaped. Both ways take the delay. Time is the event loop's:
bytes are late by up to a millisecond or two, more where the machine is busy. Losses there are none: TCP would repair
them, and `namespaces` has packets.

    python -m edgesight.sim.link.tcp_relay < TASK      # a pickled `Task`; its ports as JSON, and it runs until its end
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import pickle
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

_STEP_S: Final = 0.002  # between looks at what may leave
_PACKET: Final = 1_500  # bytes, the first of which may leave as soon as the link is free
_MOST: Final = 128 << 10  # bytes that wait in the relay


@dataclass(frozen=True)
class StreamLink:
    """One link: Mbit/s by the second, anew after the last, and the second of it that holds as the relay begins."""

    mbps: tuple[float, ...]
    offset_s: float = 0.0


@dataclass(frozen=True)
class Task:
    """What a relay does: `links` to the `target`, whose traces begin at `began` of the machine's monotonic clock.

    `delay_s` is that of each way.
    """

    target: tuple[str, int]
    links: tuple[StreamLink, ...]
    began: float
    delay_s: float = 0.0


class Carried:
    """Bytes that a link carries by a moment, since its trace began."""

    def __init__(self, link: StreamLink) -> None:
        """Of that link; a rate of nothing is a bit a second, so that it ends."""
        self._rates = [max(rate, 1e-6) * 125e3 for rate in link.mbps]  # bytes a second
        self._sums = [0.0, *itertools.accumulate(self._rates)]
        self._offset = link.offset_s

    def __call__(self, seconds: float) -> float:
        """At so many seconds, which may be before the beginning."""
        rounds, rest = divmod(seconds + self._offset, len(self._rates))
        second = min(int(rest), len(self._rates) - 1)
        return rounds * self._sums[-1] + self._sums[second] + (rest - second) * self._rates[second]


class _Way:
    """What goes up a link, whichever connection it is of."""

    def __init__(self, link: StreamLink, began: float, delay_s: float) -> None:
        self._carried, self._began, self._delay_s = Carried(link), began, delay_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[_Front, bytes]] = deque()
        self.waiting = 0  # bytes
        self._paused: set[_Front] = set()  # connections that are not read until less waits
        self._may = 0.0  # bytes that may leave; below 0 what left too soon
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, front: _Front, data: bytes) -> None:
        """Send `data` of a connection when its time has come."""
        if self._timer is None:  # what an idle link could have carried is lost
            self._last, self._may = self._now(), min(self._may, 0.0)
        self._queue.append((front, data))
        self.waiting += len(data)
        if self.waiting > _MOST:
            front.pause()
            self._paused.add(front)
        if self._timer is None:
            self._step()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _step(self) -> None:
        now = self._now()
        self._may += self._carried(now) - self._carried(self._last)
        self._last, self._timer = now, None
        while self._queue and self._may > -_PACKET:
            front, data = self._queue[0]
            part = data[: max(int(self._may) + _PACKET, 1)]
            rest = data[len(part) :]
            if rest:
                self._queue[0] = front, rest
            else:
                self._queue.popleft()
            self._may -= len(part)
            self.waiting -= len(part)
            self._loop.call_later(self._delay_s, front.send_up, part)
        if self.waiting < _MOST // 2:
            for front in self._paused:
                front.read_again()
            self._paused.clear()
        if self._queue:
            rate = max(self._carried(now + _STEP_S) - self._carried(now), 1.0) / _STEP_S
            self._timer = self._loop.call_later(min((self.waiting + 1) / rate, _STEP_S), self._step)
        elif self._may < 0:  # the link is not free yet
            rate = max(self._carried(now + _STEP_S) - self._carried(now), 1.0) / _STEP_S
            self._timer = self._loop.call_later(-self._may / rate, self._step)


class _Front(asyncio.Protocol):
    """A client's connection, and its own to the target."""

    def __init__(self, way: _Way, target: tuple[str, int], delay_s: float) -> None:
        self._way, self._target, self._delay_s = way, target, delay_s
        self._loop = asyncio.get_running_loop()
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the target, and read from then on."""
        self._client = cast(asyncio.Transport, transport)
        self._client.pause_reading()
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self._client is not None
        try:
            await self._loop.create_connection(lambda: _Back(self), *self._target)
        except OSError:
            self._client.abort()
            return
        self._client.resume_reading()

    def connected(self, transport: asyncio.Transport) -> None:
        """The target is there."""
        self._server = transport

    def data_received(self, data: bytes) -> None:
        """Of the client."""
        self._way.carry(self, data)

    def pause(self) -> None:
        """Read no more of the client."""
        if self._client is not None and not self._client.is_closing():
            self._client.pause_reading()

    def read_again(self) -> None:
        """Read on."""
        if self._client is not None and not self._client.is_closing():
            self._client.resume_reading()

    def send_up(self, data: bytes) -> None:
        """To the target."""
        if self._server is not None and not self._server.is_closing():
            self._server.write(data)

    def send_down(self, data: bytes) -> None:
        """To the client."""
        self._loop.call_later(self._delay_s, self._to_client, data)

    def _to_client(self, data: bytes) -> None:
        if self._client is not None and not self._client.is_closing():
            self._client.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The client went."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """The target went."""
        if self._client is not None:
            self._client.close()


class _Back(asyncio.Protocol):
    """A connection to the target."""

    def __init__(self, front: _Front) -> None:
        self._front = front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._front.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        """Of the target."""
        self._front.send_down(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The target went."""
        self._front.close()


@contextlib.asynccontextmanager
async def relaying(task: Task) -> AsyncIterator[Sequence[int]]:
    """Ports at the loopback address, one for each link, meanwhile."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for link in task.links:
            way = _Way(link, task.began, task.delay_s)
            server = await loop.create_server(_new_front(way, task), "127.0.0.1", 0)
            stack.callback(server.close)
            ports.append(int(server.sockets[0].getsockname()[1]))
        yield ports


def _new_front(way: _Way, task: Task) -> Callable[[], Any]:
    return lambda: _Front(way, task.target, task.delay_s)


def main() -> None:
    """Relay until nothing more can come in."""
    task: Task = pickle.load(sys.stdin.buffer)

    async def run() -> None:
        async with relaying(task) as ports:
            print(json.dumps(ports), flush=True)
            await asyncio.to_thread(sys.stdin.buffer.read)

    asyncio.run(run())


if __name__ == "__main__":
    main()
