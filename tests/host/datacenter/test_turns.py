"""Who of a model's callers is next with the replicas, in virtual time; and how a replica joins what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from edgesight.host.datacenter.batching import Limits
from edgesight.host.datacenter.on_ray.messages import Call, Packed
from edgesight.host.datacenter.on_ray.replica import parts
from edgesight.host.datacenter.on_ray.turns import Turns
from edgesight.host.doors.served import Code, Refused
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(test(), LinkOptions())


async def holds(turns: Turns, caller: str, done: list[str], seconds: float = 1.0, **more: int) -> None:
    until = asyncio.get_running_loop().time() + 1_000.0
    async with turns.turn(caller, 10, 1, until, **more):
        await asyncio.sleep(seconds)  # sleeps: virtual time, what an answer takes
        done.append(caller)


def test_a_caller_that_comes_late_does_not_wait_for_all_that_another_asked() -> None:
    async def test() -> None:
        turns = Turns("m", 2, Limits())
        done: list[str] = []
        many = [asyncio.ensure_future(holds(turns, "greedy", done)) for _ in range(20)]
        await asyncio.sleep(0.5)  # sleeps: virtual time
        assert len(turns) == 18
        await holds(turns, "late", done)
        assert done.count("greedy") <= 4
        await asyncio.gather(*many)
        assert len(turns) == 0

    run(test)


def test_of_a_callers_own_the_urgent_go_first() -> None:
    async def test() -> None:
        turns = Turns("m", 1, Limits())
        done: list[str] = []
        first = asyncio.ensure_future(holds(turns, "me", done))
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        order: list[str] = []

        async def noted(name: str, level: int) -> None:
            await holds(turns, "me", [], level=level)
            order.append(name)

        await asyncio.gather(first, noted("late", 3), noted("urgent", 1), noted("usual", 2))
        assert order == ["urgent", "usual", "late"]

    run(test)


def test_what_may_wait_is_bounded_in_parts() -> None:
    async def test() -> None:
        turns = Turns("m", 1, Limits(jobs=8, fewest=2, bytes=1_000, caller_bytes=900))
        done: list[str] = []
        waiting = [asyncio.ensure_future(holds(turns, "greedy", done)) for _ in range(8)]
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        with pytest.raises(Refused, match="8 requests of yours wait for model m, the most that may") as refused:
            await holds(turns, "greedy", done)
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        waiting += [asyncio.ensure_future(holds(turns, "other", done)) for _ in range(4)]
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        with pytest.raises(Refused, match="4 requests of yours"):
            await holds(turns, "other", done)
        with pytest.raises(Refused, match="with this one more than 333"):
            async with turns.turn("third", 500, 1, 1_000.0):
                pass
        await asyncio.gather(*waiting)
        async with turns.turn("third", 900, 1, 1_000.0):
            pass

    run(test)


def test_a_turn_that_does_not_come_in_time_is_refused_and_one_that_is_left_goes_to_the_next() -> None:
    async def test() -> None:
        turns = Turns("m", 1, Limits())
        done: list[str] = []
        long = asyncio.ensure_future(holds(turns, "me", done, 10.0))
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        with pytest.raises(Refused) as refused:
            async with turns.turn("you", 1, 1, asyncio.get_running_loop().time() + 2.0):
                pass
        assert refused.value.code is Code.DEADLINE_EXCEEDED
        left = asyncio.ensure_future(holds(turns, "you", done))
        next_ = asyncio.ensure_future(holds(turns, "you", done))
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        left.cancel()
        long.cancel()
        await asyncio.gather(left, long, return_exceptions=True)
        await next_
        assert done == ["you"]
        assert len(turns) == 0
        await turns.close(1.0, Refused(Code.UNAVAILABLE, "over"))
        with pytest.raises(Refused, match="over"):
            await holds(turns, "me", done)

    run(test)


def test_what_is_here_at_the_end_has_its_time_and_is_refused_then() -> None:
    async def test() -> None:
        turns = Turns("m", 1, Limits())
        done: list[str] = []
        asked = [asyncio.ensure_future(holds(turns, "me", done, 3.0)) for _ in range(3)]
        await asyncio.sleep(0)  # sleeps: a turn of the loop
        await turns.close(4.0, Refused(Code.UNAVAILABLE, "over"))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [type(None), type(None), Refused]

    run(test)


def call(rows: int, width: int = 4, most: int = 0) -> Call:
    return Call(Packed("m:1:0", "", "", False), {"x": np.zeros((rows, width))}, (), rows, most)


@pytest.mark.parametrize(
    ("calls", "most", "expected"),
    [
        ([call(1)] * 3, 8, [[0, 1, 2]]),
        ([call(1)] * 3, 0, [[0], [1], [2]]),
        ([call(5), call(2), call(4), call(1)], 8, [[0, 1, 3], [2]]),
        ([call(1), call(1, 5), call(1)], 8, [[0, 2], [1]]),
        ([call(1, most=2)] * 3, 8, [[0, 1], [2]]),
    ],
)
def test_a_batch_is_cut_by_rows_and_shapes(calls: list[Call], most: int, expected: list[list[int]]) -> None:
    assert list(parts(calls, most)) == expected
