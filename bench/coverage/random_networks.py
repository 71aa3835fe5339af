"""Draws random integer networks: all operators, precisions of 1 to 8 bits, windows, groups, branches and foldings.

A network is drawn block by block, so that the first blocks alone are a network too: a failing one is shrunk so. The
first block is of a kind and precision that its number says; `KINDS` times `BITS` networks have each once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgesight.hls.dataflow.operators import (
    Entry,
    IntegerNetwork,
    Operator,
    Output,
    Pair,
    Scale,
    Stream,
    Window,
    add,
    concat,
    entry,
    matrix,
    max_pool,
    threshold,
    upsample,
)
from edgesight.hls.folding import Folding
from edgesight.hls.network import Integers, Shape

BITS = (1, 2, 4, 8)
_MOST_BLOCKS = 5
_MOST_CHANNELS = 12
_MOST_PIXELS = 120
_MOST_LANES = 200  # of a window
_MOST_BITS = 12  # of what a matrix or a join takes


@dataclass(frozen=True)
class Drawn:
    """A random network: `draw(seed, index, blocks)` draws it again."""

    seed: int
    index: int
    blocks: int
    network: IntegerNetwork
    folding: Folding


def draw(seed: int, index: int, blocks: int | None = None) -> Drawn:
    """Network `index` of those that `seed` draws; its first `blocks` blocks where it has more of them."""
    rng = np.random.default_rng([seed, index])
    kind = list(KINDS)[index % len(KINDS)]
    bits = BITS[index // len(KINDS) % len(BITS)]
    count = int(rng.integers(1, _MOST_BLOCKS, endpoint=True))
    # Too slow to be of use, as parallel as it goes, and between.
    cycles = int(rng.choice([1, 50, 200, 600, 2000]))
    build = _Builder(rng, bits)
    build.start(kind)
    count = count if blocks is None else min(blocks, count)
    for block in range(count):
        chosen = kind if block == 0 else str(rng.choice(list(KINDS)))
        if block:
            build.bits = int(rng.integers(1, 8, endpoint=True))
        KINDS[chosen](build)
        if rng.random() < 0.15:
            build.leave()
    return Drawn(seed, index, count, build.finish(), Folding(cycles, {}))


@dataclass
class _Builder:
    """A network as it grows; `end` is the place that the next block goes on from."""

    rng: np.random.Generator
    bits: int  # of weights and activations of the block at hand
    operators: list[Operator] = field(default_factory=list)
    end: int = 0
    left: list[int] = field(default_factory=list)  # places that are outputs besides

    @property
    def stream(self) -> Stream:
        return self.operators[self.end].output

    @property
    def shape(self) -> Shape:
        return self.stream.shape

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def name(self, kind: str) -> str:
        return f"{kind}_{len(self.operators)}"

    def put(self, operator: Operator) -> int:
        """Add an operator; what comes next goes on from it."""
        self.operators.append(operator)
        self.end = len(self.operators) - 1
        return self.end

    def start(self, kind: str) -> None:
        """The entry: a picture, a signal or a vector."""
        form = "signal" if kind == "signal" else str(self.rng.choice(["picture", "picture", "signal", "vector"]))
        channels = self.number(1, 4)
        shape = {
            "picture": Shape(self.number(3, 9), self.number(3, 9), channels),
            "signal": Shape(1, self.number(6, 40), channels),
            "vector": Shape(1, 1, self.number(2, 24)),
        }[form if kind in ("signal", "dense", "quantiser", "linear") else "picture"]
        low, high = self.limits()
        self.put(entry("input", Stream(shape, low, high), 1.0))

    def limits(self) -> tuple[int, int]:
        """What an activation of the block's bits may be: unsigned, signed, narrow, or -1 and 1."""
        half = 1 << (self.bits - 1)
        if self.bits == 1:
            return (0, 1) if self.chance(0.5) else (-1, 1)
        ranges = [(0, 2 * half - 1), (-half, half - 1), (1 - half, half - 1)]
        return ranges[self.number(0, 2)]

    def weights(self, *sizes: int) -> Integers:
        """Weights of the block's bits."""
        half = 1 << (self.bits - 1)
        if self.bits == 1:
            return np.asarray(self.rng.choice([-1, 1], sizes), np.int64)
        if self.bits == 2 and self.chance(0.5):
            return np.asarray(self.rng.integers(-1, 1, sizes, endpoint=True), np.int64)
        if self.chance(0.1):
            return np.asarray(self.rng.integers(0, 2 * half - 1, sizes, endpoint=True), np.int64)
        return np.asarray(self.rng.integers(-half, half - 1, sizes, endpoint=True), np.int64)

    def window(self, most: int, stride: bool = True) -> Window:
        """A window that fits the map, one that has no window in the padding alone."""
        height, width = self.shape.height, self.shape.width
        sides, strides, dilations, pads = [], [], [], []
        for size in (height, width):
            side = self.number(1, min(most, size))
            reach_most = size - 1
            dilation = self.number(1, 3) if side > 1 and (side - 1) * 3 <= reach_most else 1
            sides.append(side)
            strides.append(self.number(1, 4) if stride else 1)
            dilations.append(dilation)
            # A pad below the kernel's side, and below the map's, leaves each window a tap on the map.
            widest = min((side - 1) if dilation == 1 else 1, size - 1)
            pads.append((self.number(0, widest), self.number(0, widest)) if side > 1 else (0, 0))
        (top, bottom), (left, right) = pads
        return Window(
            (sides[0], sides[1]), (strides[0], strides[1]), (dilations[0], dilations[1]), (top, left, bottom, right)
        )

    def same(self) -> Window:
        """A window that leaves the map its size."""
        kernel: Pair = (3 if self.shape.height > 2 else 1, 3 if self.shape.width > 2 else 1)
        return Window(kernel, pads=(kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2))

    def narrow(self) -> None:
        """Quantise what has more bits than a matrix takes."""
        if self.stream.bits > 8 and not (self.stream.bits <= _MOST_BITS and self.chance(0.2)):
            quantise(self)

    def convolve(self, window: Window, outputs: int, groups: int) -> int:
        channels = self.shape.channels // groups
        weights = self.weights(outputs, *window.kernel, channels)
        return self.put(matrix(self.name("conv"), self.end, self.stream, window, groups, weights))

    def leave(self) -> None:
        """What is there is an output, too."""
        self.left.append(self.end)

    def finish(self) -> IntegerNetwork:
        """The network; whatever nobody takes is an output."""
        taken = {source for operator in self.operators for source in operator.sources}
        ends = [place for place in range(len(self.operators)) if place not in taken]
        places = sorted({*ends, *self.left})
        outputs = []
        for place in places:
            channels = self.operators[place].output.shape.channels
            outputs.append(Output(f"out{place}", place, np.ones(channels), np.zeros(channels), 0.0, False))
        assert isinstance(self.operators[0], Entry)  # the builder's first operator
        return IntegerNetwork(tuple(self.operators), tuple(outputs))


def thresholds(build: _Builder) -> None:
    """Any monotone function of each channel."""
    stream, channels = build.stream, build.shape.channels
    count = (1 << build.bits) - 1
    margin = max((stream.high - stream.low) // 8, 1)
    values = build.rng.integers(stream.low - margin, stream.high + margin, (channels, count), endpoint=True)
    step = np.where(build.rng.random(channels) < 0.2, -1, 1)
    first = build.number(-(1 << (build.bits - 1)), 0) if build.chance(0.5) else 0
    firsts = np.where(step < 0, first + count, first)
    if build.bits == 1 and build.chance(0.5):
        step, firsts = 2 * step, -step
    build.put(threshold(build.name("threshold"), build.end, stream, np.sort(values, axis=1), firsts, step))


def linear(build: _Builder) -> None:
    """Multiply, add, shift, round and clip; by ones where a matrix may do it."""
    stream, channels = build.stream, build.shape.channels
    low, high = build.limits()
    spread = max(abs(stream.low), abs(stream.high)).bit_length()
    ones = build.chance(0.5)
    factor = np.ones(channels, np.int64) if ones else build.rng.integers(-100, 100, channels, endpoint=True)
    shift = max(spread + (0 if ones else 5) - build.bits + build.number(-2, 1), 0)
    reach = 1 << min(spread + 1, 20)
    offset = build.rng.integers(-reach, reach, channels, endpoint=True)
    if build.chance(0.2):
        offset = offset * 0
    out = Stream(stream.shape, low, high)
    rounding = (0, 1, 2)[build.number(0, 2)]
    build.put(Scale(build.name("scale"), (build.end,), out, factor, offset, shift, rounding))  # type: ignore[arg-type] # mypy reads int


def quantise(build: _Builder) -> None:
    """A quantiser of either form."""
    (thresholds if build.chance(0.6) else linear)(build)


def convolution(build: _Builder) -> None:
    """A convolution over all channels."""
    build.narrow()
    window = build.window(4)
    while window.kernel[0] * window.kernel[1] * build.shape.channels > _MOST_LANES:
        window = build.window(2)
    build.convolve(window, build.number(1, _MOST_CHANNELS), 1)
    _mostly_quantise(build)


def pointwise(build: _Builder) -> None:
    """A convolution of one tap, now and then with a stride."""
    build.narrow()
    stride = (1, 1) if build.chance(0.7) else (2, 3)
    build.convolve(Window((1, 1), stride), build.number(1, _MOST_CHANNELS), 1)
    _mostly_quantise(build)


def depthwise(build: _Builder) -> None:
    """A convolution of each channel alone, with one or two outputs each."""
    _widen(build)
    channels = build.shape.channels
    build.convolve(build.window(3), channels * build.number(1, 2), channels)
    _mostly_quantise(build)


def grouped(build: _Builder) -> None:
    """A convolution in groups of channels."""
    build.narrow()
    if not _shares(build.shape.channels):
        build.convolve(Window((1, 1)), int(build.rng.choice([4, 6, 8])), 1)
        quantise(build)
    groups = int(build.rng.choice(_shares(build.shape.channels)))
    build.convolve(build.window(3), groups * build.number(1, 3), groups)
    _mostly_quantise(build)


def dense(build: _Builder) -> None:
    """A dense layer over the whole map."""
    build.narrow()
    build.convolve(Window((build.shape.height, build.shape.width)), build.number(1, _MOST_CHANNELS), 1)
    _mostly_quantise(build)


def maximum(build: _Builder) -> None:
    """A max pooling."""
    build.put(max_pool(build.name("max_pool"), build.end, build.stream, build.window(3)))


def average(build: _Builder) -> None:
    """An average pooling, over the whole map now and then."""
    build.narrow()
    channels = build.shape.channels
    window = build.window(3) if build.chance(0.7) else Window((build.shape.height, build.shape.width))
    ones = np.ones((channels, *window.kernel, 1), np.int64)
    build.put(matrix(build.name("average"), build.end, build.stream, window, channels, ones))
    _mostly_quantise(build)


def nearest(build: _Builder) -> None:
    """An upsampling of a map that is not too large already."""
    most = _MOST_PIXELS // build.shape.pixels
    rows = build.number(1, max(min(3, most), 1))
    columns = build.number(1, max(min(3, most // rows), 1))
    build.put(upsample(build.name("upsample"), build.end, build.stream, (rows, columns)))


def residual(build: _Builder) -> None:
    """A branch of one to three layers that is added to what it began with."""
    if build.stream.bits > _MOST_BITS:
        quantise(build)
    start, channels = build.end, build.shape.channels
    for _ in range(build.number(0, 2)):
        build.convolve(build.same(), build.number(1, 6), 1)
        quantise(build)
    build.convolve(build.same(), channels, 1)
    if build.chance(0.7):
        quantise(build)
    places = [start, build.end] if build.chance(0.5) else [build.end, start]
    if build.chance(0.2):
        places.append(start)
    build.put(add(build.name("add"), places, [build.operators[place].output for place in places]))
    _mostly_quantise(build)


def concatenation(build: _Builder) -> None:
    """Two branches from one map, one with a layer or two more, their channels behind each other."""
    if build.stream.bits > _MOST_BITS:
        quantise(build)
    start, window, places = build.end, build.window(3), []
    for branch in range(2):
        build.end = start
        for _ in range(branch * build.number(0, 2)):
            build.convolve(build.same(), build.number(1, 6), 1)
            quantise(build)
        build.convolve(window, build.number(1, 6), 1)
        if build.chance(0.7):
            quantise(build)
        places.append(build.end)
    build.put(concat(build.name("concat"), places, [build.operators[place].output for place in places]))
    _mostly_quantise(build)


def _shares(channels: int) -> list[int]:
    """The counts of groups of several channels each."""
    return [count for count in range(2, channels) if channels % count == 0]


def _widen(build: _Builder) -> None:
    """More channels where there is one, which groups could not share out."""
    build.narrow()
    if build.shape.channels == 1:
        build.convolve(Window((1, 1)), build.number(2, 8), 1)
        quantise(build)


def _mostly_quantise(build: _Builder) -> None:
    if build.chance(0.8):
        quantise(build)


KINDS: dict[str, Callable[[_Builder], None]] = {
    "conv": convolution,
    "pointwise": pointwise,
    "depthwise": depthwise,
    "grouped": grouped,
    "signal": convolution,
    "dense": dense,
    "max_pool": maximum,
    "average": average,
    "upsample": nearest,
    "add": residual,
    "concat": concatenation,
    "quantiser": thresholds,
    "linear": linear,
}
