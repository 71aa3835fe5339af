"""How much a path loses, and how often a message without a second chance is therefore sent.

Words owned here: loss meter, lone packet (sent while nothing else was under way, so that no queue dropped it for our
sake), quiet packet (whose neighbours found no queue on their way), path loss (what gets lost while no queue stands
full, and no more than lone packets bear out), copies.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from edgesight.host.link.datagrams import NO_QUIC, LinkError
from edgesight.host.link.round_trips import LEAST_QUEUE, QUEUE

try:
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.tls import Epoch
except ImportError as error:
    raise LinkError(NO_QUIC) from error

ALL_LOST = 0.001  # the chance that every copy of a message is lost, at most
# Seconds after which a message's copies go: one soon, for a packet lost alone, and others later, as a burst of losses
# should not take all.
COPIES_AT = (0.0, 0.001, 0.01, 0.015, 0.02, 0.025)
FEWEST_COPIES, MOST_COPIES = 2, len(COPIES_AT)
_WINDOW = 1_000  # packets after which the count so far weighs half
_FEW = 50  # packets; before so many were sent one loss says little
_UNHEARD_OF = 0.35  # loss beyond which something else than the path is the reason, until it is known better
_FEW_LONE = 30  # lone packets; the same
_NEIGHBOURS = 64  # packets whose round trips are kept
_PROMPT = 2.0  # times the least round trip, up to which an acknowledgement tells that the path was not just silent


class Congestion(Protocol):
    """What aioquic tells of packets; its congestion controllers have it."""

    bytes_in_flight: int

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """`packet` was sent."""

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """`packet` arrived."""

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """`packets` are taken for lost."""

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """Nobody waits for `packets` any more: their keys are gone, or nothing came back for too long."""


class _Share:
    """Smoothed share of packets that got lost."""

    def __init__(self) -> None:
        self.sent = self.lost = 0.0

    @property
    def value(self) -> float:
        return self.lost / max(self.sent, _FEW)

    def add(self, sent: int, lost: int) -> None:
        self.sent += sent
        self.lost += lost
        if self.sent > _WINDOW:
            self.halve()

    def halve(self) -> None:
        self.sent, self.lost = self.sent / 2, self.lost / 2


class LossMeter:
    """Smoothed share of a connection's packets that got lost on this end's way to the other."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._all, self._calm, self._lone, self._quiet = _Share(), _Share(), _Share(), _Share()
        self._round_trips: deque[tuple[int, float]] = deque(maxlen=_NEIGHBOURS)  # of packets that arrived, by number
        self.packets = self.lost = 0  # in all: that were sent, and of them those that did not arrive
        self._counted = 0  # packets since lone ones last lost weight
        self._lone_packets: set[int] = set()  # numbers of those under way
        self._silent = 0  # lone ones given up since anything came back
        self._least_round_trip = math.inf
        self._crowded: Callable[[], bool] = lambda: False

    @property
    def loss(self) -> float:
        """The share, 0 while nothing is known."""
        return self._all.value

    @property
    def path_loss(self) -> float:
        """The share that the path loses by itself: what a full queue drops is no reason to send it more."""
        return min(self._calm.value, self.bound)

    @property
    def bound(self) -> float:
        """What the path hardly loses more than, by its lone packets; `_UNHEARD_OF` where too few were sent."""
        sent, lost = self._lone.sent, self._lone.lost
        return min((lost + 2 * math.sqrt(lost) + 2) / sent, 1.0) if sent >= _FEW_LONE else _UNHEARD_OF

    @property
    def lone_loss(self) -> float:
        """The share lost of lone packets, 0 while nothing is known."""
        return self._lone.lost / max(self._lone.sent, _FEW_LONE)

    @property
    def message_loss(self) -> float:
        """The loss that a small message has to reckon with: that of lone packets, else that of quiet ones.

        Where requests come so close that hardly a packet goes alone, lone ones tell nothing. Of quiet ones some are
        lost to a queue that was full for a moment: what counts is what their losses hardly lie below, two standard
        deviations less. Parity against what a queue drops fills it all the more.
        """
        if self._lone.sent >= _FEW_LONE:
            return self.lone_loss
        lost = self._quiet.lost
        return max(lost - 2 * math.sqrt(lost), 0.0) / max(self._quiet.sent, _FEW)

    def hardly_loses(self, loss: float) -> bool:
        """Whether no more than this was lost while no queue stood full, but for two packets that may be chance."""
        return self._calm.lost <= max(loss * self._calm.sent, 2.0)

    @property
    def own_doing(self) -> bool:
        """Whether far more gets lost than lone packets bear out: what else is lost, queues drop for our sake."""
        sent, lost = self._lone.sent, self._lone.lost
        return sent >= _FEW_LONE and self._calm.value > (lost + 2 * math.sqrt(lost) + 5) / sent

    @property
    def at_most(self) -> float:
        """What the share hardly exceeds: two standard deviations more, and two losses, for where a guess is cheap."""
        sent, loss = max(self._all.sent, _FEW), self.loss
        return min(loss + 2 * math.sqrt(loss * (1 - loss) / sent) + 2 / sent, 1.0)

    def add(self, sent: int, lost: int) -> None:
        """Count `sent` packets whose fate is known, `lost` of which did not arrive."""
        self._all.add(sent, lost)
        if not self._crowded():
            self._calm.add(sent, lost)
        self._counted += sent
        if self._counted > _WINDOW:
            self._counted = 0
            self._lone.halve()  # where none are sent any more, what they told is forgotten

    def listen(self, congestion: Congestion, crowded: Callable[[], bool]) -> None:
        """Count what aioquic tells `congestion`, the controller of a connection; it has no public counters.

        `crowded` says whether a queue stands full.
        """
        self._crowded = crowded
        sent, acked = congestion.on_packet_sent, congestion.on_packet_acked
        lost, expired = congestion.on_packets_lost, congestion.on_packets_expired

        def on_packet_sent(*, packet: QuicSentPacket) -> None:
            self.packets += packet.epoch is Epoch.ONE_RTT
            if congestion.bytes_in_flight == 0 and packet.epoch is Epoch.ONE_RTT:
                self._lone_packets.add(packet.packet_number)
            sent(packet=packet)

        def on_packet_acked(*, now: float, packet: QuicSentPacket) -> None:
            self.add(1, 0)
            self._came_back(now, packet)
            acked(now=now, packet=packet)

        def on_packets_lost(*, now: float, packets: Iterable[QuicSentPacket]) -> None:
            gone = list(packets)
            self.lost += sum(packet.epoch is Epoch.ONE_RTT for packet in gone)
            self.add(len(gone), len(gone))
            quiet = sum(self._was_quiet(packet) for packet in gone)
            self._quiet.add(quiet, quiet)
            alone = sum(self._was_lone(packet) for packet in gone)
            self._lone.add(alone, alone)
            lost(now=now, packets=gone)

        def on_packets_expired(*, packets: Iterable[QuicSentPacket]) -> None:
            # The last of sparse packets, which no later one overtakes; those of the handshake end so without a loss.
            gone = list(packets)
            count = sum(packet.epoch is Epoch.ONE_RTT for packet in gone)
            self.lost += count
            self.add(count, count)
            self._silent += sum(self._was_lone(packet) for packet in gone)
            expired(packets=gone)

        congestion.on_packet_sent = on_packet_sent  # type: ignore[method-assign]
        congestion.on_packets_expired = on_packets_expired  # type: ignore[method-assign]
        congestion.on_packet_acked = on_packet_acked  # type: ignore[method-assign]
        congestion.on_packets_lost = on_packets_lost  # type: ignore[method-assign]

    def _was_lone(self, packet: QuicSentPacket) -> bool:
        if packet.epoch is not Epoch.ONE_RTT or packet.packet_number not in self._lone_packets:
            return False
        self._lone_packets.discard(packet.packet_number)
        return True

    def _was_quiet(self, packet: QuicSentPacket) -> bool:
        """Whether what was sent next before and after a packet met no queue: one that drops is full."""
        number = packet.packet_number
        before = max((one for one in self._round_trips if one[0] < number), default=None)
        after = min((one for one in self._round_trips if one[0] > number), default=None)
        beside = [one[1] for one in (before, after) if one is not None]
        return bool(beside) and all(map(self._queueless, beside))

    def _queueless(self, round_trip: float) -> bool:
        return round_trip <= self._least_round_trip + max(QUEUE * self._least_round_trip, LEAST_QUEUE)

    def _came_back(self, now: float, packet: QuicSentPacket) -> None:
        """Count a lone packet that arrived, and those before it that were given up."""
        if packet.sent_time is None:
            return
        round_trip = now - packet.sent_time
        self._least_round_trip = min(self._least_round_trip, round_trip)
        self._round_trips.append((packet.packet_number, round_trip))
        self._quiet.add(int(self._queueless(round_trip)), 0)
        if self._was_lone(packet):
            self._lone.add(1, 0)
        if round_trip <= _PROMPT * self._least_round_trip:
            self._lone.add(self._silent, self._silent)
        self._silent = 0  # after a long silence nobody knows whether they got lost


def copies(loss: float) -> int:
    """How often to send a message, so that at this `loss` all copies are lost with a chance of at most `ALL_LOST`.

    Within `FEWEST_COPIES` and `MOST_COPIES`; the latter holds up to a loss of 0.316.
    """
    if loss <= 0.0:
        return FEWEST_COPIES
    wanted = math.ceil(math.log(ALL_LOST) / math.log(min(loss, 0.99)) - 1e-9)
    return min(max(wanted, FEWEST_COPIES), MOST_COPIES)
