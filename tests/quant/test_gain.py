"""A gain is told with its interval, and proved only where luck is unlikely."""

import numpy as np
import pytest

from edgesight.quant.gain import gain, packed, unpacked


def answers(count: int, right: int) -> np.ndarray:
    return np.arange(count) < right


def test_a_gain_that_may_be_luck_is_not_proved() -> None:
    # 2,000 images: 1,500 both right, 68 only the worse, 60 only the better: a stranger's 78.4 % against 78.0 %.
    worse = np.repeat([True, True, False, False], [1500, 68, 60, 372])
    better = np.repeat([True, False, True, False], [1500, 68, 60, 372])
    found = gain(better, worse)
    assert found.difference == -0.004
    assert found.low < 0 < found.high
    assert not found.proved
    # By hand: 1.96 sqrt((68 + 60) / 2000 - 0.004^2) / sqrt(2000) = 0.0111.
    assert found.high - found.difference == pytest.approx(0.0111, abs=1e-4)


def test_a_gain_on_enough_images_is_proved() -> None:
    found = gain(answers(2000, 1640), answers(2000, 1560))
    assert found.difference == 0.04
    assert found.proved
    assert found.low > 0.03


def test_the_same_answers_are_no_gain() -> None:
    assert not gain(answers(50, 40), answers(50, 40)).proved


def test_answers_come_out_of_a_card_as_they_went_in() -> None:
    print("seed 5")
    for count in (1, 8, 13, 1000):
        right = np.random.default_rng(5).random(count) < 0.7
        assert np.array_equal(unpacked(packed(right), count), right)
