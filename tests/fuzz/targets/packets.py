"""Any UDP payload at the data centre's port, from somebody whose address is not proved."""

from __future__ import annotations

import asyncio

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.connection import QuicConnection

from edgesight.host.link.port import Budget, Port, Strangers
from edgesight.host.link.quic import IDLE_TIMEOUT
from tests.fuzz.trust import CLIENT, SERVER

MAX_LENGTH = 1_500
_ADDRESS = ("127.0.0.1", 40_000)


class _Transport(asyncio.DatagramTransport):
    """Counts what would be sent."""

    sent = 0

    def sendto(self, data: object, addr: object = None) -> None:
        assert isinstance(data, bytes)
        self.sent += len(data)

    def close(self) -> None:
        """Nothing is held."""


async def _port() -> Port:
    def make_peer(*_: object, **__: object) -> QuicConnectionProtocol:
        raise AssertionError("a connection was made for an address that is not proved")

    def failed(source: str, error: Exception) -> None:
        raise error

    return Port(SERVER.configuration(IDLE_TIMEOUT), make_peer, failed)


PORT = asyncio.run(_port())


def seeds() -> list[bytes]:
    client = QuicConnection(configuration=CLIENT.configuration)
    client.connect(_ADDRESS, now=0.0)
    return [data for data, _ in client.datagrams_to_send(now=0.0)]


def consume(data: bytes) -> None:
    transport = _Transport()
    PORT.connection_made(transport)
    PORT._strangers, PORT._budget = Strangers(), Budget(PORT._loop.time())
    PORT.datagram_received(data, _ADDRESS)
    assert transport.sent <= len(data), "the server may be used to flood others"
