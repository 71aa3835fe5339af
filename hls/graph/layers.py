"""Convolutions, dense layers and poolings of a graph as operators on integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesight.hls.dataflow import operators
from edgesight.hls.dataflow.operators import Pair, Window, sum_bounds
from edgesight.hls.graph.flow import Flow, Making, check_entry, made, on_grid, scaled, whole
from edgesight.hls.graph.layout import AGAIN, Layout
from edgesight.hls.graph.mapwise import RESIZES, Geometry, divisors, geometry, places_of_resize
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.source import MAX_CONSTANT, Refused, Source
from edgesight.hls.graph.tensorwise import axes_of
from edgesight.hls.graph.thresholds import seen_direction
from edgesight.hls.graph.values import Applied, Leaf, Value, applied, direction, evaluate, is_value
from edgesight.hls.network import MAX_BITS, Integers, Reals, Shape

MAX_SIDE = 4096  # of a map, padding included
MAX_SUM = 1 << 53  # that the fast reference holds exactly
_ONE: Pair = (1, 1)


@dataclass(frozen=True)
class Weights:
    """Integers of a layer's weights, as the graph has them, the scale of each output, and what their type holds."""

    integers: Integers
    scale: Reals
    held: Pair | None = None  # None: they are no layer's


def weights_of(source: Source, tensor: str, output_axis: int) -> Weights:
    """The integers of a weight tensor and the scale of each output. Raises Refused."""
    found = source.known.get(tensor)
    if found is None:
        raise Refused("its weights are computed at run time", "let them be constants behind a quantiser")
    values = np.asarray(found.value, np.float64)
    if not values.size:
        raise Refused(f"weights of shape {list(values.shape)}", AGAIN)
    if not np.isfinite(values).all():
        raise Refused("its weights are not all finite numbers", "train the network again")
    if found.scale is None and not np.array_equal(values, np.round(values)):
        raise Refused("its weights are floating point", "give the layer a weight quantiser")
    scales = np.ones(values.shape) if found.scale is None else np.asarray(found.scale, np.float64)
    rows = np.moveaxis(scales, output_axis, 0).reshape(values.shape[output_axis], -1)
    if np.any(rows != rows[:, :1]):
        raise Refused("one weight scale for each input channel", "use one scale for each output channel, or one in all")
    integers = whole(values / scales)
    if integers is None:
        raise Refused("its weights lie on no grid", "put nothing between the weights' quantiser and the layer")
    low, high = int(integers.min()), int(integers.max())
    limit = 1 << (MAX_BITS - 1)
    if low < -limit or high >= limit:
        raise Refused(
            f"weights from {low} to {high} in steps of their scale",
            f"use at most {MAX_BITS} bits, signed ({-limit} to {limit - 1})",
        )
    bits = max(max(~low if low < 0 else low, ~high if high < 0 else high, 0).bit_length() + 1, 1)
    return Weights(integers, rows[:, 0], found.held or (-(1 << (bits - 1)), (1 << (bits - 1)) - 1))


def sums(
    making: Making, flow: Flow, name: str, window: Window, groups: int, weights: Weights, layout: Layout
) -> Flow:  # fmt: skip
    """Sums of products of a tensor on a grid, with weights [outputs, rows, columns, channels of a group]."""
    each = flow.channels // groups
    assert isinstance(flow.value, Leaf)  # the caller brought it on its grid
    scales = flow.value.scale.reshape(groups, each)
    if np.any(scales != scales[:, :1]):
        raise Refused("its input channels have different scales", "quantise its input with one scale for all channels")
    check_window(window, flow.stream.shape)
    low, high = sum_bounds(flow.stream, window, groups, weights.integers)
    if max(-int(low.min()), int(high.max())) >= MAX_SUM:
        raise Refused("sums of more than 53 bits", "use fewer bits or fewer inputs")
    outputs = len(weights.integers)
    scale = np.repeat(scales[:, 0], outputs // groups) * weights.scale
    matrix = operators.matrix(making.name(name), flow.place, flow.stream, window, groups, weights.integers)
    matrix = replace(matrix, declared=weights.held)
    return made(making, matrix, Leaf(scale), layout, (low, high))


def check_window(window: Window, shape: Shape) -> None:
    """Raise Refused where a window pads too much, or less than nothing."""
    top, left, bottom, right = window.pads
    if max(top + shape.height + bottom, left + shape.width + right) > MAX_SIDE:
        raise Refused(f"a padded map of more than {MAX_SIDE} rows or columns", "use a smaller one")
    if min(window.pads) < 0:
        raise Refused("negative padding", "use a smaller map")


def conv(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """A convolution."""
    last = node.domain == CHANNELS_LAST
    labels = _labels(flow, last)
    weights = weights_of(source, node.input[1], 0)
    integers = np.moveaxis(weights.integers, -1, 1) if last else weights.integers
    attributes = source.attributes(node)
    groups = int(attributes.get("group", 1))
    outputs, channels = integers.shape[:2]
    if integers.ndim != len(labels) or groups < 1 or channels * groups != flow.channels or outputs % groups:
        raise Refused(f"weights of shape {list(integers.shape)} in {groups} groups for {flow.channels} channels", AGAIN)
    kernel = list(integers.shape[2:])
    if list(attributes.get("kernel_shape", kernel)) != kernel:
        raise Refused(f"kernel {list(attributes['kernel_shape'])} for weights of {kernel}", AGAIN)
    spatial = [label for label in labels if label in ("H", "W")]
    windows = _geometry(attributes, flow, spatial, kernel)
    window, turned = _window(windows, spatial)
    # [outputs, channels, *spatial] to [outputs, rows, columns, channels]
    if len(kernel) == 1:
        integers = np.expand_dims(integers, 2 if spatial == ["W"] else 3)
    elif turned:
        integers = integers.swapaxes(2, 3)
    integers = np.ascontiguousarray(integers.transpose(0, 2, 3, 1))
    flow = on_grid(making, flow, source.name(node))
    layout = Layout.of(labels, Shape(*window.positions(flow.stream.shape), outputs))
    if len(node.input) > 2 and node.input[2]:
        shape = [1] * len(labels)
        shape[labels.index("C")] = -1
        flow = sums(making, flow, source.name(node), window, groups, replace(weights, integers=integers), layout)
        return biased(source, flow, node.input[2], shape)
    return sums(making, flow, source.name(node), window, groups, replace(weights, integers=integers), layout)


def biased(source: Source, flow: Flow, tensor: str, shape: Sequence[int] | None, factor: float = 1.0) -> Flow:
    """With a bias added, a constant that broadcasts once it has `shape`."""
    found = source.known.get(tensor)
    if found is None:
        raise Refused("its bias is computed at run time", "let it be a constant")
    value = found.value if shape is None else found.value.reshape(shape)
    bias = flow.layout.per_channel(value if factor == 1 else value * factor)
    return replace(flow, value=applied("Add", {}, flow.value, bias))


def dense(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """A Gemm or MatMul: of the whole map, or of each pixel's channels."""
    attributes = source.attributes(node)
    if attributes.get("transA", 0):
        raise Refused("transA is not 0", "export it without")
    turned = bool(attributes.get("transB", 0))
    if node.input[1] not in source.known:
        raise Refused("its second input is computed at run time", "let the weights be constants behind a quantiser")
    weights = weights_of(source, node.input[1], 0 if turned else -1)
    integers = weights.integers if turned else np.moveaxis(weights.integers, -1, 0)
    group, sizes = flow.layout.groups[-1], {"H": flow.stream.shape.height, "W": flow.stream.shape.width}
    sizes["C"] = flow.channels
    if integers.ndim != 2 or integers.shape[1] != flow.layout.shape[-1]:
        raise Refused(f"weights of shape {list(integers.shape)} for a tensor of {flow.layout.shape}", AGAIN)
    if "C" not in group and flow.channels > 1:
        raise Refused("a product along rows or columns", "let channels be the last axis, or flatten the map")
    # Columns are in the order of the axis' group; the map's is rows, columns, channels.
    spread = integers.reshape(len(integers), *(sizes[label] for label in group))
    order = [group.index(label) + 1 for label in "HWC" if label in group]
    kernel = (sizes["H"] if "H" in group else 1, sizes["W"] if "W" in group else 1)
    placed = np.ascontiguousarray(spread.transpose(0, *order)).reshape(len(integers), *kernel, flow.channels)
    window = Window(kernel)
    shape = Shape(*window.positions(flow.stream.shape), len(integers))
    rest = [label for each in flow.layout.groups[:-1] for label in (each or ("",))]
    if any(len(each) > 1 for each in flow.layout.groups[:-1]):
        raise Refused("its input was flattened in part", "flatten the whole map, or nothing")
    if node.op_type == "Gemm" and len(flow.layout.groups) != 2:
        raise Refused(f"a Gemm of a tensor of {flow.layout.shape}", "flatten the map first")
    flow = on_grid(making, flow, source.name(node))
    layout = Layout.of([*rest, "C"], shape)
    out = sums(making, flow, source.name(node), window, 1, replace(weights, integers=placed), layout)
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    if alpha != 1:
        out = replace(out, value=applied("Mul", {}, out.value, np.full(len(integers), alpha)))
    if len(node.input) > 2 and node.input[2]:
        out = biased(source, out, node.input[2], None, beta)
    return out


def max_pool(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """A max pooling: of the integers, where the value rises with them; channels where it falls are turned first."""
    attributes = source.attributes(node)
    if attributes.get("storage_order", 0):
        raise Refused("storage_order is not 0", "export it with storage_order 0")
    labels = _labels(flow, node.domain == CHANNELS_LAST)
    spatial = [label for label in labels if label in ("H", "W")]
    windows = _geometry(attributes, flow, spatial, _kernel(attributes, len(spatial)))
    window, _ = _window(windows, spatial)
    check_window(window, flow.stream.shape)
    inside = divisors({}, [_side(flow, label) for label in spatial], windows)
    if any(np.any(each == 0) for each in inside):
        raise Refused("one of its windows takes nothing but padding", "pad less")
    check_entry(making, flow)
    ways = direction(flow.value, flow.channels)
    if np.any(ways == 0):
        ways = seen_direction(lambda integers: evaluate(flow.value, integers), flow.low, flow.high)
    flow = turned_up(making, flow, source.name(node), ways)
    pool = operators.max_pool(making.name(source.name(node)), flow.place, flow.stream, window)
    layout = Layout.of(labels, pool.output.shape)
    return made(making, pool, flow.value, layout, (flow.low, flow.high))


def turned_up(making: Making, flow: Flow, name: str, ways: Integers) -> Flow:
    """The same tensor with those channels' integers negated that fall (-1 in `ways`)."""
    if np.all(ways > 0):
        return flow
    turned = scaled(making, flow, name, (ways, 0 * ways), np.ones(flow.channels))
    return replace(turned, value=_with_signs(flow.value, ways))


def _with_signs(value: Value, ways: Integers) -> Value:
    if isinstance(value, Leaf):
        return Leaf(value.scale * ways)
    if isinstance(value, Applied):
        made_of = (_with_signs(each, ways) if is_value(each) else each for each in value.operands)
        return replace(value, operands=tuple(made_of))
    ends = np.cumsum([size for size, _ in value.parts])
    parts = zip(value.parts, np.split(ways, ends[:-1]), strict=True)
    return replace(value, parts=tuple((size, _with_signs(part, own)) for (size, part), own in parts))


def average_pool(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """An average pooling: sums of windows, whose one divisor becomes part of the value."""
    attributes = source.attributes(node)
    labels = _labels(flow, False)
    spatial = [label for label in labels if label in ("H", "W")]
    if node.op_type == "GlobalAveragePool":
        attributes = {"kernel_shape": [_side(flow, label) for label in spatial]}
    windows = _geometry(attributes, flow, spatial, _kernel(attributes, len(spatial)))
    window, _ = _window(windows, spatial)
    check_window(window, flow.stream.shape)
    numbers = divisors(attributes, [_side(flow, label) for label in spatial], windows)
    if any(np.any(each != each[0]) or not each[0] for each in numbers):
        raise Refused(
            "its windows are divided by different numbers",
            "count the padding (count_include_pad), or pool without padding and ceil_mode",
        )
    return _averaged(source, making, node, flow, (window, float(math.prod(int(each[0]) for each in numbers))), labels)


def _averaged(
    source: Source, making: Making, node: Any, flow: Flow, pool: tuple[Window, float], labels: Sequence[str]
) -> Flow:
    window, divisor = pool
    name = source.name(node)
    if flow.channels * math.prod(window.kernel) > MAX_CONSTANT:
        raise Refused("its windows are too large", "use smaller ones")
    flow = on_grid(making, flow, name)
    ones = np.ones((flow.channels, *window.kernel, 1), np.int64)
    shape = Shape(*window.positions(flow.stream.shape), flow.channels)
    weights = Weights(ones, np.ones(flow.channels))
    out = sums(making, flow, name, window, flow.channels, weights, Layout.of(labels, shape))
    return replace(out, value=applied("Div", {}, out.value, np.full(flow.channels, divisor)))


def reduce_mean(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """A mean over whole rows or columns."""
    attributes = source.attributes(node)
    given = [None, np.asarray(source.integers(node.input[1]))] if len(node.input) > 1 and node.input[1] else [None]
    axes = axes_of(attributes, given)
    if not axes:
        raise Refused("a mean over all axes", "name rows and columns")
    places = [flow.layout.axis(axis) for axis in axes]
    groups = [flow.layout.groups[place] for place in places]
    over = {label for group in groups for label in group}
    if "C" in over or 0 in places:
        raise Refused("a mean over channels", "take it over rows and columns")
    kernel = (_side(flow, "H") if "H" in over else 1, _side(flow, "W") if "W" in over else 1)
    labels = flow.layout.labels() if not over else [group[0] if len(group) == 1 else "" for group in flow.layout.groups]
    if any(len(group) > 1 for place, group in enumerate(flow.layout.groups) if place not in places):
        raise Refused("its input was flattened in part", "flatten after it")
    keep = attributes.get("keepdims", 1)
    labels = ["" if place in places else label for place, label in enumerate(labels)]
    labels = [label for place, label in enumerate(labels) if keep or place not in places]
    return _averaged(source, making, node, flow, (Window(kernel), float(math.prod(kernel))), labels)


def pad(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """Zeros around a map: a convolution of one tap for each channel."""
    rank = len(flow.layout.groups)
    pads = source.pads(node, rank)
    if not any(map(any, pads)):
        return flow
    labels = flow.layout.labels()
    around = {label: pads[place] for place, label in enumerate(labels) if label}
    if any(any(pads[place]) for place, label in enumerate(labels) if label not in ("H", "W")):
        raise Refused("it pads channels or the batch", "pad rows and columns")
    (top, bottom), (left, right) = around.get("H", (0, 0)), around.get("W", (0, 0))
    window = Window(_ONE, pads=(top, left, bottom, right))
    check_window(window, flow.stream.shape)
    flow = on_grid(making, flow, source.name(node))
    shape = Shape(*window.positions(flow.stream.shape), flow.channels)
    ones = Weights(np.ones((flow.channels, 1, 1, 1), np.int64), np.ones(flow.channels))
    return sums(making, flow, source.name(node), window, flow.channels, ones, Layout.of(labels, shape))


def upsample(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """Nearest-neighbour upsampling by whole factors."""
    attributes = source.attributes(node)
    if attributes.get("mode", "nearest") != "nearest":
        raise Refused(f"mode {attributes['mode']}", "use nearest-neighbour upsampling")
    for key, known in RESIZES.items():
        if attributes.get(key, known[0]) not in known:
            raise Refused(f"{key} {attributes[key]}", f"use {' or '.join(map(str, known))}")
    labels, shape = flow.layout.labels(), flow.layout.shape
    scales, targets, given = source.resized(node, shape)
    if len(given) == 1:
        attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    factors = {"H": 1, "W": 1}
    for label, size, scale, target in zip(labels, shape, scales, targets, strict=True):
        if target == size and scale == 1:
            continue
        factor = target // size if size else 0
        if label not in factors or target != factor * size or target > MAX_SIDE or factor < 1:
            raise Refused(f"a resize of {shape} to {targets}", f"upsample rows and columns, to at most {MAX_SIDE}")
        if not np.array_equal(places_of_resize(attributes, size, scale, target), np.arange(size).repeat(factor)):
            raise Refused("it does not give each pixel as often as the others", "use asymmetric coordinates and floor")
        factors[label] = factor
    if factors == {"H": 1, "W": 1}:
        return flow
    check_entry(making, flow)
    bigger = operators.upsample(making.name(source.name(node)), flow.place, flow.stream, (factors["H"], factors["W"]))
    return made(making, bigger, flow.value, Layout.of(labels, bigger.output.shape), (flow.low, flow.high))


def _kernel(attributes: Any, rank: int) -> list[int]:
    kernel = [int(size) for size in attributes.get("kernel_shape", [])]
    if len(kernel) != rank:
        raise Refused(f"kernel_shape {kernel} for {rank} axes", AGAIN)
    return kernel


def _labels(flow: Flow, last: bool) -> list[str]:
    labels = flow.layout.labels(last)
    if not 3 <= len(labels) <= 4:
        raise Refused(f"a tensor of {flow.layout.shape}", "give it a map with one or two axes besides channels")
    if labels.index("C") != (len(labels) - 1 if last else 1):
        raise Refused("its channels do not lie where it takes them", AGAIN)
    return labels


def _side(flow: Flow, label: str) -> int:
    return flow.stream.shape.height if label == "H" else flow.stream.shape.width


def _geometry(attributes: Any, flow: Flow, spatial: Sequence[str], kernel: Sequence[int]) -> Geometry:
    rank = len(spatial)
    for key, length, least in (("strides", rank, 1), ("dilations", rank, 1), ("pads", 2 * rank, 0)):
        values = [int(value) for value in attributes.get(key, [1] * length)]
        if len(values) != length or min(values) < least:
            raise Refused(f"{key} {values} is not {length} numbers of at least {least}", AGAIN)
    if min(kernel) < 1 or max(kernel) > MAX_SIDE or max(attributes.get("pads", [0])) > MAX_SIDE:
        raise Refused(f"kernel {list(kernel)} or its padding", f"use sizes from 1 to {MAX_SIDE}")
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"auto_pad {automatic}", "use NOTSET with pads")
    if automatic != "NOTSET" and any(attributes.get("pads", [])):
        raise Refused(f"auto_pad {automatic} beside pads", "give one of both")
    if attributes.get("ceil_mode", 0) not in (0, 1):
        raise Refused(f"ceil_mode {attributes['ceil_mode']}", "export it as 0 or 1")
    return geometry(attributes, [_side(flow, label) for label in spatial], kernel)


def _window(windows: Geometry, spatial: Sequence[str]) -> tuple[Window, bool]:
    """The window on rows and columns, and whether the graph has columns first; what hangs over becomes padding."""
    if min(windows.counts) < 1:
        raise Refused("its window is larger than the padded map", "use a smaller kernel")
    place = {label: axis for axis, label in enumerate(spatial)}

    def both(values: Sequence[int], missing: int) -> Pair:
        row, column = (values[place[label]] if label in place else missing for label in ("H", "W"))
        return row, column

    ends = [end + over for end, over in zip(windows.ends, windows.over, strict=True)]
    (top, left), (bottom, right) = both(windows.begins, 0), both(ends, 0)
    window = Window(
        both(windows.kernel, 1), both(windows.strides, 1), both(windows.dilations, 1), (top, left, bottom, right)
    )
    return window, list(spatial) == ["W", "H"]
