"""Models in replicas on three nodes of a Ray cluster, all on this machine, of which one is killed under load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgesight.host.datacenter.on_ray.place import APPLICATION, Place, placed
from edgesight.host.datacenter.on_ray.settings import Settings
from edgesight.sim.ray_nodes import RayNodes
from tests.datacenter_program import started
from tests.host.datacenter.replicas import WIDTH, Load, centre_on, replicas_of, wide
from tests.host.datacenter.tiny import ask, put, run, scaled

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("ray.serve", reason="ray is not installed: extra `ray`")


LOAD = 0.4  # of what is answered at most; with a node of three lost, that is 0.6 of what is left
CAPACITY_S, BEFORE_S, AFTER_S = 3, 5, 15
NODES = ("a", "b", "c")  # each with room for a replica that another node loses


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    with RayNodes(NODES, cpus=2.0) as made:
        yield made


@pytest.fixture(scope="module")
def place(cluster: RayNodes) -> Iterator[Place]:
    with placed(cluster.address, Settings(min_replicas=3, max_replicas=3, models=2)) as found:
        yield found


def test_a_door_asks_the_replicas_that_are_there_and_leaves_them(
    cluster: RayNodes, place: Place, tmp_path: Path
) -> None:
    put(tmp_path, "double", scaled(2.0))
    opened = ["serve", "--repository", tmp_path, "--http", "127.0.0.1:0", "--engine", "ray", "--ray", cluster.address]
    with started(*opened) as program:
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        url = f"http://{program.at['HTTP']}/v2/models/double/infer"
        answer = httpx.post(url, json=body, trust_env=False, timeout=60.0)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [2, 4, 6, 8]
        assert program.end() == 0
    assert place.replicas() == 3
    command = [sys.executable, "-m", "edgesight", "datacenter", *map(str, opened), "--replicas", "2"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 1
    assert f"the application {APPLICATION} runs there already, with settings of its own" in refused.stderr


def test_a_lost_node_costs_no_request_and_its_replicas_begin_elsewhere(
    cluster: RayNodes, place: Place, tmp_path: Path
) -> None:
    put(tmp_path, "wide", wide(5))
    x = np.random.default_rng(1).random((1, WIDTH), np.float32)

    async def lose(name: str) -> None:
        """As a machine goes: its replicas and all of Ray's own at once."""
        for one in await replicas_of(place):
            if one["node"] == cluster.id(name):
                os.kill(one["process"], signal.SIGKILL)
        await asyncio.to_thread(cluster.lose, name)

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            right = (await ask(made, "wide", x)).outputs[0].values
            loop = asyncio.get_running_loop()

            def load() -> Load:
                return Load(made, "wide", x, lambda one: np.allclose(one.outputs[0].values, right, atol=1e-4))

            most = load()
            await most.during(asyncio.sleep(CAPACITY_S), 16)  # sleeps: for so long it is measured
            assert most.failed == []
            rate = LOAD * len(most.answered) / CAPACITY_S
            there = {one["node"] for one in await replicas_of(place)}
            lost = next(name for name in NODES if cluster.id(name) in there)
            lost_id = cluster.id(lost)

            offered = load()
            begun = loop.time()
            requests, losing = [], None
            for number in range(round(rate * (BEFORE_S + AFTER_S))):
                await asyncio.sleep(max(begun + number / rate - loop.time(), 0.0))  # sleeps: until it is offered
                requests.append(asyncio.ensure_future(offered.one()))
                if losing is None and loop.time() - begun >= BEFORE_S:
                    losing = asyncio.ensure_future(lose(lost))
            assert losing is not None
            await asyncio.gather(losing, *requests)
            assert offered.failed == []
            assert len(offered.answered) == len(requests)
            while len([one for one in await replicas_of(place) if one["node"] != lost_id]) < len(NODES):
                await asyncio.sleep(0.2)  # sleeps: until another node has begun what was lost

    run(test(), 180.0)
