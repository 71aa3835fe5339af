"""What an integer network computes, fast: numpy on whole batches, sums of products as floating-point matrix products.

A product in floating point is exact as long as no sum leaves the integers that the type holds; the bounds of each
stream tell which type does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    Entry,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Operator,
    Output,
    Scale,
    Stream,
    Threshold,
    Upsample,
    Window,
)
from edgesight.hls.network import Integers, Reals

_TABLE = 1 << 22  # entries of a table of thresholds, at most
_SMALL_TABLE = 1 << 15  # that stays in a processor's near memory
_MAPS_BYTES = 1 << 20  # of a stream that is computed at once: what a step makes is still near when the next takes it
_MANTISSA: tuple[tuple[Any, int], ...] = ((np.float32, 24), (np.float64, 53))
Array = npt.NDArray[Any]


class Reference:
    """A network made ready to be computed over and over."""

    def __init__(self, network: IntegerNetwork) -> None:
        """Tables and weights are laid out once."""
        self.network = network
        self._steps = [_step_of(network, operator) for operator in network.operators[1:]]
        last = {source: at for at, operator in enumerate(network.operators) for source in operator.sources}
        self._kept = {output.source for output in network.outputs}
        self._last = last
        shapes = [operator.output.shape for operator in network.operators]
        largest = max(shape.height * shape.width * shape.channels for shape in shapes)
        self._at_once = max(1, _MAPS_BYTES // (largest * np.dtype(np.float32).itemsize))  # inputs

    def quantised(self, values: npt.NDArray[Any]) -> Integers:
        """The integers that real values [N, H, W, C] come in as."""
        entry = self.network.entry
        steps = np.round(np.asarray(values, np.float64) / entry.scale)
        return np.asarray(np.clip(steps, entry.output.low, entry.output.high), np.int64)

    def integers(self, inputs: Integers) -> list[Integers]:
        """The integers of each output [N, H, W, C] for the entry's integers [N, H, W, C]."""
        made: list[list[Integers]] = [[] for _ in self.network.outputs]
        for start in range(0, max(len(inputs), 1), self._at_once):
            streams = self.streams(inputs[start : start + self._at_once], all_of_them=False)
            for parts, output in zip(made, self.network.outputs, strict=True):
                parts.append(np.asarray(streams[output.source], np.int64))
        return [np.concatenate(parts) for parts in made]

    def streams(self, inputs: Integers, all_of_them: bool = True) -> dict[int, Array]:
        """What each operator makes, by its place; without `all_of_them` only what the outputs need is kept."""
        shape = self.network.entry.output.shape
        if inputs.shape[1:] != (shape.height, shape.width, shape.channels):
            raise ValueError(
                f"inputs of shape {inputs.shape}; expected [N, {shape.height}, {shape.width}, {shape.channels}]"
            )
        made: dict[int, Array] = {0: inputs}
        for place, (operator, step) in enumerate(zip(self.network.operators[1:], self._steps, strict=True), 1):
            made[place] = step([made[source] for source in operator.sources])
            if not all_of_them:
                for source in operator.sources:
                    if self._last[source] == place and source not in self._kept:
                        made.pop(source, None)
        return made

    def __call__(self, values: npt.NDArray[Any]) -> list[Reals]:
        """The real values of each output [N, H, W, C] for real values [N, H, W, C], softmax included."""
        return [
            real_values(output, integers)
            for output, integers in zip(self.network.outputs, self.integers(self.quantised(values)), strict=True)
        ]


def real_values(output: Output, integers: Integers) -> Reals:
    """The real values that an output's integers [N, H, W, C] stand for."""
    values = integers * output.scale + output.offset
    if not output.softmax:
        return np.asarray(values, np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


_Step = Callable[[list[Array]], Array]


def _step_of(network: IntegerNetwork, operator: Operator) -> _Step:
    sources = [source.output for source in network.sources_of(operator)]
    match operator:
        case Matrix():
            return _matrix(operator, sources[0])
        case MaxPool():
            least = np.iinfo(np.int64).min
            return lambda maps: _taps(np.asarray(maps[0], np.int64), operator.window, least).max(axis=(3, 4))
        case Upsample():
            rows, columns = operator.factor
            return lambda maps: maps[0].repeat(rows, axis=1).repeat(columns, axis=2)
        case Add():
            return lambda maps: np.sum([np.asarray(each, np.int64) for each in maps], axis=0)
        case Concat():
            return lambda maps: np.concatenate(maps, axis=3)
        case Threshold():
            return _threshold(operator, sources[0])
        case Scale():
            return lambda maps: _scale(operator, np.asarray(maps[0], np.int64))
        case Entry():
            raise ValueError(f"{operator.name}: a network has one entry, its first operator")
    raise TypeError(f"{type(operator).__name__} is not known here")


def _taps(maps: Array, window: Window, padding: int) -> Array:
    """The taps of all windows: [N, rows, columns, kernel rows, kernel columns, channels]."""
    top, left, bottom, right = window.pads
    if any(window.pads):
        maps = np.pad(maps, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=padding)
    views = np.lib.stride_tricks.sliding_window_view(maps, window.reach, axis=(1, 2))
    views = views[:, :: window.stride[0], :: window.stride[1], :, :: window.dilation[0], :: window.dilation[1]]
    return np.asarray(views.transpose(0, 1, 2, 4, 5, 3))


def _matrix(operator: Matrix, source: Stream) -> _Step:
    largest = max(abs(operator.weights).sum(axis=(1, 2, 3)).max() * max(abs(source.low), abs(source.high)), 1)
    types = [kind for kind, bits in _MANTISSA if int(largest) <= 1 << bits]
    if not types:
        raise ValueError(f"{operator.name}: sums of up to {largest} are beyond what floating point holds exactly")
    kind = types[0]
    outputs, rows, columns, channels = operator.weights.shape
    groups = operator.groups
    # [groups, taps * channels of a group, outputs of a group]
    weights = operator.weights.reshape(groups, outputs // groups, rows * columns * channels).transpose(0, 2, 1)
    weights = np.ascontiguousarray(weights, dtype=kind)
    if groups > 1 and channels == 1 and groups == outputs:
        return _depthwise(operator, kind)

    def step(maps: list[Array]) -> Array:
        taps = _taps(np.asarray(maps[0], kind), operator.window, 0)
        count, height, width = taps.shape[:3]
        if groups == 1:
            sums: Array = taps.reshape(count * height * width, rows * columns * channels) @ weights[0]
        else:
            lanes: Array = taps.reshape(count * height * width, rows * columns, groups, channels)
            lanes = lanes.transpose(2, 0, 1, 3).reshape(groups, count * height * width, rows * columns * channels)
            sums = (lanes @ weights).transpose(1, 0, 2)
        return np.asarray(sums.reshape(count, height, width, outputs))

    return step


def _depthwise(operator: Matrix, kind: Any) -> _Step:
    """One filter a channel: tap by tap over all channels, since a matrix product of one column is slow."""
    taps = np.ascontiguousarray(operator.weights[..., 0].transpose(1, 2, 0), dtype=kind)  # [rows, columns, channels]

    def step(maps: list[Array]) -> Array:
        views = _taps(np.asarray(maps[0], kind), operator.window, 0)
        sums = np.zeros((*views.shape[:3], views.shape[5]), kind)
        product = np.empty_like(sums)
        for row, column in np.ndindex(*taps.shape[:2]):
            np.multiply(views[:, :, :, row, column], taps[row, column], out=product)
            sums += product
        return sums

    return step


def _threshold(operator: Threshold, source: Stream) -> _Step:
    channels = len(operator.first)
    size = source.high - source.low + 1
    if size * channels > _SMALL_TABLE and (in_bins := _threshold_in_bins(operator, source)) is not None:
        return in_bins
    if size * channels <= _TABLE:
        values = np.arange(source.low, source.high + 1)
        counts = np.stack([np.searchsorted(row, values, side="right") for row in operator.thresholds])
        table = np.asarray(operator.first[:, None] + operator.step[:, None] * counts, np.int32).ravel()
        places = np.arange(channels) * size - source.low
        return lambda maps: table[np.asarray(maps[0], np.int32) + np.asarray(places, np.int32)]

    def search(maps: list[Array]) -> Array:
        out = np.empty(maps[0].shape, np.int32)
        for channel, row in enumerate(operator.thresholds):
            counted = np.searchsorted(row, maps[0][..., channel], side="right")
            out[..., channel] = operator.first[channel] + operator.step[channel] * counted
        return out

    return search


def _threshold_in_bins(operator: Threshold, source: Stream) -> _Step | None:
    """By a small table: the range is cut into bins so narrow that each channel has one threshold in each, or none.

    None where that table would not be small.
    """
    offsets = np.clip(operator.thresholds, source.low, source.high + 1) - source.low  # 0: always reached
    size, channels = source.high - source.low + 1, len(offsets)
    for shift in range(int(size).bit_length(), -1, -1):
        bins = ((size - 1) >> shift) + 1
        if bins * channels > _TABLE or bins >= size:
            return None
        same_bin = (offsets[:, 1:] >> shift) == (offsets[:, :-1] >> shift)
        counted = (offsets[:, 1:] < size) & (offsets[:, :-1] > 0)
        if not (same_bin & counted & (offsets[:, 1:] != offsets[:, :-1])).any():
            break
    begins = np.arange(bins, dtype=np.int64) << shift
    at = np.full((channels, bins), size, np.int64)  # where in the range a bin's threshold lies; behind it, where none
    counts = np.empty((channels, bins, 2), np.int64)  # of thresholds that are reached before it, and from it on
    for channel, row in enumerate(offsets):
        inside = row[(row > 0) & (row < size)]
        at[channel, inside >> shift] = inside
        counts[channel, :, 0] = np.searchsorted(row, begins, side="right")
        counts[channel, inside >> shift, 0] = np.searchsorted(row, inside, side="left")
        counts[channel, :, 1] = np.searchsorted(row, np.minimum(at[channel], size - 1), side="right")
    made = operator.first[:, None, None] + operator.step[:, None, None] * counts
    kind: Any = np.int32 if max(abs(source.low), abs(source.high), size) < 1 << 31 else np.int64
    table: Array = np.asarray(made, np.int32).ravel()
    edges: Array = np.asarray(at, kind).ravel()
    places: Array = np.asarray(np.arange(channels) * bins, kind)
    low, bits = kind(source.low), kind(shift)  # of the values' own type, which they keep

    def step(maps: list[Array]) -> Array:
        values: Array = np.asarray(maps[0], kind) - low
        bin_of: Array = (values >> bits) + places
        return np.asarray(table[2 * bin_of + (values >= edges[bin_of])])

    return step


def _scale(operator: Scale, maps: Integers) -> Array:
    product = maps * operator.multiplier + operator.offset
    floor = product >> operator.shift
    if operator.shift and operator.rounding:
        half = (product >> (operator.shift - 1)) & 1
        rest = product & ((1 << (operator.shift - 1)) - 1)
        floor = floor + (half if operator.rounding == 1 else half & ((rest != 0) | (floor & 1)))
    return np.asarray(np.clip(floor, operator.output.low, operator.output.high))
