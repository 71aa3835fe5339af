"""Pictures as they may come to look, of four kinds and three strengths each, and what a cascade makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from edgesight.host.kernel import Target
from edgesight.host.observed import Observed, reaching, right_under

STRENGTHS: Final[Mapping[str, tuple[float, float, float]]] = {
    "rotated": (8.0, 16.0, 30.0),  # degrees
    "darkened": (0.8, 0.6, 0.4),  # of each level
    "class-skewed": (2.0, 5.0, 20.0),  # times as often as before, the classes that are answered worst
    "noise": (8.0, 16.0, 32.0),  # standard deviation, in levels
}

Pixels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def shifted(kind: str, strength: float, pictures: Pixels, seed: int) -> Pixels:
    """`pictures` uint8 [N, H, W, C] as they come to look; of a class skew as they were: see `weights`."""
    made: Mapping[str, Callable[[], npt.NDArray[np.floating]]] = {
        "rotated": lambda: ndimage.rotate(
            pictures.astype(np.float32), strength, axes=(2, 1), reshape=False, order=1, mode="nearest"
        ),
        "darkened": lambda: pictures * np.float32(strength),
        "noise": lambda: pictures + np.random.default_rng(seed).normal(0.0, strength, pictures.shape),
    }
    if kind not in made:
        return pictures
    found: Pixels = np.clip(np.rint(made[kind]()), 0, 255).astype(np.uint8)
    return found


@dataclass(frozen=True)
class Pool:
    """Pictures that streams are drawn from, under one target, strange ones left out.

    Attributes:
        edge: whether the fabric answers each [N].
        agrees: whether the back end says the same [N], of those alone.
        right: whether what is answered is right [N].
        weights: how often each is drawn [N]; they sum to 1.
    """

    edge: Bools
    agrees: Bools
    right: Bools
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, observed: Observed, target: Target, covered: Bools, weights: npt.NDArray[np.float64]) -> Pool:
        """What was observed of pictures, some of which a target covers [N], over a link that loses nothing."""
        thresholds = np.array(target.thresholds)
        reached = reaching(observed, thresholds)
        own = observed.labels[-1].copy()
        for stage, labels in enumerate(observed.labels):
            stops = reached[stage] & ~reached[stage + 1]
            own[stops] = labels[stops]
        edge, agrees, right = ~reached[-1], own == observed.backend[0], right_under(observed, thresholds)[0]
        weights = weights[covered]
        return cls(edge[covered], agrees[covered], right[covered], weights / weights.sum())

    @property
    def agreement(self) -> float:
        """Share of the fabric's answers that the back end agrees with."""
        return float(self.weights[self.edge & self.agrees].sum() / self.weights[self.edge].sum())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.weights[self.right].sum())

    @property
    def answered(self) -> float:
        """Share of the pictures that the fabric answers."""
        return float(self.weights[self.edge].sum())

    def agreements(self, count: int, generator: np.random.Generator) -> Bools:
        """So many audits of the fabric's answers: whether the back end agreed."""
        weights = self.weights * self.edge
        return self.agrees[generator.choice(len(weights), count, p=weights / weights.sum())]

    def answers(self, count: int, generator: np.random.Generator) -> Bools:
        """So many labelled answers: whether they were right."""
        return self.right[generator.choice(len(self.weights), count, p=self.weights)]


def skewed(strength: float, truth: Ints, right: Bools) -> npt.NDArray[np.float64]:
    """Weights [N] by which the half of the classes that is answered worst comes `strength` times as often."""
    classes = int(truth.max()) + 1
    counts = np.bincount(truth, minlength=classes)
    worst = np.argsort(np.bincount(truth, right, classes) / np.maximum(counts, 1))[: classes // 2]
    weights = np.where(np.isin(truth, worst), strength, 1.0)
    return np.asarray(weights / weights.sum())
