"""A client of adaptation: what it sends, when, and what it learns; alone, and several at a real door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from edgesight.host.adapt.client import CameraClient, Reply, ServerError
from edgesight.host.adapt.declared import Declared
from edgesight.host.adapt.planning import Model, Wants
from edgesight.host.adapt.service import Adapting
from edgesight.host.doors.access import Access, Anyone, ByToken
from edgesight.host.doors.serve import Options, open_doors
from edgesight.host.doors.served import Parameter
from edgesight.host.doors.tokens import Tokens, make_token
from edgesight.plan.adapt.data import Gpu, Situation, shipped
from edgesight.plan.adapt.online import FrameSizer, OnlinePlanner, models
from edgesight.sim.link.tcp_relay import StreamLink, Task, relaying
from tests.host.adapt.adapting import LARGE, SMALL
from tests.waiting import until

remote = pytest.importorskip("edgesight.host.adapt.remote", reason="extra `oip` is not installed")
T = TypeVar("T")
TOLD: dict[str, Parameter] = {"ran": "large", "accuracy": 0.9, "next_model": "small", "server_ms": 8.0}


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 120)

    return asyncio.run(limited())


def make(model: Model) -> bytes:
    return bytes(model.frame_bytes)


class Chosen:
    """A sizer that chooses what it is told, and remembers what it hears."""

    def __init__(self, wants: Wants) -> None:
        self.mbps, self.model = wants.mbps, LARGE
        self.assigned: list[tuple[str | None, float]] = []
        self.heard: list[tuple[int, float]] = []
        self.waited: list[tuple[float, float, float]] = []
        self.sends = True

    def assign(self, model: str | None, server_ms: float) -> None:
        self.assigned.append((model, server_ms))

    def acknowledged(self, size: int, transfer_ms: float) -> None:
        self.heard.append((size, transfer_ms))

    def choose(self, waiting: float, sent: float, sending_ms: float) -> Model | None:
        self.waited.append((waiting, sent, sending_ms))
        return self.model if self.sends else None


class Held:
    """A server that says that a frame arrived, and answers, when it is let."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Parameter]] = []
        self.arrive, self.answer = asyncio.Event(), asyncio.Event()
        self.arrive.set()
        self.answer.set()
        self.told = TOLD
        self.fault: str | None = None

    async def round_trip(self, within: float) -> float:
        return 0.001

    async def ask(
        self, content: bytes, parameters: Mapping[str, Parameter], within: float, arrived: Callable[[], None]
    ) -> Reply:
        self.asked.append(parameters)
        await self.arrive.wait()
        if self.fault is not None:
            raise ServerError(self.fault)
        arrived()
        await self.answer.wait()
        return Reply(self.told, {})


async def opened(slo_ms: float = 10_000.0) -> tuple[CameraClient, Held, Chosen]:
    server = Held()
    client = CameraClient("camera", server, Chosen, slo_ms=slo_ms, rate=10.0)
    await client.open(make, SMALL)
    assert isinstance(client.sizer, Chosen)
    return client, server, client.sizer


def test_it_measures_its_link_first_and_says_so_from_then_on() -> None:
    async def test() -> None:
        client, server, sizer = await opened()
        assert "mbps" not in server.asked[0]
        assert server.asked[0]["sized_for"] == "small"
        assert server.asked[1]["mbps"] == sizer.mbps > 0
        assert sizer.assigned == [("small", 8.0)]  # it is planned for before its first frame
        assert (await client.ask(make)).accuracy == 0.9
        assert server.asked[2]["sized_for"] == "large"
        assert sizer.heard[0][0] == LARGE.frame_bytes

    run(test())


def test_the_next_frame_leaves_as_the_one_before_it_has_arrived() -> None:
    async def test() -> None:
        client, server, sizer = await opened()
        server.arrive.clear()
        server.answer.clear()
        first = asyncio.create_task(client.ask(make))
        await until(lambda: len(server.asked) == 3)
        second = asyncio.create_task(client.ask(make))
        await until(lambda: len(sizer.waited) == 2)
        assert sizer.waited[0] == (0.0, 0.0, 0.0)
        assert 0 < sizer.waited[1][0] <= LARGE.frame_bytes
        assert len(server.asked) == 3
        server.arrive.set()  # no answer yet
        await until(lambda: len(server.asked) == 4)
        assert not first.done()
        server.answer.set()
        assert not (await first).late
        assert not (await second).late

    run(test())


def test_what_can_only_be_late_is_not_sent() -> None:
    async def test() -> None:
        client, server, sizer = await opened(slo_ms=50.0)
        sizer.sends = False
        answer = await client.ask(make)
        assert (answer.sized_for, answer.late, answer.sent_bytes) == (None, True, 0)
        sizer.sends = True
        server.arrive.clear()
        first = asyncio.create_task(client.ask(make))
        await until(lambda: len(server.asked) == 3)
        waits = asyncio.create_task(client.ask(make, asyncio.get_running_loop().time() - 0.06))
        await until(lambda: len(sizer.waited) == 3)
        server.arrive.set()
        assert (await waits).sent_bytes == 0
        await first
        assert client.counts.not_sent == 2

    run(test())


def test_without_an_answer_it_says_why_and_goes_on() -> None:
    async def test() -> None:
        client, server, sizer = await opened()
        server.fault = "nobody is there"
        answer = await client.ask(make)
        assert (answer.late, answer.fault, answer.accuracy) == (True, "nobody is there", 0.0)
        assert not sizer.heard  # of the link nothing is known by it
        server.fault = None
        assert not (await client.ask(make)).late

    run(test())


def test_who_is_cancelled_holds_up_nobody() -> None:
    async def test() -> None:
        client, server, sizer = await opened()
        server.arrive.clear()
        asking = [asyncio.create_task(client.ask(make)) for _ in range(3)]
        await until(lambda: len(sizer.waited) == 3)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        server.arrive.set()
        assert not (await client.ask(make)).late

    run(test())


def test_without_a_place_in_the_plan_it_only_probes() -> None:
    async def test() -> None:
        client, server, sizer = await opened()
        server.told = {"ran": "large", "accuracy": 0.9}
        await client.ask(make)
        assert sizer.assigned[-1] == (None, 0.0)

    run(test())


def test_a_server_that_is_not_there_is_said_so() -> None:
    async def test() -> None:
        async with remote.GrpcServer("127.0.0.1:9") as nobody:
            with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
                await nobody.round_trip(0.2)

    run(test())


@pytest.mark.parametrize("with_tokens", [False, True])
def test_two_clients_over_links_of_their_own_are_answered_in_time_by_what_they_can_carry(
    with_tokens: bool, tmp_path: Path
) -> None:
    """A live run: a swift link gets a larger model than a slow one. Times are a busy machine's."""
    profile = shipped("jellyfish")
    situation = Situation(profile=profile, clients=(), gpus=(Gpu(name="a"), Gpu(name="b")), overhead_ms=10.0)
    tokens = {name: make_token(tmp_path / "tokens", name) for name in ("swift", "slow")} if with_tokens else {}
    access: Access = ByToken(Tokens(tmp_path / "tokens").find, None) if with_tokens else Anyone()

    async def camera(name: str, port: int) -> CameraClient:
        async with remote.GrpcServer(f"127.0.0.1:{port}", token=tokens.get(name)) as server:
            client = CameraClient(name, server, lambda wants: FrameSizer(profile, wants, 10.0), slo_ms=400.0, rate=10.0)
            await client.open(make, models(profile)[-1])
            loop = asyncio.get_running_loop()
            begun = loop.time()

            async def one(number: int) -> None:
                await asyncio.sleep(begun + number / 10.0 - loop.time())  # sleeps: as a camera does
                await client.ask(make)

            await asyncio.gather(*map(one, range(30)))
        return client

    async def test() -> None:
        planner = OnlinePlanner(situation, margin=0.0, load_limit=0.9)
        doors = Options(grpc=("127.0.0.1", 0), http=None, access=access)
        async with Adapting(planner, Declared()) as served, open_doors(served, doors) as addresses:
            assert addresses.grpc is not None
            links = (StreamLink((60.0,)), StreamLink((6.0,)))
            async with relaying(Task(addresses.grpc, links, time.monotonic(), 0.001)) as ports:
                swift, slow = await asyncio.gather(camera("swift", ports[0]), camera("slow", ports[1]))
            callers = {client.caller for client in served.clients}
        assert callers == ({"swift", "slow"} if with_tokens else {"127.0.0.1"})
        assert swift.counts.frames == slow.counts.frames == 30
        assert swift.counts.late + slow.counts.late < 30  # most are in time, however busy this machine is
        assert swift.counts.accuracy > slow.counts.accuracy
        assert swift.sizer is not None
        assert slow.sizer is not None
        assert swift.sizer.mbps > 2 * slow.sizer.mbps
        assert slow.sizer.mbps < 7.0

    run(test())
