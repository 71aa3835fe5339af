"""What the other end may make this one keep and compute: little, on both ends, before and after the handshake."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgesight.host.link import bounds
from edgesight.host.link.keys import ALPN, new_key, now
from edgesight.host.link.telling import _EVERY, Sparing, printable
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.by_hand import clear_images
from tests.host.offloading import connected, expected, run, serving
from tests.host.packets import (
    EDGE,
    AttackedEdge,
    DataCentre,
    datacentre,
    edge,
    entries,
    hello,
    kept,
    packet,
    pieces,
    stranger,
    varint,
)

INITIAL, HANDSHAKE, ONE_RTT = Epoch.INITIAL, Epoch.HANDSHAKE, Epoch.ONE_RTT
ROOM = 1_050  # bytes of frames in one datagram
SECONDS = 0.1  # that one datagram may take on a busy machine; an honest one takes 0.0002


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return make_trust(tmp_path_factory.mktemp("bounds"))


@pytest.fixture
def complaints() -> list[Any]:
    """What loops had to complain of, once `run_quietly` has run."""
    return []


def run_quietly(test: Callable[[], Any], complaints: list[Any]) -> None:
    """Run `test` in virtual time, however busy the machine is; fails where the loop had to complain."""

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        await test()
        await asyncio.sleep(0.01)  # sleeps: virtual time

    run_virtual(watched(), LinkOptions())
    assert not complaints, complaints


def fill(frame: Callable[[int], bytes], first: int = 0, room: int = ROOM) -> bytes:
    """As many frames as a datagram holds; `frame` gets their number."""
    frames = b""
    while len(frames) + len(frame(first)) <= room:
        frames += frame(first)
        first += 1
    return frames


def crypto(offset: int, data: bytes = b"x") -> bytes:
    return b"\x06" + varint(offset) + varint(len(data)) + data


def stream(offset: int, data: bytes = b"x", number: int = 0, fin: bool = False) -> bytes:
    return bytes([0x0E | fin]) + varint(number) + varint(offset) + varint(len(data)) + data


def reset(size: int, number: int = 0) -> bytes:
    return b"\x04" + varint(number) + b"\x00" + varint(size)


def new_identity(number: int, retire: int = 0) -> bytes:
    return b"\x18" + varint(number) + varint(retire) + b"\x08" + number.to_bytes(8, "big") + bytes(16)


def acknowledge(ranges: int, largest: int = 1 << 20) -> bytes:
    return b"\x02" + varint(largest) + b"\x00" + varint(ranges) + b"\x00" + b"\x00\x00" * ranges


async def attacked(dc: DataCentre, epoch: Epoch) -> tuple[QuicConnection, QuicConnection]:
    """A client that can send packets of `epoch`, and the data centre's end of its connection."""
    client = stranger()
    if epoch is ONE_RTT:
        return client, (await dc.meet(client))._quic
    client.connect(("127.0.0.1", 4_433), now=asyncio.get_running_loop().time())
    loop = asyncio.get_running_loop()
    for data, _ in client.datagrams_to_send(now=loop.time()):
        dc.take(data)
    for data in dc.transport.take():
        client.receive_datagram(data, ("127.0.0.1", 4_433), now=loop.time())  # the Retry
    (first, *_) = client.datagrams_to_send(now=loop.time())
    if epoch is HANDSHAKE:
        dc.take(first[0])
        for data in dc.transport.take():
            client.receive_datagram(data, ("127.0.0.1", 4_433), now=loop.time())
        client._cryptos[HANDSHAKE].send.is_valid()
    else:
        dc.take(packet(client, crypto(200), INITIAL))  # a piece of a hello, so that there is a connection
    (peer,) = dc.peers
    return client, peer._quic


HOLES: dict[str, tuple[Epoch, Callable[[int], bytes]]] = {
    "one byte far out on the stream": (ONE_RTT, lambda power: stream((1 << power) - 1)),
    "the end of the stream far out": (ONE_RTT, lambda power: stream((1 << power) - 1, fin=True)),
    "no byte, but the end far out": (ONE_RTT, lambda power: stream(1 << power, b"", fin=True)),
    "a reset far out": (ONE_RTT, lambda power: reset((1 << power) - 1)),
    "TLS after the handshake": (ONE_RTT, lambda power: crypto((1 << power) - 1)),
    "TLS of the handshake": (HANDSHAKE, lambda power: crypto((1 << power) - 1)),
    "TLS of the first packets": (INITIAL, lambda power: crypto((1 << power) - 1)),
    "windows doubled step by step": (ONE_RTT, lambda power: stream(max((1 << (power - 4)) - 1, 1))),
}


@pytest.mark.parametrize("what", HOLES)
def test_holes_hold_no_memory(trust: Trust, what: str, complaints: list[Any]) -> None:
    epoch, frame = HOLES[what]

    async def test() -> None:
        with datacentre(trust) as dc:
            client, quic = await attacked(dc, epoch)
            begun = False
            for power in range(8, 27):
                if client._cryptos[epoch].send.is_valid():
                    dc.take(packet(client, frame(power), epoch))
                assert kept(quic) <= bounds._KEPT
                begun |= kept(quic) > 0
                await asyncio.sleep(0)
                dc.transport.take()
            assert not dc.peers, "the connection is still there"
            assert kept(quic) == 0

    run_quietly(test, complaints)


PIECES: dict[str, tuple[Epoch, Callable[[int], bytes]]] = {
    "on the stream": (ONE_RTT, lambda number: stream(3 + 2 * number)),
    "of TLS after the handshake": (ONE_RTT, lambda number: crypto(3 + 2 * number)),
    "of the handshake's TLS": (HANDSHAKE, lambda number: crypto(3 + 2 * number)),
    "of the first packets' TLS": (INITIAL, lambda number: crypto(3 + 2 * number)),
}


@pytest.mark.parametrize("what", PIECES)
@pytest.mark.parametrize("few", [False, True])
def test_pieces_end_the_connection(trust: Trust, what: str, few: bool, complaints: list[Any]) -> None:
    """Many in one datagram, or a few in each of many."""
    epoch, frame = PIECES[what]

    async def test() -> None:
        with datacentre(trust) as dc:
            client, quic = await attacked(dc, epoch)
            number = most = 0
            for _ in range(60):
                frames = b"".join(frame(number + one) for one in range(3)) if few else fill(frame, number)
                number += 3 if few else ROOM // 4
                dc.take(packet(client, frames, epoch))
                most = max(most, pieces(quic))
                await asyncio.sleep(0)
            assert 0 < most <= bounds._PIECES + bounds._FRAMES
            # A first packet begins another connection, as long as its token lasts and the source may.
            assert quic not in [peer._quic for peer in dc.peers]

    run_quietly(test, complaints)


def _seen(frame: bytes) -> Callable[[int], bytes]:
    return lambda number: frame


FLOODS: dict[str, Callable[[int], bytes]] = {
    "pings": lambda number: b"\x01" * ROOM,
    "pings and padding by turns": lambda number: b"\x01\x00" * (ROOM // 2),
    "a few pings": lambda number: b"\x01" * 40,
    "acknowledgements": lambda number: acknowledge(0) * 60,
    "ranges": lambda number: acknowledge(ROOM // 2 - 8),
    "many allowed ranges": lambda number: acknowledge(bounds._RANGES) * 3,
    "claimed ranges": lambda number: b"\x02\x00\x00" + varint(1 << 60) + b"\x00",
    "challenges": lambda number: fill(lambda one: b"\x1a" + one.to_bytes(8, "big"), 0, 60 * 9),
    "identities": lambda number: fill(lambda one: new_identity(2 + 30 * number + one)),
    "identities that retire others": lambda number: fill(lambda one: new_identity(*[2 + 30 * number + one] * 2)),
    "retired identities": lambda number: b"".join(b"\x19" + varint(one) for one in range(1, 8 + number)),
    "limits": lambda number: fill(lambda one: b"\x10" + varint((1 << 40) + one), 0, 500),
    "blocked": lambda number: fill(_seen(b"\x16\x00\x17\x00\x14\x00"), 0, 180),
    "small steps on the stream": lambda number: fill(lambda one: stream(60 * number + one)),
    "steps of TLS": lambda number: fill(lambda one: crypto(60 * number + one, b"\x01")),
    "many streams": lambda number: fill(lambda one: stream(0, number=4 * (one + number))),
    "streams one way": lambda number: fill(lambda one: stream(0, number=2 + 4 * (one + number))),
    "ended streams": lambda number: stream(0, number=4 * number, fin=True) + b"\x05" + varint(4 * number) + b"\x00",
    "empty datagrams": lambda number: b"\x31\x00" * 60,
    "unknown frames": lambda number: b"\x40\x7f" * 40,
    "tokens": lambda number: b"\x07\x01x" * 30,
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_of_frames_costs_and_keeps_little(trust: Trust, what: str, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client, quic = await attacked(dc, ONE_RTT)
            most = 0
            longest = spent = 0.0
            for number in range(150):
                if not dc.peers:
                    break
                data = packet(client, FLOODS[what](number))
                begin = time.thread_time()
                dc.take(data)
                longest = max(longest, time.thread_time() - begin)
                spent += time.thread_time() - begin
                most = max(most, entries(quic))
                dc.transport.take()
                await asyncio.sleep(0)
            print(f"{what}: {number + 1} datagrams, {spent / (number + 1) * 1e6:.0f} us each, {most} entries")
            assert longest < SECONDS
            assert most <= bounds._ENTRIES + 3 * bounds._ACK_RANGES

    run_quietly(test, complaints)


def _of_version_nine(made: Any) -> None:
    """Give `made` a certificate whose version nobody knows."""
    key, name = new_key(), x509.Name([])
    day = 86_400
    begin = now().replace(microsecond=0)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, begin, begin.fromtimestamp(begin.timestamp() + day, begin.tzinfo)
    ).sign(key, hashes.SHA256())

    class Changed:
        """Stands in for a certificate that the library would not make."""

        def public_bytes(self, encoding: Any) -> bytes:
            return certificate.public_bytes(encoding).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08", 1)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(certificate, attribute)

    made.certificate, made.private_key = Changed(), key


def retire_what_was_not_told(dc: DataCentre, client: QuicConnection) -> None:
    dc.take(packet(client, b"\x19\x01\x19\x08" + bytes(20)))


def retire_the_last_that_packets_can_go_to(dc: DataCentre, client: QuicConnection) -> None:
    dc.take(packet(client, new_identity(8, retire=8) + new_identity(9)))
    dc.take(packet(client, b"\x1a" + bytes(8)), ("127.0.0.1", 40_009))  # another path takes the last
    dc.take(packet(client, new_identity(9, retire=9)))


FAULTS = {
    "retires what it was not told": retire_what_was_not_told,
    "retires the last that packets can go to": retire_the_last_that_packets_can_go_to,
}
FAULT_SAID: dict[str, list[str]] = {
    "retires what it was not told": [],  # this one is understood
    "retires the last that packets can go to": ["(IndexError, connection.py line "],
    "a certificate of version 9": ["(InvalidVersion, "],
}


@pytest.mark.parametrize("what", [*FAULTS, "a certificate of version 9"])
def test_faults_of_the_library_end_that_connection_alone(
    trust: Trust, what: str, complaints: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge) if what in FAULTS else stranger(ALPN)
            if what in FAULTS:
                await dc.let_in(client)
                FAULTS[what](dc, client)
            else:
                _of_version_nine(client.configuration)
                client.connect(("127.0.0.1", 4_433), now=asyncio.get_running_loop().time())
                await dc.exchange(client)
            await asyncio.sleep(0)
            assert (await dc.let_in(edge(trust.edge), ("127.0.0.1", 40_001))).trusted

    run_quietly(test, complaints)
    said = [record for record in caplog.records if record.name != "asyncio"]
    assert [record.exc_info for record in said] == [None] * len(FAULT_SAID[what])
    for record, cause in zip(said, FAULT_SAID[what], strict=True):
        assert record.getMessage().startswith("a client at 127.0.0.1 was cut off: its packets cannot be handled")
        assert cause in record.getMessage()


def test_whatever_fails_inside_is_told_in_one_line_and_forgotten(
    trust: Trust, complaints: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.let_in(client)
            quic = peer._quic

            def fail(*_: Any, **__: Any) -> None:
                raise KeyError("a\nb")

            for where in ("receive_datagram", "datagrams_to_send", "handle_timer", "close", "_close_end"):
                setattr(quic, where, fail)
            dc.take(packet(client, b"\x01"))
            await asyncio.sleep(0.01)  # sleeps: virtual time
            assert not dc.peers
            assert not dc.server._peers
            assert dc.ended == [peer]
            for later in (peer.transmit, peer.close, peer._handle_timer, lambda: peer.datagram_received(b"x", EDGE)):
                later()  # nothing

    run_quietly(test, complaints)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "a client at 127.0.0.1 was cut off: its packets cannot be handled (KeyError, test_bounds.py line " in said


def test_a_connection_that_ends_leaves_nothing_behind(trust: Trust, complaints: list[Any]) -> None:
    """Nor does it wait for the garbage collector."""

    async def test() -> None:
        with datacentre(trust) as dc:
            gc.collect()
            gc.disable()
            try:
                for client in (stranger(), edge(trust.edge)):
                    peer = await dc.let_in(client)
                    gone = weakref.ref(peer), weakref.ref(peer._quic), weakref.ref(peer._quic._loss)
                    del peer
                    client.close()
                    await dc.exchange(client)
                    dc.ended.clear()
                    await asyncio.sleep(0.01)  # sleeps: virtual time
                    assert not dc.peers
                    assert [one() for one in gone] == [None] * 3
            finally:
                gc.enable()

    run_quietly(test, complaints)


def test_many_connections_one_after_the_other_take_no_memory(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            begun = 0
            tracemalloc.start()
            for number in range(30):
                client, _ = await attacked(dc, ONE_RTT)
                dc.take(packet(client, crypto(500_000)))
                await asyncio.sleep(0)
                dc.ended.clear()
                dc.transport.take()
                if number == 9:
                    begun, _ = tracemalloc.get_traced_memory()
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert not dc.peers
            assert after - begun < 20 * 100_000

    run_quietly(test, complaints)


def test_an_end_that_only_receives_forgets_what_it_acknowledged(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.let_in(client)
            space = peer._quic._spaces[ONE_RTT]
            most = 0
            for number in range(700):
                client.send_ping(number)
                await dc.exchange(client, rounds=1)
                await asyncio.sleep(0.002)  # sleeps: virtual time
                most = max(most, len(space.sent_packets))
            assert bounds._ASK <= most < bounds._ASK + 60

    run_quietly(test, complaints)


def test_who_acknowledges_nothing_is_cut_off(
    trust: Trust, complaints: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_UNACKNOWLEDGED", 400)

    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.let_in(client)
            number = 0
            while number < 500:
                number += 1
                dc.take(packet(client, b"\x01"))
                await asyncio.sleep(0)
                dc.transport.take()
                if not dc.peers:
                    break
                peer._quic._spaces[ONE_RTT].ack_at = 0.0  # now, not in a millisecond
                peer.transmit()
            assert 350 < number < 450
            assert peer.cut_off == "too little was acknowledged"

    run_quietly(test, complaints)


def test_a_timer_that_changes_nothing_does_not_spin(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            peer = await dc.let_in(edge(trust.edge))
            ran = 0

            def handle_timer(now: float) -> None:
                nonlocal ran
                ran += 1

            peer._quic.get_timer = lambda: 0.0  # type: ignore[method-assign]  # due for ever
            peer._quic.handle_timer = handle_timer  # type: ignore[method-assign]
            peer.transmit()
            await asyncio.sleep(1.0)  # sleeps: virtual time
            assert 50 < ran < 150

    run_quietly(test, complaints)


def test_who_acknowledges_late_is_not_waited_for_longer(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            peer = await dc.let_in(edge(trust.edge))
            loop = asyncio.get_running_loop()
            peer._quic._loss._rtt_smoothed = peer._quic._loss._rtt_variance = 60.0
            peer._quic._close_at = loop.time() + peer._quic._idle_timeout()
            assert peer._quic._idle_timeout() > 600.0
            peer.transmit()
            assert peer._quic._close_at <= loop.time() + bounds._LONGEST_SILENCE

    run_quietly(test, complaints)


@pytest.mark.parametrize(
    "frames",
    [
        crypto(400_000),
        b"".join(crypto(3 + 2 * one) for one in range(60)),
        b"\x01" * ROOM,
        stream(10_000, number=1),
        stream(0, number=3),
        b"\x19\x01\x19\x08",
        b"".join(new_identity(2 + one, 2 + one) for one in range(30)),
        acknowledge(400),
    ],
    ids=lambda frames: frames[:6].hex(),
)
def test_an_edge_is_as_safe_from_its_data_centre(trust: Trust, frames: bytes, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            attack = AttackedEdge(trust, dc.authority)
            await attack.exchange()
            quic = attack.peer._quic
            assert attack.theirs._handshake_complete
            for _ in range(60):
                if attack.peer.ended.done():
                    break
                begin = time.thread_time()
                attack.peer.datagram_received(packet(attack.theirs, frames), ("127.0.0.1", 4_433))
                assert time.thread_time() - begin < SECONDS
                assert kept(quic) <= bounds._KEPT + 524_288
                await asyncio.sleep(0)
                assert kept(quic) <= bounds._KEPT
                assert entries(quic) <= bounds._ENTRIES
                assert pieces(quic) <= bounds._PIECES
            print(attack.peer.ended)

    run_quietly(test, complaints)


def test_before_the_handshake_an_edge_keeps_no_more_for_who_is_on_the_way(trust: Trust, complaints: list[Any]) -> None:
    """The keys of the first packets are known to anybody who sees them."""

    async def test() -> None:
        with datacentre(trust) as dc:
            attack = AttackedEdge(trust, dc.authority)
            frames = b"".join(crypto(3 + 2 * one) for one in range(40))
            attack.theirs._crypto_streams[INITIAL].sender._buffer.clear()
            attack.peer.datagram_received(packet(attack.theirs, frames, INITIAL), ("127.0.0.1", 4_433))
            await asyncio.sleep(0)
            assert attack.peer.ended.done()
            assert attack.peer.cut_off == "too many pieces"
            assert pieces(attack.peer._quic) == 0

    run_quietly(test, complaints)


def test_an_edge_heeds_no_version_negotiation(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            attack = AttackedEdge(trust, dc.authority)
            ours, theirs = attack.peer._quic.host_cid, attack.theirs.host_cid
            forged = b"\x80" + bytes(4) + b"\x08" + ours + b"\x08" + theirs + b"\x1a\x2a\x3a\x4a"
            attack.peer.datagram_received(forged, ("127.0.0.1", 4_433))
            await attack.exchange()
            assert attack.theirs._handshake_complete
            assert not attack.peer.ended.done()

    run_quietly(test, complaints)


def test_what_a_data_centre_says_cannot_move_the_cursor(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            attack = AttackedEdge(trust, dc.authority)
            await attack.exchange()
            reason = b"x\nedge 'door' \x1b[2J" + b"y" * 1_000
            frames = b"\x1d" + varint(0xE5) + varint(len(reason)) + reason
            attack.peer.datagram_received(packet(attack.theirs, frames), ("127.0.0.1", 4_433))
            said = await attack.peer.ended
            assert said.startswith("x?edge 'door' ?[2J")
            assert said.isprintable()
            assert len(said) == 400

    run_quietly(test, complaints)


def test_a_stranger_writes_no_lines_of_the_log(
    trust: Trust, complaints: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        with datacentre(trust) as dc:
            for number in range(30):
                client = stranger()
                await dc.meet(client)
                reason = b"x\nedge 'door' was enrolled from 10.0.0.1\x1b[2J" + b"y" * 900
                dc.take(packet(client, b"\x1d" + varint(0xE5) + varint(len(reason)) + reason))
                await asyncio.sleep(0)
                assert len(dc.ended) == number + 1
            dc.server.told.tell()

    run_quietly(test, complaints)
    said = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    assert len(said) == 6
    assert all(line.isprintable() and len(line) < 250 for line in said)
    assert said[-1].startswith("25 more warnings like the last ones; the newest: a client at 127.0.0.1 was not let in")


def test_who_is_refused_again_and_again_is_counted(
    trust: Trust, complaints: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            for _ in range(12):
                client = stranger(ALPN)
                client.connect(("127.0.0.1", 4_433), now=asyncio.get_running_loop().time())
                await dc.exchange(client)
            dc.server.told.tell()

    run_quietly(test, complaints)
    said = [record.getMessage() for record in caplog.records]
    assert sum("was refused: no certificate was shown" in line for line in said) == len(said) == 6
    assert said[-1].startswith("7 more")


def test_the_first_warnings_come_at_once_and_the_others_by_number(
    caplog: pytest.LogCaptureFixture, complaints: list[Any]
) -> None:
    async def test() -> None:
        sparing = Sparing(logging.getLogger("sparing"), asyncio.get_running_loop().time)
        for number in range(1_000):
            sparing.warning(f"number {number}")
        assert len(caplog.records) == 5
        await asyncio.sleep(_EVERY - 0.1)  # sleeps: virtual time
        assert len(caplog.records) == 5
        await asyncio.sleep(0.2)  # sleeps: virtual time
        assert len(caplog.records) == 6
        assert "995 more" in caplog.text
        assert "number 999" in caplog.text

    run_quietly(test, complaints)


@pytest.mark.parametrize(
    ("said", "fit"),
    [
        ("all is well", "all is well"),
        ("a\r\nb\x1b[31m\x07", "a??b?[31m?"),
        ("\u202eright to left\u2028line", "?right to left?line"),
        ("é 漢字", "é 漢字"),
        ("x" * 101, "x" * 97 + "..."),
        ("x" * 100, "x" * 100),
    ],
)
def test_words_of_others_are_fit_to_print(said: str, fit: str) -> None:
    assert printable(said) == fit


async def _long_connection(trust: Trust, requests: int) -> None:
    with datacentre(trust) as dc:
        client = edge(trust.edge)
        peer = await dc.let_in(client)
        assert peer.key_age < 60
        for number in range(requests):
            client.send_ping(number)
            await dc.exchange(client, rounds=2)
        assert peer.key_age > requests
        phases = {peer._quic._cryptos[ONE_RTT].recv.key_phase}
        for end in (client, peer._quic, client):
            end.request_key_update()
            end.send_ping(0)
            peer.transmit()
            await dc.exchange(client, rounds=3)  # what is on the way while they change is lost
            for number in range(5):
                client.send_datagram_frame(b"there %d" % number)
                await dc.exchange(client, rounds=3)
            assert peer.key_age < 100
            phases.add(peer._quic._cryptos[ONE_RTT].recv.key_phase)
            assert client._cryptos[ONE_RTT].recv.key_phase == peer._quic._cryptos[ONE_RTT].recv.key_phase
        assert phases == {0, 1}
        assert len(dc.got) == 15


def test_the_age_of_keys_is_counted_anew_when_they_change(trust: Trust, complaints: list[Any]) -> None:
    run_quietly(lambda: _long_connection(trust, 120), complaints)


def test_an_honest_connection_is_never_cut_off(trust: Trust, complaints: list[Any]) -> None:
    """Losing, repeating and reordering packets is what networks do."""

    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.let_in(client)
            loop = asyncio.get_running_loop()
            late: list[bytes] = []
            for number in range(400):
                for one in range(4):
                    client.send_datagram_frame(bytes([one]) * 900)
                sent = [data for data, _ in client.datagrams_to_send(now=loop.time())]
                kept_back = [data for one, data in enumerate(sent) if (number + one) % 7 == 0]
                late += kept_back
                passed = [data for data in sent if data not in kept_back]
                if number % 5 == 0:
                    passed += late[::-2]
                    late.clear()
                for data in passed + passed[:1]:
                    dc.take(data)
                if number % 3 == 0:
                    peer.send_before(loop.time() + 1.0, [b"reply"])
                await dc.exchange(client, rounds=2)
                await asyncio.sleep(0.002)  # sleeps: virtual time
            assert peer.trusted
            assert peer.cut_off is None
            assert len(dc.got) > 1_000

    run_quietly(test, complaints)


def test_a_hello_may_come_in_any_order(trust: Trust, complaints: list[Any]) -> None:
    async def test() -> None:
        with datacentre(trust) as dc:
            client = edge(trust.edge)
            peer = await dc.meet(client)
            step = 40
            said = hello()
            parts = [stream(at, said[at : at + step]) for at in range(0, len(said), step)]
            client._get_or_create_stream_for_send(0)
            for part in reversed(parts):
                dc.take(packet(client, part))
            assert peer.trusted

    run_quietly(test, complaints)


def test_keys_are_made_anew_while_requests_go_on(trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.connection.KEY_PACKETS", 60)
    monkeypatch.setattr("edgesight.host.link.connection.PING_EVERY", 0.02)
    monkeypatch.setattr("edgesight.host.link.connection.PROBE_EVERY", 0.02)

    async def test() -> None:
        async with serving(trust) as address, connected(address, trust) as client:
            peer = client._connection.peer
            assert peer is not None
            phases, changes = peer._quic._cryptos[ONE_RTT].recv.key_phase, 0
            image = clear_images(1)[0]
            for _ in range(300):
                assert (await client.offload(image, 5.0)).label == expected(image)
                phase = peer._quic._cryptos[ONE_RTT].recv.key_phase
                changes += phase != phases
                phases = phase
                if changes == 3:
                    break
            assert changes == 3, peer.key_age
            assert client._connection.peer is peer  # the connection is still the first

    run(test())
