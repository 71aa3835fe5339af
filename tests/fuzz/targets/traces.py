"""Anything as a trace of a link's rate: of Mahimahi's kind, or of Mbit/s."""

from __future__ import annotations

import json

from edgesight.sim.link.model import Direction
from edgesight.sim.link.options import EmulationError, LinkOptions, MahimahiTrace, Rate, RateTrace
from tests.fuzz.package import scratch

MAX_LENGTH = 400
FILE = scratch() / "trace"


def seeds() -> list[bytes]:
    return [b"0\n1\n1\n7\n", b"0.5\n20\n\n3e1\n"]


def consume(data: bytes) -> None:
    FILE.write_bytes(data)
    for kind in (MahimahiTrace, RateTrace):
        try:
            rate: Rate = kind.read(FILE)
        except EmulationError:
            continue
        direction = Direction(LinkOptions(rate=rate), "1", 0.0)
        direction.offer(0.0, 100)
        json.dumps(direction.report())
