"""Frames that wait for a GPU: who goes first, in how large batches, and who goes not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from edgesight.host.adapt.lanes import FEWEST, Frame, Lane, Late, Outputs, Ran
from edgesight.host.adapt.planning import Model, Work
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.doors.served import Code, Refused
from tests.host.adapt.adapting import LARGE, MODELS, SMALL
from tests.waiting import until

T = TypeVar("T")


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 60)

    return asyncio.run(limited())


class Held:
    """An executor that is done when it is let."""

    name = "held"

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[bytes]]] = []
        self.free = asyncio.Event()
        self.fault: Exception | None = None

    async def start(self) -> None: ...

    async def end(self) -> None: ...

    async def run(self, gpu: str, model: Model, frames: Sequence[bytes]) -> Sequence[Outputs | Refused]:
        self.batches.append((model.name, list(frames)))
        await self.free.wait()
        if self.fault is not None:
            raise self.fault
        return [{}] * len(frames)


async def with_lane(test: Callable[[Lane, Held], Awaitable[T]], *, held: tuple[str, ...] = ("large",)) -> T:
    """`test` on a lane that runs `large` in batches of two."""
    executor = Held()
    lane = Lane("gpu", MODELS, executor)
    lane.plan(Work("large", 2, 0.0, held))
    working = asyncio.create_task(lane.run())
    try:
        return await test(lane, executor)
    finally:
        working.cancel()


def asks(lane: Lane, content: bytes, within: float, served: bool = True) -> asyncio.Task[Ran]:
    loop = asyncio.get_running_loop()
    return asyncio.create_task(lane.ask(Frame(content, loop.time() + within, served, loop.create_future())))


def test_the_nearest_deadline_goes_first_and_the_unserved_last() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        first = asks(lane, b"first", 50)
        await until(lambda: executor.batches)
        rest = [asks(lane, b"unserved", 10, served=False), asks(lane, b"late", 40), asks(lane, b"soon", 20)]
        await until(lambda: len(lane) == 3)
        executor.free.set()
        await asyncio.gather(first, *rest)
        assert executor.batches == [("large", [b"first"]), ("large", [b"soon", b"late"]), ("large", [b"unserved"])]

    run(with_lane(test))


def test_a_batch_is_no_larger_than_leaves_its_first_in_time() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        executor.free.set()
        # One alone takes 40 ms, two take 60.
        assert (await asyncio.gather(asks(lane, b"a", 0.055), asks(lane, b"b", 5)))[0].batch == 1
        assert (await asyncio.gather(asks(lane, b"a", 5), asks(lane, b"b", 5)))[0].batch == 2

    run(with_lane(test))


def test_who_would_be_late_is_dropped_where_no_faster_model_is_held() -> None:
    async def test(lane: Lane, executor: Held) -> Refused:
        executor.free.set()
        (error,) = await asyncio.gather(asks(lane, b"a", 0.02), return_exceptions=True)
        assert isinstance(error, Late)
        assert not executor.batches
        return error

    assert run(with_lane(test)).code is Code.DEADLINE_EXCEEDED


def test_who_would_be_late_is_run_by_a_faster_model_that_is_held() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        executor.free.set()
        ran = await asks(lane, b"a", 0.03)
        assert (ran.model, ran.batch) == (SMALL, 1)

    run(with_lane(test, held=("large", "small")))


def test_nobody_becomes_late_for_one_who_would_be() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        executor.free.set()
        # The other one has 40 ms to spare for its model, and no 4 for another's.
        late, other = await asyncio.gather(
            asks(lane, b"late", 0.02), asks(lane, b"other", 0.0425), return_exceptions=True
        )
        assert isinstance(late, Late)
        assert not isinstance(other, SMALL.__class__)
        assert executor.batches[0] == ("large", [b"other"])

    run(with_lane(test, held=("large", "small")))


def test_a_model_changes_between_batches_once_it_is_ready() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        first = asks(lane, b"first", 5)
        await until(lambda: executor.batches)
        lane.plan(Work("small", 4, asyncio.get_running_loop().time() + 0.05))
        assert lane.model is LARGE
        executor.free.set()
        assert (await first).model is LARGE
        await until(lambda: lane.model is SMALL)
        assert (await asks(lane, b"second", 5)).model is SMALL
        assert lane.switches == 1

    run(with_lane(test))


def test_what_the_server_takes_is_told_as_planned_and_then_as_it_was() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        assert lane.server_ms == 2 * 60.0
        executor.free.set()
        for _ in range(FEWEST):
            await asks(lane, b"a", 5)
        assert lane.server_ms < 60.0

    run(with_lane(test))


def test_a_fault_of_a_model_and_one_who_left_hold_up_nobody() -> None:
    async def test(lane: Lane, executor: Held) -> None:
        executor.fault = ModelError("it cannot")
        first = asks(lane, b"first", 5)
        await until(lambda: executor.batches)
        gone = asks(lane, b"gone", 5)
        await until(lambda: len(lane) == 1)
        gone.cancel()
        await until(gone.done)
        assert not len(lane)
        executor.free.set()
        (error,) = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(error, Refused)
        assert (error.code, str(error)) == (Code.INTERNAL, "it cannot")
        executor.fault = None
        assert (await asks(lane, b"next", 5)).batch == 1

    run(with_lane(test))
