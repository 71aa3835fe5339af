"""Accuracy targets: which to ask for, what can be shown of them, and what more pictures would give.

Words owned here: tested images, suggested targets.

**Suggested targets** (`--targets auto`) are four. They are chosen on the images that fit the confidence curves, and on
nothing else, so that each is as fixed as one that a user names when the other images test it: the promise is that of
`edgesight.host.calibrate`, with its family error shared among the four. From the back end's accuracy on the images that
fit comes the bound that the tested images would reach if they were answered as well. How far the two parts of a sample
differ by chance (one standard deviation of the difference of their accuracies) is the step: the targets are that bound,
one step above it, one below, and three below. So the highest is shown about every sixth time, the second every other
time, and one of the four nearly always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import Calibration

AUTO: Final = "auto"
Targets = Sequence[float] | Literal["auto"]

FIT_SHARE = 0.3  # the curves need few images; the bound gets tighter with every image left to the test
MAX_TARGETS = 16  # threshold sets of the hardware
_STEPS = (-3, -1, 0, 1)  # of suggested targets, from what is expected to be shown
_GRAIN = 0.005  # of suggested targets
_LEAST = 0.5  # of them: a cascade that is wrong more often than not is of no use
_MOST_IMAGES_TIMES = 1e4  # beyond it, a target is called out of reach
_TOLD_TIMES = (2, 10)  # as many images, of which it is told what they would give

Floats = npt.NDArray[np.float64]


class CalibrationError(EdgeSightError, ValueError):
    """What was given cannot be calibrated on: says which array or target, what was found and what would be right."""


def lower_bound(right: npt.ArrayLike, count: int, error: float) -> Floats:
    """Exact one-sided lower bound of a proportion: at most `error` of the time it lies above the true one.

    `right` successes (any shape) of `count`; Clopper and Pearson's bound, the `error` quantile of
    Beta(right, count - right + 1).
    """
    successes = np.asarray(right, dtype=float)
    bound = betaincinv(np.maximum(successes, 1.0), count - successes + 1.0, error)
    return np.asarray(np.where(successes > 0, bound, 0.0))


def parse_targets(text: str) -> Targets:
    """Accuracy targets that a user wrote, comma separated, or `auto`; raises CalibrationError."""
    if text.strip() == AUTO:
        return AUTO
    targets = []
    for word in text.split(","):
        try:
            target = float(word)
        except ValueError:
            raise CalibrationError(
                f"--targets {text}: give numbers, comma separated, such as 0.88,0.9, or auto"
            ) from None
        if not 0.0 < target < 1.0:
            meant = f" ({target / 100:g}?)" if 1.0 < target < 100.0 else ""
            raise CalibrationError(
                f"--targets {text}: {word.strip()} is no share of right answers{meant}: give numbers between 0 "
                "and 1, both excluded"
            )
        targets.append(target)
    return checked_targets(targets)


def tested_of(images: int) -> int:
    """How many of so many images test targets; the others fit the curves."""
    return images - max(1, int(images * FIT_SHARE))


def suggested(right: int, fitted: int, tested: int, family_error: float) -> list[float]:
    """Four targets, ascending, from how many of the `fitted` images the back end answers rightly.

    Fewer, or none, where the images are so few that none can be expected to be shown.
    """
    accuracy = (right + 1) / (fitted + 2)  # Laplace's rule of succession
    apart = math.sqrt(accuracy * (1.0 - accuracy) * (1.0 / fitted + 1.0 / tested))
    first = float(lower_bound(accuracy * tested, tested, family_error / len(_STEPS)))
    step, top = math.ceil(apart / _GRAIN), math.floor(first / _GRAIN)
    targets = [round((top + number * step) * _GRAIN, 3) for number in _STEPS]
    return [target for target in targets if _LEAST <= target < 1.0]


def advice(calibration: Calibration) -> list[str]:
    """What to do about the targets that were refused, a sentence each; nothing where none was."""
    if not calibration.refused:
        return []
    error, worst = _error_and_worst(calibration)
    tested = tested_of(calibration.images)
    reachable = _floored(calibration.refused[0].best_reachable)
    said = [
        f"With {calibration.images} calibration images the highest target that holds is {reachable:g}: the back end "
        f"answers {worst:.2%} of them rightly, and a promise lies below what was measured, the further the fewer "
        "images there are."
    ]
    for refused in calibration.refused:
        factor = _images_needed(worst, refused.accuracy, tested, error)
        if factor is None:
            said.append(
                f"{refused.accuracy:g} is out of reach with any number of images: train a better back end, or ask for "
                "less."
            )
        else:
            said.append(
                f"{refused.accuracy:g} would take about {_rounded(factor * calibration.images):,} calibration images, "
                "if as many of them are answered rightly."
            )
    return said


def more_images(calibration: Calibration) -> str:
    """A sentence on the highest target that can be shown, with these images and with more of them."""
    error, worst = _error_and_worst(calibration)
    tested = tested_of(calibration.images)

    def shown(times: int) -> float:
        return _floored(float(lower_bound(worst * tested * times, tested * times, error)))

    told = " and ".join(f"with {times} times as many about {shown(times):g}" for times in _TOLD_TIMES)
    return (
        f"The back end answers {worst:.2%} of {calibration.images} images rightly, of which about {shown(1):g} can be "
        f"shown, {told}, if these are answered as well; {_floored(worst):g} and more, with no number of them."
    )


def _error_and_worst(calibration: Calibration) -> tuple[float, float]:
    """What each target may err, and the back end's accuracy in the worst of the loss buckets that they hold in."""
    error = calibration.family_error / (len(calibration.targets) + len(calibration.refused))
    return error, min(bucket.accuracy for bucket in calibration.buckets if bucket.loss <= calibration.loss)


def _floored(share: float) -> float:
    return math.floor(1_000 * share) / 1_000


def _images_needed(accuracy: float, target: float, tested: int, error: float) -> float | None:
    """How many times `tested` images at this accuracy the bound needs to reach the target; None for no number."""
    if accuracy <= target:
        return None
    factor = 1.0
    while lower_bound(accuracy * tested * factor, round(tested * factor), error) < target:
        factor *= 1.1
        if factor > _MOST_IMAGES_TIMES:
            return None
    return factor


def _rounded(count: float) -> int:
    """A count of images as a person would say it: two digits."""
    step: int = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / step) * step


def checked_targets(targets: Sequence[float]) -> list[float]:
    """The targets, ascending."""
    wanted = sorted(set(targets))
    if not 0 < len(wanted) <= MAX_TARGETS:
        raise CalibrationError(f"{len(wanted)} accuracy targets: give 1 to {MAX_TARGETS}, one a threshold set")
    if not (wanted[0] > 0.0 and wanted[-1] < 1.0):
        raise CalibrationError(f"accuracy targets {wanted}: give numbers between 0 and 1, both excluded")
    return wanted
