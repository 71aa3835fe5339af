from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edgesight.plan.place.graph import INPUT, Model, read_model, working_bytes
from edgesight.plan.profile import PlanError
from tests.plan.place.placing import models

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'edgesight[build]'")


def paths(model: Model, name: str = INPUT) -> list[list[str]]:
    """All ways from a layer to the answer."""
    found: list[list[str]] = [[]] if name in model.answers else []
    return found + [[reader, *rest] for reader in model.readers[name] for rest in paths(model, reader)]


@settings(deadline=None, max_examples=200)
@given(models())
def test_cuts_are_the_layers_that_every_path_passes(model: Model) -> None:
    ways = paths(model)
    passed = {layer.name for layer in model.layers if all(layer.name in way for way in ways)}
    last = model.atoms[-1][-1].name
    assert set(model.cuts) == passed - {last}
    depth: dict[str, int] = {INPUT: 0}
    for layer in model.ordered:
        depth[layer.name] = 1 + max(depth[source] for source in layer.inputs)
    for cut in model.cuts:
        assert list(depth.values()).count(depth[cut]) == 1
    assert [layer for atom in model.atoms for layer in atom] == list(model.ordered)
    assert {layer.name for layer in model.ordered} == {layer.name for layer in model.layers}


def test_an_answer_from_the_middle_bypasses_the_cuts_behind_it() -> None:
    chain = [
        {"name": name, "inputs": [before], "output_bytes": 1}
        for before, name in zip(["input", "a", "b"], "abc", strict=True)
    ]
    assert Model.model_validate({"name": "m", "layers": chain}).cuts == ("a", "b")
    assert Model.model_validate({"name": "m", "layers": chain, "outputs": ["a"]}).cuts == ("a",)


def test_names_that_steer_a_terminal_are_refused(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="a\x1b[31m")], "net", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    with pytest.raises(PlanError, match=r"net.onnx: the text 'a\\x1b\[31m' holds the control character U\+001B"):
        read_model(tmp_path / "net.onnx")


def test_a_tensor_is_held_until_its_last_reader_has_run() -> None:
    edges = [("a", ["input"]), ("b", ["a"]), ("c", ["b"]), ("sum", ["a", "c"])]
    needed = working_bytes(edges, {"input": 1, "a": 10, "b": 100, "c": 1000, "sum": 10000})
    assert needed == {"a": 11, "b": 110, "c": 1110, "sum": 11010}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": ["nobody"]}, "layers.1.inputs: 'b' reads 'nobody', which is no layer"),
        ({"name": "a"}, "layers.1.name: 'a' is taken"),
        ({"name": "input"}, "layers.1.name: 'input' stands for the model's own input"),
        ({"inputs": ["b"]}, "layers: b stand in or behind a circle"),
        ({"inputs": []}, "field layers.1.inputs"),
        ({"output_bytes": -1}, "field layers.1.output_bytes"),
        ({"output_bytes": 2**53}, "field layers.1.output_bytes"),
        ({"parameter_bytes": 2**52, "working_bytes": 2**52}, "layers: their bytes together are 9,007,199,254,740,992"),
        ({"operations": "many"}, "field layers.1.operations"),
        ({"colour": "red"}, "field layers.1.colour"),
    ],
)
def test_a_malformed_model_is_refused_with_file_field_and_reason(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    layers = [{"name": "a", "inputs": ["input"], "output_bytes": 1}, {"name": "b", "inputs": ["a"], "output_bytes": 1}]
    layers[1].update(change)
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"name": "m", "layers": layers}))
    with pytest.raises(PlanError) as error:
        read_model(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def graph(nodes: list[Any], weights: dict[str, tuple[int, ...]], shape: list[Any], out: list[Any]) -> Any:
    """A network from `x` to `y`."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, out)],
            [
                onnx.numpy_helper.from_array(rng.normal(size=size).astype(np.float32), key)
                for key, size in weights.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )


def residual() -> Any:
    """Convolution, residual convolution, and a dense layer whose reshape is computed from a shape."""
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        make("Relu", ["c1"], ["r1"], name="relu1"),
        make("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1], group=2),
        make("Add", ["c2", "r1"], ["a"], name="add"),
        make("Shape", ["r1"], ["s"], name="shape", start=0, end=1),
        make("Constant", [], ["minus"], name="minus", value_ints=[-1]),
        make("Concat", ["s", "minus"], ["to"], name="concat", axis=0),
        make("Reshape", ["a", "to"], ["flat"], name="flatten"),
        make("Gemm", ["flat", "w3"], ["y"], name="dense", transB=1),
    ]
    return graph(
        nodes, {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 2, 3, 3), "w3": (10, 256)}, ["n", 3, 8, 8], ["n", 10]
    )


def test_an_onnx_graph_is_read_with_its_shapes(tmp_path: Path) -> None:
    onnx.save(residual(), str(tmp_path / "net.onnx"))
    model = read_model(tmp_path / "net.onnx")
    layers = {layer.name: layer for layer in model.layers}
    assert list(layers) == ["conv1", "relu1", "conv2", "add", "flatten", "dense"]
    assert model.cuts == ("conv1", "relu1", "add", "flatten")
    assert layers["add"].inputs == ("conv2", "relu1")
    assert [layers[name].operations for name in layers] == [4 * 64 * 27, 0, 4 * 64 * 18, 0, 0, 2560]
    assert [layers[name].output_bytes for name in layers] == [1024] * 5 + [40]
    assert sum(layer.parameter_bytes for layer in model.layers if layer.name != "flatten") == 4 * (108 + 4 + 72 + 2560)
    assert layers["add"].working_bytes == 3 * 1024
    assert layers["conv1"].weights_sha256 != layers["conv2"].weights_sha256 is not None
    halves = read_model(tmp_path / "net.onnx", bytes_per_element=0.5)
    assert [layer.output_bytes for layer in halves.layers] == [128] * 5 + [5]
    assert [layer.working_bytes for layer in halves.layers] == [layer.working_bytes for layer in model.layers]


def test_weights_may_be_left_out_of_the_file(tmp_path: Path) -> None:
    model = residual()
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="elsewhere.bin")
    onnx.save(model, str(tmp_path / "shapes.onnx"))
    onnx.save(residual(), str(tmp_path / "whole.onnx"))
    shapes, whole = (read_model(tmp_path / f"{name}.onnx") for name in ("shapes", "whole"))
    assert [layer.parameter_bytes for layer in shapes.layers] == [layer.parameter_bytes for layer in whole.layers]
    assert all(layer.weights_sha256 is None for layer in shapes.layers)


def test_weights_beside_the_file_count_as_if_in_it(tmp_path: Path) -> None:
    onnx.save(residual(), str(tmp_path / "whole.onnx"))
    beside = tmp_path / "beside.onnx"
    onnx.save(residual(), str(beside), save_as_external_data=True, location="weights.bin", size_threshold=0)
    whole, first = read_model(tmp_path / "whole.onnx"), read_model(beside)
    assert [layer.weights_sha256 for layer in first.layers] == [layer.weights_sha256 for layer in whole.layers]
    values = bytearray((tmp_path / "weights.bin").read_bytes())
    values[-1] ^= 1  # in what was written last: the dense layer's
    (tmp_path / "weights.bin").write_bytes(values)
    again = read_model(beside)
    assert again.version == first.version  # the network's own file is the same
    changed = [
        one.name for one, two in zip(first.layers, again.layers, strict=True) if first.held(one) != again.held(two)
    ]
    assert changed == ["dense"]
    (tmp_path / "weights.bin").write_bytes(bytes(values[:100]))
    assert read_model(beside).layers[-1].weights_sha256 is None
    (tmp_path / "weights.bin").unlink()
    assert all(layer.weights_sha256 is None for layer in read_model(beside).layers if layer.parameter_bytes)


def test_where_weights_are_left_out_another_file_is_another_version(tmp_path: Path) -> None:
    for name, note in (("a", ""), ("b", ""), ("c", "trained once more")):
        model = residual()
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
        model.doc_string = note
        (tmp_path / name).mkdir()
        onnx.save(model, str(tmp_path / name / "net.onnx"))
    one, same, other = (read_model(tmp_path / name / "net.onnx") for name in "abc")
    assert one.version == hashlib.sha256((tmp_path / "a" / "net.onnx").read_bytes()).hexdigest()[:12]
    weighty = [layer for layer in one.layers if layer.parameter_bytes]
    assert all(layer.weights_sha256 is None for layer in weighty)
    assert [one.held(layer) for layer in weighty] == [same.held(layer) for layer in weighty]
    assert not {one.held(layer) for layer in weighty} & {other.held(layer) for layer in weighty}


def test_a_small_weight_that_is_left_out_has_no_checksum(tmp_path: Path) -> None:
    slope = graph([onnx.helper.make_node("PRelu", ["x", "w"], ["y"], name="prelu")], {"w": (1,)}, [1, 3], [1, 3])
    slope.graph.initializer[0].ClearField("raw_data")
    onnx.save(slope, str(tmp_path / "net.onnx"))
    (layer,) = read_model(tmp_path / "net.onnx").layers
    assert (layer.parameter_bytes, layer.weights_sha256) == (4, None)


@pytest.mark.parametrize("size", [-1.0, 0.0, float("nan"), float("inf"), 1e15])
def test_bytes_per_element_that_are_none_are_refused(tmp_path: Path, size: float) -> None:
    onnx.save(residual(), str(tmp_path / "net.onnx"))
    with pytest.raises(PlanError, match=r"net\.onnx: (bytes per element|field layers\.0\.output_bytes)"):
        read_model(tmp_path / "net.onnx", size)


def test_the_same_weights_have_the_same_checksum_whatever_their_name(tmp_path: Path) -> None:
    model = residual()
    onnx.save(model, str(tmp_path / "one.onnx"))
    for tensor in model.graph.initializer:
        tensor.name += "_renamed"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name[0] in "wb":
                node.input[place] = name + "_renamed"
    onnx.save(model, str(tmp_path / "two.onnx"))
    one, two = (read_model(tmp_path / f"{name}.onnx") for name in ("one", "two"))
    assert [layer.weights_sha256 for layer in one.layers] == [layer.weights_sha256 for layer in two.layers]


def test_an_onnx_file_that_cannot_be_counted_is_refused_by_name(tmp_path: Path) -> None:
    make, path = onnx.helper.make_node, tmp_path / "net.onnx"

    def refusal(model: Any) -> str:
        onnx.save(model, str(path))
        with pytest.raises(PlanError) as error:
            read_model(path)
        assert str(path) in str(error.value)
        return str(error.value)

    relu = [make("Relu", ["x"], ["y"], name="relu")]
    assert "graph.input x: dimension 1 is symbolic (c)" in refusal(graph(relu, {}, ["n", "c"], ["n", "c"]))
    lstm = [make("LSTM", ["x", "w", "r"], ["y"], name="memory", hidden_size=2)]
    assert "node memory: operator LSTM" in refusal(
        graph(lstm, {"w": (1, 8, 3), "r": (1, 8, 2)}, [5, 1, 3], [5, 1, 1, 2])
    )
    late = [make("Relu", ["later"], ["y"], name="relu"), make("Neg", ["x"], ["later"], name="neg")]
    assert "node relu: reads 'later', which nothing before it makes" in refusal(graph(late, {}, [1, 3], [1, 3]))
    wrong = [make("MatMul", ["x", "w"], ["y"], name="product")]
    assert "shape inference fails" in refusal(graph(wrong, {"w": (4, 2)}, [1, 3], [1, 2]))
    path.write_bytes(b"")
    with pytest.raises(PlanError, match=r"graph\.node: is empty"):
        read_model(path)
    path.write_text("no onnx at all")
    with pytest.raises(PlanError, match="is no ONNX file"):
        read_model(path)
    with pytest.raises(PlanError, match="cannot be read"):
        read_model(tmp_path / "absent.onnx")
