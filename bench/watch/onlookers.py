"""Who asks an edge over HTTP, and who looks on: Prometheus, and a browser with the live page open.

They are cheap, so that what is measured is the edge: bytes made once, connections kept open, answers hardly read. They
share one loop.

Words owned here: onlooker (who looks on at a period, and is let do so for a while).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError

SCRAPE_S: Final = 1.0  # from one scrape to the next
LOOK_S: Final = 0.5  # from one question of the page to the next
_AT_ONCE = 6  # requests of a browser to one server
_DEADLINE_MS = 20_000  # that no picture of a saturated edge misses

_UNPACKED: Final[dict[str, Callable[[bytes], bytes]]] = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
_PROMETHEUS = {
    "user-agent": "Prometheus/3.5.0",
    "accept": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "accept-encoding": "gzip",
    "x-prometheus-scrape-timeout-seconds": "1",
}
_BROWSER = {"user-agent": "Mozilla/5.0", "accept": "*/*", "accept-encoding": "gzip, deflate"}


class OnlookerError(EdgeSightError):
    """An edge that does not answer, or does not show what is to be looked at: says where, and what came."""


class Connection:
    """A connection to an HTTP door that is kept open, for one request at a time."""

    def __init__(self, address: str, headers: dict[str, str] | None = None) -> None:
        """To HOST:PORT; the `headers` go with each request."""
        self._address = address
        lines = {"host": address, **(headers or {})}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Connection:
        """Connect."""
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self._writer.close()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of what is at `path`."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\n".encode() + self._headers + b"\r\n")

    async def post(self, path: str, body: bytes, header_length: int) -> tuple[int, bytes]:
        """Status and body of the answer to a request whose first so many bytes are JSON, and the rest tensors."""
        lengths = f"content-length: {len(body)}\r\ninference-header-content-length: {header_length}\r\n\r\n"
        return await self._exchange(f"POST {path} HTTP/1.1\r\n".encode() + self._headers + lengths.encode() + body)

    async def _connect(self) -> None:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        async with self._turn:
            if self._reader.at_eof():  # it lay idle, and a door closes such
                self._writer.close()
                await self._connect()
            self._writer.write(request)
            try:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status, *lines = head.splitlines()
                said = dict(line.split(": ", 1) for line in lines if line)
                body = await self._reader.readexactly(int(said.get("content-length", "0")))
            except (OSError, asyncio.IncompleteReadError) as error:
                raise OnlookerError(f"{self._address}: hung up in the midst of an answer: see the log") from error
        return int(status.split()[1]), _UNPACKED[said.get("content-encoding", "")](body)


class Asker:
    """Asks an edge for so many pictures a request, with as many requests in flight as there are connections."""

    def __init__(self, model: str, pictures: npt.NDArray[np.uint8], batch: int, connections: Sequence[Connection]):
        """Of `pictures` uint8 [N, H, W, C], again and again from the first on."""
        self._path = f"/v2/models/{model}/infer"
        self.batch = batch
        self._connections = connections
        self._bodies = [_body(pictures, first, batch) for first in range(0, len(pictures), batch)]

    async def ask(self, requests: int, first: int = 0) -> None:
        """Ask so many requests, from the one with the number `first` on. Raises OnlookerError."""
        numbers = iter(range(first, first + requests))

        async def go_on(connection: Connection) -> None:
            for number in numbers:
                status, said = await connection.post(self._path, *self._bodies[number % len(self._bodies)])
                if status != 200:
                    raise OnlookerError(f"{self._path}: {status} {said[:200]!r}: see the edge's log")

        await asyncio.gather(*map(go_on, self._connections))


def _body(pictures: npt.NDArray[np.uint8], first: int, batch: int) -> tuple[bytes, int]:
    """A request's bytes, and how many of them are JSON."""
    rows = np.take(pictures, range(first, first + batch), axis=0, mode="wrap")
    tensor = {
        "name": "picture",
        "datatype": "UINT8",
        "shape": rows.shape,
        "parameters": {"binary_data_size": rows.nbytes},
    }
    header = json.dumps({"parameters": {"deadline_ms": _DEADLINE_MS}, "inputs": [tensor]}).encode()
    return header + rows.tobytes(), len(header)


class Scraper:
    """Prometheus."""

    def __init__(self, door: Connection) -> None:
        """At the port for health."""
        self._door = door
        self.count = 0
        self.last = b""

    async def look(self) -> None:
        """Scrape once. Raises OnlookerError."""
        status, self.last = await self._door.get("/metrics")
        if status != 200:
            raise OnlookerError(f"/metrics: {status}: give the edge --health")
        self.count += 1

    def total(self, name: str) -> float:
        """The sum over all labels of what the last scrape told of `name`."""
        lines = (line.rpartition(" ") for line in self.last.decode().splitlines())
        return sum(float(value) for key, _, value in lines if key.partition("{")[0] == name)


class Viewer:
    """A browser with the live page open: it asks for the state, and for each picture that is named there once."""

    def __init__(self, door: Connection, others: Sequence[Connection]) -> None:
        """At the HTTP door; the `others` are for pictures."""
        self._door, self._others = door, others
        self._known: set[str] = set()
        self.count = self.pictures = 0

    async def look(self) -> None:
        """Ask once, and for what is new. Raises OnlookerError."""
        status, said = await self._door.get("/live/state")
        if status != 200:
            raise OnlookerError(f"the edge shows no live page, but answers {status} at /live/state: look at its log")
        self.count += 1
        state: dict[str, Any] = json.loads(said)
        named = {f"{one['of']}/{one['number']}" for one in state["recent"] if one["shown"]}
        new = iter(sorted(named - self._known))
        self._known = named

        async def go_on(connection: Connection) -> None:
            for key in new:
                status, _ = await connection.get(f"/live/pictures/{key}")
                if status not in (200, 204):
                    raise OnlookerError(
                        f"/live/pictures/{key} gives {status}, though the state names it: look at the edge's log"
                    )
                self.pictures += status == 200

        await asyncio.gather(*map(go_on, self._others))


class Onlooker:
    """Looks on at a period of the time that it is let do so; in pieces or in one, that is as often."""

    def __init__(self, look: Callable[[], Awaitable[None]], period: float) -> None:
        """The first time after half a period."""
        self._look, self._period = look, period
        self._left = period / 2

    @asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        """Look on until this is left; what was begun by then is brought to its end. Raises what `look` does."""
        looks: list[asyncio.Task[None]] = []
        watching = asyncio.create_task(self._watch(looks))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            ended = await asyncio.gather(*looks, return_exceptions=True)
        for one in ended:
            if isinstance(one, BaseException):
                raise one

    async def _watch(self, looks: list[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun, left = loop.time(), self._left
            try:
                await asyncio.sleep(left)
            finally:
                self._left = max(left - (loop.time() - begun), 0.0)
            self._left = self._period
            looks.append(asyncio.ensure_future(self._look()))


@asynccontextmanager
async def prometheus(health: str) -> AsyncIterator[Scraper]:
    """Prometheus, connected to the port for health, HOST:PORT."""
    async with Connection(health, _PROMETHEUS) as door:
        yield Scraper(door)


@asynccontextmanager
async def browser(http: str) -> AsyncIterator[Viewer]:
    """A browser, connected to the HTTP door, HOST:PORT."""
    async with AsyncExitStack() as stack:
        door, *others = [await stack.enter_async_context(Connection(http, _BROWSER)) for _ in range(_AT_ONCE)]
        yield Viewer(door, others)
