"""One edge takes nothing from another: not the loop's time, not the model's, not the memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from host.datacenter import service as service_module
from host.datacenter import shares as shares_module
from host.datacenter.service import MAX_BYTES, MAX_EDGE_BYTES, MAX_READY, Service
from host.datacenter.shares import Budget, Line, Share, Shares
from host.link.datagrams import MAX_DATAGRAM, STRIP_HEADER, Form, Kind, Reply, Status, Strip
from host.link.server import ServerPeer
from host.link.strips import cut
from tests.host.test_offload import SumModel, run

STANDS_STILL = 0.1  # seconds that the loop may, on a busy machine; it took up to 13 s
FIRST_BLOCK = struct.pack("!H", 0) + b"\x00"  # a strip of one empty block


@dataclasses.dataclass(frozen=True)
class Named:
    name: str


class FakePeer:
    """A connection of edge `name` under the service; keeps what is sent, and when."""

    session = 0
    round_trip = 0.0

    def __init__(self, name: str) -> None:
        self.admitted = Named(name)
        self.replies: list[Reply] = []
        self.at: list[float] = []

    def send_copies(self, messages: list[bytes]) -> None:
        for message in messages:
            self.replies.append(Reply.parse(message))
            self.at.append(asyncio.get_running_loop().time())

    def came(self, status: Status) -> list[int]:
        return [reply.request for reply in self.replies if reply.status == status]


class SizedModel:
    """A back end for images of a size, that takes its time for each."""

    sha256 = "5" * 64
    classes = 3

    def __init__(self, side: int, channels: int = 1, seconds: float = 0.0) -> None:
        self.input_shape = (side, side, channels)
        self.seconds = seconds
        self.batches: list[int] = []

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        time.sleep(self.seconds * len(images))
        return np.zeros((len(images), 3), np.float32)


@contextlib.asynccontextmanager
async def working(model: Any) -> AsyncIterator[Service]:
    service = Service(model)
    work = asyncio.get_running_loop().create_task(service.run())
    try:
        yield service
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def say(service: Service, peer: FakePeer, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        service.received(cast(ServerPeer, peer), datagram)


async def longest_pause(seconds: float) -> float:
    """The longest that the loop stands still within so many seconds."""
    end, longest = time.monotonic() + seconds, 0.0
    while (begin := time.monotonic()) < end:
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - begin)
    return longest


def one_block_images(side: int, channels: int) -> bytes:
    """A datagram of as many requests as it holds, each a block of an image of another size."""
    messages = b""
    number = 0
    while len(messages) + STRIP_HEADER + len(FIRST_BLOCK) <= MAX_DATAGRAM:
        form = Form(Kind.JPEG, side - number, side - number, channels, 85, 1)
        messages += Strip(number, 0, 60_000, form, 0, FIRST_BLOCK).pack()
        number += 1
    return messages


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [64, 224, 512, 1_024])
def test_a_datagram_of_one_block_images_stops_nobody(side: int, channels: int) -> None:
    async def test() -> None:
        datagram = one_block_images(side, channels)
        async with working(SizedModel(side, channels)) as service:
            peer = FakePeer("attacker")
            tracemalloc.start()
            begin = time.monotonic()
            say(service, peer, [datagram])
            took = time.monotonic() - begin
            kept, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert took < STANDS_STILL
            assert kept < 256 * 1024
            assert await longest_pause(0.5) < STANDS_STILL
            assert len(peer.replies) > 30
            if side >= 224:  # else some of them have all of their few blocks
                assert len(peer.came(Status.FAILED)) == len(peer.replies)  # next to nothing is made up
            assert not service.open_requests

    run(test())


@pytest.mark.parametrize("side", [28, 224, 512, 1_024])
def test_images_that_are_worth_decoding_do_not_stop_the_loop_either(side: int) -> None:
    async def test() -> None:
        image = np.full((side, side, 1), 7, np.uint8)
        image[: side // 2] = np.random.default_rng(1).integers(0, 99, (side // 2, side, 1))
        async with working(SizedModel(side)) as service:
            peer = FakePeer("edge")
            strips = cut(image, request=0, left_ms=60_000)
            for number in range(4):
                messages = [dataclasses.replace(Strip.parse(strip), request=number).pack() for strip in strips]
                say(service, peer, messages[::2])
                assert await longest_pause(0.05) < STANDS_STILL
            while service.open_requests:
                assert await longest_pause(0.02) < STANDS_STILL
            assert sorted(peer.came(Status.ANSWERED)) == [0, 1, 2, 3]

    run(test())


def tiny(number: int, left_ms: int = 60_000) -> list[bytes]:
    return cut(np.zeros((28, 28, 1), np.uint8), request=number, left_ms=left_ms)


def test_a_flood_of_one_edge_costs_another_no_answer() -> None:
    """A model of 100 images a second, 1,000 a second asked of it by one edge, 20 by another."""

    async def test() -> None:
        model = SizedModel(28, seconds=0.010)
        async with working(model) as service:
            loop = asyncio.get_running_loop()
            greedy, modest = FakePeer("greedy"), FakePeer("modest")
            asked: dict[int, float] = {}
            begin, flooded = loop.time(), 0
            for number in range(40):
                while loop.time() < begin + 0.05 * number:
                    for _ in range(10):
                        say(service, greedy, tiny(flooded))
                        flooded += 1
                    await asyncio.sleep(0.010)
                asked[number] = loop.time()
                say(service, modest, tiny(number, 300))
            await asyncio.sleep(0.3)
            waits = {
                reply.request: at - asked[reply.request] for reply, at in zip(modest.replies, modest.at, strict=True)
            }
            assert modest.came(Status.ANSWERED) == list(range(40))
            assert max(waits.values()) < 0.3
            assert flooded > 1_000
            # What is left of the model is for who asks most, and its refusals are no flood of packets.
            assert sum(model.batches) > 100
            assert len(greedy.came(Status.ANSWERED)) > 60
            assert len(greedy.came(Status.BUSY)) < 128 + 32 * 4

    run(test())


def test_more_connections_get_an_edge_no_more() -> None:
    async def test() -> None:
        model = SizedModel(28, seconds=0.002)
        async with working(model) as service:
            many, one = [FakePeer("many") for _ in range(8)], FakePeer("one")
            for peer in (*many, one):
                for number in range(30):
                    say(service, peer, tiny(number))
            while len(one.replies) < 30:
                await asyncio.sleep(0.001)
            assert sum(len(peer.came(Status.ANSWERED)) for peer in many) <= 30 + 3 * service_module.MAX_BATCH

    run(test())


def test_the_nearest_deadline_goes_first_within_an_edge() -> None:
    async def test() -> None:
        model = SizedModel(28, seconds=0.020)
        async with working(model) as service:
            peer = FakePeer("edge")
            for number in range(40):
                say(service, peer, tiny(number))
            await asyncio.sleep(0.05)
            say(service, peer, tiny(99, 5_000))
            while 99 not in peer.came(Status.ANSWERED):
                await asyncio.sleep(0.001)
            assert len(peer.came(Status.ANSWERED)) < 30

    run(test())


def test_waiting_requests_are_shared_out_between_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        service = Service(SizedModel(28))  # nothing runs: all wait
        peers = [FakePeer(f"edge-{number}") for number in range(4)]
        for peer in peers:
            say(service, peer, tiny(0))
        for number in range(1, MAX_READY):
            say(service, peers[0], tiny(number))
        assert service.open_requests == MAX_READY // 4 + 3
        say(service, peers[1], tiny(1))
        assert not peers[1].replies
        assert 128 <= len(peers[0].came(Status.BUSY)) < 200  # and then nothing is said, to 384

    run(test())


def strips_of_many(side: int, channels: int, requests: int) -> Iterator[list[bytes]]:
    """All strips but one of images that take much, of one request after another."""
    noise = np.random.default_rng(1).integers(0, 256, (side, side, channels)).astype(np.uint8)
    strips = [Strip.parse(strip) for strip in cut(noise, request=0, left_ms=60_000)]
    for number in range(requests):
        yield [dataclasses.replace(strip, request=number).pack() for strip in strips[1:]]


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (224, 3), (512, 1)])
def test_what_an_edge_makes_the_data_centre_keep_is_bounded_in_bytes(
    side: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was 128 requests, 39 MiB at 224 pixels and 707 at 1024, a connection."""
    monkeypatch.setattr(shares_module, "_LOOP_BURST", 1e9)
    monkeypatch.setattr(service_module, "MAX_EDGE_BYTES", MAX_EDGE_BYTES // 8)
    monkeypatch.setattr(service_module, "MAX_BYTES", MAX_BYTES // 16)

    async def test() -> None:
        service = Service(SizedModel(side, channels))
        peers = [FakePeer(f"edge-{number}") for number in range(4)]
        say(service, peers[0], [b""])
        gc.collect()
        tracemalloc.start()
        for peer in peers:
            peer.round_trip = 100.0  # what is silent is waited for
            for strips in strips_of_many(side, channels, 60 if side == 28 else 20):
                say(service, peer, strips)
                assert service._bytes <= MAX_BYTES // 16
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 1.5 * MAX_BYTES // 16 + (2 << 20)  # what this test itself keeps of them included
        for share in service._shares:
            assert share.bytes <= MAX_EDGE_BYTES // 8
        # Who holds little keeps it: the fullest makes room.
        assert all(len(client.assembling) > 0 for client in service._clients.values())
        for peer in peers:
            service.gone(cast(ServerPeer, peer))
        assert service._bytes == 0
        assert not service.open_requests

    run(test())


def test_all_that_was_counted_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_BYTES", 300_000)

    async def test() -> None:
        async with working(SizedModel(224, 3)) as service:
            peers = [FakePeer(f"edge-{number}") for number in range(3)]
            for number, strips in enumerate(strips_of_many(224, 3, 9)):
                say(service, peers[number % 3], strips)
            while service.open_requests:
                await asyncio.sleep(0.01)
            assert service._bytes == 0
            assert all(share.bytes == share.queued == 0 for share in service._shares)
            assert sum(len(peer.replies) for peer in peers) == 9

    run(test())


def test_an_edge_that_takes_too_much_of_the_loop_is_not_listened_to(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares_module, "_LOOP_BURST", 0.05)
    monkeypatch.setattr(shares_module, "LOOP_SHARE", 0.001)  # this machine may be busy with something else meanwhile

    async def test() -> None:
        service, peer, other = Service(SumModel()), FakePeer("greedy"), FakePeer("modest")
        begin = time.thread_time()
        strip = tiny(0)[0]
        while time.thread_time() - begin < 0.5:
            say(service, peer, [strip] * 100)
        say(service, other, tiny(1))
        assert service.open_requests == 2
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert line.startswith("edge 'greedy': takes more than its share of the data centre's time")
        begin = time.thread_time()
        say(service, peer, [strip] * 1_000)
        assert time.thread_time() - begin < 0.02  # 20 us each at most

    run(test())


def test_a_fault_in_decoding_ends_one_request_and_no_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resize = service_module.resize

    def failing(image: Any, shape: Any) -> Any:
        if image[0, 0, 0] == 1:
            raise KeyError("a fault of ours")
        return resize(image, shape)

    monkeypatch.setattr(service_module, "resize", failing)

    async def test() -> None:
        async with working(SizedModel(28)) as service:
            peer = FakePeer("edge")
            for number in range(6):
                image = np.full((28, 28, 1), number % 2, np.uint8)
                say(service, peer, cut(image, request=number, left_ms=60_000))
            while service.open_requests:
                await asyncio.sleep(0.001)
            assert sorted(peer.came(Status.ANSWERED)) == [0, 2, 4]
            assert sorted(peer.came(Status.FAILED)) == [1, 3, 5]
        assert [record.getMessage() for record in caplog.records] == [
            "edge 'edge': a request cannot be decoded: KeyError: 'a fault of ours' (at most one such line a minute)"
        ]

    run(test())


def test_a_batch_ends_soon_unless_it_takes_no_longer_than_an_image() -> None:
    async def test() -> None:
        async with working(SizedModel(28, seconds=0.020)) as service:
            peer = FakePeer("edge")
            for number in range(60):
                say(service, peer, tiny(number))
            while service.open_requests:
                await asyncio.sleep(0.001)
            batches = service._executor.batches  # type: ignore[attr-defined]
            assert max(batches[-4:]) <= 3  # of 50 ms

        class Wide(SizedModel):
            def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
                time.sleep(0.060)  # for one as for many
                return super().run(images)

        async with working(Wide(28)) as service:
            for number in range(100, 160):
                say(service, peer, tiny(number))
            while service.open_requests:
                await asyncio.sleep(0.001)
            assert service._executor.batches[-3:-1] == [8, 8]  # type: ignore[attr-defined]

    run(test())


def test_a_budget_is_spent_and_comes_back() -> None:
    budget = Budget(2.0, 3.0)
    assert [budget.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(10.5)
    assert not budget.take(10.6)
    budget.spend(11.0, 10.0)
    assert budget.left(11.0) < 0
    assert budget.left(100.0) == 3.0
    assert budget.left(50.0) == 3.0  # a clock that goes back gives nothing


def test_a_line_is_in_order_of_deadlines() -> None:
    line: Line[str] = Line()
    for number, (deadline, item) in enumerate([(3.0, "c"), (1.0, "a"), (3.0, "d"), (2.0, "b")]):
        line.add(deadline, number, item)
    line.remove(3.0, 0)
    line.remove(3.0, 7)  # never there
    assert line.last() == "d"
    assert [line.first() for _ in range(len(line))] == ["a", "b", "d"]


def test_who_was_idle_has_saved_nothing_up() -> None:
    shares: Shares[str] = Shares()
    busy, idle = shares.of("busy"), shares.of("idle")

    def waiting(share: Share[str]) -> Line[str]:
        return share.waiting

    for number in range(100):
        shares.wait(busy, 1.0, number, "busy")
    for _ in range(50):
        assert shares.take(waiting, lambda share: 1, 1) == ["busy"]
        busy.used += 1.0
    for number in range(100, 120):
        shares.wait(idle, 1.0, number, "idle")
    order = []
    for _ in range(20):
        (name,) = shares.take(waiting, lambda share: 1, 1)
        shares.of(name).used += 1.0
        order.append(name)
    assert order.count("idle") in (10, 11)
    assert shares.take(waiting, lambda share: 2, 9) in (["busy", "idle"] * 2, ["idle", "busy"] * 2)
