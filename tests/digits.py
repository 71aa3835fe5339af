"""Digits that take every way through the cascade, and what csim says of them: simulated boards have to say the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.bench.board import by_csim
from edgesight.hls.csim import build_library
from edgesight.host.fabric.base import ALWAYS, NEVER, Images, Records
from edgesight.host.fabric.csim import CsimFabric, decide
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT

IMAGES = 64


@pytest.fixture(scope="session")
def digits() -> Package:
    package = Package.load(ROOT / "bitstreams" / "digits", verify=False)
    build_library(package)
    return package


@pytest.fixture(scope="session")
def images() -> Images:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    pixels: Images = np.rint(bunch.images[:IMAGES, :, :, None] * (255 / 16)).astype(np.uint8)
    return pixels


@pytest.fixture(scope="session")
def rows(digits: Package, images: Images) -> list[list[int]]:
    """Rows of every kind; under the last, half of the images pass each stage."""
    medians = [int(np.median(decide(logits)[1])) for logits in CsimFabric(digits).logits(images)]
    return [[ALWAYS, ALWAYS], [NEVER, ALWAYS], [NEVER, NEVER], medians]


@pytest.fixture(scope="session")
def sets(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return (np.arange(IMAGES) * 7 % len(rows)).astype(np.uint8)


@pytest.fixture(scope="session")
def expected(digits: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8]) -> Records:
    return by_csim(digits, images, rows, sets)
