"""Calibration: from what each stage said of held-back images to a threshold table with a promise behind it.

Words owned here: confidence curve, offered and refused target, re-split.

One parameter rules the whole cascade: p, a calibrated probability of being right. A confidence curve for each stage
(isotonic regression of "the label was right" on the integer margin) turns p into that stage's margin threshold: the
smallest margin whose confidence is at least p, or `NEVER` where none is. The promise is then made in two steps on
disjoint images:

1. The curves are fitted on one part (`FIT_SHARE`) of the images, which suggests targets, too, where none are named
   (`edgesight.host.accuracy_targets`). From there on the path from p to thresholds is fixed.
2. On the other part every target t is tested along one fixed sequence of rows (`RowOrder`), from offload-everything
   downwards: at each row the hypothesis "the cascade's accuracy under it is below t" is rejected when the exact
   one-sided Clopper-Pearson bound of level 1 - family_error / len(targets) reaches t. The first row that fails ends
   the sequence; the last that passed is kept. In such a fixed sequence a wrong row is only ever kept if the first wrong
   hypothesis met was rejected, so one target is missed with probability at most family_error / len(targets), and any of
   them (Bonferroni) with at most family_error. A curve fitted on the tested images would depend on their answers and
   break the first step.

Where the last stage reaches a target alone, nothing need be offloaded, but along one p a share of the images still is:
that stage gets a threshold of its own as long as its least sure answers are less sure than p. The sequence therefore
has two parts. The first goes down the grid `GRID` as far as the images that fit the curves are answered at least as
well as by the last stage alone, and no further: beyond, each row offloads, and answers worse than that stage, which
offloads nothing. The second begins with that stage alone and goes down the same grid for the stages before it, while it
answers whatever they leave, so that it is asked ever less. Where the second part begins is known before the tested
images are seen, so that the sequence is as fixed as one without it. It costs no share of the error, and a target that
the second part cannot keep ends at the first part's last row.

A target that fails at the very start, where everything is offloaded, is refused with the bound reached there.

The link is part of the promise. The back end is measured through the strips and their repair in several loss buckets
(`LOSSES`), and a target is offered for a whole range of them, from no loss to the highest one guaranteed: step 2's
hypothesis is then "there is a bucket in the range in which the cascade's accuracy at p is below t", and it is rejected
only when the bound reaches t in every one of them, each at the same level as before. That needs no further correction
(an intersection-union test): where the hypothesis is true it is true in at least one bucket, whose own test alone
already rejects it with at most that probability, and that the others must reject, too, only makes it rarer. Buckets
beyond the range are measured and recorded, but nothing is promised for them.

Sources: isotonic calibration: Zadrozny and Elkan, KDD 2002; fixed-sequence testing of a risk: Angelopoulos et al.,
"Learn then Test", arXiv 2110.01052; intersection-union test: Berger, Technometrics 24 (1982); the exact bound: Clopper
and Pearson, Biometrika 26 (1934); calibration error: Guo et al., arXiv 1706.04599.

This needs scipy, which has no wheels for 32-bit boards: calibrating belongs to the build side, and what runs on a board
imports nothing from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from edgesight.host.accuracy_targets import (
    AUTO,
    CalibrationError,
    Targets,
    checked_targets,
    lower_bound,
    suggested,
    tested_of,
)
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.kernel import (
    OFFLOAD_EVERYTHING,
    Agreement,
    Calibration,
    ConfidenceCurve,
    LossBucket,
    Refused,
    Resplits,
    Rung,
    Sample,
    Target,
)
from edgesight.host.observed import Observed, reaching

FAMILY_ERROR = 0.05
AGREEMENT_ERROR = 0.01  # probability that a bound of agreement of any target lies above the truth
# Of the buckets that the back end is measured in, each with the parity that a client at its lower end sends. Up to 5 %,
# for which targets are mostly held, they are narrow, so that this parity is not far from what the upper end needs.
LOSSES = (0.0, 0.01, 0.03, 0.05, 0.10, 0.20)
GRID: npt.NDArray[np.float64] = np.concatenate([[OFFLOAD_EVERYTHING], np.linspace(1.0, 0.0, 401)])
_ECE_BINS = 15

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def confidence_curve(margins: Ints, right: Bools) -> tuple[Ints, Floats]:
    """Isotonic probability of being right by integer margin: margins [B] ascending from 0, confidences [B] ascending.

    Confidence at margin m is that of the last entry whose margin is at most m. No image at all means no confidence.
    """
    if margins.size == 0:
        return np.zeros(1, np.int64), np.zeros(1)
    # One weighted point a margin: otherwise the order among equal margins would leak into the fit.
    values, inverse, weights = np.unique(margins, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=right) / weights
    fitted = isotonic_regression(means, weights=weights.astype(float)).x
    first = np.flatnonzero(np.concatenate([[True], np.diff(fitted) > 0]))
    # A block without a single wrong answer would be called certain; Laplace's rule of succession for its count of
    # images keeps certainty out of both ends, and the running maximum keeps the curve rising.
    images = np.add.reduceat(weights, first)
    confidences = np.maximum.accumulate(np.clip(fitted[first], 1 / (images + 2), (images + 1) / (images + 2)))
    rising = np.concatenate([[True], np.diff(confidences) > 0])
    starts = values[first][rising].astype(np.int64)
    starts[0] = 0
    return starts, confidences[rising]


def expected_calibration_error(confidences: Floats, right: Bools, bins: int = _ECE_BINS) -> float:
    """Mean gap between confidence and accuracy over `bins` equal bins of confidence, weighted by images.

    Formula (3) of Guo et al., arXiv 1706.04599. 0 where there is no image.
    """
    if confidences.size == 0:
        return 0.0
    which = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=confidences - right, minlength=bins)
    return float(np.abs(gaps).sum() / confidences.size)


def calibrate(
    observed: Observed,
    targets: Targets,
    *,
    loss: float,
    backend_sha256: str,
    rests_on: Sample,
    ladder: Sequence[Rung] = (),
    family_error: float = FAMILY_ERROR,
    seed: int = 0,
) -> Calibration:
    """Make the threshold table for accuracy `targets` (each between 0 and 1) from `observed` images.

    `loss` is the highest of `observed.losses` under which the targets are to hold; `backend_sha256`, the model that was
    observed, `rests_on`, what the images are, and the `ladder`, by whose first rung they were sent, are only recorded.
    `seed` chooses which images fit the curves. Raises CalibrationError.
    """
    guaranteed = observed.buckets_up_to(loss)
    fit, test = _parts(observed, np.random.default_rng(seed))
    wanted = _wanted(targets, fit, test.count, guaranteed, family_error)
    if not wanted:
        raise CalibrationError(
            f"no target can be expected to hold with {observed.count} images, of which the back end answers "
            f"{_share(observed.backend_right[:guaranteed]):.0%} rightly: give more labelled pictures, or a better back "
            "end"
        )
    order = RowOrder.fitted(fit, guaranteed)
    right, answered = order.walk(test)
    bounds = lower_bound(right[:guaranteed], test.count, family_error / len(wanted)).min(axis=0)
    offered: list[Target] = []
    refused: list[Refused] = []
    for accuracy in wanted:
        kept = _last_passing(bounds >= accuracy)
        if kept is None:
            refused.append(Refused(accuracy=accuracy, best_reachable=float(bounds[0])))
            continue
        thresholds = order.thresholds[:, kept]
        offloaded = reaching(observed, thresholds)[-1]
        offered.append(
            Target(
                accuracy=accuracy,
                set_index=len(offered),
                confidence=float(order.confidences[kept]),
                last_stage_always=kept >= order.offloading.rows,
                thresholds=[int(threshold) for threshold in thresholds],
                lower_bound=float(bounds[kept]),
                calibration_accuracies=[float(count / test.count) for count in right[:, kept]],
                calibration_offload=float(answered[-1, kept] / test.count),
                calibration_reached=[float(count / test.count) for count in _reached(answered[:, kept])],
                curves=_curves(fit, test, thresholds),
                backend_confidences=[
                    _succession(bucket[offloaded if offloaded.any() else ...]) for bucket in observed.backend_right
                ],
                agreement=_agreement(test, order.thresholds, kept, guaranteed, len(wanted)),
            )
        )
    everyone = np.full(observed.margins.shape[0], NEVER)
    return Calibration(
        images=observed.count,
        rests_on=rests_on,
        family_error=family_error,
        loss=loss,
        buckets=[
            LossBucket(loss=lost, images=observed.count, accuracy=_share(right), nothing_came=_share(~came))
            for lost, right, came in zip(observed.losses, observed.backend_right, observed.came, strict=True)
        ],
        backend_sha256=backend_sha256,
        ladder=list(ladder),
        curves=_curves(fit, test, everyone),
        targets=offered,
        refused=refused,
        resplits=None,
    )


def resplit_check(
    pool: Observed,
    targets: Targets,
    *,
    loss: float,
    count: int = 200,
    calibration_images: int | None = None,
    family_error: float = FAMILY_ERROR,
    seed: int = 0,
) -> Resplits:
    """Check the promise itself: calibrate on one part of `pool` and look at the rest, `count` times.

    A re-split is broken when the rest's accuracy lies below any target that this calibration offered, in any bucket up
    to that of `loss`. The rest is not the population: its own sampling noise counts against the promise, so it should
    be much the larger part.
    `calibration_images` is a tenth of the pool, at least 2, unless told. Raises CalibrationError.
    """
    guaranteed = pool.buckets_up_to(loss)
    images = max(2, pool.count // 10) if calibration_images is None else calibration_images
    if not 0 < images < pool.count:
        raise CalibrationError(
            f"calibration_images is {images}, but the pool has {pool.count}: "
            "leave at least one image on either side, and most of them held out"
        )
    generator = np.random.default_rng(seed)
    broken = 0
    for _ in range(count):
        shuffled = generator.permutation(pool.count)
        fit, test = _parts(pool.take(shuffled[:images]), generator)
        rest = pool.take(shuffled[images:])
        wanted = _wanted(targets, fit, test.count, guaranteed, family_error)
        if not wanted:
            continue
        order = RowOrder.fitted(fit, guaranteed)
        bounds = lower_bound(order.walk(test)[0][:guaranteed], test.count, family_error / len(wanted)).min(axis=0)
        accuracy = order.walk(rest)[0][:guaranteed].min(axis=0) / rest.count
        kept = [(target, _last_passing(bounds >= target)) for target in wanted]
        broken += any(index is not None and accuracy[index] < target for target, index in kept)
    return Resplits(
        count=count, broken=broken, calibration_images=images, held_out_images=pool.count - images, seed=seed
    )


@dataclass(frozen=True)
class ThresholdPath:
    """Margin thresholds along falling confidences: [stages, rows], never growing from one row to the next."""

    confidences: Floats  # [rows]: p
    thresholds: Ints  # [stages, rows]

    @classmethod
    def fitted(cls, fit: Observed) -> ThresholdPath:
        """The path that the confidence curves which are fitted to these images give along `GRID`."""
        rows = []
        for margins, right in zip(fit.margins, fit.right, strict=True):
            starts, confidences = confidence_curve(margins, right)
            block = np.searchsorted(confidences, GRID, side="left")  # first block that is sure enough
            rows.append(np.append(starts, NEVER)[block])
        return cls(GRID, np.stack(rows).astype(np.int64))

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.confidences.size)

    def first(self, rows: int) -> ThresholdPath:
        """So many of the rows, from the first on."""
        return ThresholdPath(self.confidences[:rows], self.thresholds[:, :rows])

    def keeping(self) -> ThresholdPath:
        """The same, but that the last stage answers whatever the stages before it leave."""
        thresholds = self.thresholds.copy()
        thresholds[-1] = ALWAYS
        return ThresholdPath(self.confidences, thresholds)

    def walk(self, images: Observed) -> tuple[Ints, Ints]:
        """Right answers by bucket [buckets, rows], and answers by stage, back end last [stages + 1, rows].

        Thresholds fall along the rows, so each image has for each stage one row from which on that stage would answer
        it; counting where those lie answers all rows in one pass over the images.
        """
        points = self.rows

        def from_to(begin: Ints, until: Ints, chosen: Bools | None = None) -> Ints:
            """How many (`chosen`) images are answered at every point, each from `begin` on and before `until`."""
            if chosen is not None:
                begin, until = begin[chosen], until[chosen]
            steps = np.bincount(begin, minlength=points + 1) - np.bincount(until, minlength=points + 1)
            return np.cumsum(steps)[:-1]

        stages = len(self.thresholds)
        answered = np.zeros((stages + 1, points), np.int64)
        right = np.zeros(points, np.int64)
        until = np.full(images.count, points)  # an earlier stage answers from here on
        for stage, (falling, stage_right) in enumerate(zip(self.thresholds, images.right, strict=True)):
            sure = points - np.searchsorted(falling[::-1], images.margins[stage], side="right")
            begin = np.minimum(sure, until)
            answered[stage] = from_to(begin, until)
            right += from_to(begin, until, stage_right)
            until = begin
        first = np.zeros(images.count, np.int64)
        answered[stages] = from_to(first, until)
        return np.stack([right + from_to(first, until, bucket) for bucket in images.backend_right]), answered


@dataclass(frozen=True)
class RowOrder:
    """The rows that targets are tested along: those that offload, then those of which the last stage keeps everything.

    The second part may be empty: where nothing is gained by it.
    """

    offloading: ThresholdPath
    keeping: ThresholdPath

    @classmethod
    def fitted(cls, fit: Observed, guaranteed: int) -> RowOrder:
        """The order that these images give; they may not be the tested ones.

        The first row offloads everything. From the last one on that answers as many of them rightly, in each of the
        `guaranteed` buckets, as the last stage alone, there is nothing left to offload for.
        """
        path = ThresholdPath.fitted(fit)
        right = path.walk(fit)[0][:guaranteed].min(axis=0)
        as_good = np.flatnonzero(right >= fit.right[-1].sum())
        offloading = path.first(1 + int(as_good.max(initial=0)))
        return cls(offloading, path.keeping().first(path.rows if offloading.rows < path.rows else 0))

    @property
    def confidences(self) -> Floats:
        """The p of every row [rows]."""
        return np.concatenate([self.offloading.confidences, self.keeping.confidences])

    @property
    def thresholds(self) -> Ints:
        """Margin thresholds [stages, rows]."""
        return np.concatenate([self.offloading.thresholds, self.keeping.thresholds], axis=1)

    def walk(self, images: Observed) -> tuple[Ints, Ints]:
        """As `ThresholdPath.walk`, over the rows of both parts."""
        walked = (part.walk(images) for part in (self.offloading, self.keeping))
        right, answered = zip(*walked, strict=True)
        return np.concatenate(right, axis=1), np.concatenate(answered, axis=1)


def _agreement(test: Observed, path: Ints, kept: int, guaranteed: int, targets: int) -> Agreement | None:
    """How often fabric and back end agree on what the fabric answers under row `kept` of `path` [stages, rows].

    The row was chosen by these images, so that the bound holds for all rows that there are at once (Bonferroni). Only
    images of which something came to the back end count: of others an audit has no reply either.
    """
    reached = reaching(test, path[:, kept])
    own, answered = test.labels[-1].copy(), ~reached[-1]
    for stage, labels in reversed(list(enumerate(test.labels))):
        stops = reached[stage] & ~reached[stage + 1]
        own[stops] = labels[stops]
    error = AGREEMENT_ERROR / targets / len(np.unique(path, axis=1).T)
    found = []
    for backend, came in zip(test.backend[:guaranteed], test.came[:guaranteed], strict=True):
        seen = answered & came
        if seen.any():
            agreed, images = int((own == backend)[seen].sum()), int(seen.sum())
            found.append((float(lower_bound(agreed, images, error)), agreed, images))
    if not found:
        return None
    bound, agreed, images = min(found)
    return Agreement(images=images, agreed=agreed, lower_bound=bound)


def _parts(observed: Observed, generator: np.random.Generator) -> tuple[Observed, Observed]:
    """The images that fit the curves and those that test the promise."""
    if observed.count < 2:
        raise CalibrationError("there is one image: give at least two, one to fit the curves and one to test on")
    order, cut = generator.permutation(observed.count), observed.count - tested_of(observed.count)
    return observed.take(order[:cut]), observed.take(order[cut:])


def fit_images(count: int, seed: int) -> Ints:
    """Which of `count` images `calibrate` fits the curves on, by their index; the others test its targets."""
    return np.random.default_rng(seed).permutation(count)[: count - tested_of(count)]


def _wanted(targets: Targets, fit: Observed, tested: int, guaranteed: int, family_error: float) -> list[float]:
    """The targets to test, ascending: those named, else those that the images which fit the curves suggest."""
    if targets != AUTO:
        return checked_targets(targets)
    right = int(fit.backend_right[:guaranteed].sum(axis=1).min())
    return suggested(right, fit.count, tested, family_error)


def _reached(answered: Ints) -> Ints:
    """How many images reach each stage [stages], of answers by stage, back end last [stages + 1]."""
    return answered[::-1].cumsum()[:0:-1]


def _last_passing(passes: Bools) -> int | None:
    """Index of the last row before the first that fails; None where the first one fails."""
    passed = int(passes.size if passes.all() else np.argmin(passes))
    return passed - 1 if passed else None


def _curves(fit: Observed, test: Observed, thresholds: Ints) -> list[ConfidenceCurve]:
    """Confidence curve of each stage over the images that get there under `thresholds`, with its error on `test`.

    Where no image of `fit` gets to a stage, all of them stand in.
    """
    curves = []
    rows = zip(reaching(fit, thresholds)[:-1], reaching(test, thresholds)[:-1], strict=True)
    for stage, (fitting, testing) in enumerate(rows):
        used = fitting if fitting.any() else np.ones_like(fitting)
        starts, confidences = confidence_curve(fit.margins[stage, used], fit.right[stage, used])
        said = _look_up(starts, confidences, test.margins[stage, testing])
        curves.append(
            ConfidenceCurve(
                margins=[int(margin) for margin in starts],
                confidences=[float(confidence) for confidence in confidences],
                expected_calibration_error=expected_calibration_error(said, test.right[stage, testing]),
            )
        )
    return curves


def _look_up(starts: Ints, confidences: Floats, margins: Ints) -> Floats:
    return confidences[np.maximum(np.searchsorted(starts, margins, side="right") - 1, 0)]


def _share(right: Bools) -> float:
    return float(right.mean())


def _succession(right: Bools) -> float:
    """Laplace's rule of succession: the probability that the next one is right; never certainty."""
    return float((right.sum() + 1) / (right.size + 2))
