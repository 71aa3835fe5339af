"""What the other end may make this one keep and compute: one end of a connection that stays small.

aioquic keeps what its peer sends in lists and buffers. Some have no bound, some are walked whole for each new piece,
and some faults in what a peer says surface as exceptions from deep inside. A stranger reaches most of that before any
certificate is looked at. `BoundedProtocol` stands in front of it, on both ends:
- a packet that no honest end sends (too long, of version 0) is dropped unread;
- a datagram may hold so many frames, and an acknowledgement so many ranges;
- after each datagram it counts what is kept, and closes the connection beyond the bounds;
- an exception from inside ends that connection, and no other;
- a connection that ends is dropped at once, with all that it kept. aioquic would keep it through a closing period, in
  which it sends nothing, and then until the garbage collector finds it.

The one file that touches what aioquic keeps private of a connection's state; `tls` does so for TLS. The names are those
of aioquic 1.7.2 and, for edges with Python 3.10, of 1.3.0.

Words owned here: piece (a range of bytes that came apart from the others), cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from edgesight.host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
    from aioquic.quic.connection import END_STATES, QuicConnection, QuicConnectionError, QuicConnectionState
    from aioquic.quic.events import ConnectionTerminated
    from aioquic.quic.packet import QuicErrorCode
    from aioquic.tls import Epoch
except ImportError as error:
    raise LinkError(NO_QUIC) from error

LARGEST_PACKET = 1_500  # bytes of a UDP payload; both ends send at most 1,280
TOO_MUCH = 0xE7  # application error code: the other end made this one keep or compute too much
KEY_PACKETS = 1 << 20  # packets under one key until the edge asks for another; AES-GCM bears 2^23 (RFC 9001, 6.6)
_FRAMES = 64  # of a datagram; an honest one has about 20 at the most, when connection identities are told
_RANGES = 128  # of an acknowledgement; both ends keep 64
_PIECES = 32
_KEPT = 65_536  # bytes
_STREAM = 8_192  # bytes that may come on streams in all: two lines
_HANDSHAKE = 32_768  # bytes of TLS that may come in all; two certificates are about 1,500
_ENTRIES = 256  # of all short lists: paths, challenges, identities, streams
_UNACKNOWLEDGED = 8_192  # packets
_ASK = 256  # packets without an acknowledgement, none of which asks for one, after which one is sent that does
_ACK_RANGES = 64  # packets' ranges that are acknowledged again and again, the newest; aioquic 1.3.0 has no bound
_PAUSE = 0.01  # seconds until a timer that changed nothing runs again
_LONGEST_SILENCE = 15.0  # seconds; an end that acknowledges late is not waited for any longer for that
_ACK, _ACK_ECN = 0x02, 0x03  # RFC 9000, 19.3
_USUAL = frozenset((0x00, 0x01, _ACK, 0x30, 0x31))  # padding, ping, acknowledgement, datagrams: nothing of them stays

# aioquic's own log writes what strangers say, a line or more for each connection.
logging.getLogger("quic").setLevel(logging.CRITICAL)


class _Frames(dict[int, tuple[Any, Any]]):
    """aioquic's handlers of frames by type, lent out so many times for a datagram."""

    left = 0
    unusual = True  # one came that can make us keep anything

    def __getitem__(self, kind: int) -> tuple[Any, Any]:
        self.left -= 1
        if kind not in _USUAL:
            self.unusual = True
        if self.left < 0:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, kind, "too many frames in one datagram")
        return super().__getitem__(kind)


class BoundedProtocol(QuicConnectionProtocol):
    """One end of a connection, whatever the other one sends."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        """To be made before `quic` has sent or received anything."""
        super().__init__(quic, stream_handler)
        self.cut_off: str | None = None  # why this end closed the connection for what the other one sent
        self._closed_by_us = False
        self._ended = False
        self._ending: asyncio.Handle | None = None
        self._frames = _bound(quic)
        self._phase, self._phase_began = 0, 0  # of the keys in use, and the packets before it

    @property
    def key_age(self) -> int:
        """Packets that both ends have sent under the keys in use, about."""
        if self._ended or Epoch.ONE_RTT not in self._quic._cryptos:
            return 0
        packets = self._quic._packet_number + self._quic._spaces[Epoch.ONE_RTT].largest_received_packet
        phase = self._quic._cryptos[Epoch.ONE_RTT].recv.key_phase
        if phase != self._phase:
            self._phase, self._phase_began = phase, packets
        return packets - self._phase_began

    def close(self, error_code: int = QuicErrorCode.NO_ERROR, reason_phrase: str = "") -> None:
        """Close the connection, saying why."""
        if self._ended:
            return
        self._closed_by_us = self._closed_by_us or self._quic._close_event is None
        super().close(error_code, reason_phrase)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Take in what the network brought; no exception comes of it."""
        if self._ended or not isinstance(data, bytes) or not _may_be_honest(data):
            return
        self._frames.left, self._frames.unusual = _FRAMES, False
        try:
            self._quic.receive_datagram(data, addr, now=self._loop.time())
            excess = _excess(self._quic, self._frames.unusual)
            if excess is not None:
                self._quic.close(error_code=TOO_MUCH, reason_phrase=excess)
            self._process_events()
            self.transmit()
        except Exception as error:
            self._give_up(error)

    def transmit(self) -> None:
        """Send what is due, and end at once what is closed."""
        if self._ended:
            return
        try:
            if self._quic._close_at is not None:
                self._quic._close_at = min(self._quic._close_at, self._loop.time() + _LONGEST_SILENCE)
            super().transmit()
        except Exception as error:
            self._give_up(error)
        if self._quic._close_event is not None and self._ending is None and self._quic._state in END_STATES:
            self._ending = self._loop.call_soon(self._end_now)

    def _handle_timer(self) -> None:
        if self._ended:
            return
        try:
            super()._handle_timer()
        except Exception as error:
            self._give_up(error)
        if self._timer is not None and self._timer_at is not None and self._timer_at <= self._loop.time():
            # What was due stays due: aioquic 1.3.0 would ask for its timer again and again without a pause.
            self._timer.cancel()
            self._timer_at = self._loop.time() + _PAUSE
            self._timer = self._loop.call_at(self._timer_at, self._handle_timer)

    def _give_up(self, error: Exception) -> None:
        """End the connection whose packets made aioquic, or what is built on it, fail."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f", {trace.tb_frame.f_code.co_filename.rpartition('/')[2]} line {trace.tb_lineno}" if trace else ""
        reason = f"its packets cannot be handled ({type(error).__name__}{where})"
        quic = self._quic
        with contextlib.suppress(Exception):  # it may be that nothing works any more
            quic.close(error_code=TOO_MUCH, reason_phrase=reason)
            super().transmit()
        if quic._close_event is None:
            quic._close_event = ConnectionTerminated(TOO_MUCH, None, reason)
        if quic._state not in END_STATES:
            quic._state = QuicConnectionState.CLOSING
        if self._ending is None:
            self._ending = self._loop.call_soon(self._end_now)

    def _end_now(self) -> None:
        """Skip the closing period, tell of the end, and drop what was kept."""
        quic = self._quic
        if quic._state is QuicConnectionState.CLOSING and quic._close_event is not None and not self._closed_by_us:
            self.cut_off = quic._close_event.reason_phrase
        if quic._state is not QuicConnectionState.TERMINATED:
            try:
                quic._close_end()
            except Exception:  # as in `_give_up`
                quic._state = QuicConnectionState.TERMINATED
                quic._events.append(quic._close_event or ConnectionTerminated(TOO_MUCH, None, ""))
        self._process_events()
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _release(quic)
        # Each of these holds this connection.
        self._frames.clear()
        self._ending = None
        self._connection_id_issued_handler = self._connection_id_retired_handler = lambda identity: None
        self._connection_terminated_handler = lambda: None


def _bound(quic: QuicConnection) -> _Frames:
    """Let the other end open one stream at most, and take the place of aioquic's table of frames."""
    for limit, streams in (
        # An edge speaks first, on the one stream that there is.
        (quic._local_max_streams_bidi, 0 if quic.configuration.is_client else 1),
        (quic._local_max_streams_uni, 0),
    ):
        limit.value = limit.sent = streams
    handlers: dict[int, tuple[Any, Any]] = quic._QuicConnection__frame_handlers  # type: ignore[attr-defined]
    frames = _Frames(handlers)
    for kind in (_ACK, _ACK_ECN):
        handle, epochs = handlers[kind]
        frames[kind] = (_few_ranges(handle), epochs)
    quic._QuicConnection__frame_handlers = frames  # type: ignore[attr-defined]
    return frames


def _few_ranges(handle: Any) -> Any:
    """`handle`, aioquic's of an acknowledgement, but none with more ranges than an honest end has."""

    def handle_few(context: Any, kind: int, buffer: Any) -> None:
        begin = buffer.tell()
        buffer.pull_uint_var()  # the largest
        buffer.pull_uint_var()  # the delay
        if buffer.pull_uint_var() > _RANGES:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, kind, "too many ranges in an acknowledgement")
        buffer.seek(begin)
        handle(context, kind, buffer)

    return handle_few


def _may_be_honest(data: bytes) -> bool:
    """Whether `data` is neither empty, nor too long, nor a version negotiation: both ends know the same versions."""
    return 0 < len(data) <= LARGEST_PACKET and not (data[0] & 0x80 and data[1:5] == bytes(4))


def _excess(quic: QuicConnection, unusual: bool) -> str | None:
    """What `quic` keeps too much of; None where all is well. Drops what may be dropped, and asks what must be asked.

    Without an `unusual` frame most of it is as it was.
    """
    excess = _too_much_kept(quic) if unusual or len(quic._network_paths) > 1 else None
    if excess is not None:
        return excess
    for space in quic._spaces.values():
        while len(space.ack_queue) > _ACK_RANGES:
            space.ack_queue.shift()
        sent = len(space.sent_packets)
        if sent > _UNACKNOWLEDGED:
            return "too little was acknowledged"
        if sent > _ASK and not space.ack_eliciting_in_flight and not quic._ping_pending:
            quic.send_ping(0)  # else an end that only receives would remember all that it has acknowledged
    return None


def _too_much_kept(quic: QuicConnection) -> str | None:
    """What `quic` keeps too much of: pieces, bytes, or entries of short lists."""
    pieces = kept = handshake = 0
    for stream in quic._streams.values():
        pieces += len(stream.receiver._ranges)
        kept += len(stream.receiver._buffer)
    for stream in quic._crypto_streams.values():
        pieces += len(stream.receiver._ranges)
        kept += len(stream.receiver._buffer)
        handshake += stream.receiver.highest_offset
    if pieces > _PIECES:
        return "too many pieces"
    if kept > _KEPT or handshake > _HANDSHAKE or quic._local_max_data.used > _STREAM:
        return "too many bytes"
    entries = (
        len(quic._peer_cid_available)
        + len(quic._peer_cid_sequence_numbers)
        + len(quic._retire_connection_ids)
        + len(quic._host_cids)
        + len(quic._streams)
        + len(quic._network_paths)
    )
    for path in quic._network_paths:
        entries += len(path.remote_challenges)
    if entries > _ENTRIES or quic._local_max_streams_bidi.used > 1:  # a second stream, after it ended the first
        return "too many paths, challenges, identities or streams"
    return None


def _release(quic: QuicConnection) -> None:
    """Drop what a connection that ended keeps, and the circles by which it would wait for the garbage collector."""
    for stream in (*quic._streams.values(), *quic._crypto_streams.values()):
        stream.receiver._buffer.clear()
        stream.sender._buffer.clear()
    for kept in (
        *(quic._streams, quic._streams_queue, quic._streams_blocked_bidi, quic._streams_blocked_uni),
        *(quic._crypto_streams, quic._crypto_buffers, quic._cryptos, quic._cryptos_initial, quic._spaces),
        *(quic._datagrams_pending, quic._events, quic._ping_pending, quic._peer_cid_available),
        *(quic._peer_cid_sequence_numbers, quic._retire_connection_ids),
    ):
        kept.clear()
    quic._loss.spaces = []
    quic._loss._send_probe = _nothing
    quic._QuicConnection__frame_handlers = {}  # type: ignore[attr-defined]
    vars(quic).pop("_initialize", None)  # as `tls.ask_for_certificate` changed it
    vars(quic).pop("tls", None)
    controller = quic._loss._cc
    for name, value in list(vars(controller).items()):
        if callable(value) and hasattr(type(controller), name):  # changed by who listens, as `LossMeter.listen` does
            delattr(controller, name)


def _nothing() -> None:
    """Takes the place of a method of a connection that is over."""
