"""The blocks that random networks are drawn from: every layer that the compiler takes, each a function on a `Build`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edgesight.bench.coverage.random_build import Build

_MOST_PIXELS = 120


def closed(build: Build) -> None:
    """What mostly stands behind a layer: batch normalisation, a function, a quantiser."""
    build.now = 0
    if build.chance(0.5):
        normalised(build)
    elif build.chance(0.6):
        relu(build)
    else:
        build.quantise(build.number(1, 8))


def _conv(kind: str, **window: Any) -> Callable[[Build], None]:
    def block(build: Build) -> None:
        build.convolve(kind, build.window(**window))
        closed(build)

    return block


def rectangular(build: Build) -> None:
    """A window with more columns than rows, or the other way around."""
    window = build.window(side=2)
    longer = build.number(0, 1)
    window["kernel_shape"][longer] = min(
        window["kernel_shape"][1 - longer] + build.number(1, 2), build.shape[1 + longer]
    )
    build.convolve("rectangular convolution", window)
    closed(build)


def pointwise(build: Build) -> None:
    """A convolution of one tap."""
    build.convolve("pointwise convolution", build.window(side=1))
    closed(build)


def depthwise(build: Build) -> None:
    """A convolution of each channel alone, with one or two outputs each."""
    _widened(build, (2, 3, 4))
    times = 2 if build.chance(0.3) else 1
    build.convolve("depthwise convolution", build.window(pad=build.chance(0.5)), times * build.channels, build.channels)
    closed(build)


def grouped(build: Build) -> None:
    """A convolution in two groups of several channels."""
    _widened(build, (4, 6))
    build.convolve("grouped convolution", build.window(stride=build.number(1, 2)), 2 * build.number(1, 4), 2)
    closed(build)


def _widened(build: Build, counts: tuple[int, ...]) -> None:
    """As many channels as one of `counts`, by a convolution of one tap where there are not."""
    if build.channels not in counts:
        build.convolve("pointwise convolution", build.window(side=1), int(build.rng.choice(counts)))
        build.quantise(build.number(2, 8))


def last(build: Build) -> None:
    """A convolution whose sums are an output: a map."""
    build.convolve("convolution as an output", build.window(pad=True))
    build.left.append(build.tensor)
    closed(build)


def dense(build: Build) -> None:
    """A dense layer over the whole map: a Gemm, or a MatMul whose bias is added."""
    build.on_grid()
    if build.form != "vector":
        build.add("Flatten", axis=1, shape=(prod(build.shape),))
    _dense(build, "dense")


def _dense(build: Build, kind: str) -> None:
    outputs, features = build.number(2, build.most + 1), build.shape[0]
    build.note(kind, build.bits)
    if build.chance(0.5):
        bias = build.graph.constant(build.rng.normal(0, 1, outputs))
        build.add("Gemm", build.weights(outputs, features), bias, shape=(outputs,), transB=1)
    else:
        turned = build.graph.node("Transpose", [build.weights(outputs, features)], perm=[1, 0])
        build.add("MatMul", turned, shape=(outputs,))
    build.now = 0
    closed(build)


def _pooling(kind: str, **window: Any) -> Callable[[Build], None]:
    def block(build: Build) -> None:
        build.at_bits()
        ceil = window.get("ceil", False)
        given = build.window(**{"stride": 2, **{key: value for key, value in window.items() if key != "ceil"}})
        build.note(kind)
        build.add("MaxPool", shape=(build.channels, *build.sizes(given, ceil)), ceil_mode=int(ceil), **given)

    return block


def average(build: Build) -> None:
    """An average whose windows all have as many taps."""
    build.at_bits()
    window = build.window(stride=2, pad=build.chance(0.4))
    build.note("average pooling")
    sizes = build.sizes(window)
    window.pop("dilations")
    build.add("AveragePool", shape=(build.channels, *sizes), count_include_pad=1, **window)
    build.now = 0
    build.quantise(build.number(1, 8))


def truncated(build: Build) -> None:
    """An average as Brevitas truncates it: sums, of which the highest bits stay."""
    build.at_bits(signed=False)
    sides = [min(2, size) for size in build.shape[1:]]
    build.note("truncating average pooling")
    shape = (build.channels, *(size // side for size, side in zip(build.shape[1:], sides, strict=True)))
    build.add("AveragePool", shape=shape, kernel_shape=sides, strides=sides)
    build.add("Mul", build.graph.constant(np.float32(prod(sides))))
    mode = str(build.rng.choice(["FLOOR", "ROUND"]))
    build.tensor = build.graph.trunc(build.tensor, build.scale, (build.bits + 2, build.bits), mode)
    build.now = 0


def everywhere(build: Build) -> None:
    """An average over the whole map."""
    build.at_bits()
    build.note("global average pooling")
    ones = tuple(1 for _ in build.shape[1:])
    axes = list(range(2, 2 + len(ones)))
    if build.chance(0.4):
        build.add("GlobalAveragePool", shape=(build.channels, *ones))
    elif build.chance(0.5):
        build.add("ReduceMean", shape=(build.channels, *ones), axes=axes)
    else:
        build.add("ReduceMean", shape=(build.channels,), axes=axes, keepdims=0)
    build.now = 0
    build.quantise(build.number(1, 8))


def nearest(build: Build) -> None:
    """An upsampling of a map that is not too large already."""
    build.at_bits()
    build.note("upsampling")
    most = max(_MOST_PIXELS // prod(build.shape[1:]), 1)
    rows = build.number(1, min(3, most))
    factors = (rows, build.number(1, min(3, most // rows)))
    scales = build.graph.constant(np.asarray([1, 1, *factors], np.float32))
    attributes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    shape = (build.channels, *(size * factor for size, factor in zip(build.shape[1:], factors, strict=True)))
    build.add("Resize", "", scales, shape=shape, **attributes)


def residual(build: Build) -> None:
    """A branch of one or two layers that is added to, or taken from, what it began with: both of one scale."""
    build.at_bits()
    start, scale, channels = build.tensor, build.scale, build.channels
    build.note("sum of branches")
    if build.chance(0.5):
        build.convolve("convolution", build.same(), build.number(1, 6))
        build.quantise(build.number(1, 8))
    build.convolve("convolution", build.same(), channels)
    build.quantise(build.bits, scale=scale)
    ends = [start, build.tensor] if build.chance(0.5) else [build.tensor, start]
    build.tensor = build.graph.node("Add" if build.chance(0.8) else "Sub", ends)
    build.now = 0
    closed(build)


def concatenation(build: Build) -> None:
    """Two branches from one map, one with a layer more, their channels behind each other."""
    build.at_bits()
    start, shape, now, window = build.tensor, build.shape, build.now, build.window()
    build.note("concatenation")
    ends, channels = [], 0
    for branch in range(2):
        build.tensor, build.shape, build.now = start, shape, now
        if branch and build.chance(0.5):
            build.convolve("convolution", build.same(), build.number(1, 6))
            build.quantise(build.number(1, 8))
        build.convolve("convolution", window, build.number(1, 4))
        build.quantise(build.bits)
        ends.append(build.tensor)
        channels += build.channels
    build.tensor = build.graph.node("Concat", ends, axis=1)
    build.shape = (channels, *build.shape[1:])
    build.now = 0
    build.quantise(build.number(1, 8))


def padding(build: Build) -> None:
    """Zeros around a map, by a node of its own."""
    build.at_bits()
    build.note("padding")
    begins, ends = ([build.number(0, 2) for _ in build.shape[1:]] for _ in range(2))
    sizes = tuple(size + b + e for size, b, e in zip(build.shape[1:], begins, ends, strict=True))
    build.add("Pad", build.graph.constant(np.asarray([0, 0, *begins, 0, 0, *ends])), shape=(build.channels, *sizes))


def turned(build: Build) -> None:
    """Columns before rows for a while, or channels last."""
    build.at_bits()
    build.note("transposition")
    if build.form == "signal" or build.chance(0.5):
        rank = len(build.shape)
        build.add("Transpose", perm=[0, *range(2, rank + 1), 1])
        outputs = build.number(1, build.most)
        build.note("dense", build.bits)
        weights = build.graph.node("Transpose", [build.weights(outputs, build.channels)], perm=[1, 0])
        build.add("MatMul", weights)
        build.add("Transpose", perm=[0, rank, *range(1, rank)], shape=(outputs, *build.shape[1:]))
        build.now = 0
        closed(build)
        return
    channels, rows, columns = build.shape
    build.add("Transpose", perm=[0, 1, 3, 2], shape=(channels, columns, rows))
    _pooling("max pooling", side=2)(build)
    channels, columns, rows = build.shape
    build.add("Transpose", perm=[0, 1, 3, 2], shape=(channels, rows, columns))


def reshaped(build: Build) -> None:
    """Another shape by PyTorch's arithmetic of shapes, or an axis of length 1 and back."""
    build.at_bits()
    build.note("reshape")
    graph = build.graph
    if build.form == "signal":
        channels, length = build.shape
        axis = graph.constant(np.asarray([2]))
        build.add("Unsqueeze", axis, shape=(channels, 1, length))
        _pooling("max pooling", side=3)(build)
        build.add("Squeeze", graph.constant(np.asarray([2])), shape=(channels, build.shape[2]))
        return
    batch = graph.node("Gather", [graph.node("Shape", [build.tensor]), graph.constant(np.asarray(0))], axis=0)
    parts = [graph.node("Unsqueeze", [batch, graph.constant(np.asarray([0]))]), graph.constant(np.asarray([-1]))]
    build.add("Reshape", graph.node("Concat", parts, axis=0), shape=(prod(build.shape),))
    _dense(build, "dense")


def _function(name: str, apply: Callable[[Build], str]) -> Callable[[Build], None]:
    def block(build: Build) -> None:
        build.tensor = apply(build)
        build.note(name, build.bits)
        build.now = 0
        build.quantise(build.bits)

    return block


def _each(build: Build, values: Any) -> str:
    """Constants, one for each channel."""
    return build.graph.constant(np.reshape(values, (build.channels, *([1] * (len(build.shape) - 1)))))


def normalisation(build: Build) -> str:
    """Batch normalisation that turns some channels around."""
    rng, count = build.rng, build.channels
    scale = rng.uniform(0.5, 1.5, count) * np.where(rng.random(count) < 0.2, -1, 1)
    width = build.graph.spread(build.tensor)
    parts = (scale, rng.normal(0, 0.5, count), rng.normal(0, width / 2, count), rng.uniform(0.3, 2, count) * width**2)
    return build.graph.node("BatchNormalization", [build.tensor, *map(build.graph.constant, parts)], epsilon=1e-5)


def _alone(kind: str, **attributes: Any) -> Callable[[Build], str]:
    return lambda build: build.graph.node(kind, [build.tensor], **attributes)


def _sloped(build: Build) -> str:
    slopes = _each(build, build.rng.uniform(0.05, 0.5, build.channels))
    return build.graph.node("PRelu", [build.tensor, slopes])


def _clipped(build: Build) -> str:
    width = build.graph.spread(build.tensor)
    bounds = [build.graph.constant(np.float32(value)) for value in (-width, 0.9 * width)]
    return build.graph.node("Clip", [build.tensor, *bounds])


@dataclass(frozen=True)
class Kind:
    """How a kind of layer is drawn, and on what: pictures, signals, vectors."""

    block: Callable[[Build], None]
    forms: frozenset[str]


_PICTURE, _MAPS = frozenset({"picture"}), frozenset({"picture", "signal"})
_ANY = frozenset({"picture", "signal", "vector"})
normalised = _function("batch normalisation", normalisation)
relu = _function("ReLU", _alone("Relu"))
KINDS: dict[str, Kind] = {
    "convolution": Kind(_conv("convolution", side=4), _PICTURE),
    "strided convolution": Kind(_conv("strided convolution", stride=4), _PICTURE),
    "dilated convolution": Kind(_conv("dilated convolution", dilation=3, pad=True), _PICTURE),
    "rectangular convolution": Kind(rectangular, _PICTURE),
    "padded convolution": Kind(_conv("padded convolution", pad=True), _PICTURE),
    "pointwise convolution": Kind(pointwise, _MAPS),
    "depthwise convolution": Kind(depthwise, _MAPS),
    "grouped convolution": Kind(grouped, _MAPS),
    "1-D convolution": Kind(_conv("1-D convolution", side=5, stride=2, pad=True), frozenset({"signal"})),
    "convolution as an output": Kind(last, _MAPS),
    "dense": Kind(dense, _ANY),
    "bipolar weights": Kind(dense, _ANY),
    "ternary weights": Kind(dense, _ANY),
    "max pooling": Kind(_pooling("max pooling"), _MAPS),
    "padded max pooling": Kind(_pooling("padded max pooling", pad=True), _MAPS),
    "dilated max pooling": Kind(_pooling("dilated max pooling", dilation=2), _PICTURE),
    "max pooling rounded up": Kind(_pooling("max pooling rounded up", side=2, ceil=True), _PICTURE),
    "average pooling": Kind(average, _MAPS),
    "truncating average pooling": Kind(truncated, _PICTURE),
    "global average pooling": Kind(everywhere, _MAPS),
    "upsampling": Kind(nearest, _PICTURE),
    "sum of branches": Kind(residual, _MAPS),
    "concatenation": Kind(concatenation, _MAPS),
    "padding": Kind(padding, _PICTURE),
    "transposition": Kind(turned, _MAPS),
    "reshape": Kind(reshaped, _MAPS),
    "batch normalisation": Kind(normalised, _ANY),
    "ReLU": Kind(relu, _ANY),
    "LeakyReLU": Kind(_function("LeakyReLU", _alone("LeakyRelu", alpha=0.2)), _ANY),
    "PReLU": Kind(_function("PReLU", _sloped), _ANY),
    "HardTanh": Kind(_function("HardTanh", _clipped), _ANY),
    "sigmoid": Kind(_function("sigmoid", _alone("Sigmoid")), _ANY),
    "hard sigmoid": Kind(_function("hard sigmoid", _alone("HardSigmoid", alpha=0.3, beta=0.4)), _ANY),
    "tanh": Kind(_function("tanh", _alone("Tanh")), _ANY),
    "bipolar activation": Kind(lambda build: build.quantise(1, signed=True), _ANY),
}
