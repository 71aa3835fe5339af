"""An integer network's layers in a model of hls4ml."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from edgesight.hls.cpp.statements import statements
from edgesight.hls.dataflow.operators import IntegerNetwork

BACKEND = "RTL"  # as hls4ml knows it


def place(model: Any, network: IntegerNetwork, reuse: Mapping[int, int], traced: Collection[int]) -> None:
    """Put the layers of `network` in the place of those that `model` has.

    `reuse`: the ReuseFactor of the layers of an operator, by its place in the network, where it is not 1. `traced`: the
    places of the operators whose integers hls4ml's `trace` shall give.
    """
    layers, outputs = statements(network)
    model.graph, model.output_vars, model.index = OrderedDict(), {}, 0
    model.inputs, model.outputs = [layers[0].name], list(outputs)
    for layer in layers:
        attributes = dict(layer.attributes)
        settings = {
            "Precision": dict(layer.types),
            "ReuseFactor": reuse.get(layer.operator, 1),
            "Strategy": attributes.pop("Strategy", "Latency"),
            "Trace": layer.operator in traced,
        }
        model.config.set_name_config(layer.name, settings)
        model.config.parse_name_config(layer.name, settings)
        attributes |= {"class_name": layer.kind, "name": layer.name}
        if layer.kind == "InputLayer":
            attributes["input_shape"] = list(layer.shape)
        inputs = list(layer.inputs) or ["input"]
        model.graph[layer.name] = model.make_node(layer.kind, layer.name, attributes, inputs, [layer.name])
