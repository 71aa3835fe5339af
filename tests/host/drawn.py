"""What a cascade might say of images, drawn: for tests that need many."""

from __future__ import annotations

import numpy as np

from edgesight.host.kernel import calibration_split
from edgesight.host.observed import Observed

SHA = "0" * 64
SAMPLE = calibration_split("made up", "0" * 64)
LOSSES = (0.0, 0.05, 0.2)
LOSS = 0.05  # guaranteed


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
    score = 1.9 + 0.4 * generator.normal(size=count) - 0.9 * hardness
    backend = np.stack([np.where(score > 0.15 * bucket, truth, (truth + 2) % 10) for bucket in range(len(LOSSES))])
    came = generator.uniform(size=backend.shape) >= np.array(LOSSES)[:, None] ** 4
    return Observed(np.stack(margins), np.stack(labels), np.where(came, backend, labels[-1]), came, truth, LOSSES)
