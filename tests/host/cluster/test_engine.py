"""A network over a cluster behind the data centre's doors: a newer version takes over as the older one answers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.cluster.deployment import Deployment
from edgesight.host.cluster.engine import InPieces
from edgesight.host.cluster.serve import OneNetwork
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.repository import Settings
from edgesight.host.doors.served import Caller, Code, Refused, Request, Response, Tensor
from edgesight.host.ray_cluster import joined
from edgesight.plan.place.model_file import PlannedVersion
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.place.problem import Cluster, Node
from edgesight.plan.profile import PlanError
from edgesight.sim.ray_nodes import RayNodes
from tests.split_network import pictures, save_network

pytest.importorskip("ray")
NAMES = ("a", "b")
NODES = Cluster(name="two", nodes=tuple(Node(name=name) for name in NAMES), mbps=((0.0, 1e6), (1e6, 0.0)))
SOMEBODY = Caller("somebody")


class _Stated:
    """Measures nothing."""

    def atom_ms(self, cut: CutNetwork, named: Sequence[Node]) -> dict[str, list[float]]:
        return {node.name: [1.0] * cut.end for node in named}

    def call_ms(self, named: Sequence[Node], size: int) -> dict[str, float]:
        return {node.name: 0.0 for node in named}


class Reader:
    """Plans versions of a network in two pieces."""

    def __init__(self) -> None:
        self.wrong: str | None = None  # what is wrong with the version that is read next

    def read(self, path: Path, nodes: Collection[str]) -> Any:
        if self.wrong == "unreadable":
            raise PlanError(f"{path}: is no ONNX file: give one")
        if self.wrong == "odd":
            raise IndexError("list index out of range")
        version = PlannedVersion(path, NODES, nodes, _Stated())
        return _Wrong(version) if self.wrong == "wrong" else version


@contextlib.asynccontextmanager
async def centre(library: Any, path: Path, reader: Reader | None = None) -> AsyncIterator[DataCentre]:
    async with DataCentre(OneNetwork(path), InPieces(library, (reader or Reader()).read)) as made:
        await made.start()
        yield made


class _Wrong:
    """A version whose pieces do not give what its whole gives."""

    def __init__(self, version: PlannedVersion) -> None:
        self._sound = version

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


def truth_of(path: Path) -> list[bytes]:
    """Its answers to the pictures."""
    session = session_of(CutNetwork(path).whole)
    return [session.run(["third"], {"x": one})[0].tobytes() for one in pictures(8)]


def request(number: int, **changes: Any) -> Request:
    inputs = [Tensor("x", "FP32", pictures(8)[number % 8])]
    return Request(**{"model": "net", "inputs": inputs, "id": str(number), **changes})


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    with RayNodes(NAMES) as there, joined(there.address) as found:
        yield found


def right(answer: Response, truths: dict[str, list[bytes]], number: int) -> bool:
    return np.asarray(answer.outputs[0].values).tobytes() == truths[answer.version][number % 8]


async def until(true: Any) -> None:
    for _ in range(3_000):
        if true():
            return
        await asyncio.sleep(0.02)  # sleeps: until what is waited for is so
    raise AssertionError("it never was")


def test_a_newer_version_takes_over_under_load_without_a_failed_or_mixed_answer(library: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", 0)
    second = saved(tmp_path / "second.onnx", 1)
    truths = {"1": truth_of(path), "2": truth_of(second)}

    async def run() -> None:
        async with centre(library, path) as made:
            assert made.model_ready("net", "1")
            assert made.metadata("net", "").inputs[0].shape == (1, 3, 32, 32)
            answers: list[Response] = []
            going = True

            async def asks() -> None:
                number = 0
                while going:
                    answer = await made.infer(request(number), SOMEBODY)
                    assert right(answer, truths, number)
                    answers.append(answer)
                    number += 1

            asking = [asyncio.create_task(asks()) for _ in range(6)]
            await until(lambda: len(answers) > 50)
            second.replace(path)
            await made.load("net", {}, SOMEBODY)
            seen = len(answers)
            await until(lambda: len(answers) > seen + 50)
            going = False
            await asyncio.gather(*asking)
            versions = [answer.version for answer in answers]
            assert set(versions) == {"1", "2"}
            assert versions[-1] == "2"
            assert made.statistics("net", "")[0].inference_count == versions.count("2")
            assert [entry.version for entry in made.index(True)] == ["2"]
            told = {one.name: one.values for one in made.measures()}
            assert told["model_pieces"] == {("net", "2"): 2}
        with pytest.raises(Refused, match="the data centre starts or ends: ask again"):
            await made.infer(request(0), SOMEBODY)

    asyncio.run(run())


def test_a_version_that_fails_leaves_the_one_that_runs_and_says_why(library: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", 0)
    reader = Reader()

    async def run() -> None:
        async with centre(library, path, reader) as made:
            saved(path, 1)
            for reader.wrong, said, code in (
                ("unreadable", "is no ONNX file: give one", Code.INVALID_ARGUMENT),
                ("wrong", "do not give, bit for bit", Code.INVALID_ARGUMENT),
                ("odd", "cannot be loaded (IndexError: list index out of range): give another", Code.INTERNAL),
            ):
                with pytest.raises(Refused, match=re.escape(said)) as refused:
                    await made.load("net", {}, SOMEBODY)
                assert refused.value.code is code
                (entry,) = made.index(False)
                assert (entry.version, entry.state) == ("1", "READY")
                assert said in entry.reason
                assert (await made.infer(request(0), SOMEBODY)).version == "1"
            reader.wrong = None
            await made.load("net", {}, SOMEBODY)
            assert (await made.infer(request(0), SOMEBODY)).version == "2"
            assert made.index(False)[0].reason == ""

    asyncio.run(run())


def test_what_comes_too_late_or_too_much_at_once_is_refused(library: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", 0)

    async def run() -> None:
        async with centre(library, path) as made:
            with pytest.raises(Refused) as refused:
                await made.infer(request(0, timeout=0.0), SOMEBODY)
            assert refused.value.code is Code.DEADLINE_EXCEEDED
            asked = [made.infer(request(number), SOMEBODY) for number in range(600)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            refusals = [one for one in answers if isinstance(one, Refused)]
            assert len(refusals) == 600 - 512
            assert all(one.code is Code.RESOURCE_EXHAUSTED for one in refusals)
            truths = {"1": truth_of(path)}
            assert all(right(one, truths, at) for at, one in enumerate(answers) if isinstance(one, Response))

    asyncio.run(run())


def test_a_file_that_is_put_back_is_another_than_the_one_in_its_place(tmp_path: Path) -> None:
    path, kept = saved(tmp_path / "net.onnx", 0), tmp_path / "kept.onnx"
    network = OneNetwork(path)
    assert network.versions("net")[0].number == "1"
    assert not network.changed()
    with pytest.raises(ModelError, match="its file says all that there is to say: leave `config` out"):
        network.versions("net", Settings())
    path.rename(kept)
    assert not network.changed()  # there is none to go over to
    saved(path, 1)
    assert network.changed()
    assert network.versions("net")[0].number == "2"
    kept.replace(path)
    assert network.changed()
    assert network.versions("net")[0].number == "1"
    assert not network.changed()
