"""Links as a TCP relay: bytes come whole and in order, as fast as the trace has it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable

import numpy as np
import pytest

from edgesight.sim.link import tcp_relay
from edgesight.sim.link.tcp_relay import Carried, StreamLink, Task, relaying

CONTENT = np.random.default_rng(0).bytes(250_000)


def run(test: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test, 60)

    asyncio.run(limited())


@contextlib.asynccontextmanager
async def counting() -> AsyncIterator[tuple[str, int]]:
    """A server that says back each 1,000 bytes that it has read by one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                writer.write((await reader.readexactly(1_000))[:1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield host, port


async def sent(port: int, content: bytes) -> tuple[bytes, float]:
    """What comes back, and seconds until all has."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()
    writer.write(content)
    found = await reader.readexactly(len(content) // 1_000)
    took = time.monotonic() - begun
    writer.close()
    return found, took


@pytest.mark.parametrize("mbps", [10.0, 40.0])
def test_bytes_come_in_order_no_faster_than_the_link(mbps: float) -> None:
    async def test() -> None:
        async with (
            counting() as target,
            relaying(Task(target, (StreamLink((mbps,)),), time.monotonic(), 0.005)) as ports,
        ):
            found, took = await sent(ports[0], CONTENT)
        assert found == CONTENT[::1_000]
        assert took > (len(CONTENT) - 1_500) * 8e-6 / mbps  # a busy machine may take longer

    run(test())


def test_links_do_not_share_and_connections_of_one_link_do() -> None:
    async def test() -> None:
        links = (StreamLink((20.0,)), StreamLink((20.0,)))
        async with counting() as target, relaying(Task(target, links, time.monotonic())) as ports:
            alone = await sent(ports[0], CONTENT)
            apart = await asyncio.gather(sent(ports[0], CONTENT), sent(ports[1], CONTENT))
            together = await asyncio.gather(sent(ports[0], CONTENT), sent(ports[0], CONTENT))
        assert all(found == CONTENT[::1_000] for found, _ in (alone, *apart, *together))
        assert max(took for _, took in together) > 2 * (len(CONTENT) - 1_500) * 8e-6 / 20.0
        assert min(took for _, took in apart) < 2 * alone[1]

    run(test())


def test_what_waits_in_the_relay_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[tcp_relay._Way] = []
    made = tcp_relay._Way.__init__

    def remember(self: tcp_relay._Way, *given: object) -> None:
        made(self, *given)  # type: ignore[arg-type]
        ways.append(self)

    monkeypatch.setattr(tcp_relay._Way, "__init__", remember)

    async def test() -> None:
        async with (
            counting() as target,
            relaying(Task(target, (StreamLink((8.0,)),), time.monotonic())) as ports,
        ):
            sending = asyncio.create_task(sent(ports[0], CONTENT * 4))
            most = 0
            while not sending.done():
                await asyncio.sleep(0.005)  # sleeps: between two looks
                most = max(most, ways[0].waiting)
        assert (await sending)[0] == (CONTENT * 4)[::1_000]
        assert 0 < most <= tcp_relay._MOST + (256 << 10)  # and what was read at once

    run(test())


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    async def test() -> None:
        async with relaying(Task(("127.0.0.1", 9), (StreamLink((8.0,)),), time.monotonic())) as ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    run(test())


def test_a_trace_begins_where_it_is_told_and_anew_after_its_end() -> None:
    carried = Carried(StreamLink((8.0, 16.0, 0.0), offset_s=0.5))
    assert carried(0.5) - carried(0.0) == pytest.approx(0.5e6)
    assert carried(1.5) - carried(0.5) == pytest.approx(2e6)
    assert carried(2.5) - carried(1.5) == pytest.approx(0.0, abs=1.0)
    assert carried(4.0) - carried(1.0) == pytest.approx(3e6, abs=1.0)
    assert carried(0.0) - carried(-0.5) == pytest.approx(0.5e6)
