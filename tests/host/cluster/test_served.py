"""A network over a cluster behind the doors: answers name their version, and a newer one takes over as it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.cluster.deployment import Deployment
from edgesight.host.cluster.served import ClusterModel
from edgesight.host.doors.served import Caller, Code, Refused, Request, Response, Tensor, Wanted
from edgesight.host.ray_cluster import joined
from edgesight.plan.place.model_file import PlannedVersion
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.place.problem import Cluster, Node
from edgesight.plan.profile import PlanError
from edgesight.sim.ray_nodes import RayNodes
from tests.split_network import SHAPE, pictures, save_network

pytest.importorskip("ray")
NAMES = ("a", "b")
NODES = Cluster(name="two", nodes=tuple(Node(name=name) for name in NAMES), mbps=((0.0, 1e6), (1e6, 0.0)))
SOMEBODY = Caller("somebody")


class File:
    """A network's file, whose versions are planned in two pieces."""

    name = "net"

    def __init__(self, path: Path) -> None:
        self.path, self.newer = path, False
        self.wrong: str | None = None  # what is wrong with the version that is read next

    def changed(self) -> bool:
        return self.newer

    def read(self, nodes: Collection[str]) -> Any:
        self.newer = False
        if self.wrong == "unreadable":
            raise PlanError(f"{self.path}: is no ONNX file: give one")
        version = PlannedVersion(
            self.path, NODES, nodes, lambda path, cut, names: dict.fromkeys(names, [1.0] * cut.end)
        )
        return _Wrong(version) if self.wrong == "wrong" else version


class _Wrong:
    """A version whose pieces do not give what its whole gives."""

    def __init__(self, version: PlannedVersion) -> None:
        self._sound = version
        self.version = version.version

    def deployment(self, nodes: Collection[str]) -> Deployment:
        found = self._sound.deployment(nodes)
        inputs, outputs = found.checks[0]
        checks = [(inputs, {name: value + 1 for name, value in outputs.items()})]
        return Deployment(
            found.name, found.version, found.inputs, found.outputs, found.pieces, checks, found.planned_ms
        )


def saved(path: Path, seed: int) -> Path:
    import onnx

    model = onnx.load(str(save_network(path, seed)))
    del model.graph.output[:-1]
    onnx.save(model, str(path))
    return path


def truth_of(path: Path) -> tuple[str, list[bytes]]:
    """The version, and its answers to the pictures."""
    cut = CutNetwork(path)
    session = session_of(cut.whole)
    return cut.model.version, [session.run(["third"], {"x": one})[0].tobytes() for one in pictures(8)]


def request(number: int, **changes: Any) -> Request:
    inputs = [Tensor("x", "FP32", pictures(8)[number % 8])]
    return Request(**{"model": "net", "inputs": inputs, "id": str(number), **changes})


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    with RayNodes(NAMES) as there, joined(there.address) as found:
        yield found


def right(answer: Response, truths: dict[str, list[bytes]], number: int) -> bool:
    return np.asarray(answer.outputs[0].values).tobytes() == truths[answer.version][number % 8]


def test_a_newer_version_takes_over_under_load_without_a_failed_or_mixed_answer(library: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", 0)
    second = saved(tmp_path / "second.onnx", 1)
    truths = dict([truth_of(path), truth_of(second)])
    file = File(path)

    async def run() -> None:
        model = ClusterModel(library, file)
        await model.start()
        first = model.metadata("net", "").versions[0]
        assert model.ready()
        assert model.model_ready("net", first)
        assert not model.model_ready("net", "other")
        assert dict(model.metadata("net", "").parameters).keys() >= {"piece_0", "piece_1"}
        answers: list[Response] = []
        going = True

        async def asks() -> None:
            number = 0
            while going:
                answer = await model.infer(request(number), SOMEBODY)
                assert right(answer, truths, number)
                answers.append(answer)
                number += 1

        asking = [asyncio.create_task(asks()) for _ in range(6)]
        await until(lambda: len(answers) > 50)
        path.write_bytes(second.read_bytes())
        file.newer = True
        await until(lambda: answers[-1].version != first)
        seen = len(answers)
        await until(lambda: len(answers) > seen + 50)
        going = False
        await asyncio.gather(*asking)
        versions = [answer.version for answer in answers]
        assert set(versions) == set(truths)
        assert model.statistics("net", "")[0].inference_count == versions.count(versions[-1])
        assert [entry.version for entry in model.index(True)] == [versions[-1]]
        await model.drain()
        with pytest.raises(Refused, match="the cluster starts or ends: ask again"):
            await model.infer(request(0), SOMEBODY)

    asyncio.run(run())


async def until(true: Any) -> None:
    for _ in range(3_000):
        if true():
            return
        await asyncio.sleep(0.02)  # sleeps: until what is waited for is so
    raise AssertionError("it never was")


def test_a_version_that_fails_leaves_the_one_that_runs_and_says_why(library: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", 0)
    file = File(path)

    async def run() -> None:
        model = ClusterModel(library, file)
        await model.start()
        first = model.metadata("net", "").versions[0]
        saved(path, 1)
        for file.wrong, said in (("unreadable", "is no ONNX file: give one"), ("wrong", "do not give, bit for bit")):
            with pytest.raises(Refused, match=said) as refused:
                await model.load("net", {}, SOMEBODY)
            assert refused.value.code is Code.INVALID_ARGUMENT
            (entry,) = model.index(False)
            assert (entry.version, entry.state) == (first, "READY")
            assert said in entry.reason
            assert (await model.infer(request(0), SOMEBODY)).version == first
        file.wrong = None
        await model.load("net", {}, SOMEBODY)
        assert (await model.infer(request(0), SOMEBODY)).version != first
        assert model.index(False)[0].reason == ""
        await model.drain()

    asyncio.run(run())


def test_what_the_network_does_not_take_is_refused_by_name(library: Any, tmp_path: Path) -> None:
    file = File(saved(tmp_path / "net.onnx", 0))

    async def run() -> None:
        model = ClusterModel(library, file)
        with pytest.raises(Refused, match="the cluster starts or ends: ask again"):
            await model.infer(request(0), SOMEBODY)
        await model.start()
        zeros = np.zeros(SHAPE, np.float32)
        for changes, said in (
            ({"model": "other"}, "model 'other' is not here: ask for net"),
            ({"version": "9"}, "version '9' does not run: ask for"),
            ({"inputs": [Tensor("y", "FP32", zeros)]}, "input 'y': send x, each once"),
            ({"inputs": [Tensor("x", "FP32", zeros)] * 2}, "input 'x': send x, each once"),
            ({"inputs": [Tensor("x", "INT8", zeros.astype(np.int8))]}, r"input 'x' is INT8 .*: net takes FP32"),
            ({"inputs": [Tensor("x", "FP32", zeros[0])]}, r"input 'x' is FP32 \[3, 32, 32\]: net takes FP32"),
            ({"inputs": []}, "also takes input 'x': send it"),
            ({"outputs": [Wanted("third", 2)]}, "output 'third': ask for the tensors third"),
            ({"timeout": 0.0}, "no answer in 0 s: give it more time, or ask later"),
        ):
            with pytest.raises(Refused, match=said):
                await model.infer(request(0, **changes), SOMEBODY)
        for call, said in (
            (model.load("other", {}, SOMEBODY), "model 'other' is not here: ask for net"),
            (model.load("net", {"config": "{}"}, SOMEBODY), "load has no parameter 'config' here: leave it out"),
            (model.unload("net", {}, SOMEBODY), "net is all that this cluster has: end its program instead"),
        ):
            with pytest.raises(Refused, match=said):
                await call
        answers = await asyncio.gather(
            *(model.infer(request(number), SOMEBODY) for number in range(300)), return_exceptions=True
        )
        refused = [one for one in answers if isinstance(one, Refused)]
        assert len(refused) == 300 - 256
        assert all("256 requests of yours wait, the most that may" in str(one) for one in refused)
        await model.drain()

    asyncio.run(run())
