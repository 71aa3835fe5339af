"""What an application did for whom its doors let in, counted in Triton's words.

Requests count as `success` or `fail`, from when they came to the end; who went away before counts as neither. Pictures
count in the rest, once their request has succeeded: `compute_input` is reading one, `queue` its time until the fabric
began with it, `compute_infer` from there to its answer, on the data centre's way, too. Executions are runs of the
fabric, whoever else's pictures were in them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgesight.host.doors.served import Duration, ModelStatistics
from edgesight.host.edge import Look


@dataclass(frozen=True)
class Times:
    """When a picture came to where, of the loop's clock."""

    came: float
    read: float
    looked_at: float
    answered: float


class Counts:
    """Of one application, since it was started."""

    def __init__(self) -> None:
        """All at zero."""
        self._last_ms = 0
        self._pictures = 0
        self._executions = 0
        self._last: Look | None = None
        self._success = self._fail = self._queue = Duration()
        self._input = self._infer = self._output = Duration()
        self._batches: dict[int, Duration] = {}

    def look(self, look: Look) -> None:
        """A picture was in a run of the fabric; those of one run are told of one after the other."""
        if look is not self._last:
            self._last = look
            self._executions += 1
            self._batches[look.pictures] = self._batches.get(look.pictures, Duration()).more(look.ended - look.began)

    def succeeded(self, seconds: float, pictures: Sequence[Times], output_seconds: float) -> None:
        """A request was answered after so long, of which writing the answer down took `output_seconds`."""
        self._last_ms = time.time_ns() // 1_000_000
        self._success = self._success.more(seconds)
        self._output = self._output.more(output_seconds)
        self._pictures += len(pictures)
        for one in pictures:
            self._input = self._input.more(one.read - one.came)
            self._queue = self._queue.more(one.looked_at - one.read)
            self._infer = self._infer.more(one.answered - one.looked_at)

    def failed(self, seconds: float) -> None:
        """A request got no answer, which it was told after so long."""
        self._last_ms = time.time_ns() // 1_000_000
        self._fail = self._fail.more(seconds)

    def seconds_for(self, pictures: int) -> float | None:
        """How long the fabric takes for so many pictures, by what it took so far; None: it had none yet."""
        seen = sum(size * one.count for size, one in self._batches.items())
        return pictures * sum(one.ns for one in self._batches.values()) / 1e9 / seen if seen else None

    def told(self, name: str, version: str) -> ModelStatistics:
        """All of it."""
        return ModelStatistics(
            name=name,
            version=version,
            last_inference_ms=self._last_ms,
            inference_count=self._pictures,
            execution_count=self._executions,
            success=self._success,
            fail=self._fail,
            queue=self._queue,
            compute_input=self._input,
            compute_infer=self._infer,
            compute_output=self._output,
            batches=dict(self._batches),
        )
