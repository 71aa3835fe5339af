"""Anything as a QUIC datagram: its messages are packed again as the very bytes that came."""

from __future__ import annotations

import numpy as np

from edgesight.host.link.datagrams import MAX_DATAGRAM, Cancel, LinkError, Reply, Status, Trace, parse
from edgesight.host.link.strips import cut

MAX_LENGTH = MAX_DATAGRAM + 8


def seeds() -> list[bytes]:
    grey, colour = np.zeros((8, 8, 1), np.uint8), np.full((64, 64, 3), 90, np.uint8)
    strips = cut(grey, request=1, left_ms=50, parity=1, accuracy=0.9)
    reply = Reply(1, Status.ANSWERED, 3, 1, 700, 2).pack()
    return [
        strips[0],
        b"".join(strips),
        cut(colour, request=2**47, left_ms=9)[0],
        Cancel(7).pack(),
        Trace(7, "00-" + "1" * 32 + "-" + "2" * 16 + "-01").pack(),
        reply,
        Cancel(7).pack() + reply,
    ]


def consume(data: bytes) -> None:
    try:
        messages = parse(data)
    except LinkError:
        return
    assert b"".join(message.pack() for message in messages) == data
