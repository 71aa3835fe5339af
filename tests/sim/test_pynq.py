"""The host's PYNQ code answers on simulated boards as csim does, and survives what goes wrong on real ones."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.fabric.base import OFFLOAD, STAGE_MASK, Images, Records
from edgesight.host.package import Package
from edgesight.sim.pynq import PYTHON_NEEDS, Failure, SimulatedRun, answer, failures
from edgesight.sim.rtl.runner import missing_tools

_absent = [*missing_tools(), *(name for name in PYTHON_NEEDS if importlib.util.find_spec(name) is None)]

pytestmark = pytest.mark.skipif(bool(_absent), reason=f"not found: {', '.join(_absent)}")


@pytest.fixture(scope="module")
def zynq(digits: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8]) -> SimulatedRun:
    return answer(digits, images, rows, sets, "pynq-z2", version="3.0.1")


@pytest.fixture(scope="module")
def survived(digits: Package) -> dict[str, Failure]:
    return failures(digits)


def _assert_equal(found: Records, expected: Records) -> None:
    for field in ("tag", "label", "margin", "stage", "error"):
        assert found[field].tolist() == expected[field].tolist(), field


def test_a_zynq_7000_answers_as_csim_does(zynq: SimulatedRun, expected: Records) -> None:
    _assert_equal(zynq.records, expected)
    stages = expected["stage"] & STAGE_MASK
    assert 0 < int((stages == 0).sum()) < len(expected)  # both stages answer,
    assert 0 < int((expected["stage"] & OFFLOAD != 0).sum()) < len(expected)  # and some images are for the data centre


def test_the_end_of_a_batch_is_waited_for_by_interrupt_where_the_design_has_one(zynq: SimulatedRun) -> None:
    assert zynq.throughput["interrupts"]
    assert zynq.interrupts_waited_for > 0


def test_a_zynq_ultrascale_without_interrupts_answers_as_csim_does(
    digits: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8], expected: Records
) -> None:
    run = answer(digits, images, rows, sets, "kv260", version="4.0.0", interrupts=False)
    _assert_equal(run.records, expected)
    assert not run.throughput["interrupts"]
    assert run.interrupts_waited_for == 0
    assert run.selftest["mismatches"] == 0


def test_a_dry_run_finds_the_records_through_the_caches_and_the_kernel_sees_no_frame(zynq: SimulatedRun) -> None:
    assert zynq.dry_run_found
    assert zynq.dry_run_frames == 0


def test_the_selftest_passes_on_the_board(zynq: SimulatedRun) -> None:
    assert zynq.selftest["mismatches"] == 0
    assert (zynq.selftest["fabric"], zynq.selftest["board"], zynq.selftest["pynq"]) == ("pynq", "pynq-z2", "3.0.1")
    assert zynq.selftest["records"] == 16 * len(zynq.selftest["rows"])


def test_the_throughput_keeps_legs_and_the_fabrics_counters_apart(
    digits: Package, zynq: SimulatedRun, images: Images
) -> None:
    speed = zynq.throughput
    legs: dict[str, Any] = speed["legs"]
    assert min(legs.values()) > 0
    assert legs["pack_s"] + legs["copy_s"] + legs["run_s"] + legs["unpack_s"] == pytest.approx(legs["total_s"])
    assert speed["images"] == len(images)
    assert speed["subject"].startswith("images answered early where a stage is sure: ")
    assert speed["clock_mhz"] == digits.kernel.clock_mhz
    for stage, interval in zip(digits.kernel.stages, speed["interval_cycles"], strict=True):
        assert interval >= stage.bound_cycles
    assert speed["latency_cycles"][1] > speed["latency_cycles"][0] > 0
    assert speed["input_stall_cycles"] > 0  # stage 1 is the bound here, and frames wait for it


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing .hwh", "boards/pynq-z2/digits.hwh: is missing"),
        ("package for another board", "has no bitstream for this board, Pynq-Z2 (built: KV260)"),
        ("DMA error", "MM2S_DMASR 0x00015021 = Halted, DMASlvErr (slave error"),
        ("stalled stream", "nothing moved for 0.5 s (3 of 12 frames sent; MM2S_DMASR 0x00011000 = busy"),
        ("id register of another build", "build hash reads"),
    ],
)
def test_a_failure_is_named_and_the_board_answers_afterwards(
    survived: dict[str, Failure], name: str, words: str
) -> None:
    failure = survived[name]
    assert words in failure.message
    assert failure.named
    assert failure.recovered
    assert failure.survived


def test_there_are_no_more_failures_than_are_tested(survived: dict[str, Failure]) -> None:
    assert len(survived) == 5
