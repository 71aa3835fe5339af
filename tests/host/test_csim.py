"""The csim fabric decides as the hardware does."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.fabric.base import ALWAYS, NEVER, OFFLOAD, FabricError
from edgesight.host.fabric.csim import CsimFabric, decide
from edgesight.host.fabric.driver import Registers
from edgesight.host.kernel import BackEndInput, Trunk
from edgesight.host.libraries import LIBRARY, keep
from edgesight.host.package import Package
from tests.host.by_hand import CLASSES, SHAPE, calibration, package, random_images, sums

BUSY = """
#include <atomic>
#include <chrono>
#include <stdint.h>
#include <thread>
static std::atomic<int> inside{0};
extern "C" int edgesight_csim(int, const uint8_t *, int, int32_t *, int32_t *) {
  const int others = inside++;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  inside--;
  return others;
}
"""


def test_logits_and_records_equal_the_definition(served_package: Package) -> None:
    fabric = CsimFabric(served_package)
    images = random_images(200)
    logits = fabric.logits(images)
    for stage in range(2):
        assert np.array_equal(logits[stage], sums(images, stage))
    rows = [[ALWAYS, ALWAYS], [NEVER, ALWAYS], [NEVER, NEVER], [900, 1_200], [NEVER - 1, 0]]
    for index, row in enumerate(rows):
        fabric.set_thresholds(index, row)
    sets = np.random.default_rng(1).integers(0, len(rows), 200).astype(np.uint8)
    records = fabric.run(images, sets)
    for number, record in enumerate(records):
        stage = 0
        ordered = [sorted(logits[s][number].tolist()) for s in range(2)]
        margins = [int(values[-1] - values[-2]) for values in ordered]
        thresholds = rows[sets[number]]
        if not margins[0] >= thresholds[0]:
            stage = 1
        offload = stage == 1 and not margins[1] >= thresholds[1]
        assert record["tag"] == number
        assert record["label"] == int(np.argmax(logits[stage][number]))
        assert record["margin"] == margins[stage]
        assert record["stage"] == stage | (OFFLOAD if offload else 0)
        assert record["error"] == 0
        assert record["cycles"] == 0
    assert {int(stage) for stage in records["stage"]} == {0, 1, 1 | OFFLOAD}


def test_rows_never_written_are_never_sure(served_package: Package) -> None:
    records = CsimFabric(served_package).run(random_images(3), np.full(3, 15, np.uint8))
    assert (records["stage"] == 1 | OFFLOAD).all()


def test_ties_go_to_the_lowest_index_with_margin_zero() -> None:
    labels, margins = decide(np.array([[1, 5, 5], [-3, -3, -9], [2**31 - 1, -(2**31), 0]], np.int32))
    assert labels.tolist() == [1, 0, 0]
    assert margins.tolist() == [0, 0, 2**31 - 1]


def test_fabrics_on_one_library_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hls4ml's C++ is not re-entrant. This library fails where a second call comes while the first is inside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = package(tmp_path / "kernel", calibration())
    (tmp_path / "busy.cpp").write_text(BUSY)
    command = ["g++", "-shared", "-fPIC", "-o", str(tmp_path / "busy.so"), str(tmp_path / "busy.cpp")]
    subprocess.run(command, check=True, timeout=120)
    keep(made, "csim", "busy", {LIBRARY: (tmp_path / "busy.so").read_bytes()})
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(CsimFabric(made).logits, random_images(2)) for _ in range(2)]
        for run in runs:
            run.result()


def test_no_images_give_no_records(served_package: Package) -> None:
    assert len(CsimFabric(served_package).run(random_images(0), np.zeros(0, np.uint8))) == 0


def test_a_missing_or_foreign_library_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = package(tmp_path / "kernel", calibration())
    with pytest.raises(FabricError, match="is missing or damaged: build it here by `edgesight csim"):
        CsimFabric(made)
    keep(made, "csim", "by hand", {LIBRARY: b"no library"})
    with pytest.raises(FabricError, match="cannot be used"):
        CsimFabric(made)


def test_what_the_fabric_cannot_take_is_named(served_package: Package) -> None:
    fabric = CsimFabric(served_package)
    with pytest.raises(FabricError, match=r"takes uint8 \[N, 28, 28, 1\]"):
        fabric.run(np.zeros((1, 28, 28, 3), np.uint8), np.zeros(1, np.uint8))
    with pytest.raises(FabricError, match="give one below 16 for each image"):
        fabric.run(np.zeros((1, *SHAPE), np.uint8), np.full(1, 16, np.uint8))
    with pytest.raises(FabricError, match="give one of 16 rows, and 2"):
        fabric.set_thresholds(16, [0, 0])
    assert fabric.logits(random_images(1))[0].shape == (1, CLASSES)


TRUNK = Trunk(stage=0, layer="dense", height=14, width=7, channels=3, bits=4, signed=False, multiplications=1)
PHOTOGRAPH = BackEndInput(
    height=224,
    width=224,
    channels=3,
    layout="NCHW",
    element="float32",
    mean=[124.0, 116.0, 104.0],
    deviation=[58.0, 57.0, 57.0],
)


def test_a_trunk_that_no_fabric_hands_on_yet_is_refused_by_all(served_package: Package, tmp_path: Path) -> None:
    first, second = (stage.model_dump() for stage in served_package.kernel.stages)
    far = [first, second, {**second, "trunk": TRUNK.model_dump()}]
    given = package(tmp_path / "wanted", None).replace(stages=far)
    assert Package.load(given.path).kernel == given.kernel  # the schema knows it
    for maker in (CsimFabric, _registers):
        with pytest.raises(FabricError, match=r"cannot be run by this version of EdgeSight: .*is not the one before"):
            maker(given)


@pytest.mark.parametrize("form", [None, PHOTOGRAPH])
def test_whatever_picture_the_back_end_takes_the_fabric_takes_its_own(
    served_package: Package, form: BackEndInput | None
) -> None:
    form = form or BackEndInput.same_as(served_package.kernel.input)
    given = served_package.replace(backend_input=form.model_dump())
    assert CsimFabric(given).logits(random_images(1))[0].shape == (1, CLASSES)
    _registers(given)


def _registers(given: Package) -> object:
    """Of every fabric that talks to hardware."""
    return Registers(given, lambda address: 0, lambda address, value: None)
