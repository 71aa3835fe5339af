"""A QONNX file by itself, from the command line to logits in the records of every fabric."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgesight
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.maps import real_outputs
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import missing_tools
from tests.edgesight.commands import ZOO, fails, succeeds
from tests.edgesight.commands import edgesight as edgesight_command
from tests.hls.qonnx_writer import Writer

COUNT = 30


def network(path: Path) -> Path:
    """Features in that no quantiser is for, a hidden layer with scales of no power of two, and five logits."""
    writer = Writer((12,), seed=4)
    taken = writer.quant("image", 0, 6, signed=1, scale=np.float32(0.21))
    hidden = writer.node("Relu", [writer.dense(taken, 12, 9)])
    return writer.save(path, writer.dense(writer.quant(hidden, 0, 3, scale=np.float32(0.37)), 9, 5))


def logits_of(package: Package, fabric: CsimFabric | VerilatedFabric, frames: np.ndarray) -> np.ndarray:
    """The real values of the logits in a fabric's records."""
    stage = package.kernel.stages[0]
    records = fabric.run(frames, np.zeros(len(frames), np.uint8))
    return np.asarray(records["logits"] * stage.logit_scale + stage.logit_offset)


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize(("asked", "scale"), [((), 0.21), (("--input", "fixed<7,3>"), 2.0**-4)])
def test_a_network_alone_is_compiled_and_says_its_logits(tmp_path: Path, asked: tuple[str, ...], scale: float) -> None:
    path, out = network(tmp_path / "network.onnx"), tmp_path / "kernel"
    names = [node.name for node in onnx.load(path).graph.node if node.op_type == "MatMul"]
    told = json.loads(
        succeeds("compile", path, "--out", out, "--cycles", "40", "--reuse", f"{names[0]}=18", *asked, "--json")
    )
    layer = next(layer for layer in told["stages"][0]["layers"] if layer["name"] == names[0])
    assert (layer["reuse_asked"], layer["reuse_built"]) == (18, 18)
    assert (told["logits_in_record"], told["classes"]) == (True, [])
    assert json.loads(succeeds("show", out, "--json")) == told
    assert Path(json.loads(succeeds("csim", out, "--json"))["library"]).is_file()
    assert Path(json.loads(succeeds("verilate", out, "--json"))["library"]).is_file()
    package = Package.load(out)
    taken = package.kernel.input
    low, high = (-64, 63) if asked else (-32, 31)
    frames = np.random.default_rng(2).integers(low, high, (COUNT, *taken.shape), endpoint=True).astype(taken.element)
    (wanted,) = real_outputs(onnx.load(path), frames * float(np.float32(scale)), integer_network(path)[0].ends)
    wanted = wanted.reshape(COUNT, -1)
    assert len(np.unique(wanted, axis=0)) > COUNT // 2
    for fabric in (CsimFabric(package), VerilatedFabric(package)):
        found = logits_of(package, fabric, frames)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_compiled_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "kernel"
    writer = Writer((12,))
    floats = writer.node("MatMul", [writer.pixels(), writer.integers((12, 5), 7, -3)])
    writer.save(tmp_path / "float.onnx", floats)
    writer = Writer((12,))
    one = [writer.constant(np.float32(0.1)), writer.constant(np.uint8(0))]
    qcdq = writer.node("DequantizeLinear", [writer.node("QuantizeLinear", ["image", *one]), *one])
    writer.save(tmp_path / "qcdq.onnx", writer.dense(qcdq, 12, 5))
    writer = Writer((12,))
    writer.save(tmp_path / "open.onnx", writer.dense("image", 12, 5))
    for name, more, message in (
        ("float", (), "its weights are floating point; give the layer a weight quantiser"),
        ("qcdq", (), "operator QuantizeLinear is not supported; export as QONNX (Brevitas' export_qonnx), not as QCDQ"),
        ("open", (), "it takes the network's input, which has no quantiser; quantise the input, or say"),
        ("open", ("--input", "float"), "input type 'float': give fixed<W,I>, ufixed<W,I>, int<W> or uint<W>"),
        ("open", ("--input", "fixed<32,16>"), "of 1 to 16 bits"),
        ("open", ("--cycles", "1,2"), "is a network alone; give one number of --cycles"),
        ("open", ("--reuse", "matmul"), "--reuse matmul: expected LAYER=N, such as Conv_1=12"),
        ("open", ("--input", "fixed<6,3>", "--reuse", "conv=2"), "no layer conv; name one of matmul"),
        ("none", (), "none.onnx"),
    ):
        fails(message, "compile", tmp_path / f"{name}.onnx", "--out", out, *more)
        assert not out.exists()


def test_a_network_alone_is_no_cascade_and_says_what_is_dropped(tmp_path: Path) -> None:
    writer, out = Writer((1, 4, 4)), tmp_path / "kernel"
    logits = writer.dense(writer.flatten(writer.pixels()), 16, 3)
    path = writer.save(tmp_path / "n.onnx", writer.node("ArgMax", [logits], axis=1))
    done = edgesight_command("compile", path, "--out", out, "--no-csim")
    assert (done.returncode, "Not calibrated" in done.stdout) == (0, False)
    lines = [line for line in done.stderr.splitlines() if "ArgMax is dropped" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: {path}: ")
    alone = "holds a network alone, which answers with its logits"
    for command in (
        ("calibrate", out, "digits", "--targets", "0.9"),
        ("verify", out, "digits"),
        ("demo", "--package", out),
    ):
        fails(alone, *command)
    with pytest.raises(edgesight.EdgeSightError, match=alone):
        edgesight.open(out, fabric="csim")


def test_a_zoo_of_three_stages_does_not_become_a_cascade_of_two_unsaid(tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    shutil.copytree(ZOO, zoo)
    shutil.copy(zoo / "stage1.onnx", zoo / "stage2.onnx")
    fails("holds 3 stages: give --cycles, a number for each", "compile", zoo, "--out", tmp_path / "k")
    assert not (tmp_path / "k").exists()
    done = edgesight_command("compile", zoo, "--out", tmp_path / "k", "--no-csim", "--cycles", "1500,3000")
    assert done.returncode == 0
    assert f"warning: {zoo}: stage2 is left out of the cascade, since --cycles has 2 numbers" in done.stderr


def test_a_zoo_folder_takes_no_input_type(tmp_path: Path) -> None:
    fails("whose networks take bytes of pictures", "compile", tmp_path, "--out", tmp_path / "k", "--input", "int<8>")
