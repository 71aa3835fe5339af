"""What ONNX's operators on whole tensors compute: their form, their elements' places, products and means of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from edgesight.hls.graph.elementwise import Array, Attributes, Function


def target_shape(attributes: Attributes, shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The shape that a Reshape of a tensor of `shape` makes; raises ValueError where there is none."""
    zeros = attributes.get("allowzero", 0)
    if not zeros and any(size == 0 and place >= len(shape) for place, size in enumerate(wanted)):
        raise ValueError("it copies a size that is not there")
    sizes = [shape[place] if size == 0 and not zeros else int(size) for place, size in enumerate(wanted)]
    if sizes.count(-1) == 1:
        known = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(shape) // known if known else 0
    if min(sizes, default=0) < 0 or math.prod(sizes) != math.prod(shape):
        raise ValueError("the sizes don't fit")
    return sizes


def squeezed(shape: Sequence[int], axes: Sequence[int] | None) -> list[int]:
    """The shape that Squeeze leaves of `shape`; raises ValueError where it cannot."""
    ones = [place for place, size in enumerate(shape) if size == 1]
    drop = set(ones) if axes is None else _from_the_front(axes, len(shape))
    if any(shape[axis] != 1 for axis in drop):
        raise ValueError("it drops an axis that is longer than 1")
    return [size for place, size in enumerate(shape) if place not in drop]


def unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """The shape that Unsqueeze makes of `shape`; raises ValueError where it cannot."""
    rank = len(shape) + len(axes)
    new = _from_the_front(axes, rank)
    rest = iter(shape)
    return [1 if place in new else next(rest) for place in range(rank)]


def _from_the_front(axes: Sequence[int], rank: int) -> set[int]:
    found = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(found) != len(axes):
        raise ValueError(f"axes {list(axes)} of a tensor with {rank}")
    return found


def flattened(attributes: Attributes, shape: Sequence[int]) -> list[int]:
    """The shape that Flatten makes of `shape`; raises ValueError where it cannot."""
    axis = int(attributes.get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} of a tensor with {len(shape)}")
    axis = axis + len(shape) if axis < 0 else axis
    return [math.prod(shape[:axis]), math.prod(shape[axis:])]


def axes_of(attributes: Attributes, inputs: Sequence[Any]) -> list[int] | None:
    """The axes that a node names in an attribute or, since later opsets, in its second input."""
    given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else attributes.get("axes")
    return None if given is None else [int(axis) for axis in np.ravel(given)]


def _slice(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    x = inputs[0]
    given: list[Any] = [None if each is None else [int(value) for value in np.ravel(each)] for each in inputs[1:]]
    if not given:
        given = [attributes["starts"], attributes["ends"], attributes.get("axes")]
    starts, ends, axes, steps = (*given, None, None)[:4]
    assert starts is not None  # its signature and ONNX have both bounds
    assert ends is not None
    axes = list(range(len(starts))) if axes is None else axes
    cut = [slice(None)] * x.ndim
    for place, axis in enumerate(axes):
        step = 1 if steps is None else steps[place]
        end = ends[place]
        cut[axis] = slice(starts[place], None if step < 0 and end < -x.shape[axis] else end, step)
    return np.asarray(x[tuple(cut)])


def _shape(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.asarray(np.shape(inputs[0])[attributes.get("start", 0) : attributes.get("end")], np.int64)


def _cast(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    kind = np.dtype(tensor_dtype_to_np_dtype(attributes["to"]))
    if attributes["to"] in (TensorProto.FLOAT, TensorProto.DOUBLE):
        kind = np.dtype(np.float64)
    return np.asarray(inputs[0]).astype(kind)


def _gemm(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    left, right, bias = (*inputs, None)[:3]
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    product = left @ right
    product = product if alpha == 1 else product * alpha
    return np.asarray(product if bias is None else product + (bias if beta == 1 else bias * beta))


def _reduce_mean(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    axes = axes_of(attributes, inputs)
    if not axes:
        if attributes.get("noop_with_empty_axes", 0):
            return np.asarray(inputs[0])
        axes = list(range(inputs[0].ndim))
    sums = inputs[0].sum(axis=tuple(axes), keepdims=bool(attributes.get("keepdims", 1)))
    return np.asarray(sums / math.prod(inputs[0].shape[axis] for axis in axes))


def _softmax(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    axis = int(attributes.get("axis", -1))
    powers = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def softmax_of_rows(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    """Softmax before opset 13: over all axes from `axis` on, together."""
    rows = np.reshape(inputs[0], flattened(attributes, inputs[0].shape))
    return _softmax({"axis": 1}, [rows]).reshape(inputs[0].shape)


def _arg_max(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    axis, keep = int(attributes.get("axis", 0)), bool(attributes.get("keepdims", 1))
    x = inputs[0]
    if attributes.get("select_last_index", 0):
        return np.asarray(x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=keep))
    return np.asarray(np.argmax(x, axis=axis, keepdims=keep))


def _top_k(attributes: Attributes, inputs: Sequence[Any]) -> Any:
    axis = int(attributes.get("axis", -1))
    count = int(np.ravel(inputs[1])[0]) if len(inputs) > 1 else int(attributes["k"])
    x = inputs[0] if attributes.get("largest", 1) == 0 else -inputs[0]
    order = np.take(np.argsort(x, axis=axis, kind="stable"), np.arange(count), axis=axis)
    return np.take_along_axis(inputs[0], order, axis=axis), order


TENSORWISE: dict[str, Function] = {
    "Reshape": lambda attributes, x: np.reshape(x[0], target_shape(attributes, x[0].shape, np.ravel(x[1]).tolist())),
    "Flatten": lambda attributes, x: np.reshape(x[0], flattened(attributes, x[0].shape)),
    "Transpose": lambda attributes, x: np.transpose(x[0], attributes.get("perm")),
    "Squeeze": lambda attributes, x: np.reshape(x[0], squeezed(x[0].shape, axes_of(attributes, x))),
    "Unsqueeze": lambda attributes, x: np.reshape(x[0], unsqueezed(x[0].shape, axes_of(attributes, x) or [])),
    "Shape": _shape,
    "Gather": lambda attributes, x: np.take(x[0], x[1], axis=attributes.get("axis", 0)),
    "Slice": _slice,
    "Concat": lambda attributes, x: np.concatenate(x, axis=attributes["axis"]),
    "Cast": _cast,
    "Identity": lambda _, x: np.asarray(x[0]),
    "Dropout": lambda _, x: np.asarray(x[0]),  # inference
    "MatMul": lambda _, x: np.asarray(x[0] @ x[1]),
    "Gemm": _gemm,
    "ReduceMean": _reduce_mean,
    "Softmax": _softmax,
    "ArgMax": _arg_max,
    "TopK": _top_k,
}
