"""What QONNX's and ONNX's element-wise operators compute, in float64, straight from their definitions.

Each function takes a node's attributes and its inputs and gives its output. The network as it was written is executed
by them (`edgesight.hls.graph.truth`), and so is what stands between an integer and the next quantiser
(`edgesight.hls.graph.values`): the same operations in the same order on the same doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]
Function = Callable[[Attributes, Sequence[Any]], Array]

# As qonnx names them, and ROUND_TO_ZERO as its specification does. HALF_UP is away from zero.
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.fix,
    "ROUND_TO_ZERO": np.fix,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


def limits(signed: bool, narrow: bool, bits: float) -> tuple[float, float]:
    """The smallest and largest integer of QONNX's Quant."""
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1 - narrow


def _bipolar(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def _clipped(attributes: Attributes, x: Array, bits: Array) -> Array:
    """To the integers' limits, then rounded."""
    low, high = limits(bool(attributes["signed"]), bool(attributes["narrow"]), float(np.ravel(bits)[0]))
    return ROUNDINGS[attributes.get("rounding_mode", "ROUND").upper()](np.minimum(np.maximum(x, low), high))


def _quant(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x, scale, zero, bits = inputs
    steps = x / scale + zero
    if attributes["signed"] and float(np.ravel(bits)[0]) == 1:
        steps = _bipolar(steps)
    else:
        steps = _clipped(attributes, steps, bits)
    return np.asarray((steps - zero) * scale)


def _trunc(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    mode = ROUNDINGS[attributes.get("rounding_mode", "FLOOR").upper()]
    if len(inputs) == 5:  # version 1: drops bits, keeps the scale
        x, scale, zero, bits, left = inputs
        return np.asarray((mode(np.round(x / scale + zero) / 2.0 ** (bits - left)) - zero) * scale)
    x, scale, zero, _, target, left = inputs
    ratio = 2.0 ** np.round(np.log2(target / scale))
    kept = {"signed": attributes.get("signed", 1), "narrow": attributes.get("narrow", 0)}
    kept["rounding_mode"] = attributes.get("rounding_mode", "FLOOR")
    return np.asarray((_clipped(kept, np.round(x / scale + zero) / ratio, left) - zero / ratio) * target)


def _batch_normalization(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x, scale, bias, mean, variance = inputs
    shape = [1, -1] + [1] * (x.ndim - 2)
    scale, bias, mean, variance = (np.reshape(each, shape) for each in (scale, bias, mean, variance))
    return np.asarray((x - mean) / np.sqrt(variance + attributes.get("epsilon", 1e-5)) * scale + bias)


def _clip(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x, low, high = (*inputs, None, None)[:3]
    low = attributes.get("min", low)
    high = attributes.get("max", high)
    x = x if low is None else np.maximum(x, low)
    return np.asarray(x if high is None else np.minimum(x, high))


def _leaky(x: Array, slope: Any) -> Array:
    return np.where(x >= 0, x, x * slope)


def _sigmoid(x: Array) -> Array:
    powers = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + powers), powers / (1 + powers))


def _hard_sigmoid(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.asarray(np.clip(inputs[0] * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0, 1))


def _divide(_: Attributes, inputs: Sequence[Any]) -> Array:
    left, right = (np.asarray(each) for each in inputs)
    if left.dtype.kind in "iu" and right.dtype.kind in "iu":
        return np.asarray(np.fix(left / right).astype(np.int64))
    return np.asarray(left / right)


def _plain(function: Callable[..., Any]) -> Function:
    return lambda _, inputs: np.asarray(function(*inputs))


ELEMENTWISE: dict[str, Function] = {
    "Quant": _quant,
    "BipolarQuant": lambda _, inputs: np.asarray(_bipolar(inputs[0]) * inputs[1]),
    "Trunc": _trunc,
    "BatchNormalization": _batch_normalization,
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _divide,
    "Pow": _plain(np.power),
    "Neg": _plain(np.negative),
    "Sqrt": _plain(np.sqrt),
    "Relu": lambda _, inputs: np.maximum(inputs[0], 0),
    "LeakyRelu": lambda attributes, inputs: _leaky(inputs[0], attributes.get("alpha", 0.01)),
    "PRelu": lambda _, inputs: _leaky(inputs[0], inputs[1]),
    "Clip": _clip,
    "Sigmoid": lambda _, inputs: _sigmoid(inputs[0]),
    "Tanh": _plain(np.tanh),
    "HardSigmoid": _hard_sigmoid,
}
