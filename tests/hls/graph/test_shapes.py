"""Arithmetic of shapes that exporters leave in a file: computed before the network runs, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.shapewise import SHAPEWISE
from edgesight.hls.graph.source import Source
from edgesight.hls.network import CompileError
from tests.hls.graph.graphs import Graph, exact

I = np.int64  # noqa: E741  # as numpy calls it
F = np.float32
SEVEN = numpy_helper.from_array(np.array([7]))
# Operator, its inputs, its attributes.
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("ConstantOfShape", [np.array([2, 3], I)], {}),
    ("ConstantOfShape", [np.array([4], I)], {"value": SEVEN}),
    ("ConstantOfShape", [np.array([3], I)], {"value": numpy_helper.from_array(np.array([True]))}),
    ("Range", [I(2), I(11), I(3)], {}),
    ("Range", [I(5), I(-3), I(-2)], {}),
    ("Range", [F(0), F(1), F(0.25)], {}),
    ("Range", [I(3), I(3), I(1)], {}),
    ("Expand", [np.array([[1], [2]], I), np.array([3, 1, 4], I)], {}),
    ("Tile", [np.array([[1, 2]], I), np.array([2, 3], I)], {}),
    ("Where", [np.array([True, False]), I(4), np.array([[5, 6], [7, 8]], I)], {}),
    ("Equal", [np.array([1, 2, 3], I), I(2)], {}),
    ("NonZero", [np.array([[0, 2], [3, 0]], I)], {}),
    ("Size", [np.zeros((3, 4), I)], {}),
    ("Floor", [np.array([-1.5, 1.5], F)], {}),
    ("Ceil", [np.array([-1.5, 1.5], F)], {}),
    ("Mod", [np.array([-7, 7], I), I(3)], {}),
    ("Mod", [np.array([-7, 7], I), I(3)], {"fmod": 1}),
    ("Min", [np.array([1, 5], I), I(3), np.array([4, 2], I)], {}),
    ("Max", [np.array([1, 5], I)], {}),
]


def computed(kind: str, values: list[Any], attributes: dict[str, Any]) -> tuple[onnx.ModelProto, Source]:
    """A model of one node, and its constants as the compiler folds them."""
    names = [f"c{place}" for place in range(len(values))]
    node = helper.make_node(kind, names, ["y"], name="it", **attributes)
    given = [numpy_helper.from_array(np.asarray(value), name) for value, name in zip(values, names, strict=True)]
    graph = helper.make_graph([node], "one", [], [helper.make_empty_tensor_value_info("y")], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    source = Source(model)
    source.check()
    assert not source.problems
    return model, source


@pytest.mark.parametrize(("kind", "values", "attributes"), CASES)
def test_it_is_what_onnx_runtime_computes(kind: str, values: list[Any], attributes: dict[str, Any]) -> None:
    model, source = computed(kind, values, attributes)
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model).graph.output[0])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {})[0]
    source.fold(model.graph.node[0])
    found = source.known["y"].value
    assert found.shape == wanted.shape
    assert found.dtype.kind == wanted.dtype.kind
    assert np.array_equal(found, wanted)


def test_every_operator_of_shapes_is_held_against_onnx_runtime() -> None:
    assert {kind for kind, _, _ in CASES} == set(SHAPEWISE)


HUGE = I(1 << 40)
REFUSED: dict[str, tuple[str, list[Any], dict[str, Any], str]] = {
    "filled": ("ConstantOfShape", [np.array([1 << 20, 1 << 20], I)], {}, "a constant of more than"),
    "range": ("Range", [I(0), HUGE, I(1)], {}, "a constant of more than"),
    "expanded": ("Expand", [I(1), np.array([1 << 62, 1 << 62], I)], {}, "a constant of more than"),
    "tiled": ("Tile", [np.array([1, 2], I), np.array([HUGE], I)], {}, "a constant of more than"),
    "chosen": ("Where", [np.ones((1, 1 << 14), bool), np.ones((1 << 14, 1), I), I(0)], {}, "a constant of more than"),
    "a step of 0": ("Range", [I(0), I(5), I(0)], {}, "it cannot be computed"),
    "an endless range": ("Range", [F(0), F(np.inf), F(1)], {}, "it cannot be computed"),
    "a size below 0": ("ConstantOfShape", [np.array([-1], I)], {}, "it cannot be computed .a size of -1"),
    "shapes that don't fit": ("Equal", [np.ones(3, I), np.ones(2, I)], {}, "it cannot be computed .the shapes"),
    "two values": (
        "ConstantOfShape",
        [np.array([2], I)],
        {"value": numpy_helper.from_array(np.ones(2))},
        "it cannot be comp.*2 elements",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_large_or_does_not_fit_is_refused_before_it_is_made(name: str) -> None:
    kind, values, attributes, message = REFUSED[name]
    graph = Graph((3, 6, 5))
    made = graph.node(kind, [graph.constant(value) for value in values], "", "it", **attributes)
    model = graph.graph(graph.node("Reshape", [graph.quantise("image", 5, 1), made]))
    with pytest.raises(CompileError, match=f"layer it: {message}.*; (export the network again|use a smaller network)"):
        integer_network(model)


def test_many_constants_are_bounded_together() -> None:
    graph = Graph((3, 6, 5))
    sizes = graph.constant(np.array([1 << 26]))
    fills = [graph.node("ConstantOfShape", [sizes], "", f"fill{place}") for place in range(6)]
    model = graph.graph(graph.node("Reshape", [graph.quantise("image", 5, 1), graph.node("Concat", fills, axis=0)]))
    with pytest.raises(CompileError, match=r"layer fill4: constants of more than .* elements in all; use a smaller"):
        integer_network(model)


@pytest.mark.parametrize("kind", sorted(SHAPEWISE.keys() - {"Size"}))
def test_of_computed_values_it_is_refused_by_name(kind: str) -> None:
    graph = Graph((3, 6, 5))
    tensor = graph.quantise("image", 5, 1)
    count = {"Where": 3, "Range": 3, "Expand": 2, "Tile": 2, "Equal": 2, "Mod": 2}.get(kind, 1)
    made = graph.node(kind, [tensor] + [graph.constant(I(1))] * (count - 1), "", "it")
    with pytest.raises(CompileError, match=f"layer it: {kind} of computed values; export the network without it"):
        integer_network(graph.graph(graph.quantise(made, 4, 1)))


def test_the_padding_of_pytorchs_zero_pad_is_folded() -> None:
    """As torch.onnx writes nn.ZeroPad2d: zeros for the axes that are not padded, pairs reversed and turned."""
    graph = Graph((3, 6, 5), 1)
    tensor = graph.quantise("image", 5, 1)
    zeros = graph.node("ConstantOfShape", [graph.constant(np.array([4]))], value=numpy_helper.from_array(np.array([0])))
    pads = graph.node("Concat", [graph.constant(np.array([1, 2, 0, 3])), zeros], axis=0)
    pads = graph.node("Reshape", [pads, graph.constant(np.array([-1, 2]))])
    ends = [graph.constant(np.array([value])) for value in (-1, np.iinfo(I).min, 0, -1)]
    pads = graph.node("Transpose", [graph.node("Slice", [pads, *ends])], perm=[1, 0])
    pads = graph.node("Cast", [graph.node("Reshape", [pads, graph.constant(np.array([-1]))])], to=7)
    padded = graph.node("Pad", [tensor, pads, graph.constant(F(0))], mode="constant")
    network, _ = exact(graph.graph(graph.fitting(graph.float_conv(padded, (4, 3, 3, 3)), 5)))
    shape = network.operators[network.outputs[0].source].output.shape
    assert (shape.height, shape.width) == (6 + 0 + 3 - 2, 5 + 1 + 2 - 2)


def test_a_shape_that_is_expanded_counted_and_chosen_is_folded() -> None:
    """As `x.expand(...)` and `x.view(..., x.numel() // 2)` leave it behind."""
    graph = Graph((4, 6, 5), 1)
    tensor = graph.quantise("image", 5, 1)
    shape = graph.node("Shape", [tensor])
    asked = graph.constant(np.array([1, -1, 6, 5]))
    ones = graph.node("ConstantOfShape", [graph.constant(np.array([4]))], value=numpy_helper.from_array(np.array([1])))
    minus = graph.node("Mul", [ones, graph.constant(I(-1))])
    sizes = graph.node("Where", [graph.node("Equal", [asked, minus]), shape, asked])
    half = graph.node("Div", [graph.node("Size", [tensor]), graph.constant(I(2))])
    double = graph.node("Floor", [graph.node("Mul", [graph.node("Cast", [half], to=1), graph.constant(F(2.01))])])
    last = graph.node("Unsqueeze", [graph.node("Cast", [double], to=7), graph.constant(np.array([0]))])
    row = graph.node("Concat", [graph.constant(np.array([1])), last], axis=0)
    flat = graph.node("Reshape", [graph.node("Reshape", [tensor, sizes]), row])
    exact(graph.graph(graph.node("MatMul", [flat, graph.float_weights((120, 7))])))
