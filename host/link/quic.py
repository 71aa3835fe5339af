"""Datagrams with deadlines over QUIC: encrypted, authenticated, never sent twice for being lost.

Both ends show a certificate of the data centre's own authority, and until both were found good nothing is said or
worked on; the connection's first stream then carries a hello and a welcome, which also agree on what no datagram
repeats: the JPEG tables and the model. Strips, cancels and replies are QUIC datagrams (RFC 9221), each in a packet of
its own. Cancels and replies go in several spaced copies, as many as the measured loss asks for.

No session is ever resumed and no data goes before the handshake (0-RTT), so nobody can play an old packet back.
Requests are bound to their session besides: the data centre draws its number, and a request that carries another is
ignored.

aioquic keeps datagrams that its congestion window holds back for ever. Here they wait in a `SendQueue` and are dropped
when their deadline has passed, and the client bounds how many requests are open at a time. `congestion` says how fast
they go.

Words owned here: peer, hello, welcome, half-open, gatekeeper.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.link.congestion import pace
from host.link.datagrams import (
    MAX_DATAGRAM,
    NO_QUIC,
    REQUEST_BITS,
    SESSION_BITS,
    Cancel,
    Kind,
    LinkError,
    Reply,
    Status,
    parse,
)
from host.link.enrollment import MAX_LINE, Enroll, Enrolled, Request
from host.link.keys import (
    ENROLL_ALPN,
    EdgeKeys,
    KeysError,
    client_keys,
    new_key,
    now,
    public_bytes,
    request_certificate,
    save_edge,
)
from host.link.loss import COPY_AFTER, LossMeter, copies
from host.link.offload import Offloaded
from host.link.quality import fit, room
from host.link.queue import SendQueue
from host.link.strips import QUALITY, Encoded, jpeg_tables
from host.link.tls import (
    REFUSED,
    Untrusted,
    ask_for_certificate,
    check_data_centre,
    check_edge,
    shown_chain,
    why_ended,
    why_left,
)

try:
    from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    raise LinkError(NO_QUIC) from error

IDLE_TIMEOUT = 3.0  # seconds of silence after which a peer counts as gone
_PING_EVERY = 1.0  # seconds; keeps an idle connection from timing out
_HELLO_WITHIN = 5.0  # seconds for a client to prove itself
_MAX_HALF_OPEN = 128  # connections that have not proved themselves yet; the oldest makes room
_LOOK_AGAIN = 1.0  # seconds; how soon a revoked edge is cut off
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0  # seconds between attempts to connect
_FULL = 0xE6  # application error code: too many connections
_ASK_AGAIN = 3.0  # times the usual wait for a reply
_SOONEST_ASK = 0.1  # seconds; much more than the data centre waits for a strip that will not come
_PACKET_OVERHEAD = 48  # bytes of a QUIC packet that are not its datagram's: header, tag, frame, a short acknowledgement
_FIRST_WINDOW = 12_000  # bytes that may go before the path is known; RFC 9002, 7.2
_LAST_REQUESTS = 1 << 16  # request ids that are left when the connection is made anew

logger = logging.getLogger(__name__)


class NoAnswer(LinkError):
    """The data centre did not answer in time: says why. The edge answers in its stead."""


class Hello(BaseModel):
    """First message of the edge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[2]
    jpeg_tables: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    request: Request | None = None  # for the certificate that takes the place of one that ends soon


class Served(BaseModel):
    """The model that a data centre serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input_shape: tuple[int, int, int]  # H, W, C
    classes: int


class Welcome(Served):
    """What the data centre answers to an edge that it lets in."""

    protocol: Literal[2]
    session: Annotated[int, Field(ge=0, lt=2**SESSION_BITS)]  # the upper bits of this connection's request ids
    certificate: str | None = None  # the new one, in PEM, where the hello asked for one and it was due


@dataclass(frozen=True)
class Admitted:
    """An edge that may talk."""

    name: str
    serial: str  # of its certificate, hexadecimal
    expires: datetime.datetime  # its certificate


class Gatekeeper(Protocol):
    """Knows who may talk. All of it may raise KeysError when it cannot look that up."""

    def admit(self, chain: list[x509.Certificate]) -> Admitted:
        """The edge that showed `chain`, its own certificate first; raises Untrusted unless it may talk."""

    def refusal(self, admitted: Admitted) -> str | None:
        """Why an edge that was let in may not talk any more; None while it may."""

    def enroll(self, asked: Enroll, source: str) -> tuple[str, str]:
        """Name and certificate in PEM for a token shown from IP address `source`; raises Untrusted."""

    def renew(self, admitted: Admitted, request: str) -> str | None:
        """A new certificate in PEM, None where it is not due; raises Untrusted."""


class Peer(QuicConnectionProtocol):
    """One end of a connection; sends datagrams until their deadline."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        """Made by asyncio for each connection."""
        super().__init__(quic, stream_handler)
        self.loss_meter = LossMeter()
        self._queue = SendQueue()
        self._udp: asyncio.BaseTransport | None = None
        self._controller = pace(quic._loss, quic.configuration.max_datagram_size)
        self.loss_meter.listen(quic._loss._cc)

    @property
    def dropped(self) -> int:
        """Messages that the window held back until they were late."""
        return self._queue.dropped

    @property
    def round_trip(self) -> float:
        """Smoothed seconds there and back; aioquic has no public view of it. 0 when nothing was measured."""
        return self._quic._loss._rtt_smoothed

    @property
    def rate(self) -> float | None:
        """Bytes a second that the path has carried lately, or that a first window makes; None where nobody measures."""
        if self._controller is None or self.round_trip == 0.0:
            return None
        return max(self._controller.bandwidth, _FIRST_WINDOW / self.round_trip)

    @property
    def waiting(self) -> int:
        """Bytes of messages that wait for the window."""
        return self._queue.bytes

    @property
    def largest_datagram(self) -> int:
        """Bytes of a datagram that fits the path's packets and what the other end takes."""
        announced = self._quic._remote_max_datagram_frame_size or 0  # its frame's head included
        return min(MAX_DATAGRAM, self._quic.configuration.max_datagram_size - _PACKET_OVERHEAD, announced - 8)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: timers outlive it."""
        self._udp = transport
        super().connection_made(transport)

    def send_before(self, deadline: float, messages: list[bytes], request: int = -1) -> None:
        """Send `messages` of `request` unless the loop's time passes `deadline` first.

        No two of them share a packet; those of other requests that wait at the same time may.
        """
        self._queue.add(deadline, request, messages)
        self._loop.call_soon(self.transmit)  # whatever else is asked at this very moment joins in

    def send_copies(self, messages: list[bytes]) -> None:
        """Send `messages` often enough for the measured loss."""
        for copy in range(copies(self.loss_meter.at_most)):
            self._loop.call_later(copy * COPY_AFTER, self._send_soon, messages)

    def transmit(self) -> None:
        """Send what is due; called by aioquic whenever the window may have opened."""
        if self._udp is None or self._udp.is_closing():
            return
        super().transmit()
        # aioquic has no public view of the datagrams it holds back; handing it one more only when it holds none keeps
        # the queue on this side, where deadlines are known.
        while self._queue and not self._quic._datagrams_pending:
            datagram = self._queue.next(self._loop.time(), self.largest_datagram)
            if datagram is None:
                break
            self._quic.send_datagram_frame(datagram)
            super().transmit()
        if self._controller is not None and not self._quic._datagrams_pending:
            self._controller.on_app_limited()

    def _send_soon(self, messages: list[bytes]) -> None:
        # What the window holds back longer than the longest silence has nobody waiting for it.
        self.send_before(self._loop.time() + IDLE_TIMEOUT, messages)

    def send_line(self, message: BaseModel) -> None:
        """Send `message` on the first stream."""
        self._quic.send_stream_data(0, message.model_dump_json().encode() + b"\n")
        self.transmit()


class ServerPeer(Peer):
    """The data centre's end: deaf until the client has proved itself."""

    def __init__(self, quic: QuicConnection, server: Server) -> None:
        """Made by `Server`."""
        super().__init__(quic)
        ask_for_certificate(quic)
        self.session = secrets.randbits(SESSION_BITS)
        self.admitted: Admitted | None = None
        self._server = server
        self._source = ""  # IP address; QUIC's Retry has proved it
        self._line = b""
        self._enrolls = False
        self._trusted = False
        self._over = False  # refused or enrolled: nothing more is listened to
        self._patience = self._loop.call_later(_HELLO_WITHIN, self._lose_patience)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note where the client is, then go on as aioquic does."""
        self._source = self._source or str(addr[0])
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Look at the certificate, take the first line, then datagrams."""
        if isinstance(event, ConnectionTerminated):
            self._patience.cancel()
            reason = None if self._trusted or self._over else why_left(event)
            if reason is not None:
                logger.warning("a client at %s was not let in: %s", self._source, reason)
            self._trusted = False
            self._server.gone(self)
        elif self._over:
            return
        elif isinstance(event, DatagramFrameReceived):
            if self._trusted:
                self._server.received(self, event.data)
        elif isinstance(event, HandshakeCompleted):
            self._meet(event)
        elif isinstance(event, StreamData) and not self._trusted:
            self._take(event.data)

    def refuse(self, reason: str) -> None:
        """Close the connection, saying why on both sides."""
        logger.warning("a client at %s was refused: %s", self._source, reason)
        self._over = True
        self.close(REFUSED, reason)

    def _meet(self, event: HandshakeCompleted) -> None:
        if event.session_resumed or event.early_data_accepted:
            self.refuse("a resumed session shows no certificate: connect anew")  # no ticket is given out: cannot be
        elif event.alpn_protocol == ENROLL_ALPN:
            self._enrolls = True
        else:
            try:
                self.admitted = self._server.gatekeeper.admit(shown_chain(self._quic))
            except (Untrusted, KeysError) as error:
                self._refuse_for(error)

    def _take(self, data: bytes) -> None:
        if self.admitted is None and not self._enrolls:
            return
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if not newline and len(self._line) <= MAX_LINE:
            return
        try:
            if self._enrolls:
                self._enroll(Enroll.model_validate_json(line))
            else:
                self._greet(Hello.model_validate_json(line))
        except ValidationError:
            self.refuse("the first message cannot be read: run the same version on both sides")
        except (Untrusted, KeysError) as error:
            self._refuse_for(error)

    def _enroll(self, asked: Enroll) -> None:
        name, certificate = self._server.gatekeeper.enroll(asked, self._source)
        self._over = True  # the client closes when it has read this
        self.send_line(Enrolled(protocol=1, name=name, certificate=certificate))

    def _greet(self, hello: Hello) -> None:
        assert self.admitted is not None  # `_take` looked
        if hello.jpeg_tables != jpeg_tables():
            self.refuse("edge and data centre make JPEGs of different tables: install the same Pillow on both")
            return
        certificate = None
        if hello.request is not None:
            certificate = self._server.gatekeeper.renew(self.admitted, hello.request)
        if not self._server.let_in(self):
            logger.warning("edge %r was not let in: too many connections", self.admitted.name)
            self._over = True
            self.close(_FULL, "the data centre has too many connections")
            return
        self._trusted = True
        self._patience.cancel()
        served = self._server.served.model_dump()
        self.send_line(Welcome(protocol=2, session=self.session, certificate=certificate, **served))

    def _refuse_for(self, error: Untrusted | KeysError) -> None:
        if isinstance(error, KeysError):
            logger.error("%s", error)
            self.refuse("the data centre cannot look up who may talk: see its log")
        else:
            self.refuse(str(error))

    def _lose_patience(self) -> None:
        if self._over:
            self.close()
        else:
            self.refuse("no hello came in time")


class Server:
    """Listens for edges and hands their datagrams on."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        gatekeeper: Gatekeeper,
        served: Served,
        received: Callable[[ServerPeer, bytes], None],
        gone: Callable[[ServerPeer], None],
        max_peers: int = 64,
    ) -> None:
        """`received` gets each datagram of a client that was let in, `gone` each client whose connection ended."""
        self.gatekeeper = gatekeeper
        self.served = served
        self.received = received
        self._configuration = configuration
        self._gone = gone
        self._max_peers = max_peers
        self._half_open: dict[ServerPeer, None] = {}  # oldest first
        self._peers: set[ServerPeer] = set()  # let in
        self._quic: QuicServer | None = None
        self._look_again: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the UDP port (0 chooses one) and return the address; raises LinkError when it cannot be had."""
        loop = asyncio.get_running_loop()
        jpeg_tables()  # takes a moment, once: better before there is anybody to wait for it
        try:
            transport, self._quic = await loop.create_datagram_endpoint(
                # With `retry` a client's address is proved before any state is kept for it. Without handlers of session
                # tickets none is given out, so no session is resumed and none begins with early data.
                lambda: QuicServer(configuration=self._configuration, create_protocol=self._make_peer, retry=True),
                local_addr=(host, port),
            )
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            raise LinkError(
                f"UDP {host}:{port} cannot be opened ({getattr(error, 'strerror', None) or error}): choose another"
            ) from error
        self._look_again = loop.call_later(_LOOK_AGAIN, self._put_out)
        address = transport.get_extra_info("sockname")
        return str(address[0]), int(address[1])

    def close(self) -> None:
        """Tell every client and close the port."""
        if self._look_again is not None:
            self._look_again.cancel()
        for peer in [*self._peers, *self._half_open]:
            peer.close(reason_phrase="the data centre shuts down")
        if self._quic is not None:
            self._quic.close()
            self._quic = None

    def let_in(self, peer: ServerPeer) -> bool:
        """Count `peer` among those that proved themselves; False when there are too many."""
        if len(self._peers) >= self._max_peers:
            return False
        self._half_open.pop(peer, None)
        self._peers.add(peer)
        return True

    def gone(self, peer: ServerPeer) -> None:
        """Forget `peer`; called when its connection has ended."""
        self._half_open.pop(peer, None)
        self._peers.discard(peer)
        self._gone(peer)

    def _make_peer(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> ServerPeer:
        peer = ServerPeer(quic, self)
        self._half_open[peer] = None
        if len(self._half_open) > _MAX_HALF_OPEN:
            # Who is quick gets in, whatever a flood of slow ones does.
            oldest = next(iter(self._half_open))
            del self._half_open[oldest]
            oldest.close(_FULL, "the data centre has too many connections")
        return peer

    def _put_out(self) -> None:
        """Cut off who was revoked or whose certificate ended, again and again."""
        try:
            for peer in list(self._peers):
                reason = self.gatekeeper.refusal(peer.admitted) if peer.admitted is not None else None
                if reason is not None:
                    self._peers.discard(peer)
                    peer.refuse(reason)
        except KeysError as error:
            logger.error("who was revoked cannot be looked up: %s", error)
        self._look_again = asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._put_out)


class ClientPeer(Peer):
    """The edge's end."""

    def __init__(self, quic: QuicConnection, keys: EdgeKeys, received: Callable[[bytes], None]) -> None:
        """Made by `OffloadClient`."""
        super().__init__(quic)
        self.renewal = new_key() if keys.renewal_due(now()) else None  # of the certificate that it asks for
        self._authority = keys.authority
        self._received = received
        self._line = b""
        self._greeted_at = 0.0
        self.greeting = 0.0  # seconds from hello to welcome
        self.welcome: asyncio.Future[Welcome] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()  # why

    def quic_event_received(self, event: QuicEvent) -> None:
        """Say hello once the data centre's certificate was found good, then take datagrams."""
        if isinstance(event, HandshakeCompleted):
            self._greet()
        elif isinstance(event, DatagramFrameReceived):
            self._received(event.data)
        elif isinstance(event, StreamData):
            self._take_welcome(event.data)
        elif isinstance(event, ConnectionTerminated):
            self._end(why_ended(event, IDLE_TIMEOUT))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens there: no use waiting for silence to time out."""
        if isinstance(exc, ConnectionRefusedError):
            self._end("nothing listens there")

    def withdraw(self, request: int) -> None:
        """Send no more of `request`, and cancel it."""
        self._queue.forget(request)
        self.send_copies([Cancel(request).pack()])

    def keep_alive(self) -> None:
        """Give the data centre something to acknowledge."""
        self._quic.send_ping(0)
        self.transmit()

    def _greet(self) -> None:
        try:
            check_data_centre(shown_chain(self._quic)[0], self._authority, now())
        except Untrusted as error:
            # Once the handshake's last packet is on its way: before it the data centre could not read the reason.
            self._loop.call_soon(self._turn_away, error)
            return
        self._greeted_at = self._loop.time()
        request = request_certificate(self.renewal) if self.renewal else None
        self.send_line(Hello(protocol=2, jpeg_tables=jpeg_tables(), request=request))

    def _turn_away(self, error: Untrusted) -> None:
        self.close(REFUSED, str(error))
        self._end(f"it cannot be trusted: {error}")

    def _take_welcome(self, data: bytes) -> None:
        if self.welcome.done():
            return
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if not newline and len(self._line) <= MAX_LINE:
            return
        try:
            self.welcome.set_result(Welcome.model_validate_json(line))
            self.greeting = self._loop.time() - self._greeted_at
        except ValidationError:
            self._end("its welcome cannot be read: run the same version on both sides")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


def _coarser(encoded: Encoded, image: npt.NDArray[np.uint8]) -> bool:
    """Whether `image` is packed smaller, or at a lower quality, than calibration saw images."""
    smaller = (encoded.height, encoded.width) != image.shape[:2]
    return smaller or (encoded.kind == Kind.JPEG and encoded.quality < QUALITY)


class OffloadClient:
    """Keeps a connection to the data centre and offloads images over it."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: EdgeKeys,
        *,
        model_sha256: str | None = None,
        quality: int = QUALITY,
        max_open: int = 32,
    ) -> None:
        """`model_sha256` is the model that the calibration was made with (None takes any); `max_open` requests at once.

        `quality` is the JPEG quality of large images where the bandwidth is ample.
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
        self._next = 0  # request id
        self._usual_wait = 0.1  # seconds from strips sent to reply, smoothed
        self._usual_service = 0.0  # seconds that a request spends at the data centre, smoothed
        self._attempted = asyncio.Event()  # the first attempt to connect is over
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background, again and again with growing pauses whenever the connection is lost."""
        jpeg_tables()  # takes a moment, once: better before there is a connection to wait for it
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

    async def offload(self, image: npt.NDArray[np.uint8], within: float, accuracy: float = 0.0) -> Offloaded:
        """Label of `image`, uint8 [H, W, C], from the data centre `within` that many seconds.

        `accuracy` is the target, between 0 and 1, that the request is asked under. No answer waits for a
        retransmission; only when nothing at all came back in several times the usual wait, because the link was down,
        is the request asked once more. Cancelling this cancels the request at the data centre, too. Raises NoAnswer
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
        request = self._next
        self._next += 1
        reply = self._open[request] = loop.create_future()
        try:
            return await self._exchange(image, request, reply, deadline, accuracy)
        except asyncio.CancelledError:
            self._cancel(request)
            raise
        finally:
            del self._open[request]
            self._slots.release()

    def _cancel(self, request: int) -> None:
        """Stop the data centre's work on `request`; who awaits it gets NoAnswer. Nothing happens when it is over."""
        reply = self._open.get(request)
        if reply is None or self._peer is None:
            return
        self._peer.withdraw(request)
        if not reply.done():
            reply.set_exception(NoAnswer("the request was cancelled"))
            reply.exception()  # it may be that nobody awaits it any more

    async def _exchange(
        self, image: npt.NDArray[np.uint8], request: int, reply: asyncio.Future[Reply], deadline: float, accuracy: float
    ) -> Offloaded:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        coarse = False
        for attempt, patience in enumerate((max(_SOONEST_ASK, _ASK_AGAIN * self._usual_wait), float("inf"))):
            left = deadline - loop.time()
            peer = self._peer
            if left <= 0:
                break
            if peer is None:
                raise self._no_data_centre()
            self.resent += attempt
            within = room(peer.rate, left, peer.round_trip, self._usual_service, peer.waiting)
            encoded, parity = fit(image, self._quality, within, peer.loss_meter.loss, peer.largest_datagram)
            coarse |= _coarser(encoded, image)
            messages = encoded.pack(
                request=request, left_ms=int(left * 1e3), attempt=attempt, accuracy=accuracy, parity=parity
            )
            peer.send_before(deadline, messages, request)
            done, _ = await asyncio.wait([reply], timeout=min(patience, deadline - loop.time()))
            if done:
                answer = reply.result()
                # From the first sending on, so that a guess that was too short grows.
                self._usual_wait += (loop.time() - begin - self._usual_wait) / 8
                self._usual_service += (answer.service_us / 1e6 - self._usual_service) / 8
                peer.loss_meter.add(answer.count, answer.lost)
                if answer.status != Status.ANSWERED:
                    raise NoAnswer(f"the data centre gave none: {answer.status.name.lower()}")
                return Offloaded(**vars(answer), loss=peer.loss_meter.loss, coarse=coarse)
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
                lambda: ClientPeer(QuicConnection(configuration=self._keys.configuration), self._keys, self._received),
                remote_addr=self._address,
            )
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            return f"the address cannot be reached ({getattr(error, 'strerror', None) or error})"
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
            if welcome.certificate is not None and peer.renewal is not None:
                self._renew(peer.renewal, welcome.certificate)
            self._usual_wait = peer.greeting
            self._next = welcome.session << REQUEST_BITS
            self._peer, self.trouble = peer, None
            self._attempted.set()
            self._ready.set()
            logger.info("connected to the data centre at %s:%d", *self._address)
            while not peer.ended.done():
                await asyncio.wait([peer.ended], timeout=_PING_EVERY)
                if peer.ended.done():
                    break
                if peer.renewal is None and not self._open and self._keys.renewal_due(now()):
                    return "the connection is made anew to renew this edge's certificate"
                if self._next + _LAST_REQUESTS > welcome.session + 1 << REQUEST_BITS and not self._open:
                    return "the connection is made anew to count requests from 0 again"
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

    def _renew(self, key: ec.EllipticCurvePrivateKey, content: str) -> None:
        """Put the new certificate in the place of the old one; the next connection uses it."""
        keys = self._keys
        try:
            certificate = x509.load_pem_x509_certificate(content.encode())
            check_edge(certificate, keys.authority, now())
            if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
                raise Untrusted("it is for another key")
            save_edge(keys.path.parent, key, certificate, keys.authority)
            self._keys = client_keys(keys.path.parent, keys.configuration.idle_timeout)
        except (ValueError, LinkError, OSError) as error:
            logger.warning("%s was not renewed (%s), it ends on %s", keys.path, error, f"{keys.expires:%Y-%m-%d}")
        else:
            logger.info("this edge's certificate was renewed, until %s", f"{self._keys.expires:%Y-%m-%d}")

    def _received(self, datagram: bytes) -> None:
        try:
            for reply in parse(datagram):
                if not isinstance(reply, Reply):
                    raise LinkError(f"a {type(reply).__name__.lower()} to the edge: only replies go there")
                waiting = self._open.get(reply.request)
                if waiting is not None and not waiting.done():  # else another copy came first, or the deadline did
                    waiting.set_result(reply)
        except LinkError as error:
            logger.warning("a reply was ignored: %s", error)

    def _no_data_centre(self) -> NoAnswer:
        return NoAnswer(f"no data centre at {self._address[0]}:{self._address[1]}: {self.trouble}")
