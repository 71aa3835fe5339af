"""The weights and biases of a QONNX graph: constants behind a quantiser, transposed or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesight.hls.graph.nodes import Nodes
from edgesight.hls.network import MAX_BIAS_BITS, MAX_BITS, Format, Reals


def parameter(nodes: Nodes, node: Any, tensor: str, role: str, turns: int = 4) -> tuple[Reals, Format] | None:
    """Quantised values of a weight or bias tensor; None, and a problem, where they are not both."""
    producer = nodes.producers.get(tensor)
    if tensor in nodes.refused:
        return None  # told by the first walk
    if producer is not None and producer.op_type == "Transpose" and turns:
        found = parameter(nodes, node, producer.input[0], role, turns - 1)
        if found is None:
            return None
        values, form = found
        axes = nodes.perm(producer) or list(range(values.ndim))[::-1]
        if sorted(axes) != list(range(values.ndim)):
            nodes.say(producer, f"perm {axes} is no order of axes", "export the network again")
            return None
        return values.transpose(axes), form
    if producer is None or producer.op_type != "Quant":
        if nodes.constant(tensor) is None:
            nodes.say(node, f"its {role} are computed at run time", "let them be constants behind a quantiser")
        else:
            kind = "weight" if role == "weights" else "bias"
            nodes.say(
                node,
                f"{role} are floating point",
                f"give the layer a {kind} quantiser with a power-of-two scale",
            )
        return None
    stored, quantiser = nodes.constant(producer.input[0]), nodes.quantiser(producer)
    if stored is None:
        nodes.say(producer, f"the {role} that it quantises are computed at run time", "let them be constants")
        return None
    if stored.dtype != np.float32:
        nodes.say(producer, f"the {role} that it quantises are {stored.dtype}", "export the network in float32")
        return None
    if not np.isfinite(stored).all():
        nodes.say(producer, f"the {role} that it quantises are not all finite numbers", "train the network again")
        return None
    if quantiser is None:
        return None  # told by the first walk
    limit = MAX_BITS if role == "weights" else MAX_BIAS_BITS
    if quantiser.format.bits > limit:
        nodes.say(producer, f"{role} of {quantiser.format.bits} bits", f"use at most {limit}")
        return None
    if role == "weights" and not quantiser.format.signed:
        nodes.say(producer, "unsigned weights are not supported", "use a signed weight quantiser")
        return None
    return quantiser(np.asarray(stored, np.float64)), quantiser.format


def stored_shape(nodes: Nodes, tensor: str, turns: int = 4) -> tuple[int, ...] | None:
    """The shape of a parameter whatever its quantiser is."""
    for _ in range(turns):
        stored = nodes.constants.get(tensor)
        if stored is not None:
            return tuple(stored.dims)
        producer = nodes.producers.get(tensor)
        if producer is None or not producer.input:
            return None
        if producer.op_type == "Transpose":
            inner = stored_shape(nodes, producer.input[0], turns - 1)
            axes = nodes.perm(producer)
            if inner is None or (axes and sorted(axes) != list(range(len(inner)))):
                return None
            return tuple(inner[axis] for axis in axes) if axes else inner[::-1]
        tensor = producer.input[0]
    return None
