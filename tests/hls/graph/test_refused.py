"""What cannot be exact is refused, by the exporter's name of the layer, with the reason and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
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


def trunc(graph: Graph, tensor: str, *parameters: float) -> str:
    """From a scale, zero point and bits to another scale and bits."""
    return graph.node("Trunc", [tensor, *(number(graph, value) for value in parameters)], GENERAL,
                      rounding_mode="FLOOR", signed=1, narrow=0)  # fmt: skip


def turned(graph: Graph, tensor: str) -> str:
    """With the channels last."""
    return graph.node("Transpose", [tensor], perm=[0, 2, 3, 1])


def products(graph: Graph, tensor: str, count: int, scale: float = 0.5) -> str:
    """Dense layers behind each other without a quantiser."""
    tensor = graph.flatten(tensor)
    for place in range(count):
        weights = graph.quantise(graph.floats((90, 90), 99), 8, 1, np.float32(scale))
        tensor = graph.node("MatMul", [tensor, weights], name=f"m{place}")
    return tensor


def clipped(graph: Graph) -> str:
    """Channels of scales 1/4, 1/2 and 1, no more than 1."""
    steps = graph.node("Mul", [quantiser(graph, "image", 0.25, 0, 5), number(graph, [[[1]], [[2]], [[4]]])])
    return graph.node("Clip", [steps, "", number(graph, 1)])


def of_more_axes(graph: Graph, tensor: str) -> str:
    return graph.node("Softmax", [graph.node("Add", [tensor, number(graph, [[[0]]])])], name="s", axis=1)


def indices(graph: Graph, tensor: str) -> str:
    """A pooling whose second output is taken."""
    graph.node("MaxPool", [tensor], name="p", kernel_shape=[2, 2])
    graph.nodes[-1].output.append("where")
    return graph.node("Cast", ["where"], to=1)


def wide(graph: Graph, tensor: str, scale: float) -> str:
    """Sums of about 45 bits, whose scale is given."""
    return graph.node("Mul", [products(graph, tensor, 3), number(graph, scale)])


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
    "weights at run time": (
        lambda g, x: g.node("Conv", [x, g.node("Relu", [x])], name="c"),
        "layer c: its weights are computed at run time; let them be constants behind a quantiser",
    ),
    "no weights": (
        lambda g, x: g.node("Conv", [x, number(g, np.zeros((0, 3, 1, 1)))], name="c"),
        r"layer c: weights of shape \[0, 3, 1, 1\]; export",
    ),
    "weights off their grid": (
        lambda g, x: g.node("Conv", [x, trunc(g, g.floats((4, 3, 1, 1)), 0.25, 1, 6, 0.5, 5)], name="c"),
        "layer c: its weights lie on no grid; put nothing between the weights' quantiser and",
    ),
    "sums of many bits": (
        lambda g, x: products(g, x, 6),
        r"layer m\d: sums of more than 53 bits; use fewer bits or fewer inputs",
    ),
    "wide branches": (
        lambda g, x: g.node("Add", [wide(g, x, 2.0**-4), wide(g, x, 2.0**-20)], name="a"),
        "layer a: sums of more than 53 bits; use fewer bits",
    ),
    "a map padded too large": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[2, 2], pads=[1, 0, 4096, 0]),
        "layer p: a padded map of more than 4096 rows or columns; use a smaller one",
    ),
    "padding below 0": (
        lambda g, x: g.node("Pad", [x, g.constant(np.array([0, 0, -1, 0, 0, 0, 0, 0]))], name="p"),
        "layer p: negative padding; use a smaller map",
    ),
    "padded channels": (
        lambda g, x: g.node("Pad", [x, g.constant(np.array([0, 1, 0, 0, 0, 0, 0, 0]))], name="p"),
        "layer p: it pads channels or the batch; pad rows and columns",
    ),
    "pads at run time": (
        lambda g, x: g.node("Pad", [x, g.node("Relu", [x])], name="p"),
        "layer p: a parameter is computed at run time; export the network with fixed sizes",
    ),
    "bias at run time": (
        lambda g, x: g.node("Conv", [x, g.float_weights((3, 3, 1, 1)), g.node("Relu", [x])], name="c"),
        "layer c: its bias is computed at run time; let it be a constant",
    ),
    "turned input of a product": (
        lambda g, x: g.node("Gemm", [g.flatten(x), g.float_weights((90, 4))], name="m", transA=1),
        "layer m: transA is not 0; export it without",
    ),
    "product of a map flattened in part": (
        lambda g, x: g.node(
            "MatMul",
            [g.node("Reshape", [turned(g, x), g.constant(np.array([1, 30, 3]))]), g.float_weights((3, 4))],
            name="m",
        ),
        "layer m: its input was flattened in part; flatten the whole map, or nothing",
    ),
    "Gemm of a map": (
        lambda g, x: g.node("Gemm", [turned(g, x), g.float_weights((3, 4))], name="m"),
        r"layer m: a Gemm of a tensor of \[1, 6, 5, 3\]; flatten the map first",
    ),
    "average of huge windows": (
        lambda g, x: g.node(
            "AveragePool",
            [conv(g, x, 90)],
            name="p",
            kernel_shape=[4090, 4090],
            pads=[2042, 2042, 2042, 2043],
            count_include_pad=1,
        ),
        "layer p: its windows are too large; use smaller ones",
    ),
    "mean over everything": (
        lambda g, x: g.node("ReduceMean", [x], name="p"),
        "layer p: a mean over all axes; name rows and columns",
    ),
    "mean of a map flattened in part": (
        lambda g, x: g.node(
            "ReduceMean", [g.node("Reshape", [x, g.constant(np.array([1, 18, 5]))])], name="p", axes=[2]
        ),
        "layer p: its input was flattened in part; flatten after it",
    ),
    "pooling of a vector": (
        lambda g, x: g.node("MaxPool", [g.flatten(g.node("GlobalAveragePool", [x]))], name="p", kernel_shape=[1]),
        r"layer p: a tensor of \[1, 3\]; give it a map with one or two axes besides channels",
    ),
    "pooling of a flattened map": (
        lambda g, x: g.node(
            "MaxPool", [g.node("Reshape", [x, g.constant(np.array([1, 18, 5]))])], name="p", kernel_shape=[1]
        ),
        "layer p: its input was flattened; give it the feature map",
    ),
    "channels elsewhere": (
        lambda g, x: g.node("MaxPool", [turned(g, x)], name="p", kernel_shape=[2, 2]),
        "layer p: its channels do not lie where it takes them; export",
    ),
    "kernel of another rank": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[2]),
        r"layer p: kernel_shape \[2\] for 2 axes; export",
    ),
    "unknown automatic padding": (
        lambda g, x: conv(g, x, name="c", auto_pad="NONSENSE"),
        "layer c: auto_pad NONSENSE; use NOTSET with pads",
    ),
    "unknown ceil_mode": (
        lambda g, x: g.node("MaxPool", [x], name="p", kernel_shape=[2, 2], ceil_mode=2),
        "layer p: ceil_mode 2; export it as 0 or 1",
    ),
    "unknown resize": (
        lambda g, x: g.node(
            "Resize",
            [x, "", number(g, [1, 1, 2, 2])],
            name="u",
            mode="nearest",
            coordinate_transformation_mode="nonsense",
        ),
        "layer u: coordinate_transformation_mode nonsense; use half_pixel or ",
    ),
    "resize that shifts": (
        lambda g, x: g.node(
            "Resize",
            [x, "", number(g, [1, 1, 2, 2])],
            name="u",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="ceil",
        ),
        "layer u: it does not give each pixel as often as the others; use asymmetric coordinates and floor",
    ),
    "joined maps of two sizes": (
        lambda g, x: g.node("Concat", [x, g.node("MaxPool", [x], kernel_shape=[2, 2])], name="j", axis=1),
        "layer j: its maps have different sizes; bring them to one size",
    ),
    "joined flattened maps": (
        lambda g, x: g.node("Concat", [g.flatten(x), g.flatten(x)], name="j", axis=1),
        "layer j: it joins other axes than channels; join channels of maps that are not flattened",
    ),
    "joined maps that lie differently": (
        lambda g, x: g.node(
            "Concat", [conv(g, x), g.node("Transpose", [conv(g, x)], perm=[0, 1, 3, 2])], name="j", axis=1
        ),
        "layer j: its tensors hold their maps differently; bring all branches to one shape",
    ),
    "constant logits": (
        lambda g, x: g.node("Mul", [conv(g, x), number(g, 0)]),
        "output tensor_.*: its outputs are constant; train the network again",
    ),
    "softmax of a softmax": (
        lambda g, x: g.node("Softmax", [g.node("Softmax", [x], axis=1)], name="s", axis=1),
        "layer s: a softmax of a softmax; end the network at the logits",
    ),
    "constant that is no number": (
        lambda g, x: quantiser(g, g.node("Mul", [x, number(g, np.nan)], name="m"), 0.1, 0, 4),
        "layer m: a constant of it is no finite number; train the network again",
    ),
    "function that is no number": (
        lambda g, x: quantiser(g, g.node("Sqrt", [x]), 0.1, 0, 4),
        "quantiser .*: what comes in is no finite number; train the network again",
    ),
    "truncation off its grid": (
        lambda g, x: trunc(g, x, 0.125, 1, 6, 0.25, 5),
        "quantiser|layer .*: its output lies on no grid that holds 0; use a zero point that its truncation divides",
    ),
    "millions of levels": (
        lambda g, x: quantiser(g, conv(g, x, 128), 2.0**-30, 0, 32),
        r"quantiser .*: \d+ thresholds for each of 128 channels; quantise to fewer bits",
    ),
    "dropout in training": (
        lambda g, x: g.node("Dropout", [x, number(g, 0.5), g.constant(np.asarray(True))], name="d"),
        "layer d: dropout in training; export the network in evaluation mode",
    ),
    "constants through a layer": (
        lambda g, x: g.node("Add", [x, g.node("Sigmoid", [number(g, 1)], name="s")], name="a"),
        "layer s: Sigmoid of constants alone; let the exporter fold constants",
    ),
    "constants where values belong": (
        lambda g, x: g.node("Gemm", [number(g, np.ones((1, 4))), g.flatten(x)], name="m"),
        "layer m: constants come where computed values belong; export",
    ),
    "attribute of another type": (
        lambda g, x: conv(g, x, name="c", group=1.0),
        "layer c: attribute group has the wrong type; export",
    ),
    "a tensor that is lost": (
        lambda g, x: g.node("Mul", [x, "nowhere"], name="m"),
        "layer m: it takes tensor nowhere, which nothing makes; give the file as it was exported",
    ),
    "many inputs": (
        lambda g, x: g.node("Relu", [x, x], name="r"),
        "layer r: 2 inputs, 1 to 1 are read; export",
    ),
    "a hole in the inputs": (
        lambda g, x: g.node("Gemm", ["", x], name="m"),
        "layer m: 2 inputs, 2 to 3 are read; export",
    ),
    "wrong axis": (
        lambda g, x: g.node("Concat", [x, x], name="j", axis=7),
        "layer j: axis 7 of a tensor with 4; export",
    ),
    "a PReLU that falls on one side": (
        lambda g, x: quantiser(g, g.node("PRelu", [conv(g, x), number(g, [[[-0.5]]])]), 0.1, 0, 4),
        "the function before it both rises and falls",
    ),
    "a LeakyReLU that falls on one side": (
        lambda g, x: quantiser(g, g.node("LeakyRelu", [conv(g, x)], alpha=-0.5), 0.1, 0, 4),
        "the function before it both rises and falls",
    ),
    "channels clipped at different integers": (
        lambda g, x: g.node("GlobalAveragePool", [clipped(g)], name="p"),
        "layer p: it clips to no multiple of a scale, or channels differently",
    ),
    "a mean over the batch": (
        lambda g, x: g.node("ReduceMean", [x], name="r", axes=[0]),
        "layer r: a mean over channels; take it over rows and columns",
    ),
    "scales far apart added": (
        lambda g, x: g.node("Add", [conv(g, x, scale=1.0), conv(g, x, scale=2.0**-20)], name="a"),
        "layer a: its branches have scales",
    ),
    "batch among the others": (
        lambda g, x: g.node("Transpose", [x], name="t", perm=[2, 0, 1, 3]),
        r"layer t: perm \[2, 0, 1, 3\] mixes the batch with the rest; keep the first axis",
    ),
    "windows of nothing but padding": (
        lambda g, x: g.node(
            "MaxPool", [conv(g, x)], name="p", kernel_shape=[2, 2], dilations=[7, 1], pads=[4, 0, 4, 0]
        ),
        "layer p: one of its windows takes nothing but padding; pad less",
    ),
    "division by either zero": (
        lambda g, x: quantiser(g, g.node("Div", [number(g, 1), quantiser(g, conv(g, x), 1, 0, 4)], name="d"), 1, 0, 4),
        "quantiser quant.* a Div of it is no finite number for some inputs; keep 0 out",
    ),
    "a softmax as integers": (
        lambda g, x: g.node("Cast", [g.node("Softmax", [conv(g, x)], axis=1)], name="k", to=onnx.TensorProto.INT64),
        "layer k: Cast of computed values; export",
    ),
    "a softmax of an index": (
        lambda g, x: g.node("Softmax", [g.node("ArgMax", [conv(g, x)], axis=1)], name="s", axis=1),
        "layer s: it comes behind what the host computes",
    ),
    "a softmax that is multiplied": (
        lambda g, x: g.node("Mul", [number(g, 2), g.node("Softmax", [conv(g, x)], axis=1)], name="m"),
        "layer m: it comes behind what the host computes",
    ),
    "a softmax of a tensor that a constant gave more axes": (
        lambda g, x: of_more_axes(g, g.node("ReduceMean", [conv(g, x)], axes=[2, 3], keepdims=0)),
        "layer s: it is taken over other axes than channels",
    ),
    "a zero point of 40 bits": (
        lambda g, x: quantiser(g, conv(g, x), 0.1, 2.0**40, 4, rounding_mode="FLOOR"),
        "quantiser quant.* its integers have more than 32 bits; use a zero point nearer to 0",
    ),
    "a truncation of five inputs that is signed": (
        lambda g, x: trunc(g, x, 1, 0, 5, 3),
        "quantiser trunc.* a Trunc of five inputs is neither signed nor narrow; export",
    ),
    "no order of axes": (
        lambda g, x: g.node("Transpose", [x], name="t", perm=[0, 1, 1, 2]),
        r"layer t: perm \[0, 1, 1, 2\] is no order of 4 axes; export",
    ),
    "logits of many bits and scales": (
        lambda g, x: g.node("MatMul", [products(g, x, 2), g.float_weights((90, 5), 4, True, 1)]),
        "output tensor_.*: logits of more than 62 bits; use fewer bits, or outputs of one scale",
    ),
    "millions of channels": (
        lambda g, x: g.node(
            "Conv", [g.node("GlobalAveragePool", [x]), number(g, np.ones(((1 << 20) + 1, 3, 1, 1)))], name="c"
        ),
        "layer c: 1048577 channels; use at most 1048576",
    ),
    "indices of a pooling": (
        lambda g, x: indices(g, x),
        "layer p: 2 outputs, where one is read; export it without the others",
    ),
    "an input of 20 bits": (
        lambda g, x: g.quantise("image", 20, 1),
        r"quantiser \S+ .*: an input of 20 bits; use at most 16",
    ),
    "many steps": (lambda g, x: _long(g, x), "layer .*: more than 200 operations without a quantiser"),
}


def _long(graph: Graph, tensor: str) -> str:
    for _ in range(12):  # doubles the operations each time
        tensor = graph.node("Add", [tensor, tensor])
    return tensor


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_by_name_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    made, message = REFUSED[name]
    graph = Graph((3, 6, 5))
    model = graph.graph(made(graph, graph.quantise("image", 5, 1)))
    with pytest.raises(CompileError, match=message) as refused:
        integer_network(model)
    assert re.match(r"(layer|quantiser|output|\d+ problems:\n- \w+) \S.*: .+; .+", str(refused.value), re.DOTALL)
    written = tmp_path / "project"
    with pytest.raises(CompileError, match=message):
        hls4ml.converters.convert_from_onnx_model(model, backend="RTL", output_dir=str(written))
    assert not written.exists()


def test_a_softmax_before_opset_13_is_over_pixels_too() -> None:
    graph = Graph((3, 6, 5))
    out = graph.node("Softmax", [conv(graph, graph.quantise("image", 5, 1))], axis=1)
    assert integer_network(graph.graph(out))[0].outputs[0].softmax
    with pytest.raises(CompileError, match="a softmax over channels and pixels together; export it for opset 13"):
        integer_network(graph.graph(out, opset=12))


@pytest.mark.parametrize(("mode", "limits"), [("ROUND", (-16, 15)), ("FLOOR", (0, 255))])
def test_an_entry_is_its_quantisers_only_where_that_rounds_as_it_does(mode: str, limits: tuple[int, int]) -> None:
    graph = Graph((3,))
    entry = integer_network(graph.graph(graph.quantise("image", 5, 1, mode=mode)))[0].entry.output
    assert (entry.low, entry.high) == limits


def test_an_input_without_a_quantiser_is_refused_with_both_remedies() -> None:
    graph = Graph((16,))
    model = graph.graph(graph.node("MatMul", ["image", graph.float_weights((16, 5))], name="first"))
    with pytest.raises(CompileError, match=r"layer first.*no quantiser; quantise the input, or say its type"):
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


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def attribute_twice(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])


def no_output(model: onnx.ModelProto) -> None:
    model.graph.node.add(op_type="Relu", name="r", input=["image"])


def short_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.append(7)


def tensor_of_texts(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("words", onnx.TensorProto.STRING, [1], ["a"]))


def lost_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


def no_first_axis(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (made_twice, "tensor tensor_0: made twice; export the network again"),
        (sparse, "the graph holds sparse tensors; export it with dense ones"),
        (attribute_twice, "quantiser .*: attribute narrow is there twice; export the network again"),
        (no_output, "layer r: it has no output; export the network again"),
        (short_tensor, r"tensor constant_0: cannot be read \(.*\); export the network again"),
        (tensor_of_texts, r"tensor words: cannot be read \(.*\); export the network again"),
        (lost_output, "output nowhere: nothing computes it from the input; export it without"),
        (no_first_axis, r"input image: shape \[1\] is none of .*; export the network with"),
    ],
)
def test_a_spoilt_file_is_refused_with_what_is_wrong(
    change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
) -> None:
    graph = Graph((3, 6, 5))
    model = graph.graph(graph.quantise("image", 5, 1))
    change(model)
    with pytest.raises(CompileError, match=message):
        integer_network(model)
    with pytest.raises(CompileError, match=message):
        hls4ml.converters.convert_from_onnx_model(model, backend="RTL", output_dir=str(tmp_path / "project"))
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("entry", [Format(3, 3, 1.0), Format(0, 1 << 16, 1.0), Format(-1, 1, 0.0)])
def test_a_format_that_no_input_can_have_is_refused(entry: Format) -> None:
    graph = Graph((3, 6, 5))
    model = graph.graph(graph.quantise("image", 5, 1))
    with pytest.raises(
        CompileError, match=r"input image: integers from .*; give a format of at most 16 bits and a pos"
    ):
        integer_network(model, entry)


def test_an_input_too_large_is_refused() -> None:
    graph = Graph((16, 4096, 4096))
    with pytest.raises(CompileError, match=r"input image: shape \[1, 16, 4096, 4096\] is too large; use a smaller one"):
        integer_network(graph.graph(graph.quantise("image", 5, 1)))


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
