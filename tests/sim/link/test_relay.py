"""The relay loses, delays and rates what it was told to, and says so."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from edgesight.cli.link import relay
from edgesight.host.link.addresses import AddressError
from edgesight.sim.link.options import (
    BandwidthDelayProducts,
    ConstantRate,
    EmulationError,
    LinkOptions,
    Packets,
)
from edgesight.sim.link.relay import RelayLink
from tests.waiting import until

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


async def endpoints(seed: int = 0, **options: Any) -> tuple[RelayLink, Collector, Collector, asyncio.DatagramTransport]:
    """An open link to an echoing target, and a client of it."""
    loop = asyncio.get_running_loop()
    target, echo = await loop.create_datagram_endpoint(lambda: Collector(answer=True), local_addr=("127.0.0.1", 0))
    link = RelayLink(target.get_extra_info("sockname")[:2], LinkOptions(**options), seed=seed)
    await link.__aenter__()
    client, replies = await loop.create_datagram_endpoint(Collector, remote_addr=link.address)
    return link, echo, replies, client


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 30)

    return asyncio.run(limited())


async def decided(link: RelayLink, sent: int) -> None:
    """Until the fate of `sent` packets and of the echoes of those delivered is known."""
    await until(
        lambda: link.up.delivered + link.up.lost >= sent and link.down.delivered + link.down.lost >= link.up.delivered
    )


def test_without_loss_everything_arrives_in_order() -> None:
    async def test() -> None:
        link, echo, replies, client = await endpoints()
        sent = [bytes([number]) * 10 for number in range(100)]
        for packet in sent:
            client.sendto(packet)
        assert [(await echo.packets.get())[1] for _ in sent] == sent
        assert [(await replies.packets.get())[1] for _ in sent] == sent
        assert (link.up.delivered, link.up.lost, link.down.delivered) == (100, 0, 100)
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
        assert len(came) == link.up.delivered
        return came, link.down.lost

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
        link, echo, replies, client = await endpoints(delay_s=0.05)
        begin = asyncio.get_running_loop().time()
        client.sendto(b"x")
        assert (await echo.packets.get())[0] - begin >= 0.05
        assert (await replies.packets.get())[0] - begin >= 0.1
        await link.__aexit__(None, None, None)

    run(test())


def test_a_rate_spaces_packets_and_drops_what_no_longer_queues() -> None:
    async def test() -> None:
        link, echo, _, client = await endpoints(rate=ConstantRate(1_000 * 8 * 100), queue=Packets(10))
        begin = asyncio.get_running_loop().time()
        for _ in range(50):
            client.sendto(bytes(972))  # 10 ms each, headers included
        arrivals = [(await echo.packets.get())[0] - begin for _ in range(10)]
        assert all(came >= 0.01 * (number + 1) for number, came in enumerate(arrivals))
        assert link.up.overflowed > 30
        await link.__aexit__(None, None, None)

    run(test())


def test_packets_held_back_are_overtaken() -> None:
    async def test() -> None:
        link, echo, _, client = await endpoints(reorder=0.3, reorder_s=0.05, seed=1)
        for number in range(50):
            client.sendto(bytes([number]))
        came = [(await echo.packets.get())[1][0] for _ in range(50)]
        late = came[50 - link.up.reordered :]
        assert 0 < link.up.reordered < 50
        assert sorted(came) == list(range(50))
        assert late == sorted(late)
        assert came[: 50 - link.up.reordered] == sorted(set(range(50)) - set(late))
        await link.__aexit__(None, None, None)

    run(test())


def test_a_report_tells_options_and_counts_of_both_directions() -> None:
    async def test() -> None:
        link, _, replies, client = await endpoints(delay_s=0.001)
        client.sendto(b"x")
        await replies.packets.get()
        report = link.report()
        assert report["up"]["options"]["delay_ms"] == 1.0
        assert [report[way]["delivered"] for way in ("up", "down")] == [1, 1]
        assert [report[way]["delivered_bytes"] for way in ("up", "down")] == [29, 29]
        await link.__aexit__(None, None, None)

    run(test())


def test_a_link_that_cannot_be_is_refused() -> None:
    with pytest.raises(EmulationError, match="needs a rate and a delay"):
        RelayLink(("127.0.0.1", 9), LinkOptions(delay_s=0.01, queue=BandwidthDelayProducts(1.0)))
    with pytest.raises(RuntimeError, match="not open"):
        RelayLink(("127.0.0.1", 9), LinkOptions()).address  # noqa: B018


def test_the_command_relays_until_it_is_told_to_end_and_reports(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(20.0)
        port = target.getsockname()[1]
        body = (
            "from pathlib import Path; from edgesight.sim.link.relay import relay;"
            "from edgesight.sim.link.options import LinkOptions;"
            f"relay(('127.0.0.1', {port}), LinkOptions.parse('delay-ms=1'), report=Path({str(report)!r}))"
        )
        command = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, text=True)
        assert command.stdout is not None
        address = command.stdout.readline().split()[1]
        assert address.startswith("127.0.0.1:")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("127.0.0.1", int(address.rpartition(":")[2])))
            assert target.recv(100) == b"hello"
        command.send_signal(signal.SIGTERM)
        assert command.wait(20) == 0
        command.stdout.close()
    assert json.loads(report.read_text())["up"]["delivered"] == 1


@pytest.mark.parametrize("address", ["[]:1", ":1", "h:65536", "h:" + "9" * 5_000])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="expected HOST:PORT"):
        relay(address, up="rate=1")
    with pytest.raises(AddressError, match=r"--listen .*: expected HOST:PORT"):
        relay("h:1", up="rate=1", listen=address)
