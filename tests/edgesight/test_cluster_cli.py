"""`edgesight cluster deploy` and `edgesight workflow`, as their users run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.plan import profile
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.sim.ray_nodes import RayNodes
from tests.split_network import pictures, save_network
from tests.workflow_networks import expected, planned, request, save_networks, workflow

pytest.importorskip("ray")
pytest.importorskip("scipy")
grpcclient = pytest.importorskip("tritonclient.grpc")
EDGESIGHT = [sys.executable, "-u", "-m", "edgesight"]
HERE = {"name": "alone", "nodes": [{"name": "here", "memory_bytes": 1 << 30}], "mbps": [[0]]}


def saved(path: Path, seed: int) -> Path:
    import onnx

    model = onnx.load(str(save_network(path, seed)))
    del model.graph.output[:-1]
    onnx.save(model, str(path))
    return path


def whole(path: Path) -> bytes:
    """Its answer to a picture."""
    found: bytes = session_of(CutNetwork(path).whole).run(["third"], {"x": pictures(1)[0]})[0].tobytes()
    return found


def test_a_network_is_deployed_asked_and_replaced(tmp_path: Path) -> None:
    path, nodes = saved(tmp_path / "net.onnx", 0), tmp_path / "nodes.json"
    nodes.write_text(json.dumps(HERE))
    first, second = ("1", whole(path)), ("2", whole(saved(tmp_path / "second.onnx", 1)))
    words = ["cluster", "deploy", str(path), "--nodes", str(nodes), "--grpc", "127.0.0.1:0", "--repeats", "2"]
    program = subprocess.Popen([*EDGESIGHT, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line.startswith("cluster: gRPC at 127.0.0.1:")
        assert line.endswith(", network net\n")
        with grpcclient.InferenceServerClient(line.split(" at ")[1].split(",")[0]) as client:

            def ask() -> tuple[str, bytes]:
                taken = grpcclient.InferInput("x", [1, 3, 32, 32], "FP32")
                taken.set_data_from_numpy(pictures(1)[0])
                answer = client.infer("net", [taken])
                return answer.get_response().model_version, answer.as_numpy("third").tobytes()

            assert ask() == first
            os.replace(tmp_path / "second.onnx", path)
            ends = time.monotonic() + 60
            while (found := ask()) == first and time.monotonic() < ends:
                time.sleep(0.1)  # sleeps: until it has seen the newer file
            assert found == second
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    finally:
        program.kill()
        program.wait()


def test_what_cannot_be_deployed_ends_with_one_line(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps({**HERE, "nodes": [{"name": "elsewhere"}]}))
    path = saved(tmp_path / "net.onnx", 0)
    words = ["cluster", "deploy", str(path), "--nodes", str(nodes), "--grpc", "127.0.0.1:0"]
    ran = subprocess.run([*EDGESIGHT, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "cluster alone: none of its nodes (elsewhere) is there: start them, and name them so" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_planned_workflow_runs_on_a_cluster(tmp_path: Path) -> None:
    described = workflow(rate=10.0)
    networks = save_networks(tmp_path / "networks")
    made = planned(described)
    profile.write(tmp_path / "workflow.json", described)
    profile.write(tmp_path / "plan.json", made)
    requests = [request(number) for number in range(40)]
    requests[3]["left-eye"][:] = np.nan
    given: list[str] = []
    for name in requests[0]:
        np.save(tmp_path / f"{name}.npy", np.concatenate([one[name] for one in requests]))
        given += ["--input", f"{name}={tmp_path / name}.npy"]
    with RayNodes(sorted({one.worker for one in made.assignments})) as there:
        words: list[Any] = [
            "workflow",
            tmp_path / "workflow.json",
            tmp_path / "plan.json",
            "--models",
            networks,
            *given,
        ]
        words += ["--ray", there.address, "--rate", "10", "--json"]
        ran = subprocess.run([*EDGESIGHT, *map(str, words)], capture_output=True, text=True, check=False)
        losing = [*EDGESIGHT, *map(str, words)]
        with subprocess.Popen(losing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert json.loads(program.stdout.readline())["fault"] is None
            there.lose(next(one.worker for one in made.assignments if one.operator == "sum"))
            lost = program.communicate(timeout=120)
    assert program.returncode == 1
    assert "Traceback" not in lost[1]
    assert ": a station is lost (" in lost[1]
    assert [json.loads(line)["fault"] for line in lost[0].splitlines()][-1] is not None  # and nothing else is printed
    assert ran.returncode == 0, ran.stderr
    told = {entry["request"]: entry for entry in map(json.loads, ran.stdout.splitlines())}
    for number, inputs in enumerate(requests):
        assert told[number]["fault"] is None
        found = np.array(told[number]["outputs"]["y"], np.float32)  # null is NaN then
        np.testing.assert_array_equal(found, expected(networks, inputs))
    assert "NaN" not in ran.stdout  # which is no JSON
    assert "40 requests, 0 without an answer: " in ran.stderr
