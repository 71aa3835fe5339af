"""Thresholds picked for their accuracy on the calibration images alone: what a cascade can do, without a promise.

A promise lies below what was measured, the further the fewer images there are. Where there are some hundreds it hides
how good a cascade is; these thresholds show that, to be looked at on images that had no part in picking them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgesight.host.calibrate import ThresholdPath
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.observed import Observed, reaching, right_under


@dataclass(frozen=True)
class Picked:
    """A row of thresholds, and how it did where it was picked."""

    thresholds: list[int]  # integer margin by stage
    accuracy: float
    backend_accuracy: float  # where everything is offloaded
    offload: float  # share of images


@dataclass(frozen=True)
class Outcome:
    """How a row of thresholds does on other images, beside the back end on all of them."""

    right: npt.NDArray[np.bool_]  # [N]
    backend_right: npt.NDArray[np.bool_]  # [N]
    offload: float  # share of images

    @property
    def behind(self) -> float:
        """By what share the back end's accuracy is the higher, on the same images."""
        return float(self.backend_right.mean() - self.right.mean())


def pick(observed: Observed, within: float, bucket: int = 0, held_back: float = 0.0) -> Picked:
    """The thresholds that offload least, of those whose accuracy is at most `within` below the back end's.

    Both accuracies are of the `observed` images, in one loss `bucket`. The thresholds are those that confidence curves
    of these images give along the grid; of two that offload as little it is the more accurate. The lowest margin that
    costs nothing among some hundred images lies just above the first that does, and of others some between them cost
    something: so the thresholds are raised, all by one factor, until a share `held_back` of what they would answer is
    offloaded.
    """
    path = ThresholdPath.fitted(observed)
    right, answered = path.walk(observed)
    accuracy, offloaded = right[bucket] / observed.count, answered[-1]
    backend = float(observed.backend_right[bucket].mean())
    good = np.flatnonzero(accuracy >= backend - within)  # at least where everything is offloaded
    best = min(good.tolist(), key=lambda point: (int(offloaded[point]), -float(accuracy[point])))
    row = _raised(observed, path.thresholds[:, best], held_back)
    made = outcome(observed, row.tolist(), bucket)
    return Picked(row.tolist(), float(made.right.mean()), backend, made.offload)


def keep(observed: Observed, accuracy: float, held_back: float = 0.0) -> list[int]:
    """Thresholds of which the last stage keeps whatever those before it leave, which it is asked as seldom as can be.

    Their accuracy on the `observed` images is at least that `accuracy`; where none reaches it, the last stage answers
    everything. They are those that confidence curves of these images give along the grid, raised as `pick` does.
    """
    path = ThresholdPath.fitted(observed).keeping()
    right, answered = path.walk(observed)
    good = np.flatnonzero(right[0] >= accuracy * observed.count)
    if not good.size:
        return [*[NEVER] * (len(path.thresholds) - 1), ALWAYS]
    best = min(good.tolist(), key=lambda row: (int(answered[-2][row]), -int(right[0][row])))
    before = replace(observed, margins=observed.margins[:-1], labels=observed.labels[:-1])
    return [*_raised(before, path.thresholds[:-1, best], held_back).tolist(), ALWAYS]


def _raised(observed: Observed, row: npt.NDArray[np.int64], held_back: float) -> npt.NDArray[np.int64]:
    """The thresholds `row` [stages] times the least factor by which that share of their answers is offloaded."""
    used = (row > 0) & (row != NEVER)
    answered = ~reaching(observed, row)[-1]
    if not (held_back and used.any() and answered.any()):
        return row
    # Up to which factor each image is still answered by some stage.
    last = np.sort((observed.margins[used][:, answered] / row[used, None]).max(axis=0))
    factor = max(1.0, float(last[int(held_back * last.size)]))
    raised = row.copy()
    raised[used] = np.minimum(np.floor(row[used] * factor), NEVER - 1).astype(np.int64)
    return raised


def outcome(observed: Observed, thresholds: list[int], bucket: int = 0) -> Outcome:
    """How the `thresholds` do on these images in one loss `bucket`."""
    row = np.array(thresholds, np.int64)
    right, offloaded = right_under(observed, row)[bucket], reaching(observed, row)[-1]
    return Outcome(right, observed.backend_right[bucket], float(offloaded.mean()))
