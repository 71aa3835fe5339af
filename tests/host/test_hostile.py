"""What a single hostile packet, datagram or query may do: nothing that lasts, and nothing to anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.bench.link.mischief import DisturbedLink, begin_idle, garbage
from edgesight.host.cascade import Cascade
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.service import Service
from edgesight.host.edge import Edge, EdgeError
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.images import read_image
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import MAX_DATAGRAM, REQUEST_BITS, Cancel, LinkError, Reply, Status
from edgesight.host.link.enrollment import Token, enroll
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.server import Server, ServerPeer
from edgesight.host.link.strips import cut
from edgesight.host.package import Package
from edgesight.host.queries import _GRACE, PICTURE_BYTES, Door, query
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.by_hand import clear_images
from tests.host.offloading import IDLE, SumModel, expected, run
from tests.waiting import until

SECONDS = 0.25  # that one packet may take, on a busy machine
KEPT = 64 * 1024  # bytes that one packet may leave behind
LARGEST_ANSWER = 3  # times what came, to an address that is not proved (RFC 9000, 8.1)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return make_trust(tmp_path_factory.mktemp("hostile"))


@contextlib.asynccontextmanager
async def serving(keys: Trust, model: SumModel) -> AsyncIterator[tuple[Server, tuple[str, int], list[Any]]]:
    """A data centre, its address, and what its loop had to complain of."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    service = Service(model)
    with contextlib.closing(Authority(keys.datacenter)) as authority:
        server = Server(authority.configuration(IDLE), authority, service.served, service.received, service.gone)
        address = await server.listen("127.0.0.1", 0)
        work = asyncio.get_running_loop().create_task(service.run())
        try:
            yield server, address, complaints
        finally:
            server.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


@contextlib.asynccontextmanager
async def asking(address: tuple[str, int], keys: Trust) -> AsyncIterator[OffloadClient]:
    client = OffloadClient(*address, client_keys(keys.edge, IDLE))
    try:
        await client.wait_connected(10)
        yield client
    finally:
        await client.close()


class Stranger(asyncio.DatagramProtocol):
    """Somebody without keys, who counts what comes back."""

    def __init__(self) -> None:
        self.got = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got += len(data)


def test_strangers_packets_keep_no_state_and_get_no_flood(keys: Trust) -> None:
    async def test() -> None:
        chance = random.Random(1)
        async with serving(keys, SumModel()) as (server, address, complaints):
            stranger = Stranger()
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: stranger, remote_addr=address
            )
            port, taken, sent = server._quic, 0, 0
            assert port is not None
            take = port._sort

            def counted(data: Any, addr: Any) -> None:
                nonlocal taken
                taken += 1
                take(data, addr)

            async def all_taken(count: int) -> None:
                await until(lambda: taken == count)

            port._sort = counted  # type: ignore[method-assign]
            for number in range(400):
                packet = garbage(chance, bytes(40)) if number % 2 else chance.randbytes(chance.randrange(1, 1_400))
                transport.sendto(packet)
                sent += len(packet)
                if number % 20 == 19:
                    await until(lambda: taken == number + 1)  # noqa: B023 it is called in this turn
            await until(lambda: not port._strangers)
            assert not server._half_open
            assert not port._protocols
            assert not complaints, complaints
            async with asking(address, keys) as client:
                image = clear_images(1)[0]
                assert (await client.offload(image, 5.0, 0.9)).label == expected(image)
            assert stranger.got <= LARGEST_ANSWER * sent  # whatever came back has come by now
            transport.close()

    run(test())


def test_half_open_connections_are_bounded_and_keep_no_edge_out(keys: Trust) -> None:
    async def test() -> None:
        async with serving(keys, SumModel()) as (server, address, complaints):
            flood = await begin_idle(address, 200, 1.0)
            await until(lambda: server._half_open)
            assert flood.returncode is None
            most = 0

            def is_over() -> bool:
                nonlocal most
                most = max(most, len(server._half_open))
                return flood.returncode is not None

            async with asking(address, keys) as client:
                for image in clear_images(5):
                    assert (await client.offload(image, 5.0, 0.9)).label == expected(image)
                await until(is_over)
                assert 1 < most <= 32
                assert not complaints, complaints

    run(test())


def test_packets_played_back_are_not_worked_on_again(keys: Trust) -> None:
    async def test() -> None:
        model = SumModel()
        async with serving(keys, model) as (_, address, complaints):
            link = DisturbedLink(address, LinkOptions(), seed=1)
            async with link, asking(link.address, keys) as client:
                images = clear_images(5)
                for image in images:
                    await client.offload(image, 5.0, 0.9)
                worked = sum(model.batches)
                assert worked == len(images)
                link.play_back(500)
                # What is sent behind them comes behind them.
                assert (await client.offload(images[0], 5.0, 0.9)).label == expected(images[0])
                assert sum(model.batches) == worked + 1
                assert not complaints, complaints

    run(test())


class Deaf:
    """Takes the place of a connection under the service."""

    session = 0
    round_trip = least_round_trip = 0.0

    def send_copies(self, messages: list[bytes]) -> None:
        """Nobody listens."""


def _hostile_datagrams() -> Iterator[bytes]:
    """The dearest datagrams that an edge which was let in can make."""
    strip = cut(clear_images(1)[0], request=1, left_ms=60_000, parity=2)
    yield strip[0]
    yield strip[-1]
    empty = struct.Struct("!BHIHHHBBHHHBH")
    for count, parity in ((4_096, 0), (4_032, 64), (1, 64)):
        for index in (0, count - 1, count + parity - 1):
            head = empty.pack(strip[0][0], 0, 2, 60_000, 28, 28, 1, 0, 0, index, count, parity, 0)
            yield head
            # As many requests as a datagram holds.
            many = [
                empty.pack(strip[0][0], 0, number, 60_000, 28, 28, 1, 0, 0, index, count, parity, 0)
                for number in range(3, 3 + MAX_DATAGRAM // empty.size)
            ]
            yield b"".join(many)
    yield Cancel(1).pack() * (MAX_DATAGRAM // len(Cancel(1).pack()))
    yield Reply(1, Status.ANSWERED).pack()


def test_one_datagram_of_an_edge_costs_little_time_and_memory() -> None:
    async def test() -> None:
        peer = cast(ServerPeer, Deaf())
        for datagram in _hostile_datagrams():
            service = Service(SumModel())
            service.received(peer, b"")  # the client's own record
            tracemalloc.start()
            begin = time.monotonic()
            service.received(peer, datagram)
            took = time.monotonic() - begin
            kept, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert took < SECONDS, datagram[:24].hex()
            assert kept < KEPT, (kept, datagram[:24].hex())
            begin = time.monotonic()
            await asyncio.sleep(0.03)  # sleeps: virtual time; its timers run
            assert time.monotonic() - begin < SECONDS, datagram[:24].hex()
            service.gone(peer)

    run_virtual(test(), LinkOptions())


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_datagrams_of_a_right_form_are_settled(data: st.DataObject) -> None:
    """Right heads with any payloads: what is begun is answered or forgotten, and no error comes of it."""

    async def test() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        service, peer = Service(SumModel()), cast(ServerPeer, Deaf())
        work = asyncio.get_running_loop().create_task(service.run())
        for datagram in cut(clear_images(1)[0], request=5 % (1 << REQUEST_BITS), left_ms=20, parity=2):
            if data.draw(st.booleans()):
                service.received(peer, datagram)
            length = int.from_bytes(datagram[22:24], "big")
            payload = data.draw(st.binary(min_size=length, max_size=length) | st.binary(max_size=40))
            head = datagram[:22] + len(payload).to_bytes(2, "big")
            service.received(peer, head + payload)
        await until(lambda: not service.open_requests)
        assert service._bytes == 0
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert not complaints, complaints

    run(test())


@contextlib.asynccontextmanager
async def edge(package: Package, path: Path) -> AsyncIterator[Door]:
    calibration = package.kernel.calibration
    assert calibration is not None
    cascade = Cascade(CsimFabric(package), calibration, None)
    told, ready = asyncio.Event(), asyncio.Event()
    async with Edge(cascade) as edge:
        door = Door(edge)
        serving = asyncio.get_running_loop().create_task(door.serve(path, told, ready.set))
        await ready.wait()
        try:
            yield door
        finally:
            told.set()
            await serving
    cascade.close()


def _say(path: Path, content: bytes) -> bytes:
    """Say `content` at the edge's socket, and no more; what it says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_GRACE)
        connection.connect(str(path))
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while part := connection.recv(65_536):
            said += part
        return said


def _query(**fields: object) -> bytes:
    header = {"protocol": 1, "name": "x", "size": 0, "accuracy": 0.8, "deadline_ms": 50.0, **fields}
    content = json.dumps(header).encode()
    return struct.pack("!I", len(content)) + content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xff\xff\xff", "claims 4294967295 bytes"),
        (struct.pack("!I", 60_000) + b"[" * 60_000, "query"),
        (_query(size=2**62), "size"),
        (_query(deadline_ms=float("nan")), "deadline_ms"),
        (_query(deadline_ms=1e300), "deadline_ms"),
        (_query(name="x" * 5_000), "name"),
        (_query(size=6) + b"\x93NUMPY", "damaged"),
        (_query(size=4) + b"GIF8", "no picture"),
        (b"\x00\x00", None),  # cut off: whoever asked is gone
        (_query(size=1_000) + b"short", None),
    ],
)
def test_a_hostile_query_is_refused_and_others_are_answered(
    served_package: Package, tmp_path: Path, content: bytes, said: str | None
) -> None:
    image = clear_images(1)[0]
    np.save(tmp_path / "image.npy", image)

    async def test() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        path = tmp_path / "edge.sock"
        async with edge(served_package, path):
            # Whoever connects and says nothing holds nobody up.
            silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            silent.connect(str(path))
            answer = await asyncio.to_thread(_say, path, content)
            assert (said is None) == (answer == b"")
            assert said is None or said in answer[4:].decode()
            right = await asyncio.to_thread(query, path, tmp_path / "image.npy", 0.8, 5_000.0)
            assert right.stage == "stage0"
            silent.close()
        assert not complaints, complaints

    run(test())


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "a\0b"])
def test_an_address_that_no_host_can_have_is_said_and_not_died_of(keys: Trust, tmp_path: Path, host: str) -> None:
    async def test() -> None:
        with pytest.raises(NoAnswer, match="cannot be reached"):
            await OffloadClient(host, 4433, client_keys(keys.edge, IDLE)).connect()

    run(test())
    with pytest.raises(LinkError, match="cannot be reached"):
        enroll(Token(bytes(32), bytes(8), bytes(32), host, 4433).pack(), tmp_path / "keys")


def _half_sent(path: Path, size: int, sent: int = 0) -> socket.socket:
    """An asker who claims a picture of `size` bytes and sends `sent` of them."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    connection.settimeout(1.0)
    with contextlib.suppress(OSError):  # it may take no more, and that is what is wanted
        connection.sendall(_query(size=size) + bytes(sent))
    return connection


def test_pictures_of_all_askers_take_a_bounded_memory_and_others_are_told(
    served_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.queries._READ_WITHIN", 2.0)
    np.save(tmp_path / "image.npy", clear_images(1)[0])

    async def test() -> None:
        path = tmp_path / "edge.sock"
        async with edge(served_package, path):
            tracemalloc.start()
            sizes = [31 << 20] * 10
            askers = await asyncio.gather(*(asyncio.to_thread(_half_sent, path, size, size - 1) for size in sizes))
            kept, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert kept < PICTURE_BYTES + (31 << 20) + 10 * (1 << 20)  # the last is what this test sends
            ask = functools.partial(query, path, tmp_path / "image.npy", 0.8, 5_000.0)
            told = ""
            while not told.startswith("others' pictures took all of their 64 MiB"):
                try:
                    await asyncio.to_thread(ask)
                except EdgeError as error:
                    told = str(error)
                else:
                    askers += await asyncio.gather(*(asyncio.to_thread(_half_sent, path, size) for size in sizes))
            for asker in askers:
                asker.close()
            assert (await asyncio.to_thread(ask)).stage == "stage0"

    run(test())


def test_askers_are_bounded(served_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.queries.MAX_ASKERS", 3)
    np.save(tmp_path / "image.npy", clear_images(1)[0])
    # More than a socket takes in: the edge hangs up while it is still being sent.
    np.save(tmp_path / "large.npy", np.zeros((2_048, 2_048, 1), np.uint8))

    async def test() -> None:
        path = tmp_path / "edge.sock"
        async with edge(served_package, path):
            askers = [await asyncio.to_thread(_half_sent, path, 10) for _ in range(3)]
            for picture in ("image.npy", "large.npy"):
                with pytest.raises(EdgeError, match="3 others ask already"):
                    await asyncio.to_thread(query, path, tmp_path / picture, 0.8, 5_000.0)
            askers.pop().close()
            while True:
                with contextlib.suppress(EdgeError):
                    await asyncio.to_thread(query, path, tmp_path / "image.npy", 0.8, 5_000.0)
                    break
            for asker in askers:
                asker.close()

    run(test())


def test_one_picture_is_decoded_at_a_time(
    served_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "image.npy", clear_images(1)[0])
    at_once: list[int] = []
    working: set[object] = set()

    def slow(*arguments: Any) -> Any:
        working.add(arguments[2])
        at_once.append(len(working))
        time.sleep(0.02)  # sleeps: what decoding takes here
        image = read_image(*arguments)
        working.discard(arguments[2])
        return image

    monkeypatch.setattr("edgesight.host.edge.read_image", slow)

    async def test() -> None:
        path = tmp_path / "edge.sock"
        links = [tmp_path / f"{number}.npy" for number in range(6)]
        for link in links:
            link.symlink_to(tmp_path / "image.npy")
        async with edge(served_package, path):
            await asyncio.gather(*(asyncio.to_thread(query, path, link, 0.8, 5_000.0) for link in links))

    run(test())
    assert at_once == [1] * 6


def test_an_edge_that_stops_cuts_askers_off_without_a_word(
    served_package: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        path = tmp_path / "edge.sock"
        async with edge(served_package, path) as door:
            askers = [await asyncio.to_thread(_half_sent, path, 10, sent) for sent in (0, 5)]
            await until(lambda: len(door._askers) == 2)
        for asker in askers:
            assert await asyncio.to_thread(asker.recv, 10) == b""
            asker.close()
        assert not complaints, complaints

    run(test())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_no_picture_goes_to_a_socket_of_somebody_else(
    served_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "image.npy", clear_images(1)[0])

    async def test() -> None:
        path = tmp_path / "edge.sock"
        async with edge(served_package, path):
            mine = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
            if mine == 0:
                await asyncio.to_thread(query, path, tmp_path / "image.npy", 0.8, 5_000.0)  # root's will do
                os.chown(path, 65_534, -1)
            with pytest.raises(EdgeError, match=r"edge\.sock is user \d+'s, not yours: no picture is sent"):
                await asyncio.to_thread(query, path, tmp_path / "image.npy", 0.8, 5_000.0)

    run(test())
