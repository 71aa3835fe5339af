"""Images over gRPC: one unary call an image on one channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgesight.bench.link.peers.back_end import CONNECT_WITHIN, BackEnd, TransportError, label_of
from edgesight.bench.link.workload import Ask, Pixels, Unanswered, encode

_METHOD = "/edgesight.Peer/Classify"
_WINDOW = 4 << 20  # bytes that gRPC may have unread: HTTP/2 flow control shall hold nothing up
_CHANNEL_OPTIONS = [("grpc.http2.lookahead_bytes", _WINDOW), ("grpc.max_receive_message_length", _WINDOW)]


def _grpc() -> Any:
    try:
        import grpc
        import grpc.aio
    except ImportError as error:
        raise TransportError("grpcio is not installed: `pip install 'edgesight[peers]'`") from error
    return grpc


@asynccontextmanager
async def serving(back_end: BackEnd, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    """Serve `back_end` at `host` and `port` for as long as the context lasts."""
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
async def asking(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    """How the data centre at `host` and `port` is asked of an image."""
    grpc = _grpc()
    channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_CHANNEL_OPTIONS)
    async with channel:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_WITHIN)
        classify = channel.unary_unary(_METHOD)

        async def ask(image: Pixels, left_s: float) -> int:
            try:
                return label_of(await classify(encode(image), timeout=left_s))
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                    raise Unanswered from error
                raise

        yield ask
