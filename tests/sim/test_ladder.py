"""The ladder: which ways to the data centre are kept, and which of them goes first."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.accuracy_targets import CalibrationError
from edgesight.host.calibrate import fit_images
from edgesight.host.link.quality import Step
from edgesight.sim.ladder import CANDIDATES, as_good, measure, measured_ladder, rungs
from tests.sim.patterns import StripeReader, photographs


def right(*lost: int, count: int = 1_000) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """By candidate: the first so many pictures are answered wrongly, the others rightly."""
    return np.arange(count) >= np.array(lost)[:, None]


def test_the_first_rung_is_the_smallest_that_is_as_good_as_the_finest() -> None:
    steps = [Step(90, 1), Step(50, 1), Step(20, 1), Step(90, 2), Step(50, 2), Step(20, 2)]
    sizes = np.array([900.0, 500.0, 400.0, 300.0, 200.0, 100.0])
    ladder = rungs(steps, sizes, right(100, 103, 150, 104, 300, 200))
    assert [(rung.quality, rung.divisor, rung.bytes) for rung in ladder] == [(90, 2, 300.0), (20, 2, 100.0)]
    assert [rung.accuracy for rung in ladder] == [0.896, 0.8]  # quality 50 is beaten in both by 20


def test_what_is_finer_and_not_as_good_bars_what_is_coarser() -> None:
    """A coarse way that comes out well by chance does not go first."""
    steps = [Step(90, 1), Step(50, 1), Step(20, 1)]
    assert rungs(steps, np.array([900.0, 500.0, 100.0]), right(100, 150, 99))[0].quality == 90
    assert [rung.quality for rung in rungs(steps, np.array([900.0, 500.0, 100.0]), right(100, 150, 99))] == [90, 50]


def test_half_a_point_and_the_sign_test_both_rule() -> None:
    finest = right(0)[0]
    assert as_good(right(4)[0], finest)
    assert not as_good(right(5)[0], finest)  # a fair coin falls five times alike in 3 %
    assert not as_good(right(2, count=100)[0], right(0, count=100)[0])  # two points, though chance might do it
    # 45 that differ, 25 lost and 20 won: half a point, and nothing that chance does not do.
    lost, won = np.arange(1_000) < 25, (np.arange(1_000) >= 25) & (np.arange(1_000) < 45)
    assert as_good(~lost, ~won)
    assert as_good(finest, finest)


@pytest.mark.parametrize(("count", "first"), [(1, 90), (29, 90), (30, 50)])
def test_so_few_pictures_that_they_show_nothing_go_at_the_finest(count: int, first: int) -> None:
    everything = np.ones((2, count), np.bool_)
    assert rungs([Step(90, 1), Step(50, 1)], np.array([900.0, 500.0]), everything)[0].quality == first


def test_what_cannot_be_sent_is_left_out() -> None:
    steps = [Step(90, 1), Step(50, 1)]
    assert [rung.quality for rung in rungs(steps, np.array([np.inf, 500.0]), right(1_000, 10))] == [50]
    with pytest.raises(CalibrationError, match="too large for the link at any quality: give a back end that takes"):
        rungs(steps, np.array([np.inf, np.inf]), right(0, 0))


def test_quality_and_size_are_told_by_what_the_back_end_makes_of_them() -> None:
    """Fine stripes bear some coarseness, but no smaller size, where they run together."""
    truth = np.arange(60) % 2
    sizes, answered = measure(StripeReader(), photographs(truth), truth, np.arange(60))
    accuracy = dict(zip(CANDIDATES, answered.mean(axis=1).tolist(), strict=True))
    assert accuracy[Step(92, 1)] == 1.0
    assert accuracy[Step(92, 2)] == accuracy[Step(15, 4)] == 0.5
    for one, other in itertools.pairwise(np.flatnonzero([step.divisor == 1 for step in CANDIDATES])):
        assert sizes[one] > sizes[other]
    first, *coarser = rungs(CANDIDATES, sizes, answered)
    assert (first.divisor, first.accuracy) == (1, 1.0)
    assert first.bytes < sizes[0]
    assert all(rung.bytes < first.bytes and rung.accuracy < 1.0 for rung in coarser)


def test_a_ladder_is_measured_on_the_images_that_fit_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    truth = np.arange(40) % 2
    pictures, model, chosen = photographs(truth), StripeReader(), fit_images(40, 3)
    ladder = measured_ladder(model, pictures, truth, chosen, "one data set")
    assert model.asked == [12] * len(CANDIDATES)
    assert measured_ladder(model, pictures, truth, chosen, "one data set") == ladder
    assert len(model.asked) == len(CANDIDATES)
    measured_ladder(model, pictures, truth, chosen, "another data set")
    measured_ladder(StripeReader(sha256="1" * 64, asked=model.asked), pictures, truth, chosen, "one data set")
    assert len(model.asked) == 3 * len(CANDIDATES)


def test_no_rung_is_finer_than_the_candidates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    truth = np.arange(80) % 2
    pictures, model, chosen = photographs(truth), StripeReader(), fit_images(80, 3)
    coarse = tuple(step for step in CANDIDATES if step.quality <= 30)
    finest = max(rung.bytes for rung in measured_ladder(model, pictures, truth, chosen, "one data set"))
    ladder = measured_ladder(model, pictures, truth, chosen, "one data set", coarse)
    assert {rung.quality for rung in ladder} <= {30, 15}
    assert ladder[0].bytes < finest


def test_tiny_photographs_travel_raw_and_have_no_ladder() -> None:
    model = StripeReader()
    assert measured_ladder(model, np.zeros((9, 32, 32, 1), np.uint8), np.zeros(9, np.int64), np.arange(3), "") == []
    assert not model.asked
