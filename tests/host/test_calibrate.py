"""Calibration keeps its promise where the truth is known, refuses what it cannot keep, and stays whole on odd input."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from host.calibrate import (
    GRID,
    CalibrationError,
    Observed,
    _parts,
    _Path,
    _reached,
    calibrate,
    confidence_curve,
    expected_calibration_error,
    lower_bound,
    resplit_check,
)
from host.fabric.base import NEVER
from host.kernel import Calibration

SHA = "0" * 64
TARGETS = (0.80, 0.85, 0.88, 0.90, 0.92)


def draw(count: int, seed: int) -> Observed:
    """A cascade of the shape of a real one: margins grow with being right; stages err on the same hard images."""
    generator = np.random.default_rng(seed)
    hardness = generator.normal(size=count)
    truth = generator.integers(0, 10, count)
    margins, labels = [], []
    for skill, noise in ((0.95, 1.0), (1.35, 0.8)):
        score = skill + noise * generator.normal(size=count) - 0.9 * hardness
        right = score > 0
        labels.append(np.where(right, truth, (truth + 1) % 10))
        margins.append(np.minimum(np.rint(20 * np.abs(score + 0.4 * generator.normal(size=count))), 400).astype(int))
    backend = np.where(1.9 + 0.4 * generator.normal(size=count) - 0.9 * hardness > 0, truth, (truth + 2) % 10)
    return Observed(np.stack(margins), np.stack(labels), backend, truth)


def run(observed: Observed, targets: tuple[float, ...] = TARGETS, seed: int = 0) -> Calibration:
    return calibrate(observed, targets, loss=0.05, backend_sha256=SHA, seed=seed)


def accuracy_under(observed: Observed, thresholds: list[int]) -> float:
    """The cascade's accuracy, image by image: the slow and plain way."""
    right = 0
    for image in range(observed.count):
        label = observed.backend[image]
        for stage, threshold in enumerate(thresholds):
            if observed.margins[stage, image] >= threshold:
                label = observed.labels[stage, image]
                break
        right += int(label == observed.truth[image])
    return right / observed.count


def test_any_target_is_missed_in_at_most_the_family_error_of_draws() -> None:
    population = draw(400_000, seed=1)
    path_of: dict[tuple[int, ...], float] = {}
    missed = 0
    draws = 300
    for seed in range(draws):
        indices = np.random.default_rng(1000 + seed).integers(0, population.count, 2_000)
        for target in run(population.take(indices), seed=seed).targets:
            row = tuple(target.thresholds)
            if row not in path_of:
                reached = _reached(population, np.array(row))
                answers = reached & ~np.concatenate([reached[1:], np.zeros((1, population.count), bool)])
                path_of[row] = float((answers & population.right).sum() / population.count)
            if path_of[row] < target.accuracy:
                missed += 1
                break
    print(f"{missed} of {draws} draws missed a target")
    # 5 % plus three standard errors of a proportion over the draws.
    assert missed <= draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert len(path_of) > 20


def test_counts_along_the_grid_equal_the_plain_cascade() -> None:
    observed = draw(300, seed=2)
    fit, test = _parts(observed, np.random.default_rng(0))
    path = _Path.fitted(fit)
    right, answered = path.walk(test)
    assert (answered.sum(axis=0) == test.count).all()
    for index in range(0, GRID.size, 7):
        thresholds = path.thresholds[:, index]
        assert right[index] / test.count == accuracy_under(test, [int(threshold) for threshold in thresholds])
        assert answered[-1, index] == _reached(test, thresholds)[-1].sum()


def test_a_threshold_is_the_smallest_margin_that_is_sure_enough() -> None:
    fit = draw(5_000, seed=3)
    path = _Path.fitted(fit)
    for stage in range(2):
        starts, confidences = confidence_curve(fit.margins[stage], fit.right[stage])
        for p, threshold in zip(GRID, path.thresholds[stage], strict=True):
            sure = starts[confidences >= p]
            assert threshold == (sure[0] if sure.size else NEVER)


def test_a_higher_target_never_has_a_lower_threshold() -> None:
    for seed in range(5):
        targets = run(draw(5_000, seed)).targets
        assert [target.set_index for target in targets] == list(range(len(targets)))
        for low, high in itertools.pairwise(targets):
            assert low.accuracy < high.accuracy
            assert low.confidence <= high.confidence
            assert all(a <= b for a, b in zip(low.thresholds, high.thresholds, strict=True))
            assert low.calibration_offload <= high.calibration_offload


def test_a_target_above_the_back_end_is_refused_with_the_best_reachable_bound() -> None:
    calibration = run(draw(5_000, seed=4), (0.85, 0.999))
    assert [target.accuracy for target in calibration.targets] == [0.85]
    (refused,) = calibration.refused
    assert refused.accuracy == 0.999
    assert calibration.backend_accuracy - 0.03 < refused.best_reachable < calibration.backend_accuracy


def test_offered_targets_show_a_bound_that_reaches_them() -> None:
    for target in run(draw(5_000, seed=5)).targets:
        assert target.accuracy <= target.lower_bound < target.calibration_accuracy


def test_the_stated_confidence_is_calibrated_for_the_answers_of_every_stage_and_target() -> None:
    observed, fresh = draw(20_000, seed=6), draw(100_000, seed=7)
    calibration = run(observed)
    assert max(curve.expected_calibration_error for curve in calibration.curves) < 0.02
    for target in calibration.targets:
        reached = _reached(fresh, np.array(target.thresholds))
        for stage, curve in enumerate(target.curves):
            said = np.array([curve.at(margin) for margin in fresh.margins[stage, reached[stage]].tolist()])
            assert abs(float(said.mean()) - float(fresh.right[stage, reached[stage]].mean())) < 0.03
        assert abs(target.backend_confidence - float(fresh.right[-1, reached[-1]].mean())) < 0.04


def test_the_curve_is_a_rising_step_function_that_starts_at_margin_zero() -> None:
    margins = np.array([5, 5, 7, 9, 9, 12])
    right = np.array([False, True, False, True, True, True])
    starts, confidences = confidence_curve(margins, right)
    assert starts.tolist() == [0, 9]
    np.testing.assert_allclose(confidences, [1 / 3, 4 / 5])  # three of three are no certainty


def test_the_bound_is_clopper_and_pearsons() -> None:
    # Of 20 right of 20, the exact bound solves b**20 = 0.05; nothing right bounds nothing.
    np.testing.assert_allclose(lower_bound(np.array([0, 20]), 20, 0.05), [0.0, 0.05 ** (1 / 20)])


def test_calibration_error_of_honest_and_of_overconfident_claims() -> None:
    generator = np.random.default_rng(8)
    claims = generator.uniform(0.2, 0.9, 50_000)
    right = generator.uniform(size=claims.size) < claims
    assert expected_calibration_error(claims, right) < 0.01
    assert abs(expected_calibration_error(claims + 0.1, right) - 0.1) < 0.01


@pytest.mark.parametrize("count", [2, 3, 1_000])
def test_all_right_is_answered_at_stage_zero(count: int) -> None:
    truth = np.zeros(count, int)
    calibration = run(Observed(np.ones((2, count), int), np.zeros((2, count), int), truth, truth), (0.5, 0.99))
    if count == 1_000:
        assert [target.thresholds for target in calibration.targets] == [[0, 0], [0, 0]]
    else:
        assert not calibration.targets  # no proof from so few images
    fitted = max(1, int(0.3 * count))
    assert all(curve.confidences == [(fitted + 1) / (fitted + 2)] for curve in calibration.curves)


def test_all_wrong_is_refused() -> None:
    truth = np.zeros(500, int)
    calibration = run(Observed(np.ones((2, 500), int), np.ones((2, 500), int), truth + 1, truth), (0.1, 0.9))
    assert not calibration.targets
    assert [refused.best_reachable for refused in calibration.refused] == [0.0, 0.0]
    assert all(curve.confidences == [1 / (150 + 2)] for curve in calibration.curves)


def test_edge_wrong_and_back_end_right_offloads_everything() -> None:
    truth = np.zeros(2_000, int)
    calibration = run(Observed(np.ones((2, 2_000), int), np.ones((2, 2_000), int), truth, truth), (0.99,))
    (target,) = calibration.targets
    assert target.thresholds == [NEVER, NEVER]
    assert target.calibration_offload == 1.0


def test_input_that_cannot_be_calibrated_on_is_named() -> None:
    truth = np.zeros(4, int)
    rows = np.zeros((2, 4), int)
    with pytest.raises(CalibrationError, match=r"labels have shape \[2, 3\]: expected \[2, 4\]"):
        Observed(rows, rows[:, :3], truth, truth)
    with pytest.raises(CalibrationError, match="backend has shape"):
        Observed(rows, rows, truth[:2], truth)
    with pytest.raises(CalibrationError, match="margins reach from -1"):
        Observed(rows - 1, rows, truth, truth)
    with pytest.raises(CalibrationError, match="give integers"):
        Observed(rows, rows, truth.astype(float), truth)
    with pytest.raises(CalibrationError, match="at least one image"):
        Observed(rows[:, :0], rows[:, :0], truth[:0], truth[:0])
    with pytest.raises(CalibrationError, match="at least two"):
        run(Observed(rows[:, :1], rows[:, :1], truth[:1], truth[:1]))
    with pytest.raises(CalibrationError, match="each must lie between 0 and 1"):
        run(Observed(rows, rows, truth, truth), (0.5, 1.0))
    with pytest.raises(CalibrationError, match="17 accuracy targets"):
        run(Observed(rows, rows, truth, truth), tuple(np.linspace(0.1, 0.9, 17)))
    with pytest.raises(CalibrationError, match="calibration_images is 4"):
        resplit_check(Observed(rows, rows, truth, truth), TARGETS, calibration_images=4)


def test_resplits_hold_the_promise_and_are_fast() -> None:
    pool = draw(20_000, seed=9)
    begin = time.monotonic()
    resplits = resplit_check(pool, TARGETS, calibration_images=2_000, seed=3)
    assert time.monotonic() - begin < 20
    assert (resplits.count, resplits.calibration_images, resplits.held_out_images) == (200, 2_000, 18_000)
    assert resplits.broken <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_resplits_find_a_broken_promise() -> None:
    """With an error rate of one half the check must see what it is there to see."""
    resplits = resplit_check(draw(20_000, seed=9), (0.9,), calibration_images=2_000, family_error=0.5, count=50)
    assert resplits.broken > 5
