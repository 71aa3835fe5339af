"""Every operator of ONNX and QONNX gets past hls4ml's parser, so that the backend reads it or refuses it by name."""

from __future__ import annotations

from typing import Any

import hls4ml
from hls4ml.model.layers import Layer, register_layer
from onnx.defs import get_all_schemas

# Of qonnx and of exporters to it; ONNX's own are asked of onnx.
_QONNX = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold", "QuantAvgPool2d", "Im2Col")
_SKIPPED = ("Dropout", "Identity")  # by hls4ml's parser itself


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
    for operator in sorted(known - set(hls4ml.converters.get_supported_onnx_layers()) - set(_SKIPPED)):
        hls4ml.converters.register_onnx_layer_handler(operator, _described)
