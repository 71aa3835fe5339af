"""The emulated link loses, delays and rates what it was told to, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

import pytest

from sim.emulated_link import EmulatedLink

T = TypeVar("T")


class Collector(asyncio.DatagramProtocol):
    """Keeps packets with the time they came, and answers each if told to."""

    def __init__(self, answer: bool = False) -> None:
        self.packets: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.packets.put_nowait((asyncio.get_running_loop().time(), data))
        if self._answer and self._transport is not None:
            self._transport.sendto(data, addr)


async def endpoints(**options: float) -> tuple[EmulatedLink, Collector, Collector, asyncio.DatagramTransport]:
    """An open link to an echoing target, and a client of it."""
    loop = asyncio.get_running_loop()
    target, echo = await loop.create_datagram_endpoint(lambda: Collector(answer=True), local_addr=("127.0.0.1", 0))
    link = EmulatedLink(target.get_extra_info("sockname")[:2], **options)  # type: ignore[arg-type]
    await link.__aenter__()
    client, replies = await loop.create_datagram_endpoint(Collector, remote_addr=link.address)
    return link, echo, replies, client


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 30)

    return asyncio.run(limited())


async def decided(link: EmulatedLink, sent: int) -> None:
    """Until the fate of `sent` packets and of the echoes of those delivered is known."""
    while link.there.delivered + link.there.dropped < sent or (
        link.back.delivered + link.back.dropped < link.there.delivered
    ):
        await asyncio.sleep(0)


def test_without_loss_everything_arrives_in_order() -> None:
    async def test() -> None:
        link, echo, replies, client = await endpoints()
        sent = [bytes([number]) * 10 for number in range(100)]
        for packet in sent:
            client.sendto(packet)
        assert [(await echo.packets.get())[1] for _ in sent] == sent
        assert [(await replies.packets.get())[1] for _ in sent] == sent
        assert (link.there.delivered, link.there.dropped, link.back.delivered) == (100, 0, 100)
        await link.__aexit__(None, None, None)

    run(test())


def test_loss_is_drawn_from_the_seed_each_way_on_its_own() -> None:
    async def lost(seed: int) -> tuple[list[int], int]:
        link, echo, _, client = await endpoints(loss=0.2, seed=seed)
        came = []
        for number in range(400):
            client.sendto(number.to_bytes(2, "big"))
            await decided(link, number + 1)
        while not echo.packets.empty():
            came.append(int.from_bytes(echo.packets.get_nowait()[1], "big"))
        await link.__aexit__(None, None, None)
        assert len(came) == link.there.delivered
        return came, link.back.dropped

    async def test() -> None:
        first, again, other = await lost(1), await lost(1), await lost(2)
        assert first == again
        assert first[0] != other[0]
        # 20 % of 400, within four standard errors; the way back loses its share of what arrived.
        assert abs(len(first[0]) - 320) < 32
        assert 0.1 < first[1] / len(first[0]) < 0.3

    run(test())


def test_a_delay_holds_every_packet_back() -> None:
    async def test() -> None:
        link, echo, replies, client = await endpoints(delay=0.05)
        begin = asyncio.get_running_loop().time()
        client.sendto(b"x")
        assert (await echo.packets.get())[0] - begin >= 0.05
        assert (await replies.packets.get())[0] - begin >= 0.1
        await link.__aexit__(None, None, None)

    run(test())


def test_a_rate_spaces_packets_and_drops_what_no_longer_queues() -> None:
    async def test() -> None:
        link, echo, _, client = await endpoints(rate=100_000.0)
        begin = asyncio.get_running_loop().time()
        for _ in range(50):
            client.sendto(bytes(1_000))  # 10 ms each
        arrivals = [(await echo.packets.get())[0] - begin for _ in range(11)]
        assert all(came >= 0.01 * (number + 1) for number, came in enumerate(arrivals))
        assert link.there.overflowed > 30
        await link.__aexit__(None, None, None)

    run(test())


def test_a_link_that_cannot_be_is_refused() -> None:
    for options in ({"loss": 1.5}, {"loss": -0.1}, {"delay": -1.0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="expected 0 to 1"):
            EmulatedLink(("127.0.0.1", 9), **options)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not open"):
        EmulatedLink(("127.0.0.1", 9)).address  # noqa: B018
