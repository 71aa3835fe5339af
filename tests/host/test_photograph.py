"""The fabric gets a picture's small form, the data centre the photograph, whichever way the picture came in."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight import AsyncSession
from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade
from edgesight.host.edge import HELD_BYTES, Edge, EdgeError
from edgesight.host.fabric.base import NEVER, Images, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.hedge import Hedging
from edgesight.host.images import ImageError
from edgesight.host.kernel import BackEndInput, Calibration
from edgesight.host.link.datagrams import Status
from edgesight.host.link.offload import Offloaded
from edgesight.host.package import Package
from edgesight.host.pictures import fit
from edgesight.host.queries import Door, query
from tests.host.by_hand import FakeFabric, calibration, package
from tests.waiting import until

BACK_END = BackEndInput(
    height=64,
    width=96,
    channels=3,
    layout="NCHW",
    element="float32",
    mean=[124.0, 116.0, 104.0],
    deviation=[58.0, 57.0, 57.0],
)


class Recording:
    """A data centre that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[npt.NDArray[np.uint8]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        self.given.append(image)
        await self.may_answer.wait()
        return Offloaded(1, Status.ANSWERED, 3, service_us=2_500)


class Watched(FakeFabric):
    """Keeps what it is given."""

    def __init__(self, made: Package) -> None:
        super().__init__(made)
        self.given: list[npt.NDArray[np.uint8]] = []

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        self.given += list(images)
        return super().run(images, sets)


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", calibration()).replace(backend_input=BACK_END.model_dump())


def scene(width: int = 200, height: int = 120) -> Image.Image:
    """Detail that no thumbnail keeps."""
    noise = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def npy(array: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def asked(
    made: Package, pictures: Sequence[bytes | npt.NDArray[np.uint8]], hedging: Hedging | None = None
) -> tuple[Watched, Recording, list[Answer]]:
    """What fabric and data centre got of pictures that none but the data centre may answer."""
    fabric, offload = Watched(made), Recording()

    async def test() -> list[Answer]:
        async with Edge(Cascade(fabric, calibration(), offload, hedging=hedging)) as edge:
            session = AsyncSession(edge)
            return [await session.ask(picture, accuracy=0.95, deadline_ms=5_010) for picture in pictures]

    return fabric, offload, asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize("hedged", [False, True])
def test_the_data_centre_gets_the_photograph_made_of_the_picture_itself(made: Package, hedged: bool) -> None:
    hedging = None
    if hedged:
        hedging, offloaded = Hedging(0.5), calibration().targets[2]
        for _ in range(30):
            hedging.requested()
            hedging.looked(offloaded, 5.0, unsure=True, hedged=False)  # so that 5.01 s are too short for both
            hedging.replied(0.050, wait=0.0)
    fabric, offload, (answer,) = asked(made, [png(scene())], hedging)
    assert (answer.stage, answer.hedged, answer.warnings) == ("datacenter", hedged, ())
    (photograph,) = offload.given
    assert photograph.dtype == np.uint8
    assert np.array_equal(photograph, fit(scene(), *BACK_END.shape))
    (pixels,) = fabric.given
    assert np.array_equal(pixels, fit(scene(), 28, 28, 1))


def test_an_array_may_have_either_form_and_the_smaller_one_is_told(made: Package) -> None:
    photograph, pixels = fit(scene(), *BACK_END.shape), fit(scene(), 28, 28, 1)
    for large, small in ((photograph, pixels), (npy(photograph), npy(pixels))):
        fabric, offload, answers = asked(made, [large, small])
        assert np.array_equal(offload.given[0], photograph)
        assert np.array_equal(fabric.given[0], fit(Image.fromarray(photograph), 28, 28, 1))
        assert np.array_equal(offload.given[1], fit(Image.fromarray(pixels[..., 0]), *BACK_END.shape))
        assert np.array_equal(fabric.given[1], pixels)
        assert answers[0].warnings == ()
        assert len(answers[1].warnings) == 1
        assert answers[1].warnings[0].endswith(" has the fabric's size: for the data centre it is enlarged")
    with pytest.raises(ImageError, match=r"takes uint8 \[28, 28, 1\] or \[64, 96, 3\]"):
        asked(made, [np.zeros((64, 96, 1), np.uint8)])


def test_a_picture_that_is_smaller_than_the_photograph_is_told(made: Package) -> None:
    _, offload, (answer,) = asked(made, [png(scene(90, 60))])
    assert offload.given[0].shape == BACK_END.shape
    assert answer.warnings == ("the picture is 90 x 60 pixels, fewer than the 96 x 64 that the network takes",)


def test_a_back_end_of_the_fabrics_own_form_gets_the_fabrics_bytes(tmp_path: Path) -> None:
    plain = package(tmp_path / "plain", calibration())
    same = BackEndInput.same_as(plain.kernel.input)
    for made in (plain, plain.replace(backend_input=same.model_dump())):
        fabric, offload, _ = asked(made, [png(scene()), fit(scene(), 28, 28, 1)])
        assert all(map(np.array_equal, fabric.given, offload.given))
        assert np.array_equal(fabric.given[0], fit(scene(), 28, 28, 1))


def test_the_door_sends_the_photograph_too(made: Package, tmp_path: Path) -> None:
    (tmp_path / "scene.png").write_bytes(png(scene(90, 60)))
    offload = Recording()

    async def test() -> Answer:
        told, ready, at = asyncio.Event(), asyncio.Event(), tmp_path / "edge.sock"
        async with Edge(Cascade(Watched(made), calibration(), offload)) as edge:
            serving = asyncio.create_task(Door(edge).serve(at, told, ready.set))
            await ready.wait()
            answer = await asyncio.to_thread(query, at, tmp_path / "scene.png", 0.95, 5_000.0)
            told.set()
            await serving
            return answer

    answer = asyncio.run(asyncio.wait_for(test(), 60))
    assert np.array_equal(offload.given[0], fit(scene(90, 60), *BACK_END.shape))
    assert answer.warnings[0].endswith("scene.png is 90 x 60 pixels, fewer than the 96 x 64 that the network takes")


def test_pictures_that_are_not_answered_yet_take_bounded_memory(made: Package) -> None:
    large = BACK_END.model_copy(update={"height": 2048, "width": 2048})
    made = made.replace(backend_input=large.model_dump())
    offload, picture = Recording(), np.zeros(large.shape, np.uint8)

    async def test() -> None:
        offload.may_answer.clear()
        async with Edge(Cascade(FakeFabric(made), calibration(), offload)) as edge:
            most = edge.most_held
            assert most * picture.nbytes <= HELD_BYTES < (most + 1) * (picture.nbytes + 28 * 28)
            session = AsyncSession(edge)
            first = [asyncio.create_task(session.ask(picture, accuracy=0.95, deadline_ms=60_000)) for _ in range(most)]
            await until(lambda: len(offload.given) == most)
            for refused in (edge.read(npy(picture), "x"), session.ask(picture, accuracy=0.95, deadline_ms=1_000)):
                with pytest.raises(EdgeError, match=f"{most} pictures of others, all that there is memory for, wait"):
                    await refused
            first[0].cancel()
            await until(lambda: len(edge._settling) < most)
            again = asyncio.create_task(session.ask(picture, accuracy=0.95, deadline_ms=60_000))
            offload.may_answer.set()
            assert {(await one).stage for one in (*first[1:], again)} == {"datacenter"}
            many = await session.ask_many([picture] * (2 * most), accuracy=0.95, deadline_ms=60_000)
            assert len(many) == 2 * most

    asyncio.run(asyncio.wait_for(test(), 60))


def test_digits_with_a_larger_back_end_answer_alike_and_offload_the_photograph(
    digits: Package, images: Images, tmp_path: Path
) -> None:
    known = digits.kernel.calibration
    assert known is not None
    made = Package(tmp_path, digits.kernel.model_copy(update={"backend_input": BACK_END, "novelty": None}))
    offload, fabric = Recording(), CsimFabric(digits)
    fabric.package = made

    async def test() -> list[Answer]:
        async with Edge(Cascade(fabric, unsure(known), offload)) as edge:
            return await AsyncSession(edge).ask_many(images[:8], accuracy=0.1, deadline_ms=5_000)

    answers = asyncio.run(asyncio.wait_for(test(), 60))
    assert {answer.stage for answer in answers} == {"datacenter"}
    assert len(offload.given) == 8
    sent = {photograph.tobytes() for photograph in offload.given}
    assert sent == {fit(Image.fromarray(image[..., 0]), *BACK_END.shape).tobytes() for image in images[:8]}


def unsure(known: Calibration) -> Calibration:
    """`known`, whose targets let nothing but the data centre answer."""
    targets = [
        target.model_copy(update={"thresholds": [NEVER] * len(target.thresholds)}) for target in known.targets[:1]
    ]
    return known.model_copy(update={"targets": targets})
