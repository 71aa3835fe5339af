"""The doors from opening to closing: gRPC, HTTP and a port for health, beside whatever else the loop does.

Closing drains: nobody new is let in, what was let in is answered, within a time of grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edgesight.host.doors.access import Access, Anyone, DoorError, check_plain, is_loopback
from edgesight.host.doors.bounds import Bounds, Room
from edgesight.host.doors.served import Served
from edgesight.host.link.addresses import joined

try:
    import grpc.aio
    from starlette.applications import Starlette
    from uvicorn import Config, Server

    from edgesight.host.doors import grpc_door, http
    from edgesight.host.doors.closing import Calls, cut
    from edgesight.host.doors.connections import Connection
    from edgesight.host.doors.pages import OwnPages
except ImportError as error:
    raise DoorError(f"the inference protocol's doors need more ({error}): pip install 'edgesight[oip]'") from error

_KEEP_ALIVE = 75  # seconds that a connection without requests stays open
_POLL = 0.005  # seconds between looks whether a server has begun; it tells nobody

Closing = Callable[[], Coroutine[Any, Any, None]]
Address = tuple[str, int]  # an IP address, and a port: 0 chooses one

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Which doors to open, and to whom. None: no such door.

    Attributes:
        grpc: where gRPC is spoken.
        http: where HTTP is spoken.
        health: where anyone may ask over plain HTTP whether the server is live and ready, and for its metrics.
        access: who may come in.
        insecure: plain doors may stand elsewhere than on loopback.
        grace: seconds within which requests that were let in are answered when the doors close.
        bounds: of what strangers may take; None: those of whoever opens the doors.
    """

    grpc: Address | None = ("127.0.0.1", 8001)
    http: Address | None = ("127.0.0.1", 8000)
    health: Address | None = None
    access: Access = field(default_factory=Anyone)
    insecure: bool = False
    grace: float = 30.0
    bounds: Bounds | None = None


@dataclass(frozen=True)
class Addresses:
    """Where the doors are."""

    grpc: Address | None
    http: Address | None
    health: Address | None

    def told(self) -> str:
        """In words."""
        doors = (("HTTP", self.http), ("gRPC", self.grpc), ("health", self.health))
        return ", ".join(f"{kind} at {joined(*at)}" for kind, at in doors if at is not None)


@contextlib.asynccontextmanager
async def open_doors(served: Served, options: Options) -> AsyncIterator[Addresses]:
    """Open the doors to `served`; they drain when the context ends. Raises DoorError where they cannot be opened."""
    access = options.access
    if access.tls is None:
        for address in (options.grpc, options.http):
            if address is not None:
                check_plain(address[0], options.insecure)
                if not is_loopback(address[0]):
                    logger.warning("a door at %s is plain, for all who reach this machine: --insecure", address[0])
    room = Room(options.bounds or Bounds())
    closing: list[Closing] = []
    doors: list[Closing] = []
    try:
        health = await _open_http(closing, http.health_app(served), options.health, None, options.grace, room.bounds)
        try:
            app = http.app(served, access, room)
            spoken = await _open_http(doors, app, options.http, access, options.grace, room.bounds)
            called = await _open_grpc(doors, served, options, room)
            yield Addresses(called, spoken, health)
        finally:
            await _all(doors)
    finally:
        await _all(closing)  # who asks for health is told to the end


async def _all(closing: Iterable[Closing]) -> None:
    await asyncio.gather(*(close() for close in closing))


async def _open_grpc(closing: list[Closing], served: Served, options: Options, room: Room) -> Address | None:
    if options.grpc is None:
        return None
    calls = Calls()
    server: grpc.aio.Server = grpc_door.make_server(served, options.access, room, calls)
    host, port = options.grpc
    port = grpc_door.listen(server, host, port, options.access.tls)
    await server.start()

    async def close() -> None:
        await calls.over(options.grace)
        cut(port)
        await server.stop(None)

    closing.append(close)
    return host, port


async def _open_http(
    closing: list[Closing],
    app: Starlette,
    address: Address | None,
    access: Access | None,
    grace: float,
    bounds: Bounds,
) -> Address | None:
    if address is None:
        return None
    tls = access.tls if access is not None else None
    host, port = address
    names = frozenset({"localhost", host.lower()}) if tls is None and is_loopback(host) else None
    config = Config(
        OwnPages(app, names),
        http=functools.partial(Connection, bounds=bounds),  # type: ignore[arg-type]  # it is called, and no more
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is who connects
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=grace,  # type: ignore[arg-type]  # it is handed to asyncio as it is
    )
    config.load()
    config.ssl = tls.context() if tls is not None else None
    listening = _listen(address)
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))

    async def close() -> None:
        server.should_exit = True
        await running

    closing.append(close)
    while not server.started and not running.done():
        await asyncio.sleep(_POLL)
    host, port = listening.getsockname()[:2]
    return str(host), int(port)


def _listen(address: Address) -> socket.socket:
    """A socket that is bound to `address`; raises DoorError."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: on no other socket asyncio sets TCP_NODELAY, and answers would wait for acknowledgements.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise DoorError(f"no door can be opened at {host}:{port} ({error.strerror}): name another") from error
    listening.setblocking(False)
    return listening


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop to open doors in: uvloop's where it is there, which answers somewhat sooner."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Server(Server):
    """A server that leaves signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
