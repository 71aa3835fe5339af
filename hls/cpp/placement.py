"""An integer network's layers in a model of hls4ml."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from edgesight.hls.cpp.statements import cpp_names, statements
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix, Stream
from edgesight.hls.folding import Folding
from edgesight.hls.network import names_of
from edgesight.hls.rtl.units import plan
from edgesight.hls.settings import called

BACKEND = "RTL"  # as hls4ml knows it


@dataclass(frozen=True)
class Route:
    """How an integer network gets into a model, and what its user asked for."""

    network: IntegerNetwork
    folding: Folding
    rtl: bool = True  # whether `write()` writes the RTL beside the C++
    traced: frozenset[str] = frozenset()  # names of operators whose integers hls4ml's `trace` shall give
    channels_first: tuple[bool, ...] = ()  # whether the user's maps are so: of the input, then of each output
    bipolar: frozenset[str] = frozenset()  # outputs of a BipolarQuant, which hls4ml gives as 0 and 1

    @property
    def reuse(self) -> dict[str, int]:
        """ReuseFactor of the operators with weights, by name."""
        units = plan(self.network, self.folding).values()
        return {unit.name: unit.reuse_asked for unit in units if unit.multipliers}


def route(config: Any, network: IntegerNetwork, graph: Any) -> Route:
    """The route of the network that the ONNX `graph` was read as, with what hls4ml's `HLSConfig` asks for.

    Warns where a trace is asked of nodes that become no layer of their own.
    """
    nodes = {node.name or node.output[0]: node for node in graph.node}
    reuse: dict[str, int] = {}
    for operator in network.operators:
        if isinstance(operator, Matrix):
            made_of = [nodes[name] for name in names_of(operator.name) if name in nodes]
            own = [config.layer_name_rf.get(name.lower()) for node in made_of for name in called(node)]
            of_kind = [config.layer_type_rf.get(node.op_type.lower()) for node in made_of]
            reuse[operator.name] = int(next(filter(None, [*own, *of_kind]), config.model_rf))
    layers = config.config["HLSConfig"].get("LayerName", {})
    asked = {name for name, settings in layers.items() if settings.get("Trace")}
    asked = {own for own, node in nodes.items() if called(node) & asked} | (
        asked - set().union(*map(called, graph.node))
    )
    traced = {operator.name: names_of(operator.name) for operator in network.operators}
    known = set().union(*traced.values())
    if asked - known:
        warnings.warn(f"setting Trace: no layer of their own become {', '.join(sorted(asked - known))}", stacklevel=2)
    ends = [(graph.input, network.entry.name, network.entry.output)]
    ends += [(graph.output, output.name, network.operators[output.source].output) for output in network.outputs]
    return Route(
        network=network,
        folding=Folding(1, reuse),
        traced=frozenset(name for name, names in traced.items() if names & asked),
        channels_first=tuple(_channels_first(*end) for end in ends),
        bipolar=frozenset(tensor for node in graph.node if node.op_type == "BipolarQuant" for tensor in node.output),
    )


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
    names, reuse = cpp_names(route.network), route.reuse
    for layer in layers:
        attributes = dict(layer.attributes)
        operator = route.network.operators[layer.operator]
        settings = {
            "Precision": dict(layer.types),
            "ReuseFactor": reuse.get(operator.name, 1),
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
