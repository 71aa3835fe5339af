"""Weights at run time: hardware that hangs on shapes and widths alone, and computes what the network computes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.coverage.random_networks import draw
from edgesight.bench.coverage.simulate import inputs_of, traffic_of
from edgesight.hls.compile import Network, compile_alone
from edgesight.hls.dataflow.operators import Matrix, Scale, Threshold
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.dataflow.runtime import hardware_of
from edgesight.hls.folding import Folding, Runtime
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.network import CompileError
from edgesight.hls.onto import Base
from edgesight.hls.rtl.image import weights_image
from edgesight.hls.rtl.network import emit_network
from edgesight.host.board_build import BoardBuild
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.package import Package
from edgesight.host.selftest import selftest
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate
from edgesight.sim.verilate import build_library
from tests.hls.qonnx_writer import Writer
from tests.trained_twice import ALL, SIDE, cascade, counting, exits, shifting


def test_two_trainings_of_one_shape_are_one_structure(tmp_path: Path) -> None:
    first, second = (cascade(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    assert first.kernel.build_hash == second.kernel.build_hash
    assert first.kernel.weights_sha256 != second.kernel.weights_sha256
    mine, theirs = first.kernel.runtime_weights, second.kernel.runtime_weights
    assert mine is not None
    assert theirs is not None
    assert (mine.words, mine.layers) == (theirs.words, theirs.layers)
    assert mine.crc32 != theirs.crc32
    # They do differ in what is a constant of other hardware: the shift of the one, the falling channels of the other.
    shifts, falling = set(), []
    for seed in (1, 2):
        operators = integer_network(tmp_path / f"{seed}-0.onnx")[0].operators
        shifts |= {operator.shift for operator in operators if isinstance(operator, Scale) and operator.shift}
        counted = [
            each for each in integer_network(tmp_path / f"{seed}-1.onnx")[0].operators if isinstance(each, Threshold)
        ]
        falling.append((counted[0].step < 0).tolist())
    assert len(shifts) == 2
    assert falling[0] != falling[1]


@pytest.mark.parametrize("index", range(60))
def test_the_hardware_computes_what_the_network_does(index: int) -> None:
    drawn = draw(11, index)
    network, _ = integer_network(drawn.model)
    try:
        hardware = hardware_of(network, ALL)
    except CompileError as error:
        assert "numbers of it are constants of the hardware" in str(error)  # noqa: PT017 - few are refused, and for this
        return
    loaded = [each for each in hardware.operators if isinstance(each, Matrix) and each.runtime]
    assert loaded or not any(isinstance(each, Matrix) and each.declared for each in network.operators)
    entry = network.entry.output
    shape = (6, entry.shape.height, entry.shape.width, entry.shape.channels)
    frames = np.random.default_rng(index).integers(entry.low, entry.high, shape, endpoint=True)
    for made, wanted in zip(Reference(hardware).integers(frames), Reference(network).integers(frames), strict=True):
        assert np.array_equal(made, wanted)
    emit_network("net", hardware, drawn.folding)


def test_fixed_weights_are_compiled_as_ever(tmp_path: Path) -> None:
    network, _ = integer_network(shifting(tmp_path / "net.onnx", 1))
    assert hardware_of(network, None) is network
    emitted = emit_network("net", network, Folding(300, {}))
    assert emitted.loaded == ()
    assert "runtime_memory" not in emitted.sources["net.sv"]
    assert "weights_i" not in emitted.sources["net.sv"]


def test_layers_are_loaded_by_choice(tmp_path: Path) -> None:
    network, _ = integer_network(shifting(tmp_path / "net.onnx", 1))
    emitted = emit_network("net", hardware_of(network, Runtime({"conv3"})), Folding(300, {}))
    assert len(emitted.loaded) == 3  # weights, bias and rounding of one layer
    assert all("conv3" in name for name in emitted.loaded)
    with pytest.raises(CompileError, match="no layer conv9 whose weights could be loaded; name one of conv3, matmul9"):
        hardware_of(network, Runtime({"conv9"}))


def test_an_image_names_memories_steps_and_words() -> None:
    image = np.frombuffer(weights_image(["1\n2\n", "a00000001b0000002\n"]), "<u4").tolist()
    assert image == [0, 1, 1, 2, 2 << 16 | 1, 0, 0xA, 0x1, 0xB0000002]


def per_channel(path: Path, scales: list[float]) -> Path:
    writer = Writer((1, SIDE, SIDE), 3)
    values = writer.generator.integers(-3, 4, (2, SIDE * SIDE)) * np.array(scales)[:, None]
    quantised = writer.quant(
        writer.constant(values.astype(np.float32)), 0, 4, 1, 1, scale=np.array(scales, np.float32)[:, None]
    )
    flat = writer.flatten(writer.pixels())
    bias = writer.constant(np.array([1.0, 2.0], np.float32) * 2.0**-11)
    return writer.save(path, writer.node("Gemm", [flat, quantised, bias], transB=1), classes=2)


def test_what_cannot_be_loaded_is_refused_with_layer_reason_and_remedy(tmp_path: Path) -> None:
    path = per_channel(tmp_path / "net.onnx", [0.125, 0.25])
    with pytest.raises(CompileError, match=r"layer .*numbers of it are constants of the hardware.*: put a quantiser"):
        compile_alone("net", Network("stage0", path, Folding(300, {}, ALL)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    compile_alone("net", Network("stage0", path, Folding(300, {})), tmp_path / "out")  # as it ever did


# ---- Onto a package --------------------------------------------------------------------------------------------------


def alone(path: Path, out: Path, folding: Folding) -> Package:
    return compile_alone("net", Network("stage0", path, folding), out)


def onto(base: Package, path: Path, out: Path) -> Package:
    found = Base.of(base.path, alone=True)
    return found.put(out, lambda folder: alone(path, folder, found.foldings[0]))


def test_a_retrained_network_goes_onto_a_package_with_its_bitstreams(tmp_path: Path) -> None:
    base = alone(shifting(tmp_path / "a.onnx", 1), tmp_path / "a", Folding(300, {"conv3": 6}, ALL))
    build = BoardBuild(
        board="some-board", part="p", flow="open", bitstream="boards/some-board/kernel.bit", handoff=None,
        device_tree=None, pynq_board=None, serial=None, clock_mhz=100.0, fmax_mhz=110.0, worst_slack_ns=0.1,
        utilisation={}, tools={}, reports=[],
    )  # fmt: skip
    base = base.add_board(build, {"boards/some-board/kernel.bit": b"bits"})
    new = onto(base, shifting(tmp_path / "b.onnx", 2), tmp_path / "b")
    loaded = Package.load(new.path)
    assert loaded.kernel.build_hash == base.kernel.build_hash
    assert loaded.kernel.weights_sha256 != base.kernel.weights_sha256
    assert loaded.read("boards/some-board/kernel.bit") == b"bits"
    assert loaded.kernel.boards == base.kernel.boards
    assert loaded.kernel.calibration is None
    assert loaded.kernel.stages[0].layers[0].reuse_built == base.kernel.stages[0].layers[0].reuse_built


def test_weights_of_fewer_bits_fit_and_of_more_are_refused(tmp_path: Path) -> None:
    base = alone(shifting(tmp_path / "a.onnx", 1), tmp_path / "a", Folding(300, {}, ALL))
    narrow = onto(base, shifting(tmp_path / "b.onnx", 2, bits=3), tmp_path / "b")
    assert narrow.kernel.build_hash == base.kernel.build_hash
    with pytest.raises(CompileError, match=r"layer conv3: its weights .* -15 to 15, the hardware's are -7 to 7"):
        onto(base, shifting(tmp_path / "c.onnx", 2, bits=5), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_another_shape_is_refused_by_layer(tmp_path: Path) -> None:
    base = alone(shifting(tmp_path / "a.onnx", 1), tmp_path / "a", Folding(300, {}, ALL))
    with pytest.raises(CompileError, match=r"layer conv3: \d+ parameters, the hardware has \d+: train a network of"):
        onto(base, shifting(tmp_path / "b.onnx", 2, channels=8), tmp_path / "b")
    with pytest.raises(CompileError, match="no layer conv3"):
        onto(base, counting(tmp_path / "c.onnx", 2), tmp_path / "c")


def test_a_package_of_fixed_weights_is_no_base(tmp_path: Path) -> None:
    fixed = alone(shifting(tmp_path / "a.onnx", 1), tmp_path / "a", Folding(300, {}))
    with pytest.raises(
        CompileError, match="its weights are part of the hardware: compile it once with --runtime-weights"
    ):
        Base.of(fixed.path, alone=True)
    loaded = alone(tmp_path / "a.onnx", tmp_path / "b", Folding(300, {}, ALL))
    with pytest.raises(CompileError, match="holds a network alone"):
        Base.of(loaded.path, alone=False)


# ---- In simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_random_networks_whose_weights_are_loaded_answer_as_the_reference(tmp_path: Path) -> None:
    sources: dict[str, str] = {}
    traffic = []
    for index in (2, 5, 8, 11, 16, 23, 30, 37):
        drawn = draw(12, index, 2, 5)
        network, _ = integer_network(drawn.model)
        hardware = hardware_of(network, ALL)
        emitted = emit_network(f"net{index}", hardware, drawn.folding)
        assert emitted.loaded
        sources |= emitted.project()
        # As it is after a reset: bank 0 answers, and nothing is written.
        port, inside = "  input  weights_pkg::bus_t weights_i,\n", "  weights_pkg::bus_t weights_q;\n"
        tied = "  weights_pkg::bus_t weights_i;\n  assign weights_i = '0;\n"
        text = sources[f"net{index}.sv"]
        assert (text.count(port), text.count(inside)) == (1, 1)
        sources[f"net{index}.sv"] = text.replace(port, "").replace(inside, tied + inside)
        traffic.append(traffic_of(emitted, hardware, inputs_of(network, 3, [12, index])))
    for passed in simulate(tmp_path / "build", sources, traffic, frames=3, seed=1, runs=3):
        assert not passed.error, f"{passed.module}, run {passed.run}: {passed.error}"


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_a_fixed_stage_takes_the_features_that_a_loaded_one_may_leave(tmp_path: Path) -> None:
    """Its own training never saw the largest of them."""
    package = exits(tmp_path / "kernel", 1, [ALL, None])
    build_library(package)
    assert package.kernel.runtime_weights is not None
    assert package.kernel.runtime_weights.whole == ["stage0"]
    with contextlib.closing(VerilatedFabric(package)) as fabric:
        assert selftest(fabric, package).passed
