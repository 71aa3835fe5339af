"""What the modules of `hw/rtl` compute, in numpy integers: the reference of the benches."""

from __future__ import annotations

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


def windows(image: Integers, kernel: int, stride: int, pads: tuple[int, int, int, int]) -> Integers:
    """Neighbourhoods of an image [h, w, c], zero padded by top, left, bottom, right: [rows * columns, kernel^2 * c]."""
    top, left, bottom, right = pads
    padded = np.pad(image, ((top, bottom), (left, right), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))[::stride, ::stride]
    # [rows, columns, c, kr, kc]: the channel varies fastest.
    return np.asarray(view.transpose(0, 1, 3, 4, 2).reshape(-1, kernel * kernel * image.shape[2]), np.int64)


def grid(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Positions that `sliding_window` walks in one direction: through the last window or pixel, whichever is later."""
    count = (before + size + after - kernel) // stride + 1
    return max((count - 1) * stride + kernel, before + size)


def max_pool(image: Integers, kernel: int, stride: int) -> Integers:
    """Maxima of an image [h, w, c] over its whole neighbourhoods: [rows * columns, c]."""
    flat = windows(image, kernel, stride, (0, 0, 0, 0))
    return np.asarray(flat.reshape(len(flat), kernel * kernel, -1).max(axis=1), np.int64)


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
    """Output vectors [n, outputs] of inputs [n, beats, lanes], weights [outputs, beats, lanes] and bias [outputs]."""
    sums = np.einsum("nbl,obl->no", inputs, weights) + (bias << parameters["BiasShift"])
    sums = wrap(sums, parameters["AccWidth"], True)
    return requantise(
        sums,
        parameters["Shift"],
        parameters["Round"],
        bool(parameters["Saturate"]),
        parameters["OutWidth"],
        bool(parameters["OutSigned"]),
    )


def weight_words(weights: Integers, pe: int, simd: int, bits: int) -> list[int]:
    """Memory words of weights [outputs, beats, lanes] for `mvu`: address (beat, group, slice), lane p * simd + i."""
    outputs, beats, lanes = weights.shape
    order = weights.reshape(outputs // pe, pe, beats, lanes // simd, simd).transpose(2, 0, 3, 1, 4)
    return [pack(word, bits) for word in order.reshape(-1, pe * simd)]


def margin(logits: Integers) -> tuple[int, int]:
    """Label (lowest index of the maximum) and margin (maximum minus second largest) of one vector."""
    second, first = np.sort(logits)[-2:]
    return int(np.argmax(logits)), int(first - second)
