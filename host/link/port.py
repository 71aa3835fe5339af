"""The data centre's UDP port: whose packet is looked at next, and whose not at all.

One thread does everything here, so what strangers make it compute is taken from the edges. Two kinds of packets wait
apart from each other:
- those of edges that were let in come first, one of each edge in turn, so that none waits for another's flood;
- those of connections that have not proved themselves, and first packets, whose address is not even proved. They get
  `_SHARE` of the thread's time at most, and who took least of it lately comes first: somebody new before who floods.

A source begins so many connections a second. What waits is bounded, and what does not fit is dropped, as the network
might have done.

Words owned here: source (an IPv4 address, or the /64 that an IPv6 host chooses its own from), budget.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, cast

from edgesight.host.link.bounds import LARGEST_PACKET
from edgesight.host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.configuration import QuicConfiguration
except ImportError as error:
    raise LinkError(NO_QUIC) from error

_SMALLEST_FIRST = 1_200  # bytes of a datagram that begins a connection (RFC 9000, 14.1)
_SMALLEST = 21  # bytes of any packet (RFC 9000, 10.3)
_INITIAL = {b"\x00\x00\x00\x01": 0x00, b"\x6b\x33\x43\xcf": 0x10}  # type bits of a first packet by version (RFC 9369)
_BATCH = 64  # packets that are read at a time
_BUFFER = 4 << 20  # bytes that the kernel is asked to keep for us meanwhile
_SLICE = 0.002  # seconds of work until the event loop sees to others
_SHARE, _SAVED = 0.3, 0.05  # of the thread's time for strangers, and seconds of it that may be saved up
_ENTITLED = 0.02  # of the time, for one source; who took more waits for those who took less
_LONGEST_DEBT = 10.0  # seconds that a source may be ahead of the time for that
_OF_ONE, _OF_ALL = 32, 512  # packets of strangers that wait, of one source (first ones, and others) and in all
_PASSED_OVER = 8  # slices of edges' packets after which a stranger's is looked at although more of theirs wait
_CONNECTIONS, _AT_ONCE = 40.0, 128.0  # first packets of a source in a second, and at once; a connection takes two
_SOURCES = 4_096  # that are remembered
_SPENT = 4_096  # identities of connections that ended; a first packet that names one begins no other

Address = Any  # of a socket
Key = TypeVar("Key")


class Taker(Protocol):
    """A connection of the port."""

    @property
    def trusted(self) -> bool:
        """Whether its edge was let in."""

    @property
    def source(self) -> str:
        """Where it comes from."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take in a datagram."""


@functools.lru_cache(maxsize=1_024)
def source_of(address: str) -> str:
    """The source that IP address `address` belongs to."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Waiting(Generic[Key]):
    """Datagrams that wait, by key: one of each in turn, and of each in order."""

    def __init__(self, of_one: int, of_all: int) -> None:
        """Keeps at most so many of one key, and of all together."""
        self._of_one, self._of_all = of_one, of_all
        self._queues: OrderedDict[Key, deque[tuple[bytes, Address]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Datagrams that wait."""
        return self._count

    def add(self, key: Key, data: bytes, address: Address) -> None:
        """Let `data` wait; it, or one of who has most waiting, is dropped where there is no room."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        if len(queue) >= self._of_one:
            return
        queue.append((data, address))
        self._count += 1
        if self._count > self._of_all:
            most = max(self._queues, key=lambda other: len(self._queues[other]))
            self._queues[most].pop()
            self._count -= 1
            if not self._queues[most]:
                del self._queues[most]

    def next(self) -> tuple[Key, bytes, Address]:
        """The datagram whose turn it is; to be called when there is one."""
        key, queue = self._queues.popitem(last=False)
        data, address = queue.popleft()
        if queue:
            self._queues[key] = queue
        self._count -= 1
        return key, data, address


class _Source:
    """What is remembered of a source, and what of it waits."""

    __slots__ = ("at", "clock", "half_open", "left", "new")

    def __init__(self, now: float) -> None:
        self.left, self.at = _AT_ONCE, now  # first packets that it may still send, and when that was
        self.clock = now  # ahead of the time by what it took from others
        self.half_open: deque[tuple[bytes, Address]] = deque()
        self.new: deque[tuple[bytes, Address]] = deque()

    @property
    def waiting(self) -> int:
        return len(self.half_open) + len(self.new)


class Strangers:
    """Packets that are no edge's: those of the source that took least time of late go first."""

    def __init__(self) -> None:
        """Nobody was here yet."""
        self._known: OrderedDict[str, _Source] = OrderedDict()  # who was here last at the end
        self._waiting: dict[str, _Source] = {}
        self._count = 0

    def __len__(self) -> int:
        """Datagrams that wait."""
        return self._count

    def allow(self, source: str, now: float) -> bool:
        """Count a first packet of `source`; False where it has sent too many."""
        known = self._get(source, now)
        known.left = min(known.left + (now - known.at) * _CONNECTIONS, _AT_ONCE)
        known.at = now
        allowed = known.left >= 1.0
        known.left -= allowed
        return allowed

    def add(self, source: str, data: bytes, address: Address, now: float, *, new: bool) -> None:
        """Let `data` wait, a first packet where it is `new`; it is dropped for want of room, or one of who has most."""
        known = self._get(source, now)
        queue = known.new if new else known.half_open
        if len(queue) >= _OF_ONE:
            return
        queue.append((data, address))
        self._waiting[source] = known
        self._count += 1
        if self._count > _OF_ALL:
            most = max(self._waiting, key=lambda other: self._waiting[other].waiting)
            loudest = self._waiting[most]
            (loudest.new or loudest.half_open).pop()
            self._took_one(most, loudest)

    def next(self) -> tuple[str, bytes, Address]:
        """The datagram whose turn it is; to be called when there is one."""
        source = min(self._waiting, key=lambda other: self._waiting[other].clock)
        known = self._waiting[source]
        data, address = (known.half_open or known.new).popleft()
        self._took_one(source, known)
        return source, data, address

    def spend(self, source: str, seconds: float, now: float) -> None:
        """Charge `source` for the time that its packet took."""
        known = self._get(source, now)
        known.clock = min(max(known.clock, now) + seconds / _ENTITLED, now + _LONGEST_DEBT)

    def _get(self, source: str, now: float) -> _Source:
        known = self._known.pop(source, None) or self._waiting.get(source) or _Source(now)
        self._known[source] = known
        if len(self._known) > _SOURCES:
            self._known.popitem(last=False)
        return known

    def _took_one(self, source: str, known: _Source) -> None:
        self._count -= 1
        if not known.waiting:
            del self._waiting[source]


class Budget:
    """The thread's time that strangers may still take, in seconds."""

    def __init__(self, now: float) -> None:
        """All that may be saved up is there."""
        self._left, self._at = _SAVED, now

    def left(self, now: float) -> float:
        """Seconds; none or fewer: it is used up."""
        self._left = min(self._left + (now - self._at) * _SHARE, _SAVED)
        self._at = now
        return self._left

    def wait(self, now: float) -> float:
        """Seconds until there is some; 0 where there is."""
        left = self.left(now)
        return 0.0 if left > 0.0 else 1e-3 - left / _SHARE

    def spend(self, seconds: float) -> None:
        """Take off what a stranger's packet took."""
        self._left -= seconds


class Port(QuicServer):
    """Sorts the packets that come, and hands them on in the order that is theirs."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        create_protocol: Callable[..., QuicConnectionProtocol],
        failed: Callable[[str, Exception], None],
    ) -> None:
        """`failed` is told of a source whose packet made aioquic fail.

        With `retry` a client's address is proved before any state is kept for it. Without handlers of session tickets
        none is given out, so no session is resumed and none begins with early data.
        """
        super().__init__(configuration=configuration, create_protocol=create_protocol, retry=True)
        self._socket: socket.socket | None = None
        self._failed = failed
        self._identity = slice(1, 1 + configuration.connection_id_length)
        self._edges: Waiting[Taker] = Waiting(of_one=256, of_all=2_048)
        self._strangers = Strangers()
        self._spent: OrderedDict[bytes, None] = OrderedDict()
        self._budget = Budget(self._loop.time())
        self._passed_over = 0  # slices since a stranger's packet was looked at
        self._next: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and the socket under it."""
        super().connection_made(transport)
        shared = transport.get_extra_info("socket")
        if shared is not None:
            self._socket = shared.dup()
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def close(self) -> None:
        """End all connections and stop listening."""
        if self._next is not None:
            self._next.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        super().close()

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        """Sort a packet, and what else has come by now; then go on with the work."""
        self._sort(cast(bytes, data), addr)
        if self._socket is not None:
            # asyncio reads one packet and then does everything else; a flood would fill the kernel's queue meanwhile.
            for _ in range(_BATCH - 1):
                try:
                    data, addr = self._socket.recvfrom(LARGEST_PACKET + 1)
                except OSError:  # nothing more, or an old packet of ours was not wanted
                    break
                self._sort(data, addr)
        if self._edges or self._next is None:
            self._work()

    def _sort(self, data: bytes, addr: Address) -> None:
        if not _SMALLEST <= len(data) <= LARGEST_PACKET:
            return
        if not data[0] & 0x80:
            peer = self._protocols.get(data[self._identity])
            if peer is not None:
                self._keep(cast(Taker, peer), data, addr)
            return
        version, identity = data[1:5], data[6 : 6 + data[5]]
        known = int.from_bytes(version, "big") in self._configuration.supported_versions
        peer = self._protocols.get(identity) if known else None
        if peer is not None:
            self._keep(cast(Taker, peer), data, addr)
            return
        # A reply is never longer than this, and a version negotiation is never answered: no two servers shall go on
        # talking to each other for ever.
        if len(data) < _SMALLEST_FIRST or version == bytes(4):
            return
        if known and data[0] & 0x30 != _INITIAL.get(version, 0x00):
            return
        if identity in self._spent:  # aioquic takes the proof of an address again and again
            return
        source, now = source_of(str(addr[0])), self._loop.time()
        if self._strangers.allow(source, now):
            self._strangers.add(source, data, addr, now, new=True)

    def _keep(self, peer: Taker, data: bytes, addr: Address) -> None:
        if peer.trusted:
            self._edges.add(peer, data, addr)
        else:
            self._strangers.add(peer.source, data, addr, self._loop.time(), new=False)

    def _work(self) -> None:
        """Edges' packets for a while, or one of a stranger; the rest is for the event loop's next turns."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        until = self._loop.time() + _SLICE
        while self._edges:
            peer, data, addr = self._edges.next()
            peer.datagram_received(data, addr)
            if self._loop.time() > until:
                break
        wait = 0.0
        if self._strangers:
            self._passed_over += 1
            if not self._edges or self._passed_over > _PASSED_OVER:
                self._passed_over = 0
                if self._budget.left(self._loop.time()) > 0.0:
                    self._meet_stranger()
                wait = self._budget.wait(self._loop.time())
        if self._edges or self._strangers:
            soon = self._edges or wait == 0.0
            self._next = self._loop.call_soon(self._work) if soon else self._loop.call_later(wait, self._work)

    def _meet_stranger(self) -> None:
        """Handle one packet of a connection that has not proved itself, or of none yet."""
        source, data, addr = self._strangers.next()
        begin = self._loop.time()  # not CPU time: where others have the core meanwhile, edges wait all the same
        try:
            super().datagram_received(data, addr)
        except Exception as error:  # connections let none through: this is aioquic's own look at a first packet
            self._failed(source, error)
        took = self._loop.time() - begin
        self._budget.spend(took)
        self._strangers.spend(source, took, self._loop.time())

    def _connection_terminated(self, protocol: QuicConnectionProtocol) -> None:
        for identity in [identity for identity, other in self._protocols.items() if other is protocol]:
            del self._protocols[identity]
            self._spent[identity] = None
        while len(self._spent) > _SPENT:
            self._spent.popitem(last=False)

    def _connection_id_retired(self, cid: bytes, protocol: QuicConnectionProtocol) -> None:
        # A client may retire an identity that it was not told yet.
        if self._protocols.get(cid) is protocol:
            del self._protocols[cid]
