"""Links that move: the detector against its definition, the map, and choices under uncertainty."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.plan.profile import Link, PlanError, Slo, read, write
from edgesight.plan.split.bandwidth import (
    STATES_MBPS,
    ChangePoints,
    ConfigurationMap,
    MovingSplit,
    SeriesPlan,
    follow,
    read_series,
)
from edgesight.plan.split.plan import Choices, split
from tests.plan.split.profiles import profile

SLO = Slo(latency_ms=20.0)


def steps(*levels: tuple[float, int], ripple: float = 0.1) -> list[float]:
    rng = np.random.default_rng(3)
    return [level * math.exp(rng.normal(0, ripple)) for level, count in levels for _ in range(count)]


def test_the_tables_are_students_distributions() -> None:
    stats = pytest.importorskip("scipy.stats")
    from edgesight.plan.split.bandwidth import _StudentTables

    tables = _StudentTables(3.0, 40)
    z = np.tile(np.linspace(-9.0, 9.0, 41), (41, 1))
    expected = np.array([stats.t.cdf(row, 3.0 + run) for run, row in enumerate(z)])
    assert np.abs(tables.below(z) - expected).max() < 1e-4
    densities = np.array([stats.t.pdf(z[run, 7], 3.0 + run) for run in range(41)])
    assert tables.density(z[:, 7]) == pytest.approx(densities)


def test_run_lengths_are_adams_and_mackays() -> None:
    """Against their recursion over all segmentations, written down directly, for the prior that the detector has."""
    stats = pytest.importorskip("scipy.stats")
    series = steps((5.0, 4), (20.0, 3))
    detector = ChangePoints(mean_run=10.0, longest=50)
    weights = {0: 1.0}  # by the run's start
    values: list[float] = []
    for place, mbps in enumerate(series):
        value = math.log(mbps)
        life = np.array(values) if values else np.array([value])
        centre = float(life.mean())
        variance = (10.0 + float(((life - centre) ** 2).sum() if values else 0.0)) / (10.0 + len(values))
        kappa, alpha, beta = 0.02 / 0.98, 1.5, 1.5 * 0.02 * variance
        grown = {}
        for start, weight in weights.items():
            run = np.array(values[start:])
            count, mean = len(run), float(run.mean()) if len(run) else 0.0
            k, a = kappa + count, alpha + count / 2
            m = (kappa * centre + count * mean) / k
            square = float(((run - mean) ** 2).sum()) if count else 0.0
            b = beta + square / 2 + kappa * count * (mean - centre) ** 2 / (2 * k)
            grown[start] = weight * float(stats.t.pdf(value, 2 * a, m, math.sqrt(b * (k + 1) / (a * k))))
        values.append(value)
        weights = {start: 0.9 * weight for start, weight in grown.items()}
        weights[place + 1] = 0.1 * sum(grown.values())
        total = sum(weights.values())
        weights = {start: weight / total for start, weight in weights.items()}
        detector.observe(mbps)
        lengths = detector.run_lengths()
        for start, weight in weights.items():
            assert lengths[place + 1 - start] == pytest.approx(weight, rel=1e-9)


def test_a_change_is_found_within_few_observations() -> None:
    detector = ChangePoints()
    for mbps in steps((20.0, 40), (2.0, 3)):
        detector.observe(mbps)
    assert int(detector.run_lengths().argmax()) == 3
    assert detector.run_mbps() == pytest.approx(2.0, rel=0.2)
    assert detector.probability_above(np.array([10.0]))[0] < 0.2


def test_a_stall_is_an_observation_and_recovery_too() -> None:
    detector = ChangePoints()
    for mbps in [*steps((20.0, 30)), 0.0, 0.0]:
        detector.observe(mbps)
    assert detector.probability_above(np.array([5.0]))[0] < 0.3
    for mbps in steps((20.0, 4)):
        detector.observe(mbps)
    assert detector.probability_above(np.array([10.0]))[0] > 0.7


def test_a_long_life_needs_no_more_memory_and_forgets() -> None:
    detector = ChangePoints(longest=10, mean_run=1e6)
    for mbps in [*steps((4.0, 200), ripple=0.3), *steps((6.0, 60), ripple=0.3)]:
        detector.observe(mbps)
    assert len(detector.run_lengths()) == 11
    assert detector.run_mbps() == pytest.approx(6.0, rel=0.25)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e4), min_size=1, max_size=90))
def test_predictions_are_distributions_whatever_the_series(series: list[float]) -> None:
    detector = ChangePoints(longest=20)
    for mbps in series:
        detector.observe(mbps)
    rates = np.concatenate(([0.0], np.geomspace(1e-9, 1e9, 60), [np.inf]))
    above = detector.probability_above(rates)
    assert above[0] == pytest.approx(1.0)
    assert above[-1] == pytest.approx(0.0, abs=1e-3)
    assert np.all(np.diff(above) <= 1e-12)
    assert detector.run_lengths().sum() == pytest.approx(1.0)


@pytest.mark.parametrize("mbps", [-1.0, math.nan, math.inf])
def test_what_is_no_bandwidth_is_refused(mbps: float) -> None:
    with pytest.raises(PlanError, match="no bandwidth"):
        ChangePoints().observe(mbps)


@pytest.mark.parametrize("bad", [{"mean_run": 0.5}, {"longest": 1}, {"spread": 0.0}, {"within": 1.0}])
def test_a_detector_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(PlanError, match=next(iter(bad))):
        ChangePoints(**bad)  # type: ignore[arg-type]


def test_the_map_holds_the_static_plan_of_each_state() -> None:
    choices = Choices.of(profile())
    table = ConfigurationMap.of(choices, SLO, 3.0, STATES_MBPS)
    for state in table.states:
        assert state.choice == split(profile(), Link(mbps=state.mbps, round_trip_ms=3.0), SLO).choice
    assert table.at(0.0) == table.states[0]
    assert table.at(1e6) == table.states[-1]
    with pytest.raises(PlanError, match="states"):
        ConfigurationMap.of(choices, SLO, 3.0, [])


def test_before_the_first_observation_nothing_relies_on_the_link() -> None:
    for fall_back in (False, True):
        index, on_time = MovingSplit(Choices.of(profile()), SLO, 3.0, fall_back=fall_back).choose()
        assert index == Choices.of(profile()).find("early", 1)
        assert on_time == 1.0
    hopeless = MovingSplit(Choices.of(profile()), Slo(latency_ms=5.0), 3.0)
    assert hopeless.choose() == (None, 0.0)


def test_the_choice_has_the_highest_expected_accuracy() -> None:
    choices = Choices.of(profile())
    moving = MovingSplit(choices, SLO, 3.0)
    for mbps in steps((8.0, 30), (5.0, 20), ripple=0.3):
        moving.observe(mbps)
        index, on_time = moving.choose()
        assert index is not None
        needed = choices.mbps_needed(20.0, 3.0)
        every = choices.accuracy * np.where(needed <= 0, 1.0, moving.changes.probability_above(needed))
        assert choices.accuracy[index] * on_time == pytest.approx(every.max())


def test_a_fast_link_is_used_and_a_stalled_one_is_not() -> None:
    choices = Choices.of(profile())
    moving = MovingSplit(choices, SLO, 3.0)
    for mbps in steps((30.0, 20)):
        moving.observe(mbps)
    assert moving.choose()[0] == choices.find("last", 0)
    for _ in range(3):
        moving.observe(0.0)
    assert moving.choose()[0] == choices.find("early", 1)


def test_with_a_fallback_more_is_risked() -> None:
    choices = Choices.of(profile())
    careful = MovingSplit(choices, SLO, 3.0)
    bold = MovingSplit(choices, SLO, 3.0, fall_back=True)
    for mbps in steps((7.0, 30), ripple=0.5):
        careful.observe(mbps)
        bold.observe(mbps)
        assert careful.fallback(0) == -1
    index, on_time = bold.choose()
    assert index is not None
    assert index == choices.find("last", 0)
    assert on_time < 0.75
    assert careful.choose()[0] == choices.find("early", 1)
    assert bold.fallback(index) == choices.find("early", 1)
    # No fallback that is less accurate than what is needed.
    strict = MovingSplit(choices, Slo(latency_ms=20.0, accuracy=0.8), 3.0, fall_back=True)
    strict.observe(30.0)
    assert strict.fallback(choices.find("last", 0)) == -1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.just(0.0) | st.floats(0.01, 200.0), max_size=25),
    st.floats(1.0, 60.0),
    st.none() | st.sampled_from((0.6, 0.8)),
    st.booleans(),
)
def test_no_choice_on_a_moving_link_breaks_a_constraint(
    series: list[float], deadline_ms: float, accuracy: float | None, fall_back: bool
) -> None:
    slo = Slo(latency_ms=deadline_ms, accuracy=accuracy)
    choices = Choices.of(profile())
    moving = MovingSplit(choices, slo, 3.0, fall_back=fall_back)
    for mbps in series:
        moving.observe(mbps)
    index, on_time = moving.choose()
    if index is None:
        assert on_time == 0.0
        return
    assert 0.0 < on_time <= 1.0
    fallback = moving.fallback(index)
    for made in (index, fallback):
        if made >= 0:
            choice = choices.choice(made, Link(mbps=1e9, round_trip_ms=3.0))  # fast enough for what can be on time
            legs = (choice.device_ms, choice.round_trip_ms, choice.datacenter_ms)
            assert math.fsum(legs) <= deadline_ms * (1 + 1e-9)
            assert choice.accuracy >= (accuracy or 0.0)
    if fallback >= 0:
        assert fall_back
        assert choices.up_bytes[fallback] == 0


def test_a_series_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "series.txt"
    path.write_text("".join(f"{mbps:.3f}\n" for mbps in steps((30.0, 10), (0.5, 5))))
    plan = follow(Choices.of(profile()), SLO, 3.0, read_series(path))
    assert [step.exit for step in plan.steps[3:10]] == ["last"] * 7
    assert [step.exit for step in plan.steps[-3:]] == ["early"] * 3
    write(tmp_path / "plan.json", plan)
    assert read(tmp_path / "plan.json", SeriesPlan) == plan


def test_a_series_is_followed_without_hindsight() -> None:
    series = steps((30.0, 10), (0.5, 5))
    choices = Choices.of(profile())
    whole, begun = (follow(choices, SLO, 3.0, part) for part in (series, series[:4]))
    assert whole.map == begun.map
    assert [state.mbps for state in whole.map.states] == list(STATES_MBPS)
    assert whole.steps[:4] == begun.steps


@pytest.mark.parametrize(
    ("text", "where"), [("", "is empty"), ("1\nfast\n", "line 2"), ("1\n\nx\n", "line 3"), ("-3\n", "line 1")]
)
def test_a_malformed_series_is_refused_with_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "series.txt"
    path.write_text(text)
    with pytest.raises(PlanError, match=where) as caught:
        read_series(path)
    assert str(path) in str(caught.value)


def test_a_series_that_is_too_long_for_its_time_is_followed_as_far_as_time_does() -> None:
    series = steps((30.0, 2000), (0.5, 2000))
    choices = Choices.of(profile())
    begun = time.thread_time()  # not of the clock: others may have the processor meanwhile
    follow(choices, SLO, 3.0, series[:1])
    least = time.thread_time() - begun
    begun = time.thread_time()
    plan = follow(choices, SLO, 3.0, series, seconds=0.2)
    # A map, and at most one step more, are made in any case.
    assert time.thread_time() - begun < 0.2 + 2 * least + 0.2
    assert 0 < len(plan.steps) < len(series)
    assert len(plan.steps) + plan.left_out == len(series)
    assert plan.steps == follow(choices, SLO, 3.0, series[: len(plan.steps)]).steps
