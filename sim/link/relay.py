"""A link as a UDP relay: what clients send to its port goes to a target, what that answers goes back to them.

It needs no root, as `namespaces` does, but carries UDP alone, and its own clients and target share the machine's
network. Time is the event loop's, so packets are late by up to a millisecond or two, more where the loop is busy.

Words owned here: client, target.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any

from edgesight.host.files import write_atomically
from edgesight.sim.link.model import Counts, Direction, Schedule, directions
from edgesight.sim.link.options import EmulationError, GilbertElliott, LinkOptions

Address = tuple[Any, ...]  # as the socket module has it: host and port, and two more numbers for IPv6
_MAX_CLIENTS = 256
_HEADERS = 28  # bytes of IPv4 and UDP around each datagram, which a link carries, too


class _Way:
    """One direction's packets on the event loop."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self._began: float | None = None
        self._schedule: Schedule[tuple[bytes, asyncio.DatagramTransport, Address | None]] = Schedule()

    def carry(self, data: bytes, transport: asyncio.DatagramTransport, address: Address | None) -> None:
        """Send `data` on `transport` when its time has come, or never."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._began is None:
            self._began = now
        due = self.direction.offer(now - self._began, len(data) + _HEADERS)
        if due is not None:
            self._schedule.add(due, (data, transport, address))
            loop.call_at(self._began + due, self._deliver_next)

    def _deliver_next(self) -> None:
        # One timer a packet, but each takes the packet that is due first: the loop shuffles timers of the same moment.
        _, (data, transport, address) = self._schedule.pop()
        if not transport.is_closing():
            self.direction.delivered(len(data) + _HEADERS)
            transport.sendto(data, address)


class RelayLink:
    """Relays UDP between clients and `target`; use it as an asynchronous context."""

    def __init__(
        self,
        target: tuple[str, int],
        up: LinkOptions,
        down: LinkOptions | None = None,
        *,
        seed: int = 0,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """`up` holds from clients to the target, `down` back (None: the same); `seed` decides all chance.

        `listen` is where clients send to; port 0 chooses one, see `address`. Raises EmulationError for options that no
        link can have.
        """
        self._target = target
        self._listen = listen
        self._up, self._down = map(_Way, directions(up, up if down is None else down, seed))
        self._front: asyncio.DatagramTransport | None = None
        self._upstream: OrderedDict[Address, asyncio.Task[asyncio.DatagramTransport]] = OrderedDict()

    @property
    def address(self) -> tuple[str, int]:
        """Where clients send to, once it is open."""
        if self._front is None:
            raise RuntimeError("the link is not open: use it in `async with`")
        host, port, *_ = self._front.get_extra_info("sockname")
        return str(host), int(port)

    def set_loss(self, loss: float | GilbertElliott) -> None:
        """From now on lose packets by `loss`, each way."""
        self._up.direction.set_loss(loss)
        self._down.direction.set_loss(loss)

    @property
    def up(self) -> Counts:
        """Packets from clients to the target."""
        return self._up.direction.counts

    @property
    def down(self) -> Counts:
        """Packets from the target to clients."""
        return self._down.direction.counts

    def report(self) -> dict[str, Any]:
        """What both directions were told to do and did so far: plain JSON, see `Direction.report`."""
        return {"up": self._up.direction.report(), "down": self._down.direction.report()}

    async def __aenter__(self) -> RelayLink:
        """Open the port."""
        loop = asyncio.get_running_loop()
        try:
            await loop.getaddrinfo(*self._target, type=socket.SOCK_DGRAM)  # once: a name that is none, found here
        except OSError as error:
            raise EmulationError(
                f"{self._target[0]}: no such host ({error.strerror or error}): name another"
            ) from error
        try:
            self._front, _ = await loop.create_datagram_endpoint(lambda: _Front(self), local_addr=self._listen)
        except OSError as error:
            host, port = self._listen
            raise EmulationError(
                f"UDP {host}:{port} cannot be opened ({error.strerror or error}): choose another port"
            ) from error
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
        opening.add_done_callback(lambda done: self._up.carry(data, done.result(), None) if _opened(done) else None)

    def from_target(self, data: bytes, client: Address) -> None:
        """Carry the target's packet to the client that it answers."""
        if self._front is not None:
            self._down.carry(data, self._front, client)

    async def _open(self, client: Address) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Back(self, client), remote_addr=self._target)
        return transport

    def _drop_oldest(self) -> None:
        _, opening = self._upstream.popitem(last=False)
        if _opened(opening):
            opening.result().close()
        else:
            opening.cancel()


def _opened(opening: asyncio.Task[asyncio.DatagramTransport]) -> bool:
    """Whether there is a port; where none could be had the packet is lost, as on any link."""
    return opening.done() and not opening.cancelled() and opening.exception() is None


def relay(
    target: tuple[str, int],
    up: LinkOptions,
    down: LinkOptions | None = None,
    *,
    seed: int = 0,
    listen: tuple[str, int] = ("127.0.0.1", 0),
    report: Path | None = None,
) -> None:
    """Relay until an interrupt or SIGTERM, as the command line does; first prints where clients send to.

    What the link did is then printed, or written to `report`, as JSON.
    """

    async def run() -> dict[str, Any]:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        async with RelayLink(target, up, down, seed=seed, listen=listen) as link:
            host, port = link.address
            print(f"Relaying {host}:{port} to {target[0]}:{target[1]}", flush=True)
            await ended.wait()
            return link.report()

    text = json.dumps(asyncio.run(run()), indent=2) + "\n"
    if report is not None:
        write_atomically(report, text.encode())
    else:
        print(text, end="")


class _Front(asyncio.DatagramProtocol):
    """The port that clients send to."""

    def __init__(self, link: RelayLink) -> None:
        self._link = link

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._link.from_client(data, addr)


class _Back(asyncio.DatagramProtocol):
    """One client's port towards the target."""

    def __init__(self, link: RelayLink, client: Address) -> None:
        self._link = link
        self._client = client

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._link.from_target(data, self._client)
