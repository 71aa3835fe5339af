"""Where branches of a graph meet: sums and concatenations of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgesight.hls.dataflow import operators
from edgesight.hls.graph.flow import Flow, Making, check_entry, made, on_grid, scaled, whole
from edgesight.hls.graph.layers import MAX_SUM
from edgesight.hls.graph.layout import Layout
from edgesight.hls.graph.source import Refused
from edgesight.hls.graph.values import MAX_STEPS, Joined, Leaf, Ramp, applied, ramp, steps_of
from edgesight.hls.network import Integers, Reals, Shape

MAX_RATIO = 1 << 16  # of the scales of two branches


def add(making: Making, name: str, flows: Sequence[Flow], signs: Sequence[int]) -> Flow:
    """The sum of two tensors, each with a sign: their scales must be equal, or whole multiples of the smallest."""
    if flows[0].layout != flows[1].layout:
        raise Refused(
            f"it adds tensors of {flows[0].layout.shape} and {flows[1].layout.shape} that hold their maps differently",
            "bring both branches to one shape",
        )
    brought, ramps = [], []
    for flow in flows:
        check_entry(making, flow)
        found = ramp(flow.value)
        if found is None or not found.straight or np.any(found.slope == 0):
            flow = on_grid(making, flow, name)
            found = ramp(flow.value)
        assert found is not None  # on_grid makes a ramp
        brought.append(flow)
        ramps.append(found)
    unit = np.minimum(*(np.abs(each.slope) for each in ramps))
    factors = [_factor(each, sign, unit) for each, sign in zip(ramps, signs, strict=True)]
    zero = np.zeros(flows[0].channels, np.int64)
    parts = [scaled(making, flow, name, (factor, zero), unit) for flow, factor in zip(brought, factors, strict=True)]
    low, high = parts[0].low + parts[1].low, parts[0].high + parts[1].high
    if max(-int(low.min()), int(high.max())) >= MAX_SUM:
        raise Refused("sums of more than 53 bits", "use fewer bits")
    operator = operators.add(making.name(name), [part.place for part in parts], [part.stream for part in parts])
    out = made(making, operator, Leaf(unit), flows[0].layout, (low, high))
    offset = sum(sign * each.offset for each, sign in zip(ramps, signs, strict=True))
    if np.any(offset != 0):
        return replace(out, value=applied("Add", {}, out.value, np.asarray(offset)))
    return out


def _factor(found: Ramp, sign: int, unit: Reals) -> Integers:
    ratio = whole(sign * found.slope / unit)
    if ratio is None or np.abs(ratio).max() > MAX_RATIO:
        channel = int(np.argmax(np.abs(found.slope / unit - np.round(found.slope / unit))))
        raise Refused(
            f"its branches have scales {abs(found.slope[channel]):.9g} and {unit[channel]:.9g} in channel {channel}",
            "requantise both branches by one quantiser (in Brevitas: one QuantIdentity that both go through)",
        )
    return ratio


def concat(making: Making, name: str, flows: Sequence[Flow], axis: int) -> Flow:
    """The channels of several tensors behind each other; each keeps its own value."""
    first = flows[0].layout
    axis = first.axis(axis)
    maps = [flow.stream.shape for flow in flows]
    for flow in flows:
        check_entry(making, flow)
        layout = flow.layout
        if len(layout.groups) != len(first.groups) or layout.groups[axis] not in ((), ("C",)):
            raise Refused("it joins other axes than channels", "join channels of maps that are not flattened")
        if (flow.stream.shape.height, flow.stream.shape.width) != (maps[0].height, maps[0].width):
            raise Refused("its maps have different sizes", "bring them to one size")
        if layout.groups[axis] == () and flow.channels > 1:
            raise Refused("it joins other axes than channels", "join channels of maps that are not flattened")
    labels = first.labels(last=axis == len(first.groups) - 1)
    if labels[axis] != "C":
        raise Refused("it joins other axes than channels", "join channels of maps that are not flattened")
    for flow in flows:
        if Layout.of(labels, flow.stream.shape).groups != flow.layout.groups:
            raise Refused("its tensors hold their maps differently", "bring all branches to one shape")
    places = [flow.place for flow in flows]
    operator = operators.concat(making.name(name), places, [flow.stream for flow in flows])
    value = Joined(tuple((flow.channels, flow.value) for flow in flows))
    if steps_of(value) > MAX_STEPS:
        raise Refused(f"more than {MAX_STEPS} operations without a quantiser", "quantise in between")
    shape: Shape = operator.output.shape
    bounds = (np.concatenate([flow.low for flow in flows]), np.concatenate([flow.high for flow in flows]))
    if all(isinstance(flow.value, Leaf) for flow in flows):
        scale = np.concatenate([flow.value.scale for flow in flows if isinstance(flow.value, Leaf)])
        return made(making, operator, Leaf(scale), Layout.of(labels, shape), bounds)
    return made(making, operator, value, Layout.of(labels, shape), bounds)


def of_one_stream(flows: Sequence[Any]) -> bool:
    """Whether tensors are functions of one stream, so that an operator of them is one too."""
    return all(flow.place == flows[0].place and flow.layout == flows[0].layout for flow in flows)
