"""What Prometheus knows, held against a run's own log: each counter and histogram, exactly or between two bounds.

Words owned here: range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesight.bench.watch.scraping import Series
from edgesight.host.measures import Spread

_PARTS = ("_count", "_sum", "_bucket")  # series of a histogram
_ROUNDING = 1e-9  # relative, of sums of floats in another order


@dataclass(frozen=True)
class Range:
    """What a value may be: at least `low`, at most `high`."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """It may be one value alone."""
        return self.low == self.high

    def holds(self, value: float) -> bool:
        """Whether it is within, but for rounding."""
        slack = _ROUNDING * max(abs(self.low), abs(self.high), 1.0) if math.isfinite(self.high) else _ROUNDING
        return self.low - slack <= value <= self.high + slack


def exactly(value: float) -> Range:
    """That value alone."""
    return Range(value, value)


@dataclass
class Expected:
    """What series are to be, by the log, and sums of them that are known better than they themselves."""

    series: dict[Series, Range] = field(default_factory=dict)
    sums: dict[str, tuple[Mapping[Series, float], Range]] = field(default_factory=dict)

    def add(self, name: str, value: float | Range, **labels: str) -> None:
        """One series, its name without `edgesight_`."""
        self.series[series(name, **labels)] = value if isinstance(value, Range) else exactly(value)

    def spread(self, name: str, values: Iterable[float], **labels: str) -> None:
        """A histogram of these seconds, all of it."""
        told = Spread()
        for value in values:
            told.add(value)
        total = 0
        for bound, count in zip([*map(repr, told.bounds), "+Inf"], told.counts, strict=True):
            total += count
            self.add(f"{name}_bucket", total, le=bound, **labels)
        self.add(f"{name}_count", total, **labels)
        self.add(f"{name}_sum", told.sum, **labels)

    def sum(self, told: str, parts: Mapping[Series, float], value: float | Range) -> None:
        """Of series, each so many times."""
        self.sums[told] = parts, value if isinstance(value, Range) else exactly(value)


def series(name: str, **labels: str) -> Series:
    """A series by its name without `edgesight_`."""
    return f"edgesight_{name}", frozenset(labels.items())


@dataclass
class Comparison:
    """How many series agree, and which do not.

    Attributes:
        exact: names of metrics all of whose series were held exactly.
        within: names of those of which some could be held between bounds alone.
        series: how many were held against something.
        wrong: what was found and what was expected, where it does not agree or nothing is known to hold it against.
    """

    exact: list[str]
    within: list[str]
    series: int
    wrong: list[dict[str, Any]]


def compare(found: Mapping[Series, float], kinds: Mapping[str, str], expected: Expected) -> Comparison:
    """All counters and histograms that were `found`, and whatever else is expected."""
    counted = {name for name, kind in kinds.items() if kind == "counter"}
    spread = {name + part: name for name, kind in kinds.items() if kind == "histogram" for part in _PARTS}
    wrong: list[dict[str, Any]] = []
    held = 0
    names: dict[str, bool] = {}  # of metrics, and whether all of it is exact
    for one, value in found.items():
        name, labels = one
        metric = name if name in counted else spread.get(name)
        known = expected.series.get(one)
        if known is None and name.endswith("_bucket") and metric is not None:
            rest = frozenset(label for label in labels if label[0] != "le")
            known = Range(0.0, found.get((f"{metric}_count", rest), 0.0))
        if known is None:
            if metric is not None:
                wrong.append(_told(one, value, None))
            continue
        held += 1
        if not known.holds(value):
            wrong.append(_told(one, value, known))
        if metric is not None and not name.endswith("_bucket"):
            names[metric] = names.get(metric, True) and known.exact
    wrong += [_told(one, None, known) for one, known in expected.series.items() if one not in found and known.low > 0]
    for told, (parts, known) in expected.sums.items():
        value = math.fsum(times * found.get(one, 0.0) for one, times in parts.items())
        if not known.holds(value):
            wrong.append({"series": told, "found": value, "expected": [known.low, known.high]})
    exact = sorted(name for name, all_exact in names.items() if all_exact)
    return Comparison(exact, sorted(set(names) - set(exact)), held, wrong)


def _told(one: Series, value: float | None, known: Range | None) -> dict[str, Any]:
    name, labels = one
    said = f"{name}{{{', '.join(f'{key}={value}' for key, value in sorted(labels))}}}"
    return {"series": said, "found": value, "expected": [known.low, known.high] if known is not None else "unknown"}
