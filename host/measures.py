"""What a program counts of itself, as plain data: `edgesight.host.doors.metrics` tells it to Prometheus.

Words owned here: measure, spread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]  # their values, in the order of the measure's `labels`

SECONDS: Final = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
)
"""Upper bounds by which times are spread."""


class Spread:
    """How often values came that are at most each bound, and their sum."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """None has come; the `bounds` rise."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last: beyond all bounds
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Another one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(frozen=True)
class Measure:
    """Something that is counted or looked at.

    Attributes:
        name: with its unit at the end, as Prometheus has it, without `edgesight_` before it and `_total` behind it.
        told: what it is, in a line.
        kind: a counter rises, a gauge is as it is now, a histogram is spread.
        labels: names of what its values are told apart by.
        values: by the labels' values.
    """

    name: str
    told: str
    kind: Kind
    labels: Sequence[str] = ()
    values: Mapping[Labels, float | Spread] = field(default_factory=dict)


@runtime_checkable
class Measured(Protocol):
    """Something that counts what it does."""

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself."""


def plain(name: str, told: str, count: int) -> Measure:
    """A counter whose values are not told apart."""
    return Measure(name, told, "counter", (), {(): count})


def gauge(name: str, told: str, value: float | None) -> Measure:
    """A gauge whose values are not told apart; absent where there is no `value`."""
    return Measure(name, told, "gauge", (), {(): value} if value is not None else {})
