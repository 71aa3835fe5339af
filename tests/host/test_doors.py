"""The data centre's port and gate: edges before strangers, a fair share for each, and nobody who was revoked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from aioquic.tls import Epoch

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.repository import BackEnd
from edgesight.host.datacenter.serve import Link, serve
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import LinkError
from edgesight.host.link.enrollment import enroll_with
from edgesight.host.link.keys import KeysError, client_keys, new_key, request_certificate
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.port import Budget, Port, Strangers, Waiting, source_of
from edgesight.host.link.server import check_sound
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.trust import Trust, add_edge, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.by_hand import clear_images
from tests.host.dates import DAY, Calendar
from tests.host.offloading import IDLE, connected, expected, run, serving
from tests.host.packets import DATACENTER, EDGE, Memory, datacentre, edge, hello, packet, stranger
from tests.waiting import until


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return make_trust(tmp_path)


def run_in_memory(test: Coroutine[Any, Any, None]) -> None:
    """In virtual time, however busy the machine is."""
    run_virtual(test, LinkOptions())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.server._LOOK_AGAIN", 0.02)


# ------------------------------------------------------------------------------------------------- whose turn it is


def test_waiting_datagrams_go_one_of_each_in_turn_and_in_order() -> None:
    waiting: Waiting[str] = Waiting(of_one=3, of_all=100)
    for number in range(5):
        waiting.add("loud", b"loud %d" % number, None)
    waiting.add("quiet", b"quiet 0", None)
    waiting.add("other", b"other 0", None)
    assert len(waiting) == 5
    order = [waiting.next()[1] for _ in range(5)]
    assert order == [b"loud 0", b"quiet 0", b"other 0", b"loud 1", b"loud 2"]
    assert not waiting


def test_what_waits_is_bounded_and_the_loudest_loses() -> None:
    waiting: Waiting[str] = Waiting(of_one=8, of_all=10)
    for number in range(8):
        waiting.add("loud", b"%d" % number, None)
    for name in "abcdefg":
        waiting.add(name, b"x", None)
    assert len(waiting) == 10
    keys = [waiting.next()[0] for _ in range(10)]
    assert set("abcdefg") <= set(keys)
    assert keys.count("loud") == 3


def test_a_source_begins_so_many_connections_and_others_as_many() -> None:
    strangers = Strangers()
    assert sum(strangers.allow("10.0.0.1", 0.0) for _ in range(1_000)) == 128
    assert not strangers.allow("10.0.0.1", 0.02)
    assert strangers.allow("10.0.0.1", 0.06)
    assert strangers.allow("10.0.0.2", 0.06)
    assert sum(strangers.allow("10.0.0.1", 10.06) for _ in range(1_000)) == 128  # no more, however long it was quiet
    for number in range(10_000):
        strangers.allow(str(number), 11.0)
    assert len(strangers._known) <= 4_096


def test_who_took_least_time_goes_first() -> None:
    strangers = Strangers()
    for number in range(100):
        strangers.add("loud", b"%d" % number, EDGE, 0.0, new=True)
    assert len(strangers) == 32
    for _ in range(20):
        source, _, _ = strangers.next()
        strangers.spend(source, 0.003, 0.1)
    strangers.add("new", b"hello", EDGE, 0.1, new=True)
    strangers.add("new", b"finished", EDGE, 0.1, new=False)
    assert [strangers.next()[:2] for _ in range(2)] == [("new", b"finished"), ("new", b"hello")]
    strangers.spend("new", 0.01, 0.1)
    strangers.add("new", b"more", EDGE, 0.1, new=False)
    assert strangers.next()[:2] == ("new", b"more")  # it took 10 ms, the other 60
    strangers.spend("new", 1.0, 0.1)
    strangers.add("new", b"too much", EDGE, 0.1, new=False)
    assert strangers.next()[:2] == ("loud", b"20")
    strangers.spend("loud", 100.0, 0.1)
    strangers.add("later", b"x", EDGE, 9.0, new=True)
    assert strangers.next()[0] == "later"


def test_what_strangers_let_wait_is_bounded() -> None:
    strangers = Strangers()
    for number in range(10_000):
        strangers.add(f"source {number % 700}", b"x", EDGE, 0.0, new=bool(number % 3))
    strangers.add("one more", b"x", EDGE, 0.0, new=True)
    assert len(strangers) == 512
    assert "one more" in strangers._waiting
    for number in range(5_000):
        strangers.allow(f"other {number}", 1.0)
    for _ in range(512):
        strangers.next()
    assert not strangers
    assert not strangers._waiting


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_an_ipv6_host_is_one_source_whatever_addresses_it_takes(address: str, source: str) -> None:
    assert source_of(address) == source


def test_strangers_get_their_share_of_the_time() -> None:
    budget = Budget(0.0)
    spent = 0.0
    for step in range(10_000):  # 10 s; each packet takes 3 ms
        if budget.left(step * 1e-3) > 0.0:
            budget.spend(3e-3)
            spent += 3e-3
    assert 2.9 < spent < 3.1
    assert budget.wait(10.0) > 0.0
    assert budget.wait(10.0 + budget.wait(10.0)) == 0.0


class _Peer:
    """A connection that remembers what came, in the order of all."""

    def __init__(self, name: str, trusted: bool, order: list[str]) -> None:
        self.source, self.trusted, self._order = name, trusted, order

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._order.append(self.source)


@contextlib.contextmanager
def _port(trust: Trust, order: list[str]) -> Iterator[Port]:
    def failed(source: str, error: Exception) -> None:
        raise error

    with contextlib.closing(Authority(trust.datacenter)) as authority:
        port = Port(authority.configuration(IDLE), lambda *_, **__: pytest.fail("no connection is to be made"), failed)
        port.connection_made(Memory(EDGE))
        for number, name in enumerate(("edge", "loud edge", "half-open")):
            port._protocols[bytes([number]) * 8] = _Peer(name, number < 2, order)  # type: ignore[assignment]
        yield port


def _short(number: int) -> bytes:
    return b"\x40" + bytes([number]) * 8 + bytes(30)


def test_edges_come_before_strangers_and_one_edges_flood_before_no_other(trust: Trust) -> None:
    async def test() -> None:
        order: list[str] = []
        with _port(trust, order) as port:
            for _ in range(20):
                port._sort(_short(2), ("10.0.0.9", 1))
            for _ in range(50):
                port._sort(_short(1), EDGE)
            port._sort(_short(0), EDGE)
            port._work()
            assert order[:2] == ["loud edge", "edge"]
            assert order[2:51] == ["loud edge"] * 49
            await until(lambda: len(order) >= 71)
            assert order[51:] == ["half-open"] * 20

    run_in_memory(test())


def test_a_flood_of_edges_packets_does_not_shut_the_door(trust: Trust) -> None:
    async def test() -> None:
        order: list[str] = []
        with _port(trust, order) as port:
            port._sort(_short(2), ("10.0.0.9", 1))
            for _ in range(100_000):
                port._sort(_short(1), EDGE)
                if len(order) % 50 == 0:
                    port._work()
                    await asyncio.sleep(0)
                if "half-open" in order:
                    break
            assert "half-open" in order

    run_in_memory(test())


def test_strangers_wait_when_their_time_is_used_up_and_edges_do_not(trust: Trust) -> None:
    async def test() -> None:
        order: list[str] = []
        with _port(trust, order) as port:
            port._budget.spend(0.06)
            port.datagram_received(_short(2), ("10.0.0.9", 1))
            assert order == []
            port.datagram_received(_short(0), EDGE)
            assert order == ["edge"]
            await until(lambda: "half-open" in order)
            assert port._budget.left(port._loop.time()) <= 0.05

    run_in_memory(test())


# ----------------------------------------------------------------------------------------------------- who is nobody


def _long(version: bytes, kind: int, size: int) -> bytes:
    return (bytes([0xC0 | kind]) + version + b"\x08" + bytes(8) + b"\x08" + bytes(8)).ljust(size, b"\x01")


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (_long(bytes(4), 0, 1_200), False),  # a version negotiation
        (b"\x80" + bytes(4) + b"\x08" + bytes(8) + b"\x00" + b"\x0a\x1a\x2a\x3a", False),
        (_long(b"\x0a\x1a\x2a\x3a", 0, 8), False),  # an unknown version: short
        (_long(b"\x0a\x1a\x2a\x3a", 0, 1_199), False),
        (_long(b"\x0a\x1a\x2a\x3a", 0, 1_200), True),  # and long enough
        (_long(b"\x00\x00\x00\x01", 0, 1_199), False),  # a first packet: short
        (_long(b"\x00\x00\x00\x01", 0x20, 1_200), False),  # of a handshake that is none of ours
        (_long(b"\x00\x00\x00\x01", 0x30, 1_200), False),  # a Retry
        (_long(b"\x00\x00\x00\x01", 0, 1_501), False),
        (b"\x40" + bytes(1_199), False),  # of a connection that is none of ours
        (b"\xc0", False),
        (b"", False),
    ],
    ids=lambda value: f"{len(value)} bytes {value[:6].hex()}" if isinstance(value, bytes) else "",
)
def test_no_answer_is_longer_than_what_came(trust: Trust, data: bytes, answered: bool) -> None:
    async def test() -> None:
        with _port(trust, []) as port:
            transport = Memory(EDGE)
            port.connection_made(transport)
            port.datagram_received(data, EDGE)
            await asyncio.sleep(0.01)  # sleeps: virtual time
            got = transport.take()
            assert bool(got) == answered
            assert sum(map(len, got)) <= len(data)

    run_in_memory(test())


def test_a_first_packet_is_answered_by_a_shorter_one(trust: Trust) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = stranger()
            client.connect(DATACENTER, now=asyncio.get_running_loop().time())
            ((first, _),) = client.datagrams_to_send(now=asyncio.get_running_loop().time())
            dc.take(first)
            (retry,) = dc.transport.take()
            assert retry[0] & 0xF0 == 0xF0
            assert len(retry) < len(first)
            assert not dc.peers

    run_in_memory(test())


def test_nothing_goes_to_another_address_than_the_proved_one_before_an_edge_is_let_in(trust: Trust) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            elsewhere = [("127.0.0.9", 40_009), (EDGE[0], EDGE[1] + 7)]
            client = edge(trust.edge)
            await dc.meet(client)
            for address in elsewhere:
                for _ in range(5):
                    dc.take(packet(client, b"\x01"), address)
            await asyncio.sleep(1.0)  # sleeps: virtual time
            assert not {address for _, address in dc.transport.sent} - {EDGE}
            client.send_stream_data(0, hello())
            await dc.exchange(client)
            (peer,) = dc.server._peers
            assert peer.trusted
            dc.take(packet(client, b"\x01"), elsewhere[0])  # an edge may come to have another address
            await asyncio.sleep(1.0)  # sleeps: virtual time
            assert elsewhere[0] in {address for _, address in dc.transport.sent}

    run_in_memory(test())


def test_the_proof_of_an_address_begins_one_connection(trust: Trust) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = stranger()
            client.connect(DATACENTER, now=asyncio.get_running_loop().time())
            await dc.exchange(client, rounds=1)
            made = [packet(client, b"\x06\x00\x01\x01", Epoch.INITIAL) for _ in range(3)]
            for number, data in enumerate(made):
                dc.take(data)
                assert len(dc.peers) == (number == 0)
                for peer in dc.peers:
                    peer.make_room("enough")
                await asyncio.sleep(0)
            for number in range(10_000):
                dc.port._spent[number.to_bytes(8, "big")] = None
            dc.port._connection_terminated(peer)
            assert len(dc.port._spent) == 4_096

    run_in_memory(test())


def test_an_edge_gets_in_beside_a_flood_from_its_own_address(trust: Trust) -> None:
    """Over a real port: 400 connections at once, as fast as they can be made."""
    from edgesight.bench.link.mischief import begin_idle

    async def test() -> None:
        async with serving(trust) as address, connected(address, trust) as before:
            flood = await begin_idle(address, 400, 2.0)
            assert flood.stdout is not None
            begun = asyncio.get_running_loop().create_task(flood.stdout.readline())
            image = clear_images(1)[0]
            while not begun.done():
                assert (await before.offload(image, 5.0)).label == expected(image)
            assert begun.result().strip() == b"open"
            async with connected(address, trust) as client:
                assert (await client.offload(image, 5.0)).label == expected(image)
            await flood.wait()

    run(test())


def test_half_open_connections_of_one_source_make_room_for_each_other_only(trust: Trust) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.meet(client, ("10.0.0.1", 40_000))
            for number in range(60):
                loud = stranger()
                loud.connect(DATACENTER, now=asyncio.get_running_loop().time())
                await dc.exchange(loud, ("10.0.0.2", 41_000 + number), rounds=2)
            await asyncio.sleep(0)
            assert len(dc.server._half_open) == 33
            client.send_stream_data(0, hello())
            await dc.exchange(client, ("10.0.0.1", 40_000))
            assert peer.trusted

    run_in_memory(test())


def test_half_open_connections_are_bounded_over_all_sources(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.server._MAX_HALF_OPEN", 8)

    async def test() -> None:
        with datacentre(trust) as dc:
            lone = edge(trust.edge)
            peer = await dc.meet(lone, ("10.0.9.9", 1))
            for number in range(30):
                client = stranger()
                client.connect(DATACENTER, now=asyncio.get_running_loop().time())
                await dc.exchange(client, (f"10.0.0.{number % 3}", 41_000 + number), rounds=2)
            await asyncio.sleep(0)
            assert len(dc.server._half_open) == 8
            assert peer in dc.server._half_open  # who has one makes no room for who has many

    run_in_memory(test())


# ------------------------------------------------------------------------------------------- how many an edge may have


def test_an_edge_has_two_connections_and_the_oldest_makes_room(trust: Trust, tmp_path: Path) -> None:
    add_edge(trust.datacenter, "window", tmp_path / "window")

    async def test() -> None:
        with datacentre(trust, max_edges=2) as dc:
            clients = [edge(trust.edge) for _ in range(6)]
            peers = [await dc.let_in(one, ("127.0.0.1", 40_000 + number)) for number, one in enumerate(clients)]
            assert [*dc.server._peers] == peers[-2:]
            assert [peer.trusted for peer in peers] == [False] * 4 + [True] * 2
            await asyncio.sleep(0)
            assert dc.ended == peers[:4]
            dc.take(packet(clients[0], b"\x31\x01x"), ("127.0.0.1", 40_000))
            assert dc.got == []
            other = await dc.let_in(edge(tmp_path / "window"), ("127.0.0.1", 41_000))
            assert other.trusted
            assert len(dc.server._peers) == 3

    run_in_memory(test())


def test_sixty_four_connections_of_one_edge_keep_no_other_out(trust: Trust, tmp_path: Path) -> None:
    add_edge(trust.datacenter, "window", tmp_path / "window")

    async def test() -> None:
        with datacentre(trust) as dc:
            for number in range(64):
                await dc.let_in(edge(trust.edge), ("127.0.0.1", 40_000 + number))
            assert (await dc.let_in(edge(tmp_path / "window"), ("127.0.0.1", 41_000))).trusted

    run_in_memory(test())


# --------------------------------------------------------------------------------------------------- who was revoked


def revoke(trust: Trust, name: str) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as another_process:
        another_process.revoke(name)


@pytest.mark.parametrize("asks", [False, True])
def test_a_revoked_edge_is_not_greeted_nor_renewed(trust: Trust, tmp_path: Path, asks: bool) -> None:
    add_edge(trust.datacenter, "thief", tmp_path / "thief", Calendar(-50 * DAY))

    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(tmp_path / "thief")
            peer = await dc.meet(client)
            assert peer.admitted is not None
            revoke(trust, "thief")
            client.send_stream_data(0, hello(request_certificate(new_key()) if asks else None))
            await dc.exchange(client)
            assert not peer.trusted
            assert not dc.server._peers
            (thief,) = (one for one in dc.authority.certificates() if one.name == "thief")
            assert thief.revoked

    run_in_memory(test())


def test_a_connection_that_waits_is_put_out_when_its_edge_is_revoked(trust: Trust, quick: None) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            peer = await dc.meet(edge(trust.edge))
            dc.server._put_out()
            assert peer in dc.server._half_open
            revoke(trust, "door")
            begin = asyncio.get_running_loop().time()
            await until(lambda: not dc.peers)
            assert asyncio.get_running_loop().time() - begin < 0.1  # and not when patience ends
            assert dc.ended == [peer]
            assert not dc.server._half_open

    run_in_memory(test())


@pytest.mark.parametrize("fault", [KeysError("edges.db is away"), ZeroDivisionError("of ours")])
def test_looking_for_the_revoked_goes_on_whatever_goes_wrong_and_nobody_is_trusted_unseen(
    trust: Trust,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    def fail(admitted: object) -> None:
        raise fault

    async def test() -> None:
        with datacentre(trust) as dc:
            peer = await dc.let_in(edge(trust.edge))
            dc.server._put_out()
            with monkeypatch.context() as patched:
                patched.setattr(dc.authority, "refusal", fail)
                await asyncio.sleep(0.3)  # sleeps: virtual time
                assert peer.trusted  # for a while
                assert caplog.text.count("who was revoked cannot be looked up") == 1
            await until(lambda: not dc.server._blind)
            monkeypatch.setattr("edgesight.host.link.server._BLIND_FOR", 0.1)
            monkeypatch.setattr(dc.authority, "refusal", fail)
            await until(lambda: not peer.trusted)
            await asyncio.sleep(0)
            assert dc.ended == [peer]
            assert not dc.server._peers

    run_in_memory(test())


# ---------------------------------------------------------------------------------------------------------- the rest


def test_an_aioquic_with_known_faults_serves_nobody(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_sound()
    for version in ("1.7.0", "1.10.1", "2.0"):
        monkeypatch.setattr("importlib.metadata.version", lambda name, version=version: version)
        check_sound()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.3.0")
    with pytest.raises(LinkError, match=r"aioquic 1\.3\.0 has known faults.*Python 3\.11 or newer.*edges may stay"):
        serve(BackEnd("none", tmp_path / "model.onnx"), Link(trust.datacenter))


def test_each_address_of_a_name_is_tried_and_the_silent_one_left_again(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.link.connection.WELCOME_WITHIN", 1.0)
    mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind(("127.0.0.2", 0))
    nobody = (socket.AF_INET6, ("::1", 9))
    silent = (socket.AF_INET, ("127.0.0.2", mute.getsockname()[1]))

    async def test() -> None:
        image = clear_images(1)[0]
        async with serving(trust) as first, serving(trust) as second:
            leads = [nobody, silent, (socket.AF_INET, first)]

            async def lead(host: str, port: int) -> list[Any]:
                assert (host, port) == ("localhost", 4_433)
                return leads

            monkeypatch.setattr("edgesight.host.link.connection.addresses", lead)
            client = OffloadClient("localhost", 4_433, client_keys(trust.edge, IDLE))
            await client.connect()
            assert (await client.offload(image, 5.0)).label == expected(image)
            assert client._connection._good == (socket.AF_INET, first)
            leads[:] = [silent, (socket.AF_INET, second)]  # it moved
            assert client._connection.peer is not None
            client._connection.peer.ended.set_result("it moved")
            await until(lambda: client._connection._good == (socket.AF_INET, second))
            await client.wait_connected(5.0)
            assert (await client.offload(image, 5.0)).label == expected(image)
            await client.close()

    run(test())
    mute.close()


def test_an_edge_enrolls_at_a_name_whose_first_address_has_nobody(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with serving(trust) as (host, port):

            async def lead(name: str, number: int) -> list[Any]:
                return [
                    (socket.AF_INET6, ("::1", 9)),
                    (socket.AF_INET, ("127.0.0.2", 9)),
                    (socket.AF_INET, (host, port)),
                ]

            monkeypatch.setattr("edgesight.host.link.enrollment.addresses", lead)
            with contextlib.closing(Authority(trust.datacenter)) as another_process:
                token = another_process.invite("window", "localhost", port)
            assert await enroll_with(token, tmp_path / "new") == "window"
            with pytest.raises(LinkError, match="the token was used already"):
                await enroll_with(token, tmp_path / "again")

    run(test())


def test_localhost_is_found_where_only_ipv4_listens(trust: Trust) -> None:
    async def test() -> None:
        async with serving(trust) as (_, port):
            client = OffloadClient("localhost", port, client_keys(trust.edge, IDLE))
            await client.connect()
            await client.close()

    run(test())


def test_a_name_whose_data_centre_refuses_is_not_tried_elsewhere(trust: Trust, tmp_path: Path) -> None:
    add_edge(trust.datacenter, "window", tmp_path / "window")
    revoke(trust, "window")

    async def test() -> None:
        async with serving(trust) as (_, port):
            with pytest.raises(NoAnswer, match="edge 'window' was revoked"):
                await OffloadClient("localhost", port, client_keys(tmp_path / "window", IDLE)).connect()

    run(test())
