"""The truth about a network: its unmodified QONNX graph, executed in float64.

Nothing here knows of integers, streams or hardware. Every operator is taken from ONNX's and QONNX's definitions, all
floating-point constants and values are doubles, and one input is computed at a time, as the file says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from edgesight.hls.graph.elementwise import ELEMENTWISE, Array, Attributes
from edgesight.hls.graph.mapwise import MAPWISE
from edgesight.hls.graph.shapewise import SHAPEWISE
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.tensorwise import TENSORWISE, softmax_of_rows
from edgesight.hls.network import CompileError, Reals

_FUNCTIONS = {**ELEMENTWISE, **MAPWISE, **SHAPEWISE, **TENSORWISE}
_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


class Truth:
    """A QONNX graph made ready to be executed over and over."""

    def __init__(self, model: Any) -> None:
        """Of an onnx `ModelProto`. What depends on no input is computed once. CompileError for an unknown node."""
        graph = model.graph
        self._opset = opset_of(model)
        self._constants: dict[str, Any] = {"": None}
        self._constants.update((tensor.name, doubles(numpy_helper.to_array(tensor))) for tensor in graph.initializer)
        self._input = next(entry.name for entry in graph.input if entry.name not in self._constants)
        self._outputs = [output.name for output in graph.output]
        self._nodes = []
        for node in ordered(graph):
            if all(tensor in self._constants for tensor in node.input):
                made = apply(node, attributes_of(node), [self._constants[tensor] for tensor in node.input], self._opset)
                self._constants.update(zip(node.output, made, strict=False))
            else:
                self._nodes.append((node, attributes_of(node)))

    def __call__(self, inputs: npt.NDArray[Any], tensors: Sequence[str] | None = None) -> list[Reals]:
        """The graph's outputs, or `tensors`, [N, ...] for inputs [N, ...]: each `inputs[i : i + 1]` is its input."""
        made = [self.tensors(np.asarray(inputs[place : place + 1], np.float64)) for place in range(len(inputs))]
        names = self._outputs if tensors is None else tensors
        return [np.stack([np.asarray(each[name], np.float64) for each in made])[:, 0] for name in names]

    def tensors(self, value: Array) -> dict[str, Any]:
        """All of the graph's tensors by name for one input [1, ...]; None by the name of what is left away."""
        values = {**self._constants, self._input: value}
        for node, attributes in self._nodes:
            made = apply(node, attributes, [values[tensor] for tensor in node.input], self._opset)
            values.update(zip(node.output, made, strict=False))
        return values


def apply(node: Any, attributes: Attributes, inputs: Sequence[Any], opset: int) -> tuple[Array, ...]:
    """What a node makes of its inputs (None where one is left away), floating-point values in double precision."""
    kind = node.op_type
    given = list(inputs)
    while given and given[-1] is None:
        given.pop()
    if kind == "Constant":
        value = next(attributes[name] for name in _CONSTANTS if name in attributes)
        return (doubles(numpy_helper.to_array(value) if hasattr(value, "dims") else np.asarray(value)),)
    if kind not in _FUNCTIONS:
        raise CompileError(
            f"layer {node.name or kind}: operator {kind} is not supported; compile the network, which says what is"
        )
    function = softmax_of_rows if kind == "Softmax" and opset < 13 else _FUNCTIONS[kind]
    if kind == "Softmax" and opset < 13:
        attributes = {"axis": 1, **attributes}
    if node.domain != CHANNELS_LAST:
        made = function(attributes, given)
        return made if isinstance(made, tuple) else (made,)
    given[0] = np.moveaxis(given[0], -1, 1)
    if kind == "Conv":
        given[1] = np.moveaxis(given[1], -1, 1)
    return (np.moveaxis(function(attributes, given), 1, -1),)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name, texts decoded."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def doubles(values: npt.NDArray[Any]) -> Array:
    """A constant as it is computed with: in double precision where it is floating point, integers as int64."""
    kind = np.asarray(values).dtype.kind
    return np.asarray(values, np.float64 if kind == "f" else np.int64 if kind in "iu" else None)


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators in a model; 0 where it names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def ordered(graph: Any) -> list[Any]:
    """The nodes that the outputs need, each behind those that make its inputs, whatever order the file has them in.

    Raises CompileError where the graph runs in a circle.
    """
    producers = {tensor: place for place, node in enumerate(graph.node) for tensor in node.output if tensor}
    order: list[Any] = []
    state: dict[int, bool] = {}  # False while its inputs are being looked at
    stack = [producers[output.name] for output in reversed(graph.output) if output.name in producers]
    while stack:
        place = stack[-1]
        node = graph.node[place]
        if place not in state:
            state[place] = False
            for tensor in reversed(node.input):
                source = producers.get(tensor)
                if source is None or state.get(source):
                    continue
                if source in state:
                    raise CompileError(
                        f"layer {node.name or node.op_type}: the graph runs in a circle; export the network again"
                    )
                stack.append(source)
            continue
        stack.pop()
        if not state[place]:
            state[place] = True
            order.append(node)
    return order
