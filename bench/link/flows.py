"""QUIC flows over a modelled link: congestion control in seconds of computing, without waiting.

Each flow has aioquic's own loss detection, pacing and congestion control at the sender, and acknowledges as aioquic
does; between them lies `edgesight.sim.link.model`. What is missing is the ends' own slowness, and the kernel's TCP:
`cubic` here is aioquic's. For both, see `edgesight.bench.link.fairness`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial

from aioquic import tls
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from edgesight.host.link.congestion import Controller, pace
from edgesight.sim.link.model import Direction
from edgesight.sim.link.options import LinkOptions

_PACKET = 1_200  # bytes of UDP payload, aioquic's default
_HEADERS = 28  # bytes of IPv4 and UDP
_ACKNOWLEDGEMENT = 80  # bytes
_ACK_DELAY = 0.001  # seconds, aioquic's
_TICK = 1e-6  # seconds; real clocks go on by themselves, and a timer that rounding puts a hair too early goes off again
_MOST_RANGES = 64  # that an acknowledgement tells of, aioquic's


class Flow:
    """One sender and its receiver."""

    def __init__(self, network: Network, control: str, begin: float, end: float, backlogged: bool) -> None:
        """From `begin` to `end` seconds, under aioquic's congestion control of that name.

        It always has something to send if `backlogged`, else what it is given.
        """
        self.departures: list[float] = []  # when packets were sent, by number
        self.arrivals: list[float] = []  # when packets of _PACKET bytes came
        self.round_trips: list[tuple[float, float]] = []  # when measured, and how long; seconds
        self._network = network
        self._end = end
        self._waiting = math.inf if backlogged else 0  # packets
        self._recovery = QuicPacketRecovery(
            congestion_control_algorithm=control,
            initial_rtt=0.1,
            max_datagram_size=_PACKET,
            peer_completed_address_validation=True,
            send_probe=self._probe,
        )
        pace(self._recovery, _PACKET)
        self.controller = self._recovery._cc
        self._space = QuicPacketSpace(is_application_data=True)
        self._recovery.spaces = [self._space]
        self._recovery.handshake_confirmed = True
        self._number = 0
        self._wake_at: float | None = None
        self._probes = 0
        self._received = RangeSet()
        self._ack_due = False
        network.at(begin, self._send)

    def give(self, packets: int) -> None:
        """Have so many packets more to send."""
        self._waiting += packets
        self._send()

    def bit_per_s(self, begin: float, end: float) -> float:
        """What arrived between `begin` and `end` seconds."""
        return sum(begin <= time < end for time in self.arrivals) * _PACKET * 8 / (end - begin)

    def _probe(self) -> None:
        self._probes += 1

    def _send(self) -> None:
        now, recovery = self._network.now, self._recovery
        while now < self._end:
            if not self._waiting and not self._probes:
                if isinstance(self.controller, Controller):
                    self.controller.on_app_limited()
                break
            at = recovery._pacer.next_send_time(now)
            if at is not None:
                self._wake(at)
                break
            if recovery.bytes_in_flight + _PACKET > recovery.congestion_window and not self._probes:
                break
            if self._probes:
                self._probes -= 1
            else:
                self._waiting -= 1
            recovery._pacer.update_after_send(now)
            packet = QuicSentPacket(tls.Epoch.ONE_RTT, True, True, False, self._number, QuicPacketType.ONE_RTT, now)
            packet.sent_bytes = _PACKET
            recovery.on_packet_sent(packet=packet, space=self._space)
            self.departures.append(now)
            there = self._network.up.offer(now, _PACKET + _HEADERS)
            if there is not None:
                self._network.at(there, partial(self._arrive, self._number))
            self._number += 1
        timer = recovery.get_loss_detection_time(amplification_limited=False)
        if timer is not None:
            self._wake(timer + _TICK)

    def _wake(self, at: float) -> None:
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at
            self._network.at(at, partial(self._woken, at))

    def _woken(self, at: float) -> None:
        if self._wake_at != at:
            return  # an earlier one came
        self._wake_at = None
        timer = self._recovery.get_loss_detection_time(amplification_limited=False)
        if timer is not None and timer <= self._network.now:
            self._recovery.on_loss_detection_timeout(now=self._network.now)
        self._send()

    def _arrive(self, number: int) -> None:
        self.arrivals.append(self._network.now)
        self._received.add(number)
        if len(self._received) > _MOST_RANGES:
            self._received.shift()
        if not self._ack_due:
            self._ack_due = True
            self._network.at(self._network.now + _ACK_DELAY, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ack_due = False
        there = self._network.down.offer(self._network.now, _ACKNOWLEDGEMENT)
        if there is not None:
            ranges = RangeSet(list(self._received))
            self._network.at(there, partial(self._acknowledged, ranges))

    def _acknowledged(self, ranges: RangeSet) -> None:
        now = self._network.now
        self._recovery.on_ack_received(ack_rangeset=ranges, ack_delay=_ACK_DELAY, now=now, space=self._space)
        self.round_trips.append((now, self._recovery._rtt_latest))
        self._send()


class Network:
    """A link that any number of flows share, and the clock of all that happens on it."""

    def __init__(self, up: LinkOptions, down: LinkOptions | None = None, *, seed: int = 0) -> None:
        """Data goes `up`; acknowledgements come `down` (None: with the same delay and loss, at any rate)."""
        if down is None:
            down = LinkOptions(delay_s=up.delay_s, loss=up.loss)
        round_trip = up.delay_s + down.delay_s
        self.up, self.down = Direction(up, f"{seed} up", round_trip), Direction(down, f"{seed} down", round_trip)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do `action` at `time`."""
        self._count += 1
        heapq.heappush(self._events, (max(time, self.now), self._count, action))

    def flow(self, control: str, begin: float = 0.0, end: float = math.inf, *, backlogged: bool = True) -> Flow:
        """A flow over this link."""
        return Flow(self, control, begin, end, backlogged)

    def run(self, until: float) -> None:
        """Let time pass until `until` seconds."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
