"""Every layer that the compiler takes, in small hand-written graphs with float scales: integers = truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgesight.hls.dataflow.operators import MaxPool, Scale, Threshold
from edgesight.hls.graph.integer_network import Format
from tests.hls.graph.graphs import Graph, exact

Tail = Callable[[Graph, str], str]


def begun(shape: tuple[int, ...] = (3, 7, 6), seed: int = 0) -> tuple[Graph, str]:
    graph = Graph(shape, seed)
    return graph, graph.quantise("image", 5, 1)


def ended(graph: Graph, tensor: str, features: int, opset: int = 13) -> Any:
    """Quantised, flattened and given to a dense layer."""
    flat = graph.flatten(graph.fitting(tensor, 5))
    return graph.graph(graph.node("MatMul", [flat, graph.float_weights((features, 5))]), opset=opset)


@pytest.mark.parametrize(
    ("shape", "attributes", "features"),
    [
        ((4, 3, 3, 3), {}, 4 * 5 * 4),
        ((4, 3, 3, 3), {"pads": [1, 0, 2, 1]}, 4 * 8 * 5),
        ((4, 3, 2, 3), {"strides": [2, 1]}, 4 * 3 * 4),
        ((4, 3, 2, 2), {"dilations": [2, 3]}, 4 * 5 * 3),
        ((4, 3, 3, 2), {"strides": [3, 4], "pads": [1, 1, 1, 1]}, 4 * 3 * 2),
        ((6, 1, 3, 3), {"group": 3}, 6 * 5 * 4),
        ((4, 3, 1, 1), {}, 4 * 7 * 6),
        ((4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 4 * 4 * 3),
        ((4, 3, 2, 2), {"auto_pad": "SAME_LOWER"}, 4 * 7 * 6),
        ((4, 3, 7, 6), {}, 4),
    ],
)
@pytest.mark.parametrize("channels", [False, True])
def test_a_convolution_is_exact(shape: Any, attributes: dict[str, Any], features: int, channels: bool) -> None:
    graph, tensor = begun()
    made = graph.norm(graph.float_conv(tensor, shape, channels=channels, bias=True, **attributes), shape[0], 5)
    exact(ended(graph, made, features))


def test_a_convolution_in_groups_of_several_channels_is_exact() -> None:
    graph, tensor = begun((4, 5, 5))
    made = graph.float_conv(tensor, (6, 2, 3, 3), channels=True, group=2)
    exact(ended(graph, made, 6 * 9))


def test_a_depthwise_convolution_takes_a_scale_for_each_channel() -> None:
    graph, tensor = begun()
    made = graph.quantise(graph.float_conv(tensor, (4, 3, 3, 3)), 4, 1, graph.scales((1, 4, 1, 1)))
    exact(ended(graph, graph.float_conv(made, (4, 1, 2, 2), channels=True, group=4), 4 * 4 * 3))


@pytest.mark.parametrize(
    ("attributes", "length"), [({}, 18), ({"strides": [2], "pads": [1, 2]}, 11), ({"dilations": [3]}, 14)]
)
def test_a_convolution_in_one_dimension_is_exact(attributes: dict[str, Any], length: int) -> None:
    graph, tensor = begun((2, 20))
    made = graph.norm(graph.float_conv(tensor, (4, 2, 3), **attributes), 4)
    pooled = graph.node("MaxPool", [graph.quantise(made, 4)], kernel_shape=[2], strides=[2])
    exact(ended(graph, graph.float_conv(pooled, (3, 4, 1)), 3 * (length // 2)))


@pytest.mark.parametrize(
    ("attributes", "features"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, 3 * 3 * 3),
        ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, 3 * 4 * 6),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 3 * 4 * 3),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}, 3 * 3 * 2),
        ({"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, 3 * 4 * 3),
    ],
)
@pytest.mark.parametrize("zero", [0.0, 3.0])
def test_a_max_pooling_is_exact(attributes: dict[str, Any], features: int, zero: float) -> None:
    graph = Graph((3, 7, 6))
    tensor = graph.quantise("image", 5, 1, zero=zero)
    exact(ended(graph, graph.node("MaxPool", [tensor], **attributes), features))


def test_a_max_pooling_moves_behind_the_quantiser_even_where_channels_fall() -> None:
    graph, tensor = begun()
    normed = graph.norm(graph.float_conv(tensor, (4, 3, 3, 3)), 4, 5)  # with scales of both signs
    pooled = graph.node("MaxPool", [graph.node("Relu", [normed])], kernel_shape=[2, 2], strides=[2, 2])
    network, _ = exact(ended(graph, pooled, 4 * 2 * 2))
    kinds = [type(operator) for operator in network.operators]
    assert kinds.index(MaxPool) < kinds.index(Threshold)


@pytest.mark.parametrize(
    ("kind", "attributes", "features"),
    [
        ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2]}, 3 * 3 * 2),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 3 * 7 * 6),
        ("GlobalAveragePool", {}, 3),
        ("ReduceMean", {"axes": [2, 3]}, 3),
        ("ReduceMean", {"axes": [-1, -2], "keepdims": 0}, 3),
        ("ReduceMean", {"axes": [2], "keepdims": 0}, 3 * 6),
    ],
)
def test_an_average_is_exact(kind: str, attributes: dict[str, Any], features: int) -> None:
    graph, tensor = begun()
    exact(ended(graph, graph.node(kind, [tensor], **attributes), features))


def test_an_average_before_a_layer_needs_no_quantiser() -> None:
    graph, tensor = begun()
    pooled = graph.node("AveragePool", [tensor], kernel_shape=[2, 2], strides=[1, 1])
    exact(ended(graph, graph.float_conv(pooled, (4, 3, 2, 2), channels=True), 4 * 5 * 4))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_a_truncated_average_is_exact(mode: str) -> None:
    graph = Graph((3, 6, 6))
    scale = np.float32(0.0731)
    tensor = graph.quantise("image", 4, 0, scale)
    pooled = graph.node("AveragePool", [tensor], kernel_shape=[2, 2], strides=[2, 2])
    summed = graph.node("Mul", [pooled, graph.constant(np.float32(4))])
    parts = [graph.constant(np.float32(value)) for value in (scale, 0, 6, 4)]
    made = graph.node("Trunc", [summed, *parts], "qonnx.custom_op.general", rounding_mode=mode)
    exact(ended(graph, graph.float_conv(made, (4, 3, 2, 2)), 4 * 2 * 2))


@pytest.mark.parametrize("name", ["Resize", "Resize10", "Upsample", "Upsample7"])
def test_an_upsampling_is_exact(name: str) -> None:
    graph, tensor = begun((2, 4, 3))
    factors = [1.0, 1.0, 2.0, 3.0]
    scales = graph.constant(np.asarray(factors, np.float32))
    if name == "Resize":
        made = graph.node("Resize", [tensor, "", scales], mode="nearest", nearest_mode="floor",
                          coordinate_transformation_mode="asymmetric")  # fmt: skip
    elif name == "Upsample7":
        made = graph.node("Upsample", [tensor], mode="nearest", scales=factors)
    else:
        made = graph.node(name.removesuffix("10"), [tensor, scales], mode="nearest")
    opset = {"Resize": 13, "Resize10": 10, "Upsample": 9, "Upsample7": 7}[name]
    conv = graph.float_conv(made, (3, 2, 3, 3), strides=[1, 2])
    exact(ended(graph, conv, 3 * 6 * 4, opset))


def test_padding_is_the_value_0_even_where_the_quantiser_has_none() -> None:
    graph = Graph((3, 5, 5))
    tensor = graph.bipolar(graph.node("Sub", ["image", graph.constant(np.float32(0.5))]))
    padded = graph.node("Pad", [tensor, graph.constant(np.array([0, 0, 1, 0, 0, 0, 0, 2]))])
    exact(ended(graph, graph.float_conv(padded, (4, 3, 3, 3), pads=[1, 1, 1, 1]), 4 * 6 * 7), count=300)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("signed", [0, 1])
def test_weights_and_activations_of_every_width_are_exact(bits: int, signed: int) -> None:
    graph, tensor = begun()
    weights = graph.bipolar_weights((4, 3, 3, 3), 0.3) if bits == 1 else graph.float_weights((4, 3, 3, 3), bits)
    normed = graph.norm(graph.node("Conv", [tensor, weights]), 4)
    quantised = graph.bipolar(normed, 0.7) if bits == 1 and signed else graph.fitting(normed, bits, signed)
    exact(ended(graph, graph.float_conv(quantised, (3, 4, 2, 2)), 3 * 4 * 3))


def test_a_quantiser_of_one_signed_bit_is_bipolar() -> None:
    graph, tensor = begun()
    normed = graph.norm(graph.float_conv(tensor, (4, 3, 3, 3)), 4)
    quantised = graph.quantise(normed, 1, 1)
    network, _ = exact(ended(graph, graph.float_conv(quantised, (3, 4, 2, 2)), 3 * 4 * 3))
    assert 2 in {abs(int(operator.step[0])) for operator in network.operators if isinstance(operator, Threshold)}


@pytest.mark.parametrize(
    "mode", ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO", "DOWN", "UP", "HALF_UP", "HALF_DOWN", "HALF_EVEN", "round"]
)
@pytest.mark.parametrize("exponent", [None, -2])
def test_every_rounding_mode_is_exact(mode: str, exponent: int | None) -> None:
    graph = Graph((3, 7, 6))
    tensor = graph.quant("image", -4, 6, 1)
    made = graph.conv(tensor, 3, 4, 3)
    scale = graph.scales() if exponent is None else np.float32(2.0**exponent)
    quantised = graph.quantise(made, 4, 1, scale, mode=mode)
    exact(ended(graph, graph.float_conv(quantised, (3, 4, 2, 2)), 3 * 4 * 3))


@pytest.mark.parametrize(("zero", "signed", "narrow"), [(3.0, 0, 0), (-2.0, 1, 0), (1.0, 1, 1), (2.0, 0, 1)])
def test_a_quantiser_with_a_zero_point_is_exact(zero: float, signed: int, narrow: int) -> None:
    graph = Graph((3, 7, 6))
    tensor = graph.quantise("image", 6, 1, zero=4.0)
    made = graph.norm(graph.float_conv(tensor, (4, 3, 3, 3)), 4)
    quantised = graph.quantise(made, 3, signed, graph.scales((), 0.5), zero=zero, narrow=narrow)
    exact(ended(graph, graph.float_conv(quantised, (3, 4, 2, 2), pads=[1, 1, 1, 1]), 3 * 6 * 5))


FUNCTIONS: dict[str, Tail] = {
    "Relu": lambda graph, x: graph.node("Relu", [x]),
    "LeakyRelu": lambda graph, x: graph.node("LeakyRelu", [x], alpha=0.3),
    "LeakyRelu by default": lambda graph, x: graph.node("LeakyRelu", [x]),
    "PRelu": lambda graph, x: graph.node("PRelu", [x, graph.floats((4, 1, 1), 0.3, 0.01)]),
    "HardTanh": lambda graph, x: graph.node(
        "Clip", [x, graph.constant(np.float32(-0.7)), graph.constant(np.float32(1.1))]
    ),
    "Relu6": lambda graph, x: graph.node("Clip", [x, graph.constant(np.float32(0)), graph.constant(np.float32(6))]),
    "Clip above": lambda graph, x: graph.node("Clip", [x, "", graph.constant(np.float32(0.5))]),
    "Sigmoid": lambda graph, x: graph.node("Sigmoid", [x]),
    "Tanh": lambda graph, x: graph.node("Tanh", [x]),
    "HardSigmoid": lambda graph, x: graph.node("HardSigmoid", [x], alpha=0.3, beta=0.4),
    "Neg": lambda graph, x: graph.node("Neg", [x]),
    "Sub from": lambda graph, x: graph.node("Sub", [graph.floats((4, 1, 1)), x]),
    "Div": lambda graph, x: graph.node("Div", [x, graph.floats((1, 4, 1, 1))]),
    "Mul": lambda graph, x: graph.node("Mul", [x, graph.floats((4, 1, 1))]),
    "Div by": lambda graph, x: graph.node(
        "Div",
        [
            graph.constant(np.float32(3)),
            graph.node("Add", [graph.node("Relu", [x]), graph.constant(np.float32(0.7))]),
        ],
    ),
    "Sqrt": lambda graph, x: graph.node("Sqrt", [graph.node("Relu", [x])]),
    "Pow": lambda graph, x: graph.node("Pow", [graph.node("Relu", [x]), graph.constant(np.float32(1.5))]),
    "squared in half": lambda graph, x: graph.node("Mul", [graph.node("Relu", [x]), x]),
    "added to itself": lambda graph, x: graph.node("Add", [graph.node("Tanh", [x]), x]),
    "inverse": lambda graph, x: graph.node(
        "Div",
        [graph.constant(np.float32(1)), graph.node("Add", [graph.node("Sigmoid", [x]), graph.constant(np.float32(1))])],
    ),
    "Identity": lambda graph, x: graph.node("Identity", [x]),
    "Cast": lambda graph, x: graph.node("Cast", [x], to=1),
    "Dropout": lambda graph, x: graph.node("Dropout", [x]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_before_a_quantiser_is_exact(name: str) -> None:
    graph, tensor = begun()
    normed = graph.norm(graph.float_conv(tensor, (4, 3, 3, 3)), 4, 3)
    made = graph.quantise(FUNCTIONS[name](graph, normed), 4, 1, graph.scales((), 0.15))
    exact(ended(graph, graph.float_conv(made, (3, 4, 2, 2)), 3 * 4 * 3))


def test_a_function_of_a_channel_that_is_constant_is_exact() -> None:
    graph, tensor = begun()
    conv = graph.float_conv(tensor, (4, 3, 3, 3))
    parts = np.asarray([[0.0, 1.0, -1.0, 0.0], [0.4, 0.1, 0.2, -0.9], [1, 2, 3, 4], [1, 2, 3, 4]], np.float32)
    normed = graph.node("BatchNormalization", [conv, *map(graph.constant, parts)])
    made = graph.quantise(normed, 3, 1, graph.scales())
    exact(ended(graph, graph.float_conv(made, (3, 4, 2, 2)), 3 * 4 * 3))


def test_a_shift_stands_for_thresholds_where_it_is_the_same() -> None:
    for mode, rounding in (("FLOOR", 0), ("ROUND", 2)):
        graph = Graph((3, 7, 6))
        made = graph.node("Relu", [graph.conv(graph.pixels(), 3, 4, 3)])
        network, _ = exact(ended(graph, graph.quant(made, 0, 4, 0, mode=mode), 4 * 5 * 4))
        first = network.operators[2]
        assert isinstance(first, Scale)
        assert (first.rounding, first.shift, first.output.low) == (rounding, 11, 0)
        assert first.multiplier.tolist() == [1] * 4


def test_a_relu_between_a_quantiser_and_a_layer_is_a_clip() -> None:
    graph, tensor = begun()
    made = graph.node("Relu", [graph.quantise(graph.float_conv(tensor, (4, 3, 3, 3)), 4, 1)])
    network, _ = exact(ended(graph, graph.float_conv(made, (3, 4, 2, 2)), 3 * 4 * 3))
    assert any(isinstance(operator, Scale) and operator.output.low == 0 for operator in network.operators)


def test_pixels_brought_between_minus_and_plus_1_need_no_quantiser_where_the_entry_is_given() -> None:
    graph = Graph((3, 6, 6))
    doubled = graph.node("Mul", ["image", graph.constant(np.float32(2))])
    moved = graph.node("Sub", [doubled, graph.constant(np.float32(1))])
    exact(ended(graph, graph.float_conv(moved, (4, 3, 3, 3)), 4 * 4 * 4), Format(0, 255, 2.0**-8))


def test_an_input_of_sixteen_signed_bits_is_exact() -> None:
    graph = Graph((3, 6, 6))
    tensor = graph.quantise("image", 16, 1, np.float32(0.00123))
    network, _ = exact(ended(graph, graph.float_conv(tensor, (4, 3, 3, 3)), 4 * 4 * 4))
    assert network.entry.output.bits == 16


def test_a_layer_of_constants_that_are_whole_needs_no_weight_quantiser() -> None:
    graph, tensor = begun()
    weights = graph.constant(graph.generator.integers(-1, 2, (4, 3, 3, 3)).astype(np.float32))
    exact(ended(graph, graph.node("Conv", [tensor, weights]), 4 * 5 * 4))


def test_channels_last_nodes_are_read() -> None:
    graph = Graph((7, 6, 3))
    tensor = graph.quantise("image", 5, 1)
    domain = "qonnx.custom_op.channels_last"
    weights = graph.float_weights((4, 3, 2, 3), 4, True)  # outputs, rows, columns, channels
    conv = graph.node("Conv", [tensor, weights], domain, strides=[1, 1], pads=[0, 1, 0, 0])
    parts = [graph.floats((4,)), graph.floats((4,)), graph.floats((4,)), graph.floats((4,), 1, 0.1)]
    normed = graph.node("BatchNormalization", [conv, *parts], domain)
    quantised = graph.quantise(normed, 4, 1, graph.scales((1, 1, 1, 4)))
    pooled = graph.node("MaxPool", [quantised], domain, kernel_shape=[2, 2], strides=[2, 2])
    depthwise = graph.float_weights((4, 1, 1, 1), 4)
    last = graph.node("Conv", [pooled, depthwise], domain, group=4)
    model = ended(graph, last, 4 * 2 * 3)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    exact(model, last=True)
