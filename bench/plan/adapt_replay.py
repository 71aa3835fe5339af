"""A situation's clients replayed over a trace against the online scheduler. Simulated; only its rounds are timed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgesight.bench.plan.adapt_simulation import Capacity, Scheduling, Simulation, most_in_time
from edgesight.plan.adapt.data import Situation
from edgesight.plan.profile import PlanError


def replay(
    situation: Situation,
    trace: str,
    rates: Sequence[float],
    scheduling: Scheduling,
    *,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """What becomes of the clients' requests within `seconds`, as plain values for JSON.

    The clients' links follow `rates` (Mbit/s by the second) of the trace called `trace`, each from a moment of its own.
    Raises PlanError where no client takes a frame.
    """
    chance = random.Random(seed)
    links = [(client, Capacity(rates, chance.uniform(0, len(rates)))) for client in situation.clients]
    run = Simulation(
        situation.profile,
        situation.gpus,
        links,
        scheduling,
        overhead_ms=situation.overhead_ms,
        seed=seed,
    ).run(seconds)
    if not run.requests:
        raise PlanError(f"no client takes a frame within {seconds:g} s of simulated time: give --seconds more")
    answers = np.array(run.latencies_ms or [0.0])
    rounds_ms = np.array(run.round_seconds) * 1e3
    return {
        "trace": trace,
        "method": "told" if scheduling.told else scheduling.method,
        "requests": run.requests,
        "in_time": run.in_time,
        "most_in_time": most_in_time(situation.profile, links, seconds, overhead_ms=situation.overhead_ms, seed=seed),
        "dropped_by_client": run.dropped_by_client,
        "dropped_by_server": run.dropped_by_server,
        "accuracy": run.mean_accuracy,
        "latency_ms": {"median": float(np.median(answers)), "p99": float(np.quantile(answers, 0.99))},
        "model_switches": run.switches,
        "round_ms": {"median": float(np.median(rounds_ms)), "worst": float(rounds_ms.max())},
    }
