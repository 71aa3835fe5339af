"""What a hosted model has done, counted in Triton's words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgesight.host.datacenter.batching import Done
from edgesight.host.doors.served import Duration, ModelStatistics

_NONE = Duration()
_BATCH_SIZES = 1_024  # of which each is counted


@dataclass
class Counts:
    """Since a version was loaded."""

    last_ms: int = 0
    rows: int = 0
    batches: float = 0.0
    success: Duration = _NONE
    fail: Duration = _NONE
    queue: Duration = _NONE
    compute: Sequence[Duration] = (_NONE, _NONE, _NONE)
    # Of batches of a size: how many its requests make up so far, and seconds.
    of_size: dict[int, tuple[float, float]] = field(default_factory=dict)

    def succeeded(self, done: Done, rows: int, seconds: float) -> None:
        """A request of so many rows was answered `seconds` after it came."""
        self.last_ms = round(time.time() * 1e3)
        self.rows += rows
        self.success, self.queue = self.success.more(seconds), self.queue.more(done.queue)
        self.compute = [one.more(took) for one, took in zip(self.compute, done.compute, strict=True)]
        # Each request of a batch brings its part of it, so that a batch counts once.
        part = rows / done.batch
        self.batches += part
        if done.batch in self.of_size or len(self.of_size) < _BATCH_SIZES:
            parts, took = self.of_size.get(done.batch, (0.0, 0.0))
            self.of_size[done.batch] = parts + part, took + done.compute[1] * part

    def failed(self, seconds: float) -> None:
        """A request got no answer."""
        self.fail = self.fail.more(seconds)

    def told(self, name: str, version: str) -> ModelStatistics:
        """In the protocol's form."""
        taking, running, giving = self.compute
        return ModelStatistics(
            name,
            version,
            self.last_ms,
            self.rows,
            round(self.batches),
            self.success,
            self.fail,
            self.queue,
            taking,
            running,
            giving,
            {size: Duration(round(parts), round(took * 1e9)) for size, (parts, took) in sorted(self.of_size.items())},
        )
