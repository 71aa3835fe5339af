"""The same images over other transports, and over ours: the programs at the two ends of a link that are compared.

    python -m edgesight.bench.link.peers serve TRANSPORT MODEL KEYS PORT               (data centre; KEYS are its own)
    python -m edgesight.bench.link.peers ask TRANSPORT KEYS ADDRESS PORT IMAGES PLAN BEGIN   (edge)

`serve` says "ready" on a line of its own when it listens, and runs until it is told to stop. `ask` sends the images of
the .npy file IMAGES as PLAN (JSON, see `edgesight.bench.link.workload`) says, the first at BEGIN of the machine's
monotonic clock unless that is over, and prints the outcomes as one JSON line.

Transports:
- edgesight: `edgesight.host.link.client.OffloadClient` and `edgesight.host.datacenter.service`, as a user has them.
- grpc: one unary call an image on one channel, HTTP/2 over TCP, without TLS, which only favours it. The kernel's
  congestion control is the link's (`NamespaceLink`'s `tcp`).
- quic: one reliable QUIC stream an image on one connection, with our congestion controller, our pacing and our mutual
  TLS.
- udp: plain datagrams, all sent at once, none repaired, no congestion control, nothing encrypted. An image with one
  datagram lost is lost, and so is an answer.

All ask the same executor, batched in the same way. All encode when an image arrives and decode at the data centre. The
others get every chance: connections are warm, a call that missed its deadline is cancelled so that it holds up no
other, and a request whose deadline has passed is not worked on.

Words owned here: transport.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import json
import logging
import struct
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
from aioquic.asyncio.server import serve as serve_aioquic
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from edgesight.bench.link.workload import Ask, Pixels, Plan, Unanswered, decode, drive, encode
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.models import Executor, OnnxModel
from edgesight.host.datacenter.serve import serve as serve_ours
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.errors import EdgeSightError
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.congestion import pace
from edgesight.host.link.keys import client_keys, now
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.tls import REFUSED, Untrusted, ask_for_certificate, check_data_centre, shown_chain
from edgesight.host.process import run_until_told

TRANSPORTS = ("edgesight", "grpc", "quic", "udp")
_METHOD = "/edgesight.Peer/Classify"
_REPLY = struct.Struct("!BH")  # whether there is an answer, label
_LEFT = struct.Struct("!H")  # milliseconds until the deadline
_PART = struct.Struct("!IHHH")  # request, milliseconds until the deadline, part, parts
_PART_BYTES = 1_100  # of payload in a datagram: as many as the largest strip has
_PARTIAL = 256  # requests of which not all parts have come
_CONNECT_WITHIN = 30.0  # seconds; a link may lose much
_TRY_AGAIN = 1.0  # seconds after which a handshake that got nowhere begins anew
_LONG = 3_600.0  # seconds: no connection here ends for being idle
_CANCELLED = 0x10  # application error code of a stream that nobody waits for
_STREAM_WINDOW = 1 << 20  # bytes that a QUIC stream may have unread: aioquic's own, not the little that our link needs
_WINDOW = 4 << 20  # bytes that gRPC may have unread: HTTP/2 flow control shall hold nothing up

logger = logging.getLogger(__name__)


class TransportError(EdgeSightError):
    """A transport that cannot be measured: says what is missing or what broke."""


# --------------------------------------------------------------------------------------------------- the back end


@dataclass
class _Waiting:
    image: Pixels
    deadline: float  # of the loop's clock
    label: asyncio.Future[int | None]


class BackEnd:
    """Batches images for an executor as `edgesight.host.datacenter.service` does."""

    def __init__(self, executor: Executor, max_batch: int = MAX_BATCH) -> None:
        """Runs inside an asyncio loop; `run` does the work."""
        self._executor, self._max_batch = executor, max_batch
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def reply(self, payload: bytes, left_s: float) -> bytes:
        """The reply to an encoded image that is of use for `left_s` seconds more."""
        image = decode(payload, self._executor.input_shape)
        label: asyncio.Future[int | None] = self._loop.create_future()
        self._waiting.put_nowait(_Waiting(image, self._loop.time() + left_s, label))
        found = await label
        return _REPLY.pack(found is not None, found or 0)

    async def run(self) -> None:
        """Run the model on what waits, for ever."""
        with ThreadPoolExecutor(1, "model") as thread:
            while True:
                batch = [await self._waiting.get()]
                while len(batch) < self._max_batch and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                at = self._loop.time()
                timely = [one for one in batch if one.deadline > at and not one.label.done()]
                for one in batch:
                    if one.deadline <= at and not one.label.done():
                        one.label.set_result(None)
                if not timely:
                    continue
                images = np.stack([one.image for one in timely])
                logits = await self._loop.run_in_executor(thread, self._executor.run, images)
                for one, label in zip(timely, np.argmax(logits, axis=1), strict=True):
                    if not one.label.done():
                        one.label.set_result(int(label))


def _label(reply: bytes) -> int:
    answered, label = _REPLY.unpack(reply)
    if not answered:
        raise Unanswered
    return int(label)


# ----------------------------------------------------------------------------------------------------------- gRPC


def _grpc() -> Any:
    try:
        import grpc  # type: ignore[import-untyped]
        import grpc.aio  # type: ignore[import-untyped]
    except ImportError as error:
        raise TransportError("grpcio is not installed: `pip install 'edgesight[peers]'`") from error
    return grpc


_CHANNEL_OPTIONS = [("grpc.http2.lookahead_bytes", _WINDOW), ("grpc.max_receive_message_length", _WINDOW)]


@asynccontextmanager
async def _serve_grpc(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    grpc = _grpc()

    async def classify(payload: bytes, context: Any) -> bytes:
        return await back_end.reply(payload, context.time_remaining())

    service, _, method = _METHOD[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(classify)  # bytes in, bytes out
    server = grpc.aio.server(options=_CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@asynccontextmanager
async def _ask_grpc(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    grpc = _grpc()
    channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_CHANNEL_OPTIONS)
    async with channel:
        await asyncio.wait_for(channel.channel_ready(), _CONNECT_WITHIN)
        classify = channel.unary_unary(_METHOD)

        async def ask(image: Pixels, left_s: float) -> int:
            try:
                return _label(await classify(encode(image), timeout=left_s))
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                    raise Unanswered from error
                raise

        yield ask


# ---------------------------------------------------------------------------------------------------- QUIC streams


class _StreamPeer(QuicConnectionProtocol, abc.ABC):
    """An end of a connection that carries a request, or its reply, a stream."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        super().__init__(quic, stream_handler)
        self._controller = pace(quic._loss, quic.configuration.max_datagram_size)
        self._content: dict[int, bytearray] = {}

    def transmit(self) -> None:
        """Send what is due, and tell the congestion controller where that was all, as our own transport does."""
        super().transmit()
        # aioquic has no public view of what a connection still holds back.
        if self._controller is not None and all(one.sender.buffer_is_empty for one in self._quic._streams_queue):
            self._controller.on_app_limited()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Gather the bytes of each stream until its end."""
        if isinstance(event, StreamDataReceived):
            content = self._content.setdefault(event.stream_id, bytearray())
            content += event.data
            if event.end_stream:
                self.ended(event.stream_id, bytes(self._content.pop(event.stream_id)))
        elif isinstance(event, StreamReset):
            self._content.pop(event.stream_id, None)

    @abc.abstractmethod
    def ended(self, stream: int, content: bytes) -> None:
        """A stream came whole."""


class _StreamServer(_StreamPeer):
    def __init__(self, quic: QuicConnection, back_end: BackEnd, authority: Authority) -> None:
        super().__init__(quic)
        ask_for_certificate(quic)
        self._back_end, self._authority = back_end, authority
        self._trusted = False
        self._at_work: dict[int, asyncio.Task[None]] = {}  # by stream

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StopSendingReceived) and event.stream_id in self._at_work:
            self._at_work[event.stream_id].cancel()
        if isinstance(event, HandshakeCompleted):
            try:
                self._authority.admit(shown_chain(self._quic))
                self._trusted = True
            except Untrusted as error:
                self.close(REFUSED, str(error))
        super().quic_event_received(event)

    def ended(self, stream: int, content: bytes) -> None:
        if self._trusted:
            self._at_work[stream] = task = self._loop.create_task(self._reply(stream, content))
            task.add_done_callback(lambda _: self._at_work.pop(stream))

    async def _reply(self, stream: int, content: bytes) -> None:
        (left_ms,) = _LEFT.unpack_from(content)
        reply = await self._back_end.reply(content[_LEFT.size :], left_ms * 1e-3)
        self._quic.send_stream_data(stream, reply, end_stream=True)
        self.transmit()


class _StreamClient(_StreamPeer):
    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self.ready: asyncio.Future[None] = self._loop.create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted) and not self.ready.done():
            self.ready.set_result(None)
        if isinstance(event, ConnectionTerminated):
            broken = TransportError(f"the connection ended: {event.reason_phrase or hex(event.error_code)}")
            open_ones: list[asyncio.Future[Any]] = [self.ready, *self._open.values()]
            for waiting in open_ones:
                if not waiting.done():
                    waiting.set_exception(broken)
        super().quic_event_received(event)

    @property
    def shown(self) -> Any:
        """The data centre's certificate."""
        return shown_chain(self._quic)[0]

    def ended(self, stream: int, content: bytes) -> None:
        waiting = self._open.get(stream)
        if waiting is not None and not waiting.done():
            waiting.set_result(content)

    async def ask(self, image: Pixels, left_s: float) -> int:
        """The label of `image`; raises Unanswered."""
        stream = self._quic.get_next_available_stream_id()
        reply = self._open[stream] = self._loop.create_future()
        left_ms = min(max(int(left_s * 1e3), 0), 0xFFFF)
        self._quic.send_stream_data(stream, _LEFT.pack(left_ms) + encode(image), end_stream=True)
        self.transmit()
        try:
            return _label(await asyncio.wait_for(reply, left_s))
        except asyncio.TimeoutError:
            self._quic.reset_stream(stream, _CANCELLED)
            with contextlib.suppress(ValueError):  # it ended at this moment
                self._quic.stop_stream(stream, _CANCELLED)
            self.transmit()
            raise Unanswered from None
        finally:
            del self._open[stream]


@asynccontextmanager
async def _serve_quic(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    with contextlib.closing(Authority(keys)) as authority:

        def peer(quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> _StreamServer:
            return _StreamServer(quic, back_end, authority)

        configuration = authority.configuration(_LONG)
        configuration.max_data = configuration.max_stream_data = _STREAM_WINDOW
        server = await serve_aioquic(host, port, configuration=configuration, create_protocol=peer, retry=True)
        try:
            yield
        finally:
            server.close()


@asynccontextmanager
async def _ask_quic(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    link_keys = client_keys(keys, _LONG)
    link_keys.configuration.max_data = link_keys.configuration.max_stream_data = _STREAM_WINDOW
    loop = asyncio.get_running_loop()
    until = loop.time() + _CONNECT_WITHIN
    while True:
        transport, peer = await loop.create_datagram_endpoint(
            lambda: _StreamClient(QuicConnection(configuration=link_keys.configuration)), remote_addr=(host, port)
        )
        peer.connect((host, port))
        try:
            await asyncio.wait_for(asyncio.shield(peer.ready), _TRY_AGAIN)
            break
        except asyncio.TimeoutError:
            transport.close()
            if loop.time() > until:
                raise TransportError(f"no QUIC connection to {host}:{port} within {_CONNECT_WITHIN:g} s") from None
    try:
        check_data_centre(peer.shown, link_keys.authority, now())
        yield peer.ask
    finally:
        peer.close()
        transport.close()


# ------------------------------------------------------------------------------------------------------- plain UDP


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
            return _label(await asyncio.wait_for(reply, left_s))
        except asyncio.TimeoutError:
            raise Unanswered from None
        finally:
            del self._open[number]


@asynccontextmanager
async def _serve_udp(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _UdpServer(back_end), local_addr=(host, port))
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def _ask_udp(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(_UdpClient, remote_addr=(host, port))
    try:
        yield peer.ask
    finally:
        transport.close()


# ------------------------------------------------------------------------------------------------------------ ours


@asynccontextmanager
async def _ask_ours(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    client = OffloadClient(host, port, client_keys(keys, IDLE_TIMEOUT))
    await client.wait_connected(_CONNECT_WITHIN)

    async def ask(image: Pixels, left_s: float) -> int:
        try:
            return (await client.offload(image, left_s)).label
        except NoAnswer as error:
            raise Unanswered from error

    try:
        yield ask
    finally:
        await client.close()


# -------------------------------------------------------------------------------------------------------- programs

_Serving = Callable[[BackEnd, Path, str, int], AbstractAsyncContextManager[None]]
_Asking = Callable[[Path, str, int], AbstractAsyncContextManager[Ask]]
_SERVERS: dict[str, _Serving] = {"grpc": _serve_grpc, "quic": _serve_quic, "udp": _serve_udp}
_CLIENTS: dict[str, _Asking] = {"edgesight": _ask_ours, "grpc": _ask_grpc, "quic": _ask_quic, "udp": _ask_udp}


def serve(transport: str, model: Path, keys: Path, port: int, host: str = "0.0.0.0") -> None:
    """Serve the ONNX `model` over `transport` until told to stop."""
    if transport == "edgesight":
        serve_ours(model, keys, host=host, port=port, announce=lambda line: print("ready", flush=True))
        return
    executor = OnnxModel(model)

    async def main(told: asyncio.Event) -> None:
        back_end = BackEnd(executor)
        async with _SERVERS[transport](back_end, keys, host, port):
            work = asyncio.get_running_loop().create_task(back_end.run())
            stopping = asyncio.get_running_loop().create_task(told.wait())
            print("ready", flush=True)
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            for task in (work, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    run_until_told(main)


def ask(transport: str, keys: Path, address: str, port: int, images: Path, plan: Plan, begin: float) -> None:
    """Send `images` (.npy) as `plan` says, from `begin` of the monotonic clock on, and print the outcomes."""

    async def main() -> None:
        async with _CLIENTS[transport](keys, address, port) as one:
            outcomes = await drive(one, np.load(images, mmap_mode="r"), plan, begin)
        print(json.dumps(outcomes.to_json()), flush=True)

    asyncio.run(main())


def main() -> None:
    """Be the end of a comparison that the command line asks for."""
    role, transport, *rest = sys.argv[1:]
    if transport not in TRANSPORTS or role not in ("serve", "ask"):
        sys.exit(f"{role} {transport}: expected serve or ask, and one of {', '.join(TRANSPORTS)}")
    if role == "serve":
        model, keys, port = rest
        serve(transport, Path(model), Path(keys), int(port))
    else:
        keys, address, port, images, plan, begin = rest
        ask(transport, Path(keys), address, int(port), Path(images), Plan.from_json(plan), float(begin))


if __name__ == "__main__":
    main()
