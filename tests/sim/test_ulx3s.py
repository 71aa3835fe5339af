"""The simulated ULX3S answers at its pins as csim does, on a clean line and on a noisy one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hls.csim import build_library
from host.fabric.base import ALWAYS, NEVER, OFFLOAD, STAGE_MASK, Images, Records
from host.fabric.csim import CsimFabric, decide
from host.kernel import Package
from sim.bench import ROOT
from sim.ulx3s import answers_at_pins

IMAGES = 24
FIELDS = ["tag", "label", "margin", "stage", "error"]  # csim counts no cycles


@pytest.fixture(scope="module")
def digits() -> Package:
    package = Package.load(ROOT / "bitstreams" / "digits")
    build_library(package)
    return package


@pytest.fixture(scope="module")
def images() -> Images:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    pixels: Images = np.rint(bunch.images[:IMAGES, :, :, None] * (255 / 16)).astype(np.uint8)
    return pixels


@pytest.fixture(scope="module")
def rows(digits: Package, images: Images) -> list[list[int]]:
    """Every way through the cascade; under the last, half of the images pass each stage."""
    medians = [int(np.median(decide(logits)[1])) for logits in CsimFabric(digits).logits(images)]
    return [[ALWAYS, ALWAYS], [NEVER, ALWAYS], [NEVER, NEVER], medians]


@pytest.fixture(scope="module")
def sets(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return (np.arange(IMAGES) % len(rows)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(digits: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8]) -> Records:
    fabric = CsimFabric(digits)
    for index, row in enumerate(rows):
        fabric.set_thresholds(index, row)
    return fabric.run(images, sets)


def test_the_images_take_every_way(expected: Records) -> None:
    assert {0, 1} <= set(expected["stage"] & STAGE_MASK)
    assert 0 < np.count_nonzero(expected["stage"] & OFFLOAD) < IMAGES


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_the_board_answers_as_csim_does(
    digits: Package,
    images: Images,
    rows: list[list[int]],
    sets: npt.NDArray[np.uint8],
    expected: Records,
    noise: float,
) -> None:
    answered = answers_at_pins(digits, images, rows, sets, noise=noise)
    for field in FIELDS:
        np.testing.assert_array_equal(answered[field], expected[field], err_msg=field)
    assert answered["cycles"].all()
