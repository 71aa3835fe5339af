"""ONNX graphs past hls4ml's parser: it asks no backend, and stops at what it lacks a layer for.

Operators that it does not know get a handler by its extension API. Where its own handlers stop at what they know, too
(grouped convolutions, joins of three, channels first), the graph is given to it in a form that it passes on: every
node's operator called otherwise, and all else as it was.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import hls4ml
import onnx
from hls4ml.model.layers import Layer, register_layer
from onnx.defs import get_all_schemas

from edgesight.hls.network import CompileError

# Of qonnx and of exporters to it; ONNX's own are asked of onnx.
_QONNX = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold", "QuantAvgPool2d", "Im2Col")
_SKIPPED = ("Dropout", "Identity")  # by hls4ml's parser itself
_KEPT = "Kept"  # before the operators of a graph that hls4ml passes on


class OnnxOperator(Layer):  # type: ignore[misc] # hls4ml carries no types
    """An operator of ONNX that hls4ml has no layer for; attribute `operator` is its type."""

    def initialize(self) -> None:
        """Refuse it, in hls4ml's own words: what reads it puts others in its place before."""
        raise Exception(f"ERROR: Unsupported operation type: {self.get_attr('operator')}")


def _described(node: Any, inputs: list[str], shapes: Any, graph: Any) -> dict[str, Any]:
    return {
        "class_name": OnnxOperator.__name__,
        "name": node.name or node.output[0],
        "inputs": inputs,
        "outputs": list(node.output),
        "operator": node.op_type,
    }


def register() -> None:
    """Give hls4ml a handler for each operator that it has none for; once called, it changes nothing any more.

    hls4ml finds backends before it has handlers of its own, so that this cannot be done where it finds this one.
    """
    register_layer(OnnxOperator.__name__, OnnxOperator)
    known = {schema.name for schema in get_all_schemas()} | set(_QONNX)
    known |= {_KEPT + operator for operator in known}
    for operator in sorted(known - set(hls4ml.converters.get_supported_onnx_layers()) - set(_SKIPPED)):
        hls4ml.converters.register_onnx_layer_handler(operator, _described)


def for_hls4ml(model: Any) -> onnx.ModelProto:
    """A QONNX network (path, onnx `ModelProto` or qonnx `ModelWrapper`) in a form that hls4ml's parser passes on whole.

    For `config_from_onnx_model` and `convert_from_onnx_model(..., backend="RTL")`, whatever layers it has. Its layers
    keep their names; those without one get that of what they make. It is for hls4ml alone: nothing else can run it.
    """
    register()
    passed = onnx.ModelProto()
    passed.CopyFrom(onnx.load(str(model)) if isinstance(model, str | Path) else getattr(model, "model", model))
    graph = passed.graph
    shaped = {value.name for value in (*graph.value_info, *graph.input, *graph.output)}
    for node in graph.node:
        if not node.op_type.startswith(_KEPT):
            node.op_type = _KEPT + node.op_type
        node.name = node.name or node.output[0]
        for name in node.input:
            if name not in shaped:  # hls4ml looks every shape up, and asks no more
                shaped.add(name)
                graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]))
                graph.value_info[-1].doc_string = _KEPT
    return passed


def check(model: Any) -> None:
    """Raise CompileError where hls4ml's parser stops at a network that could be compiled."""
    register()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            hls4ml.converters.parse_onnx_model(model)
    except Exception as error:  # it raises whatever it likes
        told = " ".join(str(error).split())[:200]
        raise CompileError(
            f"hls4ml's parser stops at this network ({told}); give hls4ml what "
            "edgesight.hls.cpp.handlers.for_hls4ml(network) makes of it"
        ) from error


def original(model: Any) -> Any:
    """The network that `for_hls4ml` made `model` of; `model` itself where it did not."""
    given = getattr(model, "model", model)
    if not any(node.op_type.startswith(_KEPT) for node in given.graph.node):
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(given)
    for node in plain.graph.node:
        node.op_type = node.op_type.removeprefix(_KEPT)
    for value in [value for value in plain.graph.value_info if value.doc_string == _KEPT]:
        plain.graph.value_info.remove(value)
    return plain
