"""Images over one ordered byte stream each way, as one connection of TCP has it: what is lost holds up all behind it.

It stands in for gRPC where there is no kernel to run it, in virtual time: the recovery of losses and the congestion
control are QUIC's, which RFC 9002 took from TCP's latest.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent, StreamDataReceived

from edgesight.bench.link.peers import quic
from edgesight.bench.link.peers.back_end import BackEnd, label_of
from edgesight.bench.link.peers.quic import StreamClient, StreamServer, connected
from edgesight.bench.link.workload import Ask, Pixels, Unanswered, encode
from edgesight.host.datacenter.authority import Authority

_HEAD = struct.Struct("!IIH")  # number, bytes of what follows, milliseconds until the deadline (of a reply 0)


class _Messages:
    """Cuts an ordered stream into messages."""

    def __init__(self) -> None:
        self._left = bytearray()

    def take(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Number, milliseconds and content of each that is whole now."""
        self._left += data
        found = []
        while len(self._left) >= _HEAD.size:
            number, size, left_ms = _HEAD.unpack_from(self._left)
            if len(self._left) < _HEAD.size + size:
                break
            found.append((number, left_ms, bytes(self._left[_HEAD.size : _HEAD.size + size])))
            del self._left[: _HEAD.size + size]
        return found


class _Server(StreamServer):
    def __init__(self, quic: QuicConnection, back_end: BackEnd, authority: Authority) -> None:
        super().__init__(quic, back_end, authority)
        self._messages = _Messages()

    def quic_event_received(self, event: QuicEvent) -> None:
        if not isinstance(event, StreamDataReceived):
            super().quic_event_received(event)
        elif self.trusted:
            for number, left_ms, content in self._messages.take(event.data):
                self.work(number, self._reply_to(event.stream_id, number, left_ms, content))

    async def _reply_to(self, stream: int, number: int, left_ms: int, content: bytes) -> None:
        reply = await self.back_end.reply(content, left_ms * 1e-3)
        self._quic.send_stream_data(stream, _HEAD.pack(number, len(reply), 0) + reply)
        self.transmit()


class _Client(StreamClient):
    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self._messages = _Messages()
        self._stream: int | None = None
        self._number = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        if not isinstance(event, StreamDataReceived):
            super().quic_event_received(event)
            return
        for number, _, content in self._messages.take(event.data):
            self.ended(number, content)

    async def ask(self, image: Pixels, left_s: float) -> int:
        """The label of `image`; raises Unanswered. What was sent is sent, though nobody waits for it any more."""
        if self._stream is None:
            self._stream = self._quic.get_next_available_stream_id()
        number, self._number = self._number, self._number + 1
        reply = self.waiting[number] = self._loop.create_future()
        content = encode(image)
        left_ms = min(max(int(left_s * 1e3), 0), 0xFFFF)
        self._quic.send_stream_data(self._stream, _HEAD.pack(number, len(content), left_ms) + content)
        self.transmit()
        try:
            return label_of(await asyncio.wait_for(reply, left_s))
        except asyncio.TimeoutError:
            raise Unanswered from None
        finally:
            del self.waiting[number]


@asynccontextmanager
async def serving(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    """Serve `back_end` at `host` and `port` for as long as the context lasts."""
    async with quic.serving(back_end, keys, host, port, _Server):
        yield


@asynccontextmanager
async def asking(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    """How the data centre at `host` and `port` is asked of an image."""
    async with connected(keys, host, port, _Client) as peer:
        yield peer.ask
