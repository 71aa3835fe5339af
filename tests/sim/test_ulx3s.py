"""The simulated ULX3S answers at its pins as csim does, on a clean line and on a noisy one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from host.fabric.base import OFFLOAD, STAGE_MASK, Images, Records
from host.kernel import Package
from sim.ulx3s import answers_at_pins

IMAGES = 24
FIELDS = ["tag", "label", "margin", "stage", "error"]  # csim counts no cycles


def test_the_images_take_every_way(expected: Records) -> None:
    assert {0, 1} <= set(expected["stage"][:IMAGES] & STAGE_MASK)
    assert 0 < np.count_nonzero(expected["stage"][:IMAGES] & OFFLOAD) < IMAGES


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_the_board_answers_as_csim_does(
    digits: Package,
    images: Images,
    rows: list[list[int]],
    sets: npt.NDArray[np.uint8],
    expected: Records,
    noise: float,
) -> None:
    answered = answers_at_pins(digits, images[:IMAGES], rows, sets[:IMAGES], noise=noise)
    for field in FIELDS:
        np.testing.assert_array_equal(answered[field], expected[field][:IMAGES], err_msg=field)
    assert answered["cycles"].all()
