"""Datagrams with deadlines over QUIC: encrypted, authenticated, never sent twice for being lost.

Both ends show a certificate of the data centre's own authority, and until both were found good nothing is said or
worked on; the connection's first stream then carries a hello and a welcome, which also agree on what no datagram
repeats: the JPEG tables and the model. Strips, cancels and replies are QUIC datagrams (RFC 9221), each in a packet of
its own. Cancels and replies go in several spaced copies, as many as the measured loss asks for.

No session is ever resumed and no data goes before the handshake (0-RTT), so nobody can play an old packet back.
Requests are bound to their session besides: the data centre draws its number, and a request that carries another is
ignored.

aioquic keeps datagrams that its congestion window holds back for ever. Here they wait in a `SendQueue` and are dropped
when their deadline has passed. `congestion` says how fast they go. `client` has the edge's end, `server` the data
centre's.

Words owned here: peer, hello, welcome.
"""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgesight.host.link.bounds import BoundedProtocol
from edgesight.host.link.congestion import pace
from edgesight.host.link.datagrams import MAX_DATAGRAM, NO_QUIC, SESSION_BITS, LinkError
from edgesight.host.link.enrollment import MAX_LINE, Request
from edgesight.host.link.loss import COPIES_AT, LossMeter, copies
from edgesight.host.link.queue import SendQueue
from edgesight.host.link.repair import Followed

try:
    from aioquic.asyncio.protocol import QuicStreamHandler
    from aioquic.quic.connection import QuicConnection
except ImportError as error:
    raise LinkError(NO_QUIC) from error

PROTOCOL: Final = 5  # of all that both ends say: of another version's they understand nothing
IDLE_TIMEOUT = 6.0  # seconds of silence after which a peer counts as gone: gaps of 4 s are ordinary while driving
_PACKET_OVERHEAD = 48  # bytes of a QUIC packet that are not its datagram's: header, tag, frame, a short acknowledgement
_BUSY = 0.03  # seconds that what waits keeps the path busy, so that nothing more need be made ready
_FIRST_WINDOW = 12_000  # bytes that may go before the path is known; RFC 9002, 7.2


class Hello(BaseModel):
    """First message of the edge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Annotated[int, Field(ge=0, lt=2**16)]  # an edge of another version is to hear so
    jpeg_tables: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    request: Request | None = None  # for the certificate that takes the place of one that ends soon


class Served(BaseModel):
    """The model that a data centre serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    form_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None  # of the form that it takes pictures in
    input_shape: tuple[int, int, int]  # H, W, C
    classes: int


class Welcome(Served):
    """What the data centre answers to an edge that it lets in."""

    protocol: Literal[5]
    session: Annotated[int, Field(ge=0, lt=2**SESSION_BITS)]  # the upper bits of this connection's request ids
    certificate: str | None = None  # the new one, in PEM, where the hello asked for one and it was due


class Peer(BoundedProtocol):
    """One end of a connection; sends datagrams until their deadline."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        """Made by asyncio for each connection."""
        super().__init__(quic, stream_handler)
        self.loss_meter = LossMeter()
        self._line = b""
        self._queue = SendQueue()
        self._udp: asyncio.BaseTransport | None = None
        self._pacing: asyncio.TimerHandle | None = None
        self._controller = pace(quic._loss, quic.configuration.max_datagram_size)
        controller = self._controller
        self.loss_meter.listen(quic._loss._cc, lambda: controller is not None and controller.crowded)
        meter = self.loss_meter
        if controller is not None:
            controller.loss_bound = lambda: meter.bound
        self.followed = Followed(self._queue.add_again)  # aioquic has it transmit next
        self.followed.listen(quic._loss._cc, lambda: bool(quic._datagrams_pending))

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
        """Bytes a second that the path carries, or a first window until that is measured; None where nobody does."""
        if self._controller is None or self.round_trip == 0.0:
            return None
        first = 0.0 if self._controller.measured else _FIRST_WINDOW / self.round_trip
        return max(self._controller.sustained, first)

    @property
    def measured_rate(self) -> float | None:
        """Bytes a second that the path carries; None while that is not measured."""
        return self._controller.sustained if self._controller is not None and self._controller.measured else None

    @property
    def least_round_trip(self) -> float:
        """Seconds there and back when nothing stood in a queue; 0 when nothing was measured."""
        return self._controller.least_round_trip if self._controller is not None else 0.0

    @property
    def waiting(self) -> int:
        """Bytes of messages that wait for the window."""
        return self._queue.bytes

    @property
    def ahead(self) -> int:
        """Bytes that reach the other end before what is sent now: waiting or on the way."""
        return self._queue.bytes + self._quic._loss.bytes_in_flight

    @property
    def busy(self) -> bool:
        """Whether enough waits to keep the path busy for a while."""
        return self._queue.bytes > (self.rate or math.inf) * _BUSY

    @property
    def largest_datagram(self) -> int:
        """Bytes of a datagram that fits the path's packets and what the other end takes."""
        announced = self._quic._remote_max_datagram_frame_size or 0  # its frame's head included
        return min(MAX_DATAGRAM, self._quic.configuration.max_datagram_size - _PACKET_OVERHEAD, announced - 8)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: timers outlive it."""
        self._udp = transport
        super().connection_made(transport)

    def send_before(self, deadline: float, messages: list[bytes], request: int = -1, again: bool = False) -> None:
        """Send `messages` of `request` unless the loop's time passes `deadline` first.

        No two of them share a packet; those of other requests that wait at the same time may. With `again`, those that
        get lost are sent again as long as the request is followed.
        """
        self._queue.add(deadline, request, messages, again)
        self._loop.call_soon(self.transmit)  # whatever else is asked at this very moment joins in

    def send_copies(self, messages: list[bytes]) -> None:
        """Send `messages` often enough for the measured loss."""
        for after in COPIES_AT[: copies(self.loss_meter.at_most)]:
            self._loop.call_later(after, self._send_soon, messages)

    def transmit(self) -> None:
        """Send what is due; called by aioquic whenever the window may have opened."""
        if self._ended or self._udp is None or self._udp.is_closing():
            return
        if not self._transmit_next():  # else what is owed has gone along
            super().transmit()
        while self._transmit_next():
            pass
        if self._controller is not None and not self._queue and not self._quic._datagrams_pending:
            self._controller.on_app_limited()
        if not self.busy:
            self.drained()

    def _transmit_next(self) -> bool:
        """Send what waits and may go now, a datagram; whether there was any."""
        # aioquic has no public view of the datagrams it holds back; handing it one more only when it holds none keeps
        # the queue on this side, where deadlines are known.
        if not self._queue or self._quic._datagrams_pending or self._paced():
            return False
        messages = self._queue.next(self._loop.time(), self.largest_datagram)
        if not messages:
            return False
        self.followed.hand_over(messages)
        self._quic.send_datagram_frame(b"".join(one.message for one in messages))
        super().transmit()
        return True

    def _paced(self) -> bool:
        """Whether the pacer holds the next datagram back; if so, it is looked at again when it may go.

        What aioquic already holds would go along with any acknowledgement, past the pacer.
        """
        pacer = self._controller.pacer if self._controller is not None else None
        at = pacer.next_send_time(self._loop.time()) if pacer is not None else None
        if self._pacing is not None:
            self._pacing.cancel()
        self._pacing = self._loop.call_at(at, self.transmit) if at is not None else None
        return at is not None

    def drained(self) -> None:
        """Little waits to be sent; called often."""

    def waits(self, request: int) -> bool:
        """Whether anything of `request` still waits for the window."""
        return self._queue.waits(request)

    def _send_soon(self, messages: list[bytes]) -> None:
        # What the window holds back longer than the longest silence has nobody waiting for it.
        self.send_before(self._loop.time() + IDLE_TIMEOUT, messages)

    def first_line(self, data: bytes) -> bytes | None:
        """The first stream's first line, once `data` completes it or makes it too long to be one; None until then."""
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        return line if newline or len(self._line) > MAX_LINE else None

    def send_line(self, message: BaseModel) -> None:
        """Send `message` on the first stream."""
        self._quic.send_stream_data(0, message.model_dump_json().encode() + b"\n")
        self.transmit()
