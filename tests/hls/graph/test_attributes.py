"""Nothing in a file stays unread: every attribute of every operator changes the answer, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.defs import get_schema

from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.graph.nodes import QUANTISERS
from edgesight.hls.graph.signatures import SIGNATURES
from edgesight.hls.network import CompileError
from tests.hls.graph.graphs import Graph, integers_of
from tests.hls.qonnx_writer import GENERAL

ENTRY = Format(-32, 31, 0.0625)
# What ONNX defines to change nothing in inference, or nothing of the one largest.
WITHOUT_EFFECT = {
    ("BatchNormalization", "momentum"): "moves statistics in training alone",
    ("Dropout", "ratio"): "inference drops nothing",
    ("Dropout", "seed"): "inference drops nothing",
    ("Resize", "cubic_coeff_a"): "of cubic resizing, which is refused",
    ("TopK", "sorted"): "one largest is in order",
    ("ArgMax", "keepdims"): "the index is dropped",
    ("ArgMax", "select_last_index"): "the index is dropped",
}

# Where the tensor's axes move, but the stream stays: what reads the tensor next sees it, as test_joins shows.
BOOK_KEEPING = {("Transpose", "perm"), ("Squeeze", "axes"), ("Unsqueeze", "axes"), ("Flatten", "axis"),
                ("ReduceMean", "keepdims")}  # fmt: skip

# They make constants alone: each attribute with its value and another, and the opset that has it.
OF_CONSTANTS: dict[str, list[tuple[dict[str, Any], dict[str, Any], int]]] = {
    "Shape": [({"start": 1, "end": 4}, {"start": 2, "end": 3}, 15)],
    "Gather": [({"axis": 0}, {"axis": 1}, 13)],
    "Slice": [({"starts": [1], "ends": [4], "axes": [0]}, {"starts": [2], "ends": [3], "axes": [1]}, 9)],
    "ConstantOfShape": [
        ({"value": numpy_helper.from_array(np.array([90]))}, {"value": numpy_helper.from_array(np.array([45]))}, 13)
    ],
    "Mod": [({"fmod": 0}, {"fmod": 1}, 13)],
    "Constant": [
        (
            {"value": numpy_helper.from_array(np.array([3, 6, 5]))},
            {"value": numpy_helper.from_array(np.array([3, 6]))},
            13,
        ),
        ({"value_ints": [3, 6, 5]}, {"value_ints": [6, 5]}, 13),
        ({"value_int": 3}, {"value_int": 2}, 13),
        ({"value_float": 0.5}, {"value_float": 1.5}, 13),
        ({"value_floats": [0.5]}, {"value_floats": [1.5]}, 13),
    ],
}


def of_constants(kind: str, attributes: dict[str, Any], opset: int) -> onnx.ModelProto:
    """A graph that reshapes its input to sizes that a node of a kind makes, or multiplies by its constant."""
    graph = Graph((3, 6, 5))
    x = graph.quantise("image", 5, 1, np.float32(0.125))
    shape = graph.node("Shape", [x]) if kind in ("Gather", "Slice") else x
    inputs = {
        "Constant": [],
        "Gather": [shape, graph.constant(np.array([1, 2, 3]))],
        "ConstantOfShape": [graph.constant(np.array([1]))],
        "Mod": [graph.constant(np.array([3, -55])), graph.constant(np.array([85, 85]))],
    }.get(kind, [shape])
    made = graph.node(kind, inputs, "", "it", **attributes)
    if {"value_int", "value_float", "value_floats"} & set(attributes):
        return graph.graph(graph.quantise(graph.node("Mul", [x, made]), 6, 1, np.float32(0.2)), opset=opset)
    sizes = graph.node("Concat", [graph.constant(np.array([1])), made], axis=0)
    return graph.graph(graph.node("Reshape", [x, sizes]), opset=opset)


def case(kind: str) -> tuple[Graph, str, dict[str, Any], int]:
    """A graph in which a node of a kind is to stand, its inputs, its attributes, the opset."""
    graph = Graph((3, 6, 5))
    x = graph.quantise("image", 5, 1, np.float32(0.125))

    def number(value: Any) -> str:
        return graph.constant(np.asarray(value, np.float32))

    inputs: list[str] = [x]
    attributes: dict[str, Any] = {}
    domain, opset = "", 13
    match kind:
        case "BipolarQuant":
            domain = GENERAL
        case "Quant":
            inputs += [number(0.21), number(0), number(4)]
            attributes, domain = {"signed": 1, "narrow": 0, "rounding_mode": "FLOOR"}, GENERAL
        case "Trunc":
            inputs += [number(value) for value in (0.125, 0, 5, 0.25, 3)]
            attributes, domain = {"rounding_mode": "FLOOR", "signed": 1, "narrow": 0}, GENERAL
        case "Conv":
            inputs += [graph.quantise(graph.floats((6, 3, 3, 3)), 4, 1)]
            attributes = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "group": 1}
        case "MaxPool":
            attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [1, 1], "ceil_mode": 0,
                          "storage_order": 0}  # fmt: skip
        case "BatchNormalization":
            inputs += [graph.floats((3,), 1, 0.1) for _ in range(4)]
            attributes, opset = {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0}, 15
        case "AveragePool":
            attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 0, "count_include_pad": 1,
                          "pads": [1, 0, 1, 0], "dilations": [1, 1]}  # fmt: skip
            opset = 19
        case "ReduceMean":
            attributes = {"axes": [2, 3], "keepdims": 1}
        case "Resize":
            inputs += ["", number([1, 1, 2, 3])]
            attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
                          "cubic_coeff_a": -0.75}  # fmt: skip
        case "Upsample":
            attributes, opset = {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]}, 7
        case "Pad":
            attributes, opset = {"mode": "constant", "pads": [0, 0, 1, 1, 0, 0, 0, 0], "value": 0.0}, 10
        case "Gemm":
            inputs = [graph.flatten(x), graph.quantise(graph.floats((90, 90)), 4, 1), graph.floats((90,))]
            attributes = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        case "LeakyRelu":
            attributes = {"alpha": 0.1}
        case "HardSigmoid":
            attributes = {"alpha": 0.2, "beta": 0.5}
        case "Clip":
            attributes, opset = {"min": -1.0, "max": 1.0}, 10
        case "Concat":
            inputs, attributes = [x, x], {"axis": 1}
        case "Flatten":
            attributes = {"axis": 1}
        case "Reshape":
            inputs += [graph.constant(np.array([0, 3, 30]))]
            attributes, opset = {"allowzero": 0}, 14
        case "Transpose":
            attributes = {"perm": [0, 1, 3, 2]}
        case "Squeeze":
            inputs, attributes, opset = [graph.node("GlobalAveragePool", [x])], {"axes": [2]}, 11
        case "Unsqueeze":
            inputs, attributes, opset = [graph.flatten(x)], {"axes": [2]}, 11
        case "Cast":
            attributes = {"to": 1}
        case "Dropout":
            attributes, opset = {"ratio": 0.3}, 10
        case "Softmax":
            attributes = {"axis": 1}
        case "ArgMax":
            attributes = {"axis": 1, "keepdims": 1, "select_last_index": 0}
        case "TopK":
            inputs += [graph.constant(np.array([1]))]
            attributes = {"axis": 1, "largest": 1, "sorted": 1}
    made = graph.node(kind, inputs, domain, "it", **attributes)
    if kind == "TopK":
        graph.nodes[-1].output.append("indices")
    return graph, made, attributes, opset


def answer(model: onnx.ModelProto) -> tuple[str, Any]:
    """A refusal, or what the network gives for a few inputs, and its shape."""
    try:
        network: IntegerNetwork = integer_network(model)[0]
    except CompileError as error:
        return "refused", str(error)
    inputs = integers_of(network, 8)
    output = network.outputs[0]
    values = Reference(network)(inputs * network.entry.scale)[0]
    shape = network.operators[output.source].output.shape
    return "made", (str(shape), output.softmax, values.tolist())


def others(value: Any) -> list[Any]:
    """Other values than an attribute has."""
    if isinstance(value, str):
        return ["CEIL", "ceil", "linear", "align_corners", "reflect", "nonsense"]
    if isinstance(value, list):
        shorter = [value[:-1]] if len(value) > 1 else []
        return [[each + 1 for each in value], *shorter, [*value, value[-1]], value[::-1]]
    if isinstance(value, float):
        return [value + 1, value + 2.5]
    return [1 - value] if value in (0, 1) else [value + 1, value + 7]


ATTRIBUTES = [(kind, name) for kind, signature in SIGNATURES.items() for name in signature.attributes]


@pytest.mark.parametrize(
    "kind", [kind for kind, signature in SIGNATURES.items() if signature.attributes and kind not in OF_CONSTANTS]
)
def test_every_attribute_changes_the_answer_or_is_refused(kind: str) -> None:
    graph, made, attributes, opset = case(kind)
    if kind not in ("Softmax", "ArgMax", "TopK"):
        made = graph.quantise(made, 6, 1, np.float32(0.2))
    model = graph.graph(made, opset=opset)
    wanted = answer(model)
    assert wanted[0] == "made", wanted
    for name, value in attributes.items():
        seen = []
        for other in others(value):
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            node = next(node for node in changed.graph.node if node.name == "it")
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, other)])
            seen.append(answer(changed))
        if (kind, name) in WITHOUT_EFFECT:
            assert all(each == wanted for each in seen), (kind, name)
        elif (kind, name) not in BOOK_KEEPING:
            assert any(each != wanted for each in seen), (kind, name, wanted[0])
            assert not isinstance(value, str) or seen[-1][0] == "refused", (kind, name)


@pytest.mark.parametrize("kind", OF_CONSTANTS)
def test_every_attribute_of_constants_changes_the_answer_or_is_refused(kind: str) -> None:
    for attributes, others_of, opset in OF_CONSTANTS[kind]:
        wanted = answer(of_constants(kind, attributes, opset))
        assert wanted[0] == "made", (kind, attributes, wanted)
        for name, other in others_of.items():
            assert answer(of_constants(kind, {**attributes, name: other}, opset)) != wanted, (kind, name)
    seen = {name for attributes, _, _ in OF_CONSTANTS[kind] for name in attributes}
    assert seen == set(SIGNATURES[kind].attributes)


@pytest.mark.parametrize("kind", SIGNATURES)
def test_an_attribute_that_is_not_read_is_refused(kind: str) -> None:
    graph, made, _, opset = case(kind)
    graph.nodes[-1].attribute.append(helper.make_attribute("surprise", 1))
    with pytest.raises(CompileError, match=f"attribute surprise of {kind} is not read by this compiler"):
        integer_network(graph.graph(made, opset=7 if kind == "Upsample" else opset), ENTRY)


def test_every_attribute_of_onnx_is_read_or_refused() -> None:
    """The table names no attribute that ONNX does not have, and the walk above covers all that are in it."""
    for kind, signature in SIGNATURES.items():
        if kind in QUANTISERS:
            continue
        versions = [version for version in range(7, 24) if _schema(kind, version) is not None]
        known = {name for version in versions for name in _schema(kind, version).attributes}
        assert set(signature.attributes) <= known, kind
    covered = {(kind, name) for kind in SIGNATURES for name in case(kind)[2]}
    left = {(kind, name) for kind, name in ATTRIBUTES if (kind, name) not in covered}
    assert {kind for kind, _ in left} <= set(OF_CONSTANTS) | {
        "Conv", "MaxPool", "AveragePool", "BatchNormalization", "ReduceMean", "Dropout", "TopK"
    }  # fmt: skip
    assert {name for kind, name in left if kind not in OF_CONSTANTS} <= {
        "auto_pad", "pads", "spatial", "noop_with_empty_axes", "seed", "k"
    }  # fmt: skip


def _schema(kind: str, version: int) -> Any:
    try:
        return get_schema(kind, version)
    except onnx.defs.SchemaError:
        return None
