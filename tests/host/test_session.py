"""The Python door: a package is opened, asked, and closed with all that it opened."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import edgesight
from edgesight.host.fabric.base import Images, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.package import Package
from tests.host.by_hand import SHAPE, clear_images, sums
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("served_package")


@pytest.fixture
def folder(served_package: Package) -> Path:
    return served_package.path


def labels(count: int) -> list[int]:
    return [int(label) for label in sums(clear_images(count), 0).argmax(axis=1)]


def test_ten_lines_are_enough(folder: Path, tmp_path: Path) -> None:
    images = clear_images(3)
    Image.fromarray(images[0][..., 0]).save(tmp_path / "picture.png")
    np.save(tmp_path / "image.npy", images[1])
    content = io.BytesIO()
    Image.fromarray(images[2][..., 0]).save(content, "PNG")
    with edgesight.open(folder, fabric="csim") as edge:
        answers = [
            edge.ask(picture, accuracy=0.8, deadline_ms=5_000)
            for picture in (str(tmp_path / "picture.png"), tmp_path / "image.npy", content.getvalue(), images[0])
        ]
    assert [answer.label for answer in answers] == [labels(3)[index] for index in (0, 1, 2, 0)]
    assert all(isinstance(answer, edgesight.Answer) and answer.stage == "stage0" for answer in answers)


def test_many_are_answered_in_their_order(folder: Path) -> None:
    images = clear_images(150)
    with edgesight.open(folder, fabric="csim") as edge:
        answers = edge.ask_many(iter(images), accuracy=0.8, deadline_ms=5_000)
        assert [answer.label for answer in answers] == labels(150)
        assert edge.ask_many([], accuracy=0.8, deadline_ms=5_000) == []
        with pytest.raises(edgesight.ImageError, match="the array holds"):
            edge.ask_many([images[0], images[1][:5]], accuracy=0.8, deadline_ms=5_000)
        assert edge.ask(images[0], accuracy=0.8, deadline_ms=5_000).label == labels(1)[0]


def test_a_loop_asks_at_the_same_time(folder: Path, tmp_path: Path) -> None:
    images = clear_images(5)

    async def test() -> None:
        async with edgesight.open_async(folder, fabric="csim") as edge:
            asked = [edge.ask(image, accuracy=0.8, deadline_ms=5_000) for image in images]
            assert [answer.label for answer in await asyncio.gather(*asked)] == labels(5)
            many = await edge.ask_many(images, accuracy=0.8, deadline_ms=5_000)
            assert [answer.label for answer in many] == labels(5)
        np.save(tmp_path / "image.npy", images[0])
        for picture in (images[0], tmp_path / "image.npy"):
            with pytest.raises(edgesight.EdgeError, match="closed"):
                await edge.ask(picture, accuracy=0.8, deadline_ms=5_000)

    asyncio.run(test())


def test_a_closed_session_says_so_and_leaves_no_thread(folder: Path) -> None:
    before = set(threading.enumerate())
    edge = edgesight.open(folder, fabric="csim")
    image = clear_images(1)[0]
    edge.ask(image, accuracy=0.8, deadline_ms=5_000)
    edge.close()
    edge.close()
    with pytest.raises(edgesight.EdgeError, match="closed: open it anew"):
        edge.ask(image, accuracy=0.8, deadline_ms=5_000)
    left = {thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio")}
    assert not left


@pytest.mark.timeout(60)
def test_who_waits_in_a_thread_is_told_when_another_closes() -> None:
    asked = threading.Event()

    class NeverAnswers(edgesight.AsyncSession):
        async def ask(self, picture: object, *, accuracy: float, deadline_ms: float) -> edgesight.Answer:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[edgesight.AsyncSession]:
        yield NeverAnswers(None)  # type: ignore[arg-type] # asks no edge

    edge = edgesight.Session(opening())
    with ThreadPoolExecutor(3) as threads:
        answer = threads.submit(edge.ask, b"", accuracy=0.8, deadline_ms=50)
        assert asked.wait(20)
        for closed in [threads.submit(edge.close), threads.submit(edge.close)]:
            closed.result(20)
        with pytest.raises(edgesight.EdgeError, match="closed before it answered"):
            answer.result(20)


@pytest.mark.timeout(60)
def test_a_fault_of_ours_on_the_fabric_reaches_whoever_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(CsimFabric):
        def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
            raise ZeroDivisionError

    monkeypatch.setattr("edgesight.host.edge.open_fabric", lambda package, name: Faulty(package))
    images = clear_images(100)

    async def test() -> None:
        async with edgesight.open_async(folder, fabric="csim") as edge:
            asked = [edge.ask(image, accuracy=0.8, deadline_ms=5_000) for image in images]  # more than one batch
            came = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
            assert {type(error) for error in came} == {ZeroDivisionError, edgesight.EdgeError}
            with pytest.raises(edgesight.EdgeError, match="closed"):
                await edge.ask(images[0], accuracy=0.8, deadline_ms=5_000)

    asyncio.run(test())


def test_a_fabric_that_takes_no_thresholds_is_closed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Broken(CsimFabric):
        def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
            raise edgesight.FabricError("the board is gone: look at its cable")

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr("edgesight.host.edge.open_fabric", lambda package, name: Broken(package))
    with pytest.raises(edgesight.FabricError, match="look at its cable"):
        edgesight.open(folder, fabric="csim")
    assert len(closed) == 1


def test_what_cannot_be_asked_is_refused_and_the_session_goes_on(folder: Path, tmp_path: Path) -> None:
    image = clear_images(1)[0]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with edgesight.open(folder, fabric="csim") as edge:
        with pytest.raises(edgesight.TargetRefused) as refused:
            edge.ask(image, accuracy=0.999, deadline_ms=50)
        assert refused.value.best == 0.95
        for deadline in (0, -1, float("nan"), 1e6, "50", None, True):
            with pytest.raises(edgesight.EdgeError, match=f"deadline_ms {deadline!r}: expected a number above 0"):
                edge.ask(image, accuracy=0.8, deadline_ms=deadline)  # type: ignore[arg-type]
        for accuracy in (0, -1, 95, float("nan"), "0.9", None):
            with pytest.raises(edgesight.EdgeError, match=f"accuracy {accuracy!r}: expected a number above"):
                edge.ask(image, accuracy=accuracy, deadline_ms=50)  # type: ignore[arg-type]
        with pytest.raises(edgesight.ImageError, match="a picture of type Image: give a file's path"):
            edge.ask(Image.fromarray(image[..., 0]), accuracy=0.8, deadline_ms=50)  # type: ignore[arg-type]
        with pytest.raises(edgesight.ImageError, match=r"nowhere\.png cannot be read"):
            edge.ask(tmp_path / "nowhere.png", accuracy=0.8, deadline_ms=50)
        with pytest.raises(edgesight.ImageError, match=r"broken\.png"):
            edge.ask(tmp_path / "broken.png", accuracy=0.8, deadline_ms=50)
        with pytest.raises(edgesight.ImageError, match=r"the array holds float64 .*convert it by astype"):
            edge.ask(image.astype(np.float64), accuracy=0.8, deadline_ms=50)
        assert edge.ask(image, accuracy=0.8, deadline_ms=5_000).label == labels(1)[0]


def test_arguments_that_open_nothing_are_refused(folder: Path) -> None:
    with pytest.raises(edgesight.EdgeError, match="fabric None: expected a name"):
        edgesight.open(folder, fabric=None)  # type: ignore[arg-type]
    with pytest.raises(edgesight.EdgeError, match="keys without a data centre"):
        edgesight.open(folder, fabric="csim", keys=folder)
    assert {"open", "open_async", "Answer", "Session"} <= set(dir(edgesight))


def test_what_a_picture_lacks_is_told_with_its_answer(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "tiny.png")
    with edgesight.open(folder, fabric="csim") as edge:
        answer = edge.ask(tmp_path / "tiny.png", accuracy=0.8, deadline_ms=5_000)
    assert answer.warnings
    assert answer.warnings[0].startswith(f"{tmp_path / 'tiny.png'} ")


def test_what_cannot_be_opened_leaves_nothing_running(folder: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(edgesight.KernelError):
        edgesight.open(tmp_path / "nowhere")
    with pytest.raises(edgesight.FabricError, match="no fabric is called 'none'"):
        edgesight.open(folder, fabric="none")
    with pytest.raises(edgesight.EdgeSightError, match="expected HOST:PORT"):
        edgesight.open(folder, fabric="csim", datacenter="nowhere")
    assert set(threading.enumerate()) == before


def test_the_kernels_shape_is_what_an_array_must_have(folder: Path) -> None:
    with edgesight.open(folder, fabric="csim") as edge, pytest.raises(edgesight.ImageError) as refused:
        edge.ask(np.zeros((1, *SHAPE), np.uint8), accuracy=0.8, deadline_ms=50)
    assert str(list(SHAPE)) in str(refused.value)


@pytest.mark.timeout(60)
def test_what_nobody_waits_for_is_not_sent_to_the_fabric(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    go_on = threading.Event()

    class Slow(CsimFabric):
        def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
            ran.append(len(images))
            assert go_on.wait(20)
            return super().run(images, sets)

    monkeypatch.setattr("edgesight.host.edge.open_fabric", lambda package, name: Slow(package))
    images = clear_images(4)

    async def test() -> None:
        async with edgesight.open_async(folder, fabric="csim") as edge:
            first = asyncio.ensure_future(edge.ask(images[0], accuracy=0.8, deadline_ms=5_000))
            await until(lambda: ran)
            others = [asyncio.ensure_future(edge.ask(image, accuracy=0.8, deadline_ms=5_000)) for image in images[1:]]
            await asyncio.sleep(0)  # they wait behind the first
            for cancelled in others[:2]:
                cancelled.cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert (await first).label == labels(1)[0]
            assert (await others[2]).label == labels(4)[3]
        assert ran == [1, 1]

    asyncio.run(test())


def test_what_is_never_entered_opens_no_fabric(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("edgesight.host.edge.open_fabric", lambda package, name: opened.append(name))
    never_entered = edgesight.open_async(folder, fabric="csim")
    assert not opened
    del never_entered
