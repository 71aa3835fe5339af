"""How much a path loses, and how often a message without a second chance is therefore sent.

Words owned here: loss meter, path loss (what gets lost while no queue stands full), copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.tls import Epoch
except ImportError as error:
    raise LinkError(NO_QUIC) from error

ALL_LOST = 0.001  # the chance that every copy of a message is lost, at most
FEWEST_COPIES, MOST_COPIES = 2, 6
COPY_AFTER = 0.005  # seconds between copies: a burst of losses should not take two
_WINDOW = 1_000  # packets after which the count so far weighs half
_FEW = 50  # packets; before so many were sent one loss says little


class Congestion(Protocol):
    """What aioquic tells of packets; its congestion controllers have it."""

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
        self.sent = self._lost = 0.0

    @property
    def value(self) -> float:
        return self._lost / max(self.sent, _FEW)

    def add(self, sent: int, lost: int) -> None:
        self.sent += sent
        self._lost += lost
        if self.sent > _WINDOW:
            self.sent, self._lost = self.sent / 2, self._lost / 2


class LossMeter:
    """Smoothed share of a connection's packets that got lost on this end's way to the other."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._all, self._path = _Share(), _Share()
        self._crowded: Callable[[], bool] = lambda: False

    @property
    def loss(self) -> float:
        """The share, 0 while nothing is known."""
        return self._all.value

    @property
    def path_loss(self) -> float:
        """The share while no queue stood full: what a full queue drops is no reason to send it more."""
        return self._path.value

    @property
    def at_most(self) -> float:
        """What the share hardly exceeds: two standard deviations more, and two losses, for where a guess is cheap."""
        sent, loss = max(self._all.sent, _FEW), self.loss
        return min(loss + 2 * math.sqrt(loss * (1 - loss) / sent) + 2 / sent, 1.0)

    def add(self, sent: int, lost: int) -> None:
        """Count `sent` packets whose fate is known, `lost` of which did not arrive."""
        self._all.add(sent, lost)
        if not self._crowded():
            self._path.add(sent, lost)

    def listen(self, congestion: Congestion, crowded: Callable[[], bool]) -> None:
        """Count what aioquic tells `congestion`, the controller of a connection; it has no public counters.

        `crowded` says whether a queue stands full.
        """
        self._crowded = crowded
        acked, lost, expired = congestion.on_packet_acked, congestion.on_packets_lost, congestion.on_packets_expired

        def on_packet_acked(*, now: float, packet: QuicSentPacket) -> None:
            self.add(1, 0)
            acked(now=now, packet=packet)

        def on_packets_lost(*, now: float, packets: Iterable[QuicSentPacket]) -> None:
            gone = list(packets)
            self.add(len(gone), len(gone))
            lost(now=now, packets=gone)

        def on_packets_expired(*, packets: Iterable[QuicSentPacket]) -> None:
            # The last of sparse packets, which no later one overtakes; those of the handshake end so without a loss.
            gone = list(packets)
            count = sum(packet.epoch is Epoch.ONE_RTT for packet in gone)
            self.add(count, count)
            expired(packets=gone)

        congestion.on_packets_expired = on_packets_expired  # type: ignore[method-assign]
        congestion.on_packet_acked = on_packet_acked  # type: ignore[method-assign]
        congestion.on_packets_lost = on_packets_lost  # type: ignore[method-assign]


def copies(loss: float) -> int:
    """How often to send a message, so that at this `loss` all copies are lost with a chance of at most `ALL_LOST`.

    Within `FEWEST_COPIES` and `MOST_COPIES`; the latter holds up to a loss of 0.316.
    """
    if loss <= 0.0:
        return FEWEST_COPIES
    wanted = math.ceil(math.log(ALL_LOST) / math.log(min(loss, 0.99)) - 1e-9)
    return min(max(wanted, FEWEST_COPIES), MOST_COPIES)
