"""The edge's door to this machine: queries in, answers out.

Queries come over a Unix domain socket that only its owner may use, so the file system guards it and nothing is
encrypted. A message is a 4-byte big-endian length, a JSON header of that length, and for a query `size` bytes of
picture. The owner may also have the edge take over new thresholds, by a message or by SIGHUP.

A board has little memory: at most `MAX_ASKERS` ask at a time, and their pictures' files take at most `PICTURE_BYTES`
together. What the edge holds of pictures once they are decoded, it bounds itself.

Words owned here: query, asker.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.answer import Answer
from edgesight.host.cascade import TargetRefused
from edgesight.host.edge import Edge, EdgeError
from edgesight.host.fabric.base import FabricError
from edgesight.host.images import MAX_FILE_BYTES, ImageError, Picture, image_content
from edgesight.host.kernel import KernelError
from edgesight.host.link.datagrams import LinkError
from edgesight.host.swap import SwapError

_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("iII")  # of who listens at a Unix socket: process, user, group; unix(7)
_MAX_HEADER = 65_536  # bytes
MAX_ASKERS = 256  # connections
PICTURE_BYTES = 64 * 2**20  # of files that are read, or wait to be decoded; at least the largest one's
_READ_AHEAD = 16_384  # bytes that are taken from a connection before anybody wants them
_READ_WITHIN = 10.0  # seconds for a query to come in whole
_CANCEL_AGAIN = 0.1  # seconds until an asker that did not heed it is told again that the edge stops
_GRACE = 60.0  # seconds beyond the deadline that `query` waits: a simulated fabric takes longer than its simulated time
_BACKLOG = 64

logger = logging.getLogger(__name__)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    name: Annotated[str, Field(max_length=4_096)]  # of the picture, for errors
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]  # bytes of picture that follow
    accuracy: Annotated[float, Field(ge=0.0, le=1.0)]
    deadline_ms: Annotated[float, Field(gt=0.0, le=60_000.0)]


class _Reload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    reload: Literal[True]  # the package's calibration, from its folder


class Reloaded(BaseModel):
    """What an edge promises from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: list[float]  # accuracies
    images: int  # that they were calibrated on
    distribution: str  # of the pictures that they hold for, in words


class _Refusal(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["target", "image", "fabric", "query", "swap"]
    message: str
    best: float | None = None  # accuracy that is offered, where the one asked for is not


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1] = 1
    answer: Answer | None = None
    reloaded: Reloaded | None = None
    refusal: _Refusal | None = None


def query(socket_path: Path, image_path: Path, accuracy: float, deadline_ms: float) -> Answer:
    """Ask the edge at `socket_path` what is on the picture at `image_path`.

    The path `-` is standard input. `accuracy` is the least share of right answers that will do, `deadline_ms` when an
    answer must be there. Raises EdgeError when no edge listens or the query is malformed, TargetRefused, ImageError or
    FabricError.
    """
    content = image_content(image_path)
    try:
        # A file may be called by any bytes; a message is UTF-8.
        name = os.fsencode(image_path).decode("utf-8", "replace")
        header = _Query(protocol=1, name=name, size=len(content), accuracy=accuracy, deadline_ms=deadline_ms)
    except ValidationError as error:
        raise EdgeError(f"this cannot be asked: {_first_fault(error)}") from error
    response = _exchange(socket_path, header, content, deadline_ms / 1e3)
    if response.answer is None:
        raise _error(response.refusal)
    return response.answer


def reload(socket_path: Path) -> Reloaded:
    """Have the edge at `socket_path` take over the calibration that its package's folder holds now.

    Raises EdgeError when no edge listens, SwapError when it goes on with the one that it has.
    """
    response = _exchange(socket_path, _Reload(protocol=1, reload=True), b"", 0.0)
    if response.reloaded is None:
        raise _error(response.refusal)
    return response.reloaded


def _exchange(socket_path: Path, header: BaseModel, content: bytes, within: float) -> _Response:
    """What the edge at `socket_path` says within seconds and a while to `header` and `content`; raises EdgeError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within + _GRACE)
        try:
            connection.connect(str(socket_path))
            _check_owner(connection, socket_path)
            # An edge that takes no more queries says so and hangs up, perhaps before it has read this one.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(_frame(header) + content)
            (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size))
            if length > _MAX_HEADER:
                raise EdgeError(
                    f"{socket_path}: the answer claims {length} bytes: what listens there is no edge; name its socket"
                )
            return _Response.model_validate_json(_receive(connection, length))
        except (FileNotFoundError, ConnectionRefusedError):
            raise EdgeError(f"no edge listens at {socket_path}: start one with `edgesight edge`") from None
        except ValidationError as error:
            raise EdgeError(f"{socket_path}: the answer cannot be read: use the edge's own version") from error
        except OSError as error:
            raise EdgeError(f"the edge at {socket_path} cannot be asked ({error}): see its log") from error


class _Room:
    """Bytes that all who hold some may hold together; who waits first gets them first."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._turn = asyncio.Lock()
        self._given = asyncio.Event()

    async def take(self, size: int) -> None:
        """Hold `size` bytes, once they are there."""
        async with self._turn:
            while size > self._left:
                self._given.clear()
                await self._given.wait()
            self._left -= size

    def give(self, size: int) -> None:
        """Hold them no more."""
        self._left += size
        self._given.set()


class Door:
    """Takes queries for an edge."""

    def __init__(self, edge: Edge) -> None:
        """Runs inside an asyncio loop; `serve` does the work."""
        self._edge = edge
        self._askers: set[asyncio.Task[None]] = set()
        self._pictures = _Room(PICTURE_BYTES)

    async def serve(self, socket_path: Path, told: asyncio.Event, announce: Callable[[], None]) -> None:
        """Answer queries at `socket_path` until `told`; calls `announce` once they are taken. Raises EdgeError."""
        _clear(socket_path)
        mask = os.umask(0o177)  # the socket is for its owner only from its first moment on
        try:
            server = await asyncio.start_unix_server(self._take, str(socket_path), backlog=_BACKLOG, limit=_READ_AHEAD)
        except OSError as error:
            raise EdgeError(f"{socket_path} cannot be listened on ({error.strerror or error}): name another") from error
        finally:
            os.umask(mask)
        loop = asyncio.get_running_loop()
        work, stopping = loop.create_task(self._edge.failed()), loop.create_task(told.wait())
        try:
            announce()
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()  # a fault of ours: let it be seen
        finally:
            server.close()
            socket_path.unlink(missing_ok=True)
            tasks = pending = {work, stopping, *self._askers}
            while pending:  # before Python 3.12, wait_for forgets a cancellation that comes as what it awaits is done
                for task in pending:
                    task.cancel()
                _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one query."""
        task = asyncio.current_task()
        assert task is not None  # it runs in one
        self._askers.add(task)
        try:
            if len(self._askers) > MAX_ASKERS:
                response = _refuse("query", f"{MAX_ASKERS} others ask already: ask again later")
            else:
                response = await self._respond(reader)
            writer.write(_frame(response))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            logger.info("a query's asker went away")
        except asyncio.CancelledError:
            pass  # the edge stops; asyncio would write a traceback for a connection that ends so
        finally:
            self._askers.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader) -> _Response:
        try:
            header = await asyncio.wait_for(_read_header(reader), _READ_WITHIN)
            if isinstance(header, _Reload):
                return await self._reload()
            target = self._edge.target(header.accuracy)
            picture = await self._read(reader, header)
            answer = await self._edge.ask(picture, target, header.deadline_ms / 1e3)
            warnings = tuple(f"{header.name} {warning}" for warning in picture.warnings)
            return _Response(answer=answer.model_copy(update={"warnings": warnings}))
        except ValidationError as error:
            return _refuse("query", _first_fault(error))
        except EdgeError as error:
            return _refuse("query", str(error))
        except asyncio.TimeoutError:
            return _refuse("query", f"the query did not come whole within {_READ_WITHIN:g} s")
        except TargetRefused as error:
            return _Response(refusal=_Refusal(kind="target", message=str(error), best=error.best))
        except ImageError as error:
            return _refuse("image", str(error))
        except FabricError as error:
            return _refuse("fabric", str(error))
        except (OSError, asyncio.IncompleteReadError):
            raise  # the asker is gone
        except Exception:
            logger.exception("a query could not be answered")  # a fault of ours: let it be seen, and the asker go on
            return _refuse("query", "the edge failed on this query: see its log")

    async def _reload(self) -> _Response:
        try:
            made = await self._edge.reload()
        except (KernelError, SwapError, LinkError, FabricError) as error:
            return _refuse("swap", f"{error}; the edge goes on with the thresholds that it has")
        targets = [target.accuracy for target in made.targets]
        rests_on = made.rests_on.distribution
        return _Response(reloaded=Reloaded(targets=targets, images=made.images, distribution=rests_on))

    async def _read(self, reader: asyncio.StreamReader, header: _Query) -> Picture:
        """The picture that follows `header`; raises ImageError, or EdgeError where there is no room."""
        try:
            await asyncio.wait_for(self._pictures.take(header.size), _READ_WITHIN)
        except asyncio.TimeoutError:
            raise EdgeError(
                f"others' pictures took all of their {PICTURE_BYTES >> 20} MiB for {_READ_WITHIN:g} s: ask again later"
            ) from None
        try:
            content = await asyncio.wait_for(_read_picture(reader, header.size), _READ_WITHIN)
            return await self._edge.read(content, header.name)
        finally:
            self._pictures.give(header.size)


async def _read_header(reader: asyncio.StreamReader) -> _Query | _Reload:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _MAX_HEADER:
        raise EdgeError(f"the query's header claims {length} bytes, at most {_MAX_HEADER} are read; send a shorter one")
    content = await reader.readexactly(length)
    try:
        return _Reload.model_validate_json(content)
    except ValidationError:
        return _Query.model_validate_json(content)


async def _read_picture(reader: asyncio.StreamReader, size: int) -> bytes:
    """Exactly `size` bytes, held once: asyncio's own way would hold them twice for a moment."""
    content = io.BytesIO()
    while content.tell() < size:
        part = await reader.read(min(size - content.tell(), 4 * _READ_AHEAD))
        if not part:
            raise asyncio.IncompleteReadError(b"", size)
        content.write(part)
    return content.getvalue()


def _refuse(kind: Literal["image", "fabric", "query", "swap"], message: str) -> _Response:
    return _Response(refusal=_Refusal(kind=kind, message=message))


def _error(refusal: _Refusal | None) -> Exception:
    """The exception that the edge met, on the asker's side."""
    if refusal is None:
        return EdgeError("the edge gave neither an answer nor a reason: use the edge's own version")
    if refusal.kind == "target":
        return TargetRefused(refusal.message, refusal.best)
    makers = {"image": ImageError, "fabric": FabricError, "query": EdgeError, "swap": SwapError}
    return makers[refusal.kind](refusal.message)


def _frame(message: BaseModel) -> bytes:
    header = message.model_dump_json().encode()
    return _LENGTH.pack(len(header)) + header


def _check_owner(connection: socket.socket, path: Path) -> None:
    """Raise EdgeError unless who listens at `path`, and owns it, is this user or root: others get no pictures."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, listener, _ = _CREDENTIALS.unpack(credentials)
    for user in (listener, path.stat().st_uid):
        if user not in (0, os.geteuid()):
            raise EdgeError(
                f"{path} is user {user}'s, not yours: no picture is sent there; name your edge's own socket"
            )


def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; raises ConnectionError when they do not come."""
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("it closed the connection")
        received += part
    return received


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'query'}: {fault['msg']}, found {fault['input']!r}"


def _clear(socket_path: Path) -> None:
    """Remove the socket that a killed edge left; raises EdgeError when an edge listens there, or it is no socket."""
    if not socket_path.exists():
        return
    if not socket_path.is_socket():
        raise EdgeError(f"{socket_path} is there and no socket: name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(socket_path))
        except OSError:
            socket_path.unlink(missing_ok=True)
        else:
            raise EdgeError(f"an edge already listens at {socket_path}: stop it, or name another path")
