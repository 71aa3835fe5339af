"""Profilers: networks whose layers, exits and bytes are known, exported networks, and a kernel's cycles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.plan.profile import Device, Link, PlanError, Slo, read
from edgesight.plan.split.join import join
from edgesight.plan.split.measure import measure_onnx, measure_package
from edgesight.plan.split.measured import MeasuredNetwork
from edgesight.plan.split.plan import split
from edgesight.sim.rtl.runner import ROOT, missing_tools

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ZOO = ROOT / "quant" / "zoo" / "digits"


def save(path: Path, nodes: list[Any], outputs: list[str], domains: tuple[str, ...] = ()) -> Path:
    """A network on 1 x 2 x 8 x 8 floats with 3 x 3 weights for `w`, and for `d` those of a dense layer of 4 x 4."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    ranks = {"early": ["N", "K"], "last": ["N", "K"]}
    weights = {"w": rng.normal(size=(4, 2, 3, 3)), "v": rng.normal(size=(4, 4, 3, 3)), "d": rng.normal(size=(4, 5))}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", floats, ["N", 2, 8, 8])],
        [helper.make_tensor_value_info(name, floats, ranks.get(name, ["N", "C", "H", "W"])) for name in outputs],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


def node(kind: str, inputs: list[str], output: str, **options: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], name=output, **options)


def trunk() -> list[Any]:
    """Two convolutions, with an exit behind the first, and a shortcut around the second."""
    return [
        node("Conv", ["x", "w"], "c1", pads=[1] * 4),
        node("Relu", ["c1"], "r1"),
        node("GlobalAveragePool", ["r1"], "p1"),
        node("Flatten", ["p1"], "f1"),
        node("MatMul", ["f1", "d"], "early"),
        node("Conv", ["r1", "v"], "c2", pads=[1] * 4),
        node("Relu", ["c2"], "r2"),
        node("Add", ["r1", "r2"], "sum"),
        node("GlobalAveragePool", ["sum"], "p2"),
        node("Flatten", ["p2"], "f2"),
        node("MatMul", ["f2", "d"], "last"),
    ]


def measured(path: Path, device: str = "here", **options: Any) -> MeasuredNetwork:
    return measure_onnx(save(path / "net.onnx", trunk(), ["early", "last"]), device, repeats=3, **options)


def test_names_that_steer_a_terminal_are_refused(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], "c1")]
    nodes[0].name = "a\x1b[31m"
    path = save(tmp_path / "net.onnx", nodes, ["c1"])
    with pytest.raises(PlanError, match=r"the text 'a\\x1b\[31m' holds the control character U\+001B"):
        measure_onnx(path, "here", repeats=1)


def test_layers_exits_and_bytes_are_those_of_the_network(tmp_path: Path) -> None:
    found = measured(tmp_path)
    feature = 4 * 8 * 8 * 4
    assert found.input_bytes == 2 * 8 * 8 * 4
    # Between c2 and the sum both the shortcut and the new features have to cross.
    assert [(layer.name, layer.output_bytes) for layer in found.layers] == [
        ("c1", feature),
        ("c2", 2 * feature),
        ("sum", feature),
        ("p2", 4 * 4),
        ("last", 5 * 4),
    ]
    early, last = found.exits
    assert (early.name, early.after, [layer.name for layer in early.layers]) == ("early", 1, ["p1", "early"])
    assert (last.name, last.after, last.layers, last.answer_bytes) == ("last", 5, (), 20)
    assert all(layer.ms > 0 for layer in [*found.layers, *early.layers])
    assert found.whole_ms is not None
    assert found.whole_ms > 0


def test_bits_are_counted_as_asked_for(tmp_path: Path) -> None:
    found = measured(tmp_path, input_bits=8, tensor_bits=4)
    assert found.input_bytes == 2 * 8 * 8
    assert found.layers[0].output_bytes == 4 * 8 * 8 // 2
    assert found.exits[0].answer_bytes == 20  # an answer is no tensor at a cut


def test_layers_one_by_one_answer_as_the_whole(tmp_path: Path) -> None:
    import onnxruntime

    from edgesight.plan.split.parts import Graph, exit_chains

    path = save(tmp_path / "net.onnx", trunk(), ["early", "last"])
    graph = Graph(path, 1)
    values, _, _ = graph.run(1, exit_chains(path, graph)["last"], "last")
    whole = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, value in zip(("early", "last"), whole.run(["early", "last"], {"x": values["x"]}), strict=True):
        assert values[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_a_brevitas_network_is_measured_with_its_own_bits_and_equal_results(stage: str) -> None:
    from edgesight.plan.split.parts import Graph, exit_chains

    execute = pytest.importorskip("edgesight.hls.qonnx_graph").execute
    path = ZOO / f"{stage}.onnx"
    graph = Graph(path, 1)
    (output,) = graph.outputs
    (chain,) = exit_chains(path, graph).values()
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), np.uint8)
    expected = execute(path, images)
    for image, logits in zip(images, expected, strict=True):
        pixels = image.astype(np.float32)[None].transpose(0, 3, 1, 2) / np.float32(256)
        graph._sample = lambda value, rng, pixels=pixels: pixels  # type: ignore[method-assign,assignment,return-value]
        values, _, _ = graph.run(1, chain, output)
        assert np.array_equal(values[output][0], logits)
    found = measure_onnx(path, "here", repeats=2, input_bits=8)
    assert found.input_bytes == 64
    if stage == "stage0":  # 16 maps of 6 x 6, at 4 bits behind the quantised ReLU, then pooled to 3 x 3
        sizes = {layer.name: layer.output_bytes for layer in found.layers}
        assert (sizes["node_conv2d"], sizes["node_max_pool2d"]) == (16 * 36 // 2, 16 * 9 // 2)


def test_the_back_ends_network_is_measured() -> None:
    found = measure_onnx(ZOO / "backend.onnx", "here", repeats=2)
    assert found.input_bytes == 64
    assert [exit_.name for exit_ in found.exits] == ["logits"]


def test_what_cannot_be_measured_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        measure_onnx(tmp_path / "absent.onnx", "here")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(PlanError, match="is no ONNX network"):
        measure_onnx(tmp_path / "bad.onnx", "here")
    with pytest.raises(PlanError, match="device: field name"):
        measure_onnx(tmp_path / "absent.onnx", "")  # before anything is read or measured
    with pytest.raises(PlanError, match="repeats"):
        measure_onnx(ZOO / "stage0.onnx", "here", repeats=0)
    with pytest.raises(PlanError, match="tensor_bits"):
        measure_onnx(ZOO / "stage0.onnx", "here", tensor_bits=0)
    domain = "qonnx.custom_op.general"
    odd = [onnx.helper.make_node("BipolarQuant", ["x", "w"], ["last"], name="sign", domain=domain)]
    with pytest.raises(PlanError, match="node sign: operator BipolarQuant"):
        measure_onnx(save(tmp_path / "odd.onnx", odd, ["last"], (domain,)), "here")
    short = [onnx.helper.make_node("Quant", ["x", "w"], ["last"], name="short", domain=domain)]
    with pytest.raises(PlanError, match=r"node short: Quant takes 4 inputs .*, not 2"):
        measure_onnx(save(tmp_path / "short.onnx", short, ["last"], (domain,)), "here")
    own = [onnx.helper.make_node("Mine", ["x"], ["last"], name="mine", domain="example")]
    with pytest.raises(PlanError, match="mine"):
        measure_onnx(save(tmp_path / "own.onnx", own, ["last"], ("example",)), "here")


def test_exits_that_share_no_trunk_are_refused(tmp_path: Path) -> None:
    forked = [
        node("Conv", ["x", "w"], "left"),
        node("Conv", ["x", "w"], "right"),
        node("GlobalAveragePool", ["left"], "one"),
        node("GlobalAveragePool", ["right"], "two"),
        node("Add", ["left", "right"], "both"),
    ]
    with pytest.raises(PlanError, match="one and two don't branch off one trunk"):
        measure_onnx(save(tmp_path / "net.onnx", forked, ["one", "two", "both"]), "here")


def test_one_network_on_two_machines_can_be_cut_everywhere(tmp_path: Path) -> None:
    near = measured(tmp_path, "pi")
    far = near.model_copy(update={"device": Device(name="gpu")})
    accuracies = {"early": 0.6, "last": 0.9}
    joined = join(near, far, accuracies, "quoted", device_factor=10.0, answer_bytes=16)
    assert joined.obtained == {"pi": "projected", "gpu": "measured"}
    assert joined.layers[0].ms["pi"] == pytest.approx(10 * joined.layers[0].ms["gpu"])
    assert joined.exit("early").answer_bytes == 16
    assert "multiplied by 10" in joined.origin
    assert split(joined, Link(mbps=1000.0), Slo(latency_ms=1000.0)).choice is not None
    with pytest.raises(PlanError, match="'last' has none"):
        join(near, far, {"early": 0.6}, "quoted")
    with pytest.raises(PlanError, match="no exit 'middle'"):
        join(near, far, {**accuracies, "middle": 0.7}, "quoted")
    with pytest.raises(PlanError, match="name of its own"):
        join(near, near, accuracies, "quoted")
    with pytest.raises(PlanError, match="same options"):
        join(measured(tmp_path, "other", tensor_bits=8), near, accuracies, "quoted")
    with pytest.raises(PlanError, match="device_factor"):
        join(near, far, accuracies, "quoted", device_factor=0.0)
    slow = near.model_copy(update={"layers": [x.model_copy(update={"ms": 1e10}) for x in near.layers]})
    with pytest.raises(PlanError, match=r"profile net: field layers\.0\.ms\.pi"):
        join(slow, far, accuracies, "quoted", device_factor=1e300)
    for share in (92.0, -0.1, float("nan")):
        with pytest.raises(PlanError, match=r"field accuracies: exit 'early' has .* share from 0 to 1"):
            join(near, far, {**accuracies, "early": share}, "quoted")
    with pytest.raises(PlanError, match="field answer_bytes: is -1"):
        join(near, far, accuracies, "quoted", answer_bytes=-1)


def test_measurements_of_one_network_with_other_exits_are_refused(tmp_path: Path) -> None:
    near = measured(tmp_path, "pi")
    accuracies = {"early": 0.6, "last": 0.9}
    early, last = near.exits
    for exits in ([last], [early.model_copy(update={"layers": early.layers[:1]}), last]):
        far = near.model_copy(update={"device": Device(name="gpu"), "exits": exits})
        with pytest.raises(PlanError, match="count other bytes, layers or exits"):
            join(near, far, accuracies, "quoted")
    slower = tuple(layer.model_copy(update={"ms": 9.0}) for layer in early.layers)
    exits = [early.model_copy(update={"layers": slower}), last]
    far = near.model_copy(update={"device": Device(name="gpu"), "exits": exits})
    assert join(near, far, accuracies, "quoted").exit("early").layers[0].ms["gpu"] == 9.0


@pytest.mark.parametrize(
    ("exit_", "told"),
    [
        ({"name": "e", "after": 3, "answer_bytes": 1}, "exits.0.after: is 3, but the trunk has 1 layers"),
        ({"name": "e", "after": 0, "answer_bytes": 1}, "exits.0: has no layer"),
    ],
)
def test_a_malformed_measurement_is_refused_with_file_field_and_reason(
    tmp_path: Path, exit_: dict[str, Any], told: str
) -> None:
    content = {
        "name": "net",
        "sha256": "0" * 64,
        "device": {"name": "pi"},
        "obtained": "quoted",
        "origin": "",
        "input_bytes": 1,
        "layers": [{"name": "a", "ms": 1.0, "output_bytes": 1}],
        "exits": [exit_],
    }
    path = tmp_path / "pi.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError) as caught:
        read(path, MeasuredNetwork)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_kernels_stages_take_the_simulated_cycles(tmp_path: Path) -> None:
    if missing_tools():
        pytest.skip(f"not found: {', '.join(missing_tools())}")
    from edgesight.sim.verilate import build_library
    from tests.host.stand_ins import stub_package

    package = stub_package(tmp_path / "stand-in")
    build_library(package)
    found = measure_package(package)
    fabric = VerilatedFabric(package)
    images = np.random.default_rng(0).integers(0, 256, (8, *package.kernel.input.shape), np.uint8)
    reached = [interval.latency_cycles for interval in fabric.measure_intervals(images)]
    fabric.close()
    assert found.obtained == "simulated"
    assert sum(layer.ms for layer in found.layers) * package.kernel.clock_mhz * 1e3 == pytest.approx(reached[-1])
    assert found.layers[0].ms * package.kernel.clock_mhz * 1e3 == pytest.approx(reached[0])
    # With a data centre's network it is a cascade: the fabric's stages, and all of the other at the data centre.
    backend = measure_onnx(ZOO / "backend.onnx", "datacenter", repeats=2)
    cascade = join(found, backend, {"stage0": 0.8, "stage1": 0.9, "logits": 0.97}, "quoted")
    offload = split(cascade, Link(mbps=1000.0), Slo(latency_ms=1000.0)).choice
    assert offload is not None
    assert (offload.exit, offload.cut, offload.device_ms) == ("logits", 0, 0.0)
    assert offload.up_bytes == package.kernel.input.frame_bytes
    alone = split(cascade, Link(mbps=0.001), Slo(latency_ms=1000.0)).choice
    assert alone is not None
    assert (alone.exit, alone.cut, alone.up_bytes) == ("stage1", 2, 0)


def model(path: Path, nodes: list[Any], inputs: list[Any], output: Any, **tables: np.ndarray) -> Path:
    helper = onnx.helper
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in tables.items()]
    graph = helper.make_graph(nodes, "test", inputs, [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def value(name: str, shape: list[Any], kind: int | None = None) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT if kind is None else kind, shape)


def test_layers_add_up_to_the_run_in_one_piece(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found.whole_ms is not None
    assert found.apart_ms is not None
    assert sum(layer.ms for layer in found.layers) == pytest.approx(found.whole_ms)
    assert found.apart_ms > 0


def test_branches_that_read_tensors_from_outside_are_measured(tmp_path: Path) -> None:
    helper = onnx.helper
    branches = {
        f"{side}_branch": helper.make_graph([helper.make_node(kind, ["h"], ["o"])], side, [], [value("o", [1, 4])])
        for side, kind in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        helper.make_node("Softmax", ["x"], ["h"], name="first"),
        helper.make_node("If", ["b"], ["y"], name="branch", **branches),
    ]
    inputs = [value("x", [1, 4]), value("b", [], onnx.TensorProto.BOOL)]
    found = measure_onnx(model(tmp_path / "if.onnx", nodes, inputs, value("y", [1, 4])), "here", repeats=2)
    assert [layer.name for layer in found.layers] == ["first", "branch"]
    assert found.layers[0].output_bytes == 4 * 4 + 1  # what the branches read crosses the cut, beside the choice


def test_rows_of_a_table_are_drawn_within_it(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["i"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Gather", ["table", "i"], ["y"], name="rows"),
    ]
    table = np.ones((3, 2), np.float32)
    path = model(
        tmp_path / "rows.onnx", nodes, [value("x", [1, 500], onnx.TensorProto.INT32)], value("y", [1, 500, 2]),
        table=table,
    )  # fmt: skip
    assert measure_onnx(path, "here", repeats=1).exits[0].answer_bytes == 1000 * 4


def test_an_input_and_a_shape_can_be_given(tmp_path: Path) -> None:
    path = model(
        tmp_path / "open.onnx", [onnx.helper.make_node("Relu", ["x"], ["y"])], [value("x", [1, "L"])],
        value("y", [1, "L"]),
    )  # fmt: skip
    with pytest.raises(PlanError, match=r"input x is 1x\?, with sizes left open.*`--shape x=1x224`"):
        measure_onnx(path, "here", repeats=1)
    assert measure_onnx(path, "here", repeats=1, shapes={"x": (1, 7)}).input_bytes == 28
    given = np.zeros((1, 9), np.float32)
    assert measure_onnx(path, "here", repeats=1, inputs={"x": given}).input_bytes == 36
    for options, reason in (
        ({"shapes": {"x": (2, 7)}}, "input x is given as 2x7; expected 1x?"),
        ({"shapes": {"z": (1, 7)}}, "has no input 'z', only x"),
        ({"inputs": {"x": given.astype(np.float64)}}, "given as float64; expected float32"),
        ({"shapes": {"x": (1, 2**40)}}, "at most 268,435,456 elements"),
    ):
        with pytest.raises(PlanError) as caught:
            measure_onnx(path, "here", repeats=1, **options)
        assert reason in str(caught.value)
    from typer.testing import CliRunner

    import edgesight.cli.plan.profile  # noqa: F401 # registers its commands
    from edgesight.cli.plan import group

    np.save(tmp_path / "x.npy", given)
    base = ["profile", str(path), "--device", "here", "--out", str(tmp_path / "out.json"), "--repeats", "1"]
    assert CliRunner().invoke(group, [*base, "--input", f"x={tmp_path / 'x.npy'}"]).exit_code == 0
    assert read(tmp_path / "out.json", MeasuredNetwork).input_bytes == 36
    assert CliRunner().invoke(group, [*base, "--shape", "x=1x5"]).exit_code == 0
    assert read(tmp_path / "out.json", MeasuredNetwork).input_bytes == 20
    with pytest.raises(PlanError, match="expected NAME=SIZES"):
        CliRunner().invoke(group, [*base, "--shape", "x=1,5"], catch_exceptions=False)
