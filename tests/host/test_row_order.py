"""Where the last stage reaches a target alone, nothing is offloaded, and the promise is as sure as before."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from edgesight.host.calibrate import GRID, RowOrder, _last_passing, _parts, calibrate, resplit_check
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.kernel import Calibration, check_thresholds
from edgesight.host.observed import Observed, reaching, right_under
from edgesight.host.package import Package
from tests.host.drawn import LOSS, LOSSES, SAMPLE, SHA, draw

GUARANTEED = LOSSES.index(LOSS) + 1


def run(observed: Observed, targets: tuple[float, ...], seed: int = 0, family_error: float = 0.05) -> Calibration:
    return calibrate(
        observed, targets, loss=LOSS, backend_sha256=SHA, rests_on=SAMPLE, seed=seed, family_error=family_error
    )


def near(count: int, seed: int) -> Observed:
    """A cascade whose back end knows but few of the images that the last stage gets wrong."""
    observed = draw(count, seed)
    better = np.random.default_rng(seed).uniform(size=count) < 0.08
    backend = np.where(better, observed.truth, observed.labels[-1])
    return dataclasses.replace(observed, backend=np.stack([backend] * len(LOSSES)))


@pytest.mark.parametrize("family_error", [0.05, 0.5])
@pytest.mark.parametrize("make", [draw, near])
def test_a_target_that_the_last_stage_just_misses_is_missed_at_most_as_often_as_stated(
    make: Callable[[int, int], Observed], family_error: float
) -> None:
    """The hardest case: wrong by a hair. With an error of one half, the draws come near it, so that excess would show.

    With the usual one, too few of them come to the last stage's rows.
    """
    population = make(100_000, 1)
    target, draws = float(population.right[-1].mean()) + 1e-4, 300
    missed = kept_by_last = 0
    truths: dict[tuple[int, ...], float] = {}
    for seed in range(draws):
        indices = np.random.default_rng(5_000 + seed).integers(0, population.count, 2_000)
        for offered in run(population.take(indices), (target,), seed, family_error).targets:
            row = tuple(offered.thresholds)
            if row not in truths:
                truths[row] = float(right_under(population, np.array(row))[:GUARANTEED].mean(axis=1).min())
            missed += truths[row] < target
            kept_by_last += offered.last_stage_always
    # Plus three standard errors of a proportion over the draws.
    assert missed <= draws * family_error + 3 * np.sqrt(draws * family_error * (1 - family_error))
    if family_error == 0.5:
        assert missed > draws / 5
        assert kept_by_last > draws / 5


def test_of_all_targets_none_is_missed_more_often_than_stated_where_the_last_stage_reaches_some() -> None:
    population = near(200_000, 3)
    alone = float(population.right[-1].mean())
    targets = tuple(float(alone + off) for off in (-0.04, -0.02, -0.01, 1e-4, 0.002))
    draws, missed, kept_by_last = 200, 0, 0
    for seed in range(draws):
        indices = np.random.default_rng(9_000 + seed).integers(0, population.count, 2_000)
        made = run(population.take(indices), targets, seed).targets
        kept_by_last += any(target.last_stage_always for target in made)
        missed += any(
            right_under(population, np.array(target.thresholds))[:GUARANTEED].mean(axis=1).min() < target.accuracy
            for target in made
        )
    assert missed <= draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)  # three standard errors
    assert kept_by_last > draws / 2
    check = resplit_check(near(20_000, 4), targets, loss=LOSS, calibration_images=2_000, count=100)
    assert check.broken <= 100 * 0.05 + 3 * np.sqrt(100 * 0.05 * 0.95)


def test_nothing_is_offloaded_where_the_last_stage_suffices() -> None:
    """And where it does not, the rows are those of the confidence curves, as they would be without it."""
    observed = draw(10_000, 5)
    alone = float(observed.right[-1].mean())
    low, high = alone - 0.02, alone + 0.02
    first, second = run(observed, (low, high)).targets
    assert (first.last_stage_always, first.calibration_offload) == (True, 0.0)
    assert first.thresholds[-1] == ALWAYS
    assert first.accuracy <= first.lower_bound < min(first.calibration_accuracies)
    assert len(set(first.calibration_accuracies)) == 1  # no link has a part in it
    assert not reaching(observed, np.array(first.thresholds))[-1].any()
    # Along one p for all stages a share would be offloaded.
    fit, test = _parts(observed, np.random.default_rng(0))
    order = RowOrder.fitted(fit, GUARANTEED)
    whole = order.offloading.fitted(fit)
    right, answered = whole.walk(test)
    error = 0.05 / 2
    bounds = np.min(beta.ppf(error, right[:GUARANTEED], test.count - right[:GUARANTEED] + 1), axis=0)
    before, kept = _last_passing(bounds >= low), _last_passing(bounds >= high)
    assert before is not None
    assert kept is not None
    assert answered[-1, before] > 0.02 * test.count
    assert not second.last_stage_always
    assert second.confidence == float(GRID[kept])
    assert second.thresholds == whole.thresholds[:, kept].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_sequence_is_the_plain_one_row_by_row(seed: int) -> None:
    """Each row is looked at image by image, and by another library's bound."""
    observed = draw(1_500, seed)
    targets = (0.7, 0.78, 0.82, 0.86)
    fit, test = _parts(observed, np.random.default_rng(seed))
    rows = RowOrder.fitted(fit, GUARANTEED)
    assert rows.thresholds[:, 0].tolist() == [NEVER, NEVER]
    place = rows.offloading.rows
    assert 0 < place < GRID.size
    assert rows.thresholds[:, place].tolist() == [NEVER, ALWAYS]
    assert (rows.thresholds[-1, place:] == ALWAYS).all()
    alone = fit.right[-1].mean()
    # The last row of the first part is as good as the last stage; of the path's others none is.
    path = rows.offloading.fitted(fit).thresholds
    good = [right_under(fit, row)[:GUARANTEED].mean(axis=1).min() >= alone for row in path.T]
    assert place == 1 + max(index for index, one in enumerate(good) if one)
    made = run(observed, targets, seed)
    for target in made.targets:
        kept = None
        for index, row in enumerate(rows.thresholds.T):
            right = right_under(test, row)[:GUARANTEED].sum(axis=1)
            if np.min(beta.ppf(0.05 / len(targets), right, test.count - right + 1)) < target.accuracy:
                break
            kept = index
        assert kept is not None
        assert target.thresholds == rows.thresholds[:, kept].tolist()
        assert target.last_stage_always == (kept >= place)
        assert target.confidence == rows.confidences[kept]
    assert len(made.targets) >= 2


def test_counts_over_both_parts_equal_the_plain_cascade() -> None:
    observed = draw(300, seed=2)
    rows = RowOrder.fitted(observed, GUARANTEED)
    right, answered = rows.walk(observed)
    assert (answered.sum(axis=0) == observed.count).all()
    assert right.shape == (len(LOSSES), rows.confidences.size)
    for index in itertools.chain(range(0, rows.offloading.rows, 7), range(rows.offloading.rows, right.shape[1], 7)):
        row = rows.thresholds[:, index]
        assert (right[:, index] == right_under(observed, row).sum(axis=1)).all()
        reached = reaching(observed, row).sum(axis=1)
        assert (answered[:, index] == reached - np.append(reached[1:], 0)).all()


@pytest.mark.parametrize("stages", [1, 2])
def test_there_is_no_second_part_where_the_first_stage_is_as_good_as_the_last(stages: int) -> None:
    observed = draw(2_000, 6)
    same = dataclasses.replace(observed, margins=observed.margins[[1] * stages], labels=observed.labels[[1] * stages])
    rows = RowOrder.fitted(same, GUARANTEED)
    assert (rows.offloading.rows, rows.keeping.rows) == (GRID.size, 0)
    assert rows.thresholds[:, -1].tolist() == [ALWAYS] * stages
    right, _ = rows.walk(same)
    assert right.shape == (len(LOSSES), GRID.size)


def test_a_package_says_it_and_is_held_to_it(served_package: Package) -> None:
    observed = draw(10_000, 5)
    made = run(observed, (float(observed.right[-1].mean()) - 0.02, 0.9))
    first, second = made.targets
    stages = [stage.model_copy(update={"logit_bits": 16}) for stage in served_package.kernel.stages]
    check_thresholds(made, stages, 16)
    said = made.model_dump(mode="json")["targets"]
    # Others are written as before there was such a field, so that the checksum of their package stays right.
    assert [one.get("last_stage_always") for one in said] == [True, None]
    assert Calibration.model_validate(made.model_dump(mode="json")) == made

    def with_first(**changed: Any) -> Calibration:
        return made.model_copy(update={"targets": [first.model_copy(update=changed), second]})

    other = [first.thresholds[0], 7]
    for wrong in (with_first(last_stage_always=False), with_first(thresholds=other)):
        with pytest.raises(ValueError, match="do not fit the calibration's curves"):
            check_thresholds(wrong, stages, 16)
