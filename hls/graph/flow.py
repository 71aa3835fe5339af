"""The network in the making, and what a tensor of the graph is while it is followed: a stream, and a function of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edgesight.hls.dataflow import operators
from edgesight.hls.dataflow.operators import Operator, Stream
from edgesight.hls.graph.layout import Layout
from edgesight.hls.graph.source import Refused
from edgesight.hls.graph.values import Joined, Leaf, Ramp, Value, is_value, ramp
from edgesight.hls.network import Integers, Reals

_DOUBLE = 53  # bits of a double's mantissa
NEAR = 1e-9  # how far from a whole number a ratio of scales may be, of what it is
MAX_CHANNELS = 1 << 20
_QUANTISE = "put a quantiser behind it"


@dataclass(frozen=True)
class Flow:
    """A tensor: the stream of the operator at `place`, as `value` makes real values of its integers.

    `low` and `high` bound the integers of each channel.
    """

    place: int
    stream: Stream
    low: Integers
    high: Integers
    value: Value
    layout: Layout

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self.stream.shape.channels

    @property
    def inexact(self) -> bool:
        """Whether doubles cannot hold the stream's values exactly, so that a sum's order shows in the last bit."""
        return any(
            _inexact(leaf.scale, self.low[start:end], self.high[start:end])
            for leaf, start, end in _leaves(self.value, 0, self.channels)
        )


@dataclass
class Making:
    """Operators so far, and what the caller should know of them."""

    operators: list[Operator] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    assumed: bool = False  # the entry is what nothing said
    _names: dict[str, int] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """A name that no operator has yet."""
        name = wanted
        while name in self._names:
            self._names[wanted] += 1
            name = f"{wanted}_{self._names[wanted]}"
        self._names[name] = 1
        return name

    def put(self, operator: Operator) -> int:
        """The place of an operator, which becomes the last."""
        self.operators.append(operator)
        return len(self.operators) - 1

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)


def made(making: Making, operator: Operator, value: Value, layout: Layout, bounds: tuple[Integers, Integers]) -> Flow:
    """The tensor that a new operator makes."""
    if operator.output.shape.channels > MAX_CHANNELS:
        raise Refused(f"{operator.output.shape.channels} channels", f"use at most {MAX_CHANNELS}")
    place = making.put(operator)
    return Flow(place, operator.output, *bounds, value, layout)


def scaled(
    making: Making, flow: Flow, name: str, factors: tuple[Integers, Integers], scale: Reals,
    limits: tuple[int, int] | None = None,
) -> Flow:  # fmt: skip
    """integer * factor[c] + offset[c], clipped to `limits`, with a new scale; no operator if that is the same."""
    factor, offset = factors
    ends = np.stack([flow.low * factor + offset, flow.high * factor + offset])
    low, high = ends.min(axis=0), ends.max(axis=0)
    limits = limits or (int(low.min()), int(high.max()))
    low, high = np.clip(low, *limits), np.clip(high, *limits)
    same = np.array_equal(low, flow.low) and np.array_equal(high, flow.high)
    if same and np.all(factor == 1) and np.all(offset == 0):
        return replace(flow, value=Leaf(scale))
    operator = operators.scale(making.name(name), flow.place, flow.stream, factor, offset, 0, 0, limits)
    return made(making, operator, Leaf(scale), flow.layout, (low, high))


def whole(numbers: Reals) -> Integers | None:
    """Numbers that are whole but for rounding, as integers; None where one is not."""
    nearest = np.round(numbers)
    if np.all(np.abs(numbers - nearest) <= NEAR * np.maximum(np.abs(numbers), 1)) and np.all(np.abs(nearest) < 2**31):
        return np.asarray(nearest, np.int64)
    return None


def on_grid(making: Making, flow: Flow, name: str) -> Flow:
    """The tensor as integers times a positive scale, so that 0 is 0. Raises Refused where it is nothing like that."""
    check_entry(making, flow)
    found = ramp(flow.value)
    if found is None:
        raise Refused("a function of quantised values comes in that is no multiple of a scale", _QUANTISE)
    still = found.slope == 0
    unit = np.where(still, np.where(found.offset == 0, 1.0, np.abs(found.offset)), np.abs(found.slope))
    factor = np.asarray(np.sign(found.slope), np.int64)
    offset = whole(found.offset / unit)
    if offset is None:
        raise Refused("its input is shifted by no multiple of its scale, without a quantiser behind that", _QUANTISE)
    if found.straight:
        return scaled(making, flow, name, (factor, offset), unit)
    ends = np.stack([flow.low * factor + offset, flow.high * factor + offset])
    limits = _limits(found, unit, ends.min(axis=0), ends.max(axis=0))
    return scaled(making, flow, name, (factor, offset), unit, limits)


def check_entry(making: Making, flow: Flow) -> None:
    """Raise Refused where a layer takes the input as it is and nothing says what integers that has."""
    if flow.place == 0 and making.assumed:
        raise Refused(
            "it takes the network's input, which has no quantiser",
            "quantise the input, or say its type (`edgesight compile --input`; in Python the format of the entry)",
        )


def _limits(found: Ramp, unit: Reals, low: Integers, high: Integers) -> tuple[int, int]:
    """What all channels may be clipped to, in steps."""
    problem = Refused("it clips to no multiple of a scale, or channels differently, without a quantiser", _QUANTISE)
    ends = []
    for bound, reach, side in ((found.low, low, 1), (found.high, high, -1)):
        steps = bound / unit
        binding = steps * side > reach * side
        limit = int((reach * side).min()) * side
        if binding.any():
            wanted = whole(steps[binding])
            if wanted is None:
                raise problem
            limit = int((wanted * side).min()) * side
            clipped = np.where(binding, steps, reach)
            if np.any(np.abs(np.maximum(reach * side, limit * side) - clipped * side) > 0.5):
                raise problem
        ends.append(limit)
    return ends[0], ends[1]


def _leaves(value: Value, start: int, end: int) -> list[tuple[Leaf, int, int]]:
    if isinstance(value, Leaf):
        return [(value, start, end)]
    found = []
    if isinstance(value, Joined):
        for size, part in value.parts:
            found += _leaves(part, start, start + size)
            start += size
        return found
    for each in value.operands:
        if is_value(each):
            found += _leaves(each, start, end)
    return found


def _inexact(scale: Reals, low: Integers, high: Integers) -> bool:
    mantissas = np.asarray(np.frexp(np.abs(scale))[0] * 2.0**_DOUBLE, np.int64)
    odd = mantissas // np.maximum(mantissas & -mantissas, 1)
    bits = max((int(value).bit_length() for value in np.unique(odd)), default=0)
    largest = max(int(np.abs(low).max(initial=0)), int(np.abs(high).max(initial=0)))
    return bits + largest.bit_length() > _DOUBLE
