"""A worker's end is seen, whenever and however it comes, and what it says is not believed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.datacenter.blocks import new_block
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.worker import MESSAGE_BYTES
from edgesight.host.datacenter.workers import Worker, WorkerLost
from tests.host.datacenter.tiny import ME, ask, centre, gather, hosted_in, memory_of, put, recipe, run, scaled, values
from tests.waiting import until

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")


@contextlib.contextmanager
def opened(folder: Path, content: bytes) -> Iterator[int]:
    (folder / "model.onnx").write_bytes(content)
    descriptor = os.open(folder / "model.onnx", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_parts_are_joined_and_outputs_are_the_callers_own(tmp_path: Path) -> None:
    async def test() -> None:
        with opened(tmp_path, scaled(2.0, width=300_000)) as file:
            worker = await Worker.start(recipe(), file)
            parts = [np.full((rows, 300_000), rows, np.float32) for rows in (1, 4, 2)]  # of more than 4 MiB
            first = await worker.run({"x": parts}, 20.0, measure=True)
            kept = first.outputs["y"].copy()
            second = await worker.run({"x": parts[:1]}, 20.0)
            assert np.array_equal(first.outputs["y"], kept)
            assert np.array_equal(kept, np.concatenate(parts) * 2)
            assert np.array_equal(second.outputs["y"], parts[0] * 2)
            assert first.rss > worker.rss > 0
            await worker.close()

    run(test())


def test_a_fault_of_the_model_is_told_and_the_worker_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        with opened(tmp_path, gather()) as file:
            worker = await Worker.start(recipe(), file)
            with pytest.raises(ModelError, match="index") as failed:
                await worker.run({"i": [np.array([[99]])]}, 20.0)
            assert not isinstance(failed.value, WorkerLost)
            with pytest.raises(ModelError, match=r"the call takes .* bytes beside its arrays"):
                await worker.run({"i": [np.array([[1]])]}, 20.0, ["y" * MESSAGE_BYTES])
            assert (await worker.run({"i": [np.array([[5]])]}, 20.0)).outputs["y"] == 5.0
            await worker.close()

    run(test())


def test_a_worker_that_answered_while_the_loop_stood_still_is_not_ended(tmp_path: Path) -> None:
    async def test() -> None:
        with opened(tmp_path, scaled(2.0)) as file:
            worker = await Worker.start(recipe(), file)
            asking = asyncio.ensure_future(worker.run({"x": [np.ones((1, 4), np.float32)]}, 0.2))
            await asyncio.sleep(0)  # it is asked
            time.sleep(2.0)  # sleeps: the loop stands still, as it may by a fault elsewhere
            assert (await asking).outputs["y"].tolist() == [[2.0] * 4]
            assert not worker.ended.done()
            await worker.close()

    run(test())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_service_leaves_its_workers_to_it(tmp_path: Path, number: int) -> None:
    async def test() -> None:
        with opened(tmp_path, scaled(2.0)) as file:
            worker = await Worker.start(recipe(), file)
            worker._process.send_signal(number)
            answer = await worker.run({"x": [values([1, 2, 3, 4])]}, 20.0)
            assert answer.outputs["y"].tolist() == [[2, 4, 6, 8]]
            await worker.close()

    run(test())


def test_a_model_with_too_many_outputs_to_tell_of_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        said = r"model model: what it says of itself takes .*: give it fewer inputs"
        with opened(tmp_path, many_outputs(1_500)) as file, pytest.raises(ModelError, match=said):
            await Worker.start(recipe(), file)

    run(test())


def many_outputs(count: int) -> bytes:
    """An ONNX model of `x` float32 [N, 4] that gives it so many times."""
    from onnx import TensorProto, helper

    names = [f"y{number}" for number in range(count)]
    taken, *given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", *names))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], [name]) for name in names], "many", [taken], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_worker_that_ends_while_it_loads_or_waits_is_seen(tmp_path: Path) -> None:
    async def test() -> None:
        with opened(tmp_path, scaled(2.0)) as file:
            with pytest.raises(WorkerLost, match=r"gave no answer for 0\.001 s"):
                await Worker.start(recipe(), file, within=0.001)
            worker = await Worker.start(recipe(), file)
            os.kill(worker.pid, signal.SIGKILL)
            await asyncio.wait_for(worker.ended, 1.0)
            with pytest.raises(WorkerLost, match="the worker of model model ended"):
                await worker.run({"x": [values([1, 2, 3, 4])]}, 20.0)
            worker.kill()  # once more harms nobody

    run(test())


def test_descriptors_and_processes_are_given_back(tmp_path: Path) -> None:
    async def test() -> None:
        with opened(tmp_path, scaled(2.0)) as file:
            gc.collect()
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(2):
                worker = await Worker.start(recipe(), file)
                pid = worker.pid
                await worker.run({"x": [values([1, 2, 3, 4])]}, 20.0)
                await worker.close()
                assert not Path(f"/proc/{pid}").exists()
            (tmp_path / "model.onnx").write_bytes(b"none")
            with pytest.raises(ModelError, match="is no model"):
                await Worker.start(recipe(), file)
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == before

    run(test())


def test_a_worker_that_cannot_be_started_anew_is_told_of_until_it_can(tmp_path: Path) -> None:
    """Its file was written over, not replaced: what is there now is not what was loaded."""
    path = put(tmp_path, "m", scaled(2.0))
    good = path.read_bytes()

    async def test() -> None:
        async with centre(tmp_path) as made:
            hosted = hosted_in(made, "m")
            path.write_bytes(scaled(3.0))
            assert hosted._worker is not None
            os.kill(hosted._worker.pid, signal.SIGKILL)
            await until(lambda: "was written to since it was loaded" in hosted.reason)
            assert not made.model_ready("m", "")
            assert [(entry.state, entry.reason) for entry in made.index(False)] == [("UNAVAILABLE", hosted.reason)]
            path.write_bytes(good)
            assert (await ask(made, "m", values([1, 1, 1, 1]))).outputs[0].values[0, 0] == 2.0
            assert hosted.reason == ""

    run(test())


def test_unloading_while_memory_is_lent_leaves_no_worker(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, name, scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path, "a") as made:
            hosted = hosted_in(made, "a")
            memory_of(made).budget = int(1.5 * hosted.bytes)
            await made.load("b", {}, ME)
            assert not hosted.in_memory
            asked = asyncio.create_task(ask(made, "a", values([1, 1, 1, 1])))
            await until(lambda: memory_of(made)._loading is hosted)
            await made.unload("a", {}, ME)
            assert (await asked).outputs[0].values[0, 0] == 2.0  # it was waited for
            assert not hosted.in_memory
            assert memory_of(made).used <= memory_of(made).budget

    run(test())


def test_a_worker_whose_service_is_gone_with_its_answer_unread_ends_in_silence(tmp_path: Path) -> None:
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    blocks = [new_block(), new_block()]
    path = tmp_path / "model.onnx"
    path.write_bytes(scaled(2.0))
    with path.open("rb") as file:
        passed = [theirs.fileno(), *(block.descriptor for block in blocks), file.fileno()]
        command = [sys.executable, "-m", "edgesight.host.datacenter.worker", *map(str, passed), str(os.getpid())]
        process = subprocess.Popen(command, pass_fds=passed, stderr=subprocess.PIPE, text=True)
    theirs.close()
    own.send(recipe().pack().encode())
    assert b"inputs" in own.recv(1 << 16)
    own.send(json.dumps({"places": [], "wanted": [], "measure": False}).encode())
    assert select.select([own], [], [], 60.0)[0]
    own.close()
    assert (process.communicate(timeout=60.0)[1], process.returncode) == ("", 0)
    for block in blocks:
        block.close()
