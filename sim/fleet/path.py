"""The edge's end of a connection: which packets are under way, which are lost, and what the path is like.

Losses are found as aioquic finds them (RFC 9002: three packets or 9/8 of a round trip overtaken; where nothing comes
back the oldest packet is given up and a probe goes in its place), and what they say of the path is the real loss
meter's word. Left out: window and pacer. Small pictures leave both far from full, unless an edge alone asks so often
that their strips fill its link: then requests wait longer than is simulated here.

Words owned here: path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch

from edgesight.host.link.loss import LossMeter
from edgesight.sim.fleet.asked import Asked
from edgesight.sim.fleet.clock import Clock

# RFC 9002, 6.1 and 6.2.
_PACKETS, _ROUND_TRIPS = 3, 9 / 8
_GRANULARITY: Final = 0.001  # seconds
MAX_ACK_DELAY: Final = 0.025  # seconds


class _Congestion:
    """What a loss meter listens to."""

    def __init__(self) -> None:
        self.bytes_in_flight = 0

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        self.bytes_in_flight += packet.sent_bytes

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        self.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        self.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)


@dataclass(frozen=True)
class Sent:
    """A packet under way, and the strip in it, if any."""

    packet: QuicSentPacket
    time: float
    asked: Asked | None = None
    index: int = 0
    size: int = 0
    again: bool = False  # it is sent once more when it got lost


class Path:
    """What is known of the packets of one connection."""

    def __init__(self, clock: Clock, now: float, round_trip: float, send: Callable[[float, Sent | None], None]) -> None:
        """As of a handshake that took `round_trip`; `send` sends what got lost again, or a probe (None)."""
        self.meter = LossMeter()
        self.smoothed = self.least = round_trip
        self.heard_at = now
        self.idle_since = now  # what QUIC counts its idle time from
        self.over = False
        self._clock, self._send = clock, send
        self._congestion = _Congestion()
        self.meter.listen(self._congestion, lambda: False)
        self._variance = round_trip / 2
        self._latest = round_trip
        self._sent: dict[int, Sent] = {}
        self._next, self._largest, self._probes = 0, -1, 0
        self._last_sent = now
        self._loss_at = self._armed = math.inf
        self.heard = True  # since something was sent last

    def silence(self, now: float) -> float:
        """Seconds since anything was acknowledged; 0 while nothing is there to acknowledge."""
        return now - self.heard_at if self._sent else 0.0

    def sent(self, now: float, size: int, asked: Asked | None = None, index: int = 0, again: bool = False) -> int:
        """Count a packet of `size` bytes that goes now; returns its number."""
        number = self._next
        self._next += 1
        packet = QuicSentPacket(Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, now, size)
        self._congestion.on_packet_sent(packet=packet)
        self._sent[number] = Sent(packet, now, asked, index, size, again)
        self._last_sent = now
        if asked is not None:
            asked.under_way += 1
            asked.last_sent = now
        if self.heard:
            self.heard, self.idle_since = False, now
        self._arm()
        return number

    def acknowledged(self, now: float, numbers: Iterable[int], delay: float) -> None:
        """Take in that packets of these `numbers` arrived, the last of them `delay` seconds before that was said."""
        self.heard, self.idle_since = True, now
        newly = sorted(number for number in numbers if number in self._sent)
        if not newly:
            return
        self.heard_at = now
        if newly[-1] > self._largest:
            self._largest = newly[-1]
            self._measure(now - self._sent[newly[-1]].time, min(delay, MAX_ACK_DELAY))
        for number in newly:
            one = self._sent.pop(number)
            self._congestion.on_packet_acked(now=now, packet=one.packet)
            if one.asked is not None:
                one.asked.under_way -= 1
                one.asked.arrived += 1
        self._probes = 0
        self._detect(now)
        self._arm()

    def _measure(self, latest: float, delay: float) -> None:
        self.least = min(self.least, latest)
        self._latest = latest - delay if latest > self.least + delay else latest
        self._variance += (abs(self.least - self._latest) - self._variance) / 4
        self.smoothed += (self._latest - self.smoothed) / 8

    def _detect(self, now: float) -> None:
        """Find what is lost."""
        patience = _ROUND_TRIPS * max(self._latest, self.smoothed)
        self._loss_at = math.inf
        lost = []
        for number, one in self._sent.items():
            if number > self._largest:
                break
            if number <= self._largest - _PACKETS or one.time + patience <= now + 1e-9:
                lost.append(one)
            else:
                self._loss_at = min(self._loss_at, one.time + patience)
        if not lost:
            return
        for one in lost:
            del self._sent[one.packet.packet_number]
        self._congestion.on_packets_lost(now=now, packets=[one.packet for one in lost])
        for one in lost:
            self._over(now, one)

    def _due(self) -> float:
        if self._loss_at < math.inf:
            return self._loss_at
        if not self._sent:
            return math.inf
        probe = self.smoothed + max(4 * self._variance, _GRANULARITY) + MAX_ACK_DELAY
        return self._last_sent + probe * 2.0**self._probes

    def _arm(self) -> None:
        due = self._due()
        if due < self._armed and not self.over:
            self._armed = due
            self._clock.at(due, self._timeout, due)

    def _timeout(self, now: float, armed: float) -> None:
        if self.over or armed != self._armed:
            return
        self._armed = math.inf
        if self._due() <= now + 1e-9:
            if self._loss_at < math.inf:
                self._detect(now)
            else:
                self._probes += 1
                self._probe(now)
        self._arm()

    def _probe(self, now: float) -> None:
        """Give up the oldest packet, as aioquic does, and send one: what was in it where that goes again."""
        oldest, following = self._sent.pop(next(iter(self._sent))), self._next
        self._congestion.on_packets_expired(packets=[oldest.packet])
        self._over(now, oldest)
        if self._next == following:
            self._send(now, None)

    def _over(self, now: float, one: Sent) -> None:
        """Nothing more is heard of a packet."""
        if one.asked is not None:
            one.asked.under_way -= 1
            if one.again and not one.asked.done:
                self._send(now, one)
