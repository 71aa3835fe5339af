"""An integer network's layers in a model of hls4ml."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesight.hls.cpp.statements import cpp_names, statements
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix, Stream

BACKEND = "RTL"  # as hls4ml knows it


@dataclass(frozen=True)
class Route:
    """How an integer network gets into a model, and what its user asked for."""

    network: IntegerNetwork
    reuse: Mapping[str, int] = field(default_factory=dict)  # ReuseFactor of the operators with weights, by name
    traced: frozenset[str] = frozenset()  # names of operators whose integers hls4ml's `trace` shall give
    channels_first: tuple[bool, ...] = ()  # whether the user's maps are so: of the input, then of each output
    bipolar: frozenset[str] = frozenset()  # outputs of a BipolarQuant, which hls4ml gives as 0 and 1


def route(config: Any, network: IntegerNetwork, graph: Any) -> Route:
    """The route of the network that the ONNX `graph` was read as, with what hls4ml's `HLSConfig` asks for.

    Warns where a trace is asked of nodes that become no layer of their own.
    """
    kinds = {node.name: node.op_type for node in graph.node}
    reuse: dict[str, int] = {}
    for operator in network.operators:
        if isinstance(operator, Matrix):
            of_kind = config.layer_type_rf.get(kinds.get(operator.name, "").lower(), config.model_rf)
            reuse[operator.name] = int(config.layer_name_rf.get(operator.name.lower(), of_kind))
    layers = config.config["HLSConfig"].get("LayerName", {})
    asked = {name for name, settings in layers.items() if settings.get("Trace")}
    names = {operator.name for operator in network.operators}
    if asked - names:
        warnings.warn(f"setting Trace: no layer of their own become {', '.join(sorted(asked - names))}", stacklevel=2)
    ends = [(graph.input, network.entry.name, network.entry.output)]
    ends += [(graph.output, output.name, network.operators[output.source].output) for output in network.outputs]
    two = frozenset(tensor for node in graph.node if node.op_type == "BipolarQuant" for tensor in node.output)
    return Route(network, reuse, frozenset(asked & names), tuple(_channels_first(*end) for end in ends), two)


def _channels_first(tensors: Any, name: str, stream: Stream) -> bool:
    """Whether the tensor `name` among `tensors` has the channels of `stream` before its rows and columns."""
    found = next((tensor for tensor in tensors if tensor.name == name), None)
    if found is None:
        return False
    sizes = [dim.dim_value for dim in found.type.tensor_type.shape.dim][1:]
    shape = stream.shape
    maps = [shape.height, shape.width] if len(sizes) == 3 else [shape.width]
    return len(sizes) > 1 and sizes == [shape.channels, *maps] != [*maps, shape.channels]


def place(model: Any, route: Route) -> None:
    """Put the layers of a route's network in the place of those that `model` has."""
    layers, outputs = statements(route.network)
    model.graph, model.output_vars, model.index = OrderedDict(), {}, 0
    model.inputs, model.outputs = [layers[0].name], list(outputs)
    names = cpp_names(route.network)
    for layer in layers:
        attributes = dict(layer.attributes)
        operator = route.network.operators[layer.operator]
        settings = {
            "Precision": dict(layer.types),
            "ReuseFactor": route.reuse.get(operator.name, 1),
            "Strategy": attributes.pop("Strategy", "Latency"),
            "Trace": operator.name in route.traced and layer.name == names[layer.operator],
        }
        model.config.set_name_config(layer.name, settings)
        model.config.parse_name_config(layer.name, settings)
        attributes |= {"class_name": layer.kind, "name": layer.name}
        if layer.kind == "InputLayer":
            attributes["input_shape"] = list(layer.shape)
        inputs = list(layer.inputs) or ["input"]
        model.graph[layer.name] = model.make_node(layer.kind, layer.name, attributes, inputs, [layer.name])
