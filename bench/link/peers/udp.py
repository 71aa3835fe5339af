"""Images over plain UDP: datagrams that nothing repairs or holds back."""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesight.bench.link.peers.back_end import BackEnd, label_of
from edgesight.bench.link.workload import Ask, Pixels, Unanswered, encode

_PART = struct.Struct("!IHHH")  # request, milliseconds until the deadline, part, parts
_PART_BYTES = 1_100  # of payload in a datagram: as many as the largest strip has
_PARTIAL = 256  # requests of which not all parts have come


@dataclass
class _Parts:
    count: int
    left_ms: int
    came: dict[int, bytes] = field(default_factory=dict)


class _UdpServer(asyncio.DatagramProtocol):
    def __init__(self, back_end: BackEnd) -> None:
        self._back_end = back_end
        self._partial: OrderedDict[int, _Parts] = OrderedDict()
        self._at_work: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._udp: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        number, left_ms, part, parts = _PART.unpack_from(data)
        request = self._partial.setdefault(number, _Parts(parts, left_ms))
        request.came[part] = data[_PART.size :]
        if len(request.came) == request.count:
            del self._partial[number]
            content = b"".join(request.came[index] for index in range(request.count))
            task = asyncio.get_running_loop().create_task(self._reply(number, content, request.left_ms * 1e-3, addr))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        elif len(self._partial) > _PARTIAL:
            self._partial.popitem(last=False)

    async def _reply(self, number: int, content: bytes, left_s: float, client: Any) -> None:
        reply = await self._back_end.reply(content, left_s)
        self._udp.sendto(_PART.pack(number, 0, 0, 1) + reply, client)


class _UdpClient(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._next = 0

    def connection_made(self, transport: Any) -> None:
        self._udp: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        waiting = self._open.get(_PART.unpack_from(data)[0])
        if waiting is not None and not waiting.done():
            waiting.set_result(data[_PART.size :])

    async def ask(self, image: Pixels, left_s: float) -> int:
        number, self._next = self._next, self._next + 1
        reply = self._open[number] = asyncio.get_running_loop().create_future()
        content = encode(image)
        parts = range(0, len(content), _PART_BYTES)
        left_ms = min(max(int(left_s * 1e3), 0), 0xFFFF)
        for index, begin in enumerate(parts):
            self._udp.sendto(_PART.pack(number, left_ms, index, len(parts)) + content[begin : begin + _PART_BYTES])
        try:
            return label_of(await asyncio.wait_for(reply, left_s))
        except asyncio.TimeoutError:
            raise Unanswered from None
        finally:
            del self._open[number]


@asynccontextmanager
async def serving(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    """Serve `back_end` at `host` and `port` for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _UdpServer(back_end), local_addr=(host, port))
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def asking(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    """How the data centre at `host` and `port` is asked of an image."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(_UdpClient, remote_addr=(host, port))
    try:
        yield peer.ask
    finally:
        transport.close()
