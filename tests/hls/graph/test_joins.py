"""Branches, outputs, shapes and inputs of graphs: integers = truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import Add, Concat, Matrix, Scale
from edgesight.hls.graph.integer_network import Format, integer_network
from tests.hls.graph.graphs import Graph, exact, integers_of

WIDE = Format(-(1 << 15), (1 << 15) - 1, 2.0**-10)


def begun(shape: tuple[int, ...] = (3, 6, 5)) -> tuple[Graph, str]:
    graph = Graph(shape, 1)
    return graph, graph.quantise("image", 5, 1)


def layer(graph: Graph, tensor: str, shape: tuple[int, ...], scale: Any = None, bits: int = 4) -> str:
    """A convolution that keeps the map's size, and a quantiser."""
    pads = [size // 2 for size in shape[2:]] * 2
    made = graph.norm(graph.float_conv(tensor, shape, channels=True, pads=pads), shape[0])
    return graph.quantise(made, bits, 1, np.float32(0.15) if scale is None else scale)


def test_a_residual_sum_of_one_scale_is_exact() -> None:
    graph, tensor = begun()
    trunk = layer(graph, tensor, (4, 3, 3, 3))
    branch = layer(graph, layer(graph, trunk, (4, 4, 3, 3)), (4, 4, 3, 3))
    added = graph.fitting(graph.node("Relu", [graph.node("Add", [trunk, branch])]), 4, 0)
    network, _ = exact(graph.graph(graph.float_conv(added, (3, 4, 1, 1))))
    assert [type(operator) for operator in network.operators].count(Add) == 1
    assert len(network.users_of(network.operators.index(network.sources_of(_first(network, Add))[0]))) > 1


def _first(network: Any, kind: Any) -> Any:
    return next(operator for operator in network.operators if isinstance(operator, kind))


@pytest.mark.parametrize("ratio", [4, -1, 3])
def test_a_residual_sum_of_scales_in_a_whole_ratio_is_exact(ratio: int) -> None:
    graph, tensor = begun()
    one = layer(graph, tensor, (4, 3, 3, 3), np.float32(0.125))
    other = layer(graph, tensor, (4, 3, 1, 1), np.float32(0.125 * abs(ratio)))
    kind = "Sub" if ratio < 0 else "Add"
    network, _ = exact(graph.graph(graph.fitting(graph.node(kind, [one, other]), 5)))
    assert any(isinstance(operator, Scale) and ratio in operator.multiplier for operator in network.operators)


def test_a_residual_sum_of_accumulators_is_exact() -> None:
    graph, tensor = begun()
    one, other = (
        graph.node("Conv", [tensor, graph.quantise(graph.floats((4, 3, 1, 1), 0.1), 4, 1, np.float32(0.05))])
        for _ in range(2)
    )
    summed = graph.node("Add", [one, graph.node("Relu", [other])])
    exact(graph.graph(graph.fitting(summed, 6)))


def test_a_sum_with_biases_on_both_sides_is_exact() -> None:
    graph, tensor = begun()
    weights = [graph.quantise(graph.floats((4, 3, 1, 1), 0.1), 4, 1, np.float32(0.05)) for _ in range(2)]
    one, other = (graph.node("Conv", [tensor, each, graph.floats((4,))]) for each in weights)
    exact(graph.graph(graph.fitting(graph.node("Add", [one, other]), 6)))


def test_a_concatenation_carries_a_scale_for_each_branch() -> None:
    graph, tensor = begun()
    branches = [layer(graph, tensor, (2, 3, 3, 3), np.float32(0.1)), layer(graph, tensor, (3, 3, 1, 1), bits=3)]
    joined = graph.node("Concat", [*branches, tensor], axis=1)
    depthwise = graph.float_conv(joined, (8, 1, 2, 2), group=8)
    network, _ = exact(graph.graph(graph.fitting(graph.norm(depthwise, 8), 5)))
    assert any(isinstance(operator, Concat) for operator in network.operators)


def test_a_concatenation_of_sums_is_quantised_together() -> None:
    graph, tensor = begun()
    sums = [
        graph.norm(graph.float_conv(tensor, (2, 3, 1, 1)), 2),
        graph.node("Tanh", [graph.float_conv(tensor, (3, 3, 1, 1))]),
    ]
    exact(graph.graph(graph.fitting(graph.node("Concat", sums, axis=-3), 4)))


def test_a_concatenation_of_one_scale_goes_into_a_convolution() -> None:
    graph, tensor = begun()
    branches = [layer(graph, tensor, (2, 3, 3, 3)), layer(graph, tensor, (3, 3, 1, 1))]
    exact(graph.graph(graph.float_conv(graph.node("Concat", branches, axis=1), (4, 5, 3, 3), channels=True)))


def test_several_outputs_and_one_in_the_middle_are_exact() -> None:
    graph, tensor = begun()
    middle = layer(graph, tensor, (4, 3, 3, 3))
    early = graph.node("MatMul", [graph.flatten(middle), graph.float_weights((120, 5))])
    late = graph.float_conv(layer(graph, middle, (4, 4, 3, 3)), (6, 4, 6, 5), channels=True, bias=True)
    network, _ = exact(graph.graph(early, middle, late))
    assert [output.name for output in network.outputs] == [early, middle, late]


@pytest.mark.parametrize("first", [True, False])
def test_a_flatten_permutes_the_weights_of_the_dense_layer_behind_it(first: bool) -> None:
    graph, tensor = begun()
    made = layer(graph, tensor, (4, 3, 3, 3))
    made = made if first else graph.node("Transpose", [made], perm=[0, 2, 3, 1])
    exact(
        graph.graph(graph.node("MatMul", [graph.flatten(made), graph.float_weights((120, 7), channels=True, axis=1)]))
    )


@pytest.mark.parametrize("shape", [[1, -1], [0, -1], [-1, 120], [1, 4, 30], [1, 1, 120]])
def test_a_reshape_to_a_vector_is_book_keeping(shape: list[int]) -> None:
    graph, tensor = begun()
    flat = graph.node("Reshape", [layer(graph, tensor, (4, 3, 3, 3)), graph.constant(np.asarray(shape))])
    if len(shape) == 3:
        flat = graph.node("Flatten", [flat])
    exact(graph.graph(graph.node("MatMul", [flat, graph.float_weights((120, 7))])))


def test_shapes_that_are_computed_are_folded() -> None:
    graph, tensor = begun()
    made = layer(graph, tensor, (4, 3, 3, 3))
    size = graph.node("Gather", [graph.node("Shape", [made]), graph.constant(np.int64(0))], axis=0)
    size = graph.node("Unsqueeze", [size], axes=[0])
    ends = [graph.constant(np.asarray([value])) for value in (0, 1, 0)]
    cut = graph.node("Slice", [graph.node("Shape", [made]), *ends])
    cut = graph.node("Cast", [graph.node("Cast", [cut], to=1)], to=7)
    rest = graph.node("Constant", [], value_ints=[-1])
    flat = made
    for first in (size, cut):
        flat = graph.node("Reshape", [flat, graph.node("Concat", [first, rest], axis=0)])
    exact(graph.graph(graph.node("MatMul", [flat, graph.float_weights((120, 7))]), opset=12))


def test_weights_that_are_turned_and_scaled_after_their_quantiser_are_exact() -> None:
    graph, tensor = begun()
    flat = graph.flatten(layer(graph, tensor, (4, 3, 3, 3)))
    stored = graph.float_weights((7, 120), channels=True)
    scaled = graph.node("Mul", [stored, graph.constant(np.float32(-0.3))])
    turned = graph.node("Transpose", [scaled], perm=[1, 0])
    exact(graph.graph(graph.node("MatMul", [flat, turned])))


@pytest.mark.parametrize("turned", [0, 1])
def test_a_gemm_with_its_factors_is_exact(turned: int) -> None:
    graph, tensor = begun()
    flat = graph.flatten(layer(graph, tensor, (4, 3, 3, 3)))
    weights = graph.float_weights((7, 120) if turned else (120, 7))
    made = graph.node("Gemm", [flat, weights, graph.floats((7,))], alpha=0.5, beta=-2.0, transB=turned)
    exact(graph.graph(graph.fitting(made, 6)))


def test_a_product_with_the_last_axis_is_a_pointwise_convolution() -> None:
    graph, tensor = begun()
    last = graph.node("Transpose", [tensor], perm=[0, 2, 3, 1])
    made = graph.node("MatMul", [last, graph.float_weights((3, 7), channels=True, axis=1)])
    quantised = graph.fitting(graph.node("Add", [made, graph.floats((7,))]), 5)
    back = graph.node("Transpose", [quantised], perm=[0, 3, 1, 2])
    exact(graph.graph(graph.float_conv(back, (4, 7, 3, 3))))


def test_a_map_turned_on_its_side_is_exact() -> None:
    graph, tensor = begun()
    side = graph.node("Transpose", [layer(graph, tensor, (4, 3, 3, 3))], perm=[0, 1, 3, 2])
    made = graph.float_conv(side, (2, 4, 3, 2), strides=[1, 2], pads=[0, 1, 2, 0])
    back = graph.node("Transpose", [made], perm=[0, 1, 3, 2])
    exact(graph.graph(graph.fitting(back, 5)))


def test_squeezed_and_unsqueezed_axes_are_book_keeping() -> None:
    graph = Graph((3, 12), 2)
    tensor = graph.quantise("image", 5, 1)
    tall = graph.node("Unsqueeze", [tensor], axes=[2])
    made = graph.fitting(graph.float_conv(tall, (4, 3, 1, 3)), 4)
    low = graph.node("Squeeze", [made], axes=[2])
    exact(graph.graph(graph.float_conv(low, (2, 4, 3), strides=[2]), opset=11))


def test_logits_of_one_scale_and_biases_on_the_grid_are_exact() -> None:
    graph = Graph((30,), 3)
    tensor = graph.quant("image", -4, 6, 1)
    made = graph.node("MatMul", [tensor, graph.weights((30, 6))])
    network, _ = exact(graph.graph(graph.node("Add", [made, graph.bias(6, -7)])))
    last = network.operators[-1]
    assert isinstance(last, Scale)
    assert last.multiplier.tolist() == [1] * 6
    assert network.outputs[0].error == 0


@pytest.mark.parametrize("channels", [False, True])
def test_logits_of_many_scales_go_to_one_grid_with_a_stated_error(channels: bool) -> None:
    graph = Graph((30,), 4)
    tensor = graph.quantise("image", 6, 1)
    made = graph.node("MatMul", [tensor, graph.float_weights((30, 6), channels=channels, axis=1)])
    network, _ = exact(graph.graph(graph.norm(made, 6) if channels else graph.node("Add", [made, graph.floats((6,))])))
    output = network.outputs[0]
    step = float(np.abs(output.scale[0])) * 2**12
    assert 0 < output.error <= step * 2.0**-12
    assert np.all(output.scale == output.scale[0])


def test_logits_of_a_negative_scale_are_turned() -> None:
    graph = Graph((30,), 5)
    made = graph.node("MatMul", [graph.quantise("image", 6, 1), graph.float_weights((30, 6))])
    network, _ = exact(graph.graph(graph.node("Mul", [made, graph.constant(np.float32(-0.7))])))
    assert network.outputs[0].scale[0] > 0
    assert network.outputs[0].error == 0


@pytest.mark.parametrize("axis", [1, -1])
def test_a_last_softmax_is_the_hosts(axis: int) -> None:
    graph = Graph((16,), 6)
    made = graph.node("MatMul", ["image", graph.float_weights((16, 5))])
    network, _ = exact(graph.graph(graph.node("Softmax", [made], axis=axis)), WIDE)
    assert network.outputs[0].softmax
    assert isinstance(network.operators[-1], Matrix)


def test_a_last_index_of_the_largest_is_dropped_and_said_so() -> None:
    for kind, inputs, axis in (
        ("ArgMax", [], 1),
        ("TopK", [np.array([1])], -1),
    ):
        graph = Graph((16,), 6)
        made = graph.node("MatMul", [graph.quantise("image", 6, 1), graph.float_weights((16, 5))])
        last = graph.node(kind, [made, *map(graph.constant, inputs)], axis=axis)
        if kind == "TopK":
            graph.nodes[-1].output.append("indices")
        model = graph.graph("indices" if kind == "TopK" else last)
        network, notes = integer_network(model)
        assert isinstance(network.operators[network.outputs[0].source], Matrix)
        assert any(f"{kind} is dropped" in note for note in notes)
        exact(graph.graph(made))


def test_a_last_relu_is_a_clip() -> None:
    graph, tensor = begun()
    network, _ = exact(graph.graph(graph.node("Relu", [graph.float_conv(tensor, (4, 3, 3, 3))])))
    assert network.operators[-1].output.low == 0
    assert network.outputs[0].error == 0


def test_initialisers_that_are_inputs_too_and_nodes_in_any_order_are_read() -> None:
    graph, tensor = begun()
    model = graph.graph(graph.float_conv(layer(graph, tensor, (4, 3, 3, 3)), (2, 4, 3, 3)))
    wanted = integer_network(model)[0]
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for stored in model.graph.initializer:
        model.graph.input.add(name=stored.name).type.tensor_type.elem_type = stored.data_type
    network, _ = exact(model)
    assert len(network.operators) == len(wanted.operators)


def test_nodes_that_no_output_needs_are_left_out() -> None:
    graph, tensor = begun()
    kept = graph.float_conv(tensor, (4, 3, 3, 3))
    graph.float_conv(tensor, (9, 3, 3, 3))
    network, _ = exact(graph.graph(kept))
    assert len(network.operators) == 2


def test_a_second_quantiser_that_changes_nothing_is_nothing() -> None:
    graph, tensor = begun()
    made = layer(graph, tensor, (4, 3, 3, 3))
    again = graph.quantise(made, 4, 1, np.float32(0.15))
    network, _ = exact(graph.graph(graph.float_conv(again, (4, 4, 1, 1))))
    assert len(network.operators) == 4


def test_an_input_with_arithmetic_before_its_quantiser_is_bytes_unless_told() -> None:
    graph = Graph((3, 6, 5), 7)
    doubled = graph.node("Mul", ["image", graph.constant(np.float32(2))])
    tensor = graph.bipolar(graph.node("Sub", [doubled, graph.constant(np.ones(1, np.float32))]))
    model = graph.graph(graph.float_conv(tensor, (4, 3, 3, 3)))
    network, notes = exact(model)
    assert (network.entry.output.low, network.entry.output.high, network.entry.scale) == (0, 255, 2.0**-8)
    assert any("taken as bytes" in note for note in notes)
    network, notes = exact(model, WIDE)
    assert network.entry.output.bits == 16
    assert not notes


def test_inputs_are_rounded_as_the_file_does() -> None:
    graph, tensor = begun()
    network, _ = integer_network(graph.graph(graph.float_conv(tensor, (4, 3, 3, 3))))
    assert integers_of(network).min() == -16
    assert network.entry.output.bits == 5


def test_what_changes_nothing_is_nothing() -> None:
    """No padding, a resize by 1, a join of one, and reshapes behind a softmax: no operator comes of them."""
    graph, tensor = begun()
    plain = graph.float_conv(tensor, (4, 3, 1, 1))
    bare, _ = exact(graph.graph(plain))
    padded = graph.node("Pad", [plain, graph.constant(np.zeros(8, np.int64))])
    resized = graph.node("Resize", [padded, "", graph.constant(np.ones(4, np.float32))], mode="nearest")
    joined = graph.node("Concat", [resized], axis=1)
    softmax = graph.node("Softmax", [graph.node("Identity", [joined])], axis=1)
    network, _ = exact(graph.graph(graph.node("Identity", [softmax])), count=8)
    assert len(network.operators) == len(bare.operators)
    assert network.outputs[0].softmax


def test_a_pooling_of_joined_branches_that_rise_and_fall_is_exact() -> None:
    graph, tensor = begun()
    falling = graph.node("Neg", [layer(graph, tensor, (2, 3, 3, 3))])
    joined = graph.node("Concat", [falling, layer(graph, tensor, (3, 3, 1, 1))], axis=1)
    pooled = graph.node("MaxPool", [joined], kernel_shape=[2, 2], strides=[1, 1])
    exact(graph.graph(graph.fitting(pooled, 5)))
