"""What cannot be exact is refused, by the exporter's name of the layer, with the reason and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.network import CompileError
from tests.hls.graph.graphs import Graph
from tests.hls.qonnx_writer import GENERAL

Made = Callable[[Graph, str], str]


def number(graph: Graph, value: Any) -> str:
    return graph.constant(np.asarray(value, np.float32))


def conv(graph: Graph, tensor: str, outputs: int = 4, scale: float | None = None, **more: Any) -> str:
    """A convolution of one tap with a weight scale that is given."""
    weights = graph.quantise(graph.floats((outputs, 3, 1, 1)), 4, 1, None if scale is None else np.float32(scale))
    return graph.node("Conv", [tensor, weights], **more)


def quantiser(graph: Graph, tensor: str, *parameters: Any, **attributes: Any) -> str:
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    return graph.node("Quant", [tensor, *(number(graph, value) for value in parameters)], GENERAL, **given)


REFUSED: dict[str, tuple[Made, str]] = {
    "unknown operator": (
        lambda g, x: g.node("Elu", [x], name="act"),
        "layer act: operator Elu is not supported; use a",
    ),
    "QCDQ": (
        lambda g, x: g.node("DequantizeLinear", [x, number(g, 1)], name="dq"),
        r"layer dq: operator DequantizeLinear is not supported; export as QONNX",
    ),
    "unread attribute": (
        lambda g, x: conv(g, x, name="c", channels_last=1),
        "layer c: attribute channels_last of Conv",
    ),
    "wrong domain": (
        lambda g, x: g.node("Relu", [x], "com.example", name="r"),
        "layer r: operator Relu of domain 'com.example'",
    ),
    "removed operator": (
        lambda g, x: g.node("Upsample", [x, number(g, [1, 1, 2, 2])], name="up"),
        "layer up: opset 13 of ONNX has no",
    ),
    "float weights": (
        lambda g, x: g.node("Conv", [x, g.floats((4, 3, 1, 1))], name="c"),
        "layer c: its weights are floating point; g",
    ),
    "computed weights": (
        lambda g, x: g.node("MatMul", [x, g.node("Relu", [x])], name="m"),
        "layer m: its second input is computed",
    ),
    "weights for each input channel": (
        lambda g, x: g.node("Conv", [x, g.quantise(g.floats((4, 3, 1, 1)), 4, 1, g.scales((1, 3, 1, 1)))], name="c"),
        "layer c: one weight scale for each input channel; use one scale for each output channel",
    ),
    "nine-bit weights": (
        lambda g, x: g.node("Conv", [x, g.quantise(g.floats((4, 3, 1, 1), 99), 9, 1, np.float32(0.5))], name="c"),
        r"layer c: weights from -\d+ to \d+ in steps of their scale; use at most 8 bits",
    ),
    "weights that are no numbers": (
        lambda g, x: g.node("Conv", [x, g.quantise(number(g, np.full((4, 3, 1, 1), np.nan)), 4, 1)], name="c"),
        "layer c: its weights are not all finite numbers",
    ),
    "scales differ in a group": (
        lambda g, x: conv(g, quantiser(g, x, g.scales((3, 1, 1)), 0, 4), name="c"),
        "layer c: its input channels have different scales; quantise its input with one scale for all",
    ),
    "function without quantiser": (
        lambda g, x: conv(g, g.node("Sigmoid", [x]), name="c"),
        "layer c: a function of quantised values comes in that is no multiple of a scale; put a quantiser",
    ),
    "shift without quantiser": (
        lambda g, x: conv(g, g.node("Add", [x, number(g, 0.123)]), name="c"),
        "layer c: its input is shifted by no multiple of its scale",
    ),
    "clip without quantiser": (
        lambda g, x: conv(g, g.node("Clip", [x, number(g, -0.123)]), name="c"),
        "layer c: it clips to no multiple of a scale",
    ),
    "rises and falls": (
        lambda g, x: quantiser(g, g.node("Pow", [conv(g, x), number(g, 2)]), 0.1, 0, 4),
        r"quantiser quant\d+ .*: channels 0, 1, 2, 3: the function before it both rises and falls",
    ),
    "pooling of what rises and falls": (
        lambda g, x: g.node("MaxPool", [g.node("Pow", [x, number(g, 2)])], name="p", kernel_shape=[2, 2]),
        "layer p: channels 0, 1, 2: the function before it both rises and falls",
    ),
    "different scales added": (
        lambda g, x: g.node("Add", [conv(g, x, scale=0.1), conv(g, x, scale=0.17)], name="a"),
        "layer a: its branches have scales .* in channel 0; requantise both branches by one quantiser",
    ),
    "different forms added": (
        lambda g, x: g.node("Add", [conv(g, x), g.node("Transpose", [conv(g, x)], perm=[0, 1, 3, 2])], name="a"),
        "layer a: it adds tensors of .* that hold their maps differently",
    ),
    "product of branches": (
        lambda g, x: g.node("Mul", [conv(g, x), conv(g, x)], name="m"),
        "layer m: Mul of two computed tensors",
    ),
    "pixels differ": (
        lambda g, x: g.node("Mul", [x, g.floats((1, 1, 6, 1))], name="m"),
        "layer m: its constant differs from pixel to pixel; use one for each channel",
    ),
    "joined rows": (lambda g, x: g.node("Concat", [x, x], name="j", axis=2), "layer j: it joins other axes than chan"),
    "joined constants": (
        lambda g, x: g.node("Concat", [x, g.floats((1, 3, 6, 5))], name="j", axis=1),
        "layer j: it joins constants to",
    ),
    "windows of different divisors": (
        lambda g, x: g.node("AveragePool", [x], name="p", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        "layer p: its windows are divided by different numbers; count the padding",
    ),
    "mean over channels": (
        lambda g, x: g.node("ReduceMean", [x], name="p", axes=[1]),
        "layer p: a mean over channels; take it over rows",
    ),
    "window too large": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[9, 2]),
        "layer p: its window is larger than the",
    ),
    "huge padding": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[2, 2], pads=[9999, 0, 0, 0]),
        "layer p: kernel .* or",
    ),
    "storage order": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[2, 2], storage_order=1),
        "layer p: storage_order is",
    ),
    "padding with ones": (
        lambda g, x: g.node("Pad", [x, g.constant(np.array([0, 0, 1, 0, 0, 0, 1, 0])), number(g, 1)], name="p"),
        "layer p: it pads with other values than 0; pad with zeros",
    ),
    "linear resize": (
        lambda g, x: g.node("Resize", [x, "", number(g, [1, 1, 2, 2])], name="u", mode="linear"),
        "layer u: mode linear",
    ),
    "uneven resize": (
        lambda g, x: g.node("Resize", [x, "", number(g, [1, 1, 1.5, 2])], name="u"),
        "layer u: a resize of .* to",
    ),
    "torn axis": (
        lambda g, x: g.node("Reshape", [x, g.constant(np.array([1, 45, 2]))], name="r"),
        "layer r: a reshape of .* that",
    ),
    "moved batch": (
        lambda g, x: g.node("Reshape", [x, g.constant(np.array([3, 30]))], name="r"),
        "layer r: Reshape of .* mixes the b",
    ),
    "training": (
        lambda g, x: g.node(
            "BatchNormalization",
            [x, *(g.floats((3,), 1, 0.1) for _ in range(4))],
            name="b",
            epsilon=1e-5,
            momentum=0.9,
            spatial=1,
        ),
        "layer b: attribute spatial of BatchNormalization is not read",
    ),
    "softmax in the middle": (
        lambda g, x: g.node("Relu", [g.node("Softmax", [x], axis=1)], name="r"),
        "layer r: it comes behind what the host",
    ),
    "softmax over rows": (
        lambda g, x: g.node("Softmax", [x], name="s", axis=2),
        "layer s: it is taken over other axes",
    ),
    "five largest": (
        lambda g, x: g.node("TopK", [x, g.constant(np.array([2]))], name="t", axis=1),
        "layer t: the 2 largest or",
    ),
    "function at the end": (
        lambda g, x: g.node("Tanh", [conv(g, x)], name="t"),
        "output tensor_.*: the network ends in a function of its s",
    ),
    "gather of values": (
        lambda g, x: g.node("Gather", [x, g.constant(np.int64(0))], name="g", axis=1),
        "layer g: Gather of computed val",
    ),
    "zero scale": (lambda g, x: quantiser(g, x, 0.0, 0, 4), "quantiser .*: its scale is not positive"),
    "half zero point": (lambda g, x: quantiser(g, x, 0.3, 0.5, 4), "quantiser .*: its zero point is no whole number"),
    "learned bits": (lambda g, x: quantiser(g, x, 0.3, 0, 3.7), "quantiser .*: bit width 3.7 is no whole number"),
    "unknown rounding": (
        lambda g, x: quantiser(g, x, 0.3, 0, 4, rounding_mode="DITHER"),
        "quantiser .*: rounding mode DITHER; use one",
    ),
    "narrow of 2": (lambda g, x: quantiser(g, x, 0.3, 0, 4, narrow=2), "quantiser .*: attribute narrow is 2"),
    "computed scale": (
        lambda g, x: g.node("Quant", [x, g.node("Relu", [x]), number(g, 0), number(g, 4)], GENERAL, signed=1, narrow=0),
        "quantiser .*: a parameter is computed at run time",
    ),
    "ten bits of thresholds": (
        lambda g, x: quantiser(g, g.node("Tanh", [conv(g, x)]), 0.0017, 0, 10),
        r"quantiser .*: \d+ thresholds for each channel; quantise to at most 8 bits",
    ),
    "wrong bias": (
        lambda g, x: g.node("Conv", [x, g.float_weights((4, 3, 1, 1)), g.floats((3,))], name="c"),
        "layer c: an operand of shape",
    ),
    "wrong groups": (lambda g, x: conv(g, x, name="c", group=3), "layer c: weights of shape .* in 3 groups for 3 ch"),
    "wrong kernel": (lambda g, x: conv(g, x, name="c", kernel_shape=[3, 3]), "layer c: kernel .* for weights of"),
    "stride 0": (lambda g, x: conv(g, x, name="c", strides=[0, 1]), r"layer c: strides \[0, 1\] is not 2 numbers"),
    "pads beside auto_pad": (
        lambda g, x: conv(g, x, name="c", pads=[1, 1, 1, 1], auto_pad="VALID"),
        "layer c: auto_pad VALID beside pads",
    ),
    "dense of a map": (
        lambda g, x: g.node("MatMul", [x, g.float_weights((5, 4))], name="m"),
        "layer m: a product along rows or col",
    ),
    "dense of another size": (
        lambda g, x: g.node("Gemm", [g.flatten(x), g.float_weights((89, 4))], name="m"),
        "layer m: weights of shape",
    ),
    "many steps": (lambda g, x: _long(g, x), "layer .*: more than 200 operations without a quantiser"),
}


def _long(graph: Graph, tensor: str) -> str:
    for _ in range(12):  # doubles the operations each time
        tensor = graph.node("Add", [tensor, tensor])
    return tensor


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_by_name(name: str) -> None:
    made, message = REFUSED[name]
    graph = Graph((3, 6, 5))
    model = graph.graph(made(graph, graph.quantise("image", 5, 1)))
    with pytest.raises(CompileError, match=message):
        integer_network(model)


def test_an_input_without_a_quantiser_is_refused_with_both_remedies() -> None:
    graph = Graph((16,))
    model = graph.graph(graph.node("MatMul", ["image", graph.float_weights((16, 5))], name="first"))
    with pytest.raises(
        CompileError, match=r"layer first.*no quantiser; quantise the input, or give the entry's format"
    ):
        integer_network(model)
    assert integer_network(model, Format(-8, 7, 0.5))[0].entry.output.bits == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 0, 5), "shape"), ((1, 2, 3, 4), "shape"), ((3, 9999, 5), "at most 4096 a side")],
)
def test_an_input_of_no_fixed_size_is_refused(shape: tuple[int, ...], message: str) -> None:
    graph = Graph(shape)
    with pytest.raises(CompileError, match=message):
        integer_network(graph.graph(graph.quantise("image", 5, 1)))


def test_all_problems_are_told_at_once() -> None:
    graph = Graph((3, 6, 5))
    tensor = graph.quantise("image", 5, 1)
    one = graph.node("Conv", [tensor, graph.floats((4, 3, 1, 1))], name="one")
    two = graph.node("Softmax", [tensor], name="two", axis=2)
    with pytest.raises(CompileError, match=r"2 problems:\n- layer one.*\n- layer two"):
        integer_network(graph.graph(one, two))


def test_a_batch_is_told_with_what_else_is_wrong() -> None:
    graph = Graph((6,))
    model = graph.graph(graph.node("MatMul", [graph.quantise("image", 5, 1), graph.floats((6, 4))], name="one"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 789444
    batch = r"input image: shape \[789444, 6\] is a batch; export the network with a batch of 1"
    with pytest.raises(CompileError, match=rf"2 problems:\n- {batch}\n- layer one: its weights are floating point"):
        integer_network(model)


def test_a_circle_is_refused() -> None:
    graph = Graph((3, 6, 5))
    graph.node("Relu", ["tensor_1"])
    last = graph.node("Relu", ["tensor_0"])
    with pytest.raises(CompileError, match="runs in a circle"):
        integer_network(graph.graph(last))


def test_an_input_that_meets_another_is_refused() -> None:
    graph = Graph((3, 6, 5))
    model = graph.graph(graph.quantise("image", 5, 1))
    model.graph.input.add(name="other").type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    with pytest.raises(CompileError, match="has 2 inputs"):
        integer_network(model)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(CompileError, match="cannot be read"):
        integer_network(path)


def test_a_constant_that_would_be_huge_is_refused() -> None:
    graph = Graph((3, 6, 5))
    tensor = graph.quantise("image", 5, 1)
    row, column = (graph.constant(np.ones(shape, np.float32)) for shape in ((1, 20000), (20000, 1)))
    model = graph.graph(graph.node("Mul", [tensor, graph.node("Mul", [row, column], name="big")]))
    with pytest.raises(CompileError, match="layer big: a constant of more than"):
        integer_network(model)
