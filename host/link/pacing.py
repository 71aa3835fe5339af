"""When the next packet may go: a connection's packets spread in time at its congestion controller's rate."""

from __future__ import annotations

from typing import Protocol

from edgesight.host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.quic.recovery import QuicPacketPacer
except ImportError as error:
    raise LinkError(NO_QUIC) from error

_MADE_UP_FOR = 4.0  # packets that may go late, together
_SLOW_PACKET = 0.005  # seconds that a packet takes at least where none goes together with another
BURST = 0.002  # seconds of the pacing rate that may go at once; asyncio's timers are not finer than a millisecond


class Paced(Protocol):
    """A congestion controller that says how fast to send."""

    pacing_rate: float | None  # bytes a second; None: not known yet


class Pacer(QuicPacketPacer):
    """Spreads a connection's packets in time at its controller's rate; stands in for aioquic's own pacer.

    aioquic's takes its rate from window and round trip, lets up to two packets go for each one's time, and counts an
    acknowledgement as a whole packet.
    """

    def __init__(self, controller: Paced, max_datagram_size: int) -> None:
        """For the connection of `controller`."""
        super().__init__(max_datagram_size=max_datagram_size)
        self._controller = controller
        self._size = max_datagram_size
        self._now = 0.0
        self._planned: float | None = None  # when the next packet was to go, as it was said last
        self._built = 0  # packets made at this very time that `sent` hasn't been told of
        self._credit = 0.0  # bytes that may go now; below 0: sent ahead

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]  # as aioquic's own does
        """When the next packet may go; None: now."""
        rate = self._controller.pacing_rate
        if rate is None:
            return None
        slow = self._size > rate * _SLOW_PACKET  # then the queue may hold no more than one packet
        if now > self._now:
            # A timer that went off late is made up for: else a busy machine would send, and so measure, ever less.
            late = now - self._planned if self._planned is not None and now > self._planned else 0.0
            most = max((1.0 if slow else 2.0) * self._size, rate * BURST)
            most += min(late * rate, _MADE_UP_FOR * self._size)
            self._credit = min(self._credit + (now - self._now) * rate, most)
            self._now = now
            self._built = 0
        left = self._credit - self._built * self._size
        self._planned = None if left > (self._size / 2 if slow else 0.0) else now + (self._size - left) / rate
        return self._planned

    def nothing_waits(self) -> None:
        """Nothing was held back until now, so nothing will be late."""
        self._planned = None

    def update_after_send(self, now: float) -> None:
        """Count a packet until its size is known."""
        self._built += 1

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Ignore aioquic's rate: the controller has its own."""

    def sent(self, size: int) -> None:
        """Take a sent packet's bytes off; acknowledgements alone are not told of, and are free."""
        self._built = 0
        if self._controller.pacing_rate is not None:
            self._credit -= size
