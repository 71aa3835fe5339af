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

from edgesight.hls import qonnx_graph
from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_package, convert
from edgesight.hls.graph.nodes import ATTRIBUTES
from edgesight.hls.network import CompileError
from tests.hls import networks
from tests.hls.qonnx_writer import Writer

ZOO = Path(__file__).resolve().parents[3] / "shared" / "data" / "qonnx-zoo"
IMAGE = (3, 8, 8)
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
        stored = writer.constant(np.zeros((216, 5), dtype))
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


CASES: dict[str, tuple[Build, str]] = {
    "pool dilated": (
        after_conv(lambda w, t: w.pool(t, 2, 1, pads=[0] * 4, dilations=[2, 2]), 96),
        r"layer maxpool\d+: dilated max pooling \(dilations \[2, 2\]\); use dilation 1",
    ),
    "pool ceil": (
        after_conv(lambda w, t: w.pool(t, 3, 2, pads=[0] * 4, ceil_mode=1), 54),
        r"layer maxpool\d+: ceil_mode 1 with windows that hang over the map's edge; use ceil_mode 0",
    ),
    "pool padded": (
        after_conv(lambda w, t: w.pool(t, 2, 2, pads=[1, 1, 1, 1]), 96),
        r"max pooling with padding \[1, 1, 1, 1\]; pool without",
    ),
    "pool same": (
        after_conv(lambda w, t: w.pool(t, 3, 1, auto_pad="SAME_UPPER")),
        r"max pooling with padding \[1, 1, 1, 1\]; pool without",
    ),
    "pool order": (
        after_conv(lambda w, t: w.pool(t, 2, 2, storage_order=1), 54),
        r"storage_order is not 0; export it with storage_order 0",
    ),
    "pool foreign attribute": (
        after_conv(lambda w, t: w.pool(t, 2, 2, count_include_pad=1), 54),
        r"layer maxpool\d+: attribute count_include_pad of MaxPool is not read by this compiler; export it without",
    ),
    "pool rectangular": (
        after_conv(lambda w, t: w.node("MaxPool", [t], kernel_shape=[2, 3], strides=[2, 2]), 36),
        r"kernel 2x3 is not square; use a square one",
    ),
    "average pooling": (
        after_conv(lambda w, t: w.node("AveragePool", [t], kernel_shape=[2, 2], strides=[2, 2], name="mean"), 54),
        r"layer mean: operator AveragePool is not supported; use max pooling",
    ),
    "conv dilated": (as_conv(96, dilations=[2, 2]), r"a dilated convolution \(dilations \[2, 2\]\); use dilation 1"),
    "conv grouped": (as_conv(216, group=3), r"layer conv\d+: a grouped convolution \(3 groups\); use a full conv"),
    "conv stride": (as_conv(24, strides=[3, 3]), r"stride 3x3; 1 and 2 are supported"),
    "conv strides": (as_conv(108, strides=[1, 2]), r"stride 1x2; 1 and 2 are supported, the same both ways"),
    "conv pads twice": (as_conv(216, auto_pad="VALID"), r"auto_pad VALID beside pads .*; give one of both"),
    "conv huge pads": (
        as_conv(216, pads=[2**40] * 4),
        r"a padded map of more than 4096 rows or columns; use a smaller",
    ),
    "conv negative pads": (as_conv(216, pads=[-1, 0, 0, 0]), r"pads \[-1, 0, 0, 0\] is not 4 numbers of at least 0"),
    "conv too many strides": (as_conv(216, strides=[1, 1, 1]), r"strides \[1, 1, 1\] is not 2 numbers"),
    "bits 3.5": (as_quantiser(bits=3.5), r"quantiser quant\d+ \(behind relu\d+, before flatten\d+\): bit width 3.5"),
    "bits 9": (as_quantiser(bits=9), r"activations of 9 bits; use at most 8"),
    "narrow": (as_quantiser(narrow=1), r"a narrow range of an unsigned quantiser; export it with narrow=0"),
    "ceil": (as_quantiser(mode="CEIL"), r"rounding mode CEIL; use FLOOR or ROUND"),
    "half up": (as_quantiser(mode="HALF_UP"), r"rounding mode HALF_UP; use FLOOR or ROUND"),
    "signed relu": (as_quantiser(signed=1), r"a ReLU needs an unsigned quantiser, not a signed one; use an unsigned"),
    "zero point": (as_quantiser(zero=3), r"zero point 3 is not 0; use a symmetric quantiser"),
    "scale": (as_quantiser(scale=0.3), r"float scale 0.3 is no power of two; use Brevitas' fixed-point quantisers"),
    "scale nan": (as_quantiser(scale=np.nan), r"float scale nan is no power of two"),
    "scales": (
        as_quantiser(scale=[[[0.5]], [[0.5]], [[0.25]]] * 2),
        r"one scale a channel \(6 scales\); use one scale",
    ),
    "scale far": (as_quantiser(scale=2.0**-90), r"scale 2\*\*-90 is out of range; use scales from"),
    "float16 scale": (as_quantiser(dtype=np.float16), r"bit width is not float32; export the network in float32"),
    "float64 scale": (as_quantiser(dtype=np.float64), r"bit width is not float32; export the network in float32"),
    "gemm alpha": (as_gemm(alpha=0.5), r"layer gemm\d+: alpha 0.5; scale the weights instead"),
    "gemm alpha without bias": (without_bias_in_gemm, r"layer gemm\d+: alpha 0.5; scale the weights instead"),
    "gemm beta": (as_gemm(beta=0.5), r"layer gemm\d+: beta 0.5; scale the bias instead"),
    "gemm transA": (as_gemm(transA=1), r"layer gemm\d+: transA is not 0"),
    "scalar add": (scalar_in_front_of_relu, r"layer add\d+: an addition is supported as the bias of the dense layer"),
    "float weights": (float_weights, r"layer matmul\d+: weights are floating point; give the layer a weight quantiser"),
    "weights nan": (spoilt_weights(np.nan), r"the weights that it quantises are not all finite numbers"),
    "weights inf": (spoilt_weights(np.inf), r"the weights that it quantises are not all finite numbers"),
    "float16 weights": (half_weights(np.float16), r"the weights that it quantises are float16; export .* in float32"),
    "float64 weights": (half_weights(np.float64), r"the weights that it quantises are float64; export .* in float32"),
    "branch": (branch, r"layer quant\d+: its output goes to (maxpool\d+, add\d+|add\d+, maxpool\d+); only a chain"),
    "weights first": (computed_weights, r"layer matmul\d+: computed values come where constants belong"),
    "fine bias": (fine_bias, r"the bias is finer than the 2\*\*-11 of the products; give it the scale of input times"),
    "big bias": (big_bias, r"its sums reach 2\*\*\d+ steps of its products, beyond the 2\*\*24 to which"),
    "big sums": (big_sums, r"its sums reach 2\*\*\d+ steps of its products, beyond the 2\*\*24 to which"),
    "unsigned logits": (unsigned_logits, r"layer matmul\d+: an unsigned quantiser makes the logits; use a signed one"),
    "no quantiser": (no_quantiser_between, r"layer matmul\d+: no quantiser lies between layer matmul\d+ and this one"),
    "float input": (float_input, r"the input needs an unsigned 8-bit quantiser .*, but MatMul follows it; quantise"),
    "signed input": (signed_input, r"the input needs an unsigned 8-bit quantiser .* but a signed one of 8 bits"),
    "a map": (ends_in_a_map, r"the network must end in a dense layer that makes the logits, not in conv\d+; let"),
    "flatten 2": (axis(2), r"layer flatten\d+: Flatten from axis 2; flatten all but the batch \(axis 1\)"),
    "flatten 0": (axis(0), r"layer flatten\d+: Flatten from axis 0; flatten all but the batch"),
    "transpose": (
        after_conv(lambda w, t: w.node("Transpose", [t], perm=[0, 1, 3, 2])),
        r"layer transpose\d+: a transposition \[0, 1, 3, 2\] of activations; export the network without it",
    ),
    "reshape": (
        after_conv(lambda w, t: w.node("Reshape", [t, w.constant(np.array([1, 6, 4, 9]))])),
        r"layer reshape\d+: a reshape to \[1, 6, 4, 9\] that is no flatten of all but the batch; use Flatten",
    ),
    "foreign domain": (
        after_conv(lambda w, t: w.node("Relu", [t], domain="my.own")),
        r"layer relu\d+: operator Relu of domain 'my.own' is not ONNX's own",
    ),
    "softmax": (
        lambda w: w.node("Softmax", [w.dense(w.flatten(w.pixels()), 192, 5)], axis=1, name="classes"),
        r"layer classes: operator Softmax is not supported; end the network at the logits",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_cannot_be_exact_is_refused_by_layer_reason_and_remedy(tmp_path: Path, case: str) -> None:
    build, message = CASES[case]
    writer = Writer(IMAGE)
    path = writer.save(tmp_path / "network.onnx", build(writer))
    facts = DataSetFacts("any", "0" * 64, list("abcde"))
    both = [Network(name, path, Folding(500, {})) for name in ("stage0", "stage1")]
    with pytest.raises(CompileError, match=re.escape(str(path)) + r"|layer|network") as caught:
        compile_package("any", both, facts, None, tmp_path / "kernel")
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "please report" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]


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
        (set_batch(4), r"input image: shape \[4, 3, 8, 8\] is none of .*; export the network with a batch of 1"),
        (set_batch("N"), r"input image: shape \['N', 3, 8, 8\] is none of .*; export the network with a batch of 1"),
        (second_output, r"the network has 2 outputs \(tensor_\d+, tensor_\d+\); export it with one output"),
        (second_input, r"the network has 2 inputs \(image, other\); export it with one input"),
        (half_input, r"input image: its type is FLOAT16; export the network in float32"),
        (old_opset, r"written for opset 6 of ONNX, this compiler reads 7 to \d+; export it for another"),
    ],
)
def test_odd_files_are_refused(tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        qonnx_graph.load(changed(change, tmp_path / "network.onnx"))


def test_all_problems_of_both_stages_are_told_at_once(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    features = writer.relu(writer.conv(writer.pixels(), 3, 6, 3, dilations=[2, 2], group=3), bits=3.5)
    pooled = writer.pool(features, 2, 1, pads=[0] * 4, dilations=[2, 2])
    writer.save(tmp_path / "first.onnx", writer.node("Softmax", [float_layer(writer, pooled)], axis=1))
    writer = Writer(IMAGE)
    writer.save(tmp_path / "second.onnx", float_input(writer))
    both = [Network(name, tmp_path / f"{name}.onnx", Folding(500, {})) for name in ("first", "second")]
    with pytest.raises(CompileError) as caught:
        compile_package("any", both, DataSetFacts("any", "0" * 64, list("abcde")), None, tmp_path / "kernel")
    told = str(caught.value)
    for problem in (
        "6 problems",
        "a dilated conv",
        "grouped",
        "3.5",
        "dilated max pooling",
        "weights are float",
        "Softmax",
    ):
        assert problem in told, told
    assert "second.onnx: layer matmul" in told


def float_layer(writer: Writer, tensor: str) -> str:
    return writer.node("MatMul", [writer.flatten(tensor), writer.integers((24, 5), 7, -3)])


def test_a_flood_of_problems_is_bounded(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    tensor = writer.pixels()
    for _ in range(100):
        tensor = writer.node("Sigmoid", [tensor])
    with pytest.raises(CompileError, match="and 80 more") as caught:
        qonnx_graph.load(writer.save(tmp_path / "network.onnx", tensor))
    assert len(str(caught.value).splitlines()) == 22


def test_a_problem_is_told_by_the_modules_name(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    weights = writer.quant(writer.constant(np.zeros((6, 3, 3, 3), np.float32)), -3, 4, 1)
    writer.constants[-4].name = "features.conv2.weight"
    writer.nodes[-1].input[0] = "features.conv2.weight"
    conv = writer.node("Conv", [writer.pixels(), weights], kernel_shape=[3, 3], dilations=[2, 2])
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.flatten(writer.relu(conv)), 96, 5))
    with pytest.raises(CompileError, match=r"layer features\.conv2 \(conv\d+\): a dilated convolution"):
        qonnx_graph.load(path)
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    scopes = node.metadata_props.add()
    scopes.key, scopes.value = "pkg.torch.onnx.name_scopes", "['', 'net', 'net.blocks.3', 'conv2d']"
    onnx.save(model, path)
    with pytest.raises(CompileError, match=r"layer net\.blocks\.3 \(conv\d+\): a dilated convolution"):
        qonnx_graph.load(path)


def test_every_attribute_of_every_operator_is_read_or_refused(tmp_path: Path) -> None:
    """ONNX's own list of attributes, not this compiler's: what a later ONNX adds is met as well."""
    for kind, known in ATTRIBUTES.items():
        if kind == "Quant":
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
    out = writer.node("Sigmoid", [writer.pixels()], name="\x1b[2J\nall is well" + "x" * 5000)
    with pytest.raises(CompileError, match=r"layer \?\[2J\?all is wellx+: operator Sigmoid") as caught:
        qonnx_graph.load(writer.save(tmp_path / "network.onnx", out))
    assert len(str(caught.value)) < 600


def test_a_fault_inside_a_library_is_told_with_what_was_done_and_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise KeyError("layer_17")

    path = changed(lambda model: None, tmp_path / "network.onnx")
    graph = qonnx_graph.load(path)
    monkeypatch.setattr("edgesight.hls.compile.hls4ml.utils.config_from_onnx_model", fail)
    with pytest.raises(
        CompileError, match=r"converting the network with hls4ml failed \(KeyError: 'layer_17'\)"
    ) as told:
        convert(graph, "net", Folding(500, {}), tmp_path)
    assert isinstance(told.value.__cause__, KeyError)
    monkeypatch.setattr(qonnx_graph, "cleanup_model", fail)
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
    with pytest.raises(CompileError, match=r"take 1x1x16 values a frame; a kernel's frames are pictures of 1 or 3"):
        compile_package("any", both, DataSetFacts("any", "0" * 64, list("abcde")), None, tmp_path / "kernel")


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"needs the trained networks of others in {ZOO}")
@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("TFC_1W1A", ["layer features.3 (BatchNormalization_17): ", "operator BipolarQuant", "operator Mul is not"]),
        ("kwsmlp_w3a3", ["no power of two", "layer features.12 (BatchNormalization_38): "]),
        ("qkeras_jettagging", ["layer Softmax_0: operator Softmax", "but MatMul follows it"]),
    ],
)
def test_others_trained_networks_are_refused_with_all_reasons(name: str, reasons: list[str]) -> None:
    with pytest.raises(CompileError, match="problems:") as caught:
        qonnx_graph.load(ZOO / f"{name}.onnx")
    for reason in reasons:
        assert reason in str(caught.value)


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
        assert np.array_equal(networks.run_layers(layers, pixels), qonnx_graph.execute(path, pixels))
