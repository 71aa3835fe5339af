"""A network alone: its records carry its logits, on every fabric, whatever its inputs and outputs are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.hls import emit, qonnx_graph
from edgesight.hls.compile import CLOCK_MHZ, Folding, Network, compile_alone
from edgesight.hls.csim import build_library as build_csim
from edgesight.hls.network import CompileError, Format, Shape
from edgesight.host.fabric.base import FabricError, record_type
from edgesight.host.fabric.csim import CsimFabric, decide
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.files import sha256
from edgesight.host.kernel import Input, Kernel, Stage
from edgesight.host.package import Package, structure_hash, weights_checksum, write_package
from edgesight.host.registers import OFFSETS
from edgesight.host.selftest import VECTORS, selftest
from edgesight.sim.rtl.runner import ROOT, missing_tools
from edgesight.sim.verilate import build_library as build_verilated
from tests.hls.qonnx_writer import Writer

NETWORK = ROOT / "quant" / "zoo" / "digits" / "stage0.onnx"
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")


@needs_tools
def test_a_compiled_network_alone_says_its_logits_on_every_fabric(tmp_path: Path) -> None:
    package = compile_alone("alone", Network("stage0", NETWORK, Folding(300, {})), tmp_path / "kernel")
    assert Package.load(package.path).kernel == package.kernel
    assert (package.kernel.classes, package.kernel.outputs, package.kernel.record_beats) == ([], 10, 7)
    build_csim(package)
    build_verilated(package)
    images = np.random.default_rng(5).integers(0, 256, (40, 8, 8, 1), np.uint8)
    truth = qonnx_graph.execute(NETWORK, images) / package.kernel.stages[0].logit_scale
    labels, margins = decide(truth.astype(np.int32))
    for fabric in (CsimFabric(package), VerilatedFabric(package)):
        records = fabric.run(images, np.zeros(len(images), np.uint8))
        assert records.dtype == record_type(package.kernel)
        assert np.array_equal(records["logits"], truth)
        assert np.array_equal(records["label"], labels)
        assert np.array_equal(records["margin"], margins)
        assert np.array_equal(fabric.logits(images)[0], truth)
        assert selftest(fabric, package).passed
    # A logit that changes neither label nor margin is noticed, too.
    vectors = dict(np.load(io.BytesIO(package.read(VECTORS))))
    vectors["stage0"][3, np.argmin(vectors["stage0"][3])] -= 1
    packed = io.BytesIO()
    np.savez(packed, **vectors)
    (package.path / VECTORS).write_bytes(packed.getvalue())
    wrong = package.replace(files={**package.kernel.files, VECTORS: sha256(packed.getvalue())})
    assert selftest(VerilatedFabric(wrong), wrong).mismatches == 2, "under both rows of thresholds"


def test_a_last_softmax_is_left_to_the_host(tmp_path: Path) -> None:
    writer = Writer((8,))
    path = writer.save(tmp_path / "n.onnx", writer.node("Softmax", [writer.dense(writer.pixels(), 8, 4)], axis=1))
    assert (
        compile_alone("alone", Network("stage0", path, Folding(300, {})), tmp_path / "kernel").kernel.stages[0].softmax
    )


@pytest.mark.parametrize("end", ["ArgMax", "no dimension", "TopK", "of a softmax", "and on"])
def test_the_logits_that_a_last_index_is_dropped_of_are_compiled(end: str, tmp_path: Path) -> None:
    writer = Writer((8,))
    tensor = writer.dense(writer.pixels(), 8, 4)
    if end == "of a softmax":
        tensor = writer.node("Softmax", [tensor], axis=1)
    if end == "TopK":
        writer.node("TopK", [tensor, writer.constant(np.array([1]))])
        writer.nodes[-1].output.append("indices")
        made = "indices"
    else:
        made = writer.node("ArgMax", [tensor], axis=1, keepdims=int(end != "no dimension"))
    if end == "and on":
        made = writer.node("Cast", [writer.node("Flatten", [made])], to=1)
    network = Network("stage0", writer.save(tmp_path / "n.onnx", made, classes=1), Folding(300, {}))
    with pytest.warns(UserWarning, match="is dropped: the network gives what it compares"):
        stage = compile_alone("alone", network, tmp_path / "kernel").kernel.stages[0]
    assert (stage.outputs, stage.softmax) == (4, end == "of a softmax")


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([[1.0, 1.0, 2.0**28, 1.0]], "output .*: its integers have [34][0-9] bits, a record carries 32 at most; put a"),
        ([1e300, 1e300], "output .*: its values lie beyond what doubles hold exactly; scale"),
        ([1e-320], "output .*: its values lie beyond what doubles hold exactly; scale"),
    ],
)
def test_logits_that_no_record_carries_are_refused(factors: list[Any], message: str, tmp_path: Path) -> None:
    writer = Writer((8,))
    tensor = writer.dense(writer.pixels(), 8, 4)
    for factor in factors:
        tensor = writer.node("Mul", [tensor, writer.constant(np.asarray(factor, np.float64))])
    path = writer.save(tmp_path / "n.onnx", tensor)
    with pytest.raises(CompileError, match=message):
        compile_alone("alone", Network("stage0", path, Folding(300, {})), tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


def test_more_outputs_than_a_record_carries_are_refused(tmp_path: Path) -> None:
    writer = Writer((2,))
    path = writer.save(tmp_path / "n.onnx", writer.dense(writer.pixels(), 2, 65_537, bits=2))
    with pytest.raises(CompileError, match="the network has 65537 outputs; a record carries at most 65536: cut it"):
        compile_alone("alone", Network("stage0", path, Folding(300, {})), tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


ECHO = """\
module stage0 (
  input  logic clk_i, rst_ni, s_valid_i, m_ready_i,
  output logic s_ready_o, m_valid_o,
  input  logic [WIDTH:0] s_data_i,
  output logic [WIDTH:0] m_data_o
);
  stream_fifo #(.Width(WIDTH + 1), .Depth(1)) u_fifo (.*);
endmodule
"""


def echo(form: Format, shape: Shape, path: Path) -> Package:
    """A kernel whose network gives every pixel back as it came, as a map."""
    values = shape.pixels * shape.channels
    ports = emit.Ports("stage0", shape, form, values, form.bits, shape.pixels)
    generated = {"stage0.sv": ECHO.replace("WIDTH + 1", str(shape.channels * form.bits)).replace(
        "WIDTH", str(shape.channels * form.bits - 1)
    )}  # fmt: skip

    def top(build_hash: str) -> str:
        return emit.emit_kernel([ports], 4, build_hash, weights_checksum({})[:8], logits_in_record=True)

    library = emit.library_of({**generated, "kernel.sv": top("0" * 8)})
    digests = {name: sha256(text.encode()) for name, text in library.items()}
    rtl = {name: text.encode() for name, text in generated.items()}
    build_hash = structure_hash({**rtl, "kernel.sv": top("0" * 8).encode()}, digests)
    rtl["kernel.sv"] = top(build_hash).encode()
    stage = Stage(
        name="stage0",
        parameters=0,
        multiplications=0,
        outputs=values,
        logit_bits=form.bits,
        logit_scale=1.0,
        layers=[],
        bound_cycles=values,
        bound_layer="input",
    )
    kernel = Kernel(
        schema_version=6,
        name="echo",
        build_hash=build_hash,
        weights_sha256=weights_checksum(rtl),
        classes=[],
        logits_in_record=True,
        input=Input(
            height=shape.height, width=shape.width, channels=shape.channels, bits=form.bits, signed=form.signed
        ),
        backend_input=None,
        stages=[stage],
        library=digests,
        threshold_sets=16,
        frame_slots=4,
        clock_mhz=CLOCK_MHZ,
        registers=OFFSETS,
        dataset="none",
        dataset_sha256="",
        tools={},
        calibration=None,
        files={},
    )
    package = write_package(path, kernel, {f"rtl/{name}": content for name, content in rtl.items()})
    build_verilated(package)
    return package


@needs_tools
@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (Format(12, 0, True), Shape(2, 3, 5)),  # two bytes a value, pixels of ten bytes, an even count of values
        (Format(3, 0, True), Shape(1, 1, 13)),  # a flat vector of an odd count, one byte a value
        (Format(16, 0, True), Shape(3, 3, 1)),
    ],
)
def test_inputs_of_any_width_and_sign_come_as_they_were_given(form: Format, shape: Shape, tmp_path: Path) -> None:
    package = echo(form, shape, tmp_path / "kernel")
    taken = package.kernel.input
    low, high = -(1 << form.bits - 1), (1 << form.bits - 1) - 1
    size = (20, *taken.shape)
    images = np.random.default_rng(7).integers(low, high + 1, size).astype(taken.element)
    images[0], images[1] = low, high
    fabric = VerilatedFabric(package)
    records = fabric.run(images, np.zeros(len(images), np.uint8))
    assert np.array_equal(records["logits"], images.reshape(len(images), -1))
    labels, margins = decide(images.reshape(len(images), -1).astype(np.int32))
    assert np.array_equal(records["label"], labels)
    assert np.array_equal(records["margin"], margins)
    with pytest.raises(FabricError, match=f"takes {taken.element} "):
        fabric.run(images.astype(np.uint8), np.zeros(len(images), np.uint8))
    if form.bits not in (8, 16):
        images[2] = high + 1
        with pytest.raises(FabricError, match=f"takes {low} to {high}: convert them first"):
            fabric.run(images, np.zeros(len(images), np.uint8))
