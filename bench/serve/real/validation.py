"""The simulator against real runs: identical arrivals, and the model's runs as they were measured, in virtual time.

In virtual time the computers of both ends take none. What they take is fitted, for each system, in cells that
*calibrate*: of a request that the edge answers, what it took beyond the fabric, all of them to draw from; of one that
the data centre answers, what its median is above the simulation's. Every other cell is simulated with what was fitted
at the same load, and tests the simulator.

Words owned here: fitted, off (relative to the real run).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.bench.serve.links import Links
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.real.job import named
from edgesight.bench.serve.real.run import BEGIN_S, Ran, has_trace
from edgesight.bench.serve.replay import Replayed
from edgesight.bench.serve.systems import DATA_CENTRE, Goal, System, serve
from edgesight.bench.serve.virtual import Outcomes, one_stream, run_data_centre
from edgesight.sim.workers import PROCESSES, progress
from edgesight.sim.workload import Workload

P50_OFF, P99_OFF = 0.1, 0.2
MOST_LOAD: Final = 0.7  # up to which the simulator is held to that
_FEWEST: Final = 30  # answers from which on something is fitted


@dataclass(frozen=True)
class Run:
    """A real run, and what it was put under.

    Attributes:
        cell: its name.
        system: that was run.
        seed: of the repeat.
        load: of the cell.
        links: up and down.
        goals: that the workload's targets are.
        coming: the requests.
        ran: what came of it.
        calibrates: hosts are fitted in it.
    """

    cell: str
    system: System
    seed: int
    load: float
    links: Links
    goals: tuple[Goal, ...]
    coming: Workload
    ran: Ran
    calibrates: bool

    def percentile_ms(self, percent: float) -> float:
        """Of the requests that count."""
        return 1e3 * float(np.percentile(self.ran.outcomes.took_s, percent))

    @property
    def missed(self) -> int:
        """Packets that never came to the link, since this machine was too slow."""
        return sum(self.ran.link[way]["missed"] for way in ("up", "down")) if self.ran.link else 0


@dataclass(frozen=True)
class Fitted:
    """Of both ends' computers: what `Replayed` calls so."""

    here_s: Sequence[float] = ()
    away_s: float = 0.0


@dataclass(frozen=True)
class Compared:
    """A run, and its simulation."""

    run: Run
    simulated: Outcomes
    fitted: Fitted = field(default_factory=Fitted)

    def off(self, percent: float) -> float:
        """By how much a percentile of the simulation is off."""
        return (
            1e-3 * float(1e3 * np.percentile(self.simulated.took_s, percent)) * 1e3 / self.run.percentile_ms(percent)
            - 1.0
        )


def validate(runs: Sequence[Run], material: Material, load_s: float, console: Console, *, warm_up: int) -> Found:
    """All of the runs simulated, those that calibrate with and without what is fitted in them."""
    calibrating = [run for run in runs if run.calibrates]
    one = partial(simulated, material, load_s, warm_up)
    with ProcessPoolExecutor(PROCESSES) as workers, progress() as bar:
        task = bar.add_task("simulated again", total=len(calibrating) + len(runs))

        def all_of(some: Sequence[Run], fitted: Sequence[Fitted]) -> list[Outcomes]:
            found = []
            for outcomes in workers.map(one, some, fitted):
                found.append(outcomes)
                bar.advance(task)
            return found

        bare = all_of(calibrating, [Fitted()] * len(calibrating))
        found: dict[tuple[str, float], list[Fitted]] = {}
        for run, outcomes in zip(calibrating, bare, strict=True):
            found.setdefault((run.system.name, run.load), []).append(fit(run, outcomes, material))
        hosts = {key: pooled(some) for key, some in found.items()}
        fitted = [hosts.get((run.system.name, run.load), Fitted()) for run in runs]
        again = all_of(runs, fitted)
        centre = [number for number, run in enumerate(runs) if run.system.name == DATA_CENTRE.name and run.seed == 0]
        streamed = [workers.submit(by_one_stream, material, warm_up, runs[number], fitted[number]) for number in centre]
        other = [
            Compared(runs[number], one.result(), fitted[number]) for number, one in zip(centre, streamed, strict=True)
        ]
    compared = [Compared(*those) for those in zip(runs, again, fitted, strict=True)]
    console.print(_table(compared))
    body = {
        "fitted": [
            {
                "system": name,
                "load": load,
                "here_ms": [1e3 * float(np.percentile(one.here_s, at)) for at in (50, 99)] if one.here_s else None,
                "away_ms": 1e3 * one.away_s,
            }
            for (name, load), one in hosts.items()
        ],
        "without_fit": [_row(Compared(*those)) for those in zip(calibrating, bare, strict=True)],
        "rows": [_row(one) for one in compared],
        "grpc_as_one_quic_stream": [_row(one) for one in other],
    }
    return Found(body, tuple(checks(compared)))


def by_one_stream(material: Material, warm_up: int, run: Run, fitted: Fitted) -> Outcomes:
    """What gRPC would be if its connection were one ordered stream of QUIC, with our congestion control."""
    replayed = _replayed(run, fitted)
    told = material, run.coming, run.links, one_stream, dict[bytes, npt.NDArray[np.float32]]()
    return run_data_centre(*told, seed=run.seed, warm_up=warm_up, replayed=replayed)


def _replayed(run: Run, fitted: Fitted) -> Replayed:
    begin = BEGIN_S if has_trace(run.links) else None
    return Replayed(run.ran.runs, fitted.here_s, fitted.away_s, begin, run.seed)


def simulated(material: Material, load_s: float, warm_up: int, run: Run, fitted: Fitted) -> Outcomes:
    """The same arrivals, link and runs of the model, in virtual time."""
    return serve(
        named(run.system.name),
        material,
        run.goals,
        run.coming,
        run.links,
        {},
        load_s=load_s,
        seed=run.seed,
        replayed=_replayed(run, fitted),
        warm_up=warm_up,
    ).outcomes


def fit(run: Run, bare: Outcomes, material: Material) -> Fitted:
    """What the computers took in a run, `bare` being its simulation in which they take no time."""
    real, there = run.ran.outcomes, len(material.labels)
    by_edge = (real.stage < there) & ~real.late & (bare.stage < there) & ~bare.late
    here: list[float] = []
    if by_edge.sum() >= _FEWEST:
        here = np.maximum(real.took_s[by_edge] - bare.took_s[by_edge], 0.0).tolist()
    away = 0.0
    by_centre = [(one.stage == there) & ~one.late for one in (real, bare)]
    if all(one.sum() >= _FEWEST for one in by_centre):
        medians = [float(np.median(one.took_s[of])) for one, of in zip((real, bare), by_centre, strict=True)]
        # What a request takes at the edge anyway is in it already.
        away = max(medians[0] - medians[1] - (float(np.median(here)) if here else 0.0), 0.0)
    return Fitted(tuple(here), away)


def pooled(some: Sequence[Fitted]) -> Fitted:
    """Of the repeats of a cell that calibrates: all that requests took at the edge, and the median of the rest."""
    here = [seconds for one in some for seconds in one.here_s]
    return Fitted(tuple(here), float(np.median([one.away_s for one in some])))


def checks(compared: Sequence[Compared]) -> list[Check]:
    """Of cells that were repeated and calibrated nothing, up to the load that the simulator is held to."""
    made = []
    repeated = [one for one in compared if one.run.seed > 0 and not one.run.calibrates and one.run.load <= MOST_LOAD]
    for cell in dict.fromkeys(one.run.cell for one in repeated):
        of = [one for one in compared if one.run.cell == cell]
        systems = [one.run.system.name for one in of if one.run.seed == 0]
        for percent, bar in ((50, P50_OFF), (99, P99_OFF)):
            off = {
                name: abs(off_median([one for one in of if one.run.system.name == name], percent)) for name in systems
            }
            worst = max(off, key=lambda name: off[name])
            name = (
                f"simulator against real, {cell}: P{percent}, median of {len(of) // len(off)} repeats, worst ({worst})"
            )
            made.append(Check(name, off[worst], bar, True, "off", "measured"))
    return made


def off_median(of: Sequence[Compared], percent: float) -> float:
    """By how much the median of the repeats' simulated percentiles is off that of the real ones.

    What is lost by chance is other packets in each, so that no repeat has a twin.
    """
    real = float(np.median([one.run.percentile_ms(percent) for one in of]))
    virtual = float(np.median([1e3 * np.percentile(one.simulated.took_s, percent) for one in of]))
    return virtual / real - 1.0


def _row(one: Compared) -> dict[str, Any]:
    took = one.simulated.took_s
    return {
        "cell": one.run.cell,
        "system": one.run.system.name,
        "seed": one.run.seed,
        "calibrates": one.run.calibrates,
        **{f"real_p{at}_ms": one.run.percentile_ms(at) for at in (50, 99)},
        **{f"simulated_p{at}_ms": 1e3 * float(np.percentile(took, at)) for at in (50, 99)},
        **{f"p{at}_off": one.off(at) for at in (50, 99)},
        "real_late": float(one.run.ran.outcomes.late.mean()),
        "simulated_late": float(one.simulated.late.mean()),
    }


def _table(compared: Sequence[Compared]) -> PlainTable:
    columns = ["cell", "", "system", "repeats", "P50 ms", "simulated", "off", "P99 ms", "simulated ", "off "]
    table = PlainTable("The simulator against real runs; medians of repeats", columns, words=("cell", "", "system"))
    for cell, system in dict.fromkeys((one.run.cell, one.run.system.name) for one in compared):
        of = [one for one in compared if (one.run.cell, one.run.system.name) == (cell, system)]
        cells = []
        for at in (50, 99):
            real = np.median([one.run.percentile_ms(at) for one in of])
            virtual = np.median([1e3 * np.percentile(one.simulated.took_s, at) for one in of])
            cells += [f"{real:.2f}", f"{virtual:.2f}", f"{off_median(of, at):+.1%}"]
        table.add_row(cell, "calibrates" if of[0].run.calibrates else "tests", system, str(len(of)), *cells)
    return table
