"""What stands between a stream's integers and the real values of a tensor: a function, channel by channel.

It is kept as the graph's own operations, and evaluated by them: in float64, at the integers that it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from edgesight.hls.graph.elementwise import ELEMENTWISE
from edgesight.hls.graph.source import Refused
from edgesight.hls.network import Reals

Operand: TypeAlias = "Value | Reals | None"
MAX_STEPS = 200  # operations between a stream and a quantiser


@dataclass(frozen=True)
class Leaf:
    """integer * scale[c]."""

    scale: Reals


@dataclass(frozen=True)
class Applied:
    """An element-wise operator of values and constants [channels]."""

    kind: str
    attributes: Mapping[str, Any]
    operands: tuple[Operand, ...]
    steps: int = 1  # operations up to here


@dataclass(frozen=True)
class Joined:
    """The values of several streams, whose channels stand behind each other."""

    parts: tuple[tuple[int, Value], ...]  # channels, value


Value: TypeAlias = Leaf | Applied | Joined


def is_value(operand: Operand) -> TypeGuard[Value]:
    """Whether an operand comes from a stream, and is no constant."""
    return isinstance(operand, Leaf | Applied | Joined)


def applied(kind: str, attributes: Mapping[str, Any], *operands: Operand) -> Applied:
    """An element-wise operator of values and constants, with its steps counted."""
    return Applied(kind, attributes, operands, 1 + sum(steps_of(each) for each in operands))


def steps_of(operand: Operand) -> int:
    """Operations from the stream to an operand."""
    if isinstance(operand, Joined):
        return 1 + max(steps_of(part) for _, part in operand.parts)
    return operand.steps if isinstance(operand, Applied) else 0


@dataclass(frozen=True)
class Ramp:
    """clip(slope[c] * integer + offset[c], low[c], high[c]): what a value is where it is no more than that."""

    slope: Reals
    offset: Reals
    low: Reals
    high: Reals

    @property
    def straight(self) -> bool:
        """Whether nothing is clipped."""
        return bool(np.isneginf(self.low).all() and np.isposinf(self.high).all())


def evaluate(value: Value, integers: npt.NDArray[Any], nudge: float = 0.0) -> Reals:
    """The real values [n, channels] at integers [n, channels].

    `nudge` moves the stream's own values by that share of them, 0 by that share of a step.
    """
    if isinstance(value, Leaf):
        exact = np.asarray(integers * value.scale)
        return exact + nudge * np.maximum(np.abs(exact), np.abs(value.scale)) if nudge else exact
    if isinstance(value, Joined):
        ends = np.cumsum([channels for channels, _ in value.parts])
        pieces = np.split(integers, ends[:-1], axis=1)
        made = [evaluate(part, piece, nudge) for (_, part), piece in zip(value.parts, pieces, strict=True)]
        return np.concatenate(made, axis=1)
    inputs = [evaluate(each, integers, nudge) if is_value(each) else each for each in value.operands]
    with np.errstate(all="ignore"):
        found = np.asarray(ELEMENTWISE[value.kind](value.attributes, inputs), np.float64)
    # Doubles have two zeros, integers one: which infinity it is cannot be told here.
    if value.kind in ("Div", "Pow") and not np.isfinite(found).all():
        raise Refused(f"a {value.kind} of it is no finite number for some inputs", "keep 0 out of what divides")
    return found


def ramp(value: Value) -> Ramp | None:
    """A value as a ramp; None where it is none."""
    if isinstance(value, Leaf):
        none = np.full(len(value.scale), np.inf)
        return Ramp(value.scale, np.zeros(len(value.scale)), -none, none)
    if isinstance(value, Joined):
        parts = [ramp(part) for _, part in value.parts]
        found = [part for part in parts if part is not None]
        if len(found) != len(parts):
            return None
        sides = ("slope", "offset", "low", "high")
        return Ramp(*(np.concatenate([getattr(part, side) for part in found]) for side in sides))
    return _applied(value)


def _applied(value: Applied) -> Ramp | None:
    attributes, operands = value.attributes, value.operands
    values = [(place, each) for place, each in enumerate(operands) if is_value(each)]
    if len(values) != 1:
        return None
    at, only = values[0]
    inner = ramp(only)
    if inner is None:
        return None
    one = np.ones_like(inner.slope)
    constants: list[Any] = [each for each in operands if each is not None and not is_value(each)]
    rest = [one * each for each in constants]
    match value.kind:
        case "Add":
            return _moved(inner, one, rest[0])
        case "Sub":
            return _moved(inner, one, -rest[0]) if at == 0 else _moved(inner, -one, rest[0])
        case "Mul":
            return _moved(inner, rest[0], 0 * one)
        case "Div" if at == 0 and np.all(rest[0] != 0):
            return _moved(inner, 1 / rest[0], 0 * one)
        case "Neg":
            return _moved(inner, -one, 0 * one)
        case "BatchNormalization" if at == 0:
            scale, bias, mean, variance = rest
            factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
            return _moved(inner, factor, bias - mean * factor)
        case "Relu":
            return _clipped(inner, 0 * one, np.inf * one)
        case "Clip":
            low, high = (*operands[1:], None, None)[:2]
            low, high = attributes.get("min", low), attributes.get("max", high)
            return _clipped(inner, one * (-np.inf if low is None else low), one * (np.inf if high is None else high))
    return None


def _moved(inner: Ramp, factor: Reals, offset: Reals) -> Ramp:
    with np.errstate(invalid="ignore", over="ignore"):
        ends = np.stack([inner.low * factor, inner.high * factor]) + offset
        slope, moved = inner.slope * factor, inner.offset * factor + offset
    level = factor == 0
    low, high = np.where(level, -np.inf, ends.min(axis=0)), np.where(level, np.inf, ends.max(axis=0))
    return Ramp(slope, moved, low, high)


def _clipped(inner: Ramp, low: Reals, high: Reals) -> Ramp:
    return Ramp(
        inner.slope,
        inner.offset,
        np.minimum(np.maximum(inner.low, low), high),
        np.minimum(np.maximum(inner.high, low), high),
    )


def direction(value: Value, channels: int) -> npt.NDArray[np.int64]:
    """For each channel 1 where the value certainly never falls as the integer rises, -1 where it never rises, else 0.

    That holds for the doubles too: rounding keeps the order of what it rounds.
    """
    if isinstance(value, Leaf):
        return np.where(value.scale >= 0, 1, -1)
    if isinstance(value, Joined):
        return np.concatenate([direction(part, size) for size, part in value.parts])
    values = [(place, each) for place, each in enumerate(value.operands) if is_value(each)]
    none = np.zeros(channels, np.int64)
    if len(values) != 1:
        return none
    at, only = values[0]
    inner = direction(only, channels)
    other = value.operands[1 - at] if len(value.operands) > 1 else None
    match value.kind:
        case "Add" | "Relu" | "Clip" | "BipolarQuant" | "Quant" | "Trunc":
            return inner if at == 0 or value.kind == "Add" else none
        case "Sub":
            return inner if at == 0 else -inner
        case "Neg":
            return -inner
        case "Mul":
            return inner * _sign(other)
        case "Div":
            return inner * _sign(other) if at == 0 else none
        case "BatchNormalization":
            return inner * _sign(value.operands[1]) if at == 0 else none
        case "LeakyRelu":
            return inner if value.attributes.get("alpha", 0.01) >= 0 else none
        case "PRelu":
            return np.where(np.asarray(other) >= 0, inner, 0) if at == 0 else none
        case "HardSigmoid":
            return inner if value.attributes.get("alpha", 0.2) >= 0 else -inner
    return none


def _sign(factor: Any) -> npt.NDArray[np.int64]:
    return np.where(np.asarray(factor) >= 0, 1, -1)
