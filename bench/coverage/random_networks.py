"""Draws random networks as QONNX files: every layer that the compiler takes, precisions, windows, branches, foldings.

A network is drawn block by block, so that the first blocks alone are a network too: a failing one is shrunk so, and to
fewer channels. The first block is of a kind and precision that its number says; `KINDS` times `BITS` networks have each
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx

from edgesight.bench.coverage.graphs import Graph
from edgesight.hls.folding import Folding

BITS = (1, 2, 4, 8)
CHANNELS = 10  # of a layer, at most
_MOST_BLOCKS = 4
_MOST_PIXELS = 120
_MOST_LANES = 160  # of a window
_MODES = ("ROUND", "ROUND", "ROUND", "FLOOR", "CEIL", "HALF_UP", "ROUND_TO_ZERO")
# The bits in which a kind of layer has no meaning, and why.
NO_MEANING: dict[str, tuple[tuple[int, ...], str]] = {
    "bipolar activation": ((2, 4, 8), "-1 and 1 are one bit"),
    "bipolar weights": ((2, 4, 8), "-1 and 1 are one bit"),
    "ternary weights": ((1, 4, 8), "-1, 0 and 1 are two bits"),
}


@dataclass(frozen=True)
class Layer:
    """A layer of a network for the table of what is covered.

    `bits` are those of its weights; of its quantiser, where it is a function before one; else of what comes in.
    """

    kind: str
    bits: int


@dataclass(frozen=True)
class Drawn:
    """A random network: `draw(seed, index, blocks, channels)` draws it again."""

    seed: int
    index: int
    blocks: int
    channels: int  # of a layer, at most
    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    folding: Folding


def draw(seed: int, index: int, blocks: int = _MOST_BLOCKS, channels: int = CHANNELS) -> Drawn:
    """Network `index` of those that `seed` draws; its first `blocks` blocks where it has more of them."""
    rng = np.random.default_rng([seed, index])
    pairs = [(kind, bits) for bits in BITS for kind in KINDS if bits not in NO_MEANING.get(kind, ((),))[0]]
    kind, bits = pairs[index % len(pairs)]
    count = min(blocks, int(rng.integers(1, _MOST_BLOCKS, endpoint=True)))
    # Too slow to be of use, as parallel as it goes, and between.
    cycles = int(rng.choice([1, 50, 200, 600, 2000]))
    form = str(rng.choice(sorted(KINDS[kind].forms)))
    build = Build(rng, bits, channels, *_begun(rng, form, channels))
    build.enter(bits)
    for block in range(count):
        if block:
            build.bits = int(rng.integers(1, 8, endpoint=True))
            kind = str(rng.choice([name for name, each in KINDS.items() if build.form in each.forms]))
        KINDS[kind].block(build)
        if rng.random() < 0.15:
            build.left.append(build.tensor)
    build.end()
    outputs = list(dict.fromkeys([*build.left, build.tensor]))
    return Drawn(seed, index, count, channels, build.graph.model(outputs), tuple(build.layers), Folding(cycles, {}))


def _begun(rng: np.random.Generator, form: str, channels: int) -> tuple[Graph, tuple[int, ...]]:
    """The graph of a picture, a signal or a vector, and its shape."""
    few = int(rng.integers(1, min(4, channels), endpoint=True))
    shape: tuple[int, ...] = {
        "picture": (few, int(rng.integers(3, 9)), int(rng.integers(3, 9))),
        "signal": (few, int(rng.integers(6, 30))),
        "vector": (int(rng.integers(2, 2 + 2 * channels)),),
    }[form]
    return Graph(rng, shape), shape


@dataclass
class Build:
    """A network as it grows; `tensor` [1, *shape] is what the next block goes on from, quantised unless it says so."""

    rng: np.random.Generator
    bits: int  # of weights and activations of the block at hand
    most: int  # channels of a layer
    graph: Graph
    shape: tuple[int, ...]  # channels, rows and columns; channels and length; or features
    tensor: str = "input"
    now: int = 0  # bits of the tensor; 0 where it is not quantised by one scale
    scale: float = 0.0  # of the tensor
    left: list[str] = field(default_factory=list)  # outputs besides
    layers: list[Layer] = field(default_factory=list)

    @property
    def form(self) -> str:
        """What the tensor is."""
        return {3: "picture", 2: "signal", 1: "vector"}[len(self.shape)]

    @property
    def channels(self) -> int:
        """Of the tensor."""
        return self.shape[0]

    def chance(self, probability: float) -> bool:
        """Whether what has this probability comes about."""
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both counted."""
        return int(self.rng.integers(low, max(low, high), endpoint=True))

    def note(self, kind: str, bits: int | None = None) -> None:
        """The layer belongs into the table: by what comes in, unless its bits are given."""
        self.layers.append(Layer(kind, self.now if bits is None else bits))

    def add(self, kind: str, *more: str, shape: tuple[int, ...] | None = None, **attributes: Any) -> str:
        """A node behind the tensor, which makes one of `shape`."""
        self.tensor = self.graph.node(kind, [self.tensor, *more], **attributes)
        self.shape = self.shape if shape is None else shape
        return self.tensor

    # ---- Quantisers ---------------------------------------------------------------------------------------------

    def enter(self, bits: int) -> None:
        """The input: signed mostly, of any bits; now and then bytes that a first quantiser takes."""
        if bits == 1 and self.chance(0.5):
            self.add("Sub", self.graph.constant(np.float32(0.5)))
            self.quantise(1)
            return
        bits = self.number(2, 8) if bits == 1 or self.chance(0.3) else bits
        self.quantise(bits, signed=self.chance(0.8), scale=float(np.float32(2.0 ** -(bits - 1) * 1.1)), mode="ROUND")

    def quantise(self, bits: int, signed: bool | None = None, scale: float | None = None, mode: str = "") -> None:
        """Quantise the tensor: unsigned, signed, narrow or to -1 and 1, with a scale that its values fill."""
        signed = self.chance(0.6) if signed is None else signed
        mode = mode or str(self.rng.choice(_MODES))
        if scale is None:
            scale = float(np.float32(2 * self.graph.spread(self.tensor) / 2.0 ** (bits - 1) + 1e-3))
        if bits == 1 and signed:
            self.tensor = self.graph.bipolar(self.tensor, scale)
            self.note("bipolar activation", 1)
        else:
            narrow = self.chance(0.3) and bits > 1
            self.tensor = self.graph.quant(self.tensor, bits, scale, signed=signed, narrow=narrow, mode=mode)
        self.now, self.scale = bits, scale

    def at_bits(self, signed: bool | None = None) -> None:
        """Quantise what has not the block's bits, or no one scale."""
        if self.now != self.bits or signed is not None:
            self.quantise(self.bits, signed)

    def on_grid(self) -> None:
        """Quantise what is not."""
        if not self.now:
            self.quantise(self.number(2, 8))

    def weights(self, *sizes: int) -> str:
        """Weights of the block's bits, outputs first."""
        bits = self.bits
        values = self.rng.normal(0, 1, sizes)
        channels = (sizes[0], *([1] * (len(sizes) - 1))) if self.chance(0.4) and bits > 1 else ()
        scale = self.rng.uniform(0.5, 1.5, channels) * 2.0 / 2 ** (bits - 1)
        if bits == 1:
            self.note("bipolar weights", 1)
            return self.graph.bipolar(self.graph.constant(values), scale)
        narrow = self.chance(0.5)
        if bits == 2 and narrow:
            self.note("ternary weights", 2)
        return self.graph.quant(self.graph.constant(values), bits, scale, signed=True, narrow=narrow, mode="ROUND")

    def close(self) -> None:
        """What mostly stands behind a layer: batch normalisation, a function, a quantiser."""
        self.now = 0
        if self.chance(0.5):
            normalised(self)
        elif self.chance(0.6):
            relu(self)
        else:
            self.quantise(self.number(1, 8))

    def end(self) -> None:
        """Nothing that only a quantiser could take, and a softmax or the largest's place behind a vector at times."""
        choice = self.rng.random()
        if self.form == "vector" and self.tensor not in self.left and choice < 0.2:
            self.add("Softmax", axis=1)
        elif self.form == "vector" and self.tensor not in self.left and choice < 0.3:
            self.add("ArgMax", axis=1)

    # ---- Windows ------------------------------------------------------------------------------------------------

    def window(self, *, side: int = 3, stride: int = 1, dilation: int = 1, pad: bool = False) -> dict[str, list[int]]:
        """Attributes of a window that fits the map, none of which lies in the padding alone.

        `stride` and `dilation` are the most; where they are more than 1, one axis has more than 1 if the map allows.
        """
        kernel, strides, dilations, begins, ends = [], [], [], [], []
        for size in self.shape[1:]:
            reach = min(self.number(2 if dilation > 1 or pad else 1, side), size)
            step = self.number(2, dilation) if dilation > 1 and (reach - 1) * 2 < size else 1
            while (reach - 1) * step >= size:
                step -= 1
            kernel.append(reach)
            dilations.append(max(step, 1))
            strides.append(self.number(2, stride) if stride > 1 else 1)
            widest = min(reach - 1 if step == 1 else 1, size - 1) if pad and reach > 1 else 0
            begins.append(self.number(0, widest))
            ends.append(self.number(0, widest))
        return {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": [*begins, *ends]}

    def sizes(self, window: dict[str, list[int]], ceil: bool = False) -> tuple[int, ...]:
        """Rows and columns of what a window makes."""
        made = []
        rank = len(self.shape) - 1
        for axis, size in enumerate(self.shape[1:]):
            padded = size + window["pads"][axis] + window["pads"][rank + axis]
            rest = padded - (window["kernel_shape"][axis] - 1) * window["dilations"][axis] - 1
            steps = -(-rest // window["strides"][axis]) if ceil else rest // window["strides"][axis]
            # A window that begins behind the map is none.
            if ceil and steps * window["strides"][axis] >= size + window["pads"][axis]:
                steps -= 1
            made.append(steps + 1)
        return tuple(made)

    def same(self) -> dict[str, list[int]]:
        """A window that leaves the map its size."""
        kernel = [3 if size > 2 else 1 for size in self.shape[1:]]
        pads = [each // 2 for each in kernel]
        return {"kernel_shape": kernel, "strides": [1] * len(kernel), "dilations": [1] * len(kernel), "pads": pads * 2}

    def convolve(self, kind: str, window: dict[str, list[int]], outputs: int = 0, groups: int = 1) -> None:
        """A convolution, with a bias now and then; not quantised yet."""
        self.on_grid()
        while prod(window["kernel_shape"]) * self.channels // groups > _MOST_LANES:
            ones, none = [1] * len(window["kernel_shape"]), [0] * len(window["pads"])
            window = {**window, "kernel_shape": ones, "dilations": ones, "pads": none}
        outputs = outputs or self.number(1, self.most)
        self.note(kind, self.bits)
        inputs = [self.weights(outputs, self.channels // groups, *window["kernel_shape"])]
        if self.chance(0.4):
            inputs.append(self.graph.constant(self.rng.normal(0, 1, outputs)))
        self.add("Conv", *inputs, shape=(outputs, *self.sizes(window)), group=groups, **window)
        self.now = 0


# ---- Blocks ---------------------------------------------------------------------------------------------------------


def _conv(kind: str, **window: Any) -> Callable[[Build], None]:
    def block(build: Build) -> None:
        build.convolve(kind, build.window(**window))
        build.close()

    return block


def rectangular(build: Build) -> None:
    """A window with more columns than rows, or the other way around."""
    window = build.window(side=2)
    longer = build.number(0, 1)
    window["kernel_shape"][longer] = min(
        window["kernel_shape"][1 - longer] + build.number(1, 2), build.shape[1 + longer]
    )
    build.convolve("rectangular convolution", window)
    build.close()


def pointwise(build: Build) -> None:
    """A convolution of one tap."""
    build.convolve("pointwise convolution", build.window(side=1))
    build.close()


def depthwise(build: Build) -> None:
    """A convolution of each channel alone, with one or two outputs each."""
    _widened(build, (2, 3, 4))
    times = 2 if build.chance(0.3) else 1
    build.convolve("depthwise convolution", build.window(pad=build.chance(0.5)), times * build.channels, build.channels)
    build.close()


def grouped(build: Build) -> None:
    """A convolution in two groups of several channels."""
    _widened(build, (4, 6))
    build.convolve("grouped convolution", build.window(stride=build.number(1, 2)), 2 * build.number(1, 4), 2)
    build.close()


def _widened(build: Build, counts: tuple[int, ...]) -> None:
    """As many channels as one of `counts`, by a convolution of one tap where there are not."""
    if build.channels not in counts:
        build.convolve("pointwise convolution", build.window(side=1), int(build.rng.choice(counts)))
        build.quantise(build.number(2, 8))


def last(build: Build) -> None:
    """A convolution whose sums are an output: a map."""
    build.convolve("convolution as an output", build.window(pad=True))
    build.left.append(build.tensor)
    build.close()


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
    build.close()


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
    build.close()


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
        build.close()
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
