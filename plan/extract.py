"""Takes a piece out of a network: what leads from some of its tensors to others, as a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesight.plan.profile import PlanError
from edgesight.plan.split.parts import reads


def extracted(model: Any, values: Mapping[str, np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """What the ONNX `model` computes from the tensors `inputs` to `outputs`, which are inputs or outputs of it.

    `values` have the types and shapes of the inputs. The same piece is the same bytes. Raises PlanError where a path
    goes past the inputs, as ONNX Runtime's optimiser makes one that computes what is kept in float16 in float32.
    """
    import onnx

    graph, helper = model.graph, onnx.helper
    maker = {name: node for node in graph.node for name in node.output if name}
    beginnings = {value.name for value in graph.input}
    needed, todo = set[int](), [name for name in outputs if name not in inputs]
    while todo:
        name = todo.pop()
        if name in beginnings:
            raise PlanError(
                f"a network cannot be cut at {', '.join(inputs)}: ONNX Runtime computes past it, in another type: give "
                "the network in float32"
            )
        node = maker.get(name)
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            todo += [name for name in reads(node) if name not in inputs]
    nodes = [node for node in graph.node if id(node) in needed]
    read = {*outputs, *(name for node in nodes for name in reads(node))}
    types = {value.name: value for value in (*graph.input, *graph.output)}
    taken = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape)
        for name in inputs
    ]
    weights = [constant for constant in graph.initializer if constant.name in read]
    piece = helper.make_graph(nodes, "piece", taken, [types[name] for name in outputs], weights)
    made = helper.make_model(piece, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(made.SerializeToString(deterministic=True))
