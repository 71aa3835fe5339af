"""One model's scheduler, and the memory that models share, in virtual time: however busy the machine is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.datacenter.batching import Limits, Scheduler
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.memory import Memory, Rate
from edgesight.host.datacenter.workers import Answer
from edgesight.host.doors.served import Code, Refused
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual

ROW = {"x": np.zeros((1, 4), np.float32)}


class Declared:
    """A model that takes the time it is said to take; a tenant of a memory where one is given."""

    bytes = 1

    def __init__(
        self,
        seconds: Callable[[int], float],
        memory: Memory | None = None,
        load_s: float = 0.0,
        max_batch: int = 8,
        limits: Limits | None = None,
        core: asyncio.Lock | None = None,
    ) -> None:
        self.name, self.load_s, self._seconds = "m", load_s, seconds
        self._loop = asyncio.get_running_loop()
        self.rate = Rate(self._loop.time())
        self.scheduler = Scheduler(self, max_batch, limits or Limits())
        self.batches: list[int] = []
        self.order: list[float] = []
        self.fails_on = np.inf
        self._memory, self._core = memory, core or asyncio.Lock()
        self._here, self._leaving = memory is None, False
        self.work = self._loop.create_task(self.scheduler.run())

    def delay(self) -> float:
        return 0.0 if self._memory is None else self._memory.delay(self)

    async def ready(self) -> None:
        while not self._here or self._leaving:
            assert self._memory is not None
            await self._memory.admit(self)

    def in_time(self, at: float) -> int:
        return self.scheduler.in_time(at)

    def patience(self) -> float:
        return self.scheduler.had

    async def bring(self) -> None:
        await asyncio.sleep(self.load_s)  # sleeps: virtual time, what a load takes
        self._here, self._leaving = True, False

    async def drop(self) -> None:
        self._leaving = True
        await self.scheduler.rest()
        self._here = False

    async def run(self, inputs: Mapping[str, Sequence[npt.NDArray[Any]]], wanted: Sequence[str], rows: int) -> Answer:
        async with self._core:
            await asyncio.sleep(self._seconds(rows))  # sleeps: virtual time, what the model takes
        joined = np.concatenate(inputs["x"])
        assert len(joined) == rows
        if (joined[:, 0] == self.fails_on).any():
            raise ModelError("it does not like that row")
        self.batches.append(rows)
        self.order += joined[:, 0].tolist()
        return Answer({"y": joined * 2}, (0.0, self._seconds(rows), 0.0), 0)


def virtually(test: Awaitable[None]) -> None:
    async def whole() -> None:
        before = asyncio.all_tasks()
        try:
            await test
        finally:
            left = asyncio.all_tasks() - before
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    run_virtual(whole(), LinkOptions())


def row(number: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"x": np.full((1, 4), number, np.float32)}


def test_what_waits_together_is_answered_together_each_with_its_own() -> None:
    async def test() -> None:
        model = Declared(lambda rows: 0.01)
        asked = [model.scheduler.ask(f"c{number % 3}", row(number)) for number in range(17)]
        for number, done in enumerate(await asyncio.gather(*asked)):
            assert np.array_equal(done.outputs["y"], row(number)["x"] * 2)
        assert model.batches == [8, 8, 1]
        many = model.scheduler.ask("a", {"x": np.zeros((5, 4), np.float32)})
        more = model.scheduler.ask("b", {"x": np.ones((4, 4), np.float32)})
        other = model.scheduler.ask("c", {"x": np.zeros((1, 6), np.float32)})  # of another shape
        found = await asyncio.gather(many, more, other)
        assert [len(done.outputs["y"]) for done in found] == [5, 4, 1]
        assert model.batches[3:] == [5, 4, 1]

    virtually(test())


def test_a_row_that_fails_costs_the_others_nothing() -> None:
    async def test() -> None:
        model = Declared(lambda rows: 0.01)
        model.fails_on = 3.0
        asked = [model.scheduler.ask(f"c{number}", row(number)) for number in range(6)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(one, Refused) for one in found] == [False] * 3 + [True] + [False] * 2
        assert isinstance(found[3], Refused)
        assert (found[3].code, str(found[3])) == (Code.INTERNAL, "model m failed: it does not like that row")

    virtually(test())


def test_priority_goes_first_and_then_the_nearest_deadline() -> None:
    async def test() -> None:
        model = Declared(lambda rows: 0.01, max_batch=1)
        told = [(0, 9.0, 1 << 31), (1, 3.0, 1 << 31), (2, 1.0, 1 << 31), (3, 8.0, 1), (4, 5.0, 2), (5, 4.0, 2)]
        await asyncio.gather(*(model.scheduler.ask("a", row(one), (), had, level) for one, had, level in told))
        assert model.order == [3, 5, 4, 2, 1, 0]

    virtually(test())


def test_what_cannot_be_in_time_is_refused_when_it_comes() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        model = Declared(lambda rows: 0.1 * rows, max_batch=1)
        await model.scheduler.ask("a", row(0))
        asked = [loop.create_task(model.scheduler.ask("a", row(0), (), 1.05)) for _ in range(30)]
        await asyncio.sleep(0.001)  # sleeps: virtual time
        refused = [task for task in asked if task.done()]
        assert len(refused) == 20
        error = refused[0].exception()
        assert isinstance(error, Refused)
        assert error.code is Code.DEADLINE_EXCEEDED
        assert str(error).startswith(
            "an answer of model m would take about 1.1 s, and there are 1.1 s: others go before"
        )
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(not isinstance(one, Refused) for one in found) == 10

    virtually(test())


def test_what_waits_is_bounded_in_count_and_bytes_and_who_holds_most_makes_room() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        model = Declared(lambda rows: 1.0, limits=Limits(jobs=20, fewest=4, bytes=64_000, caller_bytes=60_000))
        greedy = [loop.create_task(model.scheduler.ask("greedy", row(0))) for _ in range(30)]
        await asyncio.sleep(0.001)  # sleeps: virtual time
        refused = [task.exception() for task in greedy if task.done()]
        assert 2 <= len(refused) <= 10
        assert all(isinstance(error, Refused) and error.code is Code.RESOURCE_EXHAUSTED for error in refused)
        modest = [loop.create_task(model.scheduler.ask(f"c{number}", row(0))) for number in range(8)]
        large = loop.create_task(model.scheduler.ask("large", {"x": np.zeros((1, 12_000), np.float32)}))
        await asyncio.sleep(0.001)  # sleeps: virtual time
        larger = loop.create_task(model.scheduler.ask("larger", {"x": np.zeros((1, 7_000), np.float32)}))
        await asyncio.sleep(0.001)  # sleeps: virtual time
        assert large.done()  # it made room
        with pytest.raises(Refused, match="made room for other callers"):
            await large
        with pytest.raises(Refused, match=r"hold .* bytes, and with this one more than 60000"):
            await model.scheduler.ask("huge", {"x": np.zeros((1, 16_000), np.float32)})
        await asyncio.gather(*modest, larger)

    virtually(test())


def test_who_goes_away_leaves_its_place_to_others() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        model = Declared(lambda rows: 0.1, max_batch=1)
        asked = [loop.create_task(model.scheduler.ask("a", row(number))) for number in range(10)]
        await asyncio.sleep(0.05)  # sleeps: virtual time
        for task in asked[1:9]:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert model.order == [0, 9]
        await model.scheduler.drained()

    virtually(test())


async def goodput(model: Declared, caller: str, rate: float, timeout: float, seconds: float, seed: int) -> float:
    """Part of the requests at `rate` a second that are answered in time."""
    loop, chance, good = asyncio.get_running_loop(), random.Random(seed), Counter[bool]()

    async def one() -> None:
        model.rate.add(loop.time())
        begun = loop.time()
        try:
            await model.scheduler.ask(caller, ROW, (), timeout)
        except Refused:
            good[False] += 1
        else:
            good[loop.time() - begun <= timeout] += 1

    end, tasks = loop.time() + seconds, []
    while loop.time() < end:
        await asyncio.sleep(chance.expovariate(rate))  # sleeps: virtual time, until the next
        tasks.append(loop.create_task(one()))
    await asyncio.gather(*tasks)
    return good[True] / sum(good.values())


def test_a_caller_at_twenty_times_the_others_rate_leaves_them_their_goodput() -> None:
    """A model of 100 rows a second in batches of eight: three callers ask 15 times a second, a fourth 300 times."""

    async def test() -> None:
        def seconds(rows: int) -> float:
            return 0.004 + 0.0095 * rows

        alone = await goodput(Declared(seconds), "c1", 15, 0.25, 20, 1)
        assert alone > 0.98
        model = Declared(seconds)
        greedy, *others = await asyncio.gather(
            goodput(model, "greedy", 300, 0.25, 20, 0),
            *(goodput(model, f"c{number}", 15, 0.25, 20, number) for number in (1, 2, 3)),
        )
        assert min(others) >= 0.9 * alone
        assert greedy > 0.15  # of 0.18: it has what they leave

    virtually(test())


def test_busy_models_are_not_pushed_out_by_rare_ones_and_goodput_shows_it() -> None:
    """Five models, asked for as Zipf says, and memory for two."""

    async def test() -> None:
        loop, core, memory = asyncio.get_running_loop(), asyncio.Lock(), Memory(2)
        seconds, load_s = 0.02, 1.0
        loop.create_task(memory.run())
        models = [Declared(lambda rows: seconds * rows, memory, load_s, core=core) for _ in range(5)]
        parts = [1 / place for place in range(1, 6)]
        rates = [0.8 / seconds * part / sum(parts) for part in parts]
        found = await asyncio.gather(
            *(
                goodput(model, "a", rate, 2 * load_s, 60, place)
                for place, (model, rate) in enumerate(zip(models, rates, strict=True))
            )
        )
        good = sum(part * rate for part, rate in zip(found, rates, strict=True)) / sum(rates)
        assert good > 0.6
        assert found[0] > 0.9
        assert memory.used <= 2
        assert memory.loads < 80

    virtually(test())


def test_who_waits_for_a_load_in_vain_is_told_while_there_is_time_left() -> None:
    async def test() -> None:
        loop, memory = asyncio.get_running_loop(), Memory(1)
        loop.create_task(memory.run())
        busy, rare = (Declared(lambda rows: 0.01, memory, 1.0) for _ in range(2))
        asking = loop.create_task(goodput(busy, "a", 50, 2.0, 20, 1))
        await asyncio.sleep(5.0)  # sleeps: virtual time
        begun = loop.time()
        with pytest.raises(Refused, match="it was not in memory, and busier models were") as refused:
            await rare.scheduler.ask("b", row(0), (), 4.0)
        assert refused.value.code is Code.DEADLINE_EXCEEDED
        assert loop.time() - begun == pytest.approx(3.0)
        assert await asking > 0.95

    virtually(test())


def test_a_load_that_fails_is_told_to_all_that_wait_and_tried_again() -> None:
    async def test() -> None:
        loop, memory = asyncio.get_running_loop(), Memory(2)
        loop.create_task(memory.run())
        model = Declared(lambda rows: 0.01, memory, 0.1)

        async def fail() -> None:
            raise Refused(Code.UNAVAILABLE, "its file is gone")

        bring, model.bring = model.bring, fail  # type: ignore[method-assign]
        asked = [model.scheduler.ask("a", row(0), (), 5.0) for _ in range(3)]
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(error, Refused)
            assert str(error) == "its file is gone"
        model.bring = bring  # type: ignore[method-assign]
        await model.scheduler.ask("a", row(0), (), 5.0)

    virtually(test())


def test_a_rare_model_without_a_deadline_has_its_turn() -> None:
    async def test() -> None:
        loop, memory = asyncio.get_running_loop(), Memory(1)
        loop.create_task(memory.run())
        busy, rare = (Declared(lambda rows: 0.01, memory, 0.2) for _ in range(2))
        asking = loop.create_task(goodput(busy, "a", 20, 1.0, 20, 1))
        await asyncio.sleep(2.0)  # sleeps: virtual time
        await rare.scheduler.ask("b", row(0))
        assert await asking > 0.9

    virtually(test())
