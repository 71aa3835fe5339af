"""Quantisers on the way: with the function before them they become thresholds, a shift, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.hls.dataflow import operators
from edgesight.hls.graph.flow import Flow, Making, made, scaled
from edgesight.hls.graph.source import Refused, Source
from edgesight.hls.graph.thresholds import MAX_LEVELS, Shift, Steps, shift_of, steps_of
from edgesight.hls.graph.values import Applied, Leaf, direction, evaluate
from edgesight.hls.network import Integers, Reals

_MOST = 1 << 31  # that the fast reference counts thresholds to
_FEW = 2  # thresholds of a channel that are smaller than a shift
_FAR = 1 << 50  # an integer that no sum reaches
MAX_REACH_BITS = 16
_NUDGE = 2.0**-40  # how far doubles in another order could be off, of what they are


def quantised(source: Source, making: Making, node: Any, flow: Flow) -> Flow:
    """What a quantiser makes: `flow` is its output as a function of the stream before it."""
    source.quantiser_of(node)
    assert isinstance(flow.value, Applied)  # the quantiser itself
    operands = flow.value.operands
    scale = np.asarray(operands[4 if len(operands) == 6 else 1], np.float64)
    two = node.op_type == "BipolarQuant" or (
        node.op_type == "Quant"
        and float(np.ravel(source.parameters(node)[2])[0]) == 1
        and source.attributes(node)["signed"] == 1
    )

    def counted(integers: npt.NDArray[Any]) -> Integers:
        return _counted(flow, scale, integers)

    steps = steps_of(counted, flow.low, flow.high, direction(flow.value, flow.channels), 2 if two else 1)
    if flow.place == 0 and making.assumed:
        making.note(
            f"the input is taken as bytes, each divided by 256: {source.where(node)} is the first to quantise it"
        )
    if flow.inexact:
        _tell_ties(source, making, node, (flow, scale, steps))
    return _put(source, making, node, replace(flow, value=Leaf(scale)), steps, _reach(flow, scale))


def _reach(flow: Flow, scale: Reals) -> tuple[int, int] | None:
    """The least and the largest integer that the function ever gives; None where its ends do not tell."""
    if np.any(direction(flow.value, flow.channels) == 0):
        return None
    try:
        ends = _counted(flow, scale, np.stack([np.full(flow.channels, far) for far in (-_FAR, _FAR)]))
    except Refused:
        return None
    low, high = int(ends.min()), int(ends.max())
    return (low, high) if high - low < 1 << MAX_REACH_BITS else None


def _counted(flow: Flow, scale: Reals, integers: npt.NDArray[Any], nudge: float = 0.0) -> Integers:
    values = evaluate(flow.value, integers, nudge) / scale
    if not np.isfinite(values).all():
        raise Refused("what comes in is no finite number", "train the network again")
    steps = np.rint(values)
    if np.any(np.abs(values - steps) > 1e-6 * np.maximum(np.abs(values), 1)):
        raise Refused("its output lies on no grid that holds 0", "use a zero point that its truncation divides")
    return np.asarray(steps, np.int64)


def _tell_ties(source: Source, making: Making, node: Any, what: tuple[Flow, Reals, Steps]) -> None:
    """Note where the last bit of a sum of doubles decides: a float64 run in another order could round otherwise."""
    flow, scale, steps = what
    at = np.clip(steps.thresholds.T, flow.low, flow.high)
    count = 0
    for points in (at, np.maximum(at - 1, flow.low)):
        plain = _counted(flow, scale, points)
        moved = [_counted(flow, scale, points, nudge) != plain for nudge in (_NUDGE, -_NUDGE)]
        count += int(np.unique(np.argwhere(moved[0] | moved[1]), axis=0).shape[0])
    if count:
        making.note(
            f"{source.where(node)}: {count} sums lie on a rounding boundary; the last bit of a float64 run decides"
        )


def _put(
    source: Source, making: Making, node: Any, flow: Flow, steps: Steps, reach: tuple[int, int] | None
) -> Flow:  # fmt: skip
    name = source.name(node)
    assert isinstance(flow.value, Leaf)  # of the quantiser's scale
    count = steps.thresholds.shape[1]
    shift = shift_of(steps) if count > _FEW else None
    if shift is not None:
        return _shifted(making, flow, name, shift, reach)
    if count > MAX_LEVELS:
        raise Refused(f"{count} thresholds for each channel", f"quantise to at most 8 bits ({MAX_LEVELS} thresholds)")
    least, most = flow.stream.low, flow.stream.high + 1
    thresholds = np.where(steps.thresholds <= flow.low[:, None], least, steps.thresholds)
    thresholds = np.where(steps.thresholds > flow.high[:, None], most, thresholds)
    operator = operators.threshold(making.name(name), flow.place, flow.stream, thresholds, steps.first, steps.step)
    operator = replace(operator, reach=reach)
    ends = np.stack([steps.first + steps.step * (thresholds <= bound[:, None]).sum(axis=1)
                     for bound in (flow.low, flow.high)])  # fmt: skip
    if np.abs(ends).max() >= _MOST:
        raise Refused("its integers have more than 32 bits", "use a zero point nearer to 0")
    return made(making, operator, flow.value, flow.layout, (ends.min(axis=0), ends.max(axis=0)))


def _shifted(making: Making, flow: Flow, name: str, shift: Shift, reach: tuple[int, int] | None) -> Flow:
    assert isinstance(flow.value, Leaf)  # of the quantiser's scale
    if not shift.shift:
        moved = scaled(making, flow, name, (shift.multiplier, shift.offset), flow.value.scale, shift.limits)
        if moved.place != flow.place:
            put = making.operators[moved.place]
            assert isinstance(put, operators.Scale)  # which is all that `scaled` puts
            making.operators[moved.place] = replace(put, reach=reach)
        return moved
    operator = operators.scale(
        making.name(name), flow.place, flow.stream, shift.multiplier, shift.offset, shift.shift, shift.rounding,
        shift.limits,
    )  # fmt: skip
    operator = replace(operator, reach=reach)
    low, high = (np.full(flow.channels, bound, np.int64) for bound in (operator.output.low, operator.output.high))
    return made(making, operator, flow.value, flow.layout, (low, high))
