"""The operators of an integer network: each takes streams of integers and makes one.

A stream carries maps of height x width x channels in that order; a vector is a map of one pixel, a one-dimensional
signal a map of one row. Integer 0 stands for the value 0 in every stream, so that padding means the same in all of
them. No operator has a type of its own: how many bits a stream needs follows from the bounds of what it can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgesight.hls.network import Integers, Reals, Shape

Pair = tuple[int, int]  # rows, columns


@dataclass(frozen=True)
class Stream:
    """What passes between two operators: maps of `shape` with integers from `low` to `high`."""

    shape: Shape
    low: int
    high: int

    @property
    def signed(self) -> bool:
        """Whether two's complement is needed."""
        return self.low < 0

    @property
    def bits(self) -> int:
        """Bits of an integer: of two's complement where `signed`, at least 1."""
        if self.signed:
            return max((~self.low).bit_length(), self.high.bit_length()) + 1
        return max(self.high.bit_length(), 1)


@dataclass(frozen=True)
class Window:
    """Where a window's taps lie; pads are rows and columns at top, left, bottom and right.

    Rows and columns of the map that no window reaches are taken and dropped.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first tap to the last, both counted."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    def positions(self, shape: Shape) -> Pair:
        """Rows and columns of windows on a map of `shape`; below 1 where the window is larger than the padded map."""
        top, left, bottom, right = self.pads
        rows = (top + shape.height + bottom - self.reach[0]) // self.stride[0] + 1
        columns = (left + shape.width + right - self.reach[1]) // self.stride[1] + 1
        return rows, columns


@dataclass(frozen=True)
class Operator:
    """One step of a network.

    `name` is the exporter's; `sources` are the places of earlier operators in the network, whose streams it takes.
    """

    name: str
    sources: tuple[int, ...]
    output: Stream


@dataclass(frozen=True)
class Entry(Operator):
    """Where integers come in: real value / `scale`, rounded half to even and clipped to the stream's bounds."""

    scale: float


@dataclass(frozen=True)
class Matrix(Operator):
    """A convolution or dense layer: sums of products, without a bias.

    `weights` are [outputs, kernel rows, kernel columns, channels of a group]; output o belongs to group
    o // (outputs / groups) and takes its channels. A dense layer is a window as large as the map. An average pooling is
    one group a channel with weights of 1. `declared`: what its weights' type holds, from least to largest; None where
    they are no layer's. `runtime`: they are loaded at run time, and `output` is what any weights of that type make.
    """

    window: Window
    groups: int
    weights: Integers
    declared: Pair | None = None
    runtime: bool = False

    @property
    def weight_low(self) -> int:
        """Smallest weight."""
        return int(self.weights.min())

    @property
    def weight_high(self) -> int:
        """Largest weight."""
        return int(self.weights.max())


@dataclass(frozen=True)
class MaxPool(Operator):
    """The largest integer of each window, channel by channel; what pads it is smaller than all."""

    window: Window


@dataclass(frozen=True)
class Upsample(Operator):
    """Each pixel `factor` times in rows and columns."""

    factor: Pair


@dataclass(frozen=True)
class Add(Operator):
    """The sum of maps of one shape."""


@dataclass(frozen=True)
class Concat(Operator):
    """The channels of maps of one size behind each other."""


@dataclass(frozen=True)
class Threshold(Operator):
    """Counts, for each channel, the thresholds that an integer reaches.

    out = first[c] + step[c] * count(x >= thresholds[c]). `thresholds` are [channels, n], ascending in each channel;
    one that is above the source's bounds is never reached. `first` and `step` are [channels]. `reach`: the least and
    the largest integer of the function that it counts, whatever came in; None where that is not known. `runtime`: it is
    loaded at run time, and `output` is all of `reach`.
    """

    thresholds: Integers
    first: Integers
    step: Integers
    reach: Pair | None = None
    runtime: bool = False


@dataclass(frozen=True)
class Scale(Operator):
    """Multiplies, adds, shifts right, rounds and clips: out = clip(round((x * multiplier[c] + offset[c]) / 2**shift)).

    Clips to the stream's bounds. `rounding`: 0 down, 1 half up, 2 half to even, as mvu.sv counts. `reach` and `runtime`
    are as a threshold's.
    """

    multiplier: Integers  # [channels]
    offset: Integers  # [channels]
    shift: int
    rounding: Literal[0, 1, 2]
    reach: Pair | None = None
    runtime: bool = False


@dataclass(frozen=True)
class Output:
    """What a network gives: the real values scale[c] * integer + offset[c] of an operator's stream.

    `error`: how far the real values can lie from those of the network that was read; 0 where they are the same.
    `softmax`: a softmax over the channels follows, which the host computes. `axes` of the file's tensor: rows, columns
    and channels of the map, those that were flattened together in one text; what has length 1 may be absent. `tensor`:
    that of the file whose values these are; not `name` where an index of the largest was dropped.
    """

    name: str
    source: int
    scale: Reals  # [channels]
    offset: Reals  # [channels]
    error: float
    softmax: bool
    axes: tuple[str, ...] = ("C", "H", "W")
    tensor: str = ""


@dataclass(frozen=True)
class IntegerNetwork:
    """Operators in an order in which each comes behind its sources; the first is the only Entry."""

    operators: tuple[Operator, ...]
    outputs: tuple[Output, ...]

    @property
    def entry(self) -> Entry:
        """Where integers come in."""
        first = self.operators[0]
        assert isinstance(first, Entry)  # every network begins with one
        return first

    @property
    def ends(self) -> list[tuple[Output, Shape]]:
        """The outputs, each with the shape of its map."""
        return [(output, self.operators[output.source].output.shape) for output in self.outputs]

    def sources_of(self, operator: Operator) -> list[Operator]:
        """The operators whose streams `operator` takes."""
        return [self.operators[place] for place in operator.sources]

    def users_of(self, place: int) -> list[int]:
        """The places of the operators that take the stream made at `place`, one for each time it is taken."""
        return [at for at, operator in enumerate(self.operators) for source in operator.sources if source == place]

    def has_one_user(self, place: int) -> bool:
        """Whether the stream made at `place` is taken once, by an operator, and is no output."""
        return len(self.users_of(place)) == 1 and all(output.source != place for output in self.outputs)


def entry(name: str, stream: Stream, scale: float) -> Entry:
    """Where integers of `stream` come in."""
    return Entry(name, (), stream, scale)


def matrix(name: str, place: int, source: Stream, window: Window, groups: int, weights: Integers) -> Matrix:
    """A convolution of the stream `source` of the operator at `place`, with the bounds of its sums."""
    low, high = sum_bounds(source, window, groups, weights)
    shape = Shape(*window.positions(source.shape), len(weights))
    return Matrix(name, (place,), Stream(shape, int(low.min()), int(high.max())), window, groups, weights)


def sum_bounds(source: Stream, window: Window, groups: int, weights: Integers) -> tuple[Integers, Integers]:
    """The smallest and largest sum that each output [outputs] of a convolution can have."""
    least, most = weights * source.low, weights * source.high
    low, high = np.minimum(least, most), np.maximum(least, most)
    if any(window.pads):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    return low.sum(axis=(1, 2, 3)), high.sum(axis=(1, 2, 3))


def max_pool(name: str, place: int, source: Stream, window: Window) -> MaxPool:
    """A max pooling of the stream `source` of the operator at `place`."""
    shape = Shape(*window.positions(source.shape), source.shape.channels)
    return MaxPool(name, (place,), Stream(shape, source.low, source.high), window)


def upsample(name: str, place: int, source: Stream, factor: Pair) -> Upsample:
    """The nearest-neighbour upsampling of the stream `source` of the operator at `place`."""
    shape = Shape(source.shape.height * factor[0], source.shape.width * factor[1], source.shape.channels)
    return Upsample(name, (place,), Stream(shape, source.low, source.high), factor)


def add(name: str, places: Sequence[int], sources: Sequence[Stream]) -> Add:
    """The sum of the streams `sources` of the operators at `places`."""
    low, high = sum(source.low for source in sources), sum(source.high for source in sources)
    return Add(name, tuple(places), Stream(sources[0].shape, low, high))


def concat(name: str, places: Sequence[int], sources: Sequence[Stream]) -> Concat:
    """The channels of the streams `sources` of the operators at `places` behind each other."""
    first = sources[0].shape
    shape = Shape(first.height, first.width, sum(source.shape.channels for source in sources))
    low, high = min(source.low for source in sources), max(source.high for source in sources)
    return Concat(name, tuple(places), Stream(shape, low, high))


def threshold(
    name: str, place: int, source: Stream, thresholds: Integers, first: Integers, step: Integers
) -> Threshold:
    """Counted thresholds of the stream `source` of the operator at `place`."""
    last = first + step * (thresholds <= source.high).sum(axis=1)
    least = first + step * (thresholds <= source.low).sum(axis=1)
    ends = np.concatenate([least, last])
    stream = Stream(source.shape, int(ends.min()), int(ends.max()))
    return Threshold(name, (place,), stream, thresholds, first, step)


def scale(
    name: str,
    place: int,
    source: Stream,
    multiplier: Integers,
    offset: Integers,
    shift: int,
    rounding: Literal[0, 1, 2],
    limits: tuple[int, int],
) -> Scale:
    """Integers of the stream `source` of the operator at `place`, scaled, rounded and clipped to `limits`."""
    ends = np.stack([source.low * multiplier + offset, source.high * multiplier + offset])
    room = 1 if shift and rounding else 0
    low = min(max(limits[0], int(ends.min()) >> shift), limits[1])
    high = max(min(limits[1], (int(ends.max()) >> shift) + room), limits[0])
    return Scale(name, (place,), Stream(source.shape, low, high), multiplier, offset, shift, rounding)
