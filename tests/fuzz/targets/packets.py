"""Any UDP payload at the data centre's port, from somebody whose address is not proved."""

from __future__ import annotations

import asyncio

from aioquic.asyncio.server import QuicServer
from aioquic.quic.connection import QuicConnection

from host.link.quic import IDLE_TIMEOUT
from tests.fuzz.trust import CLIENT, SERVER

MAX_LENGTH = 1_500
_ADDRESS = ("127.0.0.1", 40_000)
_LARGEST = 3  # how much more than it got the server may send to an address that is not proved (RFC 9000, 8.1)


class _Transport(asyncio.DatagramTransport):
    """Counts what would be sent."""

    sent = 0

    def sendto(self, data: object, addr: object = None) -> None:
        assert isinstance(data, bytes)
        self.sent += len(data)

    def close(self) -> None:
        """Nothing is held."""


async def _server() -> QuicServer:
    def make_peer(*_: object, **__: object) -> None:
        raise AssertionError("a connection was made for an address that is not proved")

    return QuicServer(configuration=SERVER.configuration(IDLE_TIMEOUT), create_protocol=make_peer, retry=True)


PORT = asyncio.run(_server())


def seeds() -> list[bytes]:
    client = QuicConnection(configuration=CLIENT.configuration)
    client.connect(_ADDRESS, now=0.0)
    return [data for data, _ in client.datagrams_to_send(now=0.0)]


def consume(data: bytes) -> None:
    transport = _Transport()
    PORT.connection_made(transport)
    PORT.datagram_received(data, _ADDRESS)
    assert transport.sent <= _LARGEST * max(len(data), 1), "the server may be used to flood others"
