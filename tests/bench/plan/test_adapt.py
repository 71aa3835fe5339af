"""The simulation of adaptation keeps its rules; the commands and the pictures work on real files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import edgesight.cli.plan.adapt  # noqa: F401 # registers its commands
from edgesight.bench.plan.adapt import time_rounds
from edgesight.bench.plan.adapt_grid import generated_trace, run_grid, simulate, traces_in
from edgesight.bench.plan.adapt_instances import ROUND_TRIP_MS, alike, compare, gpus, random_instances
from edgesight.bench.plan.adapt_picture import draw_bench
from edgesight.bench.plan.adapt_simulation import Capacity, Outcome, Scheduling, Simulation, most_in_time
from edgesight.cli.plan import group
from edgesight.plan.adapt.data import AdaptPlan, Client, Gpu, Situation, shipped
from edgesight.plan.adapt.plan import plan
from edgesight.plan.adapt.scheduler import LOAD_LIMIT, MARGIN
from edgesight.plan.profile import Link, PlanError, Slo, read

PROFILE = shipped("jellyfish")


@given(
    st.lists(st.floats(0.5, 90.0), min_size=1, max_size=8),
    st.floats(0.0, 20.0),
    st.floats(0.0, 30_000.0),
    st.floats(1.0, 3e6),
)
@settings(deadline=None)
def test_a_transfer_ends_when_its_bytes_have_passed(
    rates: list[float], offset_s: float, start_ms: float, size: float
) -> None:
    capacity = Capacity(rates, offset_s)
    done = capacity.done_ms(start_ms, size)
    assert capacity.carried(done) - capacity.carried(start_ms) == pytest.approx(size, rel=1e-6, abs=1e-3)


def accounted(run: Outcome) -> None:
    answered = len(run.latencies_ms)
    assert run.requests == answered + run.dropped_by_client + run.dropped_by_server
    assert run.missed >= run.dropped_by_client + run.dropped_by_server


def test_a_steady_link_misses_nothing() -> None:
    run = simulate(PROFILE, [30.0], alike(4, 15.0, 100.0), 20.0, seed=1)
    accounted(run)
    assert run.requests == 4 * 15 * 20
    assert run.missed == 0
    assert max(run.latencies_ms) <= 100.0
    assert run.mean_accuracy > 0.6
    assert len(run.round_seconds) == 40


def test_a_dead_link_misses_everything() -> None:
    run = simulate(PROFILE, [0.01], alike(2, 15.0, 100.0), 5.0, seed=1)
    accounted(run)
    assert run.missed == run.requests > 0


def test_drops_of_bandwidth_cost_little_and_every_request_is_accounted_for() -> None:
    trace = [40.0, 40.0, 18.0, 35.0, 15.0, 30.0]
    ours = simulate(PROFILE, trace, alike(4, 25.0, 100.0), 24.0, seed=2)
    told = simulate(PROFILE, trace, alike(4, 25.0, 100.0), 24.0, 2, Scheduling(told=True))
    for run in (ours, told):
        accounted(run)
    assert ours.in_time >= 0.99
    assert told.in_time >= 0.99
    assert ours.mean_accuracy > 0.8 * told.mean_accuracy


def test_clients_beyond_what_is_served_do_not_harm_the_others() -> None:
    clients, machines = alike(24, 25.0, 100.0), [Gpu(name="only")]
    link = Link(mbps=40.0 * (1 - MARGIN), round_trip_ms=ROUND_TRIP_MS)
    asked = Situation(
        profile=PROFILE,
        clients=tuple(client.model_copy(update={"link": link}) for client in clients),
        gpus=tuple(machines),
        load_limit=LOAD_LIMIT,
    )
    served = len(plan(asked).clients) / len(clients)
    run = simulate(PROFILE, [40.0], clients, 5.0, seed=3, machines=machines)
    accounted(run)
    assert 0.99 * served <= run.in_time < 0.9


def test_a_run_is_repeatable() -> None:
    first, again = (simulate(PROFILE, generated_trace(), alike(3, 25.0, 75.0), 10.0, seed=4) for _ in range(2))
    assert first.latencies_ms == again.latencies_ms
    assert first.accuracy == again.accuracy


def test_overhead_of_the_server_counts() -> None:
    clients = [Client(name="one", slo=Slo(latency_ms=100.0, rate=10.0), link=Link(mbps=1.0))]
    plain = simulate(PROFILE, [30.0], clients, 5.0, seed=1)
    burdened = simulate(PROFILE, [30.0], clients, 5.0, seed=1, overhead_ms=30.0)
    assert burdened.missed == 0
    assert burdened.mean_accuracy < plain.mean_accuracy


def test_traces_are_a_folders_text_files(tmp_path: Path) -> None:
    (tmp_path / "walk.txt").write_text("10\n20.5\n")
    (tmp_path / "other.up").write_text("0\n48\n")
    assert traces_in(tmp_path) == {"walk": (10.0, 20.5)}
    assert traces_in(None) == {}


def test_the_benchs_parts_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr("edgesight.bench.plan.adapt_grid.CLIENTS", (1,))
    cells = run_grid(PROFILE, {"steady": [30.0]}, 2.0, 1, Console(quiet=True))
    assert len(cells) == 6
    assert all(cell.qualifies and cell.in_time == 1 for cell in cells)
    compared = compare("random", list(random_instances(PROFILE, 2, seed=1)))
    assert compared["plans_that_break_a_constraint"] == 0
    assert compared["methods"]["pairwise"]["shortfall_worst"] <= 0.01
    rounds = time_rounds(PROFILE, 2, None, count=1, seed=0)
    assert rounds["processor_worst_ms"] > 0
    draw_bench(cells, [compared], [rounds], tmp_path / "adapt.png")
    assert (tmp_path / "adapt.png").read_bytes().startswith(b"\x89PNG")


def situation(tmp_path: Path, mbps: float = 20.0) -> Path:
    names = ("door", "gate")
    content: dict[str, Any] = {
        "profile": "jellyfish",
        "clients": [{"name": name, "slo": {"latency_ms": 100, "rate": 15}, "link": {"mbps": mbps}} for name in names],
        "gpus": [{"name": "left"}, {"name": "right"}],
    }
    path = tmp_path / "situation.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("method", ["pairwise", "exact"])
def test_the_command_plans_writes_and_draws(tmp_path: Path, method: str) -> None:
    out, picture = tmp_path / "plan.json", tmp_path / "plan.png"
    arguments = ["adapt", str(situation(tmp_path)), "--method", method, "--out", str(out), "--picture", str(picture)]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    made = read(out, AdaptPlan)
    assert made.feasible
    assert made.obtained == "projected"
    assert made.best_possible is not None or method != "exact"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Mean accuracy per request" in done.output


def test_the_command_says_who_is_not_served_and_fails(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    done = CliRunner().invoke(group, ["adapt", str(situation(tmp_path, mbps=0.5)), "--picture", str(picture)])
    assert done.exit_code == 1
    assert "Not served: client door" in " ".join(done.output.split())
    assert picture.exists()


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    done = CliRunner().invoke(group, ["adapt", str(situation(tmp_path)), "--method", "magic"])
    assert isinstance(done.exception, PlanError)
    assert "expected one of pairwise" in str(done.exception)


def test_a_replay_reports_each_run(tmp_path: Path) -> None:
    trace, out, picture = tmp_path / "walk.txt", tmp_path / "replay.json", tmp_path / "replay.png"
    trace.write_text("30\n20\n25\n")
    done = CliRunner().invoke(
        group,
        [
            *("adapt-replay", str(situation(tmp_path)), "--trace", str(trace), "--seconds", "4", "--out", str(out)),
            *("--method", "pairwise", "--method", "greedy", "--picture", str(picture)),
        ],
    )
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert report["obtained"] == "simulated"
    assert [run["method"] for run in report["runs"]] == ["pairwise", "greedy", "told"]
    assert all(run["requests"] == 2 * 15 * 4 for run in report["runs"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_no_run_has_more_in_time_than_its_links_carry() -> None:
    trace = [30.0, 2.0, 12.0, 0.2, 25.0]
    clients = alike(3, 25.0, 100.0)
    for seed in range(3):
        chance = random.Random(seed)
        links = [(client, Capacity(trace, chance.uniform(0, len(trace)))) for client in clients]
        most = most_in_time(PROFILE, links, 20.0, seed=seed)
        for told in (False, True):
            assert simulate(PROFILE, trace, clients, 20.0, seed, Scheduling(told=told)).in_time <= most + 1e-12
        assert most < 1


def test_what_a_dead_link_carries_is_nothing_and_a_wide_one_everything() -> None:
    (one,) = alike(1, 10.0, 100.0)
    assert most_in_time(PROFILE, [(one, Capacity([0.01]))], 5.0) == 0
    assert most_in_time(PROFILE, [(one, Capacity([100.0]))], 5.0) == 1


def test_a_lower_load_limit_has_more_in_time_and_less_accuracy() -> None:
    trace = [25.0, 40.0, 18.0, 35.0]
    clients = [client.model_copy(update={"slo": Slo(latency_ms=75.0, rate=25.0)}) for client in alike(8, 25.0, 75.0)]
    runs = []
    for limit in (1.0, 0.4):
        links = [(client, Capacity(trace, place / 2)) for place, client in enumerate(clients)]
        runs.append(Simulation(PROFILE, gpus(), links, Scheduling(load_limit=limit), seed=1).run(20.0))
    assert runs[1].in_time >= runs[0].in_time
    assert runs[1].mean_accuracy < runs[0].mean_accuracy


def test_the_replay_takes_mahimahis_traces_for_what_they_are(tmp_path: Path) -> None:
    client = {"name": "one", "slo": {"latency_ms": 100, "rate": 15}, "link": {"mbps": 20}}
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps({"profile": "jellyfish", "clients": [client], "gpus": [{"name": "g"}]}))
    # A packet of 1,500 bytes every 40 ms: 0.3 Mbit/s, where one Mbit/s a line would be 20 to 4,000 Mbit/s.
    trace = tmp_path / "cell.up"
    trace.write_text("".join(f"{40 * place}\n" for place in range(1, 101)))
    report = tmp_path / "report.json"
    arguments = ["adapt-replay", str(asked), "--trace", str(trace), "--seconds", "5", "--out", str(report)]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    assert "read as Mahimahi's, 100 packets" in " ".join(done.output.split())
    for run in json.loads(report.read_text())["runs"]:
        assert run["in_time"] == 0
        assert run["most_in_time"] == 0
