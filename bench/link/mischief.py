"""What a hostile or broken network does to packets, on a relay: damage, repeat, replay and invent them, move a client
to another port; and connections that begin and never go on.

    python -m edgesight.bench.link.mischief HOST PORT COUNT SECONDS

opens COUNT connections to a data centre as far as its address check and its first reply, and holds them idle; it says
"open" on a line of its own when all have begun.

Words owned here: mischief, *damage* (what is done to packets that pass).
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from aioquic.quic.connection import QuicConnection

from edgesight.host.link.keys import ALPN, configuration
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.relay import Address, RelayLink

_ROOT = Path(__file__).resolve().parents[2]
Damage = Literal["duplicated", "reordered", "corrupted", "truncated"]
DAMAGED = 0.3  # share of the packets that damage hits
_LATEST = 0.03  # seconds that a reordered packet is held back
_REMEMBERED = 512  # packets that can be played back
_LARGEST = 1_400  # bytes of an invented packet
_QUIC_1 = b"\x00\x00\x00\x01"
_SMALLEST_INITIAL = 1_200  # bytes; servers ignore shorter ones
_STEP = 0.02  # seconds between looks at a connection's timers
_BURST = 20  # connections begun between two looks


class DisturbedLink(RelayLink):
    """A relay whose packets can be tampered with."""

    def __init__(self, target: tuple[str, int], options: LinkOptions, *, seed: int) -> None:
        """`options` hold both ways; nothing is tampered with yet."""
        super().__init__(target, options, seed=seed)
        self.damage: Damage | None = None
        self._random = random.Random(f"{seed} mischief")
        self._old: deque[tuple[bool, bytes, Address]] = deque(maxlen=_REMEMBERED)

    def from_client(self, data: bytes, client: Address) -> None:
        """Carry a client's packet, as the present damage has it."""
        self._old.append((True, data, client))
        self._pass(super().from_client, data, client)

    def from_target(self, data: bytes, client: Address) -> None:
        """Carry the target's packet, as the present damage has it."""
        self._old.append((False, data, client))
        self._pass(super().from_target, data, client)

    def set_losses(self, up: float, down: float) -> None:
        """Lose packets independently from now on, each way by its own share."""
        self._up.direction.set_loss(up)
        self._down.direction.set_loss(down)

    def move_clients(self) -> None:
        """From now on every client comes from another port: its path has changed."""
        while self._upstream:
            self._drop_oldest()

    def play_back(self, count: int) -> None:
        """Send up to `count` packets of the past once more, to where they went."""
        for up, data, client in self._random.sample(list(self._old), min(count, len(self._old))):
            (super().from_client if up else super().from_target)(data, client)

    def invent(self, count: int, make: Callable[[random.Random, bytes], bytes]) -> None:
        """Send `count` invented packets each way; `make` gets chance and a real packet of that way."""
        known = {up: [entry for entry in self._old if entry[0] is up] for up in (True, False)}
        for up, entries in known.items():
            for _ in range(count if entries else 0):
                _, real, client = self._random.choice(entries)
                (super().from_client if up else super().from_target)(make(self._random, real), client)

    def _pass(self, carry: Callable[[bytes, Address], None], data: bytes, client: Address) -> None:
        if self.damage is None or self._random.random() >= DAMAGED:
            carry(data, client)
        elif self.damage == "duplicated":
            for _ in range(self._random.randrange(2, 5)):
                carry(data, client)
        elif self.damage == "reordered":
            asyncio.get_running_loop().call_later(self._random.uniform(0.0, _LATEST), carry, data, client)
        elif self.damage == "truncated":
            carry(data[: self._random.randrange(len(data))], client)
        else:
            damaged = bytearray(data)
            damaged[self._random.randrange(len(data))] ^= self._random.randrange(1, 256)
            carry(bytes(damaged), client)


def noise(chance: random.Random, real: bytes) -> bytes:
    """Any bytes."""
    return chance.randbytes(chance.randrange(1, _LARGEST))


def garbage(chance: random.Random, real: bytes) -> bytes:
    """What looks like a packet of QUIC and is none: a right beginning, as anybody on the way sees it, and no right end.

    A first packet, a version negotiation, a Retry, a handshake packet, one of another version, or one of this very
    connection.
    """
    identities = chance.randbytes(1)[0] % 21, chance.randbytes(1)[0] % 21
    names = b"".join(bytes([length]) + chance.randbytes(length) for length in identities)
    rest = chance.randbytes(_SMALLEST_INITIAL)
    kind = chance.randrange(6)
    if kind == 0:
        return b"\xc3" + _QUIC_1 + names + b"\x00\x44\xb0" + rest
    if kind == 1:
        return b"\x80" + bytes(4) + names + chance.randbytes(4 * chance.randrange(4))
    if kind == 2:
        return b"\xf0" + _QUIC_1 + names + rest[: chance.randrange(80)]
    if kind == 3:
        return b"\xe0" + _QUIC_1 + names + b"\x40\xff" + rest[:255]
    if kind == 4:
        return b"\xc0" + chance.randbytes(4) + names + rest
    return real[:9] + chance.randbytes(max(len(real) - 9, 24))


class _Idle(asyncio.DatagramProtocol):
    """Clients on one port that go as far as the data centre's first reply."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._clients: dict[bytes, QuicConnection] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the port."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def begin(self) -> None:
        """Begin one more connection."""
        made = configuration(is_client=True, alpn=[ALPN], idle_timeout=60.0)
        made.verify_mode = ssl.CERT_NONE
        client = QuicConnection(configuration=made)
        client.connect(self._address, now=asyncio.get_running_loop().time())
        self._clients[client.host_cid] = client
        self._send(client)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer the address check (Retry), and nothing after it."""
        if len(data) < 6 or not data[0] & 0x80:
            return
        client = self._clients.get(data[6 : 6 + data[5]])
        if client is not None and data[0] & 0x30 == 0x30:
            client.receive_datagram(data, self._address, now=asyncio.get_running_loop().time())
            self._send(client)

    def _send(self, client: QuicConnection) -> None:
        assert self._transport is not None
        for data, _ in client.datagrams_to_send(now=asyncio.get_running_loop().time()):
            self._transport.sendto(data)


async def hold_idle(address: tuple[str, int], count: int, seconds: float) -> None:
    """Begin `count` connections to the data centre at `address`, say so, and hold them for `seconds`."""
    loop = asyncio.get_running_loop()
    transport, clients = await loop.create_datagram_endpoint(lambda: _Idle(address), remote_addr=address)
    for number in range(count):
        clients.begin()
        if number % _BURST == 0:
            await asyncio.sleep(_STEP)
    await asyncio.sleep(_STEP)
    print("open", flush=True)
    await asyncio.sleep(seconds)
    transport.close()


async def begin_idle(address: tuple[str, int], count: int, seconds: float) -> asyncio.subprocess.Process:
    """`hold_idle` in a process of its own, so that the attacker takes no time of the attacked one's event loop."""
    command = [sys.executable, "-m", __name__, address[0], str(address[1]), str(count), str(seconds)]
    return await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=asyncio.subprocess.PIPE)


def main() -> None:
    """Hold idle connections as the command line says."""
    host, port, count, seconds = sys.argv[1:]
    asyncio.run(hold_idle((host, int(port)), int(count), float(seconds)))


if __name__ == "__main__":
    main()
