"""A network in pieces on real nodes of a Ray cluster on this machine, of which some are lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.cluster.deployment import Deployment
from edgesight.host.cluster.pipeline import Pipeline, PipelineError
from edgesight.host.limits import Limits, missing
from edgesight.host.ray_cluster import ClusterError, joined
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.place.plan import place
from edgesight.plan.place.problem import Cluster, Node
from edgesight.plan.profile import PlanError
from edgesight.sim.ray_nodes import RayNodes
from tests.split_network import pictures, save_network

pytest.importorskip("ray")
NAMES = ("a", "b", "c")
HELD = Limits(cores=0.5) if missing(Limits(cores=0.5)) is None else Limits()
Pictures = Sequence[tuple[Any, Any]]


class Planned:
    """Plans for the nodes that are there, by times that make three pieces the best."""

    def __init__(self, network: Path) -> None:
        self.cut = CutNetwork(network)
        self.model = self.cut.timed(dict.fromkeys(NAMES, [1.0] * self.cut.end))
        self.asked: list[list[str]] = []

    def __call__(self, names: Collection[str]) -> Deployment:
        self.asked.append(sorted(names))
        there = [name for name in NAMES if name in names]
        if not there:
            raise PlanError("no node is left: begin one")
        nodes = tuple(Node(name=name, cores=HELD.cores) for name in there)
        cluster = Cluster(nodes=nodes, mbps=tuple((1e6,) * len(there) for _ in there))
        return self.cut.deployment(place(self.model, cluster, "exact"), cluster)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnx

    path = save_network(tmp_path_factory.mktemp("network") / "net.onnx")
    model = onnx.load(str(path))
    del model.graph.output[:-1]
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def planned(network: Path) -> Planned:
    return Planned(network)


@pytest.fixture(scope="module")
def truth(planned: Planned) -> Pictures:
    session = session_of(planned.cut.whole)
    return [({"x": one}, session.run(["third"], {"x": one})[0]) for one in pictures(24)]


@pytest.fixture(scope="module")
def there() -> Iterator[RayNodes]:
    with RayNodes(NAMES) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def library(there: RayNodes) -> Iterator[Any]:
    with joined(there.address) as found:
        yield found


async def all_right(pipeline: Pipeline, truth: Pictures) -> bool:
    found = await asyncio.gather(*(pipeline.ask(inputs) for inputs, _ in truth))
    return all(one["third"].tobytes() == right.tobytes() for one, (_, right) in zip(found, truth, strict=True))


def test_three_nodes_give_what_the_whole_gives_each_running_its_piece(
    library: Any, planned: Planned, truth: Pictures
) -> None:
    async def run() -> None:
        deployment = planned(NAMES)
        assert len(deployment.pieces) == 3
        pipeline = Pipeline(library, deployment, planned)
        await pipeline.start()
        assert await all_right(pipeline, truth)
        told = await pipeline.told()
        assert len({one.pid for one in told}) == 3
        assert [one.runs for one in told] == [len(truth) + len(deployment.checks)] * 3
        if HELD.cores is not None:
            group = Path(f"/proc/{told[0].pid}/cgroup").read_text()
            assert f"edgesight-node-{deployment.pieces[0].node}" in group
        with pytest.raises(PipelineError, match=r"network net fails on these inputs \(.*\): ask with others"):
            await pipeline.ask({"x": np.zeros((1, 3, 1, 1), np.float64)})
        assert await all_right(pipeline, truth)  # that was the inputs' fault, and no node's
        assert pipeline.counts.mended == 0
        await pipeline.end()
        with pytest.raises(PipelineError, match=r"network net does not run \(it has ended\): ask again later"):
            await pipeline.ask(truth[0][0])

    asyncio.run(run())


def test_a_process_that_dies_under_load_loses_no_request(library: Any, planned: Planned, truth: Pictures) -> None:
    async def run() -> None:
        pipeline = Pipeline(library, planned(NAMES), planned)
        await pipeline.start()
        first = await pipeline.told()
        asked = [asyncio.create_task(all_right(pipeline, truth)) for _ in range(8)]
        await asyncio.sleep(0.05)  # sleeps: so that requests are on their way
        os.kill(first[1].pid, signal.SIGKILL)
        assert all(await asyncio.gather(*asked))
        assert pipeline.counts.answered == 8 * len(truth)
        assert pipeline.counts.mended == 1
        await pipeline.end()

    asyncio.run(run())


def test_a_process_that_hangs_is_done_without_and_what_it_had_is_asked_again(
    library: Any, planned: Planned, truth: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.cluster.pipeline.HANGS_S", 2.0)
    monkeypatch.setattr("edgesight.host.cluster.pipeline.SILENT_S", 1.0)

    async def run() -> None:
        deployment = planned(NAMES)
        pipeline = Pipeline(library, deployment, planned)
        await pipeline.start()
        hangs = (await pipeline.told())[1].pid
        os.kill(hangs, signal.SIGSTOP)
        try:
            assert await all_right(pipeline, truth)
            assert pipeline.counts.mended == 1
            assert deployment.nodes[1] not in pipeline.deployment.nodes
            while Path(f"/proc/{hangs}/cmdline").exists() and Path(f"/proc/{hangs}/cmdline").read_bytes():
                await asyncio.sleep(0.1)  # sleeps: until it is ended, as Ray was told
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(hangs, signal.SIGKILL)
        await pipeline.end()

    asyncio.run(run())


def test_a_node_that_is_lost_is_done_without_and_used_again_when_it_is_back(
    library: Any, there: RayNodes, planned: Planned, truth: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.cluster.pipeline.STEADY_S", 1.0)

    async def run() -> None:
        deployment = planned(NAMES)
        pipeline = Pipeline(library, deployment, planned)
        await pipeline.start()
        before = {one.pid for one in await pipeline.told()}
        lost = deployment.pieces[1].node
        asked = asyncio.create_task(all_right(pipeline, truth))
        await asyncio.to_thread(there.lose, lost)
        assert await asked
        while lost in pipeline.deployment.nodes:  # its processes may work for a moment after it
            assert await all_right(pipeline, truth)
        assert len(pipeline.deployment.pieces) == 2
        assert await all_right(pipeline, truth)
        there.add(lost)
        while lost not in pipeline.deployment.nodes:
            await asyncio.sleep(0.1)  # sleeps: until the pipeline has seen the node for a while
        assert len(pipeline.deployment.pieces) == 3
        assert await all_right(pipeline, truth)
        assert not before >= {one.pid for one in await pipeline.told()}
        await pipeline.end()

    asyncio.run(run())


def test_a_version_whose_pieces_do_not_give_what_the_whole_gives_is_refused(
    library: Any, planned: Planned, truth: Pictures
) -> None:
    async def run() -> None:
        deployment = planned(NAMES)
        inputs, outputs = deployment.checks[0]
        wrong = replace(deployment, checks=[(inputs, {"third": outputs["third"] + 1})])
        with pytest.raises(PipelineError, match=r"its pieces do not give, bit for bit, what the whole gives: use"):
            await Pipeline(library, wrong, planned).start()
        broken = replace(deployment, pieces=[replace(deployment.pieces[0], content=b"nothing"), *deployment.pieces[1:]])
        with pytest.raises(PipelineError, match=r"did not take its piece \(.*\): look at Ray's log there"):
            await Pipeline(library, broken, planned).start()
        absent = replace(deployment, pieces=[replace(deployment.pieces[0], node="z"), *deployment.pieces[1:]])
        with pytest.raises(ClusterError, match=r"node z is not in the cluster, which has .*: begin it by"):
            await Pipeline(library, absent, planned).start()

    asyncio.run(run())


def test_where_no_plan_is_left_requests_are_refused_and_answered_again_once_there_is_one(
    library: Any, planned: Planned, truth: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.cluster.pipeline.MEND_S", 2.0)
    possible = [False]

    def replan(names: Collection[str]) -> Deployment:
        if not possible[0]:
            raise PlanError("no plan: add a node")
        return planned(names)

    async def run() -> None:
        pipeline = Pipeline(library, planned(NAMES), replan)
        await pipeline.start()
        os.kill((await pipeline.told())[0].pid, signal.SIGKILL)
        with pytest.raises(PipelineError, match=r"does not run \(no plan: add a node\): ask again later"):
            await pipeline.ask(truth[0][0])
        possible[0] = True
        await asyncio.sleep(1.1)  # sleeps: as long as it says no without looking
        assert await all_right(pipeline, truth)
        await pipeline.end()

    asyncio.run(run())
