"""What one direction of a link is: rate, queue, loss, delay, as plain values that refuse what no link can be.

Words owned here: *rate*, *queue* (packets that wait or are being sent), *loss*, *burst* (consecutive losses), *delay*
(what every packet takes), *jitter* (what it varies by), *reordering*, *bandwidth-delay product* (mean rate times the
delays of both directions).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgesight.host.errors import EdgeSightError
from edgesight.host.trace import OPPORTUNITY_BYTES as OPPORTUNITY_BYTES
from edgesight.host.trace import Form, Trace, TraceError, read_as, unsound_moments, unsound_rates

_MOST_DIGITS = 12  # of a whole number


class EmulationError(EdgeSightError):
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
        reason = unsound_moments(self.milliseconds)
        if reason is not None:
            raise EmulationError(f"Mahimahi trace {self.name}: {reason}")

    @classmethod
    def read(cls, path: Path) -> MahimahiTrace:
        """The trace in a file of one number a line."""
        return cls(_read(path, "mahimahi").moments_ms, str(path))

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
        """Refuse a trace that hardly ever sends, or that would send less than nothing."""
        reason = unsound_rates(self.mbit_per_s)
        if reason is not None:
            raise EmulationError(f"rate trace {self.name}: {reason}")

    @classmethod
    def read(cls, path: Path) -> RateTrace:
        """The trace in a file of one number a line."""
        return cls(_read(path, "mbit").mbps, str(path))

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
    `outages`: begin and end of spans, rising, in seconds since the link began, in which whatever leaves the bottleneck
    is lost.
    """

    rate: Rate | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float | GilbertElliott = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.01
    queue: Queue = Packets(1_000)
    outages: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        _require(0.0 <= self.delay_s < math.inf, "delay_s", self.delay_s, "seconds, at least 0")
        _require(0.0 <= self.jitter_s <= self.delay_s, "jitter_s", self.jitter_s, "seconds, 0 to delay_s")
        if not isinstance(self.loss, GilbertElliott):
            _require(0.0 <= self.loss <= 1.0, "loss", self.loss, "a probability, 0 to 1")
        _require(0.0 <= self.reorder <= 1.0, "reorder", self.reorder, "a probability, 0 to 1")
        _require(0.0 < self.reorder_s < math.inf, "reorder_s", self.reorder_s, "seconds above 0")
        moments = [moment for outage in self.outages for moment in outage]
        rising = all(one < other for one, other in itertools.pairwise([-1.0, *moments, math.inf]))
        _require(rising and min(moments, default=0.0) >= 0.0, "outages", self.outages, "seconds from 0 on that rise")

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
            "outages_s": [list(outage) for outage in self.outages],
        }


_KEYS = ("rate", "delay-ms", "jitter-ms", "loss", "burst", "reorder", "reorder-ms", "queue")


def _read(path: Path, form: Form) -> Trace:
    try:
        return read_as(path, form)
    except TraceError as error:
        raise EmulationError(str(error)) from None


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
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise EmulationError(f"link option queue={text}: expected packets, or bandwidth-delay products such as 1bdp")
    return Packets(int(text))
