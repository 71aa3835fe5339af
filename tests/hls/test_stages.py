"""Cascades of one and three stages: compiled, calibrated, and answered alike by csim and by the RTL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_package
from edgesight.hls.csim import build_library as build_csim
from edgesight.hls.datacenter import BackEnd
from edgesight.hls.network import CompileError
from edgesight.hls.zoo import calibrated_as
from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade
from edgesight.host.fabric.base import OFFLOAD, STAGE_MASK, Fabric, Images
from edgesight.host.fabric.csim import CsimFabric, decide
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import Picture
from edgesight.host.package import Package
from edgesight.host.selftest import selftest
from edgesight.quant import datasets
from edgesight.sim.observe import calibration_of
from edgesight.sim.rtl.runner import ROOT, missing_tools
from edgesight.sim.verilate import build_library as build_verilated
from tests.hls.qonnx_writer import Writer

DIGITS = ROOT / "quant" / "zoo" / "digits"
FIELDS = ["tag", "label", "stage", "error", "margin"]  # csim counts no cycles


def spoilt(path: Path, out: Path) -> Path:
    """The network with two rows of its last weights exchanged: it takes the one class for the other."""
    model = onnx.load(path)
    quantised = [node.input[0] for node in model.graph.node if node.op_type == "Quant"]
    kernel = [one for one in model.graph.initializer if one.name in quantised and len(one.dims) == 2][-1]
    values = numpy_helper.to_array(kernel).copy()
    classes = values if values.shape[0] == 10 else values.T
    classes[[0, 1]] = classes[[1, 0]]
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    onnx.save(model, out)
    return out


@pytest.fixture(scope="module")
def facts() -> DataSetFacts:
    data = datasets.load("digits")
    return DataSetFacts("digits", data.checksum, [str(label) for label in range(10)])


def compiled(paths: Sequence[Path], facts: DataSetFacts, out: Path) -> Package:
    """A package of the networks, each stage slower than the one before, with both libraries built."""
    networks = [Network(f"stage{k}", path, Folding(200 * 3**k, {})) for k, path in enumerate(paths)]
    package = compile_package("digits", networks, facts, BackEnd((DIGITS / "backend.onnx").read_bytes()), out)
    build_csim(package)
    build_verilated(package)
    return package


def everyone(fabric: Fabric, package: Package, images: Images) -> list[Answer]:
    """The cascade's answers to all images under its calibrated targets in turn, without a data centre."""
    calibration = package.kernel.calibration
    assert calibration is not None

    async def ask() -> list[Answer]:
        with contextlib.closing(Cascade(fabric, calibration, None)) as cascade:
            targets = [calibration.targets[n % len(calibration.targets)] for n in range(len(images))]
            pictures = [Picture(image, ()) for image in images]
            requests = [await cascade.request(*one, 1e9) for one in zip(pictures, targets, strict=True)]
            records, legs = await cascade.look(requests)
            return [await cascade.settle(*one) for one in zip(requests, records, legs, strict=True)]

    return asyncio.run(ask())


def without_time(answer: Answer) -> dict[str, Any]:
    """An answer without what depends on the fabric's speed."""
    return answer.model_dump(exclude={"legs"})


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("stages", [1, 3])
def test_a_cascade_of_any_length_answers_alike_in_csim_and_rtl(
    stages: int, facts: DataSetFacts, tmp_path: Path
) -> None:
    middle = spoilt(DIGITS / "stage1.onnx", tmp_path / "middle.onnx")
    paths = [DIGITS / "stage0.onnx", middle, DIGITS / "stage1.onnx"][:stages]
    package = compiled(paths, facts, tmp_path / "kernel")
    data = datasets.load("digits")
    made = calibration_of(
        package, CsimFabric(package).logits, data.calibration, data.test, [0.8, 0.9], loss=0.05, resplits=0
    )
    assert len(made.targets) == 2
    assert {len(target.thresholds) for target in made.targets} == {stages}
    package = package.replace(calibration=made.model_dump())
    assert Package.load(package.path).kernel == package.kernel

    images = np.ascontiguousarray(data.test.images[:120])
    csim, rtl = CsimFabric(package), VerilatedFabric(package)
    logits = csim.logits(images)
    for index, found in enumerate(rtl.logits(images)):
        assert np.array_equal(found, logits[index]), f"stage {index}"
    assert all(selftest(fabric, package).passed for fabric in (csim, rtl))
    # Half of the images that get there pass each stage, so that all of them answer.
    margins = [decide(values)[1] for values in logits]
    rows = [[int(np.median(margin)) for margin in margins], [int(np.quantile(margin, 0.8)) for margin in margins]]
    sets = (np.arange(len(images)) % 2).astype(np.uint8)
    for fabric in (csim, rtl):
        for index, row in enumerate(rows):
            fabric.set_thresholds(index, row)
    by_csim, by_rtl = csim.run(images, sets), rtl.run(images, sets)
    assert np.array_equal(by_csim[FIELDS], by_rtl[FIELDS])
    assert set(by_csim["stage"] & STAGE_MASK) == set(range(stages))
    assert np.any(by_csim["stage"] & OFFLOAD)
    counted = [rtl.registers.read(f"answered_stage{k}") for k in range(stages)]
    assert min(counted) > 0
    assert rtl.registers.read("stages") == stages
    assert len(rtl.measure_intervals(images[:12])) == stages
    answers = everyone(csim, package, images), everyone(rtl, package, images)
    assert [without_time(one) for one in answers[0]] == [without_time(one) for one in answers[1]]


def test_more_than_four_stages_and_none_are_refused(facts: DataSetFacts, tmp_path: Path) -> None:
    network = Network("stage0", DIGITS / "stage0.onnx", Folding(1_000, {}))
    for count in (0, 5):
        with pytest.raises(CompileError, match=f"a cascade has 1 to 4 stages; {count} networks were given"):
            compile_package("digits", [network] * count, facts, None, tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(-8, 8, 0), (-7, 8, 0)], r"the stages differ: stage0 takes unsigned values of 8 bits in steps of 0.00390625, "
         r"stage1 unsigned values of 8 bits in steps of 0.0078125; quantise the pixels alike in all"),
        ([(-8, 8, 0), (-8, 8, 1)], r"the stages differ: .*, stage1 signed values of 8 bits .*; quantise the pixels"),
        ([(-8, 8, 1), (-8, 8, 1)], r"the networks take signed values of 8 bits; a cascade's frames are pictures of by"),
        ([(-8, 12, 0)], r"the networks take unsigned values of 12 bits; a cascade's .*: begin the networks with an un"),
        ([(-6, 6, 0)], r"the networks take unsigned values of 6 bits; a cascade's frames .* or compile each file al"),
    ],
)  # fmt: skip
def test_stages_that_take_other_values_than_bytes_alike_are_refused(
    entries: list[tuple[int, int, int]], message: str, tmp_path: Path
) -> None:
    networks = []
    for place, (exponent, bits, signed) in enumerate(entries):
        writer = Writer((1, 8, 8))
        tensor = writer.dense(writer.flatten(writer.quant("image", exponent, bits, signed)), 64, 5)
        networks.append(Network(f"stage{place}", writer.save(tmp_path / f"{place}.onnx", tensor), Folding(500, {})))
    facts = DataSetFacts("five", "0" * 64, [f"class {k}" for k in range(5)])
    with pytest.raises(CompileError, match=message):
        compile_package("any", networks, facts, None, tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


def test_a_cascade_of_one_class_and_a_calibration_of_other_stages_are_refused(tmp_path: Path) -> None:
    writer = Writer((1, 8, 8))
    path = writer.save(tmp_path / "one.onnx", writer.dense(writer.flatten(writer.pixels()), 64, 1), classes=1)
    facts = DataSetFacts("one", "0" * 64, ["class"])
    with pytest.raises(CompileError, match=r"the networks have 1 outputs; a cascade needs 2 to .* classes: train them"):
        compile_package("any", [Network("stage0", path, Folding(500, {}))], facts, None, tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()
    package = Package.load(ROOT / "bitstreams" / "digits")
    shorter = package.kernel.model_copy(update={"stages": package.kernel.stages[:1]})
    with pytest.raises(CompileError, match="has another count of stages than kernel 'digits': calibrate anew"):
        calibrated_as(package, shorter)
