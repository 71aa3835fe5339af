"""Both ends of the link without a network, and hostile packets for them: any frames, encrypted as they should be."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from edgesight.host.datacenter.authority import Authority
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import ENROLL_ALPN, client_keys, configuration
from edgesight.host.link.port import Port
from edgesight.host.link.quic import PROTOCOL, Hello, Served
from edgesight.host.link.server import Server, ServerPeer
from edgesight.host.link.tls import ask_for_certificate
from edgesight.sim.link.trust import Trust

Address = tuple[str, int]
EDGE: Address = ("127.0.0.1", 40_000)
DATACENTER: Address = ("127.0.0.1", 4_433)
SERVED = Served(model_sha256="5" * 64, input_shape=(28, 28, 1), classes=10)
_TYPES = {
    Epoch.INITIAL: QuicPacketType.INITIAL,
    Epoch.HANDSHAKE: QuicPacketType.HANDSHAKE,
    Epoch.ONE_RTT: QuicPacketType.ONE_RTT,
}
_SMALLEST_INITIAL = 1_200


def hello(request: str | None = None) -> bytes:
    """What an edge says first; `request` is for a new certificate."""
    said = Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables(), request=request)
    return said.model_dump_json().encode() + b"\n"


def varint(value: int) -> bytes:
    """RFC 9000, 16."""
    for size, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def packet(quic: QuicConnection, frames: bytes, epoch: Epoch = Epoch.ONE_RTT) -> bytes:
    """One packet of `quic` with any `frames`, in a datagram of its own."""
    if epoch is Epoch.INITIAL and quic.configuration.is_client:
        frames = frames.ljust(_SMALLEST_INITIAL - 90 - len(quic._peer_token), b"\0")
    assert quic._version is not None
    builder = QuicPacketBuilder(
        host_cid=quic.host_cid,
        is_client=quic.configuration.is_client,
        max_datagram_size=1_460,
        packet_number=quic._packet_number,
        peer_cid=quic._peer_cid.cid,
        peer_token=quic._peer_token,
        version=quic._version,
    )
    builder.start_packet(_TYPES[epoch], quic._cryptos[epoch])
    builder.start_frame(frames[0], capacity=len(frames)).push_bytes(frames[1:])
    (datagram,), _ = builder.flush()
    quic._packet_number = builder.packet_number
    return datagram


class Memory(asyncio.DatagramTransport):
    """A transport whose packets stay here."""

    def __init__(self, peer: Address) -> None:
        super().__init__({"peername": peer})
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append((bytes(data), addr))

    def close(self) -> None:
        """Nothing is held."""

    def is_closing(self) -> bool:
        return False

    def take(self) -> list[bytes]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return [data for data, _ in sent]


def stranger(alpn: str = ENROLL_ALPN) -> QuicConnection:
    """A client without a certificate, that takes any data centre's."""
    made = configuration(is_client=True, alpn=[alpn], idle_timeout=10.0)
    made.verify_mode = ssl.CERT_NONE
    return QuicConnection(configuration=made)


def edge(folder: Path) -> QuicConnection:
    """A client with an edge's keys."""
    return QuicConnection(configuration=client_keys(folder, 10.0).configuration)


class DataCentre:
    """A data centre that packets are handed to, and that has endless time for strangers unless told."""

    def __init__(self, authority: Authority, max_edges: int = 64) -> None:
        self.got: list[bytes] = []
        self.failures: list[Exception] = []  # of aioquic's look at first packets
        self.authority = authority
        self.server = Server(
            authority.configuration(10.0),
            authority,
            SERVED,
            lambda peer, data: self.got.append(data),
            self._gone,
            max_edges,
        )
        self.port = self.server._quic = Port(self.server._configuration, self.server._make_peer, self._failed)
        self.transport = Memory(EDGE)
        self.port.connection_made(self.transport)
        self.port._budget.left = lambda now: 1.0  # type: ignore[method-assign]
        self.port._strangers.allow = lambda source, now: True  # type: ignore[method-assign]
        self.ended: list[ServerPeer] = []

    def _received(self, peer: ServerPeer, data: bytes) -> None:
        self.got.append(data)

    def _gone(self, peer: ServerPeer) -> None:
        self.ended.append(peer)

    def _failed(self, source: str, error: Exception) -> None:
        self.failures.append(error)

    @property
    def peers(self) -> set[ServerPeer]:
        """All connections that take up anything."""
        return {peer for peer in self.port._protocols.values() if isinstance(peer, ServerPeer)}

    def take(self, data: bytes, client: Address = EDGE) -> None:
        """Take in a packet."""
        self.port.datagram_received(data, client)

    async def exchange(self, client: QuicConnection, address: Address = EDGE, rounds: int = 12) -> None:
        """Let packets go to and fro until none is left, or `rounds` are over."""
        loop = asyncio.get_running_loop()
        for _ in range(rounds):
            await asyncio.sleep(0)
            sent = client.datagrams_to_send(now=loop.time())
            for data, _ in sent:
                self.take(data, address)
            came = self.transport.take()
            for data in came:
                client.receive_datagram(data, DATACENTER, now=loop.time())
            if not sent and not came:
                # Acknowledgements wait for a moment.
                await asyncio.sleep(0.002)  # sleeps: virtual time
                client.handle_timer(now=loop.time())

    async def meet(self, client: QuicConnection, address: Address = EDGE) -> ServerPeer:
        """Shake hands with `client`; its connection here."""
        before = self.peers
        client.connect(DATACENTER, now=asyncio.get_running_loop().time())
        await self.exchange(client, address)
        (peer,) = self.peers - before
        return peer

    async def let_in(self, client: QuicConnection, address: Address = EDGE) -> ServerPeer:
        """Shake hands with an edge and greet it; its connection here."""
        peer = await self.meet(client, address)
        client.send_stream_data(0, hello())
        await self.exchange(client, address)
        return peer


@contextlib.contextmanager
def datacentre(trust: Trust, max_edges: int = 64) -> Iterator[DataCentre]:
    """A data centre with its keys; inside an asyncio loop."""
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        yield DataCentre(authority, max_edges)


class AttackedEdge:
    """An edge's end, and a hostile data centre's with the right keys: `theirs`."""

    def __init__(self, trust: Trust, authority: Authority) -> None:
        loop = asyncio.get_running_loop()
        self.got: list[bytes] = []
        keys = client_keys(trust.edge, 10.0)
        self.peer = ClientPeer(QuicConnection(configuration=keys.configuration), keys, self.got.append)
        self.transport = Memory(DATACENTER)
        self.peer.connection_made(self.transport)
        self.peer.connect(DATACENTER)
        (first,) = self.transport.take()
        self.theirs = QuicConnection(
            configuration=authority.configuration(10.0), original_destination_connection_id=first[6 : 6 + first[5]]
        )
        ask_for_certificate(self.theirs)
        self.theirs.receive_datagram(first, EDGE, now=loop.time())

    async def exchange(self, rounds: int = 12) -> None:
        """Let packets go to and fro."""
        loop = asyncio.get_running_loop()
        for _ in range(rounds):
            await asyncio.sleep(0.001)  # sleeps: virtual time
            for data, _ in self.theirs.datagrams_to_send(now=loop.time()):
                self.peer.datagram_received(data, DATACENTER)
            for data in self.transport.take():
                self.theirs.receive_datagram(data, EDGE, now=loop.time())
            while self.theirs.next_event() is not None:
                pass


def pieces(quic: QuicConnection) -> int:
    """Ranges of bytes that `quic` keeps apart."""
    return sum(len(one.receiver._ranges) for one in (*quic._streams.values(), *quic._crypto_streams.values()))


def kept(quic: QuicConnection) -> int:
    """Bytes that `quic` keeps of what came."""
    return sum(len(one.receiver._buffer) for one in (*quic._streams.values(), *quic._crypto_streams.values()))


def entries(quic: QuicConnection) -> int:
    """Entries of all lists that `quic` keeps for what came, but for packets of its own."""
    lists: list[Sized] = [
        *(quic._events, quic._peer_cid_available, quic._peer_cid_sequence_numbers, quic._retire_connection_ids),
        *(quic._host_cids, quic._streams, quic._streams_queue, quic._network_paths),
        *(path.remote_challenges for path in quic._network_paths),
        *(space.ack_queue for space in quic._spaces.values()),
    ]
    return sum(len(one) for one in lists)
