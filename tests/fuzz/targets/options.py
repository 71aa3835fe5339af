"""Anything as an emulated link's options, as a person writes them."""

from __future__ import annotations

import json

from edgesight.sim.link.model import Direction
from edgesight.sim.link.options import EmulationError, LinkOptions

MAX_LENGTH = 200


def seeds() -> list[bytes]:
    return [
        b"rate=20,delay-ms=20,loss=0.05,burst=4,queue=1bdp",
        b"rate=0.5,delay-ms=3,jitter-ms=2,reorder=0.1,reorder-ms=5,queue=20",
        b"rate=mbit:none",
    ]


def consume(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    if "/" in text:
        return  # names any file of this machine
    try:
        options = LinkOptions.parse(text)
        direction = Direction(options, "1", 2 * options.delay_s)
    except EmulationError as error:
        str(error)
        return
    direction.offer(0.0, 100)
    json.dumps(direction.report())
