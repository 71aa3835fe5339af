"""What a link does to a packet, as plain arithmetic: a packet of some size comes at some time, and is delivered at
another or not at all. It holds no clock and no socket, so that the same link lies under real packets (`namespaces`,
`relay`) and under tests that need no waiting.

A packet meets, in this order: the drop-tail queue; the bottleneck, which sends at its rate; loss, behind the
bottleneck, so that a lost packet has used its share of the rate; delay and jitter; reordering.

Words owned here: *direction* (up: edge to data centre; down: back), *rate*, *queue* (packets that wait or are being
sent), *loss*, *burst* (consecutive losses), *delay* (what every packet takes), *jitter* (what it varies by),
*reordering*, *bandwidth-delay product* (mean rate times the delays of both directions).
"""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

OPPORTUNITY_BYTES = 1_500  # what one line of a Mahimahi trace lets through
_HISTOGRAM_STEP = 1e-4  # seconds: the resolution of reported times
_PERCENTILES = (50, 90, 99, 100)

T = TypeVar("T")


class EmulationError(RuntimeError):
    """A link that cannot be emulated: says which option or which part of the machine is at fault, and what to do."""


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise EmulationError(f"link option {name} {value}: expected {expected}")


@dataclass(frozen=True)
class ConstantRate:
    """The same rate all the time."""

    bit_per_s: float

    def __post_init__(self) -> None:
        """Refuse what sends nothing."""
        _require(0.0 < self.bit_per_s < math.inf, "rate", self.bit_per_s, "bits a second above 0")

    @property
    def mean_bit_per_s(self) -> float:
        """Bits a second over a long time."""
        return self.bit_per_s


@dataclass(frozen=True)
class MahimahiTrace:
    """Moments at which 1,500 bytes may leave, in milliseconds; after the last one it begins anew.

    As in Mahimahi, small packets share such an opportunity, a large one takes several, and what is left of one when the
    queue runs empty is lost.
    """

    milliseconds: tuple[int, ...] = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse a trace that is no ascending row of moments."""
        rising = all(first <= second for first, second in zip(self.milliseconds, self.milliseconds[1:], strict=False))
        if not self.milliseconds or not rising or self.milliseconds[0] < 0 or self.milliseconds[-1] == 0:
            raise EmulationError(
                f"Mahimahi trace {self.name}: expected whole milliseconds, one a line, none below the one before it, "
                "the last above 0"
            )

    @classmethod
    def read(cls, path: Path) -> MahimahiTrace:
        """The trace in a file of one number a line."""
        return cls(tuple(_numbers(path, int, "whole milliseconds")), str(path))

    @property
    def mean_bit_per_s(self) -> float:
        """Bits a second over one round of the trace."""
        return len(self.milliseconds) * OPPORTUNITY_BYTES * 8 / (self.milliseconds[-1] * 1e-3)


@dataclass(frozen=True)
class RateTrace:
    """A rate for each second, in Mbit/s; after the last second it begins anew."""

    mbit_per_s: tuple[float, ...] = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse a trace that never sends, or that would send less than nothing."""
        if not all(0.0 <= rate < math.inf for rate in self.mbit_per_s) or not any(self.mbit_per_s):
            raise EmulationError(f"rate trace {self.name}: expected Mbit/s, one a line, none below 0, one above 0")

    @classmethod
    def read(cls, path: Path) -> RateTrace:
        """The trace in a file of one number a line."""
        return cls(tuple(_numbers(path, float, "Mbit/s")), str(path))

    @property
    def mean_bit_per_s(self) -> float:
        """Bits a second over one round of the trace."""
        return sum(self.mbit_per_s) / len(self.mbit_per_s) * 1e6


Rate = ConstantRate | MahimahiTrace | RateTrace


@dataclass(frozen=True)
class GilbertElliott:
    """Loss by a chain of two states that steps once a packet: Gilbert 1960, Elliott 1963.

    It begins in the good state; `to_bad` and `to_good` are the probabilities to leave one state for the other.
    """

    to_bad: float
    to_good: float
    loss_bad: float = 1.0
    loss_good: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name, value in asdict(self).items():
            _require(0.0 <= value <= 1.0, name, value, "a probability, 0 to 1")
        _require(self.to_bad + self.to_good > 0.0, "to_bad + to_good", 0, "a chain that can leave one of its states")

    @classmethod
    def of(cls, loss: float, burst: float) -> GilbertElliott:
        """The chain that loses a share `loss` of packets in runs of `burst` packets on average, and all in a run."""
        _require(0.0 <= loss < 1.0, "loss", loss, "a share of bursty losses, 0 to less than 1")
        _require(burst >= 1.0, "burst", burst, "packets, at least 1")
        to_good = 1.0 / burst
        to_bad = to_good * loss / (1.0 - loss)
        _require(to_bad <= 1.0, "burst", burst, f"at least {loss / (1.0 - loss):g} packets, for a loss of {loss:g}")
        return cls(to_bad, to_good)

    @property
    def mean(self) -> float:
        """The share of packets that is lost over a long time."""
        bad = self.to_bad / (self.to_bad + self.to_good)
        return bad * self.loss_bad + (1.0 - bad) * self.loss_good


@dataclass(frozen=True)
class Packets:
    """A queue of so many packets, the one being sent included."""

    count: int

    def __post_init__(self) -> None:
        """Refuse a queue that takes nothing."""
        _require(self.count >= 1, "queue", self.count, "packets, at least 1")


@dataclass(frozen=True)
class BandwidthDelayProducts:
    """A queue of so many bandwidth-delay products, in bytes; it takes one packet at least."""

    count: float

    def __post_init__(self) -> None:
        """Refuse a queue that takes nothing."""
        _require(0.0 < self.count < math.inf, "queue", self.count, "bandwidth-delay products, above 0")


Queue = Packets | BandwidthDelayProducts


@dataclass(frozen=True)
class LinkOptions:
    """One direction of a link.

    `rate`: what its bottleneck sends; None: all at once, and nothing ever queues.
    `delay_s`, `jitter_s`: a packet takes uniformly `delay_s` plus or minus `jitter_s` seconds behind the bottleneck,
    but none overtakes another by jitter alone, so that jitter beyond the packets' spacing adds to the mean delay.
    `loss`: a probability, independent for each packet, or a `GilbertElliott`.
    `reorder`: share of packets that are held back by `reorder_s` seconds more, and overtaken by those behind them.
    `queue`: what the bottleneck holds before it drops what comes.
    """

    rate: Rate | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float | GilbertElliott = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.01
    queue: Queue = Packets(1_000)

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        _require(0.0 <= self.delay_s < math.inf, "delay_s", self.delay_s, "seconds, at least 0")
        _require(0.0 <= self.jitter_s <= self.delay_s, "jitter_s", self.jitter_s, "seconds, 0 to delay_s")
        _require_loss(self.loss)
        _require(0.0 <= self.reorder <= 1.0, "reorder", self.reorder, "a probability, 0 to 1")
        _require(0.0 < self.reorder_s < math.inf, "reorder_s", self.reorder_s, "seconds above 0")

    @classmethod
    def parse(cls, text: str) -> LinkOptions:
        """Options as a person writes them: `rate=20,delay-ms=20,loss=0.05,burst=4,queue=1bdp`.

        `rate` is Mbit/s, `mahimahi:FILE` or `mbit:FILE`; `burst` is the mean length of a loss in packets; `queue` is
        packets, or bandwidth-delay products with `bdp` behind the number. Also `jitter-ms`, `reorder`, `reorder-ms`.
        Raises EmulationError, naming what it does not understand.
        """
        given: dict[str, str] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            key, equals, value = entry.partition("=")
            if not equals or key not in _KEYS or key in given:
                raise EmulationError(
                    f"link option {entry!r}: expected each of {', '.join(_KEYS)} at most once, as KEY=N"
                )
            given[key] = value
        options: dict[str, Any] = {}
        if "rate" in given:
            options["rate"] = _parse_rate(given["rate"])
        for key, name in (("delay-ms", "delay_s"), ("jitter-ms", "jitter_s"), ("reorder-ms", "reorder_s")):
            if key in given:
                options[name] = _parse_number(key, given[key]) * 1e-3
        if "reorder" in given:
            options["reorder"] = _parse_number("reorder", given["reorder"])
        loss = _parse_number("loss", given.get("loss", "0"))
        options["loss"] = GilbertElliott.of(loss, _parse_number("burst", given["burst"])) if "burst" in given else loss
        if "queue" in given:
            options["queue"] = _parse_queue(given["queue"])
        return cls(**options)

    def describe(self) -> dict[str, Any]:
        """The options for a report: plain JSON; traces by name and mean rate."""
        rate: dict[str, Any] | None = None
        if self.rate is not None:
            rate = {"kind": type(self.rate).__name__, "mean_mbit_per_s": self.rate.mean_bit_per_s / 1e6}
            if not isinstance(self.rate, ConstantRate):
                rate["trace"] = self.rate.name
        return {
            "rate": rate,
            "delay_ms": self.delay_s * 1e3,
            "jitter_ms": self.jitter_s * 1e3,
            "loss": asdict(self.loss) if isinstance(self.loss, GilbertElliott) else self.loss,
            "reorder": self.reorder,
            "reorder_ms": self.reorder_s * 1e3,
            "queue": {type(self.queue).__name__: self.queue.count},
        }


_KEYS = ("rate", "delay-ms", "jitter-ms", "loss", "burst", "reorder", "reorder-ms", "queue")


class Times:
    """A histogram of times in steps of 0.1 ms, of bounded size however long a link runs."""

    def __init__(self) -> None:
        """No times yet."""
        self._steps: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one time, at least 0."""
        self._steps[int(seconds / _HISTOGRAM_STEP)] += 1

    def percentiles_ms(self) -> dict[str, float] | None:
        """The least times that 50, 90, 99 and 100 % do not exceed, rounded up to 0.1 ms; None where there are none."""
        if not self._steps:
            return None
        steps = sorted(self._steps)
        up_to = list(accumulate(self._steps[step] for step in steps))
        found = (steps[bisect.bisect_left(up_to, up_to[-1] * percent / 100)] for percent in _PERCENTILES)
        return {
            f"p{percent}" if percent < 100 else "max": round((step + 1) * _HISTOGRAM_STEP * 1e3, 1)
            for percent, step in zip(_PERCENTILES, found, strict=True)
        }


@dataclass
class Counts:
    """What became of the packets of one direction."""

    offered: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0  # by chance
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
        if self._lose():
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
        _require_loss(loss)
        self._lose = _chance_of_loss(loss, random.Random(f"{self._seed} loss from {self.counts.offered}"))

    def report(self) -> dict[str, Any]:
        """What the direction was told to do and what it did: plain JSON."""
        return {
            "options": self.options.describe(),
            **asdict(self.counts),
            "under_way": self.counts.under_way,
            "queue_delay_ms": self.queue_delays.percentiles_ms(),
        }


def directions(up: LinkOptions, down: LinkOptions, seed: int) -> tuple[Direction, Direction]:
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


def _require_loss(loss: float | GilbertElliott) -> None:
    if not isinstance(loss, GilbertElliott):
        _require(0.0 <= loss <= 1.0, "loss", loss, "a probability, 0 to 1")


def _numbers(path: Path, kind: Callable[[str], T], what: str) -> list[T]:
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EmulationError(f"trace {path}: cannot be read: {error}") from None
    numbers = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                numbers.append(kind(line))
            except ValueError:
                raise EmulationError(f"trace {path}, line {number}: {line.strip()!r} is not {what}") from None
    return numbers


def _parse_number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise EmulationError(f"link option {key}={text}: expected a number") from None


def _parse_rate(text: str) -> Rate:
    kind, colon, file = text.partition(":")
    if not colon:
        return ConstantRate(_parse_number("rate", text) * 1e6)
    if kind == "mahimahi":
        return MahimahiTrace.read(Path(file))
    if kind == "mbit":
        return RateTrace.read(Path(file))
    raise EmulationError(f"link option rate={text}: expected Mbit/s, mahimahi:FILE or mbit:FILE")


def _parse_queue(text: str) -> Queue:
    if text.endswith("bdp"):
        return BandwidthDelayProducts(_parse_number("queue", text.removesuffix("bdp")))
    if not text.isdigit():
        raise EmulationError(f"link option queue={text}: expected packets, or bandwidth-delay products such as 1bdp")
    return Packets(int(text))
