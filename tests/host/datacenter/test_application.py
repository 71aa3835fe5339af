"""The data centre behind its border: models answer, are replaced, lost and brought back, and nothing takes it down."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.quotas import Quota, Quotas
from edgesight.host.datacenter.repository import BackEnd, Repository
from edgesight.host.doors.served import Caller, Code, Refused, Request, Tensor, Wanted
from edgesight.host.kernel import BackEndInput
from tests.host.by_hand import CLASSES, SHAPE, clear_images, sums
from tests.host.datacenter.tiny import (
    ME,
    ask,
    centre,
    gather,
    hosted_in,
    looping,
    memory_of,
    put,
    run,
    scaled,
    texts,
    values,
)
from tests.waiting import until, wait_until

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")


def test_models_of_a_repository_are_told_of_and_answer(tmp_path: Path) -> None:
    put(tmp_path, "double", scaled(2.0))
    put(tmp_path, "fixed", scaled(3.0, batch=1))
    (tmp_path / "double" / "labels.txt").write_text("a\nb\nc\n")

    async def test() -> None:
        async with centre(tmp_path) as made:
            assert made.live()
            assert made.ready()
            assert [(entry.name, entry.version, entry.state) for entry in made.index(True)] == [
                ("double", "1", "READY"),
                ("fixed", "1", "READY"),
            ]
            told = made.metadata("double", "")
            assert (told.versions, told.platform, told.max_batch_size) == (["1"], "onnxruntime_onnx", 8)
            assert [(port.name, port.datatype, port.shape) for port in told.inputs] == [("x", "FP32", (-1, 4))]
            assert told.parameters["memory_is_measured"] is True
            assert made.metadata("fixed", "1").max_batch_size == 0
            rows = values([1, 2, 3, 4], [4, 3, 2, 1])
            response = await ask(made, "double", rows, id="7")
            assert (response.model, response.version, response.id) == ("double", "1", "7")
            assert np.array_equal(response.outputs[0].values, rows * 2)
            best = await ask(made, "double", rows, classes=2)
            assert best.outputs[0].datatype == "BYTES"
            assert best.outputs[0].values.tolist() == [
                [b"8.000000:3", b"6.000000:2:c"],
                [b"8.000000:0:a", b"6.000000:1:b"],
            ]
            (counted,) = made.statistics("double", "")
            assert (counted.inference_count, counted.execution_count, counted.success.count) == (4, 2, 2)
            assert counted.batches[2].count == 2
            assert counted.compute_infer.ns > 0
        assert not made.ready()

    run(test())


BAD = {
    "no such model": (Request("none", [Tensor("x", "FP32", values([1, 2, 3, 4]))]), Code.NOT_FOUND),
    "no such version": (Request("m", [Tensor("x", "FP32", values([1, 2, 3, 4]))], "9"), Code.NOT_FOUND),
    "no such input": (Request("m", [Tensor("z", "FP32", values([1, 2, 3, 4]))]), Code.INVALID_ARGUMENT),
    "twice": (Request("m", [Tensor("x", "FP32", values([1, 2, 3, 4]))] * 2), Code.INVALID_ARGUMENT),
    "of another type": (Request("m", [Tensor("x", "FP64", np.zeros((1, 4)))]), Code.INVALID_ARGUMENT),
    "of another shape": (Request("m", [Tensor("x", "FP32", values([1, 2, 3]))]), Code.INVALID_ARGUMENT),
    "of no rows": (Request("m", [Tensor("x", "FP32", np.zeros((0, 4), np.float32))]), Code.INVALID_ARGUMENT),
    "of too many rows": (Request("m", [Tensor("x", "FP32", np.zeros((9, 4), np.float32))]), Code.INVALID_ARGUMENT),
    "no such output": (
        Request("m", [Tensor("x", "FP32", values([1, 2, 3, 4]))], outputs=[Wanted("q")]),
        Code.INVALID_ARGUMENT,
    ),
    "no priority": (
        Request("m", [Tensor("x", "FP32", values([1, 2, 3, 4]))], parameters={"priority": -1}),
        Code.INVALID_ARGUMENT,
    ),
    "no time": (Request("m", [Tensor("x", "FP32", values([1, 2, 3, 4]))], timeout=0.0), Code.DEADLINE_EXCEEDED),
}


def test_what_is_wrong_with_a_request_is_named_and_the_next_is_answered(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path) as made:
            for name, (request, code) in BAD.items():
                with pytest.raises(Refused) as refused:
                    await made.infer(request, ME)
                assert refused.value.code is code, (name, refused.value)
            assert (await ask(made, "m", values([1, 2, 3, 4]))).outputs[0].values[0, 0] == 2.0
            assert made.statistics("m", "")[0].fail.count == len(BAD) - 2

    run(test())


def test_scalars_stay_scalars(tmp_path: Path) -> None:
    put(tmp_path, "counter", looping())

    async def test() -> None:
        async with centre(tmp_path) as made:
            answer = await ask(made, "counter", np.array(3), name="n", datatype="INT64")
            assert answer.outputs[0].values.shape == ()
            with pytest.raises(Refused, match=r"has shape \[0\], which holds nothing: send at least one element"):
                await ask(made, "counter", np.zeros(0, np.int64), name="n", datatype="INT64")

    run(test())


def test_the_index_says_why_a_model_was_never_loaded(tmp_path: Path) -> None:
    put(tmp_path, "sequence", scaled(2.0), config="sequence_batching { }")
    (tmp_path / "empty").mkdir()

    async def test() -> None:
        async with centre(tmp_path) as made:
            assert {entry.name: entry.reason for entry in made.index(False)} == {
                "empty": "model empty has no version: put its file into empty/1/",
                "sequence": "model sequence: config.pbtxt has sequence_batching, which is not supported: leave it out",
            }
            with pytest.raises(Refused, match=r"'empty' is not loaded \(model empty has no version"):
                await ask(made, "empty", values([1, 2, 3, 4]))

    run(test())


def test_bytes_that_are_no_text_are_the_askers_fault(tmp_path: Path) -> None:
    put(tmp_path, "texts", texts())

    async def test() -> None:
        async with centre(tmp_path) as made:
            with pytest.raises(Refused, match="element 1, is no UTF-8") as refused:
                await ask(made, "texts", np.array([[b"a", b"\xff"]], object), name="t", datatype="BYTES")
            assert refused.value.code is Code.INVALID_ARGUMENT
            response = await ask(made, "texts", np.array([[b"a", "ä".encode()]], object), name="t", datatype="BYTES")
            assert response.outputs[0].values.tolist() == [[b"a", "ä".encode()]]

    run(test())


def test_a_worker_that_is_killed_is_unavailable_at_once_and_comes_back(tmp_path: Path) -> None:
    put(tmp_path, "slow", looping())
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path) as made:
            hosted = hosted_in(made, "slow")
            forever = np.array(1 << 40)
            asked = asyncio.create_task(ask(made, "slow", forever, name="n", datatype="INT64"))
            await until(lambda: hosted.scheduler is not None and hosted.scheduler.working)
            assert hosted._worker is not None
            os.kill(hosted._worker.pid, signal.SIGKILL)
            begun = time.monotonic()
            with pytest.raises(Refused, match="the worker of model slow ended: ask again") as refused:
                await asked
            assert time.monotonic() - begun < 1.0
            assert refused.value.code is Code.UNAVAILABLE
            assert refused.value.retry_after is not None
            assert not made.model_ready("slow", "")
            assert (await ask(made, "m", values([1, 2, 3, 4]))).outputs[0].values[0, 3] == 8.0
            # What is asked meanwhile waits for the new one.
            again = await ask(made, "slow", np.array(5), name="n", datatype="INT64")
            assert again.outputs[0].values == 5
            assert made.model_ready("slow", "")

    run(test())


def test_a_model_that_hangs_is_ended_and_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.datacenter.hosted._HANGS_LEAST", 0.3)
    put(tmp_path, "slow", looping())

    async def test() -> None:
        async with centre(tmp_path) as made:
            assert (await ask(made, "slow", np.array(5), name="n", datatype="INT64")).outputs[0].values == 5
            with pytest.raises(Refused, match=r"model slow gave no answer for .* s, and its") as refused:
                await ask(made, "slow", np.array(1 << 40), name="n", datatype="INT64")
            assert refused.value.code is Code.UNAVAILABLE
            assert (await ask(made, "slow", np.array(6), name="n", datatype="INT64")).outputs[0].values == 6

    run(test())


def test_a_row_that_a_model_fails_on_costs_no_other_caller_its_answer(tmp_path: Path) -> None:
    put(tmp_path, "table", gather())

    async def test() -> None:
        async with centre(tmp_path) as made:
            asked = [
                ask(made, "table", np.array([[index]]), name="i", datatype="INT64", caller=Caller(f"c{index}"))
                for index in (0, 1, 99, 3)
            ]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(found[2], Refused)
            assert found[2].code is Code.INTERNAL
            assert str(found[2]).startswith("model table failed: ")
            assert [one.outputs[0].values[0, 0] for one in found if not isinstance(one, BaseException)] == [0, 1, 3]

    run(test())


def test_a_new_version_takes_over_and_a_corrupt_file_does_not(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path) as made:
            one = values([1, 1, 1, 1])

            async def factor() -> float:
                return float((await ask(made, "m", one)).outputs[0].values[0, 0])

            seen = []

            async def keep_asking() -> None:
                while True:
                    seen.append(await factor())
                    await asyncio.sleep(0.005)  # sleeps: between two requests

            asking = asyncio.create_task(keep_asking())
            put(tmp_path, "m", scaled(3.0))  # the same version, another file
            await made.load("m", {}, ME)
            await until(lambda: seen[-1] == 3.0)
            put(tmp_path, "m", scaled(4.0), version=2)
            await made.load("m", {}, ME)
            await until(lambda: seen[-1] == 4.0)
            assert made.metadata("m", "").versions == ["2"]
            good = scaled(5.0)
            put(tmp_path, "m", good[: len(good) // 2], version=3)
            with pytest.raises(Refused, match="m is no model that ONNX Runtime can load") as refused:
                await made.load("m", {}, ME)
            assert refused.value.code is Code.INVALID_ARGUMENT
            (entry,) = made.index(True)
            assert (entry.version, entry.reason) == ("2", str(refused.value))
            put(tmp_path, "m", gather(), version=3)
            await made.load("m", {}, ME)  # another model altogether
            with pytest.raises(Refused, match="no input 'x': it takes i"):
                await asking
            assert set(seen) == {2.0, 3.0, 4.0}
            assert (await ask(made, "m", np.array([[2]]), name="i", datatype="INT64")).version == "3"

    run(test())


def test_the_index_tells_why_a_model_was_not_loaded_as_long_as_it_is_there(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0), config="max_batch_sise: 3")

    async def test() -> None:
        async with centre(tmp_path) as made:
            (entry,) = made.index(False)
            assert (entry.state, "max_batch_sise" in entry.reason) == ("UNAVAILABLE", True)
            with pytest.raises(Refused, match=r"'m' is not loaded .*max_batch_sise"):
                await ask(made, "m", values([1, 1, 1, 1]))
            shutil.rmtree(tmp_path / "m")
            assert made.index(False) == []
            with pytest.raises(Refused, match="not in the repository"):
                await made.load("m", {}, ME)
            assert made.index(False) == []

    run(test())


def test_versions_are_served_as_the_policy_says(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        put(tmp_path, "m", scaled(float(version)), version, "version_policy: { specific: { versions: [1, 3] } }")

    async def test() -> None:
        async with centre(tmp_path, "m") as made:
            assert made.metadata("m", "").versions == ["1", "3"]
            for version, factor in (("1", 1.0), ("3", 3.0), ("", 3.0)):
                response = await ask(made, "m", values([1, 1, 1, 1]), version=version)
                assert response.outputs[0].values[0, 0] == factor
            config = '{"name": "m", "version_policy": {"all": {}}}'
            await made.load("m", {"config": config}, ME)
            assert made.metadata("m", "").versions == ["1", "2", "3"]
            with pytest.raises(Refused, match=r"no parameter 'file:1/model.onnx' here"):
                await made.load("m", {"file:1/model.onnx": ""}, ME)
            await made.unload("m", {}, ME)
            assert not made.model_ready("m", "")
            with pytest.raises(Refused, match="'m' is not loaded"):
                await ask(made, "m", values([1, 1, 1, 1]))
            with pytest.raises(Refused, match="'m' is not loaded"):
                await made.unload("m", {}, ME)
            assert [(entry.state, entry.reason) for entry in made.index(False)] == [("UNAVAILABLE", "not loaded")]

    run(test())


def test_a_model_out_of_memory_is_brought_back_by_the_next_request(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path, name, scaled(2.0, megabytes=1))

    async def test() -> None:
        async with centre(tmp_path, "a") as made:
            one = hosted_in(made, "a").bytes
            memory_of(made).budget = int(2.5 * one)  # of two
            await made.load("b", {}, ME)
            await made.load("c", {}, ME)
            assert memory_of(made).evictions == 1
            assert len(made.index(True)) == 3
            assert memory_of(made).used <= memory_of(made).budget
            out = next(name for name in ("a", "b") if not memory_of(made).holds(hosted_in(made, name)))
            with pytest.raises(Refused, match="is not in memory, and its load takes") as refused:
                await ask(made, out, values([1, 1, 1, 1]), timeout=1e-3)
            assert refused.value.code is Code.DEADLINE_EXCEEDED
            asked = [ask(made, out, values([1, 1, 1, 1]), timeout=30.0) for _ in range(8)]
            loads = memory_of(made).loads
            for response in await asyncio.gather(*asked):
                assert response.outputs[0].values[0, 0] == 2.0
            assert memory_of(made).loads == loads + 1  # for all of them
            assert memory_of(made).used <= memory_of(made).budget

    run(test())


def test_draining_answers_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    put(tmp_path, "slow", looping())

    async def test() -> None:
        async with centre(tmp_path) as made:
            hosted = hosted_in(made, "slow")
            asked = [
                asyncio.create_task(ask(made, "slow", np.array(20_000), name="n", datatype="INT64")) for _ in range(4)
            ]
            await until(lambda: hosted.scheduler is not None and hosted.scheduler.working)
            draining = asyncio.create_task(made.drain())
            await asyncio.sleep(0)
            assert made.live()
            assert not made.ready()
            with pytest.raises(Refused, match="the data centre starts or ends"):
                await ask(made, "slow", np.array(1), name="n", datatype="INT64")
            assert [response.outputs[0].values for response in await asyncio.gather(*asked)] == [20_000] * 4
            await draining

    run(test())


def test_quotas_bind_whom_they_name(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        quotas = Quotas(of={"greedy": Quota(requests_per_s=1e-3)})
        async with centre(tmp_path, quotas=quotas) as made:
            await ask(made, "m", values([1, 1, 1, 1]), caller=Caller("greedy"))
            with pytest.raises(Refused, match=r"greedy may ask for 0\.001 requests a second") as refused:
                await ask(made, "m", values([1, 1, 1, 1]), caller=Caller("greedy"))
            assert refused.value.code is Code.RESOURCE_EXHAUSTED
            assert refused.value.retry_after is not None
            for _ in range(3):
                await ask(made, "m", values([1, 1, 1, 1]))

    run(test())


def test_rows_that_go_together_can_be_limited_while_a_model_works(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path) as made:
            for most in (1, 2, 8):
                made.limit_rows("m", most)
                await asyncio.gather(*(ask(made, "m", values([1, 2, 3, 4])) for _ in range(16)))
                assert max(made.statistics("m", "")[0].batches) <= most
            for wrong in (0, 9):
                with pytest.raises(Refused, match=f"takes 1 to 8 rows at once, not {wrong}: state"):
                    made.limit_rows("m", wrong)

    run(test())


def test_encoded_pictures_are_taken_where_the_model_has_a_form(tmp_path: Path, backend: Path) -> None:
    height, width, _ = SHAPE
    form = BackEndInput(
        height=height, width=width, channels=1, layout="NHWC", element="uint8", mean=[0.0], deviation=[1.0]
    )
    put(tmp_path, "digits", backend.read_bytes())
    (tmp_path / "digits" / "form.json").write_text(form.model_dump_json())
    images = clear_images(3)

    async def test() -> None:
        async with centre(tmp_path) as made:
            assert made.metadata("digits", "").parameters["picture_input"] == "picture"
            files = np.empty(3, object)
            for place, image in enumerate(images):
                with io.BytesIO() as file:
                    Image.fromarray(image[..., 0]).save(file, "PNG")
                    files[place] = file.getvalue()
            response = await made.infer(Request("digits", [Tensor("picture", "BYTES", files)]), ME)
            assert np.array_equal(response.outputs[0].values, -sums(images, 1).astype(np.float32))
            assert response.outputs[0].values.shape == (3, CLASSES)
            (seen,) = made.recent()  # the first of them, for who looks on
            best = int(np.argmax(-sums(images[:1], 1)[0]))
            assert (seen.said["class_name"], seen.said["asked_by"]) == (f"class {best}", ME.name)
            assert seen.picture == files[0]
            files[1] = b"no picture"
            with pytest.raises(Refused, match="picture 1 ") as refused:
                await made.infer(Request("digits", [Tensor("picture", "BYTES", files)]), ME)
            assert refused.value.code is Code.INVALID_ARGUMENT

    run(test())


def test_a_package_that_says_which_outputs_are_its_classes_names_these(tmp_path: Path) -> None:
    form = BackEndInput(
        height=2,
        width=2,
        channels=1,
        layout="NHWC",
        element="uint8",
        mean=[0.0],
        deviation=[1.0],
        outputs=[2, 0],
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "m.onnx").write_bytes(scaled(1.0))
    package = BackEnd("m", tmp_path / "m.onnx", form, ["shoe", "hat"])

    async def test() -> None:
        async with DataCentre(Repository(tmp_path / "models", package), Local(8 << 30)) as made:
            await made.start(None)
            (best,) = (await ask(made, "m", values([1, 2, 4, 3]), classes=4)).outputs
            told = [b"4.000000:2:shoe", b"3.000000:3", b"2.000000:1", b"1.000000:0:hat"]
            assert best.values.tolist() == [told]

    run(test())


SERVES = """
import asyncio, sys
from pathlib import Path
from tests.host.datacenter.tiny import centre, hosted_in
async def main():
    async with centre(Path(sys.argv[1])) as made:
        print(hosted_in(made, "m")._worker.pid, flush=True)
        await asyncio.sleep(60)  # sleeps: it is killed
asyncio.run(main())
"""


def test_workers_end_with_a_service_that_is_killed(tmp_path: Path) -> None:
    put(tmp_path, "m", scaled(2.0))
    with subprocess.Popen(
        [sys.executable, "-c", SERVES, tmp_path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as service:
        assert service.stdout is not None
        worker = int(service.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        service.kill()
        wait_until(lambda: not _lives(worker))


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
