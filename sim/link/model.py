"""What a link does to a packet, as plain arithmetic: a packet of some size comes at some time, and is delivered at
another or not at all. It holds no clock and no socket, so that the same link lies under real packets (`namespaces`,
`relay`) and under tests that need no waiting.

A packet meets, in this order: the drop-tail queue; the bottleneck, which sends at its rate; loss, behind the
bottleneck, so that a lost packet has used its share of the rate; delay and jitter; reordering.

Words owned here: *direction* (up: edge to data centre; down: back), *opportunity* (a moment of a Mahimahi trace).
"""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Generic, TypeVar

from edgesight.sim.link.options import (
    OPPORTUNITY_BYTES,
    ConstantRate,
    EmulationError,
    GilbertElliott,
    LinkOptions,
    MahimahiTrace,
    Packets,
    Rate,
    RateTrace,
)

_LEAST_TIME = 1e-5  # seconds; shorter times are reported as this
_STEPS_PER_E = 1 / math.log(1.02)

T = TypeVar("T")


class Times:
    """A histogram of times in steps of 2 %, of a few hundred counts however long a link runs."""

    def __init__(self) -> None:
        """No times yet."""
        self._steps: Counter[int] = Counter()
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        self._steps[int(math.log(seconds / _LEAST_TIME) * _STEPS_PER_E) if seconds > _LEAST_TIME else 0] += 1
        if seconds > self._longest:
            self._longest = seconds

    def percentiles_ms(self) -> dict[str, float] | None:
        """Times that 50, 90 and 99 % do not exceed, up to 2 % too long, and the longest; None where there are none."""
        if not self._steps:
            return None
        steps = sorted(self._steps)
        up_to = list(accumulate(self._steps[step] for step in steps))
        found = {f"p{percent}": steps[bisect.bisect_left(up_to, up_to[-1] * percent / 100)] for percent in (50, 90, 99)}
        ends = {name: _LEAST_TIME * math.exp((step + 1) / _STEPS_PER_E) for name, step in found.items()}
        return {name: round(end * 1e3, 3) for name, end in {**ends, "max": self._longest}.items()}


@dataclass
class Counts:
    """What became of the packets of one direction."""

    offered: int = 0
    offered_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0  # by chance, or in an outage
    overflowed: int = 0  # dropped at the full queue's tail
    reordered: int = 0  # held back so that others could overtake

    @property
    def under_way(self) -> int:
        """Packets that are still in the queue or on the way."""
        return self.offered - self.delivered - self.lost - self.overflowed


class Direction:
    """One direction at work. Times are seconds since its link began, and never go back."""

    def __init__(self, options: LinkOptions, seed: str, round_trip_s: float) -> None:
        """`seed` decides all chance; `round_trip_s`, both directions' delays, what a bandwidth-delay product is.

        Raises EmulationError where the queue is given in bandwidth-delay products and there is none.
        """
        self.options = options
        self.counts = Counts()
        self.queue_delays = Times()
        self._bottleneck = _bottleneck(options.rate)
        self._lose = _chance_of_loss(options.loss, random.Random(f"{seed} loss"))
        self._seed = seed
        self._jitter = random.Random(f"{seed} jitter")
        self._reorder = random.Random(f"{seed} reorder")
        self._most_packets, self._most_bytes = _bounds(options, round_trip_s)
        self._queue: deque[tuple[float, int]] = deque()  # departure and size
        self._queued_bytes = 0
        self._last_in_order = 0.0

    def offer(self, now: float, size: int) -> float | None:
        """Take a packet of `size` bytes that comes at `now`; the time to deliver it, or None where it never is."""
        counts, queue, options = self.counts, self._queue, self.options
        counts.offered += 1
        counts.offered_bytes += size
        left = now
        if self._bottleneck is not None:
            while queue and queue[0][0] <= now:
                self._queued_bytes -= queue.popleft()[1]
            if queue and (len(queue) >= self._most_packets or self._queued_bytes + size > self._most_bytes):
                counts.overflowed += 1
                return None
            begin, left = self._bottleneck.send(now, size)
            queue.append((left, size))
            self._queued_bytes += size
            self.queue_delays.add(begin - now)
        if self._lose() or (options.outages and any(begin <= left < end for begin, end in options.outages)):
            counts.lost += 1
            return None
        there = left + options.delay_s
        if options.jitter_s:
            there += self._jitter.uniform(-options.jitter_s, options.jitter_s)
        there = self._last_in_order = max(there, self._last_in_order)
        if options.reorder and self._reorder.random() < options.reorder:
            counts.reordered += 1
            there += options.reorder_s
        return there

    def delivered(self, size: int) -> None:
        """Count a packet of `size` bytes that was handed over."""
        self.counts.delivered += 1
        self.counts.delivered_bytes += size

    def set_loss(self, loss: float | GilbertElliott) -> None:
        """Lose by `loss` from now on."""
        self.options = replace(self.options, loss=loss)
        self._lose = _chance_of_loss(loss, random.Random(f"{self._seed} loss from {self.counts.offered}"))

    def report(self) -> dict[str, Any]:
        """What the direction was told to do and what it did: plain JSON."""
        return {
            "options": self.options.describe(),
            **asdict(self.counts),
            "under_way": self.counts.under_way,
            "queue_delay_ms": self.queue_delays.percentiles_ms(),
        }


def directions(up: LinkOptions, down: LinkOptions, seed: int | str) -> tuple[Direction, Direction]:
    """Both directions of one link, each with chance of its own."""
    round_trip_s = up.delay_s + down.delay_s
    return Direction(up, f"{seed} up", round_trip_s), Direction(down, f"{seed} down", round_trip_s)


class Schedule(Generic[T]):
    """Packets under way, in the order of their delivery; those of the same time in the order they came."""

    def __init__(self) -> None:
        """Nothing under way."""
        self._heap: list[tuple[float, int, T]] = []
        self._number = 0

    def add(self, time: float, packet: T) -> None:
        """Deliver `packet` at `time`."""
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, packet))

    @property
    def next_time(self) -> float:
        """When the next packet is due; infinity where none is under way."""
        return self._heap[0][0] if self._heap else math.inf

    def pop(self) -> tuple[float, T]:
        """The next packet and the time it is due."""
        time, _, packet = heapq.heappop(self._heap)
        return time, packet


class _Constant:
    def __init__(self, rate: ConstantRate) -> None:
        self._bytes_per_s = rate.bit_per_s / 8
        self._free_at = 0.0

    def send(self, now: float, size: int) -> tuple[float, float]:
        """When a packet's sending begins and ends."""
        begin = max(now, self._free_at)
        self._free_at = begin + size / self._bytes_per_s
        return begin, self._free_at


class _Opportunities:
    def __init__(self, trace: MahimahiTrace) -> None:
        self._moments = [moment * 1e-3 for moment in trace.milliseconds]
        self._period = self._moments[-1]
        self._round, self._index = 0, -1  # the opportunity in use
        self._at, self._left = -math.inf, 0

    def send(self, now: float, size: int) -> tuple[float, float]:
        """Sending takes no time here: the packet's last opportunity is where its wait ends."""
        if self._at < now:
            self._round = int(now / self._period)
            self._index = bisect.bisect_left(self._moments, now - self._round * self._period) - 1
            self._left = 0
        while size > self._left:
            size -= self._left
            self._index += 1
            if self._index == len(self._moments):
                self._round, self._index = self._round + 1, 0
            self._at = self._round * self._period + self._moments[self._index]
            self._left = OPPORTUNITY_BYTES
        self._left -= size
        self._at = max(self._at, now)  # rounding alone can put it before
        return self._at, self._at


class _Varying:
    def __init__(self, trace: RateTrace) -> None:
        self._bytes_per_s = [rate * 1e6 / 8 for rate in trace.mbit_per_s]
        self._free_at = 0.0

    def send(self, now: float, size: int) -> tuple[float, float]:
        """When a packet's sending begins and ends, the rate moving under it."""
        begin = time = max(now, self._free_at)
        left = float(size)
        while True:
            second = math.floor(time)
            rate = self._bytes_per_s[second % len(self._bytes_per_s)]
            fits = rate * (second + 1 - time)
            if left <= fits:
                self._free_at = time + left / rate
                return begin, self._free_at
            left -= fits
            time = float(second + 1)


def _bottleneck(rate: Rate | None) -> _Constant | _Opportunities | _Varying | None:
    if rate is None:
        return None
    if isinstance(rate, ConstantRate):
        return _Constant(rate)
    return _Opportunities(rate) if isinstance(rate, MahimahiTrace) else _Varying(rate)


def _bounds(options: LinkOptions, round_trip_s: float) -> tuple[float, float]:
    """The most packets and the most bytes that queue."""
    if isinstance(options.queue, Packets):
        return options.queue.count, math.inf
    if options.rate is None or round_trip_s <= 0.0:
        raise EmulationError(
            f"queue of {options.queue.count:g} bandwidth-delay products: needs a rate and a delay; give packets instead"
        )
    return math.inf, options.queue.count * options.rate.mean_bit_per_s / 8 * round_trip_s


def _chance_of_loss(loss: float | GilbertElliott, generator: random.Random) -> Callable[[], bool]:
    """Whether the next packet is lost."""
    draw = generator.random
    if not isinstance(loss, GilbertElliott):
        return lambda: draw() < loss
    chain, bad = loss, False

    def step() -> bool:
        nonlocal bad
        bad = draw() >= chain.to_good if bad else draw() < chain.to_bad
        return draw() < (chain.loss_bad if bad else chain.loss_good)

    return step
