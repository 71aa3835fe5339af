"""Suggested targets, and what more pictures would give."""

from __future__ import annotations

import numpy as np
import pytest

from edgesight.host.accuracy_targets import (
    AUTO,
    CalibrationError,
    lower_bound,
    more_images,
    parse_targets,
    suggested,
)
from edgesight.host.calibrate import calibrate, fit_images, resplit_check
from edgesight.host.observed import Observed
from tests.host.drawn import LOSS, SAMPLE, SHA, draw


def test_suggested_targets_are_about_what_can_be_shown() -> None:
    targets = suggested(950, 1_000, 2_333, 0.05)
    reached = float(lower_bound(0.95 * 2_333, 2_333, 0.05 / 4))
    assert targets == sorted(targets)
    assert targets[2] <= reached < targets[3]
    assert all(round(target * 1_000) % 5 == 0 for target in targets)
    assert suggested(1, 10, 23, 0.05) == []
    assert max(suggested(10_000, 10_000, 23_000, 0.05)) < 1.0


def test_suggested_targets_hang_on_the_images_that_fit_alone() -> None:
    """What tests a target has no part in naming it, or the promise would not hold."""
    observed = draw(3_000, 3)
    fit = fit_images(observed.count, 7)
    tested = np.setdiff1d(np.arange(observed.count), fit)
    turned = observed.truth.copy()
    turned[tested] = np.roll(turned[tested], 1)
    other = Observed(observed.margins, observed.labels, observed.backend, observed.came, turned, observed.losses)

    def asked(of: Observed) -> list[float]:
        made = calibrate(of, AUTO, loss=LOSS, backend_sha256=SHA, rests_on=SAMPLE, seed=7)
        return sorted([one.accuracy for one in made.targets] + [one.accuracy for one in made.refused])

    assert asked(other) == asked(observed)
    turned[fit] = np.roll(turned[fit], 1)
    with pytest.raises(CalibrationError, match="no target can be expected to hold with 30 images"):
        asked(other.take(np.arange(30)))


def test_suggested_targets_are_shown_and_hold() -> None:
    """Nearly always one of the four; and the promise is that of any other target."""
    offered = 0
    for seed in range(20):
        made = calibrate(draw(500, seed), AUTO, loss=LOSS, backend_sha256=SHA, rests_on=SAMPLE)
        offered += bool(made.targets)
    assert offered >= 19
    checked = resplit_check(draw(20_000, 9), AUTO, loss=LOSS, calibration_images=1_000, count=100)
    assert checked.broken <= 10


def test_more_images_are_told_by_what_they_would_show() -> None:
    made = calibrate(draw(2_000, 5), AUTO, loss=LOSS, backend_sha256=SHA, rests_on=SAMPLE)
    said = more_images(made)
    worst = min(bucket.accuracy for bucket in made.buckets if bucket.loss <= LOSS)
    twice = float(lower_bound(worst * 2_800, 2_800, 0.05 / 4))
    assert f"with 2 times as many about {int(twice * 1_000) / 1_000:g}" in said


def test_auto_is_a_word_among_targets() -> None:
    assert parse_targets("auto") == AUTO
    with pytest.raises(CalibrationError, match=r"comma separated, such as 0\.88,0\.9, or auto"):
        parse_targets("0.9,auto")
