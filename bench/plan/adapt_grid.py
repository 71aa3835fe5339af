"""The grid of cells in which schedulers run on moving links."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from edgesight.bench.plan.adapt_instances import RATES, SLOS_MS, alike, gpus
from edgesight.bench.plan.adapt_simulation import OURS, Capacity, Outcome, Scheduling, Simulation, most_in_time
from edgesight.plan.adapt.data import Client, Gpu, ModelProfile
from edgesight.plan.profile import read_trace

CLIENTS = (1, 2, 4, 8)


QUALIFIES, BAR = 0.995, 0.99


@dataclass(frozen=True)
class Cell:
    """One point of the grid and what came of it."""

    trace: str
    clients: int
    rate: float
    slo_ms: float
    requests: int
    in_time: float  # share
    worst_seed: float  # the same of the seed with the least
    told_in_time: float
    most_in_time: float  # share that no scheduler passes
    accuracy: float  # mean per request, missed ones 0
    told_accuracy: float
    p99_ms: float  # of answers
    switches_per_client_minute: float

    @property
    def qualifies(self) -> bool:
        """Whether the scheduler that is told answers enough in time."""
        return self.told_in_time >= QUALIFIES

    @property
    def short(self) -> float:
        """How far the share in time is below 99 %, or below what the links carry where that is less."""
        return max(0.0, min(BAR, self.most_in_time) - self.in_time)


def traces_in(folder: Path | None) -> dict[str, tuple[float, ...]]:
    """The traces of a folder, each a .txt file (`edgesight.host.trace`), in Mbit/s by the second; by name."""
    if folder is None:
        return {}
    return {path.stem: read_trace(path).by_second for path in sorted(folder.glob("*.txt"))}


def generated_trace(seed: int = 5, seconds: int = 200, mbps: float = 30.0) -> tuple[float, ...]:
    """A link that wanders around `mbps`: the logarithm is autoregressive from second to second (0.9, sigma 0.12)."""
    chance, level, values = random.Random(seed), 0.0, []
    for _ in range(seconds):
        level = 0.9 * level + chance.gauss(0, 0.12)
        values.append(mbps * math.exp(level))
    return tuple(values)


def simulate(
    profile: ModelProfile,
    trace: Sequence[float],
    clients: Sequence[Client],
    seconds: float,
    seed: int,
    scheduling: Scheduling = OURS,
    *,
    machines: Sequence[Gpu] | None = None,
    overhead_ms: float = 0.0,
) -> Outcome:
    """One run; each client begins at a random moment of the trace, the same for every method."""
    chance = random.Random(seed)
    links = [(client, Capacity(trace, chance.uniform(0, len(trace)))) for client in clients]
    simulation = Simulation(profile, machines or gpus(), links, scheduling, overhead_ms=overhead_ms, seed=seed)
    return simulation.run(seconds)


def run_grid(
    profile: ModelProfile, traces: Mapping[str, Sequence[float]], seconds: float, seeds: int, console: Console
) -> list[Cell]:
    """Every cell, ours and the scheduler that is told, `seeds` runs of `seconds` each."""
    cells = []
    for name, trace in traces.items():
        for count in CLIENTS:
            for rate in RATES:
                for slo_ms in SLOS_MS:
                    clients = alike(count, rate, slo_ms)
                    ours = [simulate(profile, trace, clients, seconds, seed) for seed in range(seeds)]
                    known = [
                        simulate(profile, trace, clients, seconds, seed, Scheduling(told=True)) for seed in range(seeds)
                    ]
                    requests = sum(run.requests for run in ours)
                    latencies = np.concatenate([run.latencies_ms or [0.0] for run in ours])
                    cells.append(
                        Cell(
                            trace=name,
                            clients=count,
                            rate=rate,
                            slo_ms=slo_ms,
                            requests=requests,
                            in_time=1 - sum(run.missed for run in ours) / requests,
                            worst_seed=min(run.in_time for run in ours),
                            told_in_time=1 - sum(run.missed for run in known) / requests,
                            accuracy=sum(run.accuracy for run in ours) / requests,
                            most_in_time=float(
                                np.mean([_most(profile, trace, clients, seconds, seed) for seed in range(seeds)])
                            ),
                            told_accuracy=sum(run.accuracy for run in known) / requests,
                            p99_ms=float(np.quantile(latencies, 0.99)),
                            switches_per_client_minute=sum(run.switches for run in ours)
                            / (count * seconds * seeds / 60),
                        )
                    )
        console.print(f"Simulated {name}: {sum(cell.trace == name for cell in cells)} cells.")
    return cells


def _most(profile: ModelProfile, trace: Sequence[float], clients: Sequence[Client], seconds: float, seed: int) -> float:
    chance = random.Random(seed)
    links = [(client, Capacity(trace, chance.uniform(0, len(trace)))) for client in clients]
    return most_in_time(profile, links, seconds, seed=seed)
