from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'edgesight[sim]'")

from edgesight.bench.plan import place_published
from edgesight.bench.plan.place import bench, cluster
from edgesight.bench.plan.place_models import mobilenet_v2, resnet50, vgg16
from edgesight.bench.report import print_checks
from edgesight.cli.plan import group
from edgesight.plan.place.authors import joint
from edgesight.plan.place.graph import Model
from edgesight.plan.place.problem import Cluster, Placement, Problem, faults
from edgesight.plan.place.search import search
from edgesight.plan.profile import PlanError, read, write

app = typer.Typer()
app.add_typer(group, name="plan")
import_module("edgesight.cli.plan.place")  # puts its command into the group


@pytest.mark.parametrize(
    ("model", "parameters", "operations"),
    [  # as torchvision publishes them
        (vgg16(), 138_357_544, 15.47e9),
        (resnet50(), 25_557_032, 4.09e9),
        (mobilenet_v2(), 3_504_872, 0.301e9),
    ],
)
def test_published_networks_have_their_published_size(model: Model, parameters: int, operations: float) -> None:
    assert sum(layer.parameter_bytes for layer in model.layers) == 4 * parameters
    assert sum(layer.operations for layer in model.layers) == pytest.approx(operations, rel=2e-3)
    assert model.layers[-1].output_bytes == 5556  # 1000 x 8 / 1.44 bytes


def test_residual_blocks_are_cut_only_at_their_ends() -> None:
    net = resnet50()
    assert len(net.cuts) == 2 + 16 + 1
    assert all(name.startswith("conv1") or "pool" in name or name.endswith("_add") for name in net.cuts)
    assert len(vgg16().cuts) == 13 + 5 + 2
    # The ten blocks with a shortcut are not cut inside.
    assert not {"block3_expand", "block3_depthwise", "block3_project"} & set(mobilenet_v2().cuts)
    assert {"block2_expand", "block2_depthwise", "block2_project", "block3_add"} <= set(mobilenet_v2().cuts)


def test_bandwidth_falls_with_distance_as_published() -> None:
    drawn = cluster(np.random.default_rng(0), 30, resnet50(), "published")
    mbps = np.array(drawn.mbps)
    assert (mbps == mbps.T).all()
    assert (np.diag(mbps) == 0).all()
    links = mbps[~np.eye(30, dtype=bool)]
    assert links.min() > np.log2(1 + 283230 / (2 * 150**2))
    assert len({node.memory_bytes for node in drawn.nodes}) == 1
    assert all(node.speed is None for node in drawn.nodes)


def test_the_bench_meets_its_bars_but_for_the_number_of_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The published setting has a seed of its own, see below: what it gave is not computed again.
    monkeypatch.setattr(place_published, "run", functools.cache(place_published.run))
    checks, body = bench(tmp_path, Console(quiet=True), trials=2, seed=1, sizes=[(5, 6), (11, 14)])
    assert print_checks(Console(quiet=True), [check for check in checks if "clusters of up to 10" not in check.name])
    assert body["faults"] == []
    cells = body["cells"]
    assert cells["ResNet-50, computing, 5 to 6 nodes"]["drawn"]["compared"] == 2
    assert "one node holds all" in cells["MobileNetV2, published, 5 to 6 nodes"]["left_out"]
    assert (tmp_path / "place.png").read_bytes().startswith(b"\x89PNG")
    again, _ = bench(tmp_path, Console(quiet=True), trials=2, seed=1, sizes=[(5, 6), (11, 14)])
    # Time is measured; all else is its seed's.
    assert [one for one in again if "time" not in one.name] == [one for one in checks if "time" not in one.name]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    model = mobilenet_v2()
    write(tmp_path / "model.json", model)
    drawn = cluster(np.random.default_rng(2), 6, model, "computing")
    nodes = tuple(node.model_copy(update={"memory_bytes": 12_000_000}) for node in drawn.nodes)
    write(tmp_path / "cluster.json", drawn.model_copy(update={"nodes": nodes}))
    return tmp_path


def ask(files: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["plan", "place", str(files / "model.json"), str(files / "cluster.json"), *options])


def test_the_command_plans_and_plans_anew(files: Path) -> None:
    model, drawn = read(files / "model.json", Model), read(files / "cluster.json", Cluster)
    first = ask(files, "--out", str(files / "plan.json"), "--picture", str(files / "plan.png"))
    assert first.exit_code == 0, first.output
    plan = read(files / "plan.json", Placement)
    assert faults(plan, model, drawn) == []
    assert plan.pieces[0].node in first.output
    assert (files / "plan.png").read_bytes().startswith(b"\x89PNG")
    lost = plan.pieces[0].node
    again = ask(files, "--lost", lost, "--previous", str(files / "plan.json"), "--out", str(files / "again.json"))
    assert again.exit_code == 0, again.output
    assert "MB stay" in again.output
    anew = read(files / "again.json", Placement)
    assert anew.movement is not None
    assert faults(anew, model, drawn.without(lost)) == []


def test_the_command_says_why_there_is_no_plan(files: Path) -> None:
    drawn = read(files / "cluster.json", Cluster)
    nodes = tuple(node.model_copy(update={"memory_bytes": 1000}) for node in drawn.nodes)
    write(files / "cluster.json", drawn.model_copy(update={"nodes": nodes}))
    result = ask(files, "--out", str(files / "plan.json"))
    assert result.exit_code == 1
    assert "No plan exists: layer conv1 cannot be cut" in result.output
    assert not read(files / "plan.json", Placement).feasible


def test_the_command_refuses_what_it_cannot_do(files: Path) -> None:
    for options, told in (
        (["--method", "best"], "method best: choose one of"),
        (["--classes", "3"], "classes 3: only kpath"),
        (["--lost", "n77"], "lost node n77: is not in cluster"),
        (["--previous", str(files / "absent.json")], "cannot be read"),
        (["--previous", str(files / "cluster.json")], "cluster.json: field method: is missing"),
        (["--bytes-per-element", "2"], "bytes per element are for ONNX files"),
    ):
        result = ask(files, *options)
        assert isinstance(result.exception, PlanError), (options, result.output)
        assert told in str(result.exception)


def test_the_published_networks_have_the_parameters_of_keras() -> None:
    counted = {
        name: sum(layer.parameter_bytes for layer in build().layers) for name, build in place_published.NETWORKS.items()
    }
    assert counted == {"MobileNetV2": 3_538_984, "ResNet50": 25_636_712}


def test_the_published_setting_gives_the_published_means() -> None:
    cells = place_published.run(trials=30, seed=3, searched=0)
    assert len(cells) == 12
    assert sum(abs(cell.z) <= 2 for cell in cells) >= 10
    assert sum(abs(cell.joint_z) <= 2 for cell in cells) >= 10
    assert "github.com/ANRGUSC/SEIFER" in place_published.describe(cells)["source"]


def test_the_published_setting_is_its_seeds() -> None:
    cells = [place_published.run(trials=2, seed=seed, searched=0) for seed in (3, 3, 4)]
    assert cells[0] == cells[1] != cells[2]


def test_with_the_published_memory_mobilenet_is_cut_and_with_ours_it_is_not() -> None:
    """64 MiB hold MobileNetV2's parameters many times, but not what every layer puts out."""
    model = place_published.NETWORKS["MobileNetV2"]()
    asked = place_published.cluster(np.random.default_rng(0), 5, 64)
    assert not np.isfinite(place_published.PublishedProblem(model, asked).piece_ms[:, 0, -1]).any()
    assert np.isfinite(Problem(model, asked).piece_ms[:, 0, -1]).all()


def test_search_is_no_worse_than_the_authors_joint_baseline_in_their_setting() -> None:
    rng = np.random.default_rng(1)
    model = place_published.NETWORKS["ResNet50"]()
    for nodes in (5, 12):
        problem = place_published.PublishedProblem(model, place_published.cluster(rng, nodes, 64))
        found, _ = search(problem)
        walked = joint(problem)
        assert found is not None
        assert walked is not None
        assert problem.beta(found) <= problem.beta(walked) * (1 + 1e-12)
