"""The edge as the Open Inference Protocol's doors see it: applications asked by accuracy, and never by network."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight.host.answer import Answer
from edgesight.host.applications.applications import VERSION, Application, Applications
from edgesight.host.applications.asked import LONGEST_DEADLINE_MS, MAX_PICTURES
from edgesight.host.cascade import Cascade, TargetRefused
from edgesight.host.doors.served import Caller, Code, Parameters, Refused, Request, Response, Tensor, Wanted
from edgesight.host.edge import Edge, EdgeError, open_edge, picture_decoder
from edgesight.host.fabric.base import Images, Records
from edgesight.host.kernel import BackEndInput
from edgesight.host.link.datagrams import Status
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.package import Package
from tests.host.by_hand import SHAPE, FakeFabric, calibration, clear_images, package, sums
from tests.waiting import until

CALLER = Caller("someone")


def png(image: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image[..., 0]).save(content, "PNG")
    return content.getvalue()


def files(contents: Sequence[bytes], *, nested: bool = False) -> Tensor:
    values = np.empty(len(contents), object)
    values[:] = contents
    return Tensor("picture", "BYTES", values[:, None] if nested else values)


def pixels(images: npt.NDArray[np.uint8]) -> Tensor:
    return Tensor("picture", "UINT8", images)


def asking(model: str, picture: Tensor, parameters: Parameters | None = None, **others: Any) -> Request:
    return Request(model, [picture], parameters=parameters or {}, **others)


def column(response: Response, name: str) -> list[Any]:
    (found,) = [tensor for tensor in response.outputs if tensor.name == name]
    values: list[Any] = found.values.tolist()
    return values


def labels(images: npt.NDArray[np.uint8], stage: int) -> list[int]:
    found: list[int] = sums(images, stage).argmax(axis=1).tolist()
    return found


class GatedFabric(FakeFabric):
    """Answers once it may, and knows what it looked at."""

    def __init__(self, made: Package, error: int = 0) -> None:
        super().__init__(made, error=error)
        self.may, self.at_work = threading.Event(), threading.Event()
        self.looked_at: list[Images] = []

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        self.at_work.set()
        assert self.may.wait(20)
        self.looked_at.append(images)
        return super().run(images, sets)


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "by-hand", calibration())


@contextlib.asynccontextmanager
async def serving(*fabrics: FakeFabric, accuracy: float | None = None) -> AsyncIterator[Applications]:
    """Applications `first`, `second` and so on, on these fabrics, without a data centre."""
    async with contextlib.AsyncExitStack() as stack:
        opened = {}
        for name, fabric in zip(("first", "second", "third"), fabrics, strict=False):
            cascade = Cascade(fabric, fabric.package.kernel.calibration or calibration(), None)
            stack.callback(cascade.close)
            opened[name] = Application(await stack.enter_async_context(Edge(cascade)), accuracy)
        yield Applications(opened)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def test() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(test())


async def refusal(served: Applications, request: Request) -> Refused:
    with pytest.raises(Refused) as found:
        await served.infer(request, CALLER)
    return found.value


def test_a_picture_is_answered_with_all_that_an_answer_says(made: Package) -> None:
    image = clear_images(1)

    async def test() -> None:
        async with serving(FakeFabric(made, simulated=True)) as served:
            response = await served.infer(
                asking("first", files([png(image[0])]), {"accuracy": 0.85, "deadline_ms": 500.0}, id="mine"), CALLER
            )
            assert (response.model, response.version, response.id) == ("first", VERSION, "mine")
            assert column(response, "label") == labels(image, 1)
            assert column(response, "class_name") == [f"class {labels(image, 1)[0]}".encode()]
            assert column(response, "confidence") == [pytest.approx(0.8)]
            assert (column(response, "stage"), column(response, "degraded")) == ([b"stage1"], [False])
            assert (column(response, "guaranteed"), column(response, "accuracy_target")) == ([True], [0.9])
            assert column(response, "milliseconds") == column(response, "fabric_ms") == [10.0]
            assert all(math.isnan(column(response, name)[0]) for name in ("novelty", "energy_joules", "link_ms"))
            assert all(len(tensor.values) == 1 for tensor in response.outputs)
            said = dict(response.parameters)
            assert said.pop("confidence") == pytest.approx(0.8)
            assert said.pop("guaranteed_for") == f"pictures like {calibration().rests_on.distribution}"
            assert said == {
                "class_name": f"class {labels(image, 1)[0]}",
                "stage": "stage1",
                "accuracy_target": 0.9,
                "degraded": False,
                "guaranteed": True,
                "hedged": False,
                "milliseconds": 10.0,
                "fabric_ms": 10.0,
                "fabric_obtained": "simulated",
            }

    run(test)


@pytest.mark.parametrize("nested", [False, True])
def test_files_and_pixels_of_a_batch_get_the_same_answers_in_their_order(made: Package, nested: bool) -> None:
    images = clear_images(MAX_PICTURES)

    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            for picture in (files([png(image) for image in images], nested=nested), pixels(images)):
                response = await served.infer(asking("first", picture, {"accuracy": "0.8"}), CALLER)
                assert column(response, "label") == labels(images, 0)
                assert response.parameters == {
                    "pictures": MAX_PICTURES,
                    "stage0_count": MAX_PICTURES,
                    "degraded_count": 0,
                    "guaranteed_count": MAX_PICTURES,
                    "hedged_count": 0,
                    "warnings_count": 0,
                    "accuracy_target": 0.8,
                    "fabric_obtained": "measured",
                }
            alone = await served.infer(asking("first", pixels(images[5]), {"accuracy": "0.8"}), CALLER)
            assert column(alone, "label") == labels(images[5:6], 0)

    run(test)


def test_pixels_may_have_the_back_ends_form_and_answers_warn(tmp_path: Path) -> None:
    plain = package(tmp_path / "plain", calibration())
    back_end = BackEndInput(
        height=56, width=56, channels=1, layout="NHWC", element="uint8", mean=[0.0], deviation=[1.0]
    )
    made = plain.replace(backend_input=back_end.model_dump())
    images = clear_images(2)
    photographs = images.repeat(2, axis=1).repeat(2, axis=2)

    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            assert served.metadata("first", "").inputs[0].shape == (-1, 56, 56, 1)
            large = await served.infer(asking("first", pixels(photographs), {"accuracy": 0.8}), CALLER)
            assert column(large, "label") == labels(images, 0)
            small = await served.infer(asking("first", pixels(images[:1]), {"accuracy": 0.8}), CALLER)
            warned = "picture 0 has the fabric's size: for the data centre it is enlarged"
            assert small.parameters["warnings"] == warned
            assert column(small, "warnings") == [warned.encode()]

    run(test)


def test_applications_answer_side_by_side_and_are_known_by_their_own_names_alone(made: Package, tmp_path: Path) -> None:
    other = package(tmp_path / "other", calibration())
    image = clear_images(1)

    async def test() -> None:
        slow = GatedFabric(other)
        async with serving(FakeFabric(made), slow) as served:
            waiting = asyncio.create_task(served.infer(asking("second", pixels(image)), CALLER))
            await until(slow.at_work.is_set)
            await served.infer(asking("first", pixels(image)), CALLER)
            assert not waiting.done()
            slow.may.set()
            assert (await waiting).model == "second"
            assert [entry.name for entry in served.index(True)] == ["first", "second"]
            for name in ("stage0", "sum", "datacenter"):
                error = await refusal(served, asking(name, pixels(image)))
                assert error.code is Code.NOT_FOUND
                assert f"'{name}': it is a part of first, second. Ask one of: first, second." in str(error)
                assert "by the parameter accuracy" in str(error)
            for request in (asking("by-hand", pixels(image)), asking("first", pixels(image), version="2")):
                assert (await refusal(served, request)).code is Code.NOT_FOUND
            for name, version in (("third", ""), ("first", "2")):
                assert not served.model_ready(name, version)
                for ask in (served.metadata, served.statistics):
                    with pytest.raises(Refused):
                        ask(name, version)
            assert served.model_ready("second", VERSION)

    run(test)


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"accuracy": 0.5}, 0.8),
        ({"accuracy": " 0.95"}, 0.95),
        ({"accuracy": 0}, 0.8),
        ({"deadline_ms": "500", "priority": 3}, 0.95),
        ({"deadline_ms": LONGEST_DEADLINE_MS, "priority": 0, "unknown": "x"}, 0.95),
    ],
)
def test_parameters_are_numbers_or_texts_and_the_highest_target_is_the_default(
    made: Package, parameters: Parameters, target: float
) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            response = await served.infer(asking("first", pixels(clear_images(1)), parameters), CALLER)
            assert response.parameters["accuracy_target"] == target

    run(test)


def test_a_default_accuracy_is_the_applications_own(made: Package) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made), accuracy=0.85) as served:
            response = await served.infer(asking("first", pixels(clear_images(1))), CALLER)
            assert response.parameters["accuracy_target"] == 0.9
            assert served.metadata("first", "").parameters["default_accuracy"] == 0.85
            edge = served._applications["first"].edge
            with pytest.raises(TargetRefused, match=r"the best target is 0\.95"):
                Applications({"first": Application(edge, 0.99)})
            for name in ("", "a/b", "-x", "a" * 65, "ä"):
                with pytest.raises(EdgeError, match="no application can be called"):
                    Applications({name: Application(edge)})

    run(test)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"accuracy": 0.99}, "accuracy 0.99 is not offered: the best target is 0.95"),
        ({"accuracy": 1.5}, "parameter accuracy is 1.5: give the least share"),
        ({"accuracy": "high"}, "parameter accuracy must be a number, or a text that is one, not 'high'"),
        ({"accuracy": "nan"}, "parameter accuracy must be a number"),
        ({"accuracy": True}, "parameter accuracy must be a number"),
        ({"accuracy": 10**400}, "parameter accuracy must be a number"),
        ({"deadline_ms": 0}, "parameter deadline_ms is 0: give milliseconds above 0, at most 60000"),
        ({"deadline_ms": "60001"}, "parameter deadline_ms is 60001"),
        ({"deadline_ms": "inf"}, "parameter deadline_ms must be a number"),
        ({"priority": -1}, "parameter priority is -1"),
        ({"priority": 1.5}, "parameter priority is 1.5"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(made: Package, parameters: Parameters, said: str) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            error = await refusal(served, asking("first", pixels(clear_images(1)), parameters))
            assert (error.code, str(error)[: len(said)]) == (Code.INVALID_ARGUMENT, said)

    run(test)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], r"inputs \[\]: give one, called picture"),
        ([Tensor("image", "BYTES", np.array([b"x"], object))], r"inputs \['image'\]: give one, called picture"),
        ([files([b"x"])] * 2, "give one, called picture"),
        ([files([])], "0 pictures: give 1 to 64 a request"),
        ([files([b"x"] * 65)], "65 pictures: give 1 to 64 a request"),
        ([Tensor("picture", "BYTES", np.full((2, 2), b"x", object))], r"picture is BYTES \[2, 2\]: give files"),
        ([Tensor("picture", "BYTES", np.array(b"x", object))], r"picture is BYTES \[\]: give files"),
        ([Tensor("picture", "FP32", np.zeros((1, *SHAPE), np.float32))], r"picture is FP32 \[1, 28, 28, 1\]: give"),
        ([pixels(np.zeros((28, 28), np.uint8))], r"picture is UINT8 \[28, 28\]"),
        ([pixels(np.zeros((2, 28, 27, 1), np.uint8))], r"picture [01] holds uint8 \[28, 27, 1\], but the kernel takes"),
        ([files([png(clear_images(1)[0]), b"no picture"])], "picture 1 "),
    ],
)
def test_what_is_no_picture_is_refused_with_its_number(made: Package, inputs: list[Tensor], said: str) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            with pytest.raises(Refused, match=said) as found:
                await served.infer(Request("first", inputs), CALLER)
            assert found.value.code is Code.INVALID_ARGUMENT
            (counts,) = served.statistics("first", "")
            assert (counts.fail.count, counts.success.count, counts.inference_count) == (1, 0, 0)
            await served.infer(asking("first", pixels(clear_images(1))), CALLER)  # and it goes on

    run(test)


def test_outputs_are_those_asked_for_and_the_confidence_is_a_classification(made: Package) -> None:
    images = clear_images(3)

    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            wanted = [Wanted("confidence", classes=5), Wanted("stage")]
            request = asking("first", pixels(images), {"accuracy": 0.8}, outputs=wanted)
            response = await served.infer(request, CALLER)
            assert [(one.name, one.datatype, one.values.shape) for one in response.outputs] == [
                ("confidence", "BYTES", (3, 1)),
                ("stage", "BYTES", (3,)),
            ]
            told = [f"0.700000:{label}:class {label}".encode() for label in labels(images, 0)]
            assert response.outputs[0].values.ravel().tolist() == told
            for wrong, said in ((Wanted("scores"), "no output 'scores'"), (Wanted("label", 1), "label is no class")):
                error = await refusal(served, asking("first", pixels(images), outputs=[wrong]))
                assert error.code is Code.INVALID_ARGUMENT
                assert said in str(error)

    run(test)


def test_metadata_make_a_classifier_of_an_application(made: Package) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            metadata = served.metadata("first", "")
            (taken,), (given,) = metadata.inputs, metadata.outputs
            assert (taken.name, taken.datatype, taken.shape) == ("picture", "UINT8", (-1, *SHAPE))
            assert (given.name, given.datatype, given.shape) == ("confidence", "FP32", (-1,))
            assert metadata.max_batch_size == MAX_PICTURES
            assert metadata.labels == tuple(made.kernel.classes)
            assert metadata.parameters["accuracy_targets"] == "0.8, 0.9, 0.95"
            response = await served.infer(asking("first", pixels(clear_images(1))), CALLER)
            said = f"{metadata.parameters['further_outputs']}, confidence FP32 [N]"
            for output in response.outputs:
                assert f"{output.name} {output.datatype} [N]" in said

    run(test)


def test_a_fabric_that_fails_is_unavailable(made: Package) -> None:
    async def test() -> None:
        async with serving(FakeFabric(made, error=3)) as served:
            error = await refusal(served, asking("first", pixels(clear_images(2))))
            assert error.code is Code.UNAVAILABLE
            assert "the fabric answered with error 3" in str(error)
            assert served.ready()

    run(test)


def test_what_there_is_no_room_for_is_refused_early_and_told_when_to_come(
    made: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.applications.applications.MAX_WAITING", 3)
    monkeypatch.setattr("edgesight.host.applications.applications.GIVEN_BYTES", 3 * 784)
    images = clear_images(4)

    async def test() -> None:
        fabric = GatedFabric(made)
        async with serving(fabric, fabric) as served:
            assert served.metadata("first", "").max_batch_size == 3
            error = await refusal(served, asking("first", pixels(images)))
            assert (error.code, "4 pictures: the edge has memory for 3" in str(error)) == (Code.INVALID_ARGUMENT, True)
            waiting = asyncio.create_task(served.infer(asking("first", pixels(images[:2])), CALLER))
            await until(fabric.at_work.is_set)
            error = await refusal(served, asking("first", pixels(images[:2])))
            assert (error.code, error.retry_after) == (Code.RESOURCE_EXHAUSTED, None)  # nothing was measured yet
            assert str(error) == "2 pictures wait for answers, of 3 that may, and 2 came: ask again later"
            error = await refusal(served, asking("second", pixels(images[:2])))  # whose room is its own, but for bytes
            assert error.code is Code.RESOURCE_EXHAUSTED
            assert "take 1568 of 2352 bytes, and 1568 came" in str(error)
            fabric.may.set()
            await waiting
            fabric.may.clear()
            fabric.at_work.clear()
            waiting = asyncio.create_task(served.infer(asking("first", pixels(images[:2])), CALLER))
            await until(fabric.at_work.is_set)
            retry_after = (await refusal(served, asking("first", pixels(images[:2])))).retry_after
            assert retry_after is not None
            assert retry_after > 0
            fabric.may.set()
            await waiting

    run(test)


def test_others_who_ask_the_same_edge_fill_it_too(made: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.edge.HELD_BYTES", 784)

    async def test() -> None:
        fabric = GatedFabric(made)
        cascade = Cascade(fabric, calibration(), None)
        async with Edge(cascade, held_bytes=2 * 784) as edge:
            served = Applications({"first": Application(edge)})
            image = clear_images(1)[0]
            others = [
                asyncio.create_task(edge.ask(await edge.take(image, "x"), edge.target(0.8), 1.0)) for _ in range(2)
            ]
            await until(fabric.at_work.is_set)
            error = await refusal(served, asking("first", pixels(image)))
            assert (error.code, "ask again later" in str(error)) == (Code.RESOURCE_EXHAUSTED, True)
            fabric.may.set()
            await asyncio.gather(*others)
        cascade.close()

    run(test)


def test_a_time_limit_ends_a_request_and_a_deadline_degrades_its_answer(made: Package) -> None:
    image = clear_images(1)

    async def test() -> None:
        fabric = GatedFabric(made)
        async with serving(fabric) as served:
            for request in (
                asking("first", pixels(image), timeout=0.05),
                asking("first", pixels(image), {"timeout": 50_000, "deadline_ms": 10.0}, timeout=0.01),
                asking("first", pixels(image), {"deadline_ms": 60_000}, timeout=0.05),
                asking("first", pixels(image), timeout=0.0),
            ):
                error = await refusal(served, request)
                assert error.code is Code.DEADLINE_EXCEEDED
            # What a door made of the deadline alone ends nothing.
            late = asyncio.create_task(
                served.infer(asking("first", pixels(image), {"deadline_ms": "10"}, timeout=0.01), CALLER)
            )
            await until(fabric.at_work.is_set)
            done, _ = await asyncio.wait([late], timeout=0.05)
            assert not done
            fabric.may.set()
            answer = (await late).parameters
            assert (answer["degraded"], answer["guaranteed"]) == (True, False)
            assert "guaranteed_for" not in answer
            await until(lambda: len(fabric.looked_at) >= 2)
            assert sum(map(len, fabric.looked_at)) == 2  # what nobody waited for any more was not looked at

    run(test)


class Away:
    """A data centre that answers the first request, and none after it."""

    def __init__(self) -> None:
        self.within: list[float] = []
        self.traces: list[str | None] = []

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        self.within.append(within)
        self.traces.append(trace)
        if len(self.within) == 1:
            return Offloaded(1, Status.ANSWERED, 3, service_us=2_500)
        await asyncio.sleep(within)  # sleeps: what the link waits for an answer
        raise NoAnswer("no answer came")


def test_the_data_centre_answers_within_the_time_that_is_left_or_the_edge_does(made: Package) -> None:
    image = clear_images(1)

    async def test() -> None:
        away = Away()
        cascade = Cascade(FakeFabric(made), calibration(), away)
        async with Edge(cascade) as edge:
            served = Applications({"first": Application(edge)})
            traced = dataclasses.replace(CALLER, trace="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
            answer = (await served.infer(asking("first", pixels(image)), traced)).parameters
            assert (answer["stage"], answer["degraded"], answer["service_ms"]) == ("datacenter", False, 2.5)
            assert away.traces == [traced.trace]
            assert away.within[0] > 50
            response = await served.infer(asking("first", pixels(image.repeat(2, axis=0)), timeout=4.0), CALLER)
            assert response.parameters["degraded_count"] == 2
            assert column(response, "reason") == [b"no answer came"] * 2
            assert all(0 < within < 3.7 for within in away.within[1:])  # there is time left for the way back
        cascade.close()

    run(test)


def test_a_cancelled_request_goes_no_further_and_leaves_its_room(made: Package) -> None:
    images = clear_images(8)

    async def test() -> None:
        fabric = GatedFabric(made)
        async with serving(fabric) as served:
            first = asyncio.create_task(served.infer(asking("first", pixels(images[:1])), CALLER))
            await until(fabric.at_work.is_set)
            second = asyncio.create_task(served.infer(asking("first", files([png(one) for one in images])), CALLER))
            edge = served._applications["first"].edge
            await until(lambda: edge._waiting.qsize() == len(images))
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert served._states["first"].unanswered == 1
            fabric.may.set()
            await first
            await served.infer(asking("first", pixels(images[:1])), CALLER)
            assert [len(looked_at) for looked_at in fabric.looked_at] == [1, 1]
            assert served._states["first"].unanswered == served._given_bytes == 0
            (counts,) = served.statistics("", "")
            assert (counts.success.count, counts.fail.count) == (2, 0)

    run(test)


def test_what_may_wait_for_others_does(made: Package) -> None:
    images = clear_images(70)

    async def test() -> None:
        fabric = GatedFabric(made)
        async with serving(fabric) as served:
            edge = served._applications["first"].edge
            first = asyncio.create_task(served.infer(asking("first", pixels(images[:1])), CALLER))
            await until(fabric.at_work.is_set)
            asked = [
                asyncio.create_task(served.infer(asking("first", pixels(images[k : k + 1]), {"priority": p}), CALLER))
                for k, p in ((1, 5), (2, 0), (3, 2), (4, 1))
            ]
            await until(lambda: edge._waiting.qsize() == len(asked))
            fabric.may.set()
            await asyncio.gather(first, *asked)
            assert np.array_equal(np.concatenate(fabric.looked_at), images[[0, 2, 4, 3, 1]])

    run(test)


def test_counts_are_of_requests_pictures_and_runs_of_the_fabric(made: Package) -> None:
    images = clear_images(5)

    async def test() -> None:
        async with serving(FakeFabric(made), FakeFabric(made)) as served:
            for count in (1, 3):
                await served.infer(asking("first", pixels(images[:count])), CALLER)
            await refusal(served, asking("first", pixels(images), {"accuracy": 0.99}))
            await refusal(served, asking("nobody", pixels(images)))
            first, second = served.statistics("", "")
            assert (first.name, first.version, second.name) == ("first", VERSION, "second")
            assert (first.success.count, first.fail.count, first.inference_count) == (2, 1, 4)
            assert first.queue.count == first.compute_input.count == first.compute_infer.count == 4
            assert first.compute_output.count == 2
            assert first.execution_count == sum(batch.count for batch in first.batches.values())
            assert sum(size * batch.count for size, batch in first.batches.items()) == 4
            assert first.last_inference_ms > 1.6e12
            assert first.success.ns >= max(batch.ns for batch in first.batches.values()) > 0
            assert (second.success.count, second.last_inference_ms, second.batches) == (0, 0, {})

    run(test)


def test_loading_takes_the_packages_thresholds_over_and_nothing_is_unloaded(made: Package) -> None:
    image = clear_images(1)

    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            lower = [target for target in calibration().targets if target.accuracy < 0.95]
            changed = calibration().model_copy(update={"targets": lower})
            made.replace(calibration=changed.model_dump())
            await served.load("first", {}, CALLER)
            assert (await served.infer(asking("first", pixels(image)), CALLER)).parameters["accuracy_target"] == 0.9
            assert served.metadata("first", "").parameters["accuracy_targets"] == "0.8, 0.9"
            (made.path / "kernel.json").write_text("{}")
            for work, code, said in (
                (served.load("first", {}, CALLER), Code.FAILED_PRECONDITION, "goes on with the thresholds that it has"),
                (served.load("first", {"config": "{}"}, CALLER), Code.UNIMPLEMENTED, "no parameters"),
                (served.load("other", {}, CALLER), Code.NOT_FOUND, "there is no application 'other'"),
                (served.unload("first", {}, CALLER), Code.UNIMPLEMENTED, "keeps its fabric"),
                (served.unload("other", {}, CALLER), Code.NOT_FOUND, "there is no application 'other'"),
            ):
                with pytest.raises(Refused, match=said) as found:
                    await work
                assert found.value.code is code
            assert (await served.infer(asking("first", pixels(image)), CALLER)).parameters["accuracy_target"] == 0.9

    run(test)


def test_readiness_ends_when_the_doors_are_to_close_and_life_when_an_edge_does(made: Package) -> None:
    image = clear_images(1)

    async def test() -> None:
        async with serving(FakeFabric(made)) as served:
            assert (served.live(), served.ready(), served.model_ready("first", "")) == (True, True, True)
            served.drain()
            assert (served.live(), served.ready(), served.model_ready("first", "")) == (True, False, False)
            assert served.index(True) == []
            assert [entry.state for entry in served.index(False)] == ["UNAVAILABLE"]
            await served.infer(asking("first", pixels(image)), CALLER)
        assert not served.live()
        error = await refusal(served, asking("first", pixels(image)))
        assert (error.code, "closed" in str(error)) == (Code.UNAVAILABLE, True)

    run(test)


def test_a_fault_of_ours_is_no_refusal_and_counts_as_a_failure(made: Package) -> None:
    class Faulty(FakeFabric):
        def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
            raise ZeroDivisionError

    async def test() -> None:
        async with serving(Faulty(made)) as served:
            with pytest.raises(ZeroDivisionError):
                await served.infer(asking("first", pixels(clear_images(1))), CALLER)
            with pytest.raises(ZeroDivisionError):
                await served.failed()
            (counts,) = served.statistics("first", "")
            assert (counts.fail.count, served.live(), served.ready()) == (1, False, False)

    run(test)


def test_the_digits_on_csim_answer_beside_the_kernel_by_hand(digits: Package, images: Images, made: Package) -> None:
    async def test() -> None:
        decoder, cascade = picture_decoder(), Cascade(FakeFabric(made), calibration(), None)
        async with (
            Edge(cascade, decoder=decoder) as by_hand,
            open_edge(digits.path, "csim", decoder=decoder) as of_digits,
        ):
            served = Applications({"by-hand": Application(by_hand), "digits": Application(of_digits)})
            target = min(target.accuracy for target in of_digits.calibration.targets)
            as_files = asking("digits", files([png(image) for image in images]), {"accuracy": target})
            answers = await asyncio.gather(
                served.infer(as_files, CALLER),
                served.infer(asking("digits", pixels(images), {"accuracy": target}), CALLER),
                served.infer(asking("by-hand", pixels(clear_images(3)), {"accuracy": 0.8}), CALLER),
            )
            assert column(answers[0], "label") == column(answers[1], "label")
            alone = [await of_digits.take(image, "x") for image in images]
            expected: list[Answer] = await asyncio.gather(
                *(of_digits.ask(picture, of_digits.target(target), 60.0) for picture in alone)
            )
            assert column(answers[0], "label") == [answer.label for answer in expected]
            assert column(answers[0], "stage") == [answer.stage.encode() for answer in expected]
            assert column(answers[0], "novelty") == [answer.novelty for answer in expected]
            assert column(answers[2], "label") == labels(clear_images(3), 0)
        cascade.close()
        decoder.shutdown()

    run(test)
