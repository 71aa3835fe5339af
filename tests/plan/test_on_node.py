"""A network is measured on a node of a Ray cluster as it is measured here, for each reader of `edgesight plan`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgesight.host.ray_cluster import joined
from edgesight.plan.examples import example
from edgesight.plan.on_node import measured_on
from edgesight.plan.place.on_nodes import OnNodes
from edgesight.plan.place.problem import Cluster, Node
from edgesight.plan.profile import PlanError, read
from edgesight.plan.split.measure import measure_onnx, measure_shapes, measure_whole
from edgesight.sim.ray_nodes import RayNodes
from tests.split_network import save_network

pytest.importorskip("ray")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def there() -> Iterator[RayNodes]:
    with RayNodes(["a"]) as made:
        yield made


@pytest.fixture(scope="module")
def library(there: RayNodes) -> Iterator[Any]:
    with joined(there.address) as found:
        yield found


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("network") / "net.onnx")


def test_each_measurement_is_made_there(library: Any, network: Path) -> None:
    found = measured_on(library, "a", network, partial(measure_onnx, device="a", repeats=2))
    here = measure_onnx(network, "a", repeats=1)
    assert (found.name, found.sha256) == (here.name, here.sha256)
    assert [(one.name, one.output_bytes) for one in found.layers] == [
        (one.name, one.output_bytes) for one in here.layers
    ]
    assert all(one.ms > 0 for one in found.layers)
    shapes: list[dict[str, tuple[int, ...]]] = [{"x": (1, 3, 32, 32)}, {"x": (64, 3, 32, 32)}]
    small, large = measured_on(library, "a", network, partial(measure_shapes, shapes=shapes, repeats=3))
    assert 0 < 4 * small.ms < large.ms
    assert measured_on(library, "a", network, os.path.dirname) != str(network.parent)  # it is another's copy


def test_what_cannot_be_measured_there_is_told(library: Any, network: Path, tmp_path: Path) -> None:
    import onnx

    with pytest.raises(PlanError, match=r"^node b: is not in the cluster, which has .*a"):
        measured_on(library, "b", network, measure_whole)
    with pytest.raises(PlanError, match=r"^node a: .*repeats is 0; give at least 1"):
        measured_on(library, "a", network, partial(measure_whole, repeats=0))
    with pytest.raises(PlanError, match=r"^node a: the network cannot be measured there \(.*ZeroDivisionError"):
        measured_on(library, "a", network, lambda path: len(path.name) // 0)
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(str(network)), str(outside), save_as_external_data=True, size_threshold=0)
    with pytest.raises(PlanError, match="has weights in other files, which are not sent to a node: save"):
        measured_on(library, "a", outside, measure_whole)
    outside.write_bytes(b"no network")
    with pytest.raises(PlanError, match="is no ONNX file"):
        measured_on(library, "a", outside, measure_whole)


def test_a_node_that_is_held_takes_longer_to_hand_on(library: Any) -> None:
    meter = OnNodes(library)
    (free,) = meter.call_ms([Node(name="a")], 1 << 20).values()
    (held,) = meter.call_ms([Node(name="a", cores=0.1)], 1 << 20).values()
    assert 0 < 3 * free < held


def test_the_command_measures_a_node_into_a_cluster(there: RayNodes, network: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "cluster.json", tmp_path / "measured.json"
    given.write_text(example("place-cluster"))
    stated = read(given, Cluster)
    assert stated.nodes[0].name == "a"
    command = [sys.executable, "-m", "edgesight", "plan", "profile", network, "--for", "place", "--device", "a"]
    command += ["--into", given, "--out", out, "--ray", there.address, "--repeats", "3"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = read(out, Cluster)
    assert found.nodes[0].speed not in (None, stated.nodes[0].speed)
    assert found.nodes[1:] == stated.nodes[1:]
