"""What cannot be exact is refused before anything is written: by layer, with reason and remedy, all at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesight.bench.coverage.simulate import traffic_of
from edgesight.hls import qonnx_graph
from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_package, convert
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.nodes import QUANTISERS
from edgesight.hls.graph.signatures import SIGNATURES
from edgesight.hls.layers import layers_of
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import Traffic, simulate
from tests.hls import networks
from tests.hls.qonnx_writer import Writer

IMAGE = (3, 8, 8)
FACTS = DataSetFacts("any", "0" * 64, list("abcde"))
Build = Callable[[Writer], str]


def after_conv(change: Callable[[Writer, str], str], features: int = 216) -> Build:
    """A network whose first convolution is followed by `change`, then flattened into a dense layer."""

    def build(writer: Writer) -> str:
        changed = change(writer, writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
        return writer.dense(writer.flatten(changed), features, 5)

    return build


def as_conv(features: int = 216, **attributes: Any) -> Build:
    """A network with a convolution 3x3 of such attributes."""

    def build(writer: Writer) -> str:
        return writer.dense(
            writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3, **attributes))), features, 5
        )

    return build


def as_quantiser(signed: int = 0, bits: float = 4, **more: Any) -> Build:
    """A network with an odd quantiser behind its ReLU."""

    def build(writer: Writer) -> str:
        features = writer.node("Relu", [writer.conv(writer.pixels(), 3, 6, 3)])
        return writer.dense(writer.flatten(writer.quant(features, -2, bits, signed, **more)), 216, 5)

    return build


def as_gemm(**attributes: Any) -> Build:
    """A network that ends in a Gemm with a bias."""

    def build(writer: Writer) -> str:
        flat = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
        return writer.node("Gemm", [flat, writer.weights((216, 5)), writer.bias(5, -5)], **attributes)

    return build


def without_bias_in_gemm(writer: Writer) -> str:
    flat = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
    return writer.node("Gemm", [flat, writer.weights((216, 5))], alpha=0.5)


def scalar_in_front_of_relu(writer: Writer) -> str:
    added = writer.node("Add", [writer.conv(writer.pixels(), 3, 6, 3), writer.constant(np.float32(0.5))])
    return writer.dense(writer.flatten(writer.relu(added)), 216, 5)


def float_weights(writer: Writer) -> str:
    flat = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
    return writer.node("MatMul", [flat, writer.integers((216, 5), 7, -3)])


def spoilt_weights(value: float) -> Build:
    def build(writer: Writer) -> str:
        weights = np.full((216, 5), 0.5, np.float32)
        weights[3, 3] = value
        flat = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
        return writer.node("MatMul", [flat, writer.quant(writer.constant(weights), -3, 4, 1)])

    return build


def half_weights(dtype: type) -> Build:
    def build(writer: Writer) -> str:
        flat = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
        stored = writer.constant(np.asarray(writer.generator.integers(-7, 8, (216, 5)) / 8, dtype))
        return writer.node("MatMul", [flat, writer.quant(stored, -3, 4, 1)])

    return build


def branch(writer: Writer) -> str:
    features = writer.relu(writer.conv(writer.pixels(), 3, 6, 3))
    return writer.dense(writer.flatten(writer.node("Add", [features, writer.pool(features, 1, 1)])), 216, 5)


def computed_weights(writer: Writer) -> str:
    features = writer.flatten(writer.pixels())
    return writer.node("MatMul", [writer.weights((5, 192)), features])


def fine_bias(writer: Writer) -> str:
    conv = writer.dense(writer.flatten(writer.pixels()), 192, 5)
    return writer.node("Add", [conv, writer.bias(5, -30)])


def big_bias(writer: Writer) -> str:
    stored = writer.constant(np.full(5, 2.0**29, np.float32) * np.float32(2.0**-11))
    dense = writer.dense(writer.flatten(writer.pixels()), 192, 5)
    return writer.node("Add", [dense, writer.quant(stored, -11, 32, 1)])


def big_sums(writer: Writer) -> str:
    tensor = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 16, 1), bits=8))
    stored = writer.constant(np.full((1024, 5), 127.0, np.float32))
    return writer.node("MatMul", [tensor, writer.quant(stored, 0, 8, 1)])


def unsigned_logits(writer: Writer) -> str:
    return writer.quant(writer.dense(writer.flatten(writer.pixels()), 192, 5), -2, 8)


def no_quantiser_between(writer: Writer) -> str:
    hidden = writer.node("Relu", [writer.dense(writer.flatten(writer.pixels()), 192, 8)])
    return writer.dense(hidden, 8, 5)


def float_input(writer: Writer) -> str:
    return writer.dense(writer.flatten("image"), 192, 5)


def signed_input(writer: Writer) -> str:
    return writer.dense(writer.flatten(writer.quant("image", -7, 8, 1)), 192, 5)


def ends_in_a_map(writer: Writer) -> str:
    return writer.conv(writer.pixels(), 3, 5, 8)


def axis(value: int) -> Build:
    def build(writer: Writer) -> str:
        features = writer.relu(writer.conv(writer.pixels(), 3, 6, 3))
        return writer.dense(writer.node("Flatten", [features], axis=value), 216, 5)

    return build


REFUSED: dict[str, tuple[Build, str]] = {
    "pool order": (
        after_conv(lambda w, t: w.pool(t, 2, 2, storage_order=1), 54),
        r"storage_order is not 0; export it with storage_order 0",
    ),
    "pool foreign attribute": (
        after_conv(lambda w, t: w.pool(t, 2, 2, count_include_pad=1), 54),
        r"layer maxpool\d+: attribute count_include_pad of MaxPool is not read by this compiler; export it without",
    ),
    "conv huge pads": (
        as_conv(216, pads=[2**40] * 4),
        r"layer conv\d+: kernel \[3, 3\] or its padding; use sizes from 1 to 4096",
    ),
    "conv negative pads": (as_conv(216, pads=[-1, 0, 0, 0]), r"pads \[-1, 0, 0, 0\] is not 4 numbers of at least 0"),
    "conv too many strides": (as_conv(216, strides=[1, 1, 1]), r"strides \[1, 1, 1\] is not 2 numbers"),
    "bits 3.5": (as_quantiser(bits=3.5), r"quantiser quant\d+ \(behind relu\d+, before flatten\d+\): bit width 3.5"),
    "scale nan": (as_quantiser(scale=np.nan), r"a constant of it is no finite number; train the network again"),
    "scales": (
        as_quantiser(scale=[[[0.5]], [[0.5]], [[0.25]]] * 2),
        r"layer matmul\d+: its input channels have different scales; quantise its input with one scale for all",
    ),
    "gemm transA": (as_gemm(transA=1), r"layer gemm\d+: transA is not 0"),
    "float weights": (
        float_weights,
        r"layer matmul\d+: its weights are floating point; give the layer a weight quantiser",
    ),
    "weights nan": (
        spoilt_weights(np.nan),
        r"layer matmul\d+: its weights are not all finite numbers; train the network again",
    ),
    "weights first": (
        computed_weights,
        r"layer matmul\d+: constants come where computed values belong; export the network again",
    ),
    "float input": (
        float_input,
        r"layer matmul\d+: it takes the network's input, which has no quantiser; quantise the input, or say",
    ),
    "flatten 2": (
        axis(2),
        r"layer flatten\d+: Flatten of \[1, 6, 6, 6\] to \[6, 36\] mixes the batch with the rest; keep the first",
    ),
    "reshape": (
        after_conv(lambda w, t: w.node("Reshape", [t, w.constant(np.array([1, 6, 4, 9]))])),
        r"layer reshape\d+: a reshape of \[1, 6, 6, 6\] to \[1, 6, 4, 9\] that tears an axis apart; flatten, or",
    ),
    "foreign domain": (
        after_conv(lambda w, t: w.node("Relu", [t], domain="my.own")),
        r"layer relu\d+: operator Relu of domain 'my.own' is not read here; export it as a standard one",
    ),
}
# Refused by earlier compilers, or read wrongly by others: exact here.
EXACT: dict[str, Build] = {
    "pool dilated": after_conv(lambda w, t: w.pool(t, 2, 1, pads=[0] * 4, dilations=[2, 2]), 96),
    "pool ceil": after_conv(lambda w, t: w.pool(t, 3, 2, pads=[0] * 4, ceil_mode=1), 54),
    "pool padded": after_conv(lambda w, t: w.pool(t, 2, 2, pads=[1, 1, 1, 1]), 96),
    "pool same": after_conv(lambda w, t: w.pool(t, 3, 1, auto_pad="SAME_UPPER")),
    "pool rectangular": after_conv(lambda w, t: w.node("MaxPool", [t], kernel_shape=[2, 3], strides=[2, 2]), 36),
    "average pooling": after_conv(
        lambda w, t: w.node("AveragePool", [t], kernel_shape=[2, 2], strides=[2, 2], name="mean"), 54
    ),
    "conv dilated": as_conv(96, dilations=[2, 2]),
    "conv grouped": as_conv(216, group=3),
    "conv stride": as_conv(24, strides=[3, 3]),
    "conv strides": as_conv(108, strides=[1, 2]),
    "conv pads twice": as_conv(216, auto_pad="VALID"),
    "bits 9": as_quantiser(bits=9),
    "narrow": as_quantiser(narrow=1),
    "ceil": as_quantiser(mode="CEIL"),
    "half up": as_quantiser(mode="HALF_UP"),
    "signed relu": as_quantiser(signed=1),
    "zero point": as_quantiser(zero=3),
    "scale": as_quantiser(scale=0.3),
    "scale far": as_quantiser(scale=2.0**-90),
    "float16 scale": as_quantiser(dtype=np.float16),
    "float64 scale": as_quantiser(dtype=np.float64),
    "gemm alpha": as_gemm(alpha=0.5),
    "gemm alpha without bias": without_bias_in_gemm,
    "gemm beta": as_gemm(beta=0.5),
    "scalar add": scalar_in_front_of_relu,
    "weights inf": spoilt_weights(np.inf),
    "float16 weights": half_weights(np.float16),
    "float64 weights": half_weights(np.float64),
    "branch": branch,
    "fine bias": fine_bias,
    "big bias": big_bias,
    "big sums": big_sums,
    "unsigned logits": unsigned_logits,
    "no quantiser": no_quantiser_between,
    "signed input": signed_input,
    "a map": ends_in_a_map,
    "flatten 0": axis(0),
    "transpose": after_conv(lambda w, t: w.node("Transpose", [t], perm=[0, 1, 3, 2])),
    "softmax": lambda w: w.node("Softmax", [w.dense(w.flatten(w.pixels()), 192, 5)], axis=1, name="classes"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_exact_is_refused_by_layer_reason_and_remedy(tmp_path: Path, case: str) -> None:
    build, message = REFUSED[case]
    writer = Writer(IMAGE)
    path = writer.save(tmp_path / "network.onnx", build(writer))
    both = [Network(name, path, Folding(500, {})) for name in ("stage0", "stage1")]
    with pytest.raises(CompileError, match=re.escape(str(path)) + r"|layer|network") as caught:
        compile_package("any", both, FACTS, None, tmp_path / "kernel")
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "please report" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("part", range(3))  # several in a Verilator build
def test_odd_layers_are_exact_in_integers_and_in_hardware(tmp_path: Path, part: int) -> None:
    pixels = networks.images(IMAGE, 4)
    sources: dict[str, str] = {}
    traffic: list[Traffic] = []
    cases = list(EXACT)[part::3]
    for index, case in enumerate(cases):
        writer = Writer(IMAGE)
        path = writer.save(tmp_path / "network.onnx", EXACT[case](writer))
        network, _ = integer_network(path)
        layers = layers_of(network, Folding(500, {}))
        found, wanted = networks.run_reference(layers, pixels), networks.truth(path, pixels)
        assert networks.off(layers, found, wanted) == 0, case
        assert len(np.unique(found, axis=0)) > 1, f"{case}: a network that always says the same proves nothing"
        emitted = emit_network(f"net{index}", network, Folding(500, {}))
        sources |= emitted.project()
        traffic.append(traffic_of(emitted, network, Reference(network).quantised(pixels / 256)))
    passed = simulate(tmp_path / "rtl", sources, traffic, frames=len(pixels), seed=part, runs=2)
    assert not [(cases[int(run.module[3:])], run.error) for run in passed if run.error]


def changed(change: Callable[[onnx.ModelProto], None], path: Path) -> Path:
    """A valid network with its file changed."""
    writer = Writer(IMAGE)
    model = writer.model(as_conv()(writer))
    change(model)
    onnx.save(model, path)
    return path


def set_batch(size: int | str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        batch = model.graph.input[0].type.tensor_type.shape.dim[0]
        if isinstance(size, int):
            batch.dim_value = size
        else:
            batch.dim_param = size

    return change


def second_output(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [1, 6, 6, 6]))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3]))


def half_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_batch(4), r"input image: shape \[4, 3, 8, 8\] is a batch; export the network with a batch of 1"),
        (second_output, r"has 2 outputs \(tensor_\d+, tensor_\d+\); export it with one output"),
        (second_input, r"the network has 2 inputs \(image, other\) and 1 outputs; export it with one input"),
        (half_input, r"input image: its type is FLOAT16; export the network in float32"),
        (old_opset, r"written for opset 6 of ONNX, this compiler reads 7 to \d+; export it for another"),
    ],
)
def test_odd_files_are_refused(tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        convert(qonnx_graph.load(changed(change, tmp_path / "network.onnx")), "net", Folding(500, {}), tmp_path / "net")
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]


def test_a_batch_of_any_size_is_taken_as_one(tmp_path: Path) -> None:
    path = changed(set_batch("N"), tmp_path / "network.onnx")
    layers, _ = networks.compile_alone(path, tmp_path / "kernel")
    pixels = networks.images(IMAGE)
    assert np.array_equal(networks.run_reference(layers, pixels), networks.truth(path, pixels))


def test_all_problems_of_both_stages_are_told_at_once(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    features = writer.relu(writer.conv(writer.pixels(), 3, 6, 3, pads=[-1, 0, 0, 0]))
    pooled = writer.pool(writer.quant(writer.conv(writer.pixels(), 3, 6, 3), -2, 3.5), 2, 2, storage_order=1)
    joined = writer.node("Erf", [writer.node("Concat", [features, pooled], axis=1)])
    writer.save(tmp_path / "first.onnx", joined, float_layer(writer, writer.pixels()))
    writer = Writer(IMAGE)
    writer.save(tmp_path / "second.onnx", float_input(writer))
    both = [Network(name, tmp_path / f"{name}.onnx", Folding(500, {})) for name in ("first", "second")]
    with pytest.raises(CompileError) as caught:
        compile_package("any", both, FACTS, None, tmp_path / "kernel")
    told = str(caught.value)
    for problem in ("first.onnx: 4 problems", "pads [-1", "3.5", "operator Erf", "weights are float"):
        assert problem in told, told
    assert "second.onnx: layer matmul" in told


def float_layer(writer: Writer, tensor: str) -> str:
    return writer.node("MatMul", [writer.flatten(tensor), writer.integers((192, 5), 7, -3)])


def test_a_flood_of_problems_is_bounded(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    tensor = writer.pixels()
    for _ in range(100):
        tensor = writer.node("Erf", [tensor])
    with pytest.raises(CompileError, match="and 80 more") as caught:
        qonnx_graph.load(writer.save(tmp_path / "network.onnx", tensor))
    assert len(str(caught.value).splitlines()) == 22


def test_a_problem_is_told_by_the_modules_name(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    weights = writer.quant(writer.constant(np.zeros((6, 3, 3, 3), np.float32)), -3, 4, 1)
    writer.constants[-4].name = "features.conv2.weight"
    writer.nodes[-1].input[0] = "features.conv2.weight"
    conv = writer.node("Conv", [writer.pixels(), weights], kernel_shape=[3, 3], pads=[-1, 0, 0, 0])
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.flatten(writer.relu(conv)), 96, 5))
    with pytest.raises(CompileError, match=r"layer features\.conv2 \(conv\d+\): pads \[-1, 0, 0, 0\] is not 4"):
        qonnx_graph.load(path)
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    scopes = node.metadata_props.add()
    scopes.key, scopes.value = "pkg.torch.onnx.name_scopes", "['', 'net', 'net.blocks.3', 'conv2d']"
    onnx.save(model, path)
    with pytest.raises(CompileError, match=r"layer net\.blocks\.3 \(conv\d+\): pads \[-1, 0, 0, 0\] is not 4"):
        qonnx_graph.load(path)


def test_every_attribute_of_every_operator_is_read_or_refused(tmp_path: Path) -> None:
    """ONNX's own list of attributes, not this compiler's: what a later ONNX adds is met as well."""
    for kind, signature in SIGNATURES.items():
        known = signature.attributes
        if kind in QUANTISERS or onnx.defs.get_schema(kind).deprecated:
            continue
        for name, attribute in onnx.defs.get_schema(kind).attributes.items():
            value: dict[str, Any] = {
                "INT": 1,
                "INTS": [1, 1],
                "FLOAT": 0.5,
                "FLOATS": [0.5],
                "STRING": "odd",
                "STRINGS": ["odd"],
            }
            given: Any = value.get(attribute.type.name)
            if name in known or given is None:
                continue
            writer = Writer(IMAGE)
            inputs = [writer.pixels()] if kind != "Constant" else []
            attributes: dict[str, Any] = {name: given}
            writer.node(kind, inputs, **attributes)
            with pytest.raises(CompileError, match=f"attribute {name} of {kind} is not read by this compiler"):
                qonnx_graph.load(writer.save(tmp_path / "network.onnx", f"tensor_{len(writer.nodes) - 1}"))


def test_a_files_names_are_fit_for_messages(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    out = writer.node("Elu", [writer.pixels()], name="\x1b[2J\nall is well" + "x" * 5000)
    with pytest.raises(CompileError, match=r"layer \?\[2J\?all is wellx+: operator Elu") as caught:
        qonnx_graph.load(writer.save(tmp_path / "network.onnx", out))
    assert len(str(caught.value)) < 600


def test_a_fault_inside_a_library_is_told_with_what_was_done_and_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise KeyError("layer_17")

    path = changed(lambda model: None, tmp_path / "network.onnx")
    graph = qonnx_graph.load(path)
    monkeypatch.setattr("edgesight.hls.compile.model_graph", fail)
    with pytest.raises(
        CompileError, match=r"converting the network with hls4ml failed \(KeyError: 'layer_17'\)"
    ) as told:
        convert(graph, "net", Folding(500, {}), tmp_path)
    assert isinstance(told.value.__cause__, KeyError)
    monkeypatch.setattr("edgesight.hls.cpp.handlers.for_hls4ml", fail)
    with pytest.raises(CompileError, match=r"network.onnx: preparing the graph for hls4ml failed") as told:
        qonnx_graph.load(path)
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.parametrize("text", [b"", b"no network", b"\x08\x0a\x12\x00", b"{}"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(text)
    with pytest.raises(CompileError, match="export it again"):
        qonnx_graph.load(path)


def test_a_file_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"missing.onnx: no such file; give a QONNX"):
        qonnx_graph.load(tmp_path / "missing.onnx")
    with pytest.raises(CompileError, match=r"missing.onnx: no such file; give a QONNX"):
        qonnx_graph.execute(tmp_path / "missing.onnx", np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(CompileError, match="is no file; give a QONNX"):
        qonnx_graph.load(tmp_path)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("mvu", "a module of the kernel's library has this name"),
        ("Stream_FIFO", "a module of the kernel's library has this name"),
        ("cascade_pkg", "a module of the kernel's library has this name"),
        ("kernel", "a module of the kernel's library has this name"),
        ("3net", "no SystemVerilog identifier"),
        ("réseau", "no SystemVerilog identifier"),
        ("my-net", "no SystemVerilog identifier"),
        ("", "no SystemVerilog identifier"),
        ("Module", "a keyword of SystemVerilog"),
        ("endmodule", "a keyword of SystemVerilog"),
        ("template", "a keyword of SystemVerilog or C"),
        ("defines", "hls4ml writes files or types of this name"),
        ("n" * 101, "101 characters; use at most 100"),
    ],
)
def test_a_stages_name_is_refused_where_rtl_or_files_would_break(tmp_path: Path, module: str, message: str) -> None:
    graph = qonnx_graph.load(changed(lambda model: None, tmp_path / "network.onnx"))
    with pytest.raises(CompileError, match=message):
        convert(graph, module, Folding(500, {}), tmp_path)


def test_a_vector_network_cannot_be_a_cascades_stage(tmp_path: Path) -> None:
    writer = Writer((16,))
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.pixels(), 16, 5))
    both = [Network(name, path, Folding(500, {})) for name in ("stage0", "stage1")]
    with pytest.raises(CompileError, match=r"take 1x1x16 values a frame; a cascade's frames are pictures of 1 or 3"):
        compile_package("any", both, FACTS, None, tmp_path / "kernel")


def test_attributes_that_change_nothing_are_taken(tmp_path: Path) -> None:
    """What ONNX lets a file leave away, or write in another way, is read for what it means."""

    def first(writer: Writer) -> str:
        features = writer.relu(writer.node("Conv", [writer.pixels(), writer.weights((6, 3, 3, 3))]))
        pooled = writer.pool(features, 3, 3, ceil_mode=1, auto_pad="VALID")  # 6 pixels: no window hangs over
        flat = writer.node("Reshape", [pooled, writer.constant(np.array([0, -1]))])
        return writer.node("Gemm", [flat, writer.weights((24, 5))], beta=0.5)

    def second(writer: Writer) -> str:
        conv = writer.conv(writer.pixels(), 3, 6, 3, pads=None, strides=[2, 2], auto_pad="SAME_LOWER")
        return writer.dense(writer.node("Flatten", [writer.flatten(writer.relu(conv))]), 96, 5)

    for build in (first, second):
        writer = Writer(IMAGE)
        path = writer.save(tmp_path / "network.onnx", build(writer))
        layers, _ = networks.compile_alone(path, tmp_path / "kernel")
        pixels = networks.images(IMAGE)
        assert np.array_equal(networks.run_reference(layers, pixels), networks.truth(path, pixels))
