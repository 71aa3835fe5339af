"""`edgesight plan profile`: what it writes for each planner, that planner reads as it is, and plans from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edgesight.cli.plan import group
from edgesight.plan.adapt.data import AdaptPlan, Situation
from edgesight.plan.examples import example
from edgesight.plan.place.problem import Cluster, Placement
from edgesight.plan.profile import PlanError, read
from edgesight.plan.split.plan import SplitPlan, SplitProfile
from edgesight.plan.workflow.problem import Workflow, WorkflowPlan
from edgesight.sim.rtl.runner import ROOT

onnx = pytest.importorskip("onnx", reason="onnx is not installed: a network is measured with the extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it comes with the extra `build`")

MACS = 16 * 16 * (8 * 3 * 9 + 8 * 8 * 9) + 2 * 8 * 10  # of `branching` at 16 x 16 pixels


def branching(path: Path, *, batch: Any = 1, size: Any = 16) -> Path:
    """Two convolutions, the second with a shortcut around it; an exit behind the first, and one behind the sum."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    weights = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "d1": (8, 10), "d2": (8, 10)}
    make = helper.make_node
    nodes = [
        make("Conv", ["image", "w1"], ["c1"], name="conv1", pads=[1] * 4),
        make("GlobalAveragePool", ["c1"], ["p1"], name="pool1"),
        make("Flatten", ["p1"], ["f1"], name="flat1"),
        make("MatMul", ["f1", "d1"], ["early"], name="early"),
        make("Conv", ["c1", "w2"], ["c2"], name="conv2", pads=[1] * 4),
        make("Add", ["c1", "c2"], ["sum"], name="sum"),
        make("GlobalAveragePool", ["sum"], ["p2"], name="pool2"),
        make("Flatten", ["p2"], ["f2"], name="flat2"),
        make("MatMul", ["f2", "d2"], ["final"], name="final"),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("image", floats, [batch, 3, size, size])],
        [helper.make_tensor_value_info(name, floats, [batch, 10]) for name in ("early", "final")],
        [onnx.numpy_helper.from_array(rng.normal(size=s).astype(np.float32), name) for name, s in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def profile(network: Path, out: Path, *arguments: str | Path) -> Result:
    result = run("profile", network, "--out", out, "--repeats", "3", *arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def planned(out: Path, *arguments: str | Path) -> None:
    result = run(*arguments, "--out", out)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"


def test_a_split_is_planned_from_one_machines_measurement(tmp_path: Path) -> None:
    written, plan = tmp_path / "profile.json", tmp_path / "plan.json"
    result = profile(
        branching(tmp_path / "net.onnx"), written, "--device", "pi", "--for", "split", "--accuracy", "early=0.8",
        "--accuracy", "final=0.9", "--accuracy-obtained", "quoted", "--datacenter-factor", "0.1",
    )  # fmt: skip
    found = read(written, SplitProfile)
    assert found.obtained == {"pi": "measured", "datacenter": "projected"}
    assert found.accuracy_obtained == "quoted"
    assert "datacenter: not measured, but times of pi" in found.origin
    assert [layer.output_bytes for layer in found.layers][:2] == [8 * 16 * 16 * 4, 2 * 8 * 16 * 16 * 4]
    for layer in found.layers:
        assert layer.ms["datacenter"] == pytest.approx(0.1 * layer.ms["pi"])
        assert layer.ms["pi"] > 0
    assert "conv1" in result.output
    assert "its times are 0.1 times these (projected)" in " ".join(result.output.split())
    planned(plan, "split", written, "--deadline-ms", "1000", "--mbps", "100")
    choice = read(plan, SplitPlan).choice
    assert choice is not None
    assert choice.exit == "final"


def test_a_factor_of_one_is_projected_too(tmp_path: Path) -> None:
    written = tmp_path / "profile.json"
    profile(
        branching(tmp_path / "net.onnx"), written, "--device", "pi", "--for", "split", "--accuracy", "early=0.8",
        "--accuracy", "final=0.9", "--datacenter-factor", "1",
    )  # fmt: skip
    assert read(written, SplitProfile).obtained == {"pi": "measured", "datacenter": "projected"}


def test_a_cluster_is_planned_for_from_measured_speeds(tmp_path: Path) -> None:
    network, alone, plan = branching(tmp_path / "net.onnx"), tmp_path / "alone.json", tmp_path / "plan.json"
    told = profile(network, alone, "--device", "a", "--for", "place", "--json")
    (node,) = read(alone, Cluster).nodes
    assert json.loads(told.stdout)["nodes"][0]["name"] == node.name == "a"
    assert node.speed is not None
    assert node.memory_bytes is not None
    assert node.memory_bytes > 2**20
    planned(plan, "place", network, alone)
    # What the planner computes is the time that was measured.
    assert read(plan, Placement).beta_ms == pytest.approx(MACS / (node.speed * 1e6))
    # Into a cluster: one node's speed; its stated memory and all others stay.
    stated, both = tmp_path / "cluster.json", tmp_path / "both.json"
    stated.write_text(example("place-cluster"))
    profile(network, both, "--device", "b", "--for", "place", "--into", stated)
    before, after = read(stated, Cluster), read(both, Cluster)
    assert after.nodes[1].speed != before.nodes[1].speed
    assert after.nodes[1].memory_bytes == before.nodes[1].memory_bytes
    assert (after.nodes[0], after.nodes[2], after.mbps) == (before.nodes[0], before.nodes[2], before.mbps)
    planned(plan, "place", network, both)


def test_a_workflow_is_planned_from_a_workers_measured_latency(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed: workflows are planned with the extra `plan`")
    network, stated, written = branching(tmp_path / "small.onnx"), tmp_path / "stated.json", tmp_path / "workflow.json"
    stated.write_text(example("workflow"))
    options = ("--for", "workflow", "--operator", "find", "--device", "box-0")
    told = profile(network, written, *options, "--into", stated)
    before, after = read(stated, Workflow), read(written, Workflow)
    assert after.workers[0].latency_ms["find"]["small"] != before.workers[0].latency_ms["find"]["small"]
    assert after.workers[0].latency_ms["read"] == before.workers[0].latency_ms["read"]
    assert after.workers[1:] == before.workers[1:]
    assert after.obtained == "projected"  # as the other numbers of the file
    assert "together they are projected" in " ".join(told.output.split())
    # A second network goes into the same file, over it; a variant that the worker could not run it now can.
    profile(network, written, *options, "--into", written, "--name", "large")
    twice = read(written, Workflow)
    assert twice.workers[0].latency_ms["find"].keys() == {"small", "large"}
    assert twice.workers[0].latency_ms["find"]["small"] == after.workers[0].latency_ms["find"]["small"]
    planned(tmp_path / "plan.json", "workflow", written)
    assert read(tmp_path / "plan.json", WorkflowPlan).feasible


def test_adaptation_is_planned_from_measured_batches_and_sizes(tmp_path: Path) -> None:
    network = branching(tmp_path / "net.onnx", batch="N", size="S")
    content = json.loads(example("adapt"))
    models = content["profile"]["models"]
    for model, pixels in zip(models, (16, 32), strict=True):
        model.update(network="net", input_px=pixels)
    content["profile"].update(networks=[], frame_bytes={"16": 800, "32": 3000})
    content["gpus"][1]["held"] = ["net"]
    stated, written, plan = tmp_path / "stated.json", tmp_path / "situation.json", tmp_path / "plan.json"
    stated.write_text(json.dumps(content))
    told = profile(network, written, "--device", "gpu0", "--for", "adapt", "--into", stated)
    before, after = read(stated, Situation), read(written, Situation)
    for one, other in zip(before.profile.models, after.profile.models, strict=True):
        assert one.latency_ms.keys() == other.latency_ms.keys()
        assert one.latency_ms != other.latency_ms
        assert (one.accuracy, one.obtained) == (other.accuracy, other.obtained)
    # Four times the pixels, four times the batch: more work, whatever the machine.
    assert after.profile.models[1].latency_ms[4] > after.profile.models[0].latency_ms[1]
    (loading,) = after.profile.networks
    assert (loading.name, loading.obtained) == ("net", "measured")
    assert loading.load_ms > 0
    assert "latencies measured: net on gpu0" in after.profile.source
    assert "accuracies, bytes of frames, clients and GPUs stay" in " ".join(told.output.split())
    planned(plan, "adapt", written)
    assert read(plan, AdaptPlan).feasible


def test_a_kernels_stages_are_a_device(tmp_path: Path) -> None:
    from edgesight.sim.rtl.runner import missing_tools

    if missing_tools():
        pytest.skip(f"not found: {', '.join(missing_tools())}")
    pytest.importorskip("scipy", reason="scipy is not installed: workflows are planned with the extra `plan`")
    from edgesight.sim.verilate import build_library
    from tests.host.stand_ins import stub_package

    package = stub_package(tmp_path / "small")
    build_library(package)
    written, stated = tmp_path / "profile.json", tmp_path / "stated.json"
    profile(
        package.path, written, "--device", "fabric", "--for", "split", "--accuracy", "stage0=0.8", "--accuracy",
        "stage1=0.9", "--datacenter-factor", "2",
    )  # fmt: skip
    assert read(written, SplitProfile).obtained == {"fabric": "simulated", "datacenter": "projected"}
    planned(tmp_path / "plan.json", "split", written, "--deadline-ms", "1000", "--mbps", "10")
    stated.write_text(example("workflow").replace('"projected"', '"measured"'))
    options = ("--for", "workflow", "--operator", "find", "--device", "box-0", "--into", stated)
    profile(package.path, tmp_path / "workflow.json", *options)
    assert read(tmp_path / "workflow.json", Workflow).obtained == "simulated"
    planned(tmp_path / "plan2.json", "workflow", tmp_path / "workflow.json")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--for", "split"), "give --datacenter-factor and --accuracy, or measure the other machine too"),
        (("--for", "split", "--accuracy", "early=0.8", "--datacenter-factor", "0.1"), "exit 'final' has none"),
        (("--for", "adapt"), "give it with --into (`edgesight plan adapt --example` prints one)"),
        (("--for", "workflow", "--operator", "find"), "`edgesight plan workflow --example` prints one"),
        (("--for", "workflow", "--into", "workflow.json"), "give --operator"),
        (
            ("--for", "workflow", "--into", "workflow.json", "--operator", "see"),
            "workflow: operators: none is called 'see', only find, read; name one of these",
        ),
        (
            ("--for", "workflow", "--into", "workflow.json", "--operator", "find"),
            "operator find: has no variant 'net', only small, large; name one of these",
        ),
        (
            ("--for", "workflow", "--into", "workflow.json", "--operator", "find", "--name", "small"),
            "workflow: workers: none is called 'here', only box-0,",
        ),
        (("--for", "place", "--into", "place-cluster.json"), "nodes: none is called 'here', only a, b, c"),
        (("--for", "adapt", "--into", "adapt.json"), "no model has the network 'net', only small, large; name one"),
        (
            ("--for", "adapt", "--into", "adapt.json", "--name", "small"),
            "takes image of 1x3x16x16, and so no batch of 1 pictures of 224 x 224 pixels; give a network that does",
        ),
        (("--operator", "find"), "--operator: is for workflow, not for profile-join; leave it out"),
        (
            ("--for", "place", "--shape", "image=1x3x8x8"),
            "--shape: is for profile-join, split, workflow, not for place",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    branching(Path("net.onnx"))
    for name in ("workflow", "place-cluster", "adapt"):
        Path(f"{name}.json").write_text(example(name))
    result = run("profile", "net.onnx", "--device", "here", "--out", "out.json", "--repeats", "1", *arguments)
    assert isinstance(result.exception, PlanError), result.output
    assert reason in str(result.exception)
    assert not Path("out.json").exists()


@pytest.mark.parametrize("reader", ["profile-join", "place"])
def test_what_is_no_network_is_refused(tmp_path: Path, reader: str) -> None:
    out = tmp_path / "out.json"
    (tmp_path / "text.onnx").write_text("no network")
    for path, reason in ((tmp_path / "text.onnx", "is no ONNX"), (tmp_path / "absent.onnx", "cannot be read")):
        result = run("profile", path, "--device", "here", "--out", out, "--for", reader)
        assert isinstance(result.exception, PlanError)
        assert reason in str(result.exception)


def test_sizes_that_are_left_open_have_to_be_given(tmp_path: Path) -> None:
    network, out = branching(tmp_path / "net.onnx", batch="N", size="S"), tmp_path / "out.json"
    result = run("profile", network, "--device", "here", "--out", out)
    assert isinstance(result.exception, PlanError)
    assert "sizes left open, on which times depend; give its shape, as in `--shape image=1x3x224x224`" in str(
        result.exception
    )
    profile(network, out, "--device", "here", "--shape", "image=1x3x20x20")
    assert json.loads(out.read_text())["input_bytes"] == 3 * 20 * 20 * 4


def test_a_network_without_products_has_no_speed(tmp_path: Path) -> None:
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    tensors = [helper.make_tensor_value_info(name, floats, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "r.onnx")
    result = run("profile", tmp_path / "r.onnx", "--device", "a", "--out", tmp_path / "o.json", "--for", "place")
    assert isinstance(result.exception, PlanError)
    assert "no multiply-accumulates" in str(result.exception)


def test_a_package_is_no_machine_of_a_cluster_or_a_gpu(tmp_path: Path) -> None:
    for reader in ("place", "adapt"):
        folder = ROOT / "bitstreams" / "digits"
        result = run("profile", folder, "--device", "a", "--out", tmp_path / "o.json", "--for", reader)
        assert isinstance(result.exception, PlanError)
        assert "is a kernel package, a fabric for one network" in str(result.exception)
