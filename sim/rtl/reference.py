"""What the modules of `hw/rtl` compute, in numpy integers: the reference of the benches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

TRUNCATE, HALF_UP, HALF_EVEN = 0, 1, 2


def pack(values: Integers, bits: int) -> int:
    """One number with the two's complement of `values` (flattened), `bits` each, the first lowest."""
    mask = (1 << bits) - 1
    word = 0
    for value in reversed(values.reshape(-1).tolist()):
        word = word << bits | value & mask
    return word


def unpack(word: int, count: int, bits: int, signed: bool) -> Integers:
    """The inverse of `pack`."""
    mask = (1 << bits) - 1
    values = [word >> (i * bits) & mask for i in range(count)]
    if signed:
        values = [value - (1 << bits) if value >> (bits - 1) else value for value in values]
    return np.array(values, np.int64)


def limits(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest value of `bits` bits."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def random_values(rng: np.random.Generator, shape: tuple[int, ...], bits: int, signed: bool) -> Integers:
    """Random values of `bits` bits, every fourth one at a limit."""
    low, high = limits(bits, signed)
    values = rng.integers(low, high, shape, endpoint=True)
    edges = rng.choice(np.array([low, high]), shape)
    return np.asarray(np.where(rng.random(shape) < 0.25, edges, values), np.int64)


def wrap(values: Integers, bits: int, signed: bool) -> Integers:
    """The values modulo 2^bits, in the range of `limits`."""
    low = limits(bits, signed)[0]
    return np.asarray((values - low) % (1 << bits) + low, np.int64)


@dataclass(frozen=True)
class Geometry:
    """A sliding window: kernel, stride and dilation by rows and columns; pads at top, left, bottom and right."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Geometry:
        """The geometry that a module's parameters give."""

        def pair(name: str, default: int) -> tuple[int, int]:
            both = parameters.get(name, default)
            return parameters.get(f"{name}H", both), parameters.get(f"{name}W", both)

        top, left, bottom, right = (parameters.get(f"Pad{side}", 0) for side in ("Top", "Left", "Bottom", "Right"))
        return cls(pair("Kernel", 0), pair("Stride", 1), pair("Dilation", 1), (top, left, bottom, right))

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from the first tap to the last."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    def grid(self, size: int, axis: int) -> int:
        """Positions that are walked along an axis: through the last window or pixel, whichever is later."""
        before, after = self.pads[axis], self.pads[axis + 2]
        count = (before + size + after - self.reach[axis]) // self.stride[axis] + 1
        return max((count - 1) * self.stride[axis] + self.reach[axis], before + size)

    def pixels_before(self, size: tuple[int, int], window: int, frames: int) -> int:
        """Pixels of `frames` frames of `size` before the position that completes window number `window`, from 1."""
        rows, columns = self.grid(size[0], 0), self.grid(size[1], 1)
        taken = completed = 0
        for position in range(frames * rows * columns):
            at = divmod(position % (rows * columns), columns)
            behind = [place - reach + 1 for place, reach in zip(at, self.reach, strict=True)]
            completed += all(
                place >= 0 and place % stride == 0 for place, stride in zip(behind, self.stride, strict=True)
            )
            if completed == window:
                return taken
            taken += all(pad <= place < pad + side for place, pad, side in zip(at, self.pads[:2], size, strict=True))
        return taken

    def _tap_ends(self, size: tuple[int, int], tap: int) -> tuple[list[int], list[int]]:
        """Rows and columns of the map, as they come, of each window's first (0) or last (1) tap."""
        ends = []
        for axis in range(2):
            count = (self.pads[axis] + size[axis] + self.pads[axis + 2] - self.reach[axis]) // self.stride[axis] + 1
            start = tap * (self.reach[axis] - 1) - self.pads[axis]
            ends.append([start + at * self.stride[axis] for at in range(count)])
        return ends[0], ends[1]

    def needed(self, size: tuple[int, int]) -> list[int]:
        """By window, how many of its frame's pixels must be there: up to its last tap, and at least one of its row."""
        rows, columns = self._tap_ends(size, 1)
        height, width = size
        return [
            1 if row < 0 else height * width if row >= height else row * width + min(max(column + 1, 1), width)
            for row in rows
            for column in columns
        ]

    def gone(self, size: tuple[int, int]) -> list[int]:
        """By window, how many of its frame's pixels neither it nor a later one has a tap at or before, by rows."""
        rows, columns = self._tap_ends(size, 0)
        height, width = size
        return [
            0 if row < 0 else height * width if row >= height else row * width + min(max(column, 0), width)
            for row in rows
            for column in columns
        ]


@dataclass(frozen=True)
class WindowFold:
    """How `window_memory` takes windows apart: groups, those side by side, values of each, and how often."""

    blocks: int
    side: int
    simd: int
    turns: int

    @property
    def sets(self) -> int:
        """Groups one after the other."""
        return self.blocks // self.side


def window_beats(image: Integers, geometry: Geometry, fold: WindowFold) -> Integers:
    """The windows of an image [h, w, c] in the order of mvu's steps: [beats, side * simd]."""
    taps = geometry.kernel[0] * geometry.kernel[1]
    share = image.shape[2] // fold.blocks
    flat = windows(image, geometry).reshape(-1, taps, fold.sets, fold.side, share // fold.simd, fold.simd)
    once = flat.transpose(0, 2, 1, 4, 3, 5)[:, :, None]  # window, set, turn, tap, slice, side, lane
    return np.asarray(np.repeat(once, fold.turns, axis=2).reshape(-1, fold.side * fold.simd), np.int64)


def windows(image: Integers, geometry: Geometry, padding: int = 0) -> Integers:
    """Neighbourhoods of an image [h, w, c], padded: [rows * columns, taps * c]."""
    top, left, bottom, right = geometry.pads
    padded = np.pad(image, ((top, bottom), (left, right), (0, 0)), constant_values=padding)
    view = np.lib.stride_tricks.sliding_window_view(padded, geometry.reach, (0, 1))
    view = view[:: geometry.stride[0], :: geometry.stride[1], :, :: geometry.dilation[0], :: geometry.dilation[1]]
    # [rows, columns, c, kr, kc]: the channel varies fastest.
    taps = geometry.kernel[0] * geometry.kernel[1]
    return np.asarray(view.transpose(0, 1, 3, 4, 2).reshape(-1, taps * image.shape[2]), np.int64)


def max_pool(image: Integers, geometry: Geometry) -> Integers:
    """Maxima of an image [h, w, c] over its neighbourhoods: [rows * columns, c]."""
    flat = windows(image, geometry, np.iinfo(np.int64).min)
    return np.asarray(flat.reshape(len(flat), -1, image.shape[2]).max(axis=1), np.int64)


def requantise(sums: Integers, shift: int, rounding: int, saturate: bool, bits: int, signed: bool) -> Integers:
    """`sums` / 2^shift, rounded (0 down, 1 half up, 2 half to even), then saturated or wrapped to `bits`."""
    if shift <= 0:
        values = sums << -shift
    else:
        values = sums >> shift
        cut = sums - (values << shift)
        half = 1 << (shift - 1)
        if rounding == HALF_UP:
            values = values + (cut >= half)
        elif rounding == HALF_EVEN:
            values = values + ((cut > half) | ((cut == half) & (values & 1 == 1)))
    if saturate:
        return np.asarray(np.clip(values, *limits(bits, signed)), np.int64)
    return wrap(values, bits, signed)


def mvu(inputs: Integers, weights: Integers, bias: Integers, parameters: dict[str, Any]) -> Integers:
    """Output vectors [n, outputs] of inputs [n, beats, lanes], weights [outputs, beats, a block's lanes] and bias."""
    count, beats, lanes = inputs.shape
    blocks, taps = parameters.get("Blocks", 1), parameters.get("Taps", 1)
    # [n, beats, taps, blocks, channels of a block] -> [blocks, n, beats, lanes of a block]
    own = inputs.reshape(count, beats, taps, blocks, -1).transpose(3, 0, 1, 2, 4).reshape(blocks, count, beats, -1)
    shared = weights.reshape(blocks, -1, beats, lanes // blocks)
    if parameters.get("Agree"):  # bits that stand for 1 and -1: of those, the sum is twice the agreeing lanes less all
        own, shared = 2 * (own & 1) - 1, 2 * (shared & 1) - 1
    sums = np.einsum("gnbl,gobl->ngo", own, shared).reshape(count, -1)
    if parameters.get("Agree"):
        sums = (sums + beats * lanes // blocks) // 2
    sums = sums + (bias << parameters["BiasShift"])
    sums = wrap(sums, parameters["AccWidth"], True)
    return requantise(
        sums,
        parameters["Shift"],
        parameters["Round"],
        bool(parameters["Saturate"]),
        parameters["OutWidth"],
        bool(parameters["OutSigned"]),
    )


def mvu_steps(inputs: Integers, parameters: Mapping[str, Any]) -> Integers:
    """What each step of a sliced `mvu` takes of inputs [n, beats, lanes]: [n * steps, side * simd]."""
    count, beats, _ = inputs.shape
    blocks, taps = parameters.get("Blocks", 1), parameters.get("Taps", 1)
    pe, simd, outputs = (parameters[name] for name in ("Pe", "Simd", "Outputs"))
    side = max(1, pe * blocks // outputs)
    turns = outputs // pe * side // blocks
    own = inputs.reshape(count, beats, taps, blocks, -1).transpose(0, 1, 3, 2, 4)
    # [n, beats, set, side, slice, lane] -> [n, beats, set, turn, slice, side, lane]
    steps = own.reshape(count, beats, blocks // side, side, -1, simd).transpose(0, 1, 2, 4, 3, 5)[:, :, :, None]
    return np.asarray(np.repeat(steps, turns, axis=3).reshape(-1, side * simd), np.int64)


def weight_words(weights: Integers, pe: int, simd: int, bits: int) -> list[int]:
    """Memory words of weights [outputs, beats, lanes] for `mvu`: address (beat, group, slice), lane p * simd + i."""
    outputs, beats, lanes = weights.shape
    order = weights.reshape(outputs // pe, pe, beats, lanes // simd, simd).transpose(2, 0, 3, 1, 4)
    return [pack(word, bits) for word in order.reshape(-1, pe * simd)]


def thresholding(values: Integers, thresholds: Integers, first: Integers, step: Integers, bits: int) -> Integers:
    """Vectors [n, channels] of `first` and a `step` for each threshold [channels, count] that a value reaches."""
    counts = (values[:, :, None] >= thresholds).sum(axis=2)
    return wrap(first + step * counts, bits, False)


def margin(logits: Integers) -> tuple[int, int]:
    """Label (lowest index of the maximum) and margin (maximum minus second largest) of one vector."""
    second, first = np.sort(logits)[-2:]
    return int(np.argmax(logits)), int(first - second)
