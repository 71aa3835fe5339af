"""The truth of inputs and outputs as maps [N, H, W, C], whatever layout the file has them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgesight.hls.dataflow.operators import Output
from edgesight.hls.graph.nodes import Nodes
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import Reals, Shape


def real_outputs(model: Any, values: Reals, ends: Sequence[tuple[Output, Shape]]) -> list[Reals]:
    """The outputs [N, H, W, C] of an onnx `ModelProto` for `values` [N, H, W, C]; `ends` are those of its network."""
    given = Truth(model)(as_taken(model, values), [output.tensor for output, _ in ends])
    return [_as_map(value, "".join(output.axes), shape) for value, (output, shape) in zip(given, ends, strict=True)]


def as_taken(model: Any, values: Reals) -> Reals:
    """`values` [N, H, W, C] in the layout of the input of an onnx `ModelProto`."""
    stored = {tensor.name for tensor in model.graph.initializer}
    entry = next(entry for entry in model.graph.input if entry.name not in stored)
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim][1:]
    last = len(dims) > 1 and Nodes(model).channels_last(entry.name)
    return (values if last else values.transpose(0, 3, 1, 2)).reshape(len(values), *dims)


def _as_map(value: Reals, axes: str, shape: Shape) -> Reals:
    sizes = {"H": shape.height, "W": shape.width, "C": shape.channels}
    order = axes + "".join(label for label in sizes if label not in axes)
    apart = value.reshape(len(value), *(sizes[label] for label in order))
    return apart.transpose(0, *(1 + order.index(label) for label in sizes))
