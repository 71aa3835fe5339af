"""What ONNX's operators compute that exporters work shapes out with: of constants alone, and straight from ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from edgesight.hls.graph.elementwise import Array, Attributes, Function


def _filled(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.zeros(1)
    if value.size != 1:
        raise ValueError(f"its value has {value.size} elements")
    # As wide as all constants are, whatever the file says.
    return np.full(
        _sizes(inputs[0]), value.ravel()[0], {"f": np.float64, "b": np.bool_}.get(value.dtype.kind, np.int64)
    )


def _range(_: Attributes, inputs: Sequence[Any]) -> Array:
    return np.arange(*(np.ravel(each)[0] for each in inputs))


def _mod(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.asarray((np.fmod if attributes.get("fmod", 0) else np.mod)(*inputs))


def _extreme(function: Any) -> Function:
    def of_all(_: Attributes, inputs: Sequence[Any]) -> Array:
        found = np.asarray(inputs[0])
        for each in inputs[1:]:
            found = np.asarray(function(found, each))
        return found

    return of_all


SHAPEWISE: dict[str, Function] = {
    "ConstantOfShape": _filled,
    "Range": _range,
    "Expand": lambda _, x: np.broadcast_to(x[0], _broadcast(np.shape(x[0]), _sizes(x[1]))),
    "Tile": lambda _, x: np.tile(x[0], _sizes(x[1])),
    "Where": lambda _, x: np.where(*x),
    "Equal": lambda _, x: np.equal(*x),
    "NonZero": lambda _, x: np.stack(np.nonzero(x[0])),
    "Size": lambda _, x: np.asarray(np.size(x[0]), np.int64),
    "Floor": lambda _, x: np.floor(x[0]),
    "Ceil": lambda _, x: np.ceil(x[0]),
    "Mod": _mod,
    "Min": _extreme(np.minimum),
    "Max": _extreme(np.maximum),
}


def elements(kind: str, values: Sequence[Any]) -> int:
    """How many elements a node of a kind makes of these, told without making them.

    Raises ValueError, IndexError, OverflowError or ZeroDivisionError where they don't fit.
    """
    match kind:
        case "ConstantOfShape":
            return math.prod(_sizes(values[0]))
        case "Range":
            start, limit, delta = (float(np.ravel(each)[0]) for each in values)
            return max(math.ceil((limit - start) / delta), 0)
        case "Expand":
            return math.prod(_broadcast(np.shape(values[0]), _sizes(values[1])))
        case "Tile":
            return int(np.size(values[0])) * math.prod(_sizes(values[1]))
        case "NonZero":
            return int(np.size(values[0])) * max(np.ndim(values[0]), 1)
    return math.prod(_broadcast(*(np.shape(each) for each in values)))


def _broadcast(*shapes: tuple[int, ...]) -> list[int]:
    """numpy's own gives up where the result has more than 2**63 elements."""
    rank = max(map(len, shapes))
    made = [1] * rank
    for shape in shapes:
        for place, size in enumerate(shape, rank - len(shape)):
            if 1 not in (size, made[place]) and size != made[place]:
                raise ValueError("the shapes of its inputs don't fit")
            made[place] = size if made[place] == 1 else made[place]
    return made


def _sizes(tensor: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in np.ravel(tensor))
    if min(sizes, default=0) < 0:
        raise ValueError(f"a size of {min(sizes)}")
    return sizes
