"""The fleet's simulation against the real programs, and what is made of a fleet's run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.serve import fleet
from edgesight.bench.serve.links import links_of
from edgesight.bench.serve.material import Material, Profile, back_end, material
from edgesight.bench.serve.profiles import ProfileError, gpu_profile
from edgesight.bench.serve.virtual import WARM_UP
from edgesight.hls.zoo import shipped_folder
from edgesight.host.kernel import Target
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.sim.fleet.parts import FleetError
from edgesight.sim.fleet.run import run
from edgesight.sim.workload import Poisson, workload

PROFILE = Profile(tuple((1e-3 + 1e-3 * size, 2e-3 + 1e-3 * size) for size in range(8)))


@pytest.fixture(scope="module")
def served() -> Material:
    package = Package.load(shipped_folder() / "digits")
    calibration = package.kernel.calibration
    assert calibration is not None
    data = datasets.load("digits", None, package.kernel.input.height)
    assert back_end(package).classes == package.kernel.labels
    return material("digits", package, calibration, data.test, (1e-4, 4e-4), PROFILE)


@pytest.fixture(scope="module")
def target(served: Material) -> Target:
    """Of which a third goes to the data centre."""
    threshold = int(np.quantile(served.margins[1], 1 / 3))
    return served.calibration.targets[0].model_copy(update={"thresholds": [1_000_000, threshold]})


@pytest.mark.parametrize(("link", "per_s", "seeds"), [("no loss", 600.0, (3,)), ("5% loss", 100.0, (3, 4, 5))])
def test_a_fleet_of_one_takes_as_long_as_the_real_programs(
    served: Material, target: Target, link: str, per_s: float, seeds: tuple[int, ...]
) -> None:
    """By medians, as the section does: when an edge learns that its path loses is chance, and moves one run's P99."""
    pictures = fleet.pictures_of(served, [target])
    found = []  # [seed, offloaded or not, P50 and P99, real and simulated]
    for seed in seeds:
        coming = workload(Poisson(per_s), WARM_UP + 2_400, len(served.truth), deadlines_s=(0.25, 0.5), seed=seed)
        real, simulated = fleet.both_ways(served, [target], pictures, coming, links_of(None)[link], seed)
        away = pictures.unsure[0, coming.picture][WARM_UP:]
        assert 0.2 < away.mean() < 0.45
        assert np.quantile(np.abs(simulated - real)[~away], 0.99) < 1e-5  # the fabric does the very same
        both = np.stack([real, simulated])
        found.append([np.percentile(both[:, chosen], (50, 99), axis=1) for chosen in (away, ~away)])
    for of_kind in np.median(found, axis=0):
        for (real_s, simulated_s), within in zip(of_kind, (0.1, 0.2), strict=True):
            assert simulated_s == pytest.approx(real_s, rel=within)


def test_a_link_that_was_down_for_long_is_found_again_within_five_seconds(served: Material, target: Target) -> None:
    begin, end = 10.0, 40.0
    up, down = (dataclasses.replace(one, outages=((begin, end),)) for one in links_of(None)["no loss"])
    coming = workload(Poisson(24.0), WARM_UP + 700, len(served.truth), deadlines_s=(0.25,), seed=1)
    pictures = fleet.pictures_of(served, [target])
    real, simulated = fleet.both_ways(served, [target], pictures, coming, (up, down), 1)
    at, away = coming.at[WARM_UP:], pictures.unsure[0, coming.picture][WARM_UP:]
    for took in (real, simulated):
        assert (took[away & (at > begin) & (at < end - 0.25)] >= 0.25).all()
        assert (took[away & (at > end + 5.0)] < 0.25).all()


def test_a_small_fleet_is_told_of(served: Material, target: Target) -> None:
    pictures = fleet.pictures_of(served, [target])
    coming = fleet.workloads(400.0, 66.0, len(served.truth), edges=20)
    small = fleet.fleet_of(list(links_of(None).values()), edges=20)
    found = run(small, coming, pictures, [PROFILE] * fleet.SERVERS)
    told = fleet.told_of(found, small, pictures, coming)
    assert told["requests"] == sum(map(len, coming)) == sum(told["answers"].values())
    assert told["unanswered"] == 0
    assert told["back_s"] <= 5.0
    region = told["goodput_per_s"]["region_of_what_needs_offloading"]
    assert region["before"] > 5.0
    assert region["during"] == 0.0
    assert region["after"] > 0.5 * region["before"]
    assert told["goodput_per_s"]["fleet"]["during"] > 300.0
    assert sum(told["goodput_per_s"]["fleet"]["asked_by_second"]) == pytest.approx(told["requests"], rel=0.02)
    json.dumps(told)


def test_goodput_that_stays_away_is_not_back() -> None:
    at = np.arange(0.0, 80.0, 0.01)
    begin, end = fleet.OUTAGE_S
    away = (at >= begin) & (at < end + 3.2)
    assert fleet.back_s(at, ~away) == 3.5
    assert fleet.back_s(at, ~((at >= begin) & (at < end))) == 0.0
    assert fleet.back_s(at, at < begin) == float("inf")
    assert fleet.back_s(at, ~away & (at < 79.0)) == float("inf")
    assert fleet.back_s(at, np.zeros(len(at), bool)) == float("inf")  # it was never there
    asked = at >= begin
    assert fleet.back_s(at[asked], ~away[asked]) == float("inf")  # nobody knows what it was
    assert fleet.back_s(at[~asked], ~away[~asked]) == float("inf")  # nobody asked again
    once_more = (at >= 60.0) & (at < 60.5)
    assert fleet.back_s(at, ~away & ~once_more) == pytest.approx(60.5 - end)


def test_the_load_is_bounded_by_the_count() -> None:
    rate, seconds = fleet.rate_of(PROFILE, 0.25)
    capacity = fleet.full_capacity(PROFILE)
    assert capacity == pytest.approx(8 / 8.5e-3)
    assert rate * 0.25 == pytest.approx(fleet.LOAD * 4 * capacity)
    assert rate * seconds == pytest.approx(1.01 * fleet.REQUESTS)
    fast = Profile(tuple((1e-6,) for _ in range(8)))
    rate, seconds = fleet.rate_of(fast, 0.25)
    assert rate * seconds == pytest.approx(fleet.MOST_REQUESTS)
    assert seconds == fleet.LEAST_S
    with pytest.raises(FleetError, match="no picture is offloaded"):
        fleet.rate_of(PROFILE, 0.0)


def test_each_bar_can_be_missed_and_met() -> None:
    def body(share: float, **changed: float) -> dict[str, Any]:
        cell = {f"p{percent}_{what}": {"apart": share} for percent in (50, 99) for what in ("all", "offloaded")}
        told = {"requests": 1_000_000, "unanswered": 0, "back_s": 3.0, "run_seconds": 100.0, "peak_bytes": 1e9}
        return {**told, "agreement": [cell], "cut_off_alone": [{"apart": share}], **changed}

    assert all(check.met for check in fleet.checks(body(0.05)))
    worse = body(0.3, requests=1, unanswered=1, back_s=6.0, run_seconds=700.0, peak_bytes=5e9)
    assert not any(check.met for check in fleet.checks(worse))


def test_the_fastest_executor_of_a_gpu_is_taken(tmp_path: Path) -> None:
    def model(name: str, each: float) -> dict[str, Any]:
        return {"executor": name, "batch_seconds": {str(size): [each * size, each * size] for size in range(1, 9)}}

    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"device": "a GPU", "models": [model("slow", 2e-3), model("fast", 1e-3), {}]}))
    profile, whose = gpu_profile(path, 8)
    assert profile.usual(3) == pytest.approx(3e-3)
    assert "fast on a GPU" in whose


BATCHES = {str(size): [1e-3 * size] for size in range(1, 9)}


def _of_gpu(row: Any) -> str:
    """A report in which the times of three pictures are that `row`."""
    return json.dumps({"device": "x", "models": [{"executor": "y", "batch_seconds": {**BATCHES, "3": row}}]})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("nothing", "is no report of GPUs"),
        ('{"skipped": "PyTorch finds no NVIDIA GPU", "measured": []}', "PyTorch finds no NVIDIA GPU"),
        ('{"device": "x", "models": [{"executor": "y"}]}', "no seconds by batch"),
        ('{"device": "x", "models": [{"executor": "y", "batch_seconds": {"1": [0.1]}}]}', "is no report of GPUs"),
        ("[]", "is no report of GPUs"),
        (json.dumps({"device": "x", "models": [{"batch_seconds": BATCHES}]}), "is no report of GPUs"),
        (json.dumps({"models": [{"executor": "y", "batch_seconds": BATCHES}]}), "is no report of GPUs"),
        (_of_gpu([0.1, float("nan")]), "no seconds by batch"),
        (_of_gpu([0.1, float("inf")]), "no seconds by batch"),
        (_of_gpu("123"), "is no report of GPUs"),
        (_of_gpu([True]), "is no report of GPUs"),
        ("[" * 100_000, "is no report of GPUs"),
    ],
)
def test_what_holds_no_times_of_a_gpu_is_refused(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(content)
    with pytest.raises(ProfileError, match=told):
        gpu_profile(path, 8)
