"""A network with exits is cut into stages that compute the same, never stall each other for ever, and make a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesight.hls.boards import BoardError
from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_alone, compile_exits
from edgesight.hls.csim import build_library as build_csim
from edgesight.hls.dataflow import operators
from edgesight.hls.dataflow.exits import cut, multiplications, needed
from edgesight.hls.dataflow.operators import IntegerNetwork, Operator, Output, Stream, Window
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.maps import real_outputs
from edgesight.hls.library import library_of
from edgesight.hls.network import CompileError, Integers, Shape
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.streams import pixel_bits
from edgesight.hls.verilog import declare
from edgesight.hls.vitis import write_sources
from edgesight.host.fabric.csim import CsimFabric, decide
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.selftest import selftest
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import Traffic, simulate
from edgesight.sim.verilate import build_library as build_verilated
from tests.hls.qonnx_writer import Writer

FACTS = DataSetFacts("five", "0" * 64, [f"class {k}" for k in range(5)])
FIELDS = ["tag", "label", "stage", "error", "margin"]  # csim counts no cycles
TOOLS = pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")


class Graph:
    """An integer network in the making; each method gives the place of what it adds."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self.operators: list[Operator] = [operators.entry("image", stream, 1.0)]
        self.rng = np.random.default_rng(seed)

    def stream(self, place: int) -> Stream:
        return self.operators[place].output

    def put(self, operator: Operator) -> int:
        self.operators.append(operator)
        return len(self.operators) - 1

    def matrix(self, place: int, outputs: int, window: Window, top: int = 3) -> int:
        source = self.stream(place)
        weights = self.rng.integers(-top, top + 1, (outputs, *window.kernel, source.shape.channels))
        return self.put(operators.matrix(f"layer{len(self.operators)}", place, source, window, 1, weights))

    def conv(self, place: int, outputs: int, kernel: int = 3, stride: int = 1) -> int:
        around = (kernel // 2,) * 4
        return self.count(self.matrix(place, outputs, Window((kernel, kernel), (stride, stride), pads=around)))

    def dense(self, place: int, outputs: int) -> int:
        shape = self.stream(place).shape
        return self.matrix(place, outputs, Window((shape.height, shape.width)))

    def count(self, place: int) -> int:
        source = self.stream(place)
        rows = np.sort(self.rng.integers(source.low // 4, source.high // 4 + 1, (source.shape.channels, 3)), axis=1)
        ones = np.ones(source.shape.channels, np.int64)
        return self.put(operators.threshold(f"step{len(self.operators)}", place, source, rows, 0 * ones, ones))

    def add(self, *places: int) -> int:
        return self.put(operators.add(f"sum{len(self.operators)}", places, [self.stream(place) for place in places]))

    def network(self, *outputs: int) -> IntegerNetwork:
        ends: list[Output] = []
        for place in outputs:
            channels = self.stream(place).shape.channels
            ends.append(Output(f"exit{len(ends)}", place, np.ones(channels), np.zeros(channels), 0.0, False))
        return IntegerNetwork(tuple(self.operators), tuple(ends))


def three_exits(seed: int = 0) -> IntegerNetwork:
    """Exits with joins around and behind the features; those of the last one are a vector, of one beat."""
    graph = Graph(Stream(Shape(6, 6, 2), 0, 15), seed)
    before = graph.conv(0, 3)
    features = graph.conv(before, 3)
    first = graph.dense(graph.count(graph.add(before, graph.conv(features, 3, 1), features)), 4)
    deeper = graph.conv(graph.conv(features, 4), 4, stride=2)
    vector = graph.count(graph.dense(deeper, 8))
    second = graph.dense(vector, 4)
    third = graph.dense(graph.count(graph.dense(vector, 6)), 4)
    return graph.network(first, second, third)


def frames_of(network: IntegerNetwork, count: int, seed: int = 0) -> Integers:
    stream = network.entry.output
    shape = (count, stream.shape.height, stream.shape.width, stream.shape.channels)
    return np.random.default_rng(seed).integers(stream.low, stream.high, shape, endpoint=True)


def through(stages: list[IntegerNetwork], frames: Integers) -> list[Integers]:
    """The logits of all stages for all frames."""
    found = []
    for stage in stages:
        logits, *left = Reference(stage).integers(frames)
        found.append(logits)
        frames = left[0] if left else frames
    return found


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_parts_compute_what_the_whole_does(seed: int) -> None:
    network = three_exits(seed)
    stages = cut(network)
    frames = frames_of(network, 20, seed)
    for whole, part in zip(Reference(network).integers(frames), through(stages, frames), strict=True):
        assert len(np.unique(whole, axis=0)) > 3
        assert np.array_equal(whole, part)
    assert [len(stage.outputs) for stage in stages] == [2, 2, 1]
    named = [operator.name for stage in stages for operator in stage.operators[1:]]
    assert sorted(named) == sorted(operator.name for operator in network.operators[1:])
    assert [stage.entry.output.shape.pixels for stage in stages] == [36, 36, 1]
    # Every product once: the whole network's.
    assert sum(map(multiplications, stages)) == multiplications(network)
    alone = [multiplications(network, needed(network, [output.source])) for output in network.outputs]
    assert alone[0] == multiplications(stages[0])
    assert alone[1] > multiplications(stages[1])


def test_an_average_takes_no_multiplications() -> None:
    graph = Graph(Stream(Shape(2, 2, 3), 0, 3), 0)
    ones = np.ones((3, 2, 2, 1), np.int64)
    graph.put(operators.matrix("mean", 0, graph.stream(0), Window((2, 2)), 3, ones))
    assert multiplications(graph.network(1)) == 0


def chained(stages: list[IntegerNetwork], cycles: list[int], depth: int) -> tuple[dict[str, str], list[str]]:
    """A module `chain` of the stages with gates between: a frame passes where its logits have an odd count of ones.

    It has an output of logits for each stage. `depth`: frames of features that a gate holds, at least.
    """
    emitted = [
        emit_network(f"part{k}", stage, Folding(cycles[k], {})) for k, stage in enumerate(stages)
    ]  # fmt: skip
    body: list[str] = []
    declare(body, "f0", pixel_bits(stages[0].entry.output))
    body += ["  assign f0_valid = s_valid_i;", "  assign s_ready_o = f0_ready;", "  assign f0_data = s_data_i;"]
    ports = ["input logic clk_i", "input logic rst_ni", "input logic s_valid_i", "output logic s_ready_o"]
    ports.append(f"input logic [{pixel_bits(stages[0].entry.output) - 1}:0] s_data_i")
    for k, stage in enumerate(stages):
        width = pixel_bits(stage.operators[stage.outputs[0].source].output)
        ports += [
            f"output logic m{k}_valid_o",
            f"input logic m{k}_ready_i",
            f"output logic [{width - 1}:0] m{k}_data_o",
        ]
        wires = f".clk_i, .rst_ni, .s_valid_i(f{k}_valid), .s_ready_o(f{k}_ready), .s_data_i(f{k}_data)"
        last = len(stage.outputs) == 1
        port = "m" if last else "m0"
        wires += f", .{port}_valid_o(m{k}_valid_o), .{port}_ready_i(m{k}_ready_i), .{port}_data_o(m{k}_data_o)"
        if not last:
            left = stage.operators[stage.outputs[1].source].output
            beats, bits = left.shape.pixels, pixel_bits(left)
            declare(body, f"l{k}", bits)
            declare(body, f"f{k + 1}", bits)
            wires += f", .m1_valid_o(l{k}_valid), .m1_ready_i(l{k}_ready), .m1_data_o(l{k}_data)"
            body.append(
                f"  feature_gate #(.Width({bits}), .Beats({beats}), .Depth({max(2, depth * beats)})) u_gate{k} ("
                f".clk_i, .rst_ni, .s_valid_i(l{k}_valid), .s_ready_o(l{k}_ready), .s_data_i(l{k}_data), "
                f".verdict_valid_i(m{k}_valid_o && m{k}_ready_i), .pass_i(^m{k}_data_o), "
                f".m_valid_o(f{k + 1}_valid), .m_ready_i(f{k + 1}_ready), .m_data_o(f{k + 1}_data));"
            )
        body.append(f"  part{k} u_part{k} ({wires});")
    text = "module chain (\n  " + ",\n  ".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n"
    sources = {"chain.sv": text}
    for one in emitted:
        sources.update(one.sources)
    return {**library_of(sources), **sources}, [one.name for one in emitted]


def odd(logits: Integers, bits: int) -> np.ndarray:
    """Whether a frame's logits, of so many bits each, have an odd count of ones."""
    ones = (logits.reshape(len(logits), -1)[:, :, None] >> np.arange(bits)) & 1
    return np.asarray(ones.sum(axis=(1, 2)) % 2 == 1)


@TOOLS
@pytest.mark.parametrize(
    ("cycles", "depth"),
    [([1, 1, 1], 1), ([40, 4000, 40], 1), ([4000, 40, 4000], 2)],  # who waits for whom
)
def test_no_stage_waits_for_ever_under_any_stalls(cycles: list[int], depth: int, tmp_path: Path) -> None:
    network = three_exits()
    stages = cut(network)
    sources, _ = chained(stages, cycles, depth)
    taken = frames = frames_of(network, 12, 3)
    given, widths = [], []
    for stage in stages:
        logits, *left = Reference(stage).integers(frames)
        bits = stage.operators[stage.outputs[0].source].output.bits
        passed = odd(logits, bits)
        assert 0 < passed.sum() < len(passed) or not left
        given.append(logits.reshape(len(logits), -1))
        widths.append(bits)
        frames = left[0][passed] if left else frames
    entry = network.entry.output
    traffic = Traffic("chain", taken.reshape(-1, entry.shape.channels), entry.bits, given, widths, 40_000)
    runs = simulate(tmp_path / "chain", sources, [traffic], frames=12, seed=5, runs=12)
    assert [run.error for run in runs] == [""] * 12


def trunk(exits: int, path: Path, seed: int = 0) -> Path:
    """A QONNX file with float scales and so many exits, each behind a convolution that goes on from the one before."""
    writer = Writer((1, 8, 8), seed)
    tensor = writer.relu(writer.conv(writer.pixels(), 1, 3, 3), scale=np.float32(0.21), mode="ROUND")
    outputs, side = [], 6
    for k in range(exits):
        tensor = writer.relu(writer.conv(tensor, 3, 3, 3, pads=[1] * 4), scale=np.float32(0.37 + k))
        outputs.append(writer.dense(writer.flatten(tensor), 3 * side * side, 5))
    return writer.save(path, *outputs)


@TOOLS
@pytest.mark.parametrize(
    ("exits", "cycles"),
    [(2, [40, 2000]), (4, [800, 40, 800, 200])],  # the later stage holds the first one up, or not
)
def test_a_trunk_answers_alike_in_csim_rtl_and_its_file(exits: int, cycles: list[int], tmp_path: Path) -> None:
    path = trunk(exits, tmp_path / "exits.onnx")
    foldings = [Folding(budget, {}) for budget in cycles]
    package = compile_exits("trunk", path, foldings, FACTS, None, tmp_path / "kernel")
    kernel = package.kernel
    assert [file for file in kernel.files if file.startswith("networks/")] == ["networks/exits.onnx"]
    assert [kernel.network_of(stage) for stage in range(exits)] == [("networks/exits.onnx", k) for k in range(exits)]
    assert kernel.stages[0].trunk is None
    for stage in kernel.stages[1:]:
        assert stage.trunk is not None
        assert (stage.trunk.shape, stage.trunk.bits, stage.trunk.signed) == ((6, 6, 3), 4, False)
    # A convolution and a head each, and what leads to the features before.
    head, conv = 5 * 108, 36 * 81
    assert [stage.multiplications for stage in kernel.stages] == [36 * 27 + conv + head, *[conv + head] * (exits - 1)]
    assert [stage.trunk.multiplications for stage in kernel.stages if stage.trunk is not None] == [
        36 * 27 + conv * (k + 1) for k in range(exits - 1)
    ]
    build_csim(package)
    build_verilated(package)
    csim, rtl = CsimFabric(package), VerilatedFabric(package)
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 1), np.uint8)
    logits = csim.logits(images)
    wanted = real_outputs(onnx.load(str(path)), images / 256, integer_network(path)[0].ends)
    for index, (stage, found) in enumerate(zip(kernel.stages, rtl.logits(images), strict=True)):
        assert np.array_equal(found, logits[index]), stage.name
        values = found * stage.logit_scale + stage.logit_offset
        np.testing.assert_allclose(values, wanted[index].reshape(60, -1), rtol=0, atol=stage.logit_error + 1e-9)
    assert all(selftest(fabric, package).passed for fabric in (csim, rtl))
    margins = [decide(values)[1] for values in logits]
    sets = (np.arange(len(images)) % 2).astype(np.uint8)
    for fabric in (csim, rtl):
        fabric.set_thresholds(0, [int(np.median(margin)) for margin in margins])
        fabric.set_thresholds(1, [int(np.quantile(margin, 0.9)) for margin in margins])
    by_csim, by_rtl = csim.run(images, sets), rtl.run(images, sets)
    assert np.array_equal(by_csim[FIELDS], by_rtl[FIELDS])
    assert len(set(by_csim["stage"].tolist())) == exits + 1
    assert len(rtl.measure_intervals(images[:12])) == exits
    with pytest.raises(BoardError, match="stage1 goes on from features of the stage before, which the flow vitis does"):
        write_sources(package, tmp_path / "vitis", tmp_path / "vitis")


# ------------------------------------------------------------------------------------------------------- refusals


def _trunk(writer: Writer) -> str:
    return writer.relu(writer.conv(writer.pixels(), 1, 3, 3))


def _exit(writer: Writer, tensor: str, side: int = 6) -> str:
    return writer.dense(writer.flatten(tensor), 3 * side * side, 5)


def _block(writer: Writer, tensor: str) -> str:
    return writer.relu(writer.conv(tensor, 3, 3, 3, pads=[1] * 4))


def pixels_again(writer: Writer) -> list[str]:
    features = _trunk(writer)
    again = writer.relu(writer.conv("tensor_0", 1, 3, 3))
    return [_exit(writer, features), _exit(writer, _block(writer, _block(writer, again)))]


def two_streams(writer: Writer) -> list[str]:
    features = _trunk(writer)
    more = _block(writer, features)
    both = writer.node("Add", [_block(writer, features), _block(writer, more)], name="both")
    return [_exit(writer, more), _exit(writer, writer.quant(both, -2, 4))]


def an_older_stream(writer: Writer) -> list[str]:
    features = _trunk(writer)
    second, third = _block(writer, features), features
    for _ in range(3):
        third = _block(writer, third)
    return [_exit(writer, features), _exit(writer, second), _exit(writer, third)]


def wrong_order(writer: Writer) -> list[str]:
    features = _trunk(writer)
    return [_exit(writer, _block(writer, features)), _exit(writer, features)]


def a_map_for_logits(writer: Writer) -> list[str]:
    features = _trunk(writer)
    deeper = _block(writer, features)
    return [_exit(writer, features), writer.node("Conv", [deeper, writer.weights((1, 3, 6, 2))], kernel_shape=[6, 2])]


def nothing_left(writer: Writer) -> list[str]:
    first = _exit(writer, _trunk(writer))
    return [writer.dense(writer.quant(first, 0, 4, 1), 5, 5), first]


REFUSED: list[tuple[Callable[[Writer], list[str]], str]] = [
    (pixels_again, r"output tensor_\d+: layer conv\d+ takes the network's input again, which is gone by then; let the"),
    (two_streams, r"output tensor_\d+: it goes on from 2 layers \(quant\d+, quant\d+\) of .*; let the exits"),
    (an_older_stream, r"output tensor_\d+: layer conv\d+ goes on from layer quant\d+, which is left behind before"),
    (wrong_order, r"output tensor_\d+: takes 1512 multiplications from the input, and output tensor_\d+, which comes "
     r"before it, 4428; give the outputs in the order of their exits, the cheapest first"),
    (a_map_for_logits, r"output tensor_\d+: it is a map of 5 places, and the classes of a cascade are channels of one; "
     "end the network in a dense layer or"),
    (nothing_left, r"output tensor_\d+: earlier outputs need all that it is .*; give the outputs in the order"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_what_cannot_be_cut_is_refused_by_output_and_layer(
    build: Callable[[Writer], list[str]], message: str, tmp_path: Path
) -> None:
    writer = Writer((1, 8, 8))
    outputs = build(writer)
    path = writer.save(tmp_path / "exits.onnx", *outputs)
    foldings = [Folding(1_000, {})] * len(outputs)
    with pytest.raises(CompileError, match=message):
        compile_exits("trunk", path, foldings, FACTS, None, tmp_path / "kernel")
    assert [each.name for each in tmp_path.iterdir()] == ["exits.onnx"]


def test_features_that_no_int32_holds_are_refused() -> None:
    graph = Graph(Stream(Shape(1, 1, 2), 0, 1 << 28), 0)
    wide = graph.matrix(0, 2, Window((1, 1)), top=100)
    network = graph.network(graph.dense(wide, 3), graph.dense(graph.dense(wide, 9), 3))
    with pytest.raises(CompileError, match=r"layer \w+ goes on from layer layer1, whose integers are wider than"):
        cut(network)


def test_counts_of_exits_foldings_and_classes_must_fit(tmp_path: Path) -> None:
    path, folding, out = trunk(2, tmp_path / "exits.onnx"), Folding(1_000, {}), tmp_path / "kernel"
    for foldings in ([folding], [folding] * 3):
        with pytest.raises(CompileError, match=rf"has 2 outputs, and foldings for {len(foldings)} stages were given"):
            compile_exits("trunk", path, foldings, FACTS, None, out)
    with pytest.raises(CompileError, match="4 class names for networks with 5 outputs"):
        compile_exits("trunk", path, [folding] * 2, replace(FACTS, classes=FACTS.classes[:4]), None, out)
    with pytest.raises(CompileError, match="classes: 'a' is there twice; give every class a name of its own"):
        compile_exits("trunk", path, [folding] * 2, replace(FACTS, classes=[*"aabcd"]), None, out)
    remedy = r"has 2 outputs \(tensor_\d+, tensor_\d+\); export it with one output, or compile a zoo folder that holds"
    with pytest.raises(CompileError, match=remedy):
        compile_alone("trunk", Network("stage0", path, folding), out)
    writer = Writer((1, 8, 8))
    features = _trunk(writer)
    outputs = _exit(writer, features), writer.dense(writer.flatten(_block(writer, features)), 108, 4)
    path = writer.save(tmp_path / "uneven.onnx", *outputs)
    with pytest.raises(CompileError, match="the stages differ: stage0 takes 8x8x1 and has 5 classes, stage1"):
        compile_exits("trunk", path, [folding] * 2, FACTS, None, out)
    assert not out.exists()
