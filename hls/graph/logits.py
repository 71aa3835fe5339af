"""What a network gives: its outputs' real values as integers on one grid, so that the largest stays the largest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesight.hls.dataflow.operators import Output, scale
from edgesight.hls.graph.flow import Flow, Making, check_entry, made, on_grid, scaled, whole
from edgesight.hls.graph.source import Refused
from edgesight.hls.graph.values import Leaf, Ramp, ramp
from edgesight.hls.network import Integers, Reals

GRID_BITS = 12  # of the largest step between two integers: how fine a grid is that cannot be exact
_MAX_FACTOR = 1 << 40


def output(making: Making, name: str, flow: Flow, layer: str, softmax: bool) -> Output:
    """An output of the tensor `flow`, which `layer` made."""
    check_entry(making, flow)
    found = ramp(flow.value)
    if found is None:
        raise Refused(
            "the network ends in a function of its sums that is not computed in hardware",
            "end it at the logits, or put a quantiser behind the function",
        )
    if not found.straight:
        flow = on_grid(making, flow, layer)
        found = ramp(flow.value)
        assert found is not None  # on_grid makes a ramp
    told = Refused("its values lie beyond what doubles hold exactly", "scale them nearer to 1")
    if not (np.isfinite(found.slope).all() and np.isfinite(found.offset).all()):
        raise told
    flow, unit, offset, error = _on_one_grid(making, flow, found, layer)
    if not np.finfo(np.float64).tiny <= unit < np.inf:
        raise told
    flow = _of_its_own(making, flow, layer)
    channels = flow.channels
    axes = tuple("".join(group) for group in flow.layout.groups if group)
    return Output(name, flow.place, np.full(channels, unit), np.full(channels, offset), error, softmax, axes)


def _of_its_own(making: Making, flow: Flow, layer: str) -> Flow:
    """An output is made by an operator, not taken from the entry itself."""
    if flow.place:
        return flow
    one = np.ones(flow.channels, np.int64)
    low, high = flow.stream.low, flow.stream.high
    same = scale(making.name(layer), 0, flow.stream, one, 0 * one, 0, 0, (low, high))
    return made(making, same, flow.value, flow.layout, (flow.low, flow.high))


def _on_one_grid(making: Making, flow: Flow, found: Ramp, layer: str) -> tuple[Flow, float, float, float]:
    """The tensor with one scale and one offset for all channels, these, and how far its values can be off."""
    slope, offset = found.slope, found.offset
    level = bool(np.all(offset == offset[0]))
    if level and np.all(slope == slope[0]) and slope[0] > 0:
        return replace(flow, value=Leaf(slope)), float(slope[0]), float(offset[0]), 0.0
    moving = np.abs(slope[slope != 0])
    if not len(moving):
        raise Refused("its outputs are constant", "train the network again")
    unit, base = float(moving.min()), float(offset[0]) if level else 0.0
    factor, shift = whole(slope / unit), whole((offset - base) / unit)
    if factor is not None and shift is not None and np.abs(factor).max() < _MAX_FACTOR:
        made_of = scaled(making, flow, layer, (factor, shift), np.full(flow.channels, unit))
        return made_of, unit, base, 0.0
    return _near(making, flow, (slope, offset), layer)


def _near(making: Making, flow: Flow, line: tuple[Reals, Reals], layer: str) -> tuple[Flow, float, float, float]:
    slope, offset = line
    grid = float(np.abs(slope).max()) * 2.0**-GRID_BITS
    if np.all(slope == slope[0]):  # steps are exact, the offsets alone are rounded
        factor, shift = np.full(flow.channels, int(np.sign(slope[0])) << GRID_BITS), np.round(offset / grid)
        out = scaled(making, flow, layer, (factor, np.asarray(shift, np.int64)), np.full(flow.channels, grid))
        error = float(np.abs(shift * grid - offset).max())
        return out, grid, 0.0, error
    # As fine a factor as keeps its error at the largest integer below an eighth of the grid, then a shift to the grid.
    largest = max(int(np.abs(flow.low).max()), int(np.abs(flow.high).max()), 1)
    bits = largest.bit_length() + 2
    fine = grid * 2.0**-bits
    multiplier: Integers = np.asarray(np.round(slope / fine), np.int64)
    moved: Integers = np.asarray(np.round(offset / fine), np.int64)
    ends = np.stack([flow.low * multiplier + moved, flow.high * multiplier + moved])
    if np.abs(ends.astype(np.float64)).max() >= 2.0**62:
        raise Refused("logits of more than 62 bits", "use fewer bits, or outputs of one scale")
    half = 1 << (bits - 1)
    low, high = (ends.min(axis=0) + half) >> bits, (ends.max(axis=0) + half) >> bits
    limits = int(low.min()), int(high.max())
    operator = scale(making.name(layer), flow.place, flow.stream, multiplier, moved, bits, 1, limits)
    out = made(making, operator, Leaf(np.full(flow.channels, grid)), flow.layout, (low, high))
    error = grid / 2 + float((np.abs(multiplier * fine - slope) * largest + np.abs(moved * fine - offset)).max())
    return out, grid, 0.0, error
