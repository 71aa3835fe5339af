"""A made data set that a small network learns in seconds."""

import numpy as np
import pytest

from edgesight.quant.splits import DataSet, Split

SEED = 7


@pytest.fixture(scope="session")
def bars() -> DataSet:
    """Noise with a bright bar: its place, one of three, is the class."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)

    def split(name: str, count: int) -> Split:
        labels = rng.integers(0, 3, count)
        images = rng.integers(0, 100, (count, 12, 12, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 4 * label : 4 * label + 3] += 120
        return Split(images, labels.astype(np.int64), tuple(f"{name}/{index}" for index in range(count)))

    return DataSet(
        name="bars",
        classes=("left", "middle", "right"),
        train=split("train", 300),
        calibration=split("calibration", 60),
        test=split("test", 100),
        checksum="bars",
        seed=SEED,
        note="made for tests",
        mirrored=False,
    )
