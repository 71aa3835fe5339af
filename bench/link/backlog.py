"""Senders that never run dry, and the receivers that count them: the edge's and the data centre's half of a
congestion-control measurement, as commands to run on either side of a link.

    python -m edgesight.bench.link.backlog quic-receive KEYS PORT                    (data centre; KEYS are its own)
    python -m edgesight.bench.link.backlog quic-send KEYS ADDRESS PORT SECONDS CONTROL
    python -m edgesight.bench.link.backlog tcp-receive PORT
    python -m edgesight.bench.link.backlog tcp-send ADDRESS PORT SECONDS CONTROL

A receiver says "ready" on a line of its own when it listens, and, after one connection, what came as one JSON line:
`began`, when the first byte came (the machine's monotonic clock, seconds), and `steps`, [number, bytes] for each step
of `step_s` seconds since then.

Words owned here: *backlogged* (always having something to send).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from pathlib import Path

from aioquic.quic.connection import QuicConnection

from edgesight.host.datacenter.authority import Authority
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.keys import client_keys
from edgesight.host.link.quic import Served
from edgesight.host.link.server import Server, ServerPeer

_STEP = 0.1  # seconds of one count
_DATAGRAM = bytes(1_150)  # about what the largest strip takes; one fits into a QUIC packet
_WAITING = 256  # datagrams that wait, more than can ever go at once
_FRESH = 3_600.0  # seconds: nothing here is ever late
_CONNECT_WITHIN = 20.0  # seconds
_IDLE_TIMEOUT = 10.0  # seconds
_READ = 1 << 16


class Arrivals:
    """Bytes that came, by tenths of a second."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._began: float | None = None
        self._steps: dict[int, int] = {}

    def add(self, size: int) -> None:
        """Count `size` bytes that have just come."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        step = int((now - self._began) / _STEP)
        self._steps[step] = self._steps.get(step, 0) + size

    def say(self) -> None:
        """Write the counts to standard output."""
        began = self._began if self._began is not None else time.monotonic()
        print(json.dumps({"began": began, "step_s": _STEP, "steps": sorted(self._steps.items())}), flush=True)


class BackloggedPeer(ClientPeer):
    """An edge that always has datagrams to send once it is welcome."""

    def transmit(self) -> None:
        """Fill the queue up, then send what is due."""
        if self.welcome.done():
            deadline = self._loop.time() + _FRESH
            self._queue.add(deadline, 0, [_DATAGRAM] * (_WAITING - len(self._queue)))
        super().transmit()


async def receive_quic(keys: Path, port: int) -> None:
    """Count the datagrams of one client."""
    arrivals = Arrivals()
    done = asyncio.Event()

    def received(peer: ServerPeer, datagram: bytes) -> None:
        arrivals.add(len(datagram))

    with contextlib.closing(Authority(keys)) as authority:
        server = Server(
            authority.configuration(_IDLE_TIMEOUT),
            authority,
            Served(model_sha256="0" * 64, input_shape=(1, 1, 1), classes=2),
            received,
            lambda peer: done.set(),
        )
        await server.listen("0.0.0.0", port)
        print("ready", flush=True)
        await done.wait()
        server.close()
    arrivals.say()


async def send_quic(keys: Path, address: str, port: int, seconds: float, control: str) -> None:
    """Send datagrams under the congestion control `control` for so many seconds."""
    link_keys = client_keys(keys, _IDLE_TIMEOUT)
    link_keys.configuration.congestion_control_algorithm = control
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_datagram_endpoint(
        lambda: BackloggedPeer(QuicConnection(configuration=link_keys.configuration), link_keys, lambda datagram: None),
        remote_addr=(address, port),
    )
    peer.connect((address, port))
    await asyncio.wait_for(peer.welcome, _CONNECT_WITHIN)
    peer.transmit()
    await asyncio.wait([peer.ended], timeout=seconds)
    peer.close()
    await asyncio.sleep(0.2)  # the farewell is on its way


def receive_tcp(port: int) -> None:
    """Count the bytes of one connection."""
    arrivals = Arrivals()
    with socket.create_server(("0.0.0.0", port)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(_READ):
                arrivals.add(len(data))
    arrivals.say()


def send_tcp(address: str, port: int, seconds: float, control: str) -> None:
    """Send bytes under the kernel's congestion control `control` for so many seconds."""
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
        connection.settimeout(_CONNECT_WITHIN)
        connection.connect((address, port))
        until = time.monotonic() + seconds
        data = bytes(_READ)
        while time.monotonic() < until:
            connection.send(data)


def main() -> None:
    """Be the half of a measurement that the command line asks for."""
    role, *rest = sys.argv[1:]
    if role == "quic-receive":
        asyncio.run(receive_quic(Path(rest[0]), int(rest[1])))
    elif role == "quic-send":
        asyncio.run(send_quic(Path(rest[0]), rest[1], int(rest[2]), float(rest[3]), rest[4]))
    elif role == "tcp-receive":
        receive_tcp(int(rest[0]))
    elif role == "tcp-send":
        send_tcp(rest[0], int(rest[1]), float(rest[2]), rest[3])
    else:
        sys.exit(f"{role}: expected quic-receive, quic-send, tcp-receive or tcp-send")


if __name__ == "__main__":
    main()
