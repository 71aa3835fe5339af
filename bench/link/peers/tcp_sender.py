"""What a TCP sender of Linux's sends when, as arithmetic on segments: window, recovery and timers, without a kernel.

CUBIC (RFC 9438), proportional rate reduction (RFC 6937), RACK and tail loss probes (RFC 8985), and retransmission
timeouts (RFC 6298), with Linux's constants. A loss that was none is undone, as timestamps tell (RFC 4015).
Left out is what a path that neither reorders nor marks packets does not ask for, and slow start's end by delays.

Words owned here: segment (what is sent, and sent again, as one packet).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MSS: Final = 1_448  # bytes of payload: Ethernet's 1,500 less headers with timestamps
INITIAL_WINDOW: Final = 10  # segments
_RTO_MIN, _RTO_MAX, _FIRST_RTO = 0.2, 120.0, 1.0  # seconds
_DUPLICATES = 3  # segments beyond a hole from which on nothing is taken for reordered
_BETA, _C = 717 / 1024, 0.4
_TICK = 1e-6  # seconds of a timestamp
_FRIENDLY_EIGHTHS = int(8 * (1 + _BETA) / 3 / (1 - _BETA))  # of a window's segments, after which Reno's grows by one
_SLOWEST_FIRST = 20  # segments after which a window grows that was never reduced
_TIMER_MORE = 0.002  # seconds that Linux adds to timers of a round trip or less


@dataclass(eq=False)
class Segment:
    """Bytes from `begin` to `end` of the stream."""

    begin: int
    end: int
    sent: float = 0.0  # last
    again: bool = False  # it was sent more than once
    sacked: bool = False
    lost: bool = False
    out_again: bool = False  # its last repeat is under way


@dataclass
class Cubic:
    """The congestion window, in whole segments as Linux counts it: at a few segments that makes a difference."""

    window: int = INITIAL_WINDOW
    threshold: int = 1 << 31
    _most: int = 0  # the window before it was last reduced
    _epoch: float | None = None
    _origin: int = 0
    _k: float = 0.0
    _reno: int = 0  # what Reno's window would be
    _acks: int = 0  # towards Reno's next segment
    _count: int = 0  # and towards ours

    def reduce(self) -> None:
        """Note a loss: the threshold is what the window is to come to."""
        self._epoch, self._count = None, 0
        self._most = int(self.window * (1 + _BETA) / 2) if self.window < self._most else self.window
        self.threshold = max(int(self.window * _BETA), 2)

    def acknowledged(self, segments: int, now: float, least: float) -> None:
        """Grow, where the window was what held the sender back; `least` is the shortest round trip."""
        if self.window < self.threshold:
            before, self.window = self.window, min(self.window + segments, self.threshold)
            segments -= self.window - before
            if not segments:
                return
        every = self._every(segments, now, least)
        if self._count >= every:
            self._count = 0
            self.window += 1
        self._count += segments
        self.window += self._count // every
        self._count %= every

    def _every(self, segments: int, now: float, least: float) -> int:
        """After how many acknowledged segments the window grows by one."""
        self._acks += segments
        if self._epoch is None:
            self._epoch, self._acks, self._reno = now, segments, self.window
            self._origin = max(self._most, self.window)
            self._k = ((self._origin - self.window) / _C) ** (1 / 3)
        aim = self._origin + int(_C * (now - self._epoch + least - self._k) ** 3)
        every = self.window // (aim - self.window) if aim > self.window else 100 * self.window
        if not self._most:
            every = min(every, _SLOWEST_FIRST)
        friendly = self.window * _FRIENDLY_EIGHTHS >> 3
        while self._acks > friendly:
            self._acks -= friendly
            self._reno += 1
        if self._reno > self.window:
            every = min(every, self.window // (self._reno - self.window))
        return max(every, 2)


class Sender:
    """One direction's sender. Times are seconds of one clock."""

    def __init__(self) -> None:
        """Nothing is sent yet; the connection is there."""
        self.una = self.next = self.end = 0  # acknowledged, sent, and given to it, in bytes
        self.out: list[Segment] = []  # sent and not acknowledged, in order
        self.cubic = Cubic()
        self._smoothed: float | None = None
        self._variance = 0.0
        self._least = float("inf")
        self._backoff = 1
        self._recover: int | None = None  # byte up to which a recovery, or a timeout's, goes
        self._by_timeout = False
        self._before = self._delivered = self._sent_in = 0  # segments, of proportional rate reduction
        self._before_loss = (0, 0, 0.0)  # window and threshold before they were reduced, and when that was
        self._newest = (0.0, 0)  # of RACK: when the latest delivered was sent, and its end
        self._newest_took = 0.0  # its round trip
        self._limited, self._most_out, self._use_ends = False, 0, 0  # what of the window was used of late
        self._probed = False
        self._heard = self._moved = 0.0  # when it last heard of anything new, and that or sent anything
        self.timer: tuple[float, str] | None = None  # when, and which

    # --------------------------------------------------------------------------------------------------------- sending

    @property
    def in_flight(self) -> int:
        """Segments, those taken for lost left out."""
        return sum((not one.sacked and not one.lost) + one.out_again for one in self.out)

    def due(self, now: float) -> list[Segment]:
        """What is to be sent now; it counts as sent."""
        found: list[Segment] = []
        flight = self.in_flight
        idle = not self.out
        for one in self.out:
            if flight >= self.cubic.window:
                break
            if one.lost and not one.out_again and not one.sacked:
                one.again = one.out_again = True
                found.append(self._sends(one, now))
                flight += 1
        while self.next < self.end and flight < self.cubic.window:
            new = Segment(self.next, min(self.next + MSS, self.end))
            self.next = new.end
            self.out.append(new)
            found.append(self._sends(new, now))
            flight += 1
        self._note_use(flight >= self.cubic.window)
        if found:
            self._heard = now if idle or any(one.again for one in found) else self._heard
            self._moved = now
        self._arm()
        return found

    def _note_use(self, limited: bool) -> None:
        """Remember, for a window's length, whether the window held back anything."""
        if self.una >= self._use_ends or limited or (not self._limited and len(self.out) > self._most_out):
            self._limited, self._most_out, self._use_ends = limited, len(self.out), self.next

    def _grows(self) -> bool:
        if self.cubic.window < self.cubic.threshold:
            return self.cubic.window < 2 * self._most_out
        return self._limited

    def _sends(self, one: Segment, now: float) -> Segment:
        one.sent = now
        if self._recover is not None:
            self._sent_in += 1
        return one

    # ------------------------------------------------------------------------------------------------ acknowledgements

    def acknowledged(self, una: int, blocks: Sequence[tuple[int, int]], now: float, echoed: float) -> None:
        """The other end has all bytes before `una`, and `blocks` beyond.

        `echoed`: when what it last received in order was sent.
        """
        delivered = 0
        advanced = una > self.una
        for one in self.out:
            if one.end <= una or any(begin <= one.begin and one.end <= end for begin, end in blocks):
                if not one.sacked:
                    delivered += 1
                    self._delivers(one, now)
                one.sacked, one.lost, one.out_again = True, False, False
        self.out = [one for one in self.out if one.end > una]
        self.una = max(self.una, una)
        if advanced:
            self._backoff, self._probed = 1, False
            self._heard = self._moved = now
            if self._recover is not None and (self._by_timeout or not any(one.out_again for one in self.out)):
                self._undo(echoed)
        if self._recover is not None and self.una >= self._recover:
            self._recover = None
            if not self._by_timeout:
                self.cubic.window = self.cubic.threshold
            self._by_timeout = False
        newly_lost = self._find_lost(now)
        if self._recover is None and newly_lost:
            self._enter(now)
        if self._recover is not None and not self._by_timeout:
            if delivered:
                self._reduce(delivered, advanced, newly_lost)
        elif delivered and advanced and self._grows():
            self.cubic.acknowledged(delivered, now, min(self._least, _FIRST_RTO))
        self._arm()

    def _undo(self, echoed: float) -> None:
        """Where what was sent before it was sent again came nevertheless, nothing was lost: all is as it was."""
        window, threshold, at = self._before_loss
        if echoed < at - _TICK:
            self.cubic.window, self.cubic.threshold = max(self.cubic.window, window), threshold
            self._recover, self._by_timeout = None, False
            for one in self.out:
                one.lost = one.out_again = False

    def _delivers(self, one: Segment, now: float) -> None:
        took = now - one.sent
        if one.again and took < self._least:
            return  # the first sending's, it may be
        if not one.again:
            self._measured(took)
        if (one.sent, one.end) >= self._newest:
            self._newest, self._newest_took = (one.sent, one.end), took

    def _measured(self, took: float) -> None:
        self._least = min(self._least, took)
        if self._smoothed is None:
            self._smoothed, self._variance = took, took / 2
        else:
            self._variance += (abs(took - self._smoothed) - self._variance) / 4
            self._smoothed += (took - self._smoothed) / 8

    def _find_lost(self, now: float) -> bool:
        """Take for lost what was sent before something that came, and has had time to come itself; whether any is."""
        sacked = sum(one.sacked for one in self.out)
        window = 0.0
        if self._recover is None and sacked < _DUPLICATES and self._least < float("inf"):
            window = min(self._least / 4, self._smoothed or 0.0)
        found, wait = False, 0.0
        for one in self.out:
            if one.sacked or (one.sent, one.end) >= self._newest or (one.lost and not one.out_again):
                continue
            left = one.sent + self._newest_took + window - now
            if left <= 0.0:
                one.lost, one.out_again, found = True, False, True
            else:
                wait = max(wait, left)
        self.timer = (now + wait + _TIMER_MORE, "reordering") if wait else None
        return found

    def _enter(self, now: float) -> None:
        """Begin to recover."""
        self._before_loss = self.cubic.window, self.cubic.threshold, now
        self._recover = self.next
        self._before = self.cubic.window
        self._delivered = self._sent_in = 0
        self.cubic.reduce()

    def _reduce(self, delivered: int, advanced: bool, newly_lost: bool) -> None:
        """Proportional rate reduction."""
        flight = self.in_flight
        self._delivered += delivered
        short = self.cubic.threshold - flight
        if short < 0:
            count = -(-self.cubic.threshold * self._delivered // max(self._before, 1)) - self._sent_in
        else:
            count = max(self._delivered - self._sent_in, delivered) + (advanced and not newly_lost)
            count = min(short, count)
        self.cubic.window = flight + max(count, 0 if self._sent_in else 1)

    # --------------------------------------------------------------------------------------------------------- timers

    def _arm(self) -> None:
        if self.timer is not None and self.timer[1] == "reordering":
            return
        if not self.out:
            self.timer = None
            return
        timeout = self._heard + self._timeout()
        if self._recover is None and not self._probed and self._smoothed is not None:
            more = _RTO_MIN if len(self.out) == 1 else _TIMER_MORE
            self.timer = (min(self._moved + 2 * self._smoothed + more, timeout), "probe")
        else:
            self.timer = (timeout, "timeout")

    def _timeout(self) -> float:
        if self._smoothed is None:
            return _FIRST_RTO
        return min((self._smoothed + max(4 * self._variance, _RTO_MIN)) * self._backoff, _RTO_MAX)

    def expired(self, now: float) -> list[Segment]:
        """The timer is over: what is to be sent therefore."""
        assert self.timer is not None
        kind, self.timer = self.timer[1], None
        if kind == "reordering":
            if self._find_lost(now):
                if self._recover is None:
                    self._enter(now)
                if not self._by_timeout:
                    self._reduce(1, False, False)
        elif kind == "probe" and self.out:
            self._probed = True
            return self._probe(now)
        elif self.out:
            if self._recover is None:  # else it was reduced for this flight already
                self._before_loss = self.cubic.window, self.cubic.threshold, now
                self.cubic.reduce()
            self.cubic.window, self._recover, self._by_timeout = 1, self.next, True
            for one in self.out:
                one.lost, one.out_again = not one.sacked, False
            self._backoff *= 2
        return self.due(now)

    def _probe(self, now: float) -> list[Segment]:
        """A new segment where there is one, else the last one again."""
        if self.next < self.end:
            one = Segment(self.next, min(self.next + MSS, self.end))
            self.next = one.end
            self.out.append(one)
        else:
            one = self.out[-1]
            one.again = True
        one.sent = self._heard = now
        self._arm()
        return [one]
