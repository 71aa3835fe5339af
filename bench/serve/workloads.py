"""Workloads beyond the grid's, in virtual time: other arrivals than Poisson's, and several applications at once.

Arrivals come in bursts, and as a trace has them: that of a file, or two that are drawn here, a day in small and gaps
with a heavy tail. All are stretched to the same load. Each cell has all accuracy targets and deadlines mixed.

Words owned here: drawn trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from edgesight.bench.serve import applications, grid
from edgesight.bench.serve.applications import Mixed
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.data import Prepared, prepared
from edgesight.bench.serve.links import Links, links_of
from edgesight.bench.serve.systems import SELECTING, SYSTEMS, System
from edgesight.bench.serve.virtual import NOBODY, WARM_UP, Known
from edgesight.host.fabric.base import OFFLOAD
from edgesight.sim.workers import PROCESSES, progress
from edgesight.sim.workload import Arrivals, Bursty, Poisson, Timestamps

LOAD: Final = 0.6
_DATA: Final = "fashion-mnist"  # that arrivals are tried with
_APPLICATIONS: Final = ("digits", "fashion-mnist")  # shipped
_ROUNDS: Final = 3  # in which all pictures are asked for: each once under each target
_SWING: Final = 0.6  # of a day's rate about its mean: at load 0.6 its noon is 0.96
_BURST: Final = 200.0  # mean gaps that a burst lasts on the mean
_TAIL: Final = 1.5  # shape of the Lomax distribution: gaps have a mean, and no variance

_Line = tuple[str, str, str, Sequence[grid.Row], str | None, tuple[float, float, float]]  # of a table
Arrive = Callable[[float], Arrivals]  # arrivals of so many requests a second


@dataclass(frozen=True)
class Together:
    """Several applications under one kind of arrivals over one link, as it came out.

    Attributes:
        arrivals: their name.
        link: its name.
        rows: by system, over all applications.
        of_applications: the same, of each application alone.
        compared: today's best and its P99 over ours, as below, of each application alone.
        needs: our cascades offload at all.
        best: today's system with the least P99 of those that reach every target; None: none does.
        ratio: its P99 over ours, with the interval of a paired block bootstrap; NaN where there is no best.
        swaps_by_memory: of the selecting server, by bytes of the device's memory.
    """

    arrivals: str
    link: str
    rows: tuple[grid.Row, ...]
    of_applications: dict[str, tuple[grid.Row, ...]]
    compared: dict[str, tuple[str | None, tuple[float, float, float]]]
    needs: bool
    best: str | None
    ratio: tuple[float, float, float]
    swaps_by_memory: dict[str, int]


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Fashion-MNIST under other arrivals, and with digits beside. Raises WorkloadError, and as `prepared`."""
    served = [prepared(name, asked, folder / name, grid.BELOWS, console) for name in _APPLICATIONS]
    links = links_of(asked.traces)
    found = run(served, asked.arrivals, links, console, requests=_ROUNDS * len(served[-1].material.truth))
    return found if "LTE" in links else grid.without_trace(found)


def run(
    served: Sequence[Prepared],
    trace: Path | None,
    links: dict[str, Links],
    console: Console,
    *,
    requests: int,  # of a cell, of each application
    seed: int = 0,
) -> Found:
    """Other arrivals at the last of what is `served`, and all of that at once.

    Moments of arrivals are in the file `trace`; None: they are drawn. Raises WorkloadError.
    """
    count = WARM_UP + requests
    kinds, told = arrivals_of(trace, count, seed)
    one, all_, bandwidth = served[-1], list(served), served[-1].bandwidth
    alone = [(name, link) for name in kinds for link in links]
    both = [(name, link) for name in ("Poisson", "bursty") for link in links]
    arrive: dict[str, Arrive] = {"Poisson": Poisson, **kinds}
    with ProcessPoolExecutor(PROCESSES) as workers, progress() as bar:
        task = bar.add_task("workloads", total=len(alone) + len(both))
        cells = [
            workers.submit(
                partial(grid.compared, one.material, one.goals, links, one.load_s, requests, seed),
                grid.Cell(LOAD, link, tuple(range(len(one.goals)))),
                arrive[name],
            )
            for name, link in alone
        ]
        together_ = [
            workers.submit(together, all_, name, arrive[name], link, links[link], bandwidth, requests * len(all_), seed)
            for name, link in both
        ]
        compared, mixed = [], []
        for (name, _), cell in zip(alone, cells, strict=True):
            compared.append((name, cell.result()))
            bar.advance(task)
        for future in together_:
            mixed.append(future.result())
            bar.advance(task)
    console.print(_arrivals_table(compared))
    console.print(_applications_table(mixed))
    body = {
        "seed": seed,
        "requests": requests,
        "load": LOAD,
        "deadlines_s": list(grid.DEADLINES_S),
        "links": {name: [way.describe() for way in ways] for name, ways in links.items()},
        "arrivals": told,
        "arrival_cells": [{"arrivals": name, **asdict(cell)} for name, cell in compared],
        "applications": {
            "served": {one.material.name: _described(one, bandwidth) for one in served},
            "data_centre": "a service a back end, each at its UDP port; one processor in turn, simulated",
            "device_memory_bytes": applications.largest_variant(all_),
            "cells": [asdict(cell) for cell in mixed],
        },
    }
    return Found(body, (*arrival_checks(compared), *application_checks(mixed)))


def arrivals_of(trace: Path | None, count: int, seed: int) -> tuple[dict[str, Arrive], dict[str, str]]:
    """Kinds of arrivals by name, of `count` requests, and what is to be told of each. Raises WorkloadError."""
    drawn = {"bursty": _bursts(count, seed)}
    if trace is None:
        drawn |= {"day": _day(count, seed), "heavy tail": _heavy_tail(count, seed)}
    told = {"Poisson": "independent of each other"}
    told |= {name: f"drawn here, no recorded trace: {one.name}" for name, one in drawn.items()}
    kinds: dict[str, Arrive] = {name: one.at_rate for name, one in drawn.items()}
    if trace is not None:
        read = Timestamps.read(trace)
        kept = Timestamps(read.seconds[:count], read.name)
        kinds["trace"] = kept.at_rate
        told["trace"] = (
            f"{len(kept.seconds)} of the {len(read.seconds)} moments of {read.name}, {kept.per_second:g} a second, "
            "stretched to the load"
        )
    return kinds, told


def together(
    served: Sequence[Prepared],
    name: str,
    arrive: Arrive,
    link: str,
    links: Links,
    bandwidth: float,
    requests: int,
    seed: int,
) -> Together:
    """All systems with several applications at once, at the section's load."""
    coming = applications.mixed(
        arrive(applications.rate_of(LOAD, served)), WARM_UP + requests, served, grid.DEADLINES_S, seed
    )
    known: list[Known] = [{} for _ in served]
    found = applications.serve_all(served, coming, links, known, bandwidth=bandwidth, seed=seed)

    def compared(alone: int | None) -> tuple[tuple[grid.Row, ...], str | None, tuple[float, float, float]]:
        rows = {system: _row(system, one, served, coming, alone) for system, one in found.items()}
        reaching = [system for system, row in rows.items() if system.today and row.reaches]
        best = min(reaching, key=lambda one: rows[one].p99_ms, default=None)
        if best is None:
            return tuple(rows.values()), None, (float("nan"),) * 3
        chosen = _of(coming, alone)
        ours = next(system for system in rows if system.ours)
        theirs, own = (found[system].outcomes.took_s[chosen] for system in (best, ours))
        return tuple(rows.values()), best.name, grid.paired_ratio(theirs, own, seed)

    rows, best, ratio = compared(None)
    alone = {one.material.name: compared(place) for place, one in enumerate(served)}
    needs = any(
        bool((one.material.records(goal.cascade.thresholds)["stage"] & OFFLOAD).any())
        for one in served
        for goal in one.goals
    )
    return Together(
        name,
        link,
        rows,
        {name: of for name, (of, _, _) in alone.items()},
        {name: (theirs, over) for name, (_, theirs, over) in alone.items()},
        needs,
        best,
        ratio,
        applications.swaps_by_memory(served, coming, bandwidth),
    )


def arrival_checks(found: Sequence[tuple[str, grid.Compared]]) -> list[Check]:
    """What other arrivals come to."""
    cells = [cell for _, cell in found]
    return _checks("other arrivals", [(cell.rows, cell.ratio[0]) for cell in cells], SYSTEMS)


def application_checks(found: Sequence[Together]) -> list[Check]:
    """What several applications at once come to."""
    return _checks("two applications", [(cell.rows, cell.ratio[0]) for cell in found], applications.SYSTEMS)


def _checks(what: str, cells: Sequence[tuple[Sequence[grid.Row], float]], systems: Sequence[System]) -> list[Check]:
    names = [system.name for system in systems]
    place = next(number for number, system in enumerate(systems) if system.ours)
    ours = [rows[place] for rows, _ in cells]
    selecting = [rows[names.index(SELECTING.name)] for rows, _ in cells]
    worst = max((1 / ratio for _, ratio in cells if not np.isnan(ratio)), default=0.0)
    unanswered = sum(row.unanswered for rows, _ in cells for row in rows)
    return [
        Check(f"{what}: cells in which ours misses a target", sum(not row.reaches for row in ours), 0, True, "cells",
              "simulated"),
        Check(f"{what}: worst P99 over today's best that reaches the targets", worst, grid.WORSE, True, "ratio",
              "simulated"),
        Check(f"{what}: swaps of ours", sum(row.swaps for row in ours), 0, True, "swaps", "simulated"),
        Check(f"{what}: swaps of the selecting server, fewest in a cell", min(row.swaps for row in selecting), 1, False,
              "swaps", "simulated"),
        Check(f"{what}: requests unanswered, of all systems", unanswered, 0, True, "requests", "simulated"),
    ]  # fmt: skip


def _bursts(count: int, seed: int) -> Timestamps:
    """A process of two states, whose bursts last so many mean gaps, however fast requests come."""
    process = Bursty(1.0, burst_s=_BURST)
    moments = process.times(count, np.random.default_rng([seed, 30]))
    burst = f"{process.factor:g} times as many for {_BURST:g} mean gaps on the mean, {process.share:.0%} of the time"
    return Timestamps(tuple((moments - moments[0]).tolist()), f"bursts, {burst}")


def _day(count: int, seed: int) -> Timestamps:
    """A day in small: its rate swings once about the mean."""
    when = np.linspace(0.0, 1.0, 10_001)
    came = when + _SWING * (1 - np.cos(2 * np.pi * when)) / (2 * np.pi)
    moments = np.interp(np.sort(np.random.default_rng([seed, 31]).uniform(size=count)), came, when)
    return Timestamps(tuple(moments.tolist()), f"a day in small, whose rate swings once by {_SWING:.0%} of its mean")


def _heavy_tail(count: int, seed: int) -> Timestamps:
    """Gaps with a heavy tail: requests come in clumps of all sizes."""
    gaps = np.random.default_rng([seed, 32]).pareto(_TAIL, count)
    return Timestamps(tuple(np.cumsum(gaps).tolist()), f"Lomax gaps of shape {_TAIL:g}")


def _row(
    system: System, did: applications.Served, served: Sequence[Prepared], coming: Mixed, alone: int | None = None
) -> grid.Row:
    """A system's row, over all applications, or of the one that stands at that place `alone`."""
    of, outcomes = coming.application[WARM_UP:], did.outcomes
    parts = list(zip((one.material for one in served), coming.parts, strict=True))
    truth = coming.gathered([one.truth[part.picture] for one, part in parts])[WARM_UP:]
    backend = coming.gathered([one.backend[part.picture] for one, part in parts])[WARM_UP:]
    target = coming.gathered([part.target for part in coming.parts])[WARM_UP:]
    stages = np.array([len(one.material.labels) for one in served])[of]
    right = (outcomes.label == truth) & ~outcomes.late
    chosen = _of(coming, alone)
    shorts = [
        float((backend == truth)[asking].mean() - right[asking].mean()) - goal.below
        for place, one in enumerate(served)
        for number, goal in enumerate(one.goals)
        if alone in (None, place)
        for asking in ((of == place) & (target == number),)
    ]
    took = outcomes.took_s[chosen]
    return grid.Row(
        system.name,
        float(right[chosen].mean()),
        max(shorts),
        1e3 * float(np.percentile(took, 50)),
        1e3 * float(np.percentile(took, 99)),
        float(outcomes.late[chosen].mean()),
        float((outcomes.stage == stages)[chosen].mean()),
        did.swaps,
        outcomes.bytes / len(coming.at),
        outcomes.busy_s / float(coming.at[-1] - coming.at[0]),
        int((outcomes.stage == NOBODY)[chosen].sum()),
    )


def _of(coming: Mixed, alone: int | None) -> npt.NDArray[np.bool_]:
    """Which of the requests that count ask that application; None: any."""
    application = coming.application[WARM_UP:]
    return np.ones(len(application), bool) if alone is None else application == alone


def _described(one: Prepared, bandwidth: float) -> dict[str, Any]:
    return {
        "capacity_per_s": one.material.profile.capacity,
        "latency_s_by_stage": list(one.material.latency_s),
        "variant_bytes": list(one.variant_bytes),
        "load_seconds_of_a_variant": [size / bandwidth for size in one.variant_bytes],
        "goals": [
            {
                "below": goal.below,
                "accuracy": goal.accuracy,
                "thresholds": goal.cascade.thresholds,
                "variant": goal.variant,
            }
            for goal in one.goals
        ],
    }


def _arrivals_table(found: Sequence[tuple[str, grid.Compared]]) -> PlainTable:
    rows = [(name, cell.cell.link, _DATA, cell.rows, cell.best, cell.ratio) for name, cell in found]
    return _table(f"P99 in ms, {_DATA}, load {LOAD:g}; * misses a target", SYSTEMS, rows)


def _applications_table(found: Sequence[Together]) -> PlainTable:
    rows: list[_Line] = []
    for cell in found:
        rows.append((cell.arrivals, cell.link, "all", cell.rows, cell.best, cell.ratio))
        rows += [
            (cell.arrivals, cell.link, name, alone, *cell.compared[name])
            for name, alone in cell.of_applications.items()
        ]
    title = f"P99 in ms, {' and '.join(_APPLICATIONS)} at once, load {LOAD:g}; * misses a target"
    return _table(title, applications.SYSTEMS, rows)


def _table(
    title: str,
    systems: Sequence[System],
    found: Sequence[_Line],
) -> PlainTable:
    columns = ["arrivals", "link", "of", *(system.name for system in systems), "swaps", "best today", "ratio"]
    table = PlainTable(title, columns, words=("arrivals", "link", "of", "best today"))
    for arrivals, link, of, rows, best, ratio in found:
        table.add_row(
            arrivals,
            link,
            of,
            *(f"{row.p99_ms:.1f}{'' if row.reaches else '*'}" for row in rows),
            str(next(row.swaps for row in rows if row.system == SELECTING.name)),
            best or "none",
            f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})",
        )
    return table
