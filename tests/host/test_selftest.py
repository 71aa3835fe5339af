"""The self-test passes on fabrics that are right, and names what a wrong one got wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.hls.csim import build_library
from edgesight.host.fabric.base import NEVER, Fabric, Images, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.files import sha256
from edgesight.host.kernel import KernelError
from edgesight.host.package import Package
from edgesight.host.selftest import VECTORS, expected_records, selftest
from edgesight.sim.rtl.runner import ROOT, missing_tools
from edgesight.sim.verilate import build_library as build_verilated
from tests.host.by_hand import package as kernel_by_hand

DIGITS = ROOT / "bitstreams" / "digits"

needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not found: {', '.join(missing_tools())}")


class _Faulty:
    """A fabric with one wrong field in one record."""

    simulated = False

    def __init__(self, fabric: Fabric, field: str, at: int) -> None:
        self.package = fabric.package
        self.rows: dict[int, list[int]] = {}
        self._fabric, self._field, self._at = fabric, field, at

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        self.rows[set_index] = thresholds
        self._fabric.set_thresholds(set_index, thresholds)

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        records = self._fabric.run(images, sets)
        records[self._field][self._at] += 1
        return records

    def close(self) -> None:
        self._fabric.close()


@pytest.fixture(scope="module")
def digits() -> Package:
    package = Package.load(DIGITS, verify=False)
    build_library(package)
    return package


def test_csim_passes_by_every_way_through_the_cascade(digits: Package) -> None:
    report = selftest(CsimFabric(digits), digits)
    assert report.passed
    assert report.first_mismatch is None
    assert (report.fabric, report.board, report.clock_mhz, report.pynq) == ("csim", None, None, None)
    assert report.rows[:3] == [[0, NEVER], [NEVER, 0], [NEVER, NEVER]]
    calibration = digits.kernel.calibration
    assert calibration is not None
    assert all(target.thresholds in report.rows for target in calibration.targets)
    assert report.records == report.images * len(report.rows) >= 16 * 4


@needs_tools
def test_the_rtl_passes(digits: Package) -> None:
    build_verilated(digits)
    fabric = VerilatedFabric(digits)
    try:
        report = selftest(fabric, digits)
    finally:
        fabric.close()
    assert report.passed, report.first_mismatch


@pytest.mark.parametrize("field", ["label", "margin", "stage", "error"])
def test_one_wrong_field_of_one_record_fails_and_is_named(digits: Package, field: str) -> None:
    report = selftest(_Faulty(CsimFabric(digits), field, at=6), digits)
    assert report.mismatches == 1
    assert report.fabric is None  # a stand-in knows no place
    assert not report.passed
    # Every image runs under every row before the next one comes.
    image, row = divmod(6, len(report.rows))
    assert report.first_mismatch is not None
    assert f"image {image} of {VECTORS} under thresholds {report.rows[row]}: expected label" in report.first_mismatch


def test_the_calibrations_rows_are_there_afterwards(digits: Package) -> None:
    fabric = _Faulty(CsimFabric(digits), "label", at=0)
    selftest(fabric, digits)
    calibration = digits.kernel.calibration
    assert calibration is not None
    for target in calibration.targets:
        assert fabric.rows[target.set_index] == target.thresholds


def test_a_tie_goes_to_the_lowest_label_with_margin_zero() -> None:
    logits = np.array([[3, 7, 7], [5, 5, 5]], np.int32)
    found = expected_records([logits, logits], np.array([[0, 0], [1, 0]], np.uint32))
    assert found["label"].tolist() == [1, 0]
    assert found["margin"].tolist() == [0, 0]
    assert found["stage"].tolist() == [0, 1]


def test_a_package_without_usable_vectors_is_refused_by_name(tmp_path: Path, digits: Package) -> None:
    package = kernel_by_hand(tmp_path / "kernel", None)
    with pytest.raises(KernelError, match=r"vectors\.npz"):
        selftest(CsimFabric(digits), package)
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((2, 3, 3, 1), np.uint8), sum=np.zeros((2, 2)))
    (package.path / VECTORS).write_bytes(buffer.getvalue())
    package = package.replace(files={**package.kernel.files, VECTORS: sha256(buffer.getvalue())})
    with pytest.raises(KernelError, match=r"vectors\.npz: images \[2, 3, 3, 1\]"):
        selftest(CsimFabric(digits), package)
