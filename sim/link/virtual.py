"""A link between two ends in one process, in virtual time: what takes a minute on a wire is over as soon as it is
computed, and comes out the same however busy the machine is.

An asyncio loop whose clock stands still while anything runs and jumps to the next timer when nothing does. UDP sockets
opened in it are in memory, and what they send crosses the same link model as real packets do
(`edgesight.sim.link.model`). Computing costs no virtual time, but for what runs in an executor of its own, a model
say, which is told how long it takes.

Simulated: all times. What runs in an executor may say itself how long it takes: `VirtualLoop.takes`. What it does not
do: name resolution, streams, several servers at one port, subprocesses.

Words owned here: virtual time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from edgesight.sim.link.model import Direction, directions
from edgesight.sim.link.options import LinkOptions

_TICK = 1e-8  # seconds that every round of the loop takes: timers may fire that much early, and must not do so for ever
_HEADERS = 28  # bytes of IPv4 and UDP
_FIRST_PORT = 49_152
_EDGE, _DATACENTER = "192.0.2.1", "192.0.2.2"  # RFC 5737: addresses of documentation

Address = tuple[str, int]
T = TypeVar("T")


def run_virtual(
    main: Coroutine[Any, Any, T],
    up: LinkOptions,
    down: LinkOptions | None = None,
    *,
    seed: int = 0,
    model_s: float = 0.0,
) -> T:
    """Run `main` to its end; `down` is like `up` unless told, and a call in an executor of its own takes `model_s`."""
    loop = VirtualLoop(*directions(up, down or up, seed), model_s)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `up` and `down` are the link's directions, from the end that connects to the one that listens."""

    def __init__(self, up: Direction, down: Direction, model_s: float) -> None:
        """At time 0."""
        self.up, self.down = up, down
        self._model_s = model_s
        self._now = 0.0
        self._call_s = 0.0  # of the call in an executor that is made now
        self._ends: dict[Address, _Socket] = {}
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def takes(self, seconds: float) -> None:
        """What runs in an executor now takes so many seconds more."""
        self._call_s += seconds

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self._now += seconds

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Address | None = None,
        remote_addr: Address | None = None,
        **others: Any,
    ) -> tuple[_Socket, Any]:
        """A socket in memory; one with a `local_addr` is the data centre's."""
        port = local_addr[1] if local_addr is not None and local_addr[1] else _FIRST_PORT + len(self._ends)
        own = (_DATACENTER if local_addr is not None else _EDGE, port)
        peer = (_DATACENTER, remote_addr[1]) if remote_addr is not None else None
        protocol = protocol_factory()
        socket = self._ends[own] = _Socket(self, protocol, own, peer)
        protocol.connection_made(socket)
        return socket, protocol

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run `func` now; its result comes after the time that it is said to take, none in the loop's own threads."""
        result = self.create_future()
        outcome: Callable[[Any], None] = result.set_result
        self._call_s = self._model_s if executor is not None else 0.0
        try:
            value: Any = func(*args)
        except Exception as error:
            value, outcome = error, result.set_exception
        self.call_later(self._call_s, lambda: None if result.done() else outcome(value))
        return result

    def carry(self, data: bytes, source: Address, target: Address) -> None:
        """Let a packet cross the link; whatever the edge calls the data centre's host, there is only one."""
        way = self.up
        if source[0] == _DATACENTER:
            way = self.down
        else:
            target = (_DATACENTER, target[1])
        at = way.offer(self._now, len(data) + _HEADERS)
        if at is not None:
            self.call_at(at, self._deliver, data, source, target, way)

    def _deliver(self, data: bytes, source: Address, target: Address, way: Direction) -> None:
        way.delivered(len(data) + _HEADERS)
        end = self._ends.get(target)
        if end is not None and not end.is_closing():
            end.protocol.datagram_received(data, source)


class _Socket(asyncio.DatagramTransport):
    def __init__(self, loop: VirtualLoop, protocol: Any, own: Address, peer: Address | None) -> None:
        super().__init__({"sockname": own, "peername": peer})
        self.protocol = protocol
        self._link, self._own, self._peer = loop, own, peer
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        target = addr or self._peer
        if not self._closed and target is not None:
            self._link.carry(bytes(data), self._own, (target[0], target[1]))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = True


class _Selector(selectors.DefaultSelector):
    """Jumps to the next timer in place of waiting for it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._virtual = loop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if timeout is None and not events:
            raise RuntimeError("nothing will ever happen again in this virtual time: something awaits what never comes")
        self._virtual.pass_time(_TICK if events else max(timeout or 0.0, _TICK))
        return events
