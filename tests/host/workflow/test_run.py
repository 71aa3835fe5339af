"""A planned workflow runs on real workers of a Ray cluster on this machine, and goes where its flows say."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.ray_cluster import ClusterError, joined
from edgesight.host.workflow.execution import Execution
from edgesight.host.workflow.run import Runner, WorkflowError
from edgesight.plan.workflow.stations import execution, model_files
from edgesight.sim.ray_nodes import RayNodes
from tests.workflow_networks import expected, planned, request, save_networks, workflow

pytest.importorskip("ray")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def run(networks: Path) -> Execution:
    described = workflow()
    return execution(described, planned(described), model_files(networks, described))


@pytest.fixture(scope="module")
def library(run: Execution) -> Iterator[Any]:
    with RayNodes(sorted({station.piece.node for station in run.stations})) as there, joined(there.address) as found:
        yield found


def test_answers_are_those_of_the_networks_and_messages_go_as_planned(
    library: Any, run: Execution, networks: Path
) -> None:
    async def ask_all() -> None:
        runner = Runner(library, run)
        await runner.start()
        requests = [request(number) for number in range(60)]
        answers = await asyncio.gather(*map(runner.ask, requests))
        for inputs, answer in zip(requests, answers, strict=True):
            np.testing.assert_array_equal(answer["y"], expected(networks, inputs))
        planned_rate = {
            (flow.source, flow.source_worker, flow.target, flow.target_worker): flow.rate for flow in run.flows
        }
        total = sum(rate for route, rate in planned_rate.items() if route[2] == "left")
        left = {route: sent for route, sent in runner.counts.messages.items() if route[2] == "left"}
        assert len(left) == 2
        for route, sent in left.items():
            assert sent == pytest.approx(60 * planned_rate[route] / total, abs=1)
        told = await runner.told()
        runs = Counter[str]()
        for (operator, _), one in told.items():
            runs[operator] += one.runs
        assert runs == {"left": 60, "right": 60, "sum": 60}
        assert all(one.gave_bytes == 20 * one.runs for one in told.values())
        await runner.end()

    asyncio.run(ask_all())


def test_what_a_request_lacks_and_a_lost_station_are_told(
    library: Any, run: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask_all() -> None:
        runner = Runner(library, run)
        await runner.start()
        with pytest.raises(WorkflowError, match=r"inputs left-eye: give left-eye, right-eye"):
            await runner.ask({"left-eye": request(0)["left-eye"]})
        with pytest.raises(WorkflowError, match=r"input left-eye: is \[1, 9\]; give \[1, 4\]"):
            await runner.ask({**request(0), "left-eye": np.zeros((1, 9), np.float32)})
        with pytest.raises(WorkflowError, match=r"input left-eye: is float64; give float32"):
            await runner.ask({**request(0), "left-eye": np.zeros((1, 4))})
        monkeypatch.setattr("edgesight.host.workflow.run.MOST_ON_WAY", 0)
        with pytest.raises(WorkflowError, match="the most that may: ask more slowly"):
            await runner.ask(request(0))
        monkeypatch.undo()
        for one in (await runner.told()).values():
            os.kill(one.pid, signal.SIGKILL)
        with pytest.raises(WorkflowError, match=r"a station failed \(.*\): ask again, or look at Ray's log"):
            await runner.ask(request(0))
        with pytest.raises(WorkflowError, match=r"a station is lost \(.*\): look at Ray's log"):
            await runner.told()
        await runner.end()

    asyncio.run(ask_all())


def test_a_worker_that_is_not_there_is_named(library: Any, networks: Path) -> None:
    content = workflow().model_dump()
    for worker in content["workers"]:
        worker["name"] += "-elsewhere"
    described = workflow(workers=content["workers"])
    away = execution(described, planned(described), model_files(networks, described))
    with pytest.raises(ClusterError, match=r"worker .-elsewhere is not in the cluster, which has .*: begin it by `ray"):
        asyncio.run(Runner(library, away).start())
