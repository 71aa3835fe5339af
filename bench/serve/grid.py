"""The grid: every system at every load, link and target, over the same requests, in virtual time.

A cell is a load, a link and a target (mixed targets are in `edgesight.bench.serve.workloads`). Late answers count as
wrong, P99 is over all requests. Systems of a cell get the same requests at the same moments of the link, and are
compared request by request. The link's chance has the same seed: of each one's packets, which differ, those of the same
number are lost.

Targets are so many points below the data centre alone: what that says of the very pictures of a cell's requests, which
travel unharmed and are never late.

Words owned here: cell, reaches (a system's accuracy in a cell is at least what was asked for).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.data import prepared
from edgesight.bench.serve.floor import counted_floor_s
from edgesight.bench.serve.links import TRACE, Links, links_of
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.systems import SYSTEMS, Goal, Served, System, serve
from edgesight.bench.serve.virtual import NOBODY, WARM_UP, Known
from edgesight.host.fabric.base import OFFLOAD
from edgesight.sim.workers import PROCESSES, progress
from edgesight.sim.workload import Arrivals, Poisson, Workload, workload

LOADS: Final = (0.3, 0.6, 0.9)  # of what the back end answers in full batches
BELOWS: Final = (0.01, 0.03, 0.06)  # accuracy below the data centre alone
# In which all pictures are asked for in a cell; photographs take long.
ROUNDS: Final = {"fashion-mnist": 6, "signs": 6, "photographs": 3}
DEADLINES_S: Final = (0.25, 0.5)
BETTER, OFTEN_BETTER, WORSE = 2.0, 1.6, 1.1  # P99 of today's best over ours, and ours over theirs
NOBODY_ELSE: Final = 1e9  # times better than nobody: JSON has no infinity
FLOOR_LOW, FLOOR_MEDIAN = 1.25, 1.35  # P99 of our offloaded answers over the floor
_BLOCK, _RESAMPLES = 100, 1_000  # requests that stay together, and resamples
_LOW, _HIGH = 2.5, 97.5  # percentiles of an interval

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """Where systems are held against each other.

    Attributes:
        load: requests a second over what the back end answers.
        link: its name.
        goals: places of the goals that are asked for, in equal parts.
    """

    load: float
    link: str
    goals: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A system in a cell; times in milliseconds."""

    system: str
    accuracy: float
    short: float  # by how much the accuracy of some goal's requests lies below what it asks; at most 0: none does
    p50_ms: float
    p99_ms: float
    late: float
    offloaded: float
    swaps: int
    bytes_a_request: float
    busy: float  # seconds of the back end a second of the workload
    unanswered: int = 0  # requests

    @property
    def reaches(self) -> bool:
        """The accuracy of each goal's requests is what was asked for."""
        return self.short <= 0.0


@dataclass(frozen=True)
class Compared:
    """A cell, as it came out.

    Attributes:
        cell: which.
        rows: by system.
        needs: our cascade offloads at all.
        best: today's system with the least P99 of those that reach the target; None: none does.
        ratio: its P99 over ours, with the interval of a paired block bootstrap; NaN where there is no best.
        over_floor: P99 of our offloaded answers over that of the floor's; NaN where nothing is offloaded.
        floor_ms: P99 of all requests at the floor.
    """

    cell: Cell
    rows: tuple[Row, ...]
    needs: bool
    best: str | None
    ratio: tuple[float, float, float]  # itself, low, high
    over_floor: float
    floor_ms: float


def cells_of(links: Sequence[str], goals: int) -> list[Cell]:
    """All of the grid."""
    return [Cell(load, link, (place,)) for load in LOADS for link in links for place in range(goals)]


def section(name: str, asked: Asked, folder: Path, console: Console) -> Found:
    """The grid of the data set called `name`; raises CommandError where its networks cannot be made."""
    links = links_of(asked.traces)
    ready = prepared(name, asked, folder / name, BELOWS, console)
    requests = ROUNDS[name] * len(ready.material.truth)
    found = run(ready.material, ready.goals, links, console, load_s=ready.load_s, requests=requests)
    return found if "LTE" in links else without_trace(found)


def without_trace(found: Found) -> Found:
    """What was found, with the word that cells are missing."""
    return Found({**found.body, "skipped": {"LTE": f"name the folder with {TRACE}.up by --traces"}}, found.checks)


def run(
    material: Material,
    goals: Sequence[Goal],
    links: dict[str, Links],
    console: Console,
    *,
    load_s: float,
    requests: int,
    seed: int = 0,
) -> Found:
    """The whole grid of one data set."""
    cells = cells_of(list(links), len(goals))
    one = partial(compared, material, goals, links, load_s, requests, seed)
    found: list[Compared] = []
    with ProcessPoolExecutor(PROCESSES) as workers, progress() as bar:
        task = bar.add_task(f"grid, {material.name}", total=len(cells))
        for cell in workers.map(one, cells):
            found.append(cell)
            bar.advance(task)
    console.print(_table(material.name, found))
    return Found(
        body(material, goals, links, found, load_s=load_s, requests=requests, seed=seed),
        tuple(checks(material.name, found)),
    )


def body(
    material: Material,
    goals: Sequence[Goal],
    links: Mapping[str, Links],
    found: Sequence[Compared],
    *,
    load_s: float,
    requests: int,
    seed: int,
) -> dict[str, Any]:
    """What is reported of the grid of one data set."""
    return {
        "data": material.name,
        "seed": seed,
        "requests": requests,
        "deadlines_s": list(DEADLINES_S),
        "capacity_per_s": material.profile.capacity,
        "load_seconds_of_a_variant": load_s,
        "latency_s_by_stage": list(material.latency_s),
        "first_rung": material.calibration.ladder[0].model_dump() if material.calibration.ladder else None,
        "goals": [
            {
                "below": goal.below,
                "accuracy": goal.accuracy,
                "thresholds": goal.cascade.thresholds,
                "offload": goal.cascade.calibration_offload,
                "two_stage_offload": goal.two_stage.calibration_offload,
                "variant": goal.variant,
            }
            for goal in goals
        ],
        "links": {name: [one.describe() for one in both] for name, both in links.items()},
        "cells": [asdict(one) for one in found],
        "better": [_better(one) for one in found],
    }


def compared(
    material: Material,
    goals: Sequence[Goal],
    links: dict[str, Links],
    load_s: float,
    requests: int,
    seed: int,
    cell: Cell,
    arrive: Callable[[float], Arrivals] = Poisson,
) -> Compared:
    """All systems in one cell; `arrive` makes arrivals of so many requests a second."""
    asked = [goals[place] for place in cell.goals]
    coming = workload(
        arrive(cell.load * material.profile.capacity),
        WARM_UP + requests,
        len(material.truth),
        targets=len(asked),
        deadlines_s=DEADLINES_S,
        seed=seed,
    )
    known: Known = {}
    both = links[cell.link]
    served = {
        system: serve(system, material, asked, coming, both, known, load_s=load_s, seed=seed) for system in SYSTEMS
    }
    rows = [_row(system, one, material, asked, coming) for system, one in served.items()]
    ours = next(system for system in SYSTEMS if system.ours)
    reaching = [system for system, row in zip(served, rows, strict=True) if system.today and row.reaches]
    best = min(reaching, key=lambda one: _p99(served[one].outcomes.took_s), default=None)
    ratio = (float("nan"),) * 3
    if best is not None:
        ratio = paired_ratio(served[best].outcomes.took_s, served[ours].outcomes.took_s, seed)
    thresholds = [goal.cascade.thresholds for goal in asked]
    records = [material.records(row) for row in thresholds]
    counted = range(WARM_UP, len(coming))
    unsure = np.array([bool(records[coming.target[n]][coming.picture[n]]["stage"] & OFFLOAD) for n in counted])
    floor = counted_floor_s(material, thresholds, coming, both)[WARM_UP:]
    over = _p99(served[ours].outcomes.took_s[unsure]) / _p99(floor[unsure]) if unsure.any() else float("nan")
    named = best.name if best is not None else None
    return Compared(cell, tuple(rows), bool(unsure.any()), named, ratio, over, 1e3 * _p99(floor))


def paired_ratio(theirs: Floats, ours: Floats, seed: int) -> tuple[float, float, float]:
    """P99 of `theirs` over that of `ours`, the same requests [N]; and the 95 % interval of a block bootstrap."""
    chance = np.random.default_rng([seed, 11])
    blocks = len(ours) // _BLOCK
    places = np.arange(blocks * _BLOCK).reshape(blocks, _BLOCK)
    resampled = [
        _p99(theirs[chosen]) / _p99(ours[chosen])
        for chosen in (places[chance.integers(0, blocks, blocks)].ravel() for _ in range(_RESAMPLES))
    ]
    low, high = np.percentile(resampled, [_LOW, _HIGH])
    return _p99(theirs) / _p99(ours), float(low), float(high)


def checks(name: str, found: Sequence[Compared]) -> list[Check]:
    """What the grid of one data set comes to."""
    made = [
        Check(f"{name}: cells in which ours misses the target", sum(not _ours(one).reaches for one in found), 0, True,
              "cells", "simulated"),
        Check(f"{name}: worst P99 over today's best that reaches the target",
              max((1 / one.ratio[0] for one in found if one.best is not None), default=0.0), WORSE, True, "ratio",
              "simulated"),
        Check(f"{name}: swaps of ours", sum(_ours(one).swaps for one in found), 0, True, "swaps", "simulated"),
    ]  # fmt: skip
    over = [one.over_floor for one in found if not np.isnan(one.over_floor)]
    low = [one.over_floor for one in found if not np.isnan(one.over_floor) and one.cell.load == LOADS[0]]
    if over:
        made += [
            Check(f"{name}: P99 of our offloaded answers over the floor, worst at load {LOADS[0]:g}", max(low),
                  FLOOR_LOW, True, "ratio", "simulated"),
            Check(f"{name}: P99 of our offloaded answers over the floor, median cell", float(np.median(over)),
                  FLOOR_MEDIAN, True, "ratio", "simulated"),
        ]  # fmt: skip
    return made


def headline(grids: Sequence[Mapping[str, Any]]) -> list[Check]:
    """How much better ours is in the cells that need offloading, of the grids of all data sets, as they are reported.

    Where nobody else reaches the target, ours is as much better as one likes; where ours does not, not at all.
    """
    better = [one for grid in grids for one in grid["better"] if one is not None]
    if not better:
        return []
    return [
        Check(f"cells that need offloading with P99 at least {times:g} times better",
              float(np.mean([one >= times for one in better])), share, False, "share", "simulated")
        for times, share in ((BETTER, 0.5), (OFTEN_BETTER, 0.75))
    ]  # fmt: skip


def _better(one: Compared) -> float | None:
    """By how much ours is better than today's best; None where nothing need be offloaded."""
    if not one.needs:
        return None
    if not _ours(one).reaches:
        return 0.0
    return one.ratio[0] if one.best is not None else NOBODY_ELSE


def _ours(one: Compared) -> Row:
    return next(row for row, system in zip(one.rows, SYSTEMS, strict=True) if system.ours)


def _row(system: System, served: Served, material: Material, asked: Sequence[Goal], coming: Workload) -> Row:
    outcomes = served.outcomes
    truth = material.truth[coming.picture[WARM_UP:]]
    right = (outcomes.label == truth) & ~outcomes.late
    span = float(coming.at[-1] - coming.at[0])
    backend = material.backend[coming.picture[WARM_UP:]] == truth
    of_goals = [coming.target[WARM_UP:] == place for place in range(len(asked))]
    return Row(
        system.name,
        float(right.mean()),
        max(
            float(backend[one].mean() - right[one].mean()) - goal.below
            for goal, one in zip(asked, of_goals, strict=True)
        ),
        1e3 * float(np.percentile(outcomes.took_s, 50)),
        1e3 * _p99(outcomes.took_s),
        float(outcomes.late.mean()),
        float((outcomes.stage == len(material.labels)).mean()),
        served.swaps,
        outcomes.bytes / len(coming),
        outcomes.busy_s / span,
        int((outcomes.stage == NOBODY).sum()),
    )


def _p99(seconds: Floats) -> float:
    return float(np.percentile(seconds, 99))


def _table(name: str, found: Sequence[Compared]) -> PlainTable:
    columns = [
        "load",
        "link",
        "target",
        *(system.name for system in SYSTEMS),
        "floor",
        "best today",
        "ratio",
        "over floor",
    ]
    table = PlainTable(f"P99 in ms, {name}; * misses the target", columns, words=("link", "target", "best today"))
    for one in found:
        table.add_row(
            f"{one.cell.load:g}",
            one.cell.link,
            "all" if len(one.cell.goals) > 1 else f"-{100 * BELOWS[one.cell.goals[0]]:g}",
            *(f"{row.p99_ms:.1f}{'' if row.reaches else '*'}" for row in one.rows),
            f"{one.floor_ms:.1f}",
            one.best or "none",
            f"{one.ratio[0]:.2f} ({one.ratio[1]:.2f} to {one.ratio[2]:.2f})",
            f"{one.over_floor:.2f}",
        )
    return table
