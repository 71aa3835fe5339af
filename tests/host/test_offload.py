"""Offloaded images come back as labels in time, through loss, attack and death of the data centre."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.service import OVERTAKEN_AFTER, SILENT_AFTER, Service
from edgesight.host.link import parity
from edgesight.host.link.addresses import addresses
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.datagrams import REQUEST_BITS, Cancel, Kind, LinkError, Reply, Status, Strip
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import client_keys
from edgesight.host.link.loss import LossMeter
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.strips import cut, encode
from edgesight.host.recent import Recent
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.relay import Address, RelayLink
from edgesight.sim.link.trust import Trust, add_edge, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.by_hand import SHAPE, clear_images
from tests.host.offloading import IDLE, SumModel, connected, expected, run, serving
from tests.waiting import until


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return make_trust(tmp_path_factory.mktemp("link"))


async def until_lost(client: OffloadClient) -> None:
    """Ask until the client knows that its data centre is away."""
    while True:
        try:
            await client.offload(clear_images(1)[0], 0.1)
        except NoAnswer as error:
            if "no data centre" in str(error):
                return


def test_labels_come_back(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys) as address, connected(address, keys, model_sha256=SumModel.sha256) as client:
            for image in clear_images(20):
                reply = await client.offload(image, 5.0)
                assert (reply.status, reply.label) == (Status.ANSWERED, expected(image))

    run(test())


def test_many_requests_at_a_time_are_all_answered(keys: Trust) -> None:
    async def test() -> None:
        images = clear_images(64)
        async with serving(keys) as address, connected(address, keys) as client:
            replies = await asyncio.gather(*(client.offload(image, 20.0) for image in images))
        assert [reply.label for reply in replies] == [expected(image) for image in images]

    run(test())


@pytest.mark.parametrize("seed", [1, 2])
def test_five_percent_loss_repairs_strips_and_loses_no_answer(keys: Trust, seed: int) -> None:
    async def test() -> None:
        options = LinkOptions(loss=0.05, delay_s=0.002)
        async with serving(keys) as address, RelayLink(address, options, seed=seed) as link:
            # A seed may lose the handshake's packets: connecting goes on by itself.
            async with connected(link.address, keys) as client:
                images = clear_images(150, seed)
                replies = [await client.offload(image, 5.0) for image in images]
                peer = client._connection.peer
                assert peer is not None
                assert 0.01 < peer.loss_meter.loss < 0.15
            assert [reply.label for reply in replies] == [expected(image) for image in images]
            # Once the loss was known, parity strips brought nearly all of it back.
            assert sum(reply.missing > 0 for reply in replies[50:]) <= 10
            assert link.up.lost
            assert link.down.lost
            print(f"seed {seed}: {link.up} {link.down}, {client.resent} resent")

    run(test())


class ColourModel(SumModel):
    """A back end for large images: the channel with the largest sum."""

    input_shape = (96, 96, 3)
    classes = 3

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(images.sum(axis=(1, 2)), np.float32)


def test_large_images_travel_as_jpeg_through_loss(keys: Trust) -> None:
    async def test() -> None:
        generator = np.random.default_rng(7)
        async with (
            serving(keys, model=ColourModel()) as address,
            RelayLink(address, LinkOptions(loss=0.05), seed=3) as link,
            connected(link.address, keys) as client,
        ):
            for _ in range(40):
                levels = generator.permutation([60, 120, 180])
                image = (levels + generator.integers(-30, 31, ColourModel.input_shape)).astype(np.uint8)
                reply = await client.offload(image, 5.0)
                assert reply.label == int(levels.argmax())
            assert link.up.lost

    run(test())


def test_a_black_hole_costs_the_deadline_and_no_more(keys: Trust) -> None:
    async def test() -> None:
        async with (
            serving(keys) as address,
            RelayLink(address, LinkOptions()) as link,
            connected(link.address, keys) as client,
        ):
            link.set_loss(1.0)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(NoAnswer, match="the deadline passed"):
                await client.offload(clear_images(1)[0], 0.2)
            assert 0.2 <= loop.time() - begin < 2.0

    run(test())


def test_a_deadline_that_is_over_is_no_work(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys) as address, connected(address, keys) as client:
            with pytest.raises(NoAnswer, match="was not asked: no time was left") as late:
                await client.offload(clear_images(1)[0], 0.0)
            assert not late.value.asked

    run(test())


def test_what_cannot_come_back_in_time_is_not_sent(keys: Trust) -> None:
    async def test() -> None:
        async with (
            serving(keys) as address,
            RelayLink(address, LinkOptions(delay_s=0.04)) as link,
            connected(link.address, keys) as client,
        ):
            with pytest.raises(NoAnswer, match="was not asked: no time was left for the way there") as late:
                await client.offload(clear_images(1)[0], 0.06)
            assert not late.value.asked
            link.set_loss(1.0)
            with pytest.raises(NoAnswer, match="the deadline passed") as lost:
                await client.offload(clear_images(1)[0], 0.2)
            assert lost.value.asked

    run(test())


def test_open_requests_are_bounded(keys: Trust) -> None:
    async def test() -> None:
        async with (
            serving(keys) as address,
            RelayLink(address, LinkOptions()) as link,
            connected(link.address, keys, max_open=2) as client,
        ):
            link.set_loss(1.0)
            image = clear_images(1)[0]
            asked = [client.offload(image, within) for within in (0.4, 0.4, 0.2, 0.2, 0.2, 0.2)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            reasons = [str(outcome) for outcome in outcomes]
            assert sum("other requests were on the way" in reason for reason in reasons) == 4
            link.set_loss(0.0)
            assert (await client.offload(image, 5.0)).label == expected(image)

    run(test())


def test_the_data_centre_says_which_edge_comes_and_goes(keys: Trust, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgesight.host.link.server")

    def said(what: str) -> list[str]:
        return [
            one.message for one in caplog.records if one.name == "edgesight.host.link.server" and what in one.message
        ]

    async def gone(times: int) -> None:
        await until(lambda: len(said("is gone")) >= times)

    async def test() -> None:
        async with serving(keys) as address:
            for number in range(12):
                async with connected(address, keys):
                    pass
                gone = min(number + 1, 2)
                await until(lambda: len(said("is gone")) >= gone)  # noqa: B023 it is called in this turn

    run(test())
    assert said("edge 'door' ")[0] == "edge 'door' connected, from 127.0.0.1"
    assert said("edge 'door' ")[1].startswith("edge 'door' is gone, from 127.0.0.1: ")
    assert len(said("edge 'door' ")) == 6  # however often one comes and goes: a few lines, and one that counts the rest
    assert re.match(r"1\d more lines like the last ones; the newest: edge 'door' ", said("edge 'door' ")[-1])


def test_a_port_that_is_taken_says_by_what_to_name_another(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys) as address:
            with pytest.raises(LinkError, match=r"cannot be opened \(.*\): name another by --port, or --host"):
                async with serving(keys, address[1]):
                    pass

    run(test())


def test_an_edge_that_is_turned_away_asks_ever_more_seldom_and_new_keys_end_the_wait(tmp_path: Path) -> None:
    keys = make_trust(tmp_path)
    with contextlib.closing(Authority(keys.datacenter)) as authority:
        authority.revoke("door")

    async def test() -> None:
        async with serving(keys) as address:
            client = OffloadClient(*address, client_keys(keys.edge, IDLE))
            wait, pauses = client._connection._pause, []

            async def pause(seconds: float) -> None:
                pauses.append(seconds)
                if len(pauses) >= 9:
                    await wait(seconds)

            client._connection._pause = pause  # type: ignore[method-assign]
            with pytest.raises(NoAnswer, match="was revoked"):
                await client.wait_connected(3.0)
            assert len(pauses) == 9
            assert pauses[0] >= 0.5
            assert 15.0 <= pauses[-1] <= 45.0
            add_edge(keys.datacenter, "door", keys.edge)
            await client.wait_connected(5.0)  # much sooner than that pause is over
            await client.close()

    run(test())


def test_no_data_centre_is_said_at_once(keys: Trust) -> None:
    async def test() -> None:
        client = OffloadClient("127.0.0.1", 9, client_keys(keys.edge, IDLE))
        with pytest.raises(NoAnswer, match=r"no data centre at 127\.0\.0\.1:9: nothing listens there"):
            await client.connect()
        with pytest.raises(NoAnswer, match="no data centre") as away:
            await client.offload(clear_images(1)[0], 1.0)
        assert not away.value.asked

    run(test())


def test_an_unknown_host_is_said(keys: Trust) -> None:
    async def test() -> None:
        with pytest.raises(NoAnswer, match="cannot be reached"):
            await OffloadClient("no-such-host.invalid", 9, client_keys(keys.edge, IDLE)).connect()

    run(test())


def test_a_restarted_data_centre_is_found_again(keys: Trust) -> None:
    async def test() -> None:
        image = clear_images(1)[0]
        async with contextlib.AsyncExitStack() as stack:
            async with serving(keys) as address:
                client = await stack.enter_async_context(connected(address, keys))
                await client.offload(image, 5.0)
            await until_lost(client)
            with pytest.raises(NoAnswer, match="no data centre at"):
                await client.offload(image, 1.0)
            async with serving(keys, address[1]):
                await client.wait_connected(10)
                assert (await client.offload(image, 5.0)).label == expected(image)

    run(test())


def test_no_fault_ends_an_edges_trying(
    keys: Trust, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is that comes of a data centre's words, or of this end's own looking."""
    faults = [KeyError("one"), ZeroDivisionError("another")]

    async def failing(host: str, port: int) -> Any:
        if faults:
            raise faults.pop()
        return await addresses(host, port)

    monkeypatch.setattr("edgesight.host.link.connection.addresses", failing)

    async def test() -> None:
        async with serving(keys) as address:
            client = OffloadClient(*address, client_keys(keys.edge, IDLE))
            await client.wait_connected(10)
            await client.close()

    run(test())
    assert not faults
    assert "a fault of this edge's own (ZeroDivisionError: another)" in caplog.text


def test_a_silent_data_centre_is_given_up(keys: Trust) -> None:
    async def test() -> None:
        async with (
            serving(keys) as address,
            RelayLink(address, LinkOptions()) as link,
            connected(link.address, keys) as client,
        ):
            link.set_loss(1.0)
            await until_lost(client)
            assert "was silent" in str(client.trouble)
            link.set_loss(0.0)
            await client.wait_connected(10)

    run(test())


def test_edges_are_bounded_and_a_place_becomes_free_again(keys: Trust, tmp_path: Path) -> None:
    add_edge(keys.datacenter, "window", tmp_path / "window")

    async def test() -> None:
        async with serving(keys, max_edges=1) as address:
            window = OffloadClient(*address, client_keys(tmp_path / "window", IDLE))
            async with connected(address, keys), connected(address, keys):  # of one edge
                with pytest.raises(NoAnswer, match="the data centre has too many edges"):
                    await window.connect()
            await window.wait_connected(10)
            await window.close()
            async with connected(address, keys) as client:
                image = clear_images(1)[0]
                assert (await client.offload(image, 5.0)).label == expected(image)

    run(test())


def test_another_model_than_the_calibrated_one_is_refused(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys) as address:
            client = OffloadClient(*address, client_keys(keys.edge, IDLE), model_sha256="6" * 64)
            with pytest.raises(NoAnswer, match="serves model 555555555555, but this kernel was calibrated with 6666"):
                await client.connect()

    run(test())


def test_other_jpeg_tables_are_refused_at_connecting(keys: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving(keys) as address:
            tables = iter(["0" * 64, jpeg_tables()])  # the edge's, then the data centre's
            for end in ("client_peer", "server"):
                monkeypatch.setattr(f"edgesight.host.link.{end}.jpeg_tables", lambda: next(tables))
            client = OffloadClient(*address, client_keys(keys.edge, IDLE))
            with pytest.raises(NoAnswer, match="install the same Pillow on both"):
                await client.connect()

    run(test())


def test_a_failing_model_is_no_answer_and_the_service_goes_on(keys: Trust) -> None:
    async def test() -> None:
        model = SumModel()
        image = clear_images(1)[0]
        async with serving(keys, model=model) as address, connected(address, keys) as client:
            model.failing = True
            with pytest.raises(NoAnswer, match="failed"):
                await client.offload(image, 5.0)
            model.failing = False
            assert (await client.offload(image, 5.0)).label == expected(image)

    run(test())


def test_hostile_packets_and_datagrams_leave_the_service_answering(keys: Trust) -> None:
    async def test() -> None:
        generator = np.random.default_rng(5)
        image = clear_images(1)[0]
        async with serving(keys) as address, connected(address, keys) as client:
            loop = asyncio.get_running_loop()
            stranger, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
            for size in generator.integers(1, 1_400, 300):
                packet = bytearray(generator.bytes(int(size)))
                packet[0] |= 0xC0  # looks like QUIC's first packet
                stranger.sendto(bytes(packet))
            peer = client._connection.peer
            assert peer is not None
            session = peer.welcome.result().session << REQUEST_BITS
            valid = cut(image, request=session + 99, left_ms=5_000)
            for number in range(300):
                mutated = bytearray(valid[number % 4])
                mutated[int(generator.integers(len(mutated)))] ^= int(generator.integers(1, 256))
                hostile = [bytes(mutated), generator.bytes(int(generator.integers(1, 1_000)))]
                peer.send_before(loop.time() + 5, hostile)
            for again in clear_images(5):
                assert (await client.offload(again, 10.0)).label == expected(again)
            stranger.close()

    run(test())


class ForgetfulLink(RelayLink):
    """A relay that can lose all packets of the connections that there are, and no others, as some routers do."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target, LinkOptions(delay_s=0.002))
        self.forgotten: set[object] = set()

    def forget(self) -> None:
        self.forgotten |= set(self._upstream)

    def from_client(self, data: bytes, client: Address) -> None:
        if client not in self.forgotten:
            super().from_client(data, client)

    def from_target(self, data: bytes, client: Address) -> None:
        if client not in self.forgotten:
            super().from_target(data, client)


def another(client: OffloadClient, before: ClientPeer | None) -> bool:
    """Whether another connection has taken over from `before`; fails where there was a pause without any."""
    assert client.trouble is None
    return client._connection.peer is not None and client._connection.peer is not before


def test_beside_a_silent_connection_another_takes_over_again_and_again(
    keys: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data centre lets an edge have two, the oldest makes room: a silent one that it keeps is in nobody's way."""
    monkeypatch.setattr("edgesight.host.link.connection.PING_EVERY", 0.2)

    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            link = ForgetfulLink(await stack.enter_async_context(serving(keys, idle=3.0)))
            await stack.enter_async_context(link)
            client = await stack.enter_async_context(connected(link.address, keys, idle=3.0))
            image = clear_images(1)[0]
            for _ in range(4):
                before = client._connection.peer
                assert (await client.offload(image, 5.0)).label == expected(image)
                link.forget()
                await until(functools.partial(another, client, before), 5.0)
            assert (await client.offload(image, 5.0)).label == expected(image)

    run(test())


class RecordedPeer:
    """Takes the place of a connection under the service; keeps what is sent."""

    session = 0
    round_trip = least_round_trip = 0.0

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Reply] = asyncio.Queue()

    def send_copies(self, messages: list[bytes]) -> None:
        for message in messages:
            self.sent.put_nowait(Reply.parse(message))


@contextlib.asynccontextmanager
async def service_alone(model: SumModel) -> AsyncIterator[tuple[Service, RecordedPeer]]:
    recent = Recent()
    service = Service(model, seen=lambda picture, edge, label, seconds: recent.add(edge, picture, dict))
    work = asyncio.get_running_loop().create_task(service.run())
    try:
        yield service, RecordedPeer()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def feed(service: Service, peer: RecordedPeer, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        service.received(peer, datagram)  # type: ignore[arg-type]


def test_duplicates_and_any_order_are_answered_once() -> None:
    async def test() -> None:
        for number, order in enumerate(itertools.permutations(range(4))):
            model = SumModel()
            image = clear_images(1, number)[0]
            async with service_alone(model) as (service, peer):
                datagrams = cut(image, request=number, left_ms=5_000)
                feed(service, peer, [datagrams[index] for index in order for _ in range(2)])
                reply = await peer.sent.get()
                assert (reply.request, reply.label) == (number, expected(image))
                feed(service, peer, datagrams)  # came late: the request is over
                assert peer.sent.empty()
                feed(service, peer, cut(image, request=number, left_ms=5_000, attempt=1))  # all copies got lost
                assert await peer.sent.get() == reply
                assert peer.sent.empty()
                assert model.batches == [1]

    run(test())


def test_requests_of_another_session_or_long_answered_are_not_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.datacenter.requests._REMEMBERED", 4)

    async def test() -> None:
        model = SumModel()
        image = clear_images(1)[0]
        async with service_alone(model) as (service, peer):
            feed(service, peer, cut(image, request=(1 << REQUEST_BITS) + 1, left_ms=5_000))
            for number in range(6):
                feed(service, peer, cut(image, request=number, left_ms=5_000))
                assert (await peer.sent.get()).request == number
            worked = list(model.batches)
            for number in range(6):
                for attempt in (0, 1):
                    feed(service, peer, cut(image, request=number, left_ms=5_000, attempt=attempt))
            again = {(await peer.sent.get()).request for _ in range(4)}
            assert again == {2, 3, 4, 5}  # from memory, the others not at all
            feed(service, peer, cut(image, request=6, left_ms=5_000))
            assert (await peer.sent.get()).request == 6
            assert model.batches == [*worked, 1] == [1] * 7

    run(test())


def test_what_is_ready_together_is_one_batch() -> None:
    async def test() -> None:
        model = SumModel()
        images = clear_images(20)
        async with service_alone(model) as (service, peer):
            for number, image in enumerate(images):
                feed(service, peer, cut(image, request=number, left_ms=9_000))
            replies = [await peer.sent.get() for _ in range(20)]
        assert {reply.request: reply.label for reply in replies} == dict(enumerate(map(expected, images)))
        assert model.batches == [8, 8, 4]

    run(test())


def test_missing_strips_are_repaired_after_a_short_wait() -> None:
    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            image = clear_images(1)[0]
            strips = cut(image, request=1, left_ms=5_000)
            feed(service, peer, strips[:3])
            reply = await peer.sent.get()
            assert (reply.status, reply.label, reply.missing) == (Status.ANSWERED, expected(image), 1)
            assert reply.service_us >= SILENT_AFTER * 1e6
            feed(service, peer, cut(image, request=2, left_ms=5_000)[2:])  # the last came: less to wait for
            reply = await peer.sent.get()
            assert (reply.status, reply.label, reply.missing) == (Status.ANSWERED, expected(image), 2)
            assert reply.service_us >= OVERTAKEN_AFTER * 1e6

    run(test())


def test_strips_that_are_enough_are_worked_on_at_once() -> None:
    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            image = clear_images(1)[0]
            feed(service, peer, cut(image, request=1, left_ms=5_000, parity=2)[1:5])
            assert service._ready  # nothing was waited for
            reply = await peer.sent.get()
            assert (reply.label, reply.missing) == (expected(image), 0)

    run(test())


def test_strips_are_recovered_outside_the_thread_that_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    solvers: list[int] = []
    recover = parity.recover

    def watched(*said: Any) -> dict[int, bytes]:
        solvers.append(threading.get_ident())
        return recover(*said)

    monkeypatch.setattr(parity, "recover", watched)

    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            image = clear_images(1)[0]
            strips = cut(image, request=1, left_ms=5_000, parity=2)
            feed(service, peer, strips[1:5])
            feed(service, peer, strips)  # the others come while it is worked on: nothing is done twice
            reply = await peer.sent.get()
            assert (reply.status, reply.label, reply.missing) == (Status.ANSWERED, expected(image), 0)
            feed(service, peer, strips)
            assert not service.open_requests
            came = [dataclasses.replace(Strip.parse(strip), request=2) for strip in strips[1:5]]
            lying = [*came[:3], dataclasses.replace(came[3], payload=bytes(len(came[3].payload)))]
            feed(service, peer, [strip.pack() for strip in lying])
            reply = await peer.sent.get()
            assert (reply.status, reply.missing) == (Status.ANSWERED, 1)  # concealed
            assert not service._bytes

    run(test())
    assert len(solvers) == 2
    assert threading.get_ident() not in solvers


def test_an_entire_image_is_waited_for_until_the_last_moment_and_then_late() -> None:
    async def test() -> None:
        model, loop = SumModel(), asyncio.get_running_loop()
        async with service_alone(model) as (service, peer):
            image = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
            encoded = encode(image, kind=Kind.PACKED, largest=300)
            strips = encoded.pack(request=1, left_ms=5_000)
            feed(service, peer, [*strips[1:], *strips[1:]])
            # Longer than for one that bears losses.
            await asyncio.sleep(10 * SILENT_AFTER)  # sleeps: virtual time
            assert peer.sent.empty()
            feed(service, peer, strips[:1])  # sent again
            reply = await asyncio.wait_for(peer.sent.get(), 2)
            assert (reply.status, reply.label, reply.missing) == (Status.ANSWERED, expected(image), 0)
            begin = loop.time()
            feed(service, peer, encoded.pack(request=2, left_ms=400)[1:])
            assert service._bytes > 0
            reply = await asyncio.wait_for(peer.sent.get(), 2)
            assert (reply.request, reply.status, reply.missing) == (2, Status.LATE, 1)
            assert loop.time() - begin > 0.25
            assert service._bytes == service.open_requests == 0
            assert model.batches == [1]

    run_virtual(test(), LinkOptions())


def test_the_deadline_ends_the_wait_for_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.datacenter.service.SILENT_AFTER", 30.0)

    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            peer.least_round_trip = 0.2
            image = clear_images(1)[0]
            feed(service, peer, cut(image, request=1, left_ms=300)[:3])
            reply = await asyncio.wait_for(peer.sent.get(), 5)
            assert (reply.status, reply.label, reply.missing) == (Status.ANSWERED, expected(image), 1)
            assert 50_000 < reply.service_us < 250_000

    run(test())


def test_a_smaller_image_is_enlarged_and_a_larger_one_refused() -> None:
    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            image = clear_images(1)[0]
            small = image.reshape(SHAPE[0] // 2, 2, SHAPE[1] // 2, 2, SHAPE[2]).mean(axis=(1, 3)).astype(np.uint8)
            feed(service, peer, cut(np.repeat(image, 2, axis=0), request=1, left_ms=5_000))
            feed(service, peer, cut(small, request=2, left_ms=5_000))
            reply = await peer.sent.get()
            assert (reply.request, reply.label) == (2, expected(image))

    run(test())


def test_a_request_that_is_late_is_not_worked_on() -> None:
    async def test() -> None:
        model = SumModel()
        async with service_alone(model) as (service, peer):
            feed(service, peer, cut(clear_images(1)[0], request=1, left_ms=0))
            assert (await peer.sent.get()).status == Status.LATE
        assert not model.batches

    run(test())


def test_open_requests_of_a_client_are_bounded() -> None:
    async def test() -> None:
        async with service_alone(SumModel()) as (service, peer):
            image = clear_images(1)[0]
            feed(service, peer, [cut(image, request=number, left_ms=9_000)[0] for number in range(200)])
            replies = [await peer.sent.get() for _ in range(72)]
            assert {reply.request for reply in replies} == set(range(128, 200))
            assert {reply.status for reply in replies} == {Status.BUSY}

    run(test())


class SlowModel(SumModel):
    """A back end that waits for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.begun.set()
        assert self.go.wait(10)
        return super().run(images)


def test_a_cancel_frees_the_slot_wherever_the_request_is() -> None:
    async def test() -> None:
        model = SlowModel()
        image = clear_images(1)[0]
        async with service_alone(model) as (service, peer):
            feed(service, peer, cut(image, request=1, left_ms=9_000))
            await asyncio.to_thread(model.begun.wait, 10)
            feed(service, peer, cut(image, request=2, left_ms=9_000))  # waits for the model
            feed(service, peer, cut(image, request=3, left_ms=9_000)[:1])  # in assembly
            feed(service, peer, [Cancel(4).pack()])  # overtakes its strips
            assert service.open_requests == 3
            for number in (1, 2, 3, 3):
                feed(service, peer, [Cancel(number).pack()])
            assert service.open_requests == 0
            for number in (2, 3, 4):
                feed(service, peer, cut(image, request=number, left_ms=9_000, attempt=1))
            assert service.open_requests == 0
            model.go.set()
            feed(service, peer, cut(image, request=5, left_ms=9_000))
            assert (await peer.sent.get()).request == 5  # and of the cancelled ones nothing was said
            assert model.batches == [1, 1]

    run(test())


def test_a_lone_picture_that_is_cancelled_while_the_model_has_it_ends_no_service() -> None:
    async def test() -> None:
        model = SlowModel()
        image = clear_images(1)[0]
        async with service_alone(model) as (service, peer):
            await until(lambda: service._idle)  # then its thread decodes, too
            feed(service, peer, cut(image, request=1, left_ms=9_000))
            await asyncio.to_thread(model.begun.wait, 10)
            feed(service, peer, [Cancel(1).pack()])
            model.go.set()
            feed(service, peer, cut(image, request=2, left_ms=9_000))
            assert (await peer.sent.get()).request == 2

    run(test())


def test_a_cancel_after_the_answer_or_of_another_session_changes_nothing() -> None:
    async def test() -> None:
        image = clear_images(1)[0]
        async with service_alone(SumModel()) as (service, peer):
            feed(service, peer, cut(image, request=1, left_ms=9_000))
            reply = await peer.sent.get()
            feed(service, peer, [Cancel(1).pack(), Cancel((7 << REQUEST_BITS) + 2).pack()])
            feed(service, peer, cut(image, request=1, left_ms=9_000, attempt=1))
            assert await peer.sent.get() == reply
            feed(service, peer, cut(image, request=2, left_ms=9_000))
            assert (await peer.sent.get()).request == 2

    run(test())


def test_cancelling_an_offload_cancels_it_at_the_data_centre(keys: Trust) -> None:
    async def test() -> None:
        model = SlowModel()
        image = clear_images(1)[0]
        async with serving(keys, model=model) as address, connected(address, keys) as client:
            first = asyncio.ensure_future(client.offload(image, 10.0))
            await asyncio.to_thread(model.begun.wait, 10)
            second = asyncio.ensure_future(client.offload(image, 10.0))
            await until(lambda: len(client._open) >= 2)
            number = max(client._open)
            client._cancel(number)
            with pytest.raises(NoAnswer, match="cancelled"):
                await second
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            third = asyncio.ensure_future(client.offload(image, 10.0))
            model.go.set()
            assert (await third).label == expected(image)
            assert sum(model.batches) <= 3
            client._cancel(number)  # over: nothing happens

    run(test())


@settings(deadline=None)
@given(st.lists(st.binary(max_size=1_200), max_size=20))
def test_no_bytes_raise_in_the_service(datagrams: list[bytes]) -> None:
    async def test() -> None:
        service, peer = Service(SumModel()), RecordedPeer()
        feed(service, peer, datagrams)

    run(test())


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_mutated_strips_raise_in_the_service(data: st.DataObject) -> None:
    async def test() -> None:
        service, peer = Service(SumModel()), RecordedPeer()
        for datagram in cut(clear_images(1)[0], request=1, left_ms=1_000):
            mutated = bytearray(datagram)
            for position, value in data.draw(
                st.lists(st.tuples(st.integers(0, len(mutated) - 1), st.integers(0, 255)), max_size=3)
            ):
                mutated[position] = value
            feed(service, peer, [bytes(mutated)])
        service.gone(peer)  # type: ignore[arg-type]

    run(test())


def test_less_parity_than_the_measured_loss_asks_for_is_said(keys: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving(keys) as address, connected(address, keys) as client:
            image = clear_images(1)[0]
            monkeypatch.setattr(LossMeter, "loss", property(lambda meter: 0.1))
            monkeypatch.setattr(LossMeter, "message_loss", property(lambda meter: 0.1))  # so none travels entire
            assert (await client.offload(image, 5.0)).coarse  # all of it dropped by queues, so no parity went along
            monkeypatch.setattr(LossMeter, "path_loss", property(lambda meter: 0.1))
            assert not (await client.offload(image, 5.0)).coarse

    run(test())


def test_a_data_centre_that_never_lets_in_is_given_up(keys: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.server.ServerPeer._greet", lambda peer, hello: None)
    monkeypatch.setattr("edgesight.host.link.connection.WELCOME_WITHIN", 0.3)

    async def test() -> None:
        async with serving(keys) as address:
            client = OffloadClient(*address, client_keys(keys.edge, IDLE))
            with pytest.raises(NoAnswer, match=r"did not let this edge in within 0\.3 s"):
                await client.connect()

    run(test())


def test_a_cancel_that_comes_with_the_slot_is_not_lost(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys) as address, connected(address, keys, max_open=1) as client:
            loop, image = asyncio.get_running_loop(), clear_images(1)[0]
            await client._slots.acquire()
            with pytest.raises(NoAnswer, match="other requests"):
                await client.offload(image, 0.02)
            for turns in range(4):
                waiting = loop.create_task(client.offload(image, 5.0))
                await until(lambda: client._slots._waiters)
                client._slots.release()
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await until(lambda: not client._slots.locked())
                await client._slots.acquire()
            client._slots.release()

    run(test())
