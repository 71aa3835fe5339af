"""Both ends of the link count what became of requests, strips and packets, and say the same of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.service import Service
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import Cancel, Status
from edgesight.host.link.keys import client_keys
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import Server
from edgesight.host.link.strips import cut
from edgesight.host.measures import Labels, Measure, Spread
from edgesight.sim.link.options import ConstantRate, LinkOptions
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.photographs import picture
from tests.host.serving import FakePeer, SizedModel, all_is_settled, say, tiny, working

SHAPE = (160, 160, 3)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return make_trust(tmp_path_factory.mktemp("link"))


def told(measures: Sequence[Measure]) -> dict[str, Mapping[Labels, float | Spread]]:
    return {one.name: one.values for one in measures}


def number(values: Mapping[Labels, float | Spread], *labels: str) -> float:
    value = values.get(labels, 0.0)
    assert not isinstance(value, Spread)
    return value


def spread(values: Mapping[Labels, float | Spread]) -> tuple[int, float]:
    value = values[()]
    assert isinstance(value, Spread)
    return sum(value.counts), value.sum


async def over_a_lossy_link(keys: Trust) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.closing(Authority(keys.datacenter)) as authority:
        service = Service(SizedModel(SHAPE[0], SHAPE[2]))
        server = Server(authority.configuration(6.0), authority, service.served, service.received, service.gone)
        host, port = await server.listen("127.0.0.1", 4433)
        work = loop.create_task(service.run())
        client = OffloadClient(host, port, client_keys(keys.edge, IDLE_TIMEOUT))
        before = told(client.measures())
        assert before["link_connected"] == {(): 0.0}
        assert not before["link_round_trip_seconds"]
        assert not before["link_bytes_per_second"]
        await client.wait_connected(30)
        for _ in range(4):  # many at once, so that the path is filled and its rate found
            await asyncio.gather(*(client.offload(picture(SHAPE, seed), 9.0) for seed in range(10)))
        taken_back = loop.create_task(client.offload(picture(SHAPE, 1), 9.0))
        await asyncio.sleep(0.005)  # sleeps: virtual time; the cancel comes while the model is at work
        taken_back.cancel()
        await asyncio.gather(taken_back, return_exceptions=True)
        await asyncio.sleep(1.0)  # sleeps: virtual time
        edge, centre = told(client.measures()), told(service.measures())
        assert edge["link_connected"] == {(): 1.0}
        assert 0.04 <= number(edge["link_round_trip_seconds"]) < 0.2
        assert number(edge["link_bytes_per_second"]) > 0
        sent, lost = (number(edge["link_packets"], outcome) for outcome in ("sent", "lost"))
        assert 0.02 < lost / sent < 0.3
        assert number(edge["offloads_resent"]) == client.resent
        assert {outcome: n for (outcome,), n in centre["link_requests"].items() if n} == {
            "answered": 40,
            "cancelled": 1,
        }
        assert number(centre["link_strips"], "came") > number(centre["link_strips"], "repaired") > 0
        runs, pictures = spread(centre["link_batch_pictures"])
        assert pictures == spread(centre["link_decode_seconds"])[0] >= 40
        assert spread(centre["link_model_seconds"])[0] == runs <= pictures
        assert set(centre["link_waiting"].values()) == {0}
        assert told(server.measures())["link_edges"] == {(): 1}
        await client.close()
        after = told(client.measures())
        assert after["link_connected"] == {(): 0.0}
        assert number(after["link_packets"], "sent") >= sent
        server.close()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def test_a_lossy_link_is_counted_at_both_ends(keys: Trust) -> None:
    run_virtual(over_a_lossy_link(keys), LinkOptions(ConstantRate(20e6), 0.02, loss=0.1), model_s=0.05)


def test_whatever_becomes_of_a_request_is_counted_once() -> None:
    async def test() -> None:
        async with working(SizedModel(28)) as service:
            peer = FakePeer("one")
            strips = tiny(1)
            say(service, peer, [*strips[:1], *strips])  # one comes again
            await all_is_settled(service)
            say(service, peer, strips[:1])  # after its reply
            say(service, peer, [Cancel(1).pack(), Cancel(2).pack(), Cancel(2).pack()])  # too late; never came; again
            say(service, peer, tiny(3, left_ms=0))
            lossy = cut(np.zeros((28, 28, 1), np.uint8), request=4, left_ms=60_000)
            say(service, peer, lossy[1:])
            await all_is_settled(service)
            found = told(service.measures())
            became = {"answered": 2, "late": 1, "busy": 0, "failed": 0, "cancelled": 1}
            assert found["link_requests"] == {(outcome,): n for outcome, n in became.items()}
            count = len(strips)
            wanted = {"came": 3 * count - 1, "repeated": 2, "repaired": 0, "concealed": 1}
            assert found["link_strips"] == {(what,): n for what, n in wanted.items()}
            assert len(peer.came(Status.LATE)) == 1

    asyncio.run(test())
