"""What a hosted model has done, counted in Triton's words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgesight.host.datacenter.batching import Done
from edgesight.host.doors.served import Duration, ModelStatistics

_BATCH_SIZES = 1_024  # of which each is counted


@dataclass
class _Sum:
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        self.count += count
        self.seconds += seconds

    def told(self) -> Duration:
        return Duration(self.count, round(self.seconds * 1e9))


@dataclass
class Counts:
    """Since a version was loaded."""

    last_ms: int = 0
    rows: int = 0
    batches: float = 0.0
    success: _Sum = field(default_factory=_Sum)
    fail: _Sum = field(default_factory=_Sum)
    queue: _Sum = field(default_factory=_Sum)
    compute: Sequence[_Sum] = field(default_factory=lambda: (_Sum(), _Sum(), _Sum()))
    of_size: dict[int, _Sum] = field(default_factory=dict)
    _parts: dict[int, float] = field(default_factory=dict)  # of a batch of a size, that its requests make up so far

    def succeeded(self, done: Done, rows: int, seconds: float) -> None:
        """A request of so many rows was answered `seconds` after it came."""
        self.last_ms = round(time.time() * 1e3)
        self.rows += rows
        self.success.add(seconds)
        self.queue.add(done.queue)
        for one, took in zip(self.compute, done.compute, strict=True):
            one.add(took)
        # Each request of a batch brings its part of it, so that a batch counts once.
        part = rows / done.batch
        self.batches += part
        if done.batch in self.of_size or len(self.of_size) < _BATCH_SIZES:
            self._parts[done.batch] = self._parts.get(done.batch, 0.0) + part
            one = self.of_size.setdefault(done.batch, _Sum())
            one.seconds += done.compute[1] * part
            one.count = round(self._parts[done.batch])

    def failed(self, seconds: float) -> None:
        """A request got no answer."""
        self.fail.add(seconds)

    def told(self, name: str, version: str) -> ModelStatistics:
        """In the protocol's form."""
        taking, running, giving = (one.told() for one in self.compute)
        return ModelStatistics(
            name,
            version,
            self.last_ms,
            self.rows,
            round(self.batches),
            self.success.told(),
            self.fail.told(),
            self.queue.told(),
            taking,
            running,
            giving,
            {size: one.told() for size, one in sorted(self.of_size.items())},
        )
