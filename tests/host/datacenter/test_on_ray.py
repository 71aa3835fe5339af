"""Models in replicas of Ray Serve: they answer as on one machine, are replaced and lost, and no request is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.datacenter.in_worker import in_worker
from edgesight.host.datacenter.on_ray.place import Place, placed
from edgesight.host.datacenter.on_ray.settings import Settings
from edgesight.host.datacenter.repository import BackEnd
from edgesight.host.doors.served import Code, Refused, Response
from edgesight.host.package import Package
from tests.host.datacenter.replicas import WIDTH, Load, centre_on, losses_of, replicas_of, wide
from tests.host.datacenter.tiny import ME, ask, centre, gather, put, run, scaled, texts, values
from tests.split_network import SHAPE, save_network
from tests.waiting import until

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
serve = pytest.importorskip("ray.serve", reason="ray is not installed: extra `ray`")


DIGITS = Path(__file__).parents[3] / "bitstreams" / "digits"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """One replica or two, each with room for one model: whatever is done here goes over models' coming and going."""
    with placed(None, Settings(min_replicas=1, max_replicas=2, models=1, cpus=0.5), cpus=2) as found:
        yield found


def test_replicas_answer_as_one_machine_does_bit_for_bit(place: Place, tmp_path: Path) -> None:
    save_network(tmp_path / "net.onnx")
    put(tmp_path / "models", "net", (tmp_path / "net.onnx").read_bytes())
    put(tmp_path / "models", "texts", texts())
    rng = np.random.default_rng(0)
    pictures = [rng.random((rows, *SHAPE[1:]), np.float32) for rows in (1, 3, 8)]
    words = np.array([[b"a", "\u00e9".encode()]], object)

    async def test() -> None:
        async with centre(tmp_path / "models") as here, centre_on(place, tmp_path / "models") as away:
            assert here.metadata("net", "").inputs == away.metadata("net", "").inputs
            assert here.metadata("net", "").outputs == away.metadata("net", "").outputs
            assert here.sha256("net") == away.sha256("net")
            for x in pictures:
                own, others = [await ask(made, "net", x) for made in (here, away)]
                for one, other in zip(own.outputs, others.outputs, strict=True):
                    assert one.name == other.name
                    assert one.values.tobytes() == other.values.tobytes()
            answer = await ask(away, "texts", words, name="t", datatype="BYTES")
            assert answer.outputs[0].values.tolist() == words.tolist()
            assert {(one.name, one.state, one.reason) for one in away.index(False)} == {
                ("net", "READY", ""),
                ("texts", "READY", ""),
            }
            assert serve.status().proxies == {}  # nobody but a door lets anybody in
            told = {one.name: one for one in away.measures()}
            assert set(told["model_ready"].values.values()) == {1.0}

    run(test())


def test_requests_that_come_together_go_together_and_one_that_fails_fails_alone(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "wide", wide(1))
    put(tmp_path, "gather", gather())

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            rows = np.random.default_rng(0).random((64, WIDTH), np.float32)
            alone = [(await ask(made, "wide", one[None])).outputs[0].values for one in rows]
            together = await asyncio.gather(*(ask(made, "wide", one[None]) for one in rows))
            for one, other in zip(alone, together, strict=True):
                assert np.allclose(one, other.outputs[0].values, atol=1e-4)
            (counted,) = made.statistics("wide", "")
            assert counted.inference_count == 2 * len(rows)
            assert max(counted.batches) > 1
            assert max(counted.batches) <= made.metadata("wide", "").max_batch_size
            assert counted.execution_count < counted.inference_count
            wrong = [ask(made, "gather", np.array([[at]]), name="i", datatype="INT64") for at in (1, 99, 2, 3)]
            found = await asyncio.gather(*wrong, return_exceptions=True)
            assert [getattr(one, "code", None) for one in found] == [None, Code.INTERNAL, None, None]
            assert losses_of(made, "gather") == 0  # a model's own fault is not asked again

    run(test())


def test_a_replica_with_room_for_one_model_answers_for_two(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "double", scaled(2.0))
    put(tmp_path, "triple", scaled(3.0))

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            x = values([1, 2, 3, 4])

            async def alternate(count: int) -> None:
                for number in range(count):
                    name, by = (("double", 2.0), ("triple", 3.0))[number % 2]
                    assert np.array_equal((await ask(made, name, x)).outputs[0].values, x * by)

            await asyncio.gather(*(alternate(10) for _ in range(4)))

    run(test())


def test_a_newer_version_takes_over_and_no_request_fails(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))
    by = {"1": 2.0, "2": 3.0}
    x = values([1, 2, 3, 4])

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            asking = Load(made, "m", x, lambda one: np.array_equal(one.outputs[0].values, x * by[one.version]))

            async def update() -> None:
                await until(lambda: asking.by_version.get("1", 0) >= 50)
                put(tmp_path, "m", scaled(3.0), version=2)
                await made.load("m", {}, ME)
                before = asking.by_version.get("2", 0)
                await until(lambda: asking.by_version.get("2", 0) >= before + 50)

            await asking.during(update())
            assert asking.failed == []
            assert set(asking.by_version) == {"1", "2"}
            assert made.metadata("m", "").versions == ["2"]

            # The file of the same number, replaced in its place: what was loaded stays what it was until it is gone.
            seen: set[float] = set()

            async def replace() -> None:
                put(tmp_path, "m", scaled(5.0), version=2)
                await made.load("m", {}, ME)
                await until(lambda: len(seen) == 2)

            def see(response: Response) -> bool:
                seen.add(float(response.outputs[0].values[0, 0]))
                return True

            asking = Load(made, "m", x, see)
            await asking.during(replace())
            assert asking.failed == []
            assert seen == {3.0, 5.0}

    run(test())


def test_a_version_that_does_not_work_leaves_the_old_one(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            put(tmp_path, "m", b"no model", version=2)
            with pytest.raises(Refused, match=r"at .*: m is no model that ONNX Runtime can load") as refused:
                await made.load("m", {}, ME)
            assert refused.value.code is Code.INVALID_ARGUMENT
            assert (await ask(made, "m", values([1, 2, 3, 4]))).version == "1"
            assert [(one.version, one.state) for one in made.index(True)] == [("1", "READY")]

    run(test())


def test_many_requests_bring_a_replica_more_and_one_that_is_killed_costs_none(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "wide", wide(2))
    x = np.random.default_rng(1).random((1, WIDTH), np.float32)

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            right = (await ask(made, "wide", x)).outputs[0].values
            asking = Load(made, "wide", x, lambda one: np.allclose(one.outputs[0].values, right, atol=1e-4))

            async def processes(count: int, without: int = 0) -> list[int]:
                while len(found := [one["process"] for one in await replicas_of(place)]) < count or without in found:
                    await asyncio.sleep(0.2)  # sleeps: between two looks
                return found

            async def grow_and_kill() -> None:
                await until(lambda: len(asking.answered) >= 20)
                killed, _ = await processes(2)  # as there are more requests than one is to have
                os.kill(killed, signal.SIGKILL)
                await processes(2, without=killed)

            await asking.during(grow_and_kill(), 24)
            assert asking.failed == []
            assert losses_of(made, "wide") >= 1
            told = {one.name: one for one in made.measures()}
            assert list(told["model_calls_lost"].values.values()) == [losses_of(made, "wide")]

    run(test(), 120.0)


def test_a_deadline_that_passes_is_told_and_the_request_let_go_of(place: Place, tmp_path: Path) -> None:
    put(tmp_path, "wide", wide(3))

    async def test() -> None:
        async with centre_on(place, tmp_path) as made:
            x = np.zeros((1, WIDTH), np.float32)
            for timeout in (0.0, 1e-4):
                with pytest.raises(Refused) as refused:
                    await ask(made, "wide", x, timeout=timeout)
                assert refused.value.code is Code.DEADLINE_EXCEEDED
            assert (await ask(made, "wide", x, timeout=30.0)).version == "1"

    run(test())


def test_a_packages_back_end_runs_in_replicas_for_edges_too(place: Place, tmp_path: Path) -> None:
    kernel = Package.load(DIGITS).kernel
    back_end = BackEnd(kernel.name, DIGITS / "datacenter.onnx", kernel.backend_input, tuple(kernel.classes))
    assert back_end.form is not None
    images = np.random.default_rng(2).integers(0, 256, (4, *back_end.form.shape), np.uint8)
    (tmp_path / "models").mkdir()

    async def test() -> None:
        async with centre_on(place, tmp_path / "models", back_end=back_end) as away:
            asked = await in_worker(away, back_end)
            logits = await asyncio.to_thread(asked.run, images)
            assert logits.shape == (4, asked.classes)
            async with centre(tmp_path / "models", back_end=back_end) as here:
                same = await asyncio.to_thread((await in_worker(here, back_end)).run, images)
            assert logits.tobytes() == same.tobytes()

    run(test())
