"""Datagrams with deadlines over QUIC: encrypted, authenticated, never sent twice for being lost.

The data centre proves itself by the certificate that the edge has pinned, the edge by a secret in the first message of
the connection's first stream; until then the data centre works on nothing. Strips and replies are QUIC datagrams
(RFC 9221), each in a packet of its own, so that one lost packet is one lost strip.

aioquic keeps datagrams that its congestion window holds back for ever. Here a datagram waits in a queue of its own and
is dropped when its deadline has passed, and the client bounds how many requests are open at a time. `congestion` says
how fast they go.

Words owned here: peer, hello, welcome.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.link.congestion import pace
from host.link.datagrams import NO_QUIC, LinkError, Reply, Status
from host.link.keys import LinkKeys
from host.link.strips import QUALITY, cut

try:
    from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
except ImportError as error:
    raise LinkError(NO_QUIC) from error

IDLE_TIMEOUT = 3.0  # seconds of silence after which a peer counts as gone
_PING_EVERY = 1.0  # seconds; keeps an idle connection from timing out
_HELLO_WITHIN = 5.0  # seconds for a client to prove itself
_MAX_HELLO = 1_024  # bytes
_MAX_QUEUED = 4_096  # datagrams waiting for the congestion window
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0  # seconds between attempts to connect
_REFUSED = 0xE5  # application error code: the secret is wrong
_FULL = 0xE6  # application error code: too many connections
_TLS_ALERTS = range(0x100, 0x200)  # QUIC error codes of TLS alerts (RFC 9001, 4.8)
_RESEND_AFTER = 1.5  # times the usual wait for a reply
_SHORTEST_RESEND = 0.025  # seconds; more than the data centre waits for a strip that will not come

logger = logging.getLogger(__name__)


class NoAnswer(LinkError):
    """The data centre did not answer in time: says why. The edge answers in its stead."""


class Hello(BaseModel):
    """First message of the edge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    secret: str


class Welcome(BaseModel):
    """What the data centre answers to a right secret: the model that it serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input_shape: tuple[int, int, int]  # H, W, C
    classes: int


class Peer(QuicConnectionProtocol):
    """One end of a connection; sends datagrams until their deadline."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        """Made by asyncio for each connection."""
        super().__init__(quic, stream_handler)
        self.dropped = 0  # datagrams that the window held back until they were late
        self._queue: deque[tuple[float, bytes]] = deque()
        self._udp: asyncio.BaseTransport | None = None
        self._controller = pace(quic._loss, quic.configuration.max_datagram_size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: timers outlive it."""
        self._udp = transport
        super().connection_made(transport)

    def send_before(self, deadline: float, datagrams: list[bytes]) -> None:
        """Send `datagrams` each in a packet of its own, unless the loop's time passes `deadline` first."""
        self._queue.extend((deadline, datagram) for datagram in datagrams)
        while len(self._queue) > _MAX_QUEUED:
            self._queue.popleft()
            self.dropped += 1
        self.transmit()

    def transmit(self) -> None:
        """Send what is due; called by aioquic whenever the window may have opened."""
        if self._udp is None or self._udp.is_closing():
            return
        super().transmit()
        # aioquic has no public view of the datagrams it holds back; handing it one more only when it holds none keeps
        # the queue on this side, where deadlines are known.
        while self._queue and not self._quic._datagrams_pending:
            deadline, datagram = self._queue.popleft()
            if deadline <= self._loop.time():
                self.dropped += 1
                continue
            self._quic.send_datagram_frame(datagram)
            super().transmit()
        if self._controller is not None and not self._quic._datagrams_pending:
            self._controller.on_app_limited()

    def send_line(self, message: BaseModel) -> None:
        """Send `message` on the first stream."""
        self._quic.send_stream_data(0, message.model_dump_json().encode() + b"\n")
        self.transmit()


class ServerPeer(Peer):
    """The data centre's end: deaf until the client has proved itself."""

    def __init__(self, quic: QuicConnection, server: Server) -> None:
        """Made by `Server`."""
        super().__init__(quic)
        self._server = server
        self._hello = b""
        self._trusted = False
        self._patience = self._loop.call_later(_HELLO_WITHIN, self._refuse, "no secret came in time")

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take the hello, then datagrams."""
        if isinstance(event, DatagramFrameReceived):
            if self._trusted:
                self._server.received(self, event.data)
        elif isinstance(event, StreamData):
            if not self._trusted:
                self._greet(event.data)
        elif isinstance(event, ConnectionTerminated):
            self._patience.cancel()
            self._trusted = False
            self._server.gone(self)

    def _greet(self, data: bytes) -> None:
        self._hello += data
        if len(self._hello) > _MAX_HELLO:
            self._refuse("the hello is too long")
            return
        line, newline, _ = self._hello.partition(b"\n")
        if not newline:
            return
        try:
            hello = Hello.model_validate_json(line)
        except ValidationError:
            self._refuse("the hello cannot be read: run the same version on both sides")
            return
        if not hmac.compare_digest(hello.secret.encode(), self._server.keys.secret.encode()):
            self._refuse("the secret is wrong: copy `secret` from the data centre's keys folder")
            return
        self._trusted = True
        self._patience.cancel()
        self.send_line(self._server.welcome)

    def _refuse(self, reason: str) -> None:
        logger.warning("connection refused: %s", reason)
        self.close(_REFUSED, reason)


class Server:
    """Listens for edges and hands their datagrams on."""

    def __init__(
        self,
        keys: LinkKeys,
        welcome: Welcome,
        received: Callable[[ServerPeer, bytes], None],
        gone: Callable[[ServerPeer], None],
        max_peers: int = 64,
    ) -> None:
        """`received` gets each datagram of a client that proved itself, `gone` each client whose connection ended."""
        self.keys = keys
        self.welcome = welcome
        self.received = received
        self._gone = gone
        self._max_peers = max_peers
        self._peers: set[ServerPeer] = set()
        self._quic: QuicServer | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the UDP port (0 chooses one) and return the address; raises LinkError when it cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            transport, self._quic = await loop.create_datagram_endpoint(
                # With `retry` a client's address is proved before any state is kept for it.
                lambda: QuicServer(configuration=self.keys.configuration, create_protocol=self._make_peer, retry=True),
                local_addr=(host, port),
            )
        except OSError as error:
            raise LinkError(
                f"UDP {host}:{port} cannot be opened ({error.strerror or error}): choose another"
            ) from error
        address = transport.get_extra_info("sockname")
        return str(address[0]), int(address[1])

    def close(self) -> None:
        """Tell every client and close the port."""
        for peer in list(self._peers):
            peer.close(reason_phrase="the data centre shuts down")
        if self._quic is not None:
            self._quic.close()
            self._quic = None

    def gone(self, peer: ServerPeer) -> None:
        """Forget `peer`; called when its connection has ended."""
        self._peers.discard(peer)
        self._gone(peer)

    def _make_peer(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> ServerPeer:
        peer = ServerPeer(quic, self)
        self._peers.add(peer)
        if len(self._peers) > self._max_peers:
            # Only once the client's first packet was looked at are there keys to say so with.
            asyncio.get_running_loop().call_soon(peer.close, _FULL, "the data centre has too many connections")
        return peer


class ClientPeer(Peer):
    """The edge's end."""

    def __init__(self, quic: QuicConnection, secret: str, received: Callable[[bytes], None]) -> None:
        """Made by `OffloadClient`."""
        super().__init__(quic)
        self._secret = secret
        self._received = received
        self._line = b""
        self._greeted_at = 0.0
        self.round_trip = 0.0  # seconds from hello to welcome
        self.welcome: asyncio.Future[Welcome] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()  # why

    def quic_event_received(self, event: QuicEvent) -> None:
        """Say hello once the data centre's certificate was found to be the pinned one, then take datagrams."""
        if isinstance(event, HandshakeCompleted):
            self._greeted_at = self._loop.time()
            self.send_line(Hello(protocol=1, secret=self._secret))
        elif isinstance(event, DatagramFrameReceived):
            self._received(event.data)
        elif isinstance(event, StreamData):
            self._take_welcome(event.data)
        elif isinstance(event, ConnectionTerminated):
            self._end(_reason(event))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens there: no use waiting for silence to time out."""
        if isinstance(exc, ConnectionRefusedError):
            self._end("nothing listens there")

    def keep_alive(self) -> None:
        """Give the data centre something to acknowledge."""
        self._quic.send_ping(0)
        self.transmit()

    def _take_welcome(self, data: bytes) -> None:
        if self.welcome.done():
            return
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if not newline and len(self._line) <= _MAX_HELLO:
            return
        try:
            self.welcome.set_result(Welcome.model_validate_json(line))
            self.round_trip = self._loop.time() - self._greeted_at
        except ValidationError:
            self._end("its welcome cannot be read: run the same version on both sides")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


class OffloadClient:
    """Keeps a connection to the data centre and offloads images over it."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: LinkKeys,
        *,
        model_sha256: str | None = None,
        quality: int = QUALITY,
        max_open: int = 32,
    ) -> None:
        """`model_sha256` is the model that the calibration was made with (None takes any); `max_open` requests at once.

        `quality` is the JPEG quality of large images.
        """
        self.resent = 0  # requests whose strips went twice
        self.trouble: str | None = "not connected yet"  # why there is no connection; None while there is one
        self._address = (host, port)
        self._keys = keys
        self._model_sha256 = model_sha256
        self._quality = quality
        self._slots = asyncio.Semaphore(max_open)
        self._peer: ClientPeer | None = None
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._next = secrets.randbits(63)
        self._usual_wait = 0.1  # seconds from strips sent to reply, smoothed
        self._attempted = asyncio.Event()  # the first attempt to connect is over
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background, again and again with growing pauses whenever the connection is lost."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def connect(self, timeout: float = 5.0) -> None:
        """Start, and wait for the first attempt; raises LinkError saying why it failed, and gives up then."""
        self.start()
        try:
            await asyncio.wait_for(self._attempted.wait(), timeout)
        except asyncio.TimeoutError:
            self.trouble = f"no answer within {timeout:g} s"
        if self.trouble is not None:
            trouble = self._no_data_centre()
            await self.close()
            raise trouble

    async def wait_connected(self, timeout: float) -> None:
        """Wait until there is a connection; raises LinkError saying what stands in the way after `timeout` seconds."""
        self.start()
        try:
            await asyncio.wait_for(self._ready.wait(), timeout)
        except asyncio.TimeoutError:
            raise self._no_data_centre() from None

    async def close(self) -> None:
        """End the connection and every open request."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def offload(self, image: npt.NDArray[np.uint8], within: float) -> Reply:
        """Label of `image`, uint8 [H, W, C], from the data centre `within` that many seconds.

        Strips go a second time, once, when nothing came back in one and a half times the usual wait. Raises NoAnswer
        when there is no connection or the deadline passes, LinkError when the image cannot be sent at all.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        if self._peer is None:
            raise self._no_data_centre()
        try:
            await asyncio.wait_for(self._slots.acquire(), max(within, 0.0))
        except asyncio.TimeoutError:
            raise NoAnswer("the deadline passed while other requests were on the way") from None
        request = self._next = (self._next + 1) % 2**64
        reply = self._open[request] = loop.create_future()
        try:
            return await self._exchange(image, request, reply, deadline)
        finally:
            del self._open[request]
            self._slots.release()

    async def _exchange(
        self, image: npt.NDArray[np.uint8], request: int, reply: asyncio.Future[Reply], deadline: float
    ) -> Reply:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for attempt, patience in enumerate((max(_SHORTEST_RESEND, _RESEND_AFTER * self._usual_wait), float("inf"))):
            left = deadline - loop.time()
            peer = self._peer
            if left <= 0:
                break
            if peer is None:
                raise self._no_data_centre()
            self.resent += attempt
            datagrams = cut(image, request=request, left_ms=int(left * 1e3), attempt=attempt, quality=self._quality)
            peer.send_before(deadline, datagrams)
            done, _ = await asyncio.wait([reply], timeout=min(patience, deadline - loop.time()))
            if done:
                answer = reply.result()
                # From the first sending on, so that a guess that was too short grows.
                self._usual_wait += (loop.time() - begin - self._usual_wait) / 8
                if answer.status != Status.ANSWERED:
                    raise NoAnswer(f"the data centre gave none: {answer.status.name.lower()}")
                return answer
        self._usual_wait += (loop.time() - begin - self._usual_wait) / 8
        raise NoAnswer("the deadline passed before the data centre's answer came")

    async def _stay_connected(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            reason = await self._connection()
            if self._ready.is_set():
                self._ready.clear()
                backoff = _FIRST_BACKOFF
            if reason != self.trouble:
                logger.warning("no data centre at %s:%d: %s", *self._address, reason)
            self.trouble = reason
            self._attempted.set()
            await asyncio.sleep(backoff * (0.5 + secrets.randbelow(1_000) / 1_000))
            backoff = min(2 * backoff, _LAST_BACKOFF)

    async def _connection(self) -> str:
        """Connect and stay so as long as it lasts; says why it ended."""
        loop = asyncio.get_running_loop()
        try:
            transport, peer = await loop.create_datagram_endpoint(
                lambda: ClientPeer(
                    QuicConnection(configuration=self._keys.configuration), self._keys.secret, self._received
                ),
                remote_addr=self._address,
            )
        except OSError as error:
            return f"the address cannot be reached ({error.strerror or error})"
        try:
            peer.connect(transport.get_extra_info("peername"))
            first: list[asyncio.Future[Any]] = [peer.welcome, peer.ended]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if peer.ended.done():
                return peer.ended.result()
            welcome = peer.welcome.result()
            if self._model_sha256 not in (None, welcome.model_sha256):
                return (
                    f"it serves model {welcome.model_sha256[:12]}, but this kernel was calibrated with "
                    f"{str(self._model_sha256)[:12]}: serve that model, or calibrate again"
                )
            self._usual_wait = peer.round_trip
            self._peer, self.trouble = peer, None
            self._attempted.set()
            self._ready.set()
            logger.info("connected to the data centre at %s:%d", *self._address)
            while not peer.ended.done():
                await asyncio.wait([peer.ended], timeout=_PING_EVERY)
                if not peer.ended.done():
                    peer.keep_alive()
            return peer.ended.result()
        finally:
            self._peer = None
            peer.close()
            transport.close()
            lost = NoAnswer("the connection to the data centre was lost")
            for reply in self._open.values():
                if not reply.done():
                    reply.set_exception(lost)

    def _received(self, datagram: bytes) -> None:
        try:
            reply = Reply.parse(datagram)
        except LinkError as error:
            logger.warning("a reply was ignored: %s", error)
            return
        waiting = self._open.get(reply.request)
        if waiting is not None and not waiting.done():  # else the twin came first, or the deadline did
            waiting.set_result(reply)

    def _no_data_centre(self) -> NoAnswer:
        return NoAnswer(f"no data centre at {self._address[0]}:{self._address[1]}: {self.trouble}")


def _reason(event: ConnectionTerminated) -> str:
    """What ended the connection, for people."""
    if event.error_code in _TLS_ALERTS:
        return (
            f"it shows another certificate than the pinned one ({event.reason_phrase or hex(event.error_code)}): "
            "copy `server.crt` from the data centre's keys folder"
        )
    if event.reason_phrase == "Idle timeout":
        return f"it was silent for {IDLE_TIMEOUT:g} s"
    return event.reason_phrase or f"it closed the connection (code {event.error_code})"
