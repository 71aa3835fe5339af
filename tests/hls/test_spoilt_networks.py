"""Networks with anything changed anywhere are refused or exact: never wrong, never a traceback of a library."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesight.bench.coverage.simulate import traffic_of
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference, real_values
from edgesight.hls.folding import Folding
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.maps import real_outputs
from edgesight.hls.graph.signatures import SIGNATURES
from edgesight.hls.network import CompileError, Integers
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import Traffic, simulate
from tests.hls.qonnx_writer import Writer

# More for a longer hunt; each takes some hundredths of a second.
DRAWS = int(os.environ.get("EDGESIGHT_SPOILT_NETWORKS", "400"))
IN_HARDWARE = 12  # of the exact ones, in one Verilator build
ATTRIBUTES = {kind: signature.attributes for kind, signature in SIGNATURES.items()}
SEED = int(os.environ.get("EDGESIGHT_SPOILT_SEED", "11"))

_VALUES: dict[str, list[Any]] = {
    "kernel_shape": [[1, 1], [2, 2], [3, 3], [2, 3], [3], [0, 0], [9, 9]],
    "strides": [[1, 1], [2, 2], [3, 3], [1, 2], [0, 0], [1], [4, 4]],
    "pads": [[0] * 4, [1] * 4, [1, 0, 0, 1], [0, 1], [2, 1, 1, 2], [-1, 0, 0, 0], [0, 0, 1, 1]],
    "dilations": [[1, 1], [2, 2], [1, 2], [3, 3]],
    "group": [1, 2, 3, 0],
    "auto_pad": ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", "OTHER"],
    "ceil_mode": [0, 1, 2],
    "storage_order": [0, 1],
    "axis": [0, 1, 2, -1, -3, -2],
    "allowzero": [0, 1],
    "alpha": [1.0, 0.5, 2.0],
    "beta": [1.0, 0.5, 0.0],
    "transA": [0, 1],
    "transB": [0, 1],
    "signed": [0, 1, 2],
    "narrow": [0, 1],
    "rounding_mode": ["ROUND", "FLOOR", "CEIL", "HALF_EVEN", "HALF_UP", "ROUND_TO_ZERO", "UP", "DOWN", "round"],
    "perm": [[1, 0], [0, 1], [0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1, 3]],
    "count_include_pad": [1],
    "to": [1],
    "output_padding": [[0, 0]],
}


def small_network(kind: int) -> onnx.ModelProto:
    """One of four valid networks that together have every operator that is supported."""
    shape: tuple[int, ...] = ((3, 7, 8), (2, 3, 4), (10,), (1, 9, 9))[kind]
    writer = Writer(shape, seed=kind)
    if kind == 0:
        features = writer.pool(writer.relu(writer.conv(writer.pixels(), 3, 4, 3, pads=[1, 0, 0, 1])))
        features = writer.quant(writer.conv(features, 4, 6, 2), -1, 5, signed=1)
        out = writer.dense(writer.flatten(features), 6 * 2 * 2, 5)
    elif kind == 1:
        hidden = writer.relu(writer.dense(writer.flatten(writer.pixels()), 24, 7), -1, 3, mode="FLOOR")
        weights = writer.weights((5, 7))
        out = writer.node("Gemm", [hidden, weights, writer.bias(5, -4)], transB=1, alpha=1.0, beta=1.0, transA=0)
        out = writer.quant(out, -1, 8, signed=1)
    elif kind == 2:
        hidden = writer.relu(writer.node("Add", [writer.dense(writer.pixels(), 10, 8), writer.bias(8, -9)]))
        turned = writer.node("Transpose", [writer.weights((5, 8))], perm=[1, 0])
        out = writer.node("MatMul", [hidden, turned])
    else:
        weights = writer.weights((4, 1, 3, 3))
        features = writer.node(
            "Conv", [writer.pixels(), weights, writer.bias(4, -10)], kernel_shape=[3, 3], strides=[2, 2],
            auto_pad="SAME_UPPER",
        )  # fmt: skip
        features = writer.pool(writer.relu(features), 2, 1)
        flat = writer.node("Reshape", [features, writer.constant(np.array([1, -1]))])
        out = writer.dense(flat, 4 * 4 * 4, 5)
    return writer.model(out)


def spoil(model: onnx.ModelProto, generator: np.random.Generator) -> str:
    """Change one thing in a network; returns what."""
    graph = model.graph

    def one_of(choices: Any) -> Any:
        return choices[int(generator.integers(len(choices)))]

    def set_attribute(node: Any, name: str, value: Any) -> str:
        for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute(name, value))
        return f"{node.name}: {name} = {value}"

    def known_attribute() -> str:
        node = one_of([node for node in graph.node if ATTRIBUTES.get(node.op_type)])
        name = one_of([name for name in ATTRIBUTES[node.op_type] if name in _VALUES] or list(_VALUES))
        return set_attribute(node, name, one_of(_VALUES[name]))

    def foreign_attribute() -> str:
        name = one_of(list(_VALUES))
        return set_attribute(one_of(graph.node), name, one_of(_VALUES[name]))

    def no_attribute() -> str:
        node = one_of([node for node in graph.node if node.attribute])
        attribute = one_of(list(node.attribute))
        node.attribute.remove(attribute)
        return f"{node.name}: without {attribute.name}"

    def parameter() -> str:
        node = one_of([node for node in graph.node if node.op_type == "Quant"])
        place = int(generator.integers(1, 4))
        value = one_of(
            [
                [0.5, 2.0**-5, 0.25, 0.3, 0.0, -0.5, np.nan, 2.0**-40, 4.0, [0.5, 0.25], [0.5, 0.5], np.inf],
                [0.0, 1.0, -1.0, 0.5, np.nan],
                [1, 2, 3, 3.5, 4, 6, 8, 9, 0, -1, 32, 33, [4.0, 4.0], np.nan],
            ][place - 1]
        )
        dtype = one_of([np.float32, np.float32, np.float32, np.float16, np.float64, np.int64])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no number as an integer
            stored = np.asarray(value).astype(dtype)
        name = f"spoilt_{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(stored, name))
        node.input[place] = name
        return f"{node.name}: parameter {place} = {value} as {dtype.__name__}"

    def stored_values() -> str:
        tensor = one_of([tensor for tensor in graph.initializer if len(tensor.dims) and tensor.data_type == 1])
        values = numpy_helper.to_array(tensor).copy()
        change = one_of(["nan", "inf", "huge", "off the grid", "float16", "float64", "zeros"])
        if change in ("float16", "float64"):
            values = values.astype(change)
        else:
            values.flat[0] = {"nan": np.nan, "inf": np.inf, "huge": 1e9}.get(change, values.flat[0])
            values = values * np.float32({"off the grid": 0.77, "zeros": 0.0}.get(change, 1.0))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return f"constant {tensor.name}: {change}"

    def insert() -> str:
        node = one_of(graph.node)
        kind = one_of(
            ["Identity", "Relu", "Neg", "Sigmoid", "Transpose", "Flatten", "Add", "Mul", "Softmax", "Dropout"]
        )
        inputs, attributes = [f"{node.output[0]}_before"], {}
        if kind in ("Add", "Mul"):
            name = f"spoilt_{len(graph.initializer)}"
            graph.initializer.append(
                numpy_helper.from_array(np.asarray(one_of([0.5, 1.0, 0.0, 2.0]), np.float32), name)
            )
            inputs.append(name)
        if kind == "Transpose":
            attributes["perm"] = one_of([[0, 1, 2, 3], [0, 1, 3, 2], [0, 2, 3, 1], [1, 0]])
        new = helper.make_node(kind, inputs, [node.output[0]], name=f"added_{kind}", **attributes)
        node.output[0] = inputs[0]
        graph.node.insert(list(graph.node).index(node) + 1, new)
        return f"{kind} {attributes} behind {node.name}"

    def drop() -> str:
        node = one_of(graph.node)
        for other in graph.node:
            other.input[:] = [node.input[0] if tensor == node.output[0] else tensor for tensor in other.input]
        if graph.output[0].name == node.output[0]:
            graph.output[0].name = node.input[0]
        graph.node.remove(node)
        return f"without {node.name}"

    def retype() -> str:
        node = one_of(graph.node)
        before, node.op_type = node.op_type, one_of([*ATTRIBUTES, "Erf", "QuantizeLinear"])
        return f"{node.name}: {before} becomes {node.op_type}"

    def edges() -> str:
        node = one_of(graph.node)
        change = one_of(["swapped", "one more output", "one input less", "an empty input", "another tensor"])
        if change == "swapped":
            node.input[:] = list(node.input)[::-1]
        elif change == "one more output":
            graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
        elif change == "one input less" and len(node.input) > 1:
            node.input.pop()
        elif change == "an empty input":
            node.input.append("")
        else:
            place = int(generator.integers(max(len(node.input), 1)))
            node.input[place : place + 1] = [one_of([other.output[0] for other in graph.node])]
        return f"{node.name}: {change}"

    def domain() -> str:
        node = one_of(graph.node)
        node.domain = one_of(["", "ai.onnx", "qonnx.custom_op.channels_last", "onnx.brevitas", "other"])
        return f"{node.name}: domain {node.domain!r}"

    def entry() -> str:
        kind = graph.input[0].type.tensor_type
        change = one_of(["batch", "dynamic", "smaller", "float16", "double"])
        if change == "batch":
            kind.shape.dim[0].dim_value = 2
        elif change == "dynamic":
            kind.shape.dim[0].dim_param = "N"
        elif change == "smaller":
            kind.shape.dim[len(kind.shape.dim) - 1].dim_value -= 1
        else:
            kind.elem_type = TensorProto.FLOAT16 if change == "float16" else TensorProto.DOUBLE
        return f"input: {change}"

    changes: list[Callable[[], str]] = [
        known_attribute, known_attribute, known_attribute, foreign_attribute, no_attribute, parameter, parameter,
        stored_values, insert, drop, retype, edges, domain, entry,
    ]  # fmt: skip
    return str(one_of(changes)())


def read(model: onnx.ModelProto) -> IntegerNetwork | str:
    """The integer network of a model whose integers are those of the file; else `refused`, or what went wrong."""
    try:
        network, _ = integer_network(model)
        emit_network("net", network, Folding(300, {}))
    except CompileError as error:
        return "refused" if "please report" not in str(error) else f"a fault of ours: {error}"
    inputs = integers_of(network, 6)
    found = Reference(network).integers(inputs)
    wanted = real_outputs(model, np.asarray(inputs * network.entry.scale, np.float64), network.ends)
    for output, integers, truth in zip(network.outputs, found, wanted, strict=True):
        values = real_values(output, integers).reshape(len(inputs), -1)
        off = float(np.abs(values - truth.reshape(len(inputs), -1)).max(initial=0.0))
        if off > output.error + 1e-12 * float(np.abs(truth).max(initial=0.0)):
            return f"WRONG by {off:g}"
    return network


def integers_of(network: IntegerNetwork, count: int) -> Integers:
    """Random integers of the entry's whole range."""
    entry = network.entry.output
    shape = (count, entry.shape.height, entry.shape.width, entry.shape.channels)
    return np.random.default_rng(0).integers(entry.low, entry.high, shape, endpoint=True)


def in_hardware(networks: list[IntegerNetwork], folder: Path) -> list[str]:
    """What RTL under stalls does otherwise than the networks."""
    sources: dict[str, str] = {}
    traffic: list[Traffic] = []
    for index, network in enumerate(networks):
        emitted = emit_network(f"net{index}", network, Folding(300, {}))
        sources |= emitted.project()
        traffic.append(traffic_of(emitted, network, integers_of(network, 3)))
    return [run.error for run in simulate(folder, sources, traffic, frames=3, seed=SEED, runs=2) if run.error]


def test_whatever_is_changed_in_a_network_is_refused_or_exact(tmp_path: Path) -> None:
    print(f"seed {SEED}, {DRAWS} draws")
    counts: Counter[str] = Counter()
    exact: list[IntegerNetwork] = []
    wrong = []
    for draw in range(DRAWS):
        generator = np.random.default_rng((SEED, draw))
        model = small_network(draw % 4)
        changes = [spoil(model, generator) for _ in range(1 + draw % 5 // 4)]
        found = read(model)
        counts["exact" if isinstance(found, IntegerNetwork) else "refused" if found == "refused" else "wrong"] += 1
        if isinstance(found, IntegerNetwork):
            exact.append(found)
        elif found != "refused":
            wrong.append(f"draw {draw}: {'; '.join(changes)}: {found}")
    print(dict(counts))
    assert not wrong, "\n".join(wrong)
    # A hunt that meets one kind only proves little.
    assert counts["exact"] >= DRAWS // 10
    assert counts["refused"] >= DRAWS // 10
    if not missing_tools():
        assert not in_hardware(exact[:: -(-len(exact) // IN_HARDWARE)], tmp_path / "rtl")


@pytest.mark.parametrize("kind", range(4))
def test_the_unspoilt_networks_are_exact(kind: int) -> None:
    assert isinstance(read(small_network(kind)), IntegerNetwork)
