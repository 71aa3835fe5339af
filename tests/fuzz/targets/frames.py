"""Any QUIC frames in a first packet that is encrypted as it should be, from a proved address: all of the handshake's
parser that somebody without a certificate reaches.
"""

from __future__ import annotations

from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop

from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.tls import ask_for_certificate
from tests.fuzz.trust import CLIENT, SERVER

MAX_LENGTH = 1_100
_ADDRESS = ("127.0.0.1", 40_000)
_ID, _OTHER_ID = bytes(8), b"\x01" * 8
CONFIGURATION = SERVER.configuration(IDLE_TIMEOUT)


def seeds() -> list[bytes]:
    """The frames of a real client's first packet: a CRYPTO frame around its hello; and a few small ones."""
    client = QuicConnection(configuration=CLIENT.configuration)
    client.connect(_ADDRESS, now=0.0)
    hello = bytes(client._crypto_streams[next(iter(client._crypto_streams))].sender._buffer)
    client.datagrams_to_send(now=0.0)
    length = len(hello)
    return [
        b"\x06\x00" + bytes([0x40 | length >> 8, length & 0xFF]) + hello,
        b"\x01",
        b"\x1c\x00\x00\x00",
        b"\x02\x00\x00\x00\x00",
    ]


def consume(data: bytes) -> None:
    crypto = CryptoPair()
    crypto.setup_initial(cid=_ID, is_client=True, version=QuicProtocolVersion.VERSION_1)
    builder = QuicPacketBuilder(
        host_cid=_OTHER_ID, peer_cid=_ID, version=QuicProtocolVersion.VERSION_1, is_client=True, max_datagram_size=1_280
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    try:
        builder.start_frame(data[0] if data else 0, capacity=max(len(data), 1)).push_bytes(data[1:])
    except QuicPacketBuilderStop:
        return
    datagrams, _ = builder.flush()
    server = QuicConnection(configuration=CONFIGURATION, original_destination_connection_id=_ID)
    ask_for_certificate(server)
    for datagram in datagrams:
        server.receive_datagram(datagram, _ADDRESS, now=0.0)
    server.datagrams_to_send(now=0.0)
    while server.next_event() is not None:
        pass
