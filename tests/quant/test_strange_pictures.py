"""Detectors of strange pictures, fitted without other data sets: they flag what they never saw, few of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.detector import NetworkDetector, PhotographDetector
from edgesight.host.novelty import NoveltyTest
from edgesight.quant import datasets
from edgesight.quant.novelty import fit
from edgesight.quant.splits import DataSet, Split
from edgesight.quant.strangers import KINDS, enlarged, strangers


@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 9, 3), (28, 28, 1), (48, 40, 3)])
def test_strangers_of_all_kinds_have_the_pictures_shape_and_differ(shape: tuple[int, int, int]) -> None:
    own = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    made = strangers(own, 100, np.random.default_rng(1))
    assert made.shape[1:] == shape
    assert made.dtype == np.uint8
    assert 100 - len(KINDS) <= len(made) <= 100 + len(KINDS)
    assert np.array_equal(made, strangers(own, 100, np.random.default_rng(1)))
    assert len(np.unique(made.reshape(len(made), -1), axis=0)) > 0.9 * len(made)
    large = enlarged(own[0], np.random.default_rng(2))
    assert large.shape == shape
    assert large.dtype == np.uint8


def test_the_digits_detector_flags_noise_and_plain_and_inverted_pictures() -> None:
    data = datasets.load("digits")
    shares: list[float] = []
    detector = fit(data, steps=150, told=shares.append)
    assert isinstance(detector, NetworkDetector)
    assert shares[-1] == 1.0
    test = NoveltyTest.against(detector, data.calibration.images)
    generator = np.random.default_rng(0)
    plain = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 8, 8, 1))
    noise = generator.integers(0, 256, (200, 8, 8, 1), np.uint8)
    for strange in (noise, plain, 255 - data.test.images):
        assert test.strange(strange).mean() >= 0.95
    assert test.strange(data.test.images).mean() <= 0.045  # level, and four deviations of what so few pictures show


def test_the_photograph_detector_flags_enlarged_and_inverted_photographs() -> None:
    """Light grained shapes on a shaded ground: light comes from above, and no picture is smooth."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        down, across = np.mgrid[-1:1:112j, -1:1:112j]
        made = np.empty((count, 112, 112, 3), np.uint8)
        for picture in made:
            y, x, size = generator.uniform(-0.4, 0.4), generator.uniform(-0.4, 0.4), generator.uniform(0.2, 0.5)
            light = 190 - 40 * down + 30 * (np.hypot(down - y, across - x) < size)
            picture[:] = np.clip(light[..., None] + generator.normal(0, 6, (112, 112, 3)), 0, 255)
        labels: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64) % 2
        return Split(made, labels, tuple(map(str, range(count))))

    data = DataSet("shapes", ("a", "b"), split(150), split(150), split(100), "0" * 64, 0, "", mirrored=True)
    detector = fit(data, steps=80)
    assert isinstance(detector, PhotographDetector)
    test = NoveltyTest.against(detector, data.calibration.images, level=0.02)
    own = data.test.images
    for strange in (255 - own, np.stack([enlarged(one, generator) for one in own])):
        assert test.strange(strange).mean() >= 0.95
    assert test.strange(own).mean() <= 0.08
