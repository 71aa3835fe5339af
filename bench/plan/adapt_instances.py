"""Situations to plan for once, and how near to exact each method's plan is.

Random ones are as the authors drew theirs; those of the grid are moments of its traces.

Words owned here: *instance* (a situation to plan for once), *shortfall* (how far a plan's mean accuracy is below the
exact one's, relative).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgesight.plan.adapt.data import AdaptPlan, Client, Gpu, ModelProfile, Situation
from edgesight.plan.adapt.plan import METHODS, plan
from edgesight.plan.adapt.scheduler import LOAD_LIMIT
from edgesight.plan.adapt.tables import faults
from edgesight.plan.profile import Link, Slo

RATES, SLOS_MS, GPUS = (15.0, 25.0), (75.0, 100.0, 150.0), 2  # of the grid
ROUND_TRIP_MS = 2.0  # to an edge server beside the base station: assumed, since the traces say nothing of it
RANDOM_MBPS, RANDOM_RATES = (7.5, 50.0), (10.0, 15.0, 25.0)  # of random instances, with the grid's SLOs


def gpus(count: int = GPUS) -> tuple[Gpu, ...]:
    """GPUs as published: 5 models each, batches of up to 12."""
    return tuple(Gpu(name=f"gpu-{number}") for number in range(count))


def alike(count: int, rate: float, slo_ms: float) -> list[Client]:
    """Clients that want the same, over links yet to be given."""
    link = Link(mbps=1.0, round_trip_ms=ROUND_TRIP_MS)
    return [
        Client(name=f"client-{number}", slo=Slo(latency_ms=slo_ms, rate=rate), link=link) for number in range(count)
    ]


def many(profile: ModelProfile, clients: int, machines: int, seed: int) -> Situation:
    """So many clients, each with a rate, SLO and bandwidth at random, as the authors draw them."""
    chance = random.Random(seed)
    return Situation(
        profile=profile,
        clients=tuple(
            Client(
                name=f"client-{number}",
                slo=Slo(latency_ms=chance.choice(SLOS_MS), rate=chance.choice(RANDOM_RATES)),
                link=Link(mbps=chance.uniform(*RANDOM_MBPS)),
            )
            for number in range(clients)
        ),
        gpus=gpus(machines),
    )


def random_instances(profile: ModelProfile, count: int, seed: int) -> Iterator[Situation]:
    """Eight clients as the authors draw them: rate, SLO and bandwidth at random."""
    chance = random.Random(seed)
    for _ in range(count):
        yield Situation(
            profile=profile,
            clients=tuple(
                Client(
                    name=f"client-{number}",
                    slo=Slo(latency_ms=chance.choice(SLOS_MS), rate=chance.choice(RANDOM_RATES)),
                    link=Link(mbps=chance.uniform(*RANDOM_MBPS)),
                )
                for number in range(8)
            ),
            gpus=gpus(),
        )


def grid_instances(
    profile: ModelProfile, traces: Mapping[str, Sequence[float]], moments: int, seed: int
) -> Iterator[Situation]:
    """The grid's eight clients, each at a random moment of the trace."""
    chance = random.Random(seed)
    for trace in traces.values():
        for rate in RATES:
            for slo_ms in SLOS_MS:
                for _ in range(moments):
                    clients = [
                        client.model_copy(
                            update={"link": client.link.model_copy(update={"mbps": max(0.1, chance.choice(trace))})}
                        )
                        for client in alike(8, rate, slo_ms)
                    ]
                    yield Situation(profile=profile, clients=tuple(clients), gpus=gpus(), load_limit=LOAD_LIMIT)


def compare(kind: str, instances: Sequence[Situation], seconds: float = 60.0) -> dict[str, Any]:
    """All methods on each of the instances; shortfalls are over those in which the exact plan serves everybody.

    An instance in which a method leaves clients out that the exact plan serves counts with what its mean accuracy then
    is, unserved requests 0.
    """
    shortfalls: dict[str, list[float]] = {method: [] for method in METHODS}
    lost: dict[str, int] = dict.fromkeys(METHODS, 0)  # instances in which fewer requests are served than could be
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    broken = unproven = feasible = 0
    for number, situation in enumerate(instances):
        plans = {method: plan(situation, method, seed=number, seconds=seconds) for method in METHODS}
        best = plans["exact"]
        feasible += best.feasible
        unproven += best.feasible and (best.best_possible or 0.0) > best.mean_accuracy + 1e-6
        for method, made in plans.items():
            broken += bool(faults(situation, made))
            times[method].append(made.planning_ms)
            lost[method] += _served(situation, made) < _served(situation, best) - 1e-6
            if best.feasible:
                shortfalls[method].append(1 - made.mean_accuracy / best.mean_accuracy if best.mean_accuracy else 0.0)
    return {
        "instances": kind,
        "count": len(instances),
        "exact_serves_all": feasible,
        "exact_unproven": unproven,
        "plans_that_break_a_constraint": broken,
        "methods": {
            method: {
                "shortfall_mean": float(np.mean(values)) if values else 0.0,
                "shortfall_mean_interval_95": mean_interval(values),
                "shortfall_worst": max(values, default=0.0),
                "serves_fewer_than_exact": lost[method],
                "planning_ms_median": float(np.median(times[method])),
                "planning_ms_worst": max(times[method]),
            }
            for method, values in shortfalls.items()
        },
    }


def _served(situation: Situation, made: AdaptPlan) -> float:
    rates = {client.name: client.rate for client in situation.clients}
    return sum(rates[entry.client] for entry in made.clients)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean, by 2,000 resamplings."""
    if not values:
        return 0.0, 0.0
    chosen = np.random.default_rng(0).choice(np.asarray(values), (2_000, len(values)))
    low, high = np.quantile(chosen.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
