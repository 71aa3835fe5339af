"""Structured QUIC packets, encrypted as they should be, at both ends of the link in memory, a number of them in all.

    python -m tests.fuzz.quic [--packets 100000] [--seed 1] [--out build/fuzz]

Bytes alone hardly get past a packet's encryption, so here the packets are made with the connection's own keys: random
frames with random and hostile fields, before a handshake, in it and after it, from a stranger, from an enrolled edge
and from a data centre. An attack is a connection and what is sent over it, in virtual time. After each packet both must
hold: no exception got out, and what is kept is within its bounds; after each attack nothing of it is left. The result
is `quic.json` in the folder `--out`. Whatever goes wrong says with which seed and attack it comes again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import random
import resource
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

from edgesight.host.files import write_atomically
from edgesight.host.link import bounds
from edgesight.host.link.bounds import BoundedProtocol
from edgesight.host.link.keys import ALPN, ENROLL_ALPN
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.link.virtual import run_virtual
from tests.host.packets import (
    DATACENTER,
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

SECONDS = 0.5  # that a packet may take on a busy machine
_ROOM = 1_080  # bytes of frames in a packet
_AFTERWARDS = 40.0  # virtual seconds after which nothing of an attack is left: patience and silence are over
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 9, 63, 64, 255, 4_096, 8_191, 8_192, 16_383, 16_384, 65_535, 65_536, 1 << 20, 1 << 30)
_LARGEST = (1 << 62) - 1
_KINDS = (0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 8, 8, 8, *range(0x10, 0x1F), 0x18, 0x19, 0x30, 0x31, 0x31, 64)
_IN_HANDSHAKES = (0, 1, 2, 2, 6, 6, 6, 6)
_LASTING = (1, 2, 6, 8, 0x10, 0x11, 0x14, 0x16, 0x18, 0x18, 0x19, 0x1A, 0x1B, 0x31)  # do not end a connection at once
_EPOCHS = (Epoch.INITIAL, Epoch.HANDSHAKE, Epoch.ONE_RTT)


class Wrong(AssertionError):
    """What must never be was found."""


@dataclass
class Outcome:
    """What came of all packets."""

    seed: int
    packets: int = 0
    attacks: int = 0
    honest: int = 0  # edges that were let in meanwhile
    seconds: float = 0.0
    most_kept: int = 0  # bytes of one connection
    most_pieces: int = 0
    most_entries: int = 0
    slowest_ms: float = 0.0  # CPU of one packet
    peak_rss_mb: int = 0
    caught: dict[str, int] = field(default_factory=dict)  # exceptions of the library, by name; each ended a connection
    cut_off: dict[str, int] = field(default_factory=dict)  # why connections were ended


class _Frames:
    """Makes frames by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self._step = 0  # so that some offsets and numbers go on where the last ones ended
        self._identity = 7  # as many as an honest client tells of
        self._mild = chance.random() < 0.7  # fields that are mostly right: it gets further
        self._kinds = chance.choices(_LASTING, k=chance.randrange(1, 5)) if chance.random() < 0.7 else _KINDS

    def number(self) -> int:
        """A field: small, near a limit, in a row, or huge."""
        chance = self.chance
        kind = chance.randrange(8)
        if self._mild and chance.random() < 0.97:
            kind = chance.choice((0, 6))
        if kind < 3:
            return chance.randrange(12)
        if kind < 5:
            return max(chance.choice(_NUMBERS) + chance.randrange(-1, 2), 0)
        if kind < 7:
            self._step += chance.randrange(1, 4)
            return self._step
        return chance.choice((_LARGEST, _LARGEST - 1, 1 << 60, (1 << 60) + 1, chance.randrange(_LARGEST)))

    def field(self) -> bytes:
        return varint(self.number())

    def data(self, most: int = 40) -> bytes:
        """A length and so many bytes; now and then the length is a lie."""
        data = self.chance.randbytes(self.chance.randrange(most))
        length = self.number() if self.chance.random() < 0.03 else len(data)
        return varint(length) + data

    def tls(self) -> bytes:
        """Something like a message of TLS, or the begin of a long one."""
        chance = self.chance
        body = chance.randbytes(chance.randrange(60))
        length = len(body) if chance.random() < 0.7 else chance.choice((0, 5, 4_000, 0xFFFFFF))
        return bytes([chance.choice((0, 1, 2, 4, 8, 11, 13, 15, 20, 24, 255))]) + length.to_bytes(3, "big") + body

    def one(self, handshake: bool) -> bytes:
        """A frame of any type, mostly of one that the handshake may have where it is for that."""
        chance = self.chance
        kind = chance.choice(_IN_HANDSHAKES if handshake and chance.random() < 0.98 else self._kinds)
        if kind == 0:
            return bytes(chance.randrange(1, 20))
        if kind == 1 or kind == 0x1E:
            return bytes([kind])
        if kind in (2, 3):
            ranges = chance.choice((0, 0, 1, 2) if self._mild else (0, 1, 30, 200))
            claimed = self.number() if chance.random() < 0.1 and not self._mild else ranges
            gaps = b"".join(varint(chance.randrange(3)) + varint(chance.randrange(3)) for _ in range(ranges))
            counts = self.field() + self.field() + self.field() if kind == 3 else b""
            largest = varint(4 * ranges + 8 + chance.randrange(60)) if self._mild else self.field()
            return bytes([kind]) + largest + self.field() + varint(claimed) + self.field() + gaps + counts
        if kind == 6:
            data = self.tls() if chance.random() < 0.3 else chance.randbytes(chance.randrange(1, 12))
            return b"\x06" + self.field() + varint(len(data)) + data
        if kind == 7:
            return b"\x07" + self.data()
        if kind == 8:
            flags = chance.randrange(8)
            offset = self.field() if flags & 4 else b""
            data = self.data() if flags & 2 else chance.randbytes(chance.randrange(20))
            return bytes([8 | flags]) + self.stream() + offset + data
        if kind in (4, 0x11, 0x15, 5):
            return bytes([kind]) + self.stream() + self.field() + (self.field() if kind == 4 else b"")
        if kind == 0x18:
            length = 8 if self._mild else chance.choice((8, 8, 8, 8, 0, 1, 20, 21))
            number, retire = self.number(), self.number()
            if self._mild:
                self._identity += chance.choice((0, 0, 1, 1, 2))
                number, retire = self._identity, chance.choice((0, self._identity, self._identity - 1))
            return b"\x18" + varint(number) + varint(retire) + bytes([length]) + chance.randbytes(length + 16)
        if kind in (0x1A, 0x1B):
            return bytes([kind]) + chance.randbytes(8)
        if kind in (0x1C, 0x1D):
            if chance.random() < 0.9:  # else no connection would live long
                return b"\x01"
            return bytes([kind]) + self.field() + (self.field() if kind == 0x1C else b"") + self.data(200)
        if kind == 0x30:
            return b"\x30" + chance.randbytes(chance.randrange(60))
        if kind == 0x31:
            return b"\x31" + self.data(100)
        if kind == 64:
            return varint(self.number())
        return bytes([kind]) + self.field()

    def stream(self) -> bytes:
        return b"\x00" if self._mild else varint(self.chance.choice((0, 0, 0, 0, 1, 2, 3, 4, 8, 400, self.number())))

    def packet(self, handshake: bool) -> bytes:
        """The frames of a packet: a few, or one kind of them over and over."""
        chance = self.chance
        style = chance.randrange(10)
        if style == 1 and not handshake:
            return b"\x1a" + chance.randbytes(8)  # alone, it may come from another address and change no path
        if style == 0:
            one = self.one(handshake)
            frames = one * chance.randrange(2, 1 + max(2, _ROOM // len(one)))
        else:
            frames = b"".join(self.one(handshake) for _ in range(chance.choice((1, 1, 2, 3, 5, 30))))
        if chance.random() < 0.03:
            frames = frames[: chance.randrange(1, len(frames) + 1)]
        return frames[:_ROOM]


class Fuzzer:
    """Attacks one after the other."""

    def __init__(self, trust: Trust, seed: int) -> None:
        self.outcome = Outcome(seed)
        self._trust = trust
        self._complaints: list[Any] = []
        self._caught: Counter[str] = Counter()
        self._cut_off: Counter[str] = Counter()

    async def run(self, packets: int) -> None:
        """Attack until so many packets were handed over; raises Wrong."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self._complaints.append(context))
        begin = time.monotonic()
        with datacentre(self._trust) as dc:
            while self.outcome.packets < packets:
                number = self.outcome.attacks
                chance = random.Random(f"{self.outcome.seed} {number}")
                try:
                    await self._attack(dc, chance, packets)
                    if number % 100 == 0:
                        await self._let_an_honest_edge_in(dc)
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                    raise Wrong(f"seed {self.outcome.seed}, attack {number}: {found}") from error
                self.outcome.attacks += 1
        self.outcome.seconds = round(time.monotonic() - begin, 1)
        self.outcome.caught = dict(self._caught.most_common())
        self.outcome.cut_off = dict(self._cut_off.most_common(30))
        self.outcome.peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    async def _attack(self, dc: DataCentre, chance: random.Random, packets: int) -> None:
        frames = _Frames(chance)
        attack: AttackedEdge | None = None
        victim: BoundedProtocol | None
        if chance.random() < 0.3:
            attack = AttackedEdge(self._trust, dc.authority)
            for _ in range(chance.choice((0, 1, 12))):
                await attack.exchange(1)
            theirs, victim = attack.theirs, attack.peer
        else:
            theirs = edge(self._trust.edge) if chance.random() < 0.4 else stranger(chance.choice((ENROLL_ALPN, ALPN)))
            theirs.connect(DATACENTER, now=asyncio.get_running_loop().time())
            await dc.exchange(theirs, rounds=chance.choice((1, 2, 12, 12)))
            if chance.random() < 0.5 and theirs._handshake_complete:
                theirs.send_stream_data(0, hello())
                await dc.exchange(theirs, rounds=6)
            victim = next(iter(dc.peers), None)
        moves = chance.random() < 0.3
        for _ in range(chance.choice((3, 10, 40))):
            data = self._make(theirs, frames)
            if data is None or self.outcome.packets >= packets:
                break
            address = ("127.0.0.1", 40_000 + (chance.randrange(12) if moves and chance.random() < 0.4 else 0))
            begin = time.thread_time()
            if attack is not None:
                attack.peer.datagram_received(data, DATACENTER)
            else:
                dc.take(data, address)
            self._look(time.thread_time() - begin)
            assert not dc.failures, dc.failures
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.0, 0.002, 0.3)))  # sleeps: virtual time
            if attack is not None:
                attack.transport.take() if chance.random() < 0.5 else await self._answer(attack.exchange(1))
            elif chance.random() < 0.5:
                dc.transport.take()
            else:
                await self._answer(dc.exchange(theirs, rounds=1))
            victim = victim or next(iter(dc.peers), None)
            if victim is not None:
                self._measure(victim)
                if victim._ended:
                    break
        await asyncio.sleep(_AFTERWARDS)  # sleeps: virtual time
        dc.transport.take()
        assert not dc.peers, "a connection is still there"
        assert not dc.port._protocols, "a name of a connection is still there"
        assert not dc.server._half_open and not dc.server._peers, "a connection is still counted"  # noqa: PT018
        assert not self._complaints, self._complaints
        for one in [*dc.ended, *([attack.peer] if attack is not None else [])]:
            self._note(one)
        dc.ended.clear()
        dc.got.clear()

    @staticmethod
    async def _answer(exchange: Any) -> None:
        """Let the attacker's own end take part; what its library thinks of it is no matter."""
        try:
            await exchange
        except AssertionError:
            raise
        except Exception:
            return

    def _make(self, theirs: QuicConnection, frames: _Frames) -> bytes | None:
        """A datagram of one packet or several; None where the attacker has no keys any more."""
        chance = frames.chance
        epochs = [one for one in _EPOCHS if one in theirs._cryptos and theirs._cryptos[one].send.is_valid()]
        if not epochs:
            return None
        data = b""
        for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
            epoch = epochs[-1] if chance.random() < 0.7 else chance.choice(epochs)
            if chance.random() < 0.1:
                theirs._packet_number += chance.choice((1, 2, 200, 70_000))
            made = packet(theirs, frames.packet(epoch is not Epoch.ONE_RTT), epoch)
            if len(data) + len(made) > bounds.LARGEST_PACKET:
                break
            data += made
            if epoch is Epoch.ONE_RTT:
                break  # nothing can stand behind it
        if chance.random() < 0.05 and data:
            damaged = bytearray(data)
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            data = bytes(damaged)
        self.outcome.packets += 1
        return data

    def _look(self, seconds: float) -> None:
        self.outcome.slowest_ms = max(self.outcome.slowest_ms, round(seconds * 1e3, 1))
        assert seconds < SECONDS, f"one packet took {seconds:.3f} s"
        assert not self._complaints, self._complaints

    def _measure(self, victim: BoundedProtocol) -> None:
        """Once a packet is dealt with: what is kept is within its bounds."""
        quic, outcome = victim._quic, self.outcome
        outcome.most_kept = max(outcome.most_kept, kept(quic))
        outcome.most_pieces = max(outcome.most_pieces, pieces(quic))
        outcome.most_entries = max(outcome.most_entries, entries(quic))
        assert kept(quic) <= bounds._KEPT, f"{kept(quic)} bytes are kept"
        assert pieces(quic) <= bounds._PIECES, f"{pieces(quic)} pieces are kept"
        assert entries(quic) <= bounds._ENTRIES + 3 * bounds._ACK_RANGES, f"{entries(quic)} entries are kept"

    def _note(self, ended: BoundedProtocol) -> None:
        reason = ended.cut_off
        if reason is None:
            return
        _, fault, rest = reason.partition("its packets cannot be handled (")
        if fault:
            self._caught[rest.partition(",")[0]] += 1
            reason = "an exception of the library"
        self._cut_off[reason] += 1

    async def _let_an_honest_edge_in(self, dc: DataCentre) -> None:
        client = edge(self._trust.edge)
        peer = await dc.let_in(client, ("127.0.0.1", 50_000))
        assert peer.trusted, "an honest edge was not let in"
        self.outcome.honest += 1
        client.close()
        await dc.exchange(client, ("127.0.0.1", 50_000))
        await asyncio.sleep(_AFTERWARDS)  # sleeps: virtual time


def fuzz(packets: int, seed: int) -> Outcome:
    """Hand over so many packets; raises Wrong saying what was found."""
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(make_trust(Path(folder)), seed)
        run_virtual(fuzzer.run(packets), LinkOptions())
    return fuzzer.outcome


def main() -> None:
    """Do what the command line asks for; exit code 1 where something was wrong."""
    parser = argparse.ArgumentParser(description="Structured QUIC packets at both ends in memory.")
    parser.add_argument("--packets", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    chosen = parser.parse_args()
    logging.disable()
    outcome = fuzz(chosen.packets, chosen.seed)
    body = {
        **asdict(outcome),
        "versions": {"python": platform.python_version(), "aioquic": version("aioquic")},
        "cores": os.cpu_count(),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_atomically(chosen.out / "quic.json", (json.dumps(body, indent=1) + "\n").encode())
    print(
        f"{outcome.packets} packets in {outcome.attacks} attacks, {outcome.seconds:.0f} s, nothing wrong; at most "
        f"{outcome.most_kept} bytes, {outcome.most_pieces} pieces, {outcome.most_entries} entries, "
        f"{outcome.slowest_ms} ms, {outcome.peak_rss_mb} MB; caught {outcome.caught or 'no exception'}"
    )


if __name__ == "__main__":
    main()
