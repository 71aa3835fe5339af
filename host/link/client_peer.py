"""The edge's end of one connection: says hello to a data centre that it trusts, and takes its welcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from edgesight.host.link.datagrams import NO_QUIC, Cancel, LinkError
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import EdgeKeys, new_key, request_certificate
from edgesight.host.link.quic import IDLE_TIMEOUT, PROTOCOL, Hello, Peer, Welcome
from edgesight.host.link.tls import REFUSED, Untrusted, check_data_centre, shown_chain, why_ended

try:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
except ImportError as error:
    raise LinkError(NO_QUIC) from error


class ClientPeer(Peer):
    """The edge's end."""

    def __init__(self, quic: QuicConnection, keys: EdgeKeys, received: Callable[[bytes], None]) -> None:
        """Made by `Connection`."""
        super().__init__(quic)
        self.renewal = new_key() if keys.renewal_due(keys.clock()) else None  # of the certificate that it asks for
        self._authority, self._clock = keys.authority, keys.clock
        self._received = received
        self._greeted_at = 0.0
        self.greeting = 0.0  # seconds from hello to welcome
        self.heard = False  # something came back
        self.refused = False  # the data centre does not let this edge in, for a reason that stays
        self.welcome: asyncio.Future[Welcome] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()  # why
        self.next_turn: Callable[[], None] = lambda: None

    def drained(self) -> None:
        """Let the next image be encoded: what it may take is known best when it is about to go."""
        self.next_turn()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note that there is somebody, then go on."""
        self.heard = True
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Say hello once the data centre's certificate was found good, then take datagrams."""
        if isinstance(event, HandshakeCompleted):
            self._greet()
        elif isinstance(event, DatagramFrameReceived):
            self._received(event.data)
        elif isinstance(event, StreamData):
            self._take_welcome(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.refused = event.error_code == REFUSED
            self._end(why_ended(event, IDLE_TIMEOUT, known=self._greeted_at > 0.0))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens there: no use waiting for silence to time out."""
        if isinstance(exc, ConnectionRefusedError):
            self._end("nothing listens there")

    def withdraw(self, request: int) -> None:
        """Send no more of `request`, and cancel it."""
        self.followed.forget(request)
        self._queue.forget(request)
        self.send_copies([Cancel(request).pack()])

    def keep_alive(self) -> None:
        """Give the data centre something to acknowledge."""
        self._quic.send_ping(0)
        self.transmit()

    @property
    def silence(self) -> float:
        """Seconds since the data centre acknowledged anything; 0 while nothing is there to acknowledge."""
        if not self._quic._loss.bytes_in_flight:
            return 0.0
        return self._loop.time() - max(self.followed.heard_at, self._greeted_at)

    def probe(self) -> None:
        """Look whether the path is back, past a congestion window that is full of what got lost; no public way to it.

        One packet tells: what was sent before it and does not arrive is lost then, and can be sent again.
        """
        self._quic._loss._send_probe()
        self.transmit()

    def _greet(self) -> None:
        try:
            check_data_centre(shown_chain(self._quic)[0], self._authority, self._clock())
        except Untrusted as error:
            # Once the handshake's last packet is on its way: before it the data centre could not read the reason.
            self._loop.call_soon(self._turn_away, error)
            return
        self._greeted_at = self._loop.time()
        request = request_certificate(self.renewal) if self.renewal else None
        self.send_line(Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables(), request=request))

    def _turn_away(self, error: Untrusted) -> None:
        self.close(REFUSED, str(error))
        self._end(f"it cannot be trusted: {error}")

    def _take_welcome(self, data: bytes) -> None:
        if self.welcome.done():
            return
        line = self.first_line(data)
        if line is None:
            return
        try:
            self.welcome.set_result(Welcome.model_validate_json(line))
            self.greeting = self._loop.time() - self._greeted_at
            self._recount()
        except ValidationError:
            self._end("its welcome cannot be read: run the same version on both sides")

    def _recount(self) -> None:
        """Take off the bytes in flight what aioquic forgot there: the packet that a Retry answered."""
        spaces = self._quic._spaces.values()
        packets = [packet for space in spaces for packet in space.sent_packets.values()]
        self._quic._loss._cc.bytes_in_flight = sum(packet.sent_bytes for packet in packets if packet.in_flight)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
