"""What the tests run at the two ends of a link between namespaces: TCP and QUIC, each a server and a client.

`python link_programs.py PROGRAM ARGUMENT ...`; a server prints its port when it listens, a client its findings as JSON.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import random
import socket
import ssl
import sys
import time
from collections.abc import Callable

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ALPN = "test"


def tcp_serve(address: str) -> None:
    """Takes one connection's bytes to their end and answers with what they were and how fast they came."""
    with socket.create_server((address, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    digest, count, began = hashlib.sha256(), 0, 0.0
    with connection:
        while data := connection.recv(1 << 20):
            began = began or time.monotonic()
            digest.update(data)
            count += len(data)
        mbit_per_s = count * 8 / (time.monotonic() - began) / 1e6
        answer = {"sha256": digest.hexdigest(), "mbit_per_s": mbit_per_s, "server_control": control_of(connection)}
        connection.sendall(json.dumps(answer).encode())


def control_of(connection: socket.socket) -> str:
    """The congestion control of a TCP connection."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).partition(b"\0")[0].decode()


def tcp_send(address: str, port: str, size: str) -> None:
    """Sends `size` random bytes; prints the server's answer, whether it got these very bytes, and by what control."""
    content = random.Random(0).randbytes(int(size))
    with socket.create_connection((address, int(port)), timeout=60.0) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(connection.recv(1 << 16))
        control = control_of(connection)
    intact = answer["sha256"] == hashlib.sha256(content).hexdigest()
    print(json.dumps({**answer, "intact": intact, "control": control}))


class Echo(QuicConnectionProtocol):
    """Sends streams and datagrams back."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
        if isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)
        self.transmit()


class Asker(QuicConnectionProtocol):
    """Counts the datagrams that come back."""

    datagrams = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        self.datagrams += isinstance(event, DatagramFrameReceived)
        super().quic_event_received(event)

    def send_datagram(self) -> None:
        self._quic.send_datagram_frame(bytes(100))
        self.transmit()


def quic_serve(address: str) -> None:
    """Serves for ever, with a certificate of its own making."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN], max_datagram_frame_size=65_535)
    configuration.private_key = key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    hour = datetime.timedelta(hours=1)
    configuration.certificate = (
        builder.not_valid_before(now - hour).not_valid_after(now + hour).sign(key, hashes.SHA256())
    )

    async def run() -> None:
        server = await serve(address, 4433, configuration=configuration, create_protocol=Echo)
        print(4433, flush=True)
        await asyncio.Event().wait()
        server.close()

    asyncio.run(run())


def quic_ask(address: str, port: str, size: str, datagrams: str) -> None:
    """Sends bytes over a stream and back, then datagrams; prints what came."""

    async def run() -> None:
        configuration = QuicConfiguration(alpn_protocols=[ALPN], max_datagram_frame_size=65_535)
        configuration.verify_mode = ssl.CERT_NONE
        async with connect(address, int(port), configuration=configuration, create_protocol=Asker) as asker:
            assert isinstance(asker, Asker)
            content = random.Random(0).randbytes(int(size))
            reader, writer = await asker.create_stream()
            writer.write(content)
            writer.write_eof()
            intact = await reader.read() == content
            for _ in range(int(datagrams)):  # paced: what the congestion window holds back would come too late
                asker.send_datagram()
                await asyncio.sleep(0.01)  # sleeps: how often it sends
            await asker.ping()  # is answered behind what was sent before it
            print(json.dumps({"intact": intact, "datagrams": asker.datagrams}))

    asyncio.run(asyncio.wait_for(run(), 60.0))


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        "tcp_serve": tcp_serve,
        "tcp_send": tcp_send,
        "quic_serve": quic_serve,
        "quic_ask": quic_ask,
    }
    programs[sys.argv[1]](*sys.argv[2:])
