"""Frames behind the doors: what clients say and are told, and what strangers may say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from edgesight.host.adapt import clients, service
from edgesight.host.adapt.declared import Declared
from edgesight.host.adapt.planning import Work
from edgesight.host.adapt.service import Adapting
from edgesight.host.doors.served import Caller, Code, Refused, Request, Response
from tests.host.adapt.adapting import ME, Still, frame, said
from tests.waiting import until

T = TypeVar("T")


def run(test: Callable[[Adapting, Still], Awaitable[T]], planner: Still | None = None) -> T:
    planner = planner or Still()

    async def main() -> T:
        async with Adapting(planner, Declared()) as served:
            return await asyncio.wait_for(test(served, planner), 60)

    return asyncio.run(main())


async def known(served: Adapting, client: str = "camera", caller: Caller = ME) -> None:
    """Let a client be known and planned for."""
    with pytest.raises(Refused, match="there is no plan yet"):
        await served.infer(frame(said(client)), caller)
    await until(lambda: all(one.place is not None for one in served.clients))


async def refused(served: Adapting, request: Request, caller: Caller = ME) -> Refused:
    with pytest.raises(Refused) as found:
        await served.infer(request, caller)
    return found.value


def test_an_answer_says_what_ran_and_what_to_use_next() -> None:
    async def test(served: Adapting, planner: Still) -> Response:
        await known(served)
        return await served.infer(frame(said(sized_for="small")), ME)

    found = run(test)
    assert not found.outputs
    assert found.parameters == {
        "ran": "large",
        "accuracy": 0.6,  # of the frame's size: the model would have had more
        "batch": 1,
        "executor": "declared",
        "next_model": "large",
        "next_input_px": 64,
        "server_ms": 120.0,
    }


def test_a_server_that_begins_with_a_plan_answers_the_first_frame() -> None:
    async def test(served: Adapting, planner: Still) -> Response:
        return await served.infer(frame(said(mbps=None)), ME)

    begins = Still()
    begins.first = {"gpu": Work("small", 1, 0.0)}
    assert run(test, begins).parameters["ran"] == "small"


def test_what_a_client_says_of_its_link_is_planned_with() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        await served.infer(frame(said(mbps=7.5, round_trip_ms=3.0)), ME)
        await until(lambda: planner.asked[-1]["client-1"].mbps == 7.5)
        assert planner.asked[-1]["client-1"].round_trip_ms == 3.0

    run(test)


def test_who_does_not_know_its_link_is_answered_and_not_planned_for() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        await served.infer(frame(said()), ME)
        answer = await served.infer(frame(said("other", mbps=None)), ME)
        assert "next_model" not in answer.parameters
        assert len(served.clients) == 1

    run(test)


def test_the_time_that_is_left_is_the_calls_less_its_grace() -> None:
    async def test(served: Adapting, planner: Still) -> Refused:
        await known(served)
        assert await served.infer(frame(said(grace_ms=2_000.0), timeout=2.5), ME)
        return await refused(served, frame(said(grace_ms=2_000.0), timeout=2.002))

    assert run(test).code is Code.DEADLINE_EXCEEDED


def test_a_frame_that_comes_late_is_dropped_and_counted() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        assert (await refused(served, frame(said(), timeout=0.001))).code is Code.DEADLINE_EXCEEDED
        assert served.dropped == 1

    run(test)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"mbps": math.nan}, "mbps must be a number"),
        ({"mbps": math.inf}, "mbps must be a number"),
        ({"mbps": -1.0}, "mbps is -1: give"),
        ({"mbps": 0.0}, "mbps is 0: give"),
        ({"mbps": 1e300}, "mbps is 1e"),
        ({"mbps": "20"}, "mbps must be a number"),
        ({"mbps": True}, "mbps must be a number"),
        ({"rate": 0.0}, "rate is 0: give"),
        ({"rate": 1e9}, "rate is 1e"),
        ({"rate": None}, "rate must be a number"),
        ({"slo_ms": -5.0}, "slo_ms is -5: give"),
        ({"slo_ms": math.nan}, "slo_ms must be a number"),
        ({"round_trip_ms": -1}, "round_trip_ms is -1: give"),
        ({"grace_ms": 1e9}, "grace_ms is 1e"),
        ({"sized_for": "huge"}, "name one of large, small"),
        ({"sized_for": None}, "name one of large, small"),
        ({"client": ""}, "client must be a printable text"),
        ({"client": "x" * 65}, "client must be a printable text"),
        ({"client": "a\nb"}, "client must be a printable text"),
        ({"client": 7}, "client must be a printable text"),
    ],
)
def test_what_cannot_be_is_refused_and_nobody_is_kept_for_it(other: dict[str, Any], why: str) -> None:
    async def test(served: Adapting, planner: Still) -> None:
        parameters = said(**other)
        error = await refused(served, frame(parameters))
        assert error.code is Code.INVALID_ARGUMENT
        assert why in str(error)
        assert not len(served.clients)

    run(test)


def test_a_frame_that_is_none_is_refused() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        for content in (b"", bytes(service.MOST_FRAME + 1)):
            assert "a frame has" in str(await refused(served, frame(said(), content)))
        other = Request("other", frame(said()).inputs, parameters=said())
        assert (await refused(served, other)).code is Code.NOT_FOUND

    run(test)


def test_thousands_of_names_are_kept_out_and_no_other_caller_with_them() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served, "mine", Caller("other"))
        codes = [(await _code(served, f"name-{number}")) for number in range(2_000)]
        assert codes.count(Code.RESOURCE_EXHAUSTED) == 2_000 - clients.MOST_OF_CALLER
        assert len(served.clients) == clients.MOST_OF_CALLER + 1
        assert (await served.infer(frame(said("mine")), Caller("other"))).parameters["ran"] == "large"

    async def _code(served: Adapting, name: str) -> Code | None:
        try:
            # Too late for any model, so that it is known and waits for nothing.
            await served.infer(frame(said(name), timeout=0.0), ME)
        except Refused as error:
            return error.code
        return None

    run(test)


def test_callers_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST", 3)

    async def test(served: Adapting, planner: Still) -> None:
        for number in range(3):
            await refused(served, frame(said(), timeout=0.0), Caller(f"caller-{number}"))
        assert "3 clients are known" in str(await refused(served, frame(said()), Caller("one more")))

    run(test)


def test_a_name_belongs_to_its_caller() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        await known_too(served)
        assert {client.caller for client in served.clients} == {"me", "somebody"}
        await served.infer(frame(said(mbps=1.0)), Caller("somebody"))
        assert [client.wants.mbps for client in served.clients] == [20.0, 1.0]

    async def known_too(served: Adapting) -> None:
        await served.infer(frame(said()), Caller("somebody"))

    run(test)


def test_more_frames_than_were_said_are_refused() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        slow = said(rate=0.5)
        found = await asyncio.gather(
            *(served.infer(frame(slow, timeout=0.0), ME) for _ in range(30)), return_exceptions=True
        )
        codes = [one.code for one in found if isinstance(one, Refused)]
        assert codes.count(Code.RESOURCE_EXHAUSTED) >= 30 - clients.MOST_WAITING

    run(test)


def test_frames_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_BYTES", 250)

    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        found = await asyncio.gather(
            *(served.infer(frame(said(), bytes(100)), ME) for _ in range(4)), return_exceptions=True
        )
        assert sum(isinstance(one, Refused) for one in found) == 2
        assert await served.infer(frame(said(), bytes(100)), ME)  # all was given back

    run(test)


def test_who_vanishes_is_forgotten_with_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "SILENT_S", 0.2)

    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        asking = asyncio.create_task(served.infer(frame(said()), ME))
        await asyncio.sleep(0)  # sleeps: until it has been asked
        asking.cancel()
        await until(lambda: not len(served.clients))
        await until(lambda: planner.asked[-1] == {})
        assert served._bytes == 0
        assert await served.infer(frame(said()), ME)  # and it may come back

    run(test)


def test_a_planner_that_fails_leaves_the_plan_as_it_was() -> None:
    class Failing(Still):
        def round(self, now_s: float, clients: Any) -> Any:
            if self.asked:
                self.asked.append({})
                raise Refused(Code.INTERNAL, "it cannot plan that")
            return super().round(now_s, clients)

    async def test(served: Adapting, planner: Still) -> None:
        await known(served)
        await until(lambda: len(planner.asked) > 1)
        assert (await served.infer(frame(said()), ME)).parameters["ran"] == "large"

    run(test, Failing())


def test_what_it_says_of_itself() -> None:
    async def test(served: Adapting, planner: Still) -> None:
        assert served.ready()
        assert served.model_ready("frames", "")
        assert not served.model_ready("other", "")
        assert [entry.name for entry in served.index(True)] == ["frames"]
        await known(served)
        await served.infer(frame(said()), ME)
        measures = {one.name: one.values for one in served.measures()}
        assert measures["adapt_clients"] == {(): 1}
        assert measures["adapt_frames"] == {("large",): 1}
        assert served.statistics("frames", "")[0].inference_count == 1
        for work in (served.load, served.unload):
            with pytest.raises(Refused, match="which models are loaded is planned"):
                await work("large", {}, ME)
        served.close_to_new()
        assert (await refused(served, frame(said()))).code is Code.UNAVAILABLE

    run(test)
