"""What ONNX's operators on maps compute, in float64, straight from their definitions: windows, resizing, padding.

Maps are [N, channels, *sizes], with one or two sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesight.hls.graph.elementwise import Array, Attributes, Function


@dataclass(frozen=True)
class Geometry:
    """Where a node's windows lie along each of a map's sizes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]  # padding before
    ends: tuple[int, ...]  # and behind
    counts: tuple[int, ...]  # windows
    over: tuple[int, ...]  # how far the last window hangs over the padded map: of ceil_mode

    @property
    def reach(self) -> tuple[int, ...]:
        """From the first tap to the last, both counted."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def geometry(attributes: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> Geometry:
    """The windows of a convolution or pooling of a map of `sizes`, as ONNX defines them; counts may be below 1."""
    rank = len(sizes)
    ones = [1] * rank
    strides = [int(value) for value in attributes.get("strides", ones)]
    dilations = [int(value) for value in attributes.get("dilations", ones)]
    pads = [int(value) for value in attributes.get("pads", [0] * 2 * rank)]
    automatic = attributes.get("auto_pad", "NOTSET")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = pads[:rank], pads[rank:]
    if automatic == "VALID":
        begins, ends = [0] * rank, [0] * rank
    elif automatic != "NOTSET":
        total = [
            max((math.ceil(size / stride) - 1) * stride + length - size, 0)
            for size, stride, length in zip(sizes, strides, reach, strict=True)
        ]
        small, large = [each // 2 for each in total], [each - each // 2 for each in total]
        begins, ends = (small, large) if automatic == "SAME_UPPER" else (large, small)
    counts, over = [], []
    for size, begin, end, length, stride in zip(sizes, begins, ends, reach, strides, strict=True):
        room = size + begin + end - length
        count = room // stride + 1
        if attributes.get("ceil_mode", 0):
            count = -(-room // stride) + 1
            if (count - 1) * stride >= size + begin:  # a window that would begin behind the map does not count
                count -= 1
        counts.append(count)
        over.append(max((count - 1) * stride - room, 0))
    made = (kernel, strides, dilations, begins, ends, counts, over)
    return Geometry(*(tuple(map(int, each)) for each in made))


def _taps(x: Array, windows: Geometry, padding: float) -> Array:
    """The taps of all windows: [N, channels, *counts, *kernel]."""
    rank = len(windows.kernel)
    around = [(b, e + o) for b, e, o in zip(windows.begins, windows.ends, windows.over, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *around], constant_values=padding)
    views = np.lib.stride_tricks.sliding_window_view(x, windows.reach, axis=tuple(range(2, 2 + rank)))
    strided = [slice(None, n * s, s) for n, s in zip(windows.counts, windows.strides, strict=True)]
    dilated = [slice(None, None, dilation) for dilation in windows.dilations]
    return np.asarray(views[(slice(None), slice(None), *strided, *dilated)])


def _conv(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x, weights, bias = (*inputs, None)[:3]
    groups = int(attributes.get("group", 1))
    outputs, channels, *kernel = weights.shape
    taps = _taps(x, geometry(attributes, x.shape[2:], kernel), 0)
    rank, count = len(kernel), len(x)
    counts = taps.shape[2 : 2 + rank]
    # [groups, N * windows, channels of a group * taps]
    lanes = np.moveaxis(taps.reshape(count, groups, channels, *counts, *kernel), 2, 2 + rank)
    lanes = np.moveaxis(lanes, 1, 0).reshape(groups, count * math.prod(counts), -1)
    sums = lanes @ weights.reshape(groups, outputs // groups, -1).transpose(0, 2, 1)
    out = np.moveaxis(sums.reshape(groups, count, *counts, outputs // groups), -1, 1)
    out = np.moveaxis(out, 2, 0).reshape(count, outputs, *counts)
    return np.asarray(out if bias is None else out + np.reshape(bias, [1, -1] + [1] * rank))


def _max_pool(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    kernel = attributes["kernel_shape"]
    taps = _taps(inputs[0], geometry(attributes, inputs[0].shape[2:], kernel), -np.inf)
    return np.asarray(taps.max(axis=tuple(range(-len(kernel), 0))))


def _average_pool(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    kernel = attributes["kernel_shape"]
    windows = geometry(attributes, inputs[0].shape[2:], kernel)
    axes = tuple(range(-len(kernel), 0))
    numbers: Array = np.ones(())
    for each in divisors(attributes, inputs[0].shape[2:], windows):
        numbers = np.multiply.outer(numbers, each)
    return np.asarray(_taps(inputs[0], windows, 0).sum(axis=axes) / numbers)


def divisors(attributes: Attributes, sizes: Sequence[int], windows: Geometry) -> list[Array]:
    """What sums are divided by: for each axis how many taps of each window count, those of padding if it is counted."""
    counted = []
    for axis, size in enumerate(sizes):
        places = np.arange(windows.counts[axis])[:, None] * windows.strides[axis] - windows.begins[axis]
        taps = places + np.arange(windows.kernel[axis]) * windows.dilations[axis]
        around = bool(attributes.get("count_include_pad", 0))
        first, end = (-windows.begins[axis], size + windows.ends[axis]) if around else (0, size)
        counted.append(((taps >= first) & (taps < end)).sum(axis=1))
    return counted


def _global_average_pool(_: Attributes, inputs: Sequence[Any]) -> Array:
    axes = tuple(range(2, inputs[0].ndim))
    return np.asarray(inputs[0].sum(axis=axes, keepdims=True) / math.prod(inputs[0].shape[2:]))


# What a Resize's attributes may say, the default first.
RESIZES: dict[str, tuple[Any, ...]] = {
    "coordinate_transformation_mode": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    "nearest_mode": ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"),
    "keep_aspect_ratio_policy": ("stretch",),
    "antialias": (0,),
    "exclude_outside": (0,),
}


def places_of_resize(attributes: Attributes, size: int, scale: float, target: int) -> Array:
    """Which of `size` elements each of `target` ones takes: ONNX's nearest-neighbour resizing along one axis."""
    out = np.arange(target)
    at: Array
    nearest: Array
    match attributes.get("coordinate_transformation_mode", "half_pixel"):
        case "asymmetric":
            at = out / scale
        case "align_corners":
            at = out * ((size - 1) / (target - 1)) if target > 1 else out * 0.0
        case "pytorch_half_pixel":
            at = (out + 0.5) / scale - 0.5 if target > 1 else out * 0.0
        case _:
            at = (out + 0.5) / scale - 0.5
    match attributes.get("nearest_mode", "round_prefer_floor"):
        case "floor":
            nearest = np.floor(at)
        case "ceil":
            nearest = np.ceil(at)
        case "round_prefer_ceil":
            nearest = np.floor(at + 0.5)
        case _:
            nearest = np.ceil(at - 0.5)
    return np.asarray(np.clip(nearest, 0, size - 1).astype(np.int64))


def scales_of_resize(inputs: Sequence[Any], shape: Sequence[int]) -> tuple[list[float], list[int]]:
    """The factor and the target size of each axis of a Resize or Upsample, of the inputs behind its first.

    These are the factors (opset 10 and Upsample), or a region that is not read here, the factors and the sizes.
    """
    scales, sizes = (inputs[0], None) if len(inputs) == 1 else (*inputs[1:], None)[:2]
    if sizes is not None and np.size(sizes):
        targets = [int(value) for value in np.ravel(sizes)]
        return [target / size for target, size in zip(targets, shape, strict=True)], targets
    factors = [float(value) for value in np.ravel(scales)]
    return factors, [math.floor(size * factor) for size, factor in zip(shape, factors, strict=True)]


def _resize(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x = inputs[0]
    if len(inputs) == 2:  # opset 10
        attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales, targets = scales_of_resize(inputs[1:], x.shape)
    for axis, (scale, target) in enumerate(zip(scales, targets, strict=True)):
        x = np.take(x, places_of_resize(attributes, x.shape[axis], scale, target), axis=axis)
    return np.asarray(x)


def _upsample(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    given = inputs if len(inputs) > 1 else [*inputs, np.asarray(attributes["scales"])]
    return _resize({}, given)


def pads_of(attributes: Attributes, inputs: Sequence[Any], rank: int) -> list[tuple[int, int]]:
    """Padding before and behind each axis that a Pad gives; negative where it crops."""
    flat = [int(value) for value in (np.ravel(inputs[1]) if len(inputs) > 1 else attributes["pads"])]
    axes = [int(axis) for axis in np.ravel(inputs[3])] if len(inputs) > 3 else list(range(rank))
    if len(flat) != 2 * len(axes):
        raise ValueError(f"{len(flat)} pads for {len(axes)} axes")
    pads = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        pads[axis] = (flat[place], flat[place + len(axes)])
    return pads


def _pad(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    value = float(np.ravel(inputs[2])[0]) if len(inputs) > 2 and inputs[2] is not None else attributes.get("value", 0.0)
    return np.pad(inputs[0], pads_of(attributes, inputs, inputs[0].ndim), constant_values=value)


MAPWISE: dict[str, Function] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "Resize": _resize,
    "Upsample": _upsample,
    "Pad": _pad,
}
