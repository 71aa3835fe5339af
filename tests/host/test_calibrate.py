"""Calibration keeps its promise where the truth is known, refuses what it cannot keep, and stays whole on odd input."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.host.accuracy_targets import CalibrationError, advice, lower_bound, parse_targets
from edgesight.host.calibrate import (
    GRID,
    ThresholdPath,
    _parts,
    calibrate,
    confidence_curve,
    expected_calibration_error,
    resplit_check,
)
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.fabric.base import NEVER
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.kernel import Calibration, check_thresholds
from edgesight.host.observed import Observed, reaching, right_under
from edgesight.host.package import Package
from tests.host.by_hand import clear_images, sums
from tests.host.drawn import LOSS, LOSSES, SAMPLE, SHA, draw

TARGETS = (0.80, 0.85, 0.88, 0.90, 0.92)


def one_bucket(margins: npt.NDArray[Any], labels: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Observed:
    """A back end that is always right, over a link that loses nothing."""
    return Observed(margins, labels, truth[None], np.ones((1, truth.size), bool), truth, (0.0,))


def run(observed: Observed, targets: tuple[float, ...] = TARGETS, seed: int = 0) -> Calibration:
    return calibrate(
        observed, targets, loss=min(LOSS, observed.losses[-1]), backend_sha256=SHA, rests_on=SAMPLE, seed=seed
    )


def accuracy_under(observed: Observed, thresholds: list[int], bucket: int) -> float:
    """The cascade's accuracy, image by image: the slow and plain way."""
    right = 0
    for image in range(observed.count):
        label = observed.backend[bucket, image]
        for stage, threshold in enumerate(thresholds):
            if observed.margins[stage, image] >= threshold:
                label = observed.labels[stage, image]
                break
        right += int(label == observed.truth[image])
    return right / observed.count


def accuracies(observed: Observed, thresholds: Sequence[int]) -> list[float]:
    """The cascade's accuracy by bucket, all images at once."""
    reached = reaching(observed, np.array(thresholds))
    answers = reached & ~np.concatenate([reached[1:], np.zeros((1, observed.count), bool)])
    edge = (answers[:-1] & observed.right).sum()
    return [float((edge + (answers[-1] & right).sum()) / observed.count) for right in observed.backend_right]


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
                path_of[row] = min(accuracies(population, row)[: LOSSES.index(LOSS) + 1])
            if path_of[row] < target.accuracy:
                missed += 1
                break
    print(f"{missed} of {draws} draws missed a target")
    # 5 % plus three standard errors of a proportion over the draws.
    assert missed <= draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert len(path_of) > 20


def agreements(observed: Observed, thresholds: Sequence[int]) -> list[tuple[int, int]]:
    """By bucket, image by image: how often the fabric says what the back end said, of what both answered."""
    found = []
    for bucket in range(len(observed.losses)):
        agreed = count = 0
        for image in range(observed.count):
            stages = [s for s, least in enumerate(thresholds) if observed.margins[s, image] >= least]
            if stages and observed.came[bucket, image]:
                count += 1
                agreed += int(observed.labels[stages[0], image] == observed.backend[bucket, image])
        found.append((agreed, count))
    return found


def test_the_bound_of_agreement_lies_below_the_truth() -> None:
    population, most = draw(50_000, seed=3), LOSSES.index(LOSS) + 1
    truths: dict[tuple[int, ...], float] = {}
    seen = 0
    for seed in range(20):
        indices = np.random.default_rng(2_000 + seed).integers(0, population.count, 3_000)
        for target in run(population.take(indices), seed=seed).targets:
            row = tuple(target.thresholds)
            if row not in truths:
                truths[row] = min(agreed / count for agreed, count in agreements(population, row)[:most] if count)
            if target.agreement is not None:
                seen += 1
                measured = target.agreement.agreed / target.agreement.images
                assert target.agreement.lower_bound < min(truths[row], measured)
                assert target.agreement.lower_bound > measured - 0.06
    assert seen > 20


def test_without_answers_of_the_fabric_there_is_no_agreement_to_follow() -> None:
    margins, truth = np.zeros((1, 1_000), int), np.zeros(1_000, int)
    (target,) = run(one_bucket(margins, margins + 1, truth), (0.9,)).targets
    assert target.thresholds == [NEVER]
    assert target.agreement is None


def test_a_higher_guaranteed_loss_promises_no_more() -> None:
    observed = draw(5_000, seed=10)
    targets = tuple(np.linspace(0.86, 0.95, 10).tolist())
    offered = []
    for loss in LOSSES:
        calibration = calibrate(observed, targets, loss=loss, backend_sha256=SHA, rests_on=SAMPLE)
        offered.append({target.accuracy: target for target in calibration.targets})
        for target in calibration.targets:
            # Where it is promised its bound holds for the worst bucket; beyond, only what was measured is told.
            assert target.lower_bound < min(target.calibration_accuracies[: LOSSES.index(loss) + 1])
            assert len(target.calibration_accuracies) == len(target.backend_confidences) == len(LOSSES)
        assert [bucket.loss for bucket in calibration.buckets] == list(LOSSES)
    for less, more in itertools.pairwise(offered):
        assert set(more) <= set(less)
        assert all(less[accuracy].confidence <= target.confidence for accuracy, target in more.items())
    assert len(offered[-1]) < len(offered[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(50, 400), st.sampled_from(LOSSES))
def test_a_target_is_offered_only_where_its_test_passes_in_every_guaranteed_bucket(
    seed: int, count: int, loss: float
) -> None:
    observed = draw(count, seed)
    calibration = calibrate(observed, (0.6, 0.8), loss=loss, backend_sha256=SHA, rests_on=SAMPLE, seed=seed)
    alone = [
        calibrate(
            Observed(
                observed.margins,
                observed.labels,
                observed.backend[[bucket]],
                observed.came[[bucket]],
                observed.truth,
                (LOSSES[bucket],),
            ),
            (0.6, 0.8),
            loss=LOSSES[bucket],
            backend_sha256=SHA,
            rests_on=SAMPLE,
            seed=seed,
        )
        for bucket in range(LOSSES.index(loss) + 1)
    ]
    _, test = _parts(observed, np.random.default_rng(seed))
    for target in calibration.targets:
        assert all(target.accuracy in [one.accuracy for one in single.targets] for single in alone)
        right = right_under(test, np.array(target.thresholds))[: len(alone)].sum(axis=1)
        least = float(lower_bound(right, test.count, 0.05 / 2).min())
        # Offloading everything is tested first, and then the rows of the sequence (test_row_order.py).
        assert target.lower_bound == least >= target.accuracy
    for refused in calibration.refused:
        assert any(one.accuracy == refused.accuracy for single in alone for one in single.refused)
        assert refused.best_reachable < refused.accuracy


def test_the_buckets_tell_what_came_through() -> None:
    observed = draw(20_000, seed=11)
    for index, bucket in enumerate(run(observed).buckets):
        assert (bucket.loss, bucket.images) == (LOSSES[index], observed.count)
        assert bucket.accuracy == float(observed.backend_right[index].mean())
        assert bucket.nothing_came == pytest.approx(LOSSES[index] ** 4, abs=0.001)


def test_counts_along_the_grid_equal_the_plain_cascade() -> None:
    observed = draw(300, seed=2)
    fit, test = _parts(observed, np.random.default_rng(0))
    path = ThresholdPath.fitted(fit)
    right, answered = path.walk(test)
    assert (answered.sum(axis=0) == test.count).all()
    for index in range(0, GRID.size, 7):
        thresholds = path.thresholds[:, index]
        for bucket in range(len(LOSSES)):
            plain = accuracy_under(test, [int(threshold) for threshold in thresholds], bucket)
            assert right[bucket, index] / test.count == plain
        assert answered[-1, index] == reaching(test, thresholds)[-1].sum()


def test_a_threshold_is_the_smallest_margin_that_is_sure_enough() -> None:
    fit = draw(5_000, seed=3)
    path = ThresholdPath.fitted(fit)
    for stage in range(2):
        starts, confidences = confidence_curve(fit.margins[stage], fit.right[stage])
        for p, threshold in zip(GRID, path.thresholds[stage], strict=True):
            sure = starts[confidences >= p]
            assert threshold == (sure[0] if sure.size else NEVER)


def test_a_higher_target_never_has_a_lower_threshold() -> None:
    for seed in range(5):
        targets = run(draw(5_000, seed)).targets
        assert [target.set_index for target in targets] == list(range(len(targets)))
        assert len(targets) >= 2
        for low, high in itertools.pairwise(targets):
            assert low.accuracy < high.accuracy
            assert low.calibration_offload <= high.calibration_offload
            assert low.last_stage_always >= high.last_stage_always
            if low.last_stage_always == high.last_stage_always:
                assert low.confidence <= high.confidence
                assert all(a <= b for a, b in zip(low.thresholds, high.thresholds, strict=True))


def test_a_target_tells_how_many_pictures_reach_each_stage() -> None:
    observed = draw(5_000, seed=2)
    made = run(observed)
    for target in made.targets:
        _, tested = _parts(observed, np.random.default_rng(0))
        *reached, offloaded = (float(which.mean()) for which in reaching(tested, np.array(target.thresholds)))
        assert target.calibration_reached == reached
        assert (reached[0], target.calibration_offload) == (1.0, offloaded)
    assert made.targets[0].calibration_reached != made.targets[-1].calibration_reached


@pytest.mark.parametrize("shares", [[0.5, 0.3], [1.0], [1.0, 0.3, 0.2], []])
def test_shares_that_no_cascade_has_are_refused(shares: list[float], served_package: Package) -> None:
    made = run(draw(5_000, seed=2))
    stages = [stage.model_copy(update={"logit_bits": 16}) for stage in served_package.kernel.stages]
    check_thresholds(made, stages, 16)
    wrong = [target.model_copy(update={"calibration_reached": shares}) for target in made.targets]
    with pytest.raises(ValueError, match="no share for each stage"):
        check_thresholds(made.model_copy(update={"targets": wrong}), stages, 16)


def test_a_target_above_the_back_end_is_refused_with_the_best_reachable_bound() -> None:
    calibration = run(draw(5_000, seed=4), (0.85, 0.999))
    assert [target.accuracy for target in calibration.targets] == [0.85]
    (refused,) = calibration.refused
    assert refused.accuracy == 0.999
    worst = min(bucket.accuracy for bucket in calibration.buckets if bucket.loss <= LOSS)
    assert worst - 0.03 < refused.best_reachable < worst


def test_offered_targets_show_a_bound_that_reaches_them() -> None:
    for target in run(draw(5_000, seed=5)).targets:
        assert target.accuracy <= target.lower_bound < min(target.calibration_accuracies[:2])


def test_the_stated_confidence_is_calibrated_for_the_answers_of_every_stage_and_target() -> None:
    observed, fresh = draw(20_000, seed=6), draw(100_000, seed=7)
    calibration = run(observed)
    assert max(curve.expected_calibration_error for curve in calibration.curves) < 0.02
    for target in calibration.targets:
        reached = reaching(fresh, np.array(target.thresholds))
        for stage, curve in enumerate(target.curves):
            said = np.array([curve.at(margin) for margin in fresh.margins[stage, reached[stage]].tolist()])
            assert abs(float(said.mean()) - float(fresh.right[stage, reached[stage]].mean())) < 0.03
        offloaded = reached[-1] if reached[-1].any() else np.ones(fresh.count, bool)  # all stand in for none
        for confidence, right in zip(target.backend_confidences, fresh.backend_right, strict=True):
            assert abs(confidence - float(right[offloaded].mean())) < 0.04


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
    calibration = run(one_bucket(np.ones((2, count), int), np.zeros((2, count), int), truth), (0.5, 0.99))
    if count == 1_000:
        assert [target.thresholds for target in calibration.targets] == [[0, 0], [0, 0]]
    else:
        assert not calibration.targets  # no proof from so few images
    fitted = max(1, int(0.3 * count))
    assert all(curve.confidences == [(fitted + 1) / (fitted + 2)] for curve in calibration.curves)


def test_all_wrong_is_refused() -> None:
    truth = np.zeros(500, int)
    rows, came = np.ones((2, 500), int), np.ones((1, 500), bool)
    calibration = run(Observed(rows, rows, truth[None] + 1, came, truth, (0.0,)), (0.1, 0.9))
    assert not calibration.targets
    assert [refused.best_reachable for refused in calibration.refused] == [0.0, 0.0]
    assert all(curve.confidences == [1 / (150 + 2)] for curve in calibration.curves)


def test_edge_wrong_and_back_end_right_offloads_everything() -> None:
    truth = np.zeros(2_000, int)
    calibration = run(one_bucket(np.ones((2, 2_000), int), np.ones((2, 2_000), int), truth), (0.99,))
    (target,) = calibration.targets
    assert target.thresholds == [NEVER, NEVER]
    assert target.calibration_offload == 1.0


def test_input_that_cannot_be_calibrated_on_is_named() -> None:
    truth = np.zeros(4, int)
    rows = np.zeros((2, 4), int)
    with pytest.raises(CalibrationError, match=r"labels have shape \[2, 3\]: expected \[2, 4\]"):
        one_bucket(rows, rows[:, :3], truth)
    with pytest.raises(CalibrationError, match="backend has shape"):
        Observed(rows, rows, truth[None, :2], rows[:1] > 0, truth, (0.0,))
    with pytest.raises(CalibrationError, match=r"came has shape \[2, 4\]: expected \[1, 4\], a row a loss"):
        Observed(rows, rows, truth[None], rows > 0, truth, (0.0,))
    with pytest.raises(CalibrationError, match="expected rising shares of packets"):
        Observed(rows, rows, rows, rows > 0, truth, (0.1, 0.0))
    with pytest.raises(CalibrationError, match=r"loss 0\.05 was not observed: choose one of \[0\.0\]"):
        calibrate(one_bucket(rows, rows, truth), (0.5,), loss=0.05, backend_sha256=SHA, rests_on=SAMPLE)
    with pytest.raises(CalibrationError, match="cannot be joined"):
        one_bucket(rows, rows, truth).joined(Observed(rows, rows, truth[None], rows[:1] > 0, truth, (0.1,)))
    with pytest.raises(CalibrationError, match="margins reach from -1"):
        one_bucket(rows - 1, rows, truth)
    with pytest.raises(CalibrationError, match="give integers"):
        one_bucket(rows, rows, truth.astype(float))
    with pytest.raises(CalibrationError, match="at least one image"):
        one_bucket(rows[:, :0], rows[:, :0], truth[:0])
    with pytest.raises(CalibrationError, match="at least two"):
        run(one_bucket(rows[:, :1], rows[:, :1], truth[:1]))
    with pytest.raises(CalibrationError, match="give numbers between 0 and 1"):
        run(one_bucket(rows, rows, truth), (0.5, 1.0))
    with pytest.raises(CalibrationError, match="17 accuracy targets"):
        run(one_bucket(rows, rows, truth), tuple(np.linspace(0.1, 0.9, 17)))
    with pytest.raises(CalibrationError, match="calibration_images is 4"):
        resplit_check(one_bucket(rows, rows, truth), TARGETS, loss=0.0, calibration_images=4)


def test_resplits_hold_the_promise_and_are_fast() -> None:
    pool = draw(20_000, seed=9)
    begin = time.monotonic()
    resplits = resplit_check(pool, TARGETS, loss=LOSS, calibration_images=2_000, seed=3)
    assert time.monotonic() - begin < 20
    assert (resplits.count, resplits.calibration_images, resplits.held_out_images) == (200, 2_000, 18_000)
    assert resplits.broken <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_resplits_find_a_broken_promise() -> None:
    """With an error rate of one half the check must see what it is there to see."""
    pool = draw(20_000, seed=9)
    lossless = resplit_check(pool, (0.9,), loss=0.0, calibration_images=2_000, family_error=0.5, count=50)
    assert lossless.broken > 5


def test_a_bucket_in_which_the_back_end_fails_takes_the_target_away() -> None:
    """It is offered for the range below that bucket, and for none that holds it."""
    pool = draw(20_000, seed=9)
    bad = Observed(pool.margins, pool.labels, pool.backend.copy(), pool.came, pool.truth, LOSSES)
    half = pool.count // 2
    bad.backend[1, half:] = (bad.truth[half:] + 3) % 10  # of half of the images, if 5 % get lost
    order = np.random.default_rng(0).permutation(pool.count)
    for loss, offered in ((0.0, True), (LOSS, False)):
        calibration = calibrate(bad.take(order[:5_000]), (0.9,), loss=loss, backend_sha256=SHA, rests_on=SAMPLE)
        assert bool(calibration.targets) == offered


def test_the_back_end_is_observed_through_loss_and_repair(served_package: Package, backend: Path) -> None:
    observe = pytest.importorskip("edgesight.sim.observe").observe
    images = np.concatenate([clear_images(150), np.random.default_rng(1).integers(0, 256, (50, 28, 28, 1), np.uint8)])
    truth = sums(images, 1).argmin(axis=1)  # what the back end says of what is unharmed
    losses = (0.0, 0.05, 0.5, 1.0)
    logits = CsimFabric(served_package).logits(images)
    observed = observe(OnnxModel(backend), logits, images, truth, losses, 7)
    assert observed.losses == losses
    assert observed.backend_right[0].all()
    shares = observed.backend_right.mean(axis=1)
    assert shares[0] >= shares[1] > shares[2] > shares[3]
    assert observed.came[:2].all()
    assert 0.8 < observed.came[2].mean() < 1.0  # 0.5 ** 4, and parity for 5 % makes it rarer
    assert not observed.came[3].any()
    assert (observed.backend[3] == sums(images, 1).argmax(axis=1)).all()  # the last stage stands in
    again = observe(OnnxModel(backend), logits, images, truth, losses, 7)
    assert (again.backend == observed.backend).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", r"1\.5 is no share of right answers \(0\.015\?\): give numbers between 0 and 1"),
        ("0.9, 93", r"93 is no share .* \(0\.93\?\)"),
        ("-1", "-1 is no share of right answers: give numbers between 0 and 1, both excluded$"),
        ("nan", "nan is no share"),
        ("1", "1 is no share of right answers: give numbers between 0 and 1, both excluded$"),
        ("0.9,high", "give numbers, comma separated"),
        ("", "give numbers, comma separated"),
        (",".join(f"0.{k}" for k in range(100, 120)), "20 accuracy targets: give 1 to 16"),
    ],
)
def test_targets_that_cannot_be_are_refused_with_what_was_meant(text: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        parse_targets(text)
    assert parse_targets("0.9, 0.85,0.9") == [0.85, 0.9]


def test_a_refused_target_is_told_what_holds_and_what_more_images_would_give() -> None:
    observed = draw(2_000, 5)
    backend = min(float(right.mean()) for right in observed.backend_right[:2])
    near, beyond = round(backend - 0.004, 4), round(backend + 0.01, 4)
    made = run(observed, (0.8, near, beyond))
    assert [refused.accuracy for refused in made.refused] == [near, beyond]
    first, second, third = advice(made)
    highest = float(first.split("the highest target that holds is ")[1].split(":")[0])
    assert run(observed, (0.8, highest, beyond)).refused[0].accuracy == beyond  # it does hold
    assert run(observed, (0.8, highest + 0.002, beyond)).refused[0].accuracy == highest + 0.002
    count = int(second.split("would take about ")[1].split(" calibration")[0].replace(",", ""))
    # So many images at the same accuracy do prove it, and half of them don't.
    for images, enough in ((count, True), (count // 2, False)):
        tested = images - int(0.3 * images)
        assert (lower_bound(backend * tested, tested, 0.05 / 3) >= near) == enough
    assert f"{beyond:g} is out of reach with any number of images" in third
    assert advice(run(observed, (0.8,))) == []
