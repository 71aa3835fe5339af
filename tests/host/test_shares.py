"""One edge takes nothing from another: not the loop's time, not the model's, not the memory."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.datacenter import service as service_module
from edgesight.host.datacenter import shares as shares_module
from edgesight.host.datacenter.service import MAX_BYTES, MAX_EDGE_BYTES, MAX_READY, Service
from edgesight.host.datacenter.shares import Budget, Effort, Line, Share, Shares
from edgesight.host.link.datagrams import MAX_DATAGRAM, STRIP_HEADER, Form, Kind, Status, Strip
from edgesight.host.link.server import ServerPeer
from edgesight.host.link.strips import cut, encode, resize
from tests.host.offloading import SumModel, run
from tests.host.serving import FakePeer, SizedModel, all_is_settled, say, tiny, working
from tests.waiting import WITHIN_S, until

LOOP_S = 0.1  # seconds of the loop's thread that a datagram may take; it took up to 13
FIRST_BLOCK = struct.pack("!H", 0) + b"\x00"  # a strip of one empty block


def one_block_images(side: int, channels: int) -> bytes:
    """A datagram of as many requests as it holds, each a block of an image of another size."""
    messages = b""
    number = 0
    while len(messages) + STRIP_HEADER + len(FIRST_BLOCK) <= MAX_DATAGRAM:
        form = Form(Kind.JPEG, side - number, side - number, channels, 85, 1)
        messages += Strip(number, 0, 60_000, form, 0, FIRST_BLOCK).pack()
        number += 1
    return messages


@pytest.mark.parametrize(
    ("side", "channels"), [*((side, channels) for side in (64, 224, 512, 1_024) for channels in (1, 3)), (4_096, 3)]
)
def test_a_datagram_of_one_block_images_stops_nobody(side: int, channels: int) -> None:
    async def test() -> None:
        datagram = one_block_images(side, channels)
        async with working(SizedModel(side, channels)) as service:
            peer = FakePeer("attacker")
            begin = time.thread_time()
            say(service, peer, [datagram])
            await all_is_settled(service)
            assert time.thread_time() - begin < LOOP_S
            assert len(peer.replies) > 30
            if side >= 224:  # else some of them have all of their few blocks
                assert len(peer.came(Status.FAILED)) == len(peer.replies)  # next to nothing is made up

    run(test())


@pytest.mark.parametrize("side", [28, 224, 512, 1_024])
def test_images_that_are_worth_decoding_do_not_stop_the_loop_either(side: int) -> None:
    async def test() -> None:
        image = np.full((side, side, 1), 7, np.uint8)
        image[: side // 2] = np.random.default_rng(1).integers(0, 99, (side // 2, side, 1))
        async with working(SizedModel(side)) as service:
            peer = FakePeer("edge")
            strips = [Strip.parse(strip) for strip in cut(image, request=0, left_ms=60_000)][::2]
            requests = [[dataclasses.replace(strip, request=number).pack() for strip in strips] for number in range(4)]
            for messages in requests:
                say(service, peer, messages)
            begin = time.thread_time()
            await all_is_settled(service)
            assert time.thread_time() - begin < LOOP_S
            assert sorted(peer.came(Status.ANSWERED)) == [0, 1, 2, 3]

    run(test())


def test_a_flood_of_one_edge_costs_another_no_answer() -> None:
    """A model of 100 images a second; one edge asks it up to 1,000 times a second, another 20 times."""

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
                    await asyncio.sleep(0.010)  # sleeps: how often the greedy edge asks
                asked[number] = loop.time()
                say(service, modest, tiny(number, 300))
            await until(lambda: len(modest.replies) == 40)
            waits = {
                reply.request: at - asked[reply.request] for reply, at in zip(modest.replies, modest.at, strict=True)
            }
            assert modest.came(Status.ANSWERED) == list(range(40))
            assert max(waits.values()) < 0.3
            assert flooded > 400
            # What is left of the model is for who asks most, and its refusals are no flood of packets.
            assert sum(model.batches) > 60
            assert len(greedy.came(Status.ANSWERED)) > 20
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
            await until(lambda: len(one.replies) >= 30)
            assert sum(len(peer.came(Status.ANSWERED)) for peer in many) <= 30 + 3 * service_module.MAX_BATCH

    run(test())


def test_the_nearest_deadline_goes_first_within_an_edge() -> None:
    async def test() -> None:
        model = SizedModel(28, seconds=0.020)
        async with working(model) as service:
            peer = FakePeer("edge")
            for number in range(40):
                say(service, peer, tiny(number))
            await until(lambda: model.batches)
            say(service, peer, tiny(99, 5_000))
            await until(lambda: 99 in peer.came(Status.ANSWERED))
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
            for strips in strips_of_many(side, channels, 60 if side == 28 else 10):
                say(service, peer, strips)
                assert service._bytes <= MAX_BYTES // 16
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 1.5 * MAX_BYTES // 16 + (2 << 20)  # what this test itself keeps of them included
        for share in service._shares:
            assert share.bytes <= MAX_EDGE_BYTES // 8
        # Who holds little keeps it: the fullest makes room.
        assert [len(client.assembling) > 0 for client in service._clients.values()] == [True] * 4
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
            await until(lambda: not service.open_requests)
            assert service._bytes == 0
            assert [(share.bytes, share.queued) for share in service._shares] == [(0, 0)] * 3
            assert sum(len(peer.replies) for peer in peers) == 9

    run(test())


def test_an_edge_that_takes_too_much_of_the_loop_is_not_listened_to(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares_module, "LOOP_SHARE", 0.001)  # this machine may be busy with something else meanwhile
    monkeypatch.setattr(shares_module, "_MEASURE_EVERY", 0.0)

    async def test() -> None:
        service, greedy, modest = Service(SumModel()), FakePeer("greedy"), FakePeer("modest")
        strip = tiny(0)[0]
        say(service, greedy, [strip] * 20_000)
        assert not caplog.records  # alone it may have all of it
        for number in range(50):
            say(service, modest, tiny(number))
            say(service, greedy, [strip] * 1_000)
        assert len(service._clients[cast(ServerPeer, modest)].pending) == 50
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert line.startswith("edge 'greedy': it takes more than its part of the data centre's time")
        say(service, greedy, tiny(1))
        assert service.open_requests == 51

    run(test())


def test_what_a_message_costs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares_module, "_EFFORT_S", 1e-3)
    effort, shares = (
        Effort(iter([10.0, 10.1, 10.3, 10.4]).__next__),
        [Share[str]("a", seen=100.0), Share[str]("b", seen=98.5)],
    )
    effort.measure(99.0, shares)
    assert effort.active == 2
    assert effort.make(100) == pytest.approx(0.1)
    effort.measure(99.1, shares)  # too soon
    effort.measure(100.0, shares)  # 0.1 s of 100 efforts
    assert effort.active == 1
    assert effort.seconds == pytest.approx(1e-3)
    effort.make(50)
    effort.measure(101.0, shares)  # 0.2 s of 50: 4 ms each, of which a quarter counts
    assert effort.seconds == pytest.approx(1.75e-3)
    effort.measure(102.0, shares)  # nothing came
    assert effort.seconds == pytest.approx(1.75e-3)


def test_a_fault_in_decoding_ends_one_request_and_no_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def failing(image: Any, shape: Any) -> Any:
        if image[0, 0, 0] == 1:
            raise KeyError("a fault of ours")
        return resize(image, shape)

    monkeypatch.setattr("edgesight.host.datacenter.service.resize", failing)

    async def test() -> None:
        async with working(SizedModel(28)) as service:
            peer = FakePeer("edge")
            for number in range(6):
                image = np.full((28, 28, 1), number % 2, np.uint8)
                say(service, peer, cut(image, request=number, left_ms=60_000))
            await until(lambda: not service.open_requests)
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
            await until(lambda: not service.open_requests)
            batches = service._executor.batches  # type: ignore[attr-defined]
            assert max(batches[-4:]) <= 3  # of 50 ms

        class Wide(SizedModel):
            def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
                time.sleep(0.060)  # sleeps: what this model takes, for one as for many
                return super().run(images)

        async with working(Wide(28)) as service:
            for number in range(100, 160):
                say(service, peer, tiny(number))
            await until(lambda: not service.open_requests)
            assert service._executor.batches[-3:-1] == [8, 8]  # type: ignore[attr-defined]

    run(test())


def test_a_budget_is_spent_and_comes_back() -> None:
    budget = Budget(2.0, 3.0)
    assert [budget.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(10.5)
    assert not budget.take(10.6)
    budget.spend(10.0)
    assert budget.left(11.0) < 0
    before = budget.left(11.0)
    assert budget.left(12.0, among=4) == before + 0.5
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


class GatedModel(SizedModel):
    """A back end that works when it is let."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__(side, channels)
        self.busy, self.may_work = threading.Event(), threading.Event()

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.busy.set()
        assert self.may_work.wait(WITHIN_S)
        return super().run(images)


def test_an_idle_models_thread_decodes_and_a_busy_ones_does_not() -> None:
    async def test() -> None:
        model = GatedModel(96, 3)
        decoded_in: list[str] = []
        async with working(model) as service:
            decode = service._decode

            def noted(group: Any) -> Any:
                decoded_in.append(threading.current_thread().name)
                return decode(group)

            service._decode = noted  # type: ignore[method-assign]
            peer = FakePeer("edge")
            await until(lambda: service._idle)

            async def decoded(count: int) -> None:
                await until(lambda: len(decoded_in) == count)

            for number in range(3):
                image = np.random.default_rng(number).integers(0, 256, (96, 96, 3), np.uint8)
                for strip in cut(image, request=number, left_ms=20_000):
                    service.received(cast(ServerPeer, peer), strip)
                await until(lambda: len(decoded_in) == number + 1)  # noqa: B023 it is called in this turn
                await asyncio.to_thread(model.busy.wait, WITHIN_S)  # and it stays so until it is let
            model.may_work.set()
            await until(lambda: len(peer.came(Status.ANSWERED)) >= 3)
        assert decoded_in[0].startswith("model")
        assert not any(name.startswith("model") for name in decoded_in[1:])
        assert model.batches == [1, 2]

    run(test())


def test_an_image_that_an_idle_models_thread_cannot_decode_ends_no_other() -> None:
    async def test() -> None:
        model = SizedModel(96, 3)
        async with working(model) as service:
            peer = FakePeer("edge")
            image = np.zeros((96, 96, 3), np.uint8)
            good = [encode(image, kind=Kind.WHOLE).pack(request=number, left_ms=20_000) for number in (1, 3)]
            faulty = [Strip.parse(one) for one in encode(image, kind=Kind.WHOLE).pack(request=2, left_ms=20_000)]
            bad = [dataclasses.replace(one, payload=b"\1" + one.payload[1:]).pack() for one in faulty]
            say(service, peer, [*good[0], *bad, *good[1]])
            await all_is_settled(service)
            assert (peer.came(Status.ANSWERED), peer.came(Status.FAILED)) == ([1, 3], [2])
            say(service, peer, [*(dataclasses.replace(one, request=4, payload=b"\1").pack() for one in faulty)])
            await all_is_settled(service)
            assert peer.came(Status.FAILED) == [2, 4]
            assert sum(model.batches) == 2

    run(test())


@pytest.mark.parametrize("decoded", [False, True])
def test_what_waits_behind_late_requests_is_answered(decoded: bool) -> None:
    """Nothing else comes that would wake the model or the decoder."""

    async def test() -> None:
        model = SizedModel(28, seconds=0.05 if decoded else 0.0)
        async with working(model) as service:
            peer = FakePeer("edge")
            await until(lambda: service._idle)
            if decoded:  # while the model is at work, all are decoded, and become late
                say(service, peer, tiny(100))
                await until(lambda: model.batches)
            for number in range(20):
                say(service, peer, tiny(number, 20 if decoded else 0))
            say(service, peer, tiny(20))
            await asyncio.wait_for(all_is_settled(service), 5.0)
            assert set(peer.came(Status.ANSWERED)) >= {20}
            assert len(peer.came(Status.LATE)) >= 16

    run(test())
