"""Models in replicas on three nodes of a Ray cluster, all on this machine, of which one is killed under load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgesight.host.datacenter.on_ray.place import APPLICATION, Place, placed
from edgesight.host.datacenter.on_ray.settings import Settings
from tests.datacenter_program import started
from tests.host.datacenter.replicas import WIDTH, Load, centre_on, replicas_of, wide
from tests.host.datacenter.tiny import ask, put, run, scaled

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("ray.serve", reason="ray is not installed: extra `ray`")


LOAD = 0.4  # of what is answered at most; with a node of three lost, that is 0.6 of what is left
BACK_WITHIN_S = 20.0
ENOUGH = 0.9  # of the offered rate, in a second that counts as one at that rate
CAPACITY_S, BEFORE_S, AFTER_S = 3, 5, 25


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two more nodes, each with room for a replica that another node loses."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(num_cpus=2)
        yield made
    finally:
        made.shutdown()


@pytest.fixture(scope="module")
def place(cluster: Any) -> Iterator[Place]:
    with placed(cluster.address, Settings(min_replicas=3, max_replicas=3, models=2)) as found:
        yield found


def test_a_door_asks_the_replicas_that_are_there_and_leaves_them(cluster: Any, place: Place, tmp_path: Path) -> None:
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


def test_a_lost_node_costs_no_request_and_the_rate_is_soon_back(cluster: Any, place: Place, tmp_path: Path) -> None:
    put(tmp_path, "wide", wide(5))
    x = np.random.default_rng(1).random((1, WIDTH), np.float32)

    async def lose(node: Any) -> None:
        """As a machine goes: its replicas and all of Ray's own at once."""
        for one in await replicas_of(place):
            if one["node"] == node.node_id:
                os.kill(one["process"], signal.SIGKILL)
        await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)

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
            node = next(one for one in cluster.worker_nodes if one.node_id in there)

            offered = load()
            begun = loop.time()
            requests, losing = [], None
            for number in range(round(rate * (BEFORE_S + AFTER_S))):
                await asyncio.sleep(max(begun + number / rate - loop.time(), 0.0))  # sleeps: until it is offered
                requests.append(asyncio.ensure_future(offered.one()))
                if losing is None and loop.time() - begun >= BEFORE_S:
                    lost_at = loop.time()
                    losing = asyncio.ensure_future(lose(node))
            assert losing is not None
            await asyncio.gather(losing, *requests)
            assert offered.failed == []
            assert len(offered.answered) == len(requests)
            seconds = np.histogram(np.array(offered.answered) - lost_at, bins=np.arange(0, AFTER_S))[0]
            (slow,) = np.nonzero(seconds < ENOUGH * rate)
            back = float(slow[-1] + 1) if len(slow) else 0.0
            print(f"offered {rate:.0f} a second, at that rate again {back:.0f} s after the node was killed")
            assert back <= BACK_WITHIN_S
            assert node.node_id not in {one["node"] for one in await replicas_of(place)}
            assert place.replicas() == 3

    run(test(), 180.0)
