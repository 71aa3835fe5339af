"""What became of messages: which packet carried each, whether it arrived, and sending those again that got lost.

A strip of an image that bears losses is never sent again. One of an image that travels entire is
(`edgesight.host.link.strips`): on a path so slow that sending the image takes longer than a round trip, a lost
strip's second sending costs little.

Words owned here: progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgesight.host.link.datagrams import NO_QUIC, LinkError
from edgesight.host.link.loss import Congestion
from edgesight.host.link.queue import Waiting

try:
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.tls import Epoch
except ImportError as error:
    raise LinkError(NO_QUIC) from error


@dataclass
class Progress:
    """How far a request's messages have come."""

    under_way: int = 0  # sent, and nothing heard of them yet
    arrived: int = 0
    last_sent: float = 0.0  # of the loop's clock


class Followed:
    """The packets under way of one connection, and the requests whose messages are followed."""

    def __init__(self, lost: Callable[[list[Waiting]], None]) -> None:
        """`lost` gets the messages of followed requests that may go again, when their packet got lost."""
        self.heard_at = 0.0  # of the loop's clock: when anything that was sent was last said to have arrived
        self._lost = lost
        self._packets: dict[int, list[Waiting]] = {}  # by packet number
        self._requests: dict[int, Progress] = {}
        self._handed: list[Waiting] = []

    def follow(self, request: int) -> Progress:
        """Follow `request` from now on."""
        return self._requests.setdefault(request, Progress())

    def forget(self, request: int) -> None:
        """Follow `request` no more, and send nothing of it again."""
        self._requests.pop(request, None)

    def hand_over(self, messages: list[Waiting]) -> None:
        """Say that the datagram of `messages` goes with the next packet that carries one."""
        self._handed = messages

    def listen(self, congestion: Congestion, held_back: Callable[[], bool]) -> None:
        """Learn the fate of packets from what aioquic tells `congestion`; it has no public way.

        `held_back` says whether the datagram handed over last is still in no packet.
        """
        sent, acked = congestion.on_packet_sent, congestion.on_packet_acked
        lost, expired = congestion.on_packets_lost, congestion.on_packets_expired

        def on_packet_sent(*, packet: QuicSentPacket) -> None:
            sent(packet=packet)
            if self._handed and packet.is_ack_eliciting and packet.epoch is Epoch.ONE_RTT and not held_back():
                self._carried(packet)

        def on_packet_acked(*, now: float, packet: QuicSentPacket) -> None:
            acked(now=now, packet=packet)
            self.heard_at = now
            for progress in self._over([packet])[1]:
                progress.arrived += 1

        def on_packets_lost(*, now: float, packets: Iterable[QuicSentPacket]) -> None:
            gone = list(packets)
            lost(now=now, packets=gone)
            self._again(gone)

        def on_packets_expired(*, packets: Iterable[QuicSentPacket]) -> None:
            gone = list(packets)
            expired(packets=gone)
            self._again(gone)

        congestion.on_packet_sent = on_packet_sent  # type: ignore[method-assign]
        congestion.on_packet_acked = on_packet_acked  # type: ignore[method-assign]
        congestion.on_packets_lost = on_packets_lost  # type: ignore[method-assign]
        congestion.on_packets_expired = on_packets_expired  # type: ignore[method-assign]

    def _carried(self, packet: QuicSentPacket) -> None:
        assert packet.sent_time is not None
        followed = [message for message in self._handed if message.request in self._requests]
        for message in followed:
            progress = self._requests[message.request]
            progress.under_way += 1
            progress.last_sent = packet.sent_time
        if followed:
            self._packets[packet.packet_number] = followed
        self._handed = []

    def _over(self, packets: list[QuicSentPacket]) -> tuple[list[Waiting], list[Progress]]:
        """The messages of `packets` that are still followed, and the progress of each one's request."""
        messages = []
        for packet in packets:
            if packet.epoch is Epoch.ONE_RTT:
                messages += self._packets.pop(packet.packet_number, [])
        messages = [message for message in messages if message.request in self._requests]
        progress = [self._requests[message.request] for message in messages]
        for one in progress:
            one.under_way -= 1
        return messages, progress

    def _again(self, packets: list[QuicSentPacket]) -> None:
        messages = [message for message in self._over(packets)[0] if message.again]
        if messages:
            self._lost(messages)
