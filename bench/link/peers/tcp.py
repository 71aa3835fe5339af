"""Images over gRPC in virtual time: messages of its sizes on one TCP connection, as Linux sends it.

It stands in for a kernel and a library where neither runs. A message travels in order behind those before it, and what
is lost holds up all behind it. What a call's deadline takes back before it came to the socket's buffer is not sent.

Words owned here: message.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgesight.bench.link.peers.back_end import BackEnd, label_of
from edgesight.bench.link.peers.tcp_sender import INITIAL_WINDOW, MSS, Segment, Sender
from edgesight.bench.link.workload import Ask, Pixels, Unanswered, encode

# Bytes that tritonclient and the data centre's door put around a picture's and for an answer, as the emulated link
# counted them.
_AROUND, _REPLY = 109, 140
_BUFFERED = 2  # windows, of ten segments at least, that a socket takes of what is not acknowledged
_DELAYED_ACK = 0.04  # seconds that what came may wait for something to be sent, if it is no more than a segment
_SMALLEST = 536  # bytes that a segment is taken to have before a larger one came
_HEAD = struct.Struct("!IIH")  # number, bytes of what follows, milliseconds until the deadline (of a reply 0)
# With the 28 bytes that a datagram has, as many as the headers of IP and TCP with timestamps: first byte, what was
# received, microseconds now and of what was received, how many blocks came beyond; of each, its begin and end.
_SEGMENT, _BLOCK = struct.Struct("!IIIIB7x"), struct.Struct("!II")
_MOST_BLOCKS = 3
Messages = Callable[[int, int, bytes], None]  # number, milliseconds, content


class _End(asyncio.DatagramProtocol):
    """An end of the connection."""

    def __init__(self, took: Messages) -> None:
        self._took = took
        self._loop = asyncio.get_running_loop()
        self._sender = Sender()
        self._stream = bytearray()  # given to the sender, from `_from` on
        self._from = 0
        self._room = _BUFFERED * INITIAL_WINDOW * MSS
        self._queue: deque[tuple[bytes, Callable[[], bool]]] = deque()  # and whether each is still wanted
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._echoed = 0  # microseconds
        self._beyond: dict[int, bytes] = {}
        self._latest: list[tuple[int, int]] = []
        self._told = 0  # bytes received that the other end knows of
        self._largest = _SMALLEST  # segment that came
        self._ack: asyncio.TimerHandle | None = None
        self._left = bytearray()
        self._peer: Any = None

    def connection_made(self, transport: Any) -> None:
        self._udp: asyncio.DatagramTransport = transport

    # ------------------------------------------------------------------------------------------------------- sending

    def send(self, message: bytes, wanted: Callable[[], bool]) -> None:
        """Send a message, unless nobody wants it any more by the time that there is room."""
        self._queue.append((message, wanted))
        self._go_on()

    def _go_on(self) -> None:
        sender = self._sender
        self._room = max(self._room, _BUFFERED * sender.cubic.window * MSS)
        while self._queue and sender.end - sender.una < self._room:
            message, wanted = self._queue.popleft()
            if wanted():
                self._stream += message
                sender.end += len(message)
        self._put(sender.due(self._loop.time()))

    def _put(self, segments: list[Segment]) -> None:
        for one in segments:
            self._transmit(bytes(self._stream[one.begin - self._from : one.end - self._from]), one.begin)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sender.timer is not None:
            self._timer = self._loop.call_at(self._sender.timer[0], self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._put(self._sender.expired(self._loop.time()))

    def _transmit(self, payload: bytes, begin: int) -> None:
        self._told = self._received
        if self._ack is not None:
            self._ack.cancel()
            self._ack = None
        blocks = self._latest[:_MOST_BLOCKS]
        now = round(self._loop.time() * 1e6)
        packed = _SEGMENT.pack(begin, self._received, now, self._echoed, len(blocks))
        self._udp.sendto(packed + b"".join(_BLOCK.pack(*one) for one in blocks) + payload, self._peer)

    # ----------------------------------------------------------------------------------------------------- receiving

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._peer = self._peer or addr
        begin, received, sent, echoed, count = _SEGMENT.unpack_from(data)
        at = _SEGMENT.size
        blocks = [_BLOCK.unpack_from(data, at + place * _BLOCK.size) for place in range(count)]
        payload = data[at + count * _BLOCK.size :]
        self._sender.acknowledged(received, blocks, self._loop.time(), echoed * 1e-6)
        done = self._sender.una - self._from
        del self._stream[:done]
        self._from += done
        if begin <= self._received:
            self._echoed = sent
        if payload:
            self._takes(begin, payload)
        self._go_on()

    def _takes(self, begin: int, payload: bytes) -> None:
        hole = bool(self._beyond)
        if begin > self._received:
            self._beyond[begin] = payload
            self._note(begin, begin + len(payload))
            self._transmit(b"", self._sender.next)
            return
        self._left += payload[self._received - begin :]
        self._received = max(self._received, begin + len(payload))
        while self._received in self._beyond:
            more = self._beyond.pop(self._received)
            self._left += more
            self._received += len(more)
        self._latest = [one for one in self._latest if one[1] > self._received]
        self._largest = max(self._largest, len(payload))
        if hole or self._received - self._told > self._largest:
            self._transmit(b"", self._sender.next)
        elif self._ack is None:
            self._ack = self._loop.call_later(_DELAYED_ACK, self._transmit, b"", self._sender.next)
        while len(self._left) >= _HEAD.size:
            number, size, left_ms = _HEAD.unpack_from(self._left)
            if len(self._left) < size:
                break
            content = bytes(self._left[_HEAD.size : size])
            del self._left[:size]
            self._took(number, left_ms, content)

    def _note(self, begin: int, end: int) -> None:
        """Remember what came beyond a hole, joined with what it touches, the latest first."""
        kept = []
        for one in self._latest:
            if one[1] < begin or one[0] > end:
                kept.append(one)
            else:
                begin, end = min(begin, one[0]), max(end, one[1])
        self._latest = [(begin, end), *kept]


def _message(number: int, left_ms: int, content: bytes, size: int) -> bytes:
    """Of so many bytes in all."""
    return (_HEAD.pack(number, size, left_ms) + content).ljust(size, b"\0")


@asynccontextmanager
async def serving(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    """Serve `back_end` at `host` and `port` for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    at_work: set[asyncio.Task[None]] = set()

    def took(number: int, left_ms: int, content: bytes) -> None:
        task = loop.create_task(reply(number, left_ms, content))
        at_work.add(task)
        task.add_done_callback(at_work.discard)

    async def reply(number: int, left_ms: int, content: bytes) -> None:
        size = int.from_bytes(content[:4], "big")
        said = await back_end.reply(content[4 : 4 + size], left_ms * 1e-3)
        end.send(_message(number, 0, said, _REPLY), lambda: True)

    end = _End(took)
    transport, _ = await loop.create_datagram_endpoint(lambda: end, local_addr=(host, port))
    try:
        yield
    finally:
        transport.close()
        for task in at_work:
            task.cancel()


@asynccontextmanager
async def asking(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    """How the data centre at `host` and `port` is asked of an image."""
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[bytes]] = {}

    def took(number: int, left_ms: int, content: bytes) -> None:
        if number in waiting and not waiting[number].done():
            waiting[number].set_result(content)

    end = _End(took)
    transport, _ = await loop.create_datagram_endpoint(lambda: end, remote_addr=(host, port))
    asked = 0

    async def ask(image: Pixels, left_s: float) -> int:
        nonlocal asked
        number, asked = asked, asked + 1
        answer = waiting[number] = loop.create_future()
        content = encode(image)
        left_ms = min(max(int(left_s * 1e3), 0), 0xFFFF)
        whole = _message(number, left_ms, len(content).to_bytes(4, "big") + content, len(content) + _AROUND)
        end.send(whole, lambda: number in waiting)
        try:
            return label_of((await asyncio.wait_for(answer, left_s))[:3])
        except asyncio.TimeoutError:
            raise Unanswered from None
        finally:
            del waiting[number]

    try:
        yield ask
    finally:
        transport.close()
