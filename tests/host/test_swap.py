"""A running edge takes over new thresholds: no query fails, none waits, and none is answered under a mixture."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade, TargetRefused
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import NEVER, FabricError, Images, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.images import Picture
from edgesight.host.kernel import Calibration
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import Status
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.package import Package
from edgesight.host.queries import Door, query, reload
from edgesight.host.swap import SwapError, Terms, placed
from edgesight.sim.link.trust import Trust, make_trust
from tests.host.by_hand import FakeFabric, calibration, clear_images, package, random_images
from tests.host.offloading import IDLE, SumModel, serving
from tests.host.swapping import many, telling
from tests.waiting import until

SWAPS = 20
AT_ONCE = 8  # queries under way
NO_MARGIN = 10**6  # more than any picture has
T = TypeVar("T")


class Sure:
    """A data centre that answers at once."""

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        return Offloaded(1, Status.ANSWERED, 1, service_us=1)


class Gated(FakeFabric):
    """Looks when it is let, and writes thresholds as long as it is not broken."""

    def __init__(self, made: Package) -> None:
        super().__init__(made)
        self.may_look = threading.Event()
        self.may_look.set()
        self.looking = threading.Event()
        self.writes_left = 1_000

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        if not self.writes_left:
            raise FabricError("the line is broken")
        self.writes_left -= 1
        super().set_thresholds(set_index, thresholds)

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        self.looking.set()
        assert self.may_look.wait(20)
        return super().run(images, sets)

    @property
    def table(self) -> npt.NDArray[np.uint32]:
        return self._thresholds.copy()


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 60)

    return asyncio.run(limited())


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", calibration())


@contextlib.asynccontextmanager
async def _edge(fabric: FakeFabric | CsimFabric, known: Calibration) -> AsyncIterator[tuple[Edge, Cascade]]:
    cascade = Cascade(fabric, known, Sure())
    async with Edge(cascade) as edge:
        yield edge, cascade
    cascade.close()


class Load:
    """Queries that come one after the other, `AT_ONCE` at a time, until it is enough."""

    def __init__(self, edge: Edge, images: Images, accuracies: list[float]) -> None:
        self._edge, self._images, self._accuracies = edge, images, accuracies
        self.answered: list[tuple[int, float, Answer]] = []  # image, accuracy that was asked for
        self.enough = False

    async def go(self, first: int) -> None:
        number = first
        while not self.enough:
            index, accuracy = number % len(self._images), self._accuracies[number % len(self._accuracies)]
            target = self._edge.target(accuracy)
            answer = await self._edge.ask(Picture(self._images[index], ()), target, 5.0)
            self.answered.append((index, accuracy, answer))
            number += AT_ONCE

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        """Ask while `work` goes on, some before it and some after it."""
        asking = [asyncio.create_task(self.go(first)) for first in range(AT_ONCE)]
        await until(lambda: len(self.answered) >= AT_ONCE)
        await work()
        count = len(self.answered)
        await until(lambda: len(self.answered) >= count + 2 * AT_ONCE)
        self.enough = True
        await asyncio.gather(*asking)


def check(load: Load, fabric: FakeFabric | CsimFabric, images: Images, known: dict[float, Calibration]) -> None:
    """Every answer is one that a calibration gives which it names by its confidence; and each of them gave some."""
    seen = set()
    margins = []
    for logits in fabric.logits(images):
        best = np.sort(logits.astype(np.int64), axis=1)
        margins.append(best[:, -1] - best[:, -2])
    for index, accuracy, answer in load.answered:
        assert not answer.degraded
        assert answer.guaranteed
        by = known[answer.confidence]
        (target,) = [one for one in by.targets if one.accuracy == accuracy]
        assert answer.accuracy_target == accuracy
        sure = [row[index] >= least for row, least in zip(margins, target.thresholds, strict=True) if least != NEVER]
        assert answer.stage == (f"stage{sure.index(True)}" if True in sure else "datacenter")
        seen.add(answer.confidence)
    assert seen == set(known)


def test_twenty_swaps_under_steady_load_let_no_query_of_digits_fail_or_wait(digits: Package, images: Images) -> None:
    before = digits.kernel.calibration
    assert before is not None
    blocks = before.curves[0].confidences
    ways = {0.6: blocks[1], 0.7: blocks[-2]}
    known = {said: telling(before, said, [way] * len(before.targets)) for said, way in ways.items()}
    accuracies = [target.accuracy for target in before.targets]
    fabric = CsimFabric(digits)

    async def test() -> None:
        async with _edge(fabric, known[0.6]) as (edge, cascade):
            load = Load(edge, images, accuracies)

            async def swaps() -> None:
                for number in range(SWAPS):
                    came = len(load.answered)
                    await edge.swap(known[0.6 if number % 2 else 0.7])
                    await until(lambda came=came: len(load.answered) > came + AT_ONCE)  # type: ignore[misc]

            cascade._taking.clear = pytest.fail  # type: ignore[method-assign] # who asks never waits for a row
            await load.during(swaps)
            check(load, fabric, images, known)

    run(test())


@pytest.mark.parametrize("count", [8, 9, 16])
def test_no_row_is_written_that_a_query_needs_however_full_the_table_is(made: Package, count: int) -> None:
    known = {0.6: many(count, 0, 0.6), 0.7: many(count, 50, 0.7)}
    images = random_images(40)
    fabric = FakeFabric(made)

    async def test() -> None:
        async with _edge(fabric, known[0.6]) as (edge, _):
            load = Load(edge, images, [target.accuracy for target in known[0.6].targets])

            async def swaps() -> None:
                for number in range(SWAPS):
                    await edge.swap(known[0.6 if number % 2 else 0.7])
                    await asyncio.sleep(0)

            await load.during(swaps)
            check(load, fabric, images, known)

    run(test())


@pytest.mark.parametrize("count", [3, 16])
def test_what_was_asked_before_stays_under_the_former_thresholds(made: Package, count: int) -> None:
    old, new = many(count, 0, 0.6), many(count, NO_MARGIN, 0.7)
    fabric = Gated(made)

    async def test() -> None:
        async with _edge(fabric, old) as (edge, cascade):
            fabric.may_look.clear()
            picture, target = Picture(clear_images(1)[0], ()), old.targets[2]
            before = [asyncio.create_task(edge.ask(picture, target, 10.0))]
            assert await asyncio.to_thread(fabric.looking.wait, 10)
            before.append(asyncio.create_task(edge.ask(picture, target, 10.0)))  # it waits behind the first
            await asyncio.sleep(0)
            swapping = asyncio.create_task(edge.swap(new))
            await until(lambda: cascade._swapping.locked())
            meanwhile = asyncio.create_task(edge.ask(picture, target, 10.0))
            fabric.may_look.set()
            await swapping
            after = await edge.ask(picture, target, 10.0)
            said = [(answer.stage, answer.confidence) for answer in [*[await one for one in before], await meanwhile]]
            # Where there are rows for both, what was asked meanwhile is under the former; else it had to wait.
            former, later = ("stage0", 0.6), ("datacenter", 0.7)
            assert said == [former, former, former if count == 3 else later]
            assert (after.stage, after.confidence) == later
            assert edge.target(0.5) == new.targets[0]

    run(test())


def test_a_swap_waits_for_rows_of_former_ones_that_are_still_needed(made: Package) -> None:
    first, second, third = many(8, 0, 0.6), many(8, NO_MARGIN, 0.7), many(8, NO_MARGIN + 50, 0.8)
    picture = Picture(clear_images(1)[0], ())

    async def test() -> None:
        cascade = Cascade(FakeFabric(made), first, Sure())
        request = await cascade.request(picture, first.targets[0], 10.0)
        await cascade.swap(second)
        swapping = asyncio.create_task(cascade.swap(third))
        await asyncio.wait([swapping], timeout=0.2)
        assert not swapping.done()
        later = await cascade.request(picture, first.targets[0], 10.0)  # nobody who asks has to wait
        records, legs = await cascade.look([request, later])
        await swapping
        answers = [await cascade.settle(*one) for one in zip([request, later], records, legs, strict=True)]
        assert [(one.stage, one.confidence) for one in answers] == [("stage0", 0.6), ("datacenter", 0.7)]
        cascade.close()

    run(test())


@pytest.mark.parametrize(("count", "writes"), [(3, 0), (3, 2), (16, 0), (16, 7)])
def test_a_fabric_that_takes_no_thresholds_leaves_everything_as_it_was(made: Package, count: int, writes: int) -> None:
    old, new = many(count, 0, 0.6), many(count, 50, 0.7)
    fabric, images = Gated(made), random_images(40)

    async def test() -> None:
        async with _edge(fabric, old) as (edge, cascade):
            table = fabric.table
            fabric.writes_left = writes
            with pytest.raises(FabricError, match="the line is broken"):
                await edge.swap(new)
            fabric.writes_left = 1_000
            load = Load(edge, images, [target.accuracy for target in old.targets])
            await load.during(lambda: asyncio.sleep(0))
            check(load, fabric, images, {0.6: old})
            assert np.array_equal(fabric.table[:, :count], table[:, :count])
            assert cascade.terms.calibration is old
            await edge.swap(new)
            assert (await edge.ask(Picture(images[0], ()), new.targets[0], 5.0)).confidence == 0.7

    run(test())


def test_a_swap_that_nobody_waits_for_any_more_is_brought_to_an_end(made: Package) -> None:
    old, new = many(16, 0, 0.6), many(16, 50, 0.7)
    fabric = Gated(made)

    async def test() -> None:
        async with _edge(fabric, old) as (edge, cascade):
            fabric.may_look.clear()
            asked = asyncio.create_task(edge.ask(Picture(random_images(1)[0], ()), old.targets[0], 10.0))
            assert await asyncio.to_thread(fabric.looking.wait, 10)
            swapping = asyncio.create_task(edge.swap(new))
            await until(lambda: cascade._swapping.locked())
            swapping.cancel()
            asked.cancel()
            fabric.may_look.set()
            await until(lambda: cascade.terms.calibration is new)
            assert (await edge.ask(Picture(random_images(1)[0], ()), old.targets[0], 5.0)).confidence == 0.7

    run(test())


def test_a_target_that_is_offered_no_more_is_refused_and_a_lower_one_becomes_the_next(made: Package) -> None:
    old, new = many(16, 0, 0.6), many(3, 50, 0.7)

    async def test() -> None:
        async with _edge(FakeFabric(made), old) as (edge, _):
            picture = Picture(random_images(1)[0], ())
            between = many(3, 50, 0.7).targets[2].accuracy - 0.005
            await edge.swap(new)
            with pytest.raises(TargetRefused, match=r"accuracy 0\.65 is not offered: the best target is 0\.52"):
                await edge.ask(picture, old.targets[15], 1.0)
            assert edge.target(between) == new.targets[2]

    run(test())


def test_calibrations_of_other_networks_or_without_a_promise_are_refused(made: Package) -> None:
    known = calibration()

    async def test() -> None:
        async with _edge(FakeFabric(made), known) as (edge, cascade):
            single = known.model_copy(update={"curves": known.curves[:1]})
            with pytest.raises(SwapError, match=r"is of another kernel .*1 curves for 2 stages"):
                await edge.swap(single)
            with pytest.raises(SwapError, match="offers no accuracy target"):
                await edge.swap(known.model_copy(update={"targets": []}))
            with pytest.raises(SwapError, match="made with another back end"):
                await edge.swap(known.model_copy(update={"backend_sha256": "1" * 64}))
            assert cascade.terms.calibration is known

    run(test())


def test_rows_are_shared_where_thresholds_are_the_same() -> None:
    one, other = many(4, 0, 0.6), many(4, 50, 0.7)
    there = Terms(one, (0, 1, 2, 3))
    assert placed(one, [there], 16) == (0, 1, 2, 3)
    assert placed(other, [there], 16) == (4, 5, 6, 7)
    assert placed(other, [], 16) == (0, 1, 2, 3)
    assert placed(other, [there], 7) is None
    mixed = other.model_copy(update={"targets": [*other.targets[:3], one.targets[3]]})
    assert placed(mixed, [there], 7) == (4, 5, 6, 3)


class OtherModel(SumModel):
    """The same, said to be another model."""

    sha256 = "6" * 64


def test_another_back_end_is_taken_over_once_the_data_centre_serves_it(made: Package, tmp_path: Path) -> None:
    trust: Trust = make_trust(tmp_path)
    old, new = many(3, 0, 0.6), many(3, 50, 0.7)
    never = telling(new, 0.7, [1.0] * 3).model_copy(update={"backend_sha256": OtherModel.sha256})
    old = old.model_copy(update={"backend_sha256": SumModel.sha256})

    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with serving(trust) as address:
                client = OffloadClient(*address, client_keys(trust.edge, IDLE), model_sha256=SumModel.sha256)
                stack.push_async_callback(client.close)
                await client.wait_connected(10)
                cascade = Cascade(FakeFabric(made), old, client)
                stack.callback(cascade.close)
                edge = await stack.enter_async_context(Edge(cascade))
                with pytest.raises(NoAnswer, match=r"serves model 5{12}, but the new calibration was made with 6{12}"):
                    await edge.swap(never)
                assert client.trouble is None
                assert cascade.terms.calibration is old
            await until(lambda: client.trouble is not None)
            async with serving(trust, address[1], OtherModel()):
                await until(lambda: "it serves model 666" in (client.trouble or ""))
                await edge.swap(never)
                image = clear_images(1)[0]
                answer = await edge.ask(Picture(image, ()), never.targets[0], 5.0)
                assert (answer.stage, answer.confidence, answer.guaranteed) == ("datacenter", 0.7, True)
            await until(lambda: client.trouble is not None)

    run(test())


def test_what_was_asked_under_another_back_end_is_not_guaranteed(made: Package) -> None:
    """The data centre changes its model while an answer of it is waited for."""
    old, new = telling(calibration(), 0.6, [1.0] * 3), calibration("1" * 64)

    class Slow(Sure):
        def __init__(self) -> None:
            self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

        async def recalibrate(self, calibration: Calibration) -> None:
            pass

        async def offload(
            self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
        ) -> Offloaded:
            self.asked.set()
            await self.may_answer.wait()
            return await super().offload(image, within, accuracy)

    async def test() -> None:
        offload = Slow()
        cascade = Cascade(FakeFabric(made), old, offload)
        async with Edge(cascade) as edge:
            asking = asyncio.create_task(edge.ask(Picture(random_images(1)[0], ()), old.targets[2], 10.0))
            await offload.asked.wait()
            await edge.swap(new)
            offload.may_answer.set()
            answer = await asking
            assert (answer.stage, answer.degraded, answer.guaranteed) == ("datacenter", False, False)
            assert answer.reason == "target not guaranteed: the data centre changed its model meanwhile"
        cascade.close()

    run(test())


def test_the_door_reloads_the_package_and_says_what_is_wrong_with_it(made: Package, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", random_images(1)[0])
    manifest = made.path / "kernel.json"

    async def test() -> None:
        at = tmp_path / "edge.sock"
        told, ready = asyncio.Event(), asyncio.Event()
        async with _edge(FakeFabric(made), calibration()) as (edge, _):
            serving = asyncio.create_task(Door(edge).serve(at, told, ready.set))
            await ready.wait()

            async def confidence() -> float:
                answer = await asyncio.to_thread(query, at, tmp_path / "image.npy", 0.8, 5_000.0)
                return answer.confidence

            before = await confidence()
            made.replace(calibration=telling(calibration(), 0.77, [0.5, 0.6, 0.7]).model_dump())
            said = await asyncio.to_thread(reload, at)
            assert (said.targets, said.images) == ([0.8, 0.9, 0.95], 1_000)
            assert said.distribution == "those of the calibration split of none"
            assert await confidence() == 0.77 != before
            good = manifest.read_bytes()
            for content, fault in (
                (good[: len(good) // 2], "the file is damaged"),
                (good.replace(b"0badcafe", b"0badcaff"), "checksum"),
            ):
                manifest.write_bytes(content)
                with pytest.raises(SwapError, match=f"{fault}.*goes on with the thresholds that it has"):
                    await asyncio.to_thread(reload, at)
                assert await confidence() == 0.77
            manifest.write_bytes(good)
            for fields, fault in (
                ({"build_hash": "0badcaff"}, "its build hash is 0badcaff, not 0badcafe"),
                ({"classes": ["a", "b", "c", "d"]}, "another kernel than the one that runs"),
                ({"calibration": None}, "is not calibrated any more"),
            ):
                made.replace(**{"calibration": calibration().model_dump(), **fields})
                with pytest.raises(SwapError, match=fault):
                    await asyncio.to_thread(reload, at)
                assert await confidence() == 0.77
            told.set()
            await serving

    run(test())
