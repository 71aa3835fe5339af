"""Systems under load for real: the same workloads as in virtual time, between processes on this machine.

A cell is a load, a link and targets. The load is a share of what the held back end answers in full batches
(`edgesight.bench.serve.real.job`). Each run is kept as it ends, so that what was stopped goes on.

Words owned here: real cell, repeat (of a cell, with another seed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from edgesight.bench.kept import Found, Kept, fingerprint, with_imports
from edgesight.bench.link.peers import ordered, tcp, tcp_sender
from edgesight.bench.report import Check, PlainTable
from edgesight.bench.serve import data
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.data import prepared
from edgesight.bench.serve.grid import BELOWS, DEADLINES_S
from edgesight.bench.serve.links import Links, links_of
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.real import data_centre, edge
from edgesight.bench.serve.real import run as real_run
from edgesight.bench.serve.real.job import HELD_EACH_S, HELD_S, SYSTEMS, held_profile
from edgesight.bench.serve.real.run import Ran, run_once
from edgesight.bench.serve.real.validation import Run, validate
from edgesight.bench.serve.systems import SELECTING, Goal, System
from edgesight.bench.serve.virtual import WARM_UP
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.sim.link.namespaces import missing
from edgesight.sim.workers import progress
from edgesight.sim.workload import Poisson, Workload, workload

REQUESTS: Final = 3_000  # of a run, that count
MINUTES: Final = 90.0
_DATA: Final = "fashion-mnist"
_REAL_CODE: Final = (real_run, edge, data_centre)
_CHECKED: Final = 64  # pictures of which the RTL is asked, too


@dataclass(frozen=True)
class Cell:
    """Where systems are run for real.

    Attributes:
        name: in reports.
        load: requests a second over what the held back end answers.
        link: its name.
        goals: places of the goals that are asked for, in equal parts.
        repeats: how often it is run.
        calibrates: the simulator is told of this one's hosts; it is tested on the others.
    """

    name: str
    load: float
    link: str
    goals: tuple[int, ...]
    repeats: int = 1
    calibrates: bool = False


ALL_GOALS: Final = tuple(range(len(BELOWS)))
CELLS: Final = (
    Cell("calm", 0.3, "no loss", (0,), calibrates=True),
    Cell("busy", 0.6, "no loss", ALL_GOALS, calibrates=True),
    Cell("calm, lossy", 0.3, "5% loss", (0,), repeats=5),
    Cell("busy, lossy", 0.6, "5% loss", ALL_GOALS, repeats=5),
    Cell("calm, cellular", 0.3, "LTE", (0,)),
    Cell("busy, cellular", 0.6, "LTE", ALL_GOALS),
)


@dataclass(frozen=True)
class Setting:
    """What cells are run with.

    Attributes:
        material: what is served; its profile is the held back end's.
        goals: that can be asked for.
        links: by name.
        load_s: seconds in which a selecting server loads a variant on the device.
        requests: of a run, that count.
        warm_up: before them.
    """

    material: Material
    goals: Sequence[Goal]
    links: Mapping[str, Links]
    load_s: float
    requests: int = REQUESTS
    warm_up: int = WARM_UP

    def coming(self, cell: Cell, seed: int) -> Workload:
        """The requests of a repeat."""
        return workload(
            Poisson(cell.load * self.material.profile.capacity),
            self.warm_up + self.requests,
            len(self.material.truth),
            targets=len(cell.goals),
            deadlines_s=DEADLINES_S,
            seed=seed,
        )

    def asked(self, cell: Cell) -> tuple[Goal, ...]:
        """The goals of a cell."""
        return tuple(self.goals[place] for place in cell.goals)


def lacking() -> str | None:
    """Why nothing can be run for real here; None: it can."""
    lacks = missing()
    if lacks is not None:
        return f"no link between network namespaces: {lacks}"
    try:
        import tritonclient.grpc.aio  # noqa: F401 - whether it is there
    except ImportError:
        return "tritonclient is not installed: pip install 'edgesight[oip]'"
    return None


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Fashion-MNIST. Raises EmulationError where a run fails."""
    served = prepared(_DATA, asked, folder / _DATA, BELOWS, console)
    held = dataclasses.replace(served.material, profile=held_profile())
    setting = Setting(held, served.goals, links_of(asked.traces), served.load_s)
    return measure(setting, _differing(held, served.goals[0]), folder / "real", console)


def lacks(asked: Asked) -> str | None:
    """Why nothing can be run for real here; None: it can."""
    return data.lacks(_DATA, asked) or lacking()


def _differing(served: Material, goal: Goal) -> int:
    """Pictures of which the Verilated RTL says another label or stage than the fabric of the runs."""
    said = served.records(goal.cascade.thresholds)[:_CHECKED]
    fabric = VerilatedFabric(served.package)
    try:
        fabric.set_thresholds(0, goal.cascade.thresholds)
        found = fabric.run(served.images[: len(said)], np.zeros(len(said), np.uint8))
    finally:
        fabric.close()
    return int(((found["label"] != said["label"]) | (found["stage"] != said["stage"])).sum())


def run_cells(setting: Setting, cells: Sequence[Cell], folder: Path, systems: Sequence[System] = SYSTEMS) -> list[Run]:
    """All runs of the cells, those that are kept in `folder` as they were. Raises EmulationError where one fails."""
    # Repeats are the outer loop: what the machine does meanwhile meets all cells and systems alike.
    most = max(cell.repeats for cell in cells)
    due = [(cell, system, seed) for seed in range(most) for cell in cells for system in systems if seed < cell.repeats]
    # Without what stands in for gRPC in virtual time alone: no real run hangs on it.
    code, unused = (
        {Path(str(one.__file__)).resolve() for one in some} for some in (_REAL_CODE, (ordered, tcp, tcp_sender))
    )
    files = with_imports(code) - unused
    found = []
    with progress() as bar:
        task = bar.add_task("real runs", total=len(due))
        for cell, system, seed in due:
            bar.update(task, description=f"{cell.name}, {system.name}, seed {seed}")
            links, goals = setting.links[cell.link], setting.asked(cell)
            facts = [cell.load, cell.goals, setting.requests, setting.warm_up, *(one.describe() for one in links)]
            facts += [setting.material.package.kernel.model_dump(), *goals]  # what is served, and what is asked of it
            kept = Kept(folder, fingerprint(files, repr(facts)))
            name = f"{cell.name.replace(', ', '-')}-{system.name}-{seed}"
            coming, earlier = setting.coming(cell, seed), kept.read(name)
            if earlier is None:
                run = partial(run_once, system, setting.material, goals, coming, links, load_s=setting.load_s)
                ran = run(seed=seed, warm_up=setting.warm_up)
                kept.write(name, ran.packed())
            else:
                ran = Ran.unpacked(earlier)
            found.append(
                Run(cell.name, system, seed, cell.load, links, setting.asked(cell), coming, ran, cell.calibrates)
            )
            bar.advance(task)
    return found


def measure(setting: Setting, differing: int, folder: Path, console: Console, cells: Sequence[Cell] = CELLS) -> Found:
    """The real cells, and the simulator against them."""
    there = [cell for cell in cells if cell.link in setting.links]
    skipped = {
        cell.name: f"its link {cell.link} is not here: name its folder by --traces"
        for cell in cells
        if cell not in there
    }
    runs = run_cells(setting, there, folder)
    console.print(_table(runs, setting.material))
    validated = validate(runs, setting.material, setting.load_s, console, warm_up=setting.warm_up)
    body = {
        "data": setting.material.name,
        "requests": setting.requests,
        "warm_up": setting.warm_up,
        "deadlines_s": list(DEADLINES_S),
        "held_s": {"a_run": HELD_S, "a_picture": HELD_EACH_S},
        "capacity_per_s": setting.material.profile.capacity,
        "latency_s_by_stage": list(setting.material.latency_s),
        "load_seconds_of_a_variant": setting.load_s,
        "fabric": f"says what the package's network says; {_CHECKED} pictures were held against the Verilated RTL",
        "cells": [dataclasses.asdict(cell) for cell in there],
        "runs": [_row(run, setting.material) for run in runs],
        "validation": validated.body,
        "skipped": skipped,
    }  # fmt: skip
    minutes = sum(run.ran.wall_s for run in runs) / 60
    checks = [
        Check("real: requests of a run that count, the fewest", min(len(run.ran.outcomes.label) for run in runs),
              REQUESTS, False, "requests", "measured"),
        Check("real: minutes of all runs", minutes, MINUTES, True, "min", "measured"),
        Check("real: requests without any answer", sum(run.ran.unanswered for run in runs), 0, True, "requests",
              "measured"),
        Check("real: pictures of which the RTL says something else", differing, 0, True, "pictures", "simulated"),
        Check("real: packets that the emulated link missed", sum(run.missed for run in runs), 0, True, "packets",
              "measured"),
        *validated.checks,
    ]  # fmt: skip
    return Found(body, tuple(checks))


def _row(run: Run, material: Material) -> dict[str, Any]:
    """Of a run, as it is reported."""
    ran, outcomes = run.ran, run.ran.outcomes
    truth = material.truth[run.coming.picture[-len(outcomes.label) :]]
    batches = {size: len(seconds) for size, seconds in ran.runs.items()}
    return {
        "cell": run.cell,
        "system": run.system.name,
        "seed": run.seed,
        "accuracy": float(((outcomes.label == truth) & ~outcomes.late).mean()),
        "p50_ms": run.percentile_ms(50),
        "p99_ms": run.percentile_ms(99),
        "late": float(outcomes.late.mean()),
        "offloaded": float((outcomes.stage == len(material.labels)).mean()),
        "swaps": ran.swaps if run.system is SELECTING else 0,
        "unanswered": ran.unanswered,
        "faults": list(ran.faults),
        "turned_to_ms_p99": 1e3 * float(np.percentile(ran.turned_to_s, 99)),
        "model_runs_by_pictures": batches,
        "model_computed_s": ran.computed_s,
        "edge_processor_s": ran.processor_s,
        "seconds": ran.wall_s,
        "load_average_before": ran.load,
        "link_late_ms": {way: ran.link[way]["late_ms"] for way in ("up", "down")} if ran.link else None,
    }


def _table(runs: Sequence[Run], material: Material) -> PlainTable:
    """P50 and P99 by cell and system, the median of the repeats."""
    names = list(dict.fromkeys(run.cell for run in runs))
    systems = list(dict.fromkeys(run.system.name for run in runs))
    table = PlainTable(f"P50 / P99 in ms, measured, {material.name}", ["cell", *systems], words=("cell",))
    for name in names:
        cells = []
        for system in systems:
            of = [run for run in runs if (run.cell, run.system.name) == (name, system)]
            low, high = (float(np.median([run.percentile_ms(one) for run in of])) for one in (50, 99))
            cells.append(f"{low:.1f} / {high:.1f}")
        table.add_row(name, *cells)
    return table
