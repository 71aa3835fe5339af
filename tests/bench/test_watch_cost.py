"""What watching costs is told by pairs of blocks, and what it leaves in memory by an hour; either bar can be missed."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.bench.watch import cost
from edgesight.bench.watch.cost import Block, Replay, found_of, growth_of, lost_of
from edgesight.bench.watch.onlookers import Connection, Onlooker, OnlookerError, browser
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual

STEPS = 90
Floats = npt.NDArray[np.float64]
HOUR_BYTES = cost.PER_SECOND * cost.HOUR / 2**20  # MiB of a byte a picture


def times(slower: float, noise: float = 0.2, count: int = cost.PAIRS) -> tuple[list[float], list[float]]:
    """Seconds of pairs on a machine whose speed comes and goes, the second of each pair so much slower."""
    generator = np.random.default_rng(3)
    speed = 1 + noise * np.abs(np.sin(np.arange(count)))
    own = generator.normal(1.0, 0.02, (2, count))
    return list(speed * own[0]), list(speed * own[1] / (1 - slower))


def met(slower: float, memory: Floats) -> list[bool]:
    plain, watched = times(slower)
    blocks = [(Block(a, 0.9 * a, 0.7 * a), Block(b, 0.9 * b, 0.7 * b)) for a, b in zip(plain, watched, strict=True)]
    found = found_of(blocks, Replay(memory.tolist(), 100.0, 500, 3_600, 7_200, 1_600), {"edge": 100.0})
    return [check.met for check in found.checks]


def test_the_cost_is_what_is_lost_within_pairs_however_the_machine_changes() -> None:
    for slower in (0.0, 0.02, 0.1):
        lost, low, high = lost_of(*times(slower))
        assert low < lost < high
        assert abs(lost - 100 * slower) < 1
        assert low < 100 * slower < high


def test_an_allocation_more_is_no_growth_and_a_leak_is() -> None:
    rise = np.arange(STEPS) / STEPS
    for at in range(STEPS):
        stepped = 100 + (np.arange(STEPS) >= at)
        assert growth_of(stepped.tolist()) < cost.GROWTH
    warming = 100 + 20 * np.exp(-np.arange(STEPS))
    assert growth_of(warming.tolist()) < 0.1
    for leak in (20, 100):
        assert abs(growth_of((100 + leak * HOUR_BYTES * rise).tolist()) - leak * HOUR_BYTES) < 0.01
    assert growth_of((100 + np.floor(100 * HOUR_BYTES * rise)).tolist()) > 4 * cost.GROWTH


def test_each_bar_can_be_missed() -> None:
    flat = np.full(STEPS, 100.0)
    leaking = flat + 20 * HOUR_BYTES * np.arange(STEPS) / STEPS
    assert met(0.01, flat) == [True, True]
    assert met(0.05, flat) == [False, True]
    assert met(0.01, leaking) == [True, False]


def test_a_connection_that_the_door_closed_is_made_anew_and_one_that_breaks_is_told() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + path)
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(once, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Connection(f"127.0.0.1:{port}") as connection:
            for _ in range(3):
                assert await connection.get("/abc") == (200, b"/abc")
                while not connection._reader.at_eof():
                    await asyncio.sleep(0)
            with pytest.raises(OnlookerError, match="hung up in the midst of an answer"):
                await connection.get("/a")

    asyncio.run(test())


def test_an_edge_without_a_live_page_is_told() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, browser(f"127.0.0.1:{port}") as viewer:
            with pytest.raises(OnlookerError, match="the edge shows no live page, but answers 404"):
                await viewer.look()

    asyncio.run(test())


def test_who_looks_on_in_pieces_does_so_as_often_as_in_one() -> None:
    async def looks(piece: float, count: int) -> int:
        seen = list[None]()

        async def look() -> None:
            seen.append(None)

        onlooker = Onlooker(look, 1.0)
        for _ in range(count):
            async with onlooker.meanwhile():
                await asyncio.sleep(piece)  # sleeps: in virtual time
            await asyncio.sleep(5.0)  # sleeps: in virtual time
        return len(seen)

    async def test() -> None:
        assert await looks(10.0, 1) == 10
        assert await looks(0.1, 100) == 10

    run_virtual(test(), LinkOptions())
