"""Real runs between processes, and what holds the simulator against them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")
pytest.importorskip("tritonclient.grpc.aio", reason="tritonclient is not installed: extra `oip`")

from edgesight.bench.serve import virtual
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.bench import SECTIONS
from edgesight.bench.serve.links import links_of
from edgesight.bench.serve.material import Material, TimedModel
from edgesight.bench.serve.real import cells, edge, validation
from edgesight.bench.serve.real.cells import Cell, Setting, run_cells
from edgesight.bench.serve.real.edge import DeviceFabric, outcomes
from edgesight.bench.serve.real.job import SYSTEMS, Job, held_profile, held_s
from edgesight.bench.serve.real.run import Ran
from edgesight.bench.serve.real.validation import Compared, Fitted, Run, checks, fit, simulated
from edgesight.bench.serve.replay import Host, Replayed
from edgesight.bench.serve.systems import DATA_CENTRE, EDGE, HEDGED, SELECTING, Goal
from edgesight.bench.serve.virtual import Outcomes
from edgesight.host.edge import EdgeError
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.package import Package
from edgesight.sim.link.model import directions
from edgesight.sim.link.trust import Trust
from edgesight.sim.link.virtual import VirtualLoop
from edgesight.sim.workload import Poisson, Workload, workload
from tests.bench.served_digits import LATENCY_S, served_digits

needs_all = pytest.mark.skipif(cells.lacking() is not None, reason=str(cells.lacking()))

CALM = Cell("calm", 0.08, "no loss", (0, 1), calibrates=True)


@pytest.fixture(scope="module")
def setting() -> Setting:
    served = served_digits((0.0, 0.03), held_profile())
    return Setting(served.material, served.goals, links_of(None), 1e-3, requests=50, warm_up=10)


def made_outcomes(took: np.ndarray, stage: int | np.ndarray = 0) -> Outcomes:
    stages = np.broadcast_to(stage, took.shape).astype(np.int64)
    return Outcomes(np.zeros(len(took), np.int64), took, np.zeros(len(took), np.bool_), stages, 0, 0.0, 0)


def made_run(setting: Setting, outcomes: Outcomes, seed: int = 0, calibrates: bool = False, load: float = 0.3) -> Run:
    ran = Ran(outcomes, 0, (), (0.0,), 0, {}, 0.0, {}, 0.0, 0.0, 1.0)
    coming = workload(Poisson(50.0), 100, 10)
    return Run("x", DATA_CENTRE, seed, load, setting.links["no loss"], tuple(setting.goals), coming, ran, calibrates)


@needs_all
def test_a_cell_runs_for_real_once_and_the_simulator_says_the_same(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_cells(setting, [CALM], tmp_path, (DATA_CENTRE, HEDGED))
    assert [(run.system, run.seed) for run in ran] == [(DATA_CENTRE, 0), (HEDGED, 0)]
    for run in ran:
        found = run.ran.outcomes
        assert len(found.label) == setting.requests
        assert (run.ran.unanswered, run.ran.faults, run.missed) == (0, (), 0)
        away = found.stage == len(setting.material.labels)
        assert away.any()
        assert (found.took_s[away & ~found.late] > 0.04 + held_s(1)).all()  # there and back, and the held model
        pictures = setting.coming(CALM, 0).picture[setting.warm_up :]
        assert np.array_equal(found.label[away], setting.material.backend[pictures[away]])
        for size, seconds in run.ran.runs.items():
            assert min(seconds) >= held_s(size)
        assert sum(size * len(seconds) for size, seconds in run.ran.runs.items()) >= away.sum()
        bare = simulated(setting.material, setting.load_s, setting.warm_up, run, Fitted())
        again = simulated(setting.material, setting.load_s, setting.warm_up, run, fit(run, bare, setting.material))
        assert 0.0 < np.median(bare.took_s) <= np.median(found.took_s)
        # One small run on a machine that does other things: far from its bars, and near enough to be no accident.
        assert np.median(again.took_s) == pytest.approx(np.median(found.took_s), rel=0.5)
    monkeypatch.setattr(cells, "run_once", None)  # nothing is run again
    kept = run_cells(setting, [CALM], tmp_path, (DATA_CENTRE, HEDGED))
    for one, other in zip(ran, kept, strict=True):
        assert json.dumps(one.ran.packed()) == json.dumps(other.ran.packed())


def test_runs_for_other_goals_or_of_another_network_are_not_taken_for_these(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def run_once(*given: Any, **settings: Any) -> Ran:
        runs.append(given)
        return Ran(made_outcomes(np.ones(3)), 0, (), (0.0,), 0, {}, 0.0, {}, 0.0, 0.0, 1.0)

    monkeypatch.setattr(cells, "run_once", run_once)
    goals = [dataclasses.replace(goal, variant=goal.variant + 1) for goal in setting.goals]
    served = setting.material.package
    package = Package(served.path, served.kernel.model_copy(update={"build_hash": "0" * 64}))
    others = (
        dataclasses.replace(setting, goals=goals),
        dataclasses.replace(setting, material=dataclasses.replace(setting.material, package=package)),
    )
    for number, one in enumerate((setting, *others), 1):
        for _ in range(2):
            run_cells(one, [CALM], tmp_path, (EDGE,))
        assert len(runs) == number


def test_a_section_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacks = SECTIONS["real"].lacks
    assert "Fashion-MNIST is not here" in str(lacks(Asked()))
    monkeypatch.setattr(cells, "missing", lambda: "network namespaces need root")
    assert lacks(Asked(fashion_mnist=tmp_path)) == "no link between network namespaces: network namespaces need root"


def job_of(setting: Setting, system: str, coming: Workload) -> Job:
    return Job(system, setting.material, tuple(setting.goals), coming, Trust(Path(), Path()), setting.load_s)


def test_the_edge_alone_answers_all_by_its_last_stage(setting: Setting) -> None:
    coming = workload(Poisson(200.0), 40, len(setting.material.truth), targets=2)
    told = asyncio.run(outcomes(job_of(setting, "edge", coming), ""))
    last = len(setting.material.labels) - 1
    assert set(told["stage"]) == {last}
    assert list(told["label"]) == setting.material.labels[last][coming.picture].tolist()
    assert (any(told["late"]), told["faults"], told["swaps"]) == (False, [], 0)
    assert min(told["took_s"]) > LATENCY_S[1] - LATENCY_S[0]


def test_what_fails_is_unanswered_and_told(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*given: object) -> None:
        raise EdgeError("the edge is closed: open it anew")

    monkeypatch.setattr("edgesight.host.edge.Edge.ask", fails)
    coming = workload(Poisson(500.0), 20, len(setting.material.truth), targets=2)
    told = asyncio.run(outcomes(job_of(setting, "edge", coming), ""))
    assert set(told["label"]) == {edge.UNANSWERED}
    assert all(told["late"])
    assert list(told["took_s"]) == coming.deadline_s.tolist()
    assert told["faults"] == ["the edge is closed: open it anew"] * 10  # of all that failed, some


def test_a_device_loads_a_variant_where_another_was(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    fabric = DeviceFabric(setting.material, 0.5)
    fabric.set_thresholds(0, [ALWAYS, ALWAYS])
    fabric.set_thresholds(1, [NEVER, ALWAYS])
    said = fabric.run(setting.material.images[:4], np.array([0, 1, 1, 0], np.uint8))
    assert said["stage"].tolist() == [0, 1, 1, 0]
    assert fabric.lone.swaps == 2
    assert slept == [pytest.approx(2 * 0.5 + 2 * 1e-4 + 2 * 3e-4, rel=1e-3)]


def test_runs_are_said_again_in_their_order_and_then_by_the_profile(setting: Setting) -> None:
    up, down = setting.links["no loss"]
    loop = VirtualLoop(*directions(up, down, 0), 0.0)
    took: list[float] = []
    loop.takes = took.append  # type: ignore[method-assign, assignment]
    model = TimedModel(setting.material, loop, 0, {}, replayed=Replayed({1: (0.5, 0.25), 2: (0.125,)}))
    for size in (1, 2, 1, 1):
        model.run(setting.material.photographs[:size])
    loop.close()
    # The clock stands still here, so that each run waits for those before it.
    assert took == pytest.approx(np.cumsum([0.5, 0.125, 0.25, held_s(1)]))


def test_what_hosts_take_is_found_again(setting: Setting) -> None:
    served = setting.material
    coming = workload(Poisson(60.0), 600, len(served.truth), targets=2, seed=1)
    chance = np.random.default_rng(0)
    host = Replayed(here_s=chance.exponential(2e-3, 500).tolist(), away_s=5e-3)
    cascade = next(one for one in SYSTEMS if one is HEDGED)
    run = dataclasses.replace(made_run(setting, made_outcomes(np.ones(1))), system=cascade, coming=coming)
    true = simulated(served, 1e-3, 100, run, Fitted(host.here_s, host.away_s))
    run = dataclasses.replace(run, ran=dataclasses.replace(run.ran, outcomes=true))
    bare = simulated(served, 1e-3, 100, run, Fitted())
    found = fit(run, bare, served)
    assert np.median(found.here_s) == pytest.approx(np.median(host.here_s), rel=0.2)
    assert found.away_s == pytest.approx(5e-3, rel=0.2)
    again = simulated(served, 1e-3, 100, dataclasses.replace(run, seed=2), found)
    for percent, bar in ((50, validation.P50_OFF), (99, validation.P99_OFF)):
        assert np.percentile(again.took_s, percent) == pytest.approx(np.percentile(true.took_s, percent), rel=bar)


def test_repeats_that_calibrate_are_pooled() -> None:
    one = validation.pooled([Fitted((0.1,), 1.0), Fitted((0.2, 0.3), 2.0), Fitted((), 9.0)])
    assert one == Fitted((0.1, 0.2, 0.3), 2.0)


def test_the_simulator_is_judged_by_repeats_that_calibrated_nothing(setting: Setting) -> None:
    took = np.linspace(0.01, 0.02, 200)

    def compared(times: float, seed: int, calibrates: bool = False, load: float = 0.3) -> Compared:
        return Compared(made_run(setting, made_outcomes(took), seed, calibrates, load), made_outcomes(took * times))

    good = [compared(1.05, seed) for seed in range(5)]
    assert [check.met for check in checks(good)] == [True, True]
    bad = [compared(1.15, seed) for seed in range(5)]
    assert [(check.met, round(check.value, 3)) for check in checks(bad)] == [(False, 0.15), (True, 0.15)]
    assert [check.met for check in checks([compared(0.7, seed) for seed in range(5)])] == [False, False]
    assert not checks([compared(1.0, seed, calibrates=True) for seed in range(5)])
    assert not checks([compared(1.0, seed, load=0.9) for seed in range(5)])
    assert not checks([compared(1.0, 0)])  # nothing of it was repeated


def test_hosts_take_no_time_unless_they_are_told_to() -> None:
    assert Host().takes() == 0.0
    assert Host.of(None).begin is None
    host = Host.of(Replayed(here_s=(0.25,), begin=3.0))
    assert (host.takes(), host.begin) == (0.25, 3.0)


def test_an_answer_that_hosts_make_too_late_counts_as_none(setting: Setting) -> None:
    coming = workload(Poisson(20.0), 30, len(setting.material.truth), deadlines_s=(0.1,))
    way, links = virtual.grpc, setting.links["no loss"]
    for away_s, late in ((0.0, False), (0.08, True)):
        slow = Replayed(away_s=away_s)
        found = virtual.run_data_centre(setting.material, coming, links, way, {}, warm_up=0, replayed=slow)
        assert set(found.late.tolist()) == {late}
        assert late == bool((found.took_s == 0.1).all())


def test_real_systems_are_five_of_the_grid() -> None:
    assert [system.name for system in SYSTEMS] == ["edge", "data-centre", "selecting", "two-stage", "hedged"]
    assert SYSTEMS[0] is EDGE
    assert SELECTING in SYSTEMS
    assert len(cells.CELLS) == 6
    assert sum(cell.repeats == 5 for cell in cells.CELLS) == 2
    assert {cell.load for cell in cells.CELLS if cell.calibrates} == {cell.load for cell in cells.CELLS}


def test_a_goal_and_material_go_to_another_process(setting: Setting) -> None:
    import pickle

    job = job_of(setting, "selecting", setting.coming(CALM, 0))
    same: Job = pickle.loads(pickle.dumps(job))
    assert same.kind is SELECTING
    goal: Goal = same.goals[1]
    served: Material = same.material
    assert (goal, served.name) == (setting.goals[1], "digits")
