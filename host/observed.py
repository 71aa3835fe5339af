"""What the stages and the back end said of images whose truth is known, and what a cascade makes of it.

Words owned here: observed images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.accuracy_targets import CalibrationError
from edgesight.host.fabric.base import NEVER
from edgesight.host.fabric.csim import below

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """What the stages and the back end said of N images whose truth is known.

    `backend` holds the label that a client gets through the lossy, repaired way; where nothing comes back at all that
    is the last stage's label, since a degraded answer counts like any other.
    """

    margins: Ints  # [stages, N]: best minus second-best integer logit
    labels: Ints  # [stages, N]
    backend: Ints  # [buckets, N]
    came: Bools  # [buckets, N]: whether the back end got anything to look at
    truth: Ints  # [N]
    losses: tuple[float, ...]  # [buckets], rising: the share of packets that got lost

    def __post_init__(self) -> None:
        """Check shapes and ranges; raises CalibrationError."""
        for name in ("margins", "labels", "backend", "truth"):
            values = np.asarray(getattr(self, name))
            if not np.issubdtype(values.dtype, np.integer):
                raise CalibrationError(f"{name} are {values.dtype}: give integers")
            object.__setattr__(self, name, values.astype(np.int64))
        object.__setattr__(self, "came", np.asarray(self.came, np.bool_))
        if self.truth.ndim != 1 or self.truth.size == 0:
            raise CalibrationError(f"truth has shape {list(self.truth.shape)}: give the classes of at least one image")
        count = self.truth.size
        if self.margins.ndim != 2 or self.margins.shape[0] == 0 or self.margins.shape[1] != count:
            raise CalibrationError(f"margins have shape {list(self.margins.shape)}: expected [stages, {count}]")
        if self.labels.shape != self.margins.shape:
            raise CalibrationError(
                f"labels have shape {list(self.labels.shape)}: expected {list(self.margins.shape)} like the margins"
            )
        if list(self.losses) != sorted(set(self.losses)) or not all(0.0 <= loss <= 1.0 for loss in self.losses):
            raise CalibrationError(f"losses {list(self.losses)}: expected rising shares of packets, 0 to 1")
        for name, array in (("backend", self.backend), ("came", self.came)):
            if array.shape != (len(self.losses), count):
                expected = [len(self.losses), count]
                raise CalibrationError(f"{name} has shape {list(array.shape)}: expected {expected}, a row a loss")
        if self.margins.min() < 0 or self.margins.max() >= NEVER:
            raise CalibrationError(
                f"margins reach from {self.margins.min()} to {self.margins.max()}: expected 0 to {NEVER - 1}, "
                "best minus second-best integer logit"
            )

    @property
    def count(self) -> int:
        """Count of images."""
        return int(self.truth.size)

    @property
    def right(self) -> Bools:
        """Whether each of the stages was right: [stages, N]."""
        right: Bools = self.labels == self.truth
        return right

    @property
    def backend_right(self) -> Bools:
        """Whether the back end was right: [buckets, N]."""
        right: Bools = self.backend == self.truth
        return right

    def take(self, indices: Ints) -> Observed:
        """The images at `indices`."""
        return Observed(
            self.margins[:, indices],
            self.labels[:, indices],
            self.backend[:, indices],
            self.came[:, indices],
            self.truth[indices],
            self.losses,
        )

    def joined(self, other: Observed) -> Observed:
        """These images, then those of `other`, observed under the same losses; raises CalibrationError."""
        if other.losses != self.losses:
            raise CalibrationError(f"losses {other.losses} cannot be joined to {self.losses}: observe under the same")
        return Observed(
            np.concatenate([self.margins, other.margins], axis=1),
            np.concatenate([self.labels, other.labels], axis=1),
            np.concatenate([self.backend, other.backend], axis=1),
            np.concatenate([self.came, other.came], axis=1),
            np.concatenate([self.truth, other.truth]),
            self.losses,
        )

    def buckets_up_to(self, loss: float) -> int:
        """How many buckets there are up to that of `loss`; raises CalibrationError where it is none."""
        if loss not in self.losses:
            raise CalibrationError(f"loss {loss:g} was not observed: choose one of {list(self.losses)}, or observe it")
        return self.losses.index(loss) + 1


def reaching(observed: Observed, thresholds: Ints) -> Bools:
    """Which images get to each stage, back end last, under one row of `thresholds` [stages]: [stages + 1, N]."""
    unsure = below(observed.margins, thresholds[:, None])
    return np.concatenate([np.ones((1, observed.count), np.bool_), np.logical_and.accumulate(unsure)])


def right_under(observed: Observed, thresholds: Ints) -> Bools:
    """Which images are answered rightly under one row of `thresholds` [stages], by bucket: [buckets, N]."""
    right = observed.backend_right.copy()
    unsure = reaching(observed, thresholds)
    for stage, own in reversed(list(enumerate(observed.right))):
        answers = unsure[stage] & ~unsure[stage + 1]
        right[:, answers] = own[answers]
    return right
