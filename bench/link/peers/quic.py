"""Images over QUIC: one reliable stream an image on one connection, with our congestion control and mutual TLS."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
from aioquic.asyncio.server import serve as serve_aioquic
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from edgesight.bench.link.peers.back_end import CONNECT_WITHIN, BackEnd, TransportError, label_of
from edgesight.bench.link.workload import Ask, Pixels, Unanswered, encode
from edgesight.host.datacenter.authority import Authority
from edgesight.host.link.congestion import pace
from edgesight.host.link.keys import client_keys, now
from edgesight.host.link.tls import REFUSED, Untrusted, ask_for_certificate, check_data_centre, shown_chain

_LEFT = struct.Struct("!H")  # milliseconds until the deadline
_TRY_AGAIN = 1.0  # seconds after which a handshake that got nowhere begins anew
_LONG = 3_600.0  # seconds: no connection here ends for being idle
_CANCELLED = 0x10  # application error code of a stream that nobody waits for
_STREAM_WINDOW = 1 << 20  # bytes that a QUIC stream may have unread: aioquic's own, not the little that our link needs
Client = TypeVar("Client", bound="StreamClient")


class _Peer(QuicConnectionProtocol, abc.ABC):
    """An end of a connection that carries a request, or its reply, a stream."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        super().__init__(quic, stream_handler)
        self._controller = pace(quic._loss, quic.configuration.max_datagram_size)
        self._content: dict[int, bytearray] = {}

    def transmit(self) -> None:
        """Send what is due, and tell the congestion controller where that was all, as our own transport does."""
        super().transmit()
        # aioquic has no public view of what a connection still holds back.
        if self._controller is not None and all(one.sender.buffer_is_empty for one in self._quic._streams_queue):
            self._controller.on_app_limited()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Gather the bytes of each stream until its end."""
        if isinstance(event, StreamDataReceived):
            content = self._content.setdefault(event.stream_id, bytearray())
            content += event.data
            if event.end_stream:
                self.ended(event.stream_id, bytes(self._content.pop(event.stream_id)))
        elif isinstance(event, StreamReset):
            self._content.pop(event.stream_id, None)

    @abc.abstractmethod
    def ended(self, stream: int, content: bytes) -> None:
        """A stream came whole."""


class StreamServer(_Peer):
    """The data centre's end."""

    def __init__(self, quic: QuicConnection, back_end: BackEnd, authority: Authority) -> None:
        """Answers edges of the `authority` by `back_end`."""
        super().__init__(quic)
        ask_for_certificate(quic)
        self.back_end, self._authority = back_end, authority
        self.trusted = False
        self._at_work: dict[int, asyncio.Task[None]] = {}  # by stream

    def quic_event_received(self, event: QuicEvent) -> None:
        """Let in whom the authority knows; stop work that was taken back."""
        if isinstance(event, StopSendingReceived) and event.stream_id in self._at_work:
            self._at_work[event.stream_id].cancel()
        if isinstance(event, HandshakeCompleted):
            try:
                self._authority.admit(shown_chain(self._quic))
                self.trusted = True
            except Untrusted as error:
                self.close(REFUSED, str(error))
        super().quic_event_received(event)

    def ended(self, stream: int, content: bytes) -> None:
        """A request came whole."""
        if self.trusted:
            self.work(stream, self._reply(stream, content))

    def work(self, number: int, replying: Coroutine[Any, Any, None]) -> None:
        """Reply to a request; who takes it back says its number."""
        self._at_work[number] = task = self._loop.create_task(replying)
        task.add_done_callback(lambda _: self._at_work.pop(number))

    async def _reply(self, stream: int, content: bytes) -> None:
        (left_ms,) = _LEFT.unpack_from(content)
        reply = await self.back_end.reply(content[_LEFT.size :], left_ms * 1e-3)
        self._quic.send_stream_data(stream, reply, end_stream=True)
        self.transmit()


class StreamClient(_Peer):
    """The edge's end."""

    def __init__(self, quic: QuicConnection) -> None:
        """Not connected yet."""
        super().__init__(quic)
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self._taken_back: set[int] = set()  # streams that nobody waits for, and the data centre has not been told so
        self.ready: asyncio.Future[None] = self._loop.create_future()

    def transmit(self) -> None:
        """As `_Peer` says; streams that were taken back are ended before.

        One that the data centre does not let be opened yet waits: to end it would open it, and with it the connection
        would end.
        """
        for stream in sorted(self._taken_back):
            found = self._quic._streams.get(stream)  # aioquic has no public view of which are blocked
            if found is not None and found.is_blocked:
                continue
            self._taken_back.discard(stream)
            with contextlib.suppress(ValueError):  # it ended at this moment
                self._quic.reset_stream(stream, _CANCELLED)
                self._quic.stop_stream(stream, _CANCELLED)
        super().transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Tell who waits that the connection is there, or is gone."""
        if isinstance(event, HandshakeCompleted) and not self.ready.done():
            self.ready.set_result(None)
        if isinstance(event, ConnectionTerminated):
            broken = TransportError(f"the connection ended: {event.reason_phrase or hex(event.error_code)}: try again")
            open_ones: list[asyncio.Future[Any]] = [self.ready, *self.waiting.values()]
            for waiting in open_ones:
                if not waiting.done():
                    waiting.set_exception(broken)
        super().quic_event_received(event)

    @property
    def shown(self) -> Any:
        """The data centre's certificate."""
        return shown_chain(self._quic)[0]

    def ended(self, stream: int, content: bytes) -> None:
        """A reply came whole."""
        waiting = self.waiting.get(stream)
        if waiting is not None and not waiting.done():
            waiting.set_result(content)

    async def ask(self, image: Pixels, left_s: float) -> int:
        """The label of `image`; raises Unanswered."""
        stream = self._quic.get_next_available_stream_id()
        reply = self.waiting[stream] = self._loop.create_future()
        left_ms = min(max(int(left_s * 1e3), 0), 0xFFFF)
        self._quic.send_stream_data(stream, _LEFT.pack(left_ms) + encode(image), end_stream=True)
        self.transmit()
        try:
            return label_of(await asyncio.wait_for(reply, left_s))
        except asyncio.TimeoutError:
            self._taken_back.add(stream)
            self.transmit()
            raise Unanswered from None
        finally:
            del self.waiting[stream]


@asynccontextmanager
async def serving(
    back_end: BackEnd,
    keys: Path,
    host: str,
    port: int,
    make: Callable[[QuicConnection, BackEnd, Authority], StreamServer] | None = None,
) -> AsyncIterator[None]:
    """Serve `back_end` at `host` and `port` for as long as the context lasts, with ends that `make` makes."""
    with contextlib.closing(Authority(keys)) as authority:

        def peer(quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> StreamServer:
            return (make or StreamServer)(quic, back_end, authority)

        configuration = authority.configuration(_LONG)
        configuration.max_data = configuration.max_stream_data = _STREAM_WINDOW
        server = await serve_aioquic(host, port, configuration=configuration, create_protocol=peer, retry=True)
        try:
            yield
        finally:
            server.close()


@asynccontextmanager
async def asking(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    """How the data centre at `host` and `port` is asked of an image."""
    async with connected(keys, host, port, StreamClient) as peer:
        yield peer.ask


@asynccontextmanager
async def connected(
    keys: Path, host: str, port: int, make: Callable[[QuicConnection], Client]
) -> AsyncIterator[Client]:
    """A client that is connected to the data centre, which was checked."""
    link_keys = client_keys(keys, _LONG)
    link_keys.configuration.max_data = link_keys.configuration.max_stream_data = _STREAM_WINDOW
    loop = asyncio.get_running_loop()
    until = loop.time() + CONNECT_WITHIN
    while True:
        transport, peer = await loop.create_datagram_endpoint(
            lambda: make(QuicConnection(configuration=link_keys.configuration)), remote_addr=(host, port)
        )
        peer.connect((host, port))
        try:
            await asyncio.wait_for(asyncio.shield(peer.ready), _TRY_AGAIN)
            break
        except asyncio.TimeoutError:
            transport.close()
            if loop.time() > until:
                raise TransportError(
                    f"no QUIC connection to {host}:{port} within {CONNECT_WITHIN:g} s: start its server first"
                ) from None
    try:
        check_data_centre(peer.shown, link_keys.authority, now())
        yield peer
    finally:
        peer.close()
        transport.close()
