"""How fast to send: a congestion controller that random loss does not slow down and that shares with TCP.

Window-based controllers take every loss for a full queue; on a lossy link they shrink to nothing. This one looks at
the queue instead. It has two modes:

- *alone*: it models the path by its bandwidth and its least round trip, sends at that rate and keeps the queue all but
  empty, as BBR does (draft-ietf-ccwg-bbr). Loss does not slow it down; loss that remains while its own queue is drained
  is the path's, and is made up for in the rate.
- *competing*: somebody else keeps a queue although ours is drained. A sender that yields to queues would starve there,
  and one that holds a fixed multiple of the path starves others, so it takes the share of CUBIC (RFC 9438), the window
  that Linux's TCP uses. On a path that loses by itself only losses beside a full queue count. From time to time it
  drains its own queue to see whether the other one is still there, and what the others have in flight: it goes on with
  no more than that, since at a full queue its small, paced packets get lost less often than theirs.

The switch between the two follows Copa (Arun and Balakrishnan, NSDI 2018, section 2.2), which also takes a queue that
never empties for a competitor; here the test is made when our own share of the queue is drained, so that what remains
is the others'.

What it does not do: a queue well below a bandwidth-delay product, which TCP empties whenever it backs off, is often not
seen as another's, and TCP gets less than its share. Delay that varies by much more than an eighth of the round trip for
other reasons is taken for a competitor, which costs queue, not rate. Two flows of this kind share as two of CUBIC do,
queue included.

aioquic finds the controller by `NAME`, and `pace` gives a connection its pacer.

Words owned here: round (the time in which what was sent at its begin is acknowledged), calm (sent while our own queue
was drained).
"""

from __future__ import annotations

import enum
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgesight.host.link.cubic import CubicWindow
from edgesight.host.link.datagrams import NO_QUIC, LinkError
from edgesight.host.link.pacing import BURST, Pacer
from edgesight.host.link.round_trips import LEAST_QUEUE, QUEUE, RoundTrips

try:
    from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.quic.recovery import QuicPacketRecovery
except ImportError as error:
    raise LinkError(NO_QUIC) from error

NAME = "edgesight"

# What BBR has, too, bears the name that draft-ietf-ccwg-bbr gives it behind it.
_INITIAL_WINDOW = 10  # datagrams; RFC 9002, 7.2
_LEAST_WINDOW = 4  # datagrams; MinPipeCwnd
_STARTUP_GAIN = 2.77  # the least that doubles the rate every round, 4 ln 2; StartupPacingGain
_FULL_ROUNDS, _FULL_GROWTH = 3, 1.25  # the pipe is full when the rate grew less in so many rounds; CheckFullBWReached
_UP_GAIN = 1.25  # probes for more bandwidth; ProbeBW_UP
_EASE_GAIN = 0.9  # while cruising over a queue: the largest of many delivery rates is a little too large
_WINDOW_GAIN = 2.0  # bandwidth-delay products in flight, with room for late acknowledgements; DefaultCwndGain
_CRUISE_ROUNDS = (4.0, 7.0)  # least round trips between two probes, random so that flows don't probe together
_ROUNDS_OF_BANDWIDTH = 10  # rounds that the largest delivery rate is remembered: more than one cycle of probing
_TRAIN = 8  # datagrams of a burst that tell of its rate
_LOSSY = 0.005  # loss from which on the path, not a queue, may be the reason of another
_MOST_PATH_LOSS = 0.35  # loss beyond this is not made up for
_LOSS_SAMPLE = 400  # calm packets that the path's loss is measured over

_HEARD = 2.0  # round trips without an acknowledgement after which the path is silent
_VERDICT = 20  # packets whose fate says whether we lose more than the path does
_DEVIATIONS, _CHANCE = 2.5, 2.0  # standard deviations, and packets, by which losses must exceed the path's
_MOST_CUT = 0.5  # what a verdict leaves of the rate at least
_RECOVERY = 1.08  # by which the rate comes back with each verdict of no excess

_STALE_GAIN = 0.5  # bandwidth-delay products in flight when the least round trip was not seen lately; ProbeRTTCwndGain
_QUEUE_LEFT = 1 / 16  # the same, to go on competing: what others' TCP leaves of a short queue after a loss
_OTHERS_SEEN = 2  # cycles in a row with a queue that isn't ours, before it competes
_CHECK_EVERY = 6.0  # seconds between two looks, while competing, whether the other queue is still there
_CHECK_AGAIN = 2.0  # the same after a look that found none: others' TCP may just have backed off
_CLEAR = 2  # looks in a row that find none, before it stops competing

_PACING_MARGIN = 1.25  # a window's datagrams are spread over a little less than a round trip; RFC 9002, 7.7


class _Phase(enum.Enum):
    STARTUP = enum.auto()  # doubling until the pipe is full
    DOWN = enum.auto()  # draining our own queue
    CRUISE = enum.auto()  # at the measured bandwidth
    UP = enum.auto()  # probing for more
    COMPETE = enum.auto()  # CUBIC
    CHECK = enum.auto()  # competing, but draining our own queue to see what remains


@dataclass
class _Sent:
    """What was known when a packet was sent (draft-cheng-iccrg-delivery-rate-estimation-02)."""

    time: float
    delivered: int
    delivered_time: float
    first_sent_time: float
    app_limited: bool
    calm: bool
    heard: bool  # whether acknowledgements came then: what goes while the path is silent tells nothing of the rate


class Controller(QuicCongestionControl):
    """The congestion controller; made by aioquic for each connection that is configured with `NAME`.

    Rates are bytes a second, times seconds, sizes bytes.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        """For packets of at most `max_datagram_size` bytes."""
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = _INITIAL_WINDOW * max_datagram_size
        self.pacing_rate: float | None = None  # None: not known yet
        self.pacer: Pacer | None = None  # until `pace` gave it one
        self._size = max_datagram_size
        self._phase = _Phase.STARTUP
        self._phase_began = 0.0
        self._halted = False  # nothing came back for long; until something does

        self._sent: dict[tuple[int, int], _Sent] = {}
        self._newest: _Sent | None = None  # of the packets that were acknowledged last
        # Of packets sent without an acknowledgement in between: the last of those acknowledged first, when that was,
        # and what was delivered by then.
        self._train: tuple[_Sent, float, int] | None = None
        self._delivered = 0
        self._delivered_time = 0.0
        self._first_sent_time = 0.0
        self._app_limited_until = -1  # everything up to this many delivered bytes was sent for want of more

        self._round = 0
        self._round_ends = 0  # delivered bytes
        self._rates: deque[tuple[int, float]] = deque()  # round and delivery rate, falling
        self.measured = False  # whether any of them tells more than how little there was to send
        self._full_rate, self._full_rounds = 0.0, 0

        self._round_trips = RoundTrips()
        self._calm_acked, self._calm_lost = 0, 0

        # What the path hardly loses more than, where something else measures that; 1: nobody knows.
        self.loss_bound: Callable[[], float] = lambda: 1.0
        self._cap: float | None = None  # of the rate, where more gets lost than the path loses
        self._judged_from = 0.0  # packets sent since then count for the next verdict
        self._judged, self._judged_lost = 0, 0

        self._drained_at: float | None = None  # when our queue was drained, in this DOWN or CHECK
        self._drained_least: float | None = None  # least round trip of packets sent after that
        self._before = 0, 0.0  # bytes in flight and standing round trip when the last CHECK began
        self._others_seen = 0
        self._clear = 0  # looks in a row that found no other queue
        self._cruise = 0.0  # seconds

        self._cubic = CubicWindow(max_datagram_size, least=_LEAST_WINDOW)  # counts while competing
        self._recovery_began = 0.0

    @property
    def competing(self) -> bool:
        """Whether somebody else's queue was found."""
        return self._phase in (_Phase.COMPETE, _Phase.CHECK)

    @property
    def bandwidth(self) -> float:
        """The largest delivery rate lately."""
        return self._rates[0][1] if self._rates else 0.0

    @property
    def sustained(self) -> float:
        """What of that goes without overrunning a queue too short to be seen."""
        return self.bandwidth if self._cap is None else min(self.bandwidth, self._cap)

    @property
    def least_round_trip(self) -> float:
        """Seconds; 0 while nothing was measured."""
        return self._round_trips.least

    @property
    def path_loss(self) -> float:
        """The share of packets that was lost while our own queue was drained, as far as lone packets bear it out."""
        calm = self._calm_lost / max(self._calm_acked + self._calm_lost, _LOSS_SAMPLE // 4)
        return min(calm, self.loss_bound())

    @property
    def crowded(self) -> bool:
        """Whether a queue stands, about as long as any lately."""
        return self._round_trips.full and self._queue(self._round_trips.standing)

    def on_app_limited(self) -> None:
        """The application has nothing more to send: what is delivered now says little about the path."""
        if self.bytes_in_flight + self._size <= self.congestion_window:
            self._app_limited_until = self._delivered + self.bytes_in_flight
        if self.pacer is not None:
            self.pacer.nothing_waits()

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Remember what the delivery rate is measured from."""
        assert packet.sent_time is not None
        if self.bytes_in_flight == 0:
            self._first_sent_time = self._delivered_time = packet.sent_time
        self.bytes_in_flight += packet.sent_bytes
        self._sent[packet.epoch.value, packet.packet_number] = _Sent(
            packet.sent_time,
            self._delivered,
            self._delivered_time,
            self._first_sent_time,
            self._delivered <= self._app_limited_until,
            self._calm(packet.sent_time),
            packet.sent_time - self._delivered_time <= _HEARD * self._round_trips.smoothed,
        )
        if self.pacer is not None:
            self.pacer.sent(packet.sent_bytes)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Count what arrived."""
        assert packet.sent_time is not None
        self.bytes_in_flight -= packet.sent_bytes
        sent = self._sent.pop((packet.epoch.value, packet.packet_number), None)
        if sent is None:
            return
        self._delivered += packet.sent_bytes
        self._delivered_time = now
        self._newest = sent
        train = self._train
        if train is None or train[0].delivered != sent.delivered or train[1] == now:
            self._train = sent, now, self._delivered
        if sent.calm:
            self._calm_acked += 1
        if sent.heard and sent.time >= self._judged_from:
            self._judged += 1
        if self._phase is _Phase.COMPETE and not sent.app_limited:
            self._cubic.grow(now, packet.sent_bytes, self._round_trips.smoothed)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """Forget packets that nobody waits for any more."""
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            self._sent.pop((packet.epoch.value, packet.packet_number), None)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Take a loss for congestion while competing; on a path that loses by itself, only beside a full queue."""
        last_sent = 0.0
        for packet in packets:
            assert packet.sent_time is not None
            self.bytes_in_flight -= packet.sent_bytes
            last_sent = packet.sent_time
            sent = self._sent.pop((packet.epoch.value, packet.packet_number), None)
            if sent is not None:
                self._calm_lost += sent.calm
                if sent.heard and sent.time >= self._judged_from:
                    self._judged += 1
                    self._judged_lost += 1
        self._judge(now)
        congestion = self._round_trips.full or self.path_loss < _LOSSY
        if self.competing and congestion and last_sent > self._recovery_began:
            self._recovery_began = now
            self._cubic.shrink()
        self._apply(now)

    def on_persistent_congestion(self) -> None:
        """Send next to nothing until something comes back (RFC 9002, 7.6.2); the path itself is not forgotten."""
        self._halted = True
        self.congestion_window = 2 * self._size

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Update the model of the path; aioquic calls this once for an acknowledgement, after its packets."""
        self._halted = False
        self._round_trips.add(now, rtt)
        if self._calm_acked + self._calm_lost > _LOSS_SAMPLE:
            self._calm_acked, self._calm_lost = self._calm_acked // 2, self._calm_lost // 2
        if self._newest is not None:
            began = self._newest.delivered >= self._round_ends
            if began:
                self._round += 1
                self._round_ends = self._delivered
            self._measure_rate(now, self._newest)
            if began and self._phase is _Phase.STARTUP and not self._newest.app_limited:
                self._look_whether_full(now)
            if began:
                self._judge(now)
            if self._drained_at is not None and self._newest.time >= self._drained_at:
                self._drained_least = min(rtt, self._drained_least or rtt)
            self._newest = None
        self._move_on(now)
        self._apply(now)

    def _judge(self, now: float) -> None:
        """Slow down while more gets lost than the path loses by itself: a queue is overrun, though none is seen."""
        bound = self.loss_bound()
        if self._judged < _VERDICT or bound >= 1.0 or not self.measured:
            return
        count, lost = self._judged, self._judged_lost
        self._judged = self._judged_lost = 0
        if lost > count * bound + _DEVIATIONS * math.sqrt(count * bound * (1.0 - bound)) + _CHANCE:
            self._judged_from = now
            if self.competing:
                self._cubic.shrink()
                return
            self._cap = self.sustained * max(1.0 - (lost / count - bound), _MOST_CUT)
            if self._phase is _Phase.STARTUP:
                self._begin(_Phase.DOWN, now)
        elif self._cap is not None:
            self._cap *= _RECOVERY
            if self._cap > self.bandwidth:
                self._cap = None

    def _measure_rate(self, now: float, sent: _Sent) -> None:
        """Delivery rate since `sent` was sent (draft-cheng-iccrg-delivery-rate-estimation-02).

        A burst that is over before the first acknowledgement fills no round trip, and would never tell how fast it may
        go; there the rate is that of the train of packets itself, between its first and its last.
        """
        assert self._train is not None
        first, first_acked, delivered = self._train
        interval = max(sent.time - sent.first_sent_time, now - sent.delivered_time)
        self._first_sent_time = sent.time
        rate = 0.0
        if interval > 0.0 and interval >= self._round_trips.least:  # else acknowledgements came in a heap
            rate = (self._delivered - sent.delivered) / interval
        if sent.app_limited:
            if now - first_acked >= BURST and self._delivered - delivered >= _TRAIN * self._size:
                self.measured = True
                rate = max(rate, (self._delivered - delivered) / max(sent.time - first.time, now - first_acked))
            elif rate < self.bandwidth:
                return
        if rate == 0.0:
            return
        self.measured = self.measured or not sent.app_limited
        while self._rates and self._rates[-1][1] <= rate:
            self._rates.pop()
        self._rates.append((self._round, rate))
        while self._rates[0][0] < self._round - _ROUNDS_OF_BANDWIDTH:
            self._rates.popleft()

    def _look_whether_full(self, now: float) -> None:
        if self.bandwidth >= _FULL_GROWTH * self._full_rate:
            self._full_rate, self._full_rounds = self.bandwidth, 0
            return
        self._full_rounds += 1
        if self._full_rounds >= _FULL_ROUNDS:
            self._begin(_Phase.DOWN, now)

    def _begin(self, phase: _Phase, now: float) -> None:
        self._phase, self._phase_began = phase, now
        self._before = self.bytes_in_flight, self._round_trips.standing
        if phase in (_Phase.DOWN, _Phase.CHECK):
            self._drained_at = self._drained_least = None

    def _move_on(self, now: float) -> None:
        """From phase to phase."""
        lasted = now - self._phase_began
        round_trip = self._round_trips.least
        drained = self.bytes_in_flight <= self._drain_to() + self._size
        if self._phase is _Phase.DOWN:
            if drained or lasted > 3 * self._round_trips.smoothed:
                self._drained_at = now
                self._cruise = random.uniform(*_CRUISE_ROUNDS) * round_trip
                self._begin(_Phase.CRUISE, now)
        elif self._phase is _Phase.CRUISE:
            if lasted > max(self._cruise, 2 * self._round_trips.smoothed):
                if self._drained_least is not None:
                    others = self._queue(self._drained_least)
                    self._others_seen = self._others_seen + 1 if others else 0
                if self._others_seen >= _OTHERS_SEEN:
                    self._compete(now)
                else:
                    self._begin(_Phase.UP, now)
        elif self._phase is _Phase.UP:
            if lasted > round_trip and (
                self.bytes_in_flight >= _UP_GAIN * self._path() or lasted > 2 * self._round_trips.smoothed
            ):
                self._begin(_Phase.DOWN, now)
        elif self._phase is _Phase.COMPETE:
            if lasted > (_CHECK_AGAIN if self._clear else _CHECK_EVERY):
                self._begin(_Phase.CHECK, now)
        elif self._phase is _Phase.CHECK:
            if self._drained_at is None:
                if drained or lasted > 3 * self._round_trips.smoothed:
                    self._drained_at = now
            elif self._drained_least is not None and now - self._drained_at > 1.5 * self._round_trips.smoothed:
                self._clear = 0 if self._queue(self._drained_least, _QUEUE_LEFT) else self._clear + 1
                if not self._clear:
                    self._leave_others_theirs(self._drained_least)
                self._begin(_Phase.COMPETE if self._clear < _CLEAR else _Phase.CRUISE, now)

    def _queue(self, round_trip: float, share: float = QUEUE) -> bool:
        """Whether `round_trip` tells of a queue: of that share of the least one, and of more than two packets."""
        least = self._round_trips.least
        packets = 2 * self._size / max(self.bandwidth, 1.0)
        return round_trip - least > max(share * least, packets, LEAST_QUEUE)

    def _calm(self, now: float) -> bool:
        """Whether packets sent now meet a queue that we don't fill: losing them is the path's doing."""
        if self._phase is _Phase.CRUISE:
            return now < self._phase_began + self._round_trips.least
        return self._phase is _Phase.CHECK and self._drained_at is not None

    def _path(self) -> float:
        """Bytes that fill the path and leave its queue empty."""
        return self._rate() * self._round_trips.least

    def _drain_to(self) -> float:
        """Bytes in flight at which none of ours stand in a queue."""
        return self._path() * (_STALE_GAIN if self._round_trips.stale and not self.competing else 1.0)

    def _rate(self) -> float:
        """What the bottleneck passes on for us: what was delivered, and what the path lost behind it."""
        return self.bandwidth / (1.0 - min(self.path_loss, _MOST_PATH_LOSS))

    def _compete(self, now: float) -> None:
        """Begin as CUBIC does after slow start, from what is in flight."""
        self._others_seen = self._clear = 0
        self._cubic.begin(max(self.bytes_in_flight, self._path()))
        self._begin(_Phase.COMPETE, now)

    def _leave_others_theirs(self, round_trip: float) -> None:
        """Go on with no larger a window than the others', who lose more: their packets are larger, and not paced.

        Between two looks it grows as CUBIC's does, so this bounds the share about, not to the byte.

        `round_trip` is what remained of it when our queue was drained. By how much it fell for the bytes that we took
        out of the queue tells the bottleneck's rate, and so what else is in flight.
        """
        flight, standing = self._before
        if not self._queue(standing - round_trip + self._round_trips.least) or flight <= self.bytes_in_flight:
            return
        rate = (flight - self.bytes_in_flight) / (standing - round_trip)
        others = max(rate * round_trip - self.bytes_in_flight, self._cubic.least)
        if others < self._cubic.window:
            self._cubic.begin(others)

    def _apply(self, now: float) -> None:
        """Set window and pacing rate."""
        if self._halted or self._round_trips.smoothed == 0.0:
            return
        least = _LEAST_WINDOW * self._size
        if self._phase is _Phase.STARTUP:
            least = _INITIAL_WINDOW * self._size
            rate = _STARTUP_GAIN * max(self.bandwidth, least / self._round_trips.smoothed)
            window = _STARTUP_GAIN * self._path()
        elif self._phase is _Phase.COMPETE:
            rate = _PACING_MARGIN * self._cubic.window / self._round_trips.smoothed
            window = self._cubic.window
        else:
            if self._phase is _Phase.UP:
                rate = _UP_GAIN * self._rate()
            elif self._calm(now):
                rate = self.bandwidth
            else:
                rate = self._rate() * (_EASE_GAIN if self._queue(self._round_trips.standing) else 1.0)
            draining = self._phase in (_Phase.DOWN, _Phase.CHECK)
            window = self._drain_to() if draining else _WINDOW_GAIN * self._path() + least
        if self._cap is not None and not self.competing:
            part = self.sustained / max(self.bandwidth, 1.0)
            rate, window = rate * part, window * part
        self.congestion_window = max(int(window), least)
        self.pacing_rate = max(rate, 2 * self._size / self._round_trips.smoothed)


def pace(recovery: QuicPacketRecovery, max_datagram_size: int) -> Controller | None:
    """Give a connection a pacer that follows its controller, and return that; None where it has another controller.

    aioquic has no public way to a connection's `recovery`, nor from a controller to the pacing rate: its own pacer
    divides the window by the round trip.
    """
    controller = recovery._cc
    if not isinstance(controller, Controller):
        return None
    controller.pacer = Pacer(controller, max_datagram_size)
    recovery._pacer = controller.pacer
    return controller


register_congestion_control(NAME, Controller)
