"""A site of its own in re-splits, and thresholds that are picked for accuracy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.recalibration import checks_of, of_observed, site_of, write_folder
from edgesight.bench.thresholds import keep, outcome, pick
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.observed import Observed
from edgesight.quant import datasets
from edgesight.quant.image_folder import FolderReading, load_labelled
from tests.host.drawn import LOSS, draw


def test_a_site_is_darker_and_has_fewer_of_the_rarer_classes(tmp_path: Path) -> None:
    data = datasets.load("digits", photograph=(64, 64, 1))
    site = site_of(data.test, [3, 7], brightness=0.5, seed=1)
    common, rare = (np.isin(site.labels, [3, 7]) == whether for whether in (False, True))
    assert common.sum() == (~np.isin(data.test.labels, [3, 7])).sum()
    assert 0.1 < rare.sum() / np.isin(data.test.labels, [3, 7]).sum() < 0.5
    assert abs(int(site.images.max()) - int(data.test.images.max()) / 2) <= 1
    assert site.photographs[np.arange(2)].max() <= 128
    write_folder(site, data.classes, tmp_path)
    read = load_labelled(tmp_path, data.classes, (64, 64, 1), FolderReading(), print)
    assert len(read.split) == len(site)
    assert np.array_equal(np.sort(read.split.labels), np.sort(site.labels))


def test_targets_of_a_site_hold_on_its_other_pictures() -> None:
    found = of_observed(draw(8_000, 4), loss=LOSS, calibration_images=800, count=60)
    assert (found.resplits, found.calibration_images, found.held_out_images) == (60, 800, 7_200)
    assert all(check.met for check in checks_of(found))
    assert 0.5 < found.highest < 1.0


def test_too_few_pictures_offer_nothing_and_are_seen() -> None:
    found = of_observed(draw(500, 4), loss=LOSS, calibration_images=4, count=10)
    assert (found.offering, found.broken, found.highest) == (0, 0, 0.0)
    assert [check.met for check in checks_of(found)] == [True, False]


def test_what_is_picked_offloads_least_within_the_accuracy_that_is_asked_for() -> None:
    calibration, test = draw(4_000, 1), draw(4_000, 2)
    near, far = pick(calibration, 0.0), pick(calibration, 0.02)
    assert near.backend_accuracy == pytest.approx(calibration.backend_right[0].mean())
    assert near.accuracy >= near.backend_accuracy
    assert far.accuracy >= far.backend_accuracy - 0.02
    assert far.offload < near.offload < 1.0
    same = outcome(calibration, far.thresholds)
    assert same.right.mean() == pytest.approx(far.accuracy)
    assert same.offload == pytest.approx(far.offload)
    held = outcome(test, far.thresholds)
    assert abs(held.behind) < 0.05
    assert held.right.shape == held.backend_right.shape == (4_000,)


def test_where_no_stage_helps_everything_is_offloaded() -> None:
    drawn = draw(300, 1)
    useless = Observed(
        drawn.margins, (drawn.labels * 0 + drawn.truth + 1) % 10, drawn.backend, drawn.came, drawn.truth, drawn.losses
    )
    assert pick(useless, 0.0).offload == 1.0


def test_of_what_thresholds_would_answer_a_share_is_held_back() -> None:
    calibration = draw(1_000, 7)
    whole, part = pick(calibration, 0.005), pick(calibration, 0.005, held_back=0.2)
    assert all(held >= plain for held, plain in zip(part.thresholds, whole.thresholds, strict=True))
    assert (1 - part.offload) / (1 - whole.offload) == pytest.approx(0.8, abs=0.03)
    assert pick(calibration, 0.005, held_back=0.0) == whole


def test_what_the_last_stage_keeps_offloads_nothing_and_asks_it_seldom() -> None:
    calibration = draw(4_000, 7)
    first, last = calibration.right[0].mean(), calibration.right[-1].mean()
    assert first < last
    asked = (first + last) / 2
    row, held = keep(calibration, asked), keep(calibration, asked, held_back=0.2)
    assert row[-1] == held[-1] == ALWAYS
    assert 0 < row[0] < held[0] < NEVER
    for one in (row, held):
        assert outcome(calibration, one).offload == 0.0
        assert outcome(calibration, one).right.mean() >= asked
    answered, of_held = ((calibration.margins[0] >= one[0]).mean() for one in (row, held))
    assert of_held / answered == pytest.approx(0.8, abs=0.03)
    assert keep(calibration, 1.0) == [NEVER, ALWAYS]
