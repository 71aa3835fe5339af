"""Images over QUIC streams between both ends on loopback, with more of them than the data centre lets be open."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.link.peers import quic
from edgesight.bench.link.workload import Unanswered
from edgesight.sim.link.trust import make_trust

IMAGE = np.zeros((28, 28, 1), np.uint8)
OPEN_AT_ONCE = 128  # streams that aioquic lets a peer open at first


class Slow:
    """A back end that answers nothing until it is told to."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def reply(self, payload: bytes, left_s: float) -> bytes:
        await self.answers.wait()
        return bytes([1, 0, payload[0]])


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_request_that_is_taken_back_before_its_stream_may_be_opened_does_not_end_the_connection(
    tmp_path: Path,
) -> None:
    trust = make_trust(tmp_path)
    port = free_port()

    async def main() -> None:
        back_end = Slow()
        async with (
            quic.serving(back_end, trust.datacenter, "127.0.0.1", port),  # type: ignore[arg-type]
            quic.asking(trust.edge, "127.0.0.1", port) as ask,
        ):
            asked = [ask(IMAGE, 0.5) for _ in range(2 * OPEN_AT_ONCE)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(one, Unanswered) for one in found), {str(one) for one in found}
            back_end.answers.set()
            assert [await ask(IMAGE + number, 5.0) for number in range(5)] == list(range(5))

    asyncio.run(main())
