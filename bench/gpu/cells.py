"""One cell: how many requests a model answers a second, and how long each takes while it gets four fifths of that.

Each request is one picture, asked of the data centre as a door asks it: its scheduler makes the batches, its worker
runs them. Who asks is in the data centre's own process and takes of its time.

Words owned here: cell, capacity.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.gpu.device import Meter
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.doors.served import Caller, Refused, Request, Tensor

LOAD = 0.8  # of the capacity
ME = Caller("bench")
_SEED = 0
_LATE = 30.0  # seconds that the last answers are waited for
_WARM_RUNS = 3
_POOLED = 48  # requests at once whose pictures the data centre's pool decodes, which refuses more than 64

Asked = Callable[[], Request]


@dataclass(frozen=True)
class Length:
    """Seconds of each part of a cell."""

    capacity: float
    load: float
    idle: float


@dataclass(frozen=True)
class Capacity:
    """What was answered while there was always enough to do."""

    requests_per_second: float
    rows_a_batch: float
    worker_rows_per_second: float  # by the time that the worker itself had them, copies to the device and back included


def asking(model: str, inputs: Sequence[Tensor]) -> Asked:
    """Makes a request of one picture after the other, round and round."""
    turn: Iterator[Tensor] = cycle(inputs)
    return lambda: Request(model, [next(turn)])


async def measure_cell(
    centre: DataCentre, model: str, inputs: Sequence[Tensor], rows: int, length: Length, meter: Meter, pooled: bool
) -> dict[str, Any]:
    """All that is measured at batches of at most `rows`; `pooled`: the data centre's pool decodes. Raises Refused."""
    ask = asking(model, inputs)
    at_once = min(2 * rows, _POOLED) if pooled else 2 * rows
    centre.limit_rows(model, rows)
    for _ in range(3):  # what is made for a size when it first comes: memory, kernels
        await asyncio.gather(*(centre.infer(ask(), ME) for _ in range(min(rows, at_once))))
    capacity = await _capacity(centre, model, ask, at_once, length.capacity)
    rate = LOAD * capacity.requests_per_second
    (seconds, sent, latencies, refused), watts = await meter.over(_load(centre, ask, rate, length.load))
    done = len(latencies)
    return {
        "rows_at_most": rows,
        "requests_per_second": capacity.requests_per_second,
        "rows_a_batch": capacity.rows_a_batch,
        "worker_rows_per_second": capacity.worker_rows_per_second,
        "load_requests_per_second": sent / length.load,
        "requests": sent,
        "answered": done,
        "refused": dict(refused),
        "p50_ms": float(np.percentile(latencies, 50)) * 1e3 if done else None,
        "p99_ms": float(np.percentile(latencies, 99)) * 1e3 if done else None,
        "watts": watts,
        "joules_per_request": watts * seconds / done if watts is not None and done else None,
    }


async def batch_seconds(
    centre: DataCentre, model: str, inputs: Sequence[Tensor], most: int, runs: int
) -> dict[str, list[float]]:
    """Seconds that the worker takes for a batch, copies to the device and back included, by size from 1 to `most`.

    Of each size so many `runs`, sizes in turn, so that all meet the device in much the same state; fewer where requests
    that come together do not make one batch. Raises Refused.
    """
    ask = asking(model, inputs)
    found: dict[str, list[float]] = {str(size): [] for size in range(1, most + 1)}
    for attempt in range(_WARM_RUNS + runs):
        for size in range(1, most + 1):
            centre.limit_rows(model, size)
            before = centre.statistics(model, "")[0].batches
            was = {rows: (one.count, one.ns) for rows, one in before.items()}
            await asyncio.gather(*(centre.infer(ask(), ME) for _ in range(size)))
            for rows, one in centre.statistics(model, "")[0].batches.items():
                count, nanoseconds = was.get(rows, (0, 0))
                if one.count == count + 1 and attempt >= _WARM_RUNS:
                    found[str(rows)].append((one.ns - nanoseconds) * 1e-9)
    return found


async def _capacity(centre: DataCentre, model: str, ask: Asked, at_once: int, seconds: float) -> Capacity:
    """Keep `at_once` requests going for so long."""
    answered = 0
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await centre.infer(ask(), ME)
            answered += 1

    before, begun = centre.statistics(model, "")[0], time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(at_once)))
    took, after = time.perf_counter() - begun, centre.statistics(model, "")[0]
    batches = {
        size: (one.count - before.batches[size].count, one.ns - before.batches[size].ns)
        if size in before.batches
        else (one.count, one.ns)
        for size, one in after.batches.items()
    }
    rows = sum(size * count for size, (count, _) in batches.items())
    worked = sum(ns for _, ns in batches.values()) * 1e-9
    return Capacity(answered / took, rows / sum(count for count, _ in batches.values()), rows / worked)


async def _load(
    centre: DataCentre, ask: Asked, rate: float, seconds: float
) -> tuple[float, int, npt.NDArray[np.float64], Counter[str]]:
    """Send requests at random times, `rate` a second for so long, whatever is answered.

    Seconds until the last answer, requests sent, seconds from each one's time to its answer, and who was refused why.
    """
    generator = np.random.default_rng(_SEED)
    times = np.cumsum(generator.exponential(1.0 / rate, max(round(rate * seconds), 1)))
    latencies: list[float] = []
    refused: Counter[str] = Counter()
    begun = time.perf_counter()

    async def one(due: float) -> None:
        try:
            await centre.infer(ask(), ME)
        except Refused as error:
            refused[error.code.name] += 1
        else:
            latencies.append(time.perf_counter() - begun - due)

    tasks = []
    for due in times.tolist():
        if (early := due - (time.perf_counter() - begun)) > 0.0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(due)))
    _, late = await asyncio.wait(tasks, timeout=_LATE)
    for task in late:
        task.cancel()
        refused["NO_ANSWER"] += 1
    return time.perf_counter() - begun, len(times), np.array(latencies), refused


def idle(seconds: float) -> Coroutine[Any, Any, None]:
    """Nothing, for so long."""
    return asyncio.sleep(seconds)
