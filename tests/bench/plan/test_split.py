"""The bench of splits, small: its search, its links, its scores, and that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from edgesight.bench.plan import split as bench
from edgesight.bench.plan import split_moving as moving
from edgesight.bench.plan import split_search as search
from edgesight.bench.plan.split_links import Capacity, MovingLink, generated, steady, traces
from edgesight.bench.plan.split_resnet18 import ACCURACIES, PROFILE, write_network
from edgesight.plan.profile import PlanError, read
from edgesight.plan.split.plan import Choices, SplitProfile


def test_plans_equal_exhaustive_search() -> None:
    assert search.exhaustive(300, seed=7) == (0, 0)


def test_random_instances_have_ties_and_instances_that_nothing_meets() -> None:
    found = [search.search(*search.random_instance(np.random.default_rng([7, number]))) for number in range(200)]
    assert 20 < found.count(None) < 180


def test_a_wrong_tie_rule_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fastest = Choices._fastest

    def last(latency: np.ndarray, among: np.ndarray) -> int:
        least = np.where(among, latency, np.inf)
        return int(np.flatnonzero(least == least.min())[-1])

    monkeypatch.setattr(Choices, "_fastest", staticmethod(last))
    different, _ = search.exhaustive(300, seed=7)
    assert different > 0
    monkeypatch.setattr(Choices, "_fastest", staticmethod(fastest))


def test_capacity_is_the_integral_of_the_rate() -> None:
    capacity = Capacity(100.0, [8.0, 0.0, 16.0])  # 100,000 bytes, none, 200,000
    assert capacity.mean_mbps == pytest.approx(8.0)
    assert capacity.passed(np.array([50.0, 150.0, 250.0, 350.0])).tolist() == [50e3, 100e3, 200e3, 350e3]
    assert capacity.sent(np.array([50.0, 150.0]), 60e3).tolist() == pytest.approx([205.0, 230.0])
    assert capacity.transfer(50.0, 60e3, 1e3) == pytest.approx((205.0, 60e3))
    assert capacity.transfer(50.0, 60e3, 180.0) == pytest.approx((180.0, 50e3))


def test_single_transfers_end_as_the_vector_form_says() -> None:
    link = generated([5])[2].capacity
    starts = np.random.default_rng(0).uniform(0, 3 * link.period_ms, 200)
    ends = link.sent(starts, 40e3)
    for start, end in zip(starts, ends, strict=True):
        done, passed = link.transfer(float(start), 40e3, float(end) + 1e3)
        assert done == pytest.approx(end, abs=1e-6)
        assert passed == 40e3


def test_traces_are_read_and_bad_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "cell.up").write_text("0\n1\n1\n3\n")
    (tmp_path / "wifi.txt").write_text("8\n16\n")
    cell, wifi = traces(tmp_path)
    assert cell.capacity.period_ms == 4.0
    assert cell.capacity.mean_mbps == pytest.approx(4 * 1500 * 8 / 4 / 1e3)
    assert wifi.capacity.mean_mbps == pytest.approx(12.0)
    (tmp_path / "bad.txt").write_text("fast\n")
    with pytest.raises(PlanError, match=r"bad\.txt"):
        traces(tmp_path)
    with pytest.raises(PlanError, match="holds no trace"):
        traces(tmp_path / "absent")


def test_on_a_steady_link_ours_is_the_best_fixed_choice_but_for_the_first_request() -> None:
    cell = moving.try_link(read(PROFILE, SplitProfile), steady(20.0), 200.0, 40)
    assert cell.fixed == cell.oracle
    ours = cell.served[moving.OURS]
    assert ours.offloaded == 39 / 40
    assert cell.fixed - ours.accuracy == pytest.approx((0.6984 - 0.4126) / 40)


@pytest.mark.parametrize(("cut", "share"), [(0, 0.0), (3, 1.0), (None, 0.0)])
def test_cuts_between_the_ends_are_counted(cut: int | None, share: float) -> None:
    profile = read(PROFILE, SplitProfile)
    last = profile.exits[-1]

    class Stuck:
        choices = Choices.of(profile)
        fallbacks: npt.NDArray[np.int64] | None = None

        def choose(self) -> int | None:
            return self.choices.find(last.name, len(profile.chain(last)) if cut is None else cut)

        def observe(self, mbps: float) -> None:
            pass

    assert moving.serve(Stuck(), steady(20.0), 200.0, 5).interior == share


def test_a_link_that_steps_is_worth_moving_with_and_nobody_beats_the_oracle() -> None:
    rates = [30.0] * 200 + [1.0] * 200
    link = MovingLink("steps", "steps", Capacity(100.0, rates), 20.0)
    cell = moving.try_link(read(PROFILE, SplitProfile), link, 200.0, 240)
    assert cell.gain(moving.OURS) > 5.0
    for served in cell.served.values():
        assert served.accuracy <= cell.oracle + 1e-9
        assert 0.0 <= served.late <= 1.0


def test_the_shipped_profile_is_of_the_network_that_is_written(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    write_network(tmp_path / "net.onnx")
    graph = onnx.load(str(tmp_path / "net.onnx")).graph
    assert [output.name for output in graph.output] == list(ACCURACIES)
    profile = read(PROFILE, SplitProfile)
    assert {exit_.name: exit_.accuracy for exit_ in profile.exits} == ACCURACIES
    names = {node.name for node in graph.node}
    assert all(layer.name in names for layer in profile.layers)
    assert profile.input_bytes == 3 * 224 * 224
    assert (profile.obtained, profile.accuracy_obtained) == (
        {"device": "projected", "datacenter": "measured"},
        "quoted",
    )


def test_the_bench_checks_its_bars_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "REQUESTS", 80)
    monkeypatch.setattr(bench, "DEADLINES_MS", (200.0,))
    checks, body = bench.bench(tmp_path, Console(quiet=True), count=20, quick=True)
    assert len(checks) == 8
    assert (tmp_path / "split.png").read_bytes()[:4] == b"\x89PNG"
    assert "no folder of traces" in body["links"]["skipped"]
    assert checks[0].met
    assert body["gain_points"].keys() == body["cells"][0]["served"].keys() == body["interior_cuts"].keys()
    assert body["interior_cuts"]["exit only (BranchyNet)"] == 0.0
    assert all(0.0 <= share <= 1.0 for share in body["interior_cuts"].values())
