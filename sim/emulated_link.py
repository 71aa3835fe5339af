"""An emulated lossy link: a UDP relay that drops, delays and rates packets, from a seed, each way on its own.

It works without root, which network namespaces would need. Time is the event loop's, so delays are right to about a
millisecond; packets are dropped independently, which real links do not promise.

Words owned here: direction.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any

Address = tuple[Any, ...]  # as the socket module has it: host and port, and two more numbers for IPv6
_MAX_CLIENTS = 256
_LONGEST_QUEUE = 0.1  # seconds of packets that a rated direction holds before it drops at its tail


@dataclass
class Counts:
    """What became of the packets of one direction."""

    delivered: int = 0
    dropped: int = 0  # by chance
    overflowed: int = 0  # by the rate limit's full queue


class _Direction:
    """Loss, delay and rate of one direction."""

    def __init__(self, loss: float, delay: float, rate: float | None, seed: int) -> None:
        self.counts = Counts()
        self.loss = loss
        self._delay, self._rate = delay, rate
        self._random = random.Random(seed)
        self._free_at = 0.0
        # In order of departure, which is the order of arrival; the loop alone would shuffle timers of the same moment.
        self._under_way: deque[tuple[bytes, asyncio.DatagramTransport, Address | None]] = deque()

    def carry(self, data: bytes, transport: asyncio.DatagramTransport, address: Address | None) -> None:
        """Send `data` on `transport` when its time has come, or never."""
        if self._random.random() < self.loss:
            self.counts.dropped += 1
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._free_at = max(self._free_at, now)
        if self._rate is not None:
            if self._free_at - now > _LONGEST_QUEUE:
                self.counts.overflowed += 1
                return
            self._free_at += len(data) / self._rate
        self._under_way.append((data, transport, address))
        loop.call_at(self._free_at + self._delay, self._deliver_next)

    def _deliver_next(self) -> None:
        data, transport, address = self._under_way.popleft()
        if not transport.is_closing():
            self.counts.delivered += 1
            transport.sendto(data, address)


class EmulatedLink:
    """Relays UDP between clients and `target`; use it as an asynchronous context."""

    def __init__(
        self,
        target: tuple[str, int],
        *,
        loss: float = 0.0,
        delay: float = 0.0,
        rate: float | None = None,
        seed: int = 0,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """Each way: `loss` is the probability of a drop, `delay` in seconds, `rate` in bytes a second.

        `listen` is where clients send to; port 0 chooses one, see `address`.
        """
        if not 0.0 <= loss <= 1.0 or delay < 0.0 or (rate is not None and rate <= 0.0):
            raise ValueError(f"loss {loss}, delay {delay}, rate {rate}: expected 0 to 1, at least 0, above 0 or None")
        self._target = target
        self._listen = listen
        self._there = _Direction(loss, delay, rate, 2 * seed)
        self._back = _Direction(loss, delay, rate, 2 * seed + 1)
        self._front: asyncio.DatagramTransport | None = None
        self._upstream: OrderedDict[Address, asyncio.Task[asyncio.DatagramTransport]] = OrderedDict()

    @property
    def address(self) -> tuple[str, int]:
        """Where clients send to, once it is open."""
        if self._front is None:
            raise RuntimeError("the link is not open: use it in `async with`")
        host, port, *_ = self._front.get_extra_info("sockname")
        return str(host), int(port)

    def set_loss(self, loss: float) -> None:
        """From now on drop packets with probability `loss`, each way."""
        self._there.loss = self._back.loss = loss

    @property
    def there(self) -> Counts:
        """Packets from clients to the target."""
        return self._there.counts

    @property
    def back(self) -> Counts:
        """Packets from the target to clients."""
        return self._back.counts

    async def __aenter__(self) -> EmulatedLink:
        """Open the port."""
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(lambda: _Front(self), local_addr=self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every port."""
        if self._front is not None:
            self._front.close()
        while self._upstream:
            self._drop_oldest()

    def from_client(self, data: bytes, client: Address) -> None:
        """Carry a client's packet to the target, from a port that belongs to that client."""
        opening = self._upstream.get(client)
        if opening is None:
            if len(self._upstream) >= _MAX_CLIENTS:
                self._drop_oldest()
            opening = self._upstream[client] = asyncio.get_running_loop().create_task(self._open(client))
        # A callback even where the port is open by now: packets that still wait for theirs must not be overtaken.
        opening.add_done_callback(
            lambda done: None if done.cancelled() else self._there.carry(data, done.result(), None)
        )

    def from_target(self, data: bytes, client: Address) -> None:
        """Carry the target's packet to the client that it answers."""
        if self._front is not None:
            self._back.carry(data, self._front, client)

    async def _open(self, client: Address) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Back(self, client), remote_addr=self._target)
        return transport

    def _drop_oldest(self) -> None:
        _, opening = self._upstream.popitem(last=False)
        if opening.done() and not opening.cancelled():
            opening.result().close()
        else:
            opening.cancel()


class _Front(asyncio.DatagramProtocol):
    """The port that clients send to."""

    def __init__(self, link: EmulatedLink) -> None:
        self._link = link

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._link.from_client(data, addr)


class _Back(asyncio.DatagramProtocol):
    """One client's port towards the target."""

    def __init__(self, link: EmulatedLink, client: Address) -> None:
        self._link = link
        self._client = client

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._link.from_target(data, self._client)
