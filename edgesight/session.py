"""Asking from Python: a package opened on a fabric, pictures in, answers out.

    with edgesight.open("bitstreams/digits", fabric="csim") as edge:
        answer = edge.ask("three.png", accuracy=0.95, deadline_ms=50)

`open_async` gives the same inside an asyncio loop. The library of a simulated fabric is built once where it is missing,
which takes up to a minute, and kept in the user's cache. Either closes whatever it opened: the fabric, the way to the
data centre, the sensor.

Words owned here: session.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from edgesight.host.answer import Answer
from edgesight.host.edge import Edge, EdgeError, open_edge
from edgesight.host.images import ImageError, Pixels, image_content
from edgesight.host.libraries import find
from edgesight.host.link.addresses import host_and_port
from edgesight.host.package import Package

Picture = str | Path | bytes | Pixels  # a file's path, its content, or the pixels that the kernel or its back end takes
LONGEST_DEADLINE_MS = 60_000.0
_AT_ONCE = 64  # pictures of `ask_many` under way
T = TypeVar("T")


class AsyncSession:
    """An open edge; its methods may be called at the same time."""

    def __init__(self, edge: Edge) -> None:
        """Made by `open_async`."""
        self._edge = edge

    async def ask(self, picture: Picture, *, accuracy: float, deadline_ms: float) -> Answer:
        """What is on `picture`: a file's path, its content, or uint8 [H, W, C] as the kernel or its back end takes.

        `accuracy` is the least share of right answers that will do, `deadline_ms` when an answer must be there, from
        when the picture is read. Raises TargetRefused, ImageError, FabricError, or EdgeError when too many wait.
        """
        _check_number("deadline_ms", deadline_ms, LONGEST_DEADLINE_MS)
        _check_number("accuracy", accuracy, 1.0)
        target = self._edge.target(accuracy)
        if isinstance(picture, (str, Path, bytes)):
            name = "the picture" if isinstance(picture, bytes) else str(picture)
            content = picture if isinstance(picture, bytes) else await asyncio.to_thread(image_content, Path(picture))
            found = await self._edge.read(content, name)
        elif isinstance(picture, np.ndarray):
            name = "the array"
            found = await self._edge.take(picture, name)
        else:
            found_type = type(picture).__name__
            raise ImageError(f"a picture of type {found_type}: give a file's path, its content as bytes, or an array")
        answer = await self._edge.ask(found, target, deadline_ms / 1e3)
        return answer.model_copy(update={"warnings": tuple(f"{name} {warning}" for warning in found.warnings)})

    async def ask_many(self, pictures: Iterable[Picture], *, accuracy: float, deadline_ms: float) -> list[Answer]:
        """What is on each of `pictures`, in their order, as `ask` says it; the first that fails ends all."""
        room = asyncio.Semaphore(min(_AT_ONCE, self._edge.most_held))

        async def one(picture: Picture) -> Answer:
            async with room:
                return await self.ask(picture, accuracy=accuracy, deadline_ms=deadline_ms)

        tasks = [asyncio.ensure_future(one(picture)) for picture in pictures]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()


class Session:
    """The same for programs without asyncio: the edge runs in a thread of its own. Any thread may ask."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncSession]) -> None:
        """Made by `open_session`."""
        self._opening = opening
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgesight", daemon=True)
        self._thread.start()
        self._open = True
        self._closing = threading.Lock()  # so that nothing is begun once it closes
        try:
            self._session = self._run(opening.__aenter__())
        except BaseException:
            self._end()
            raise

    def ask(self, picture: Picture, *, accuracy: float, deadline_ms: float) -> Answer:
        """As `AsyncSession.ask`."""
        return self._run(self._session.ask(picture, accuracy=accuracy, deadline_ms=deadline_ms))

    def ask_many(self, pictures: Iterable[Picture], *, accuracy: float, deadline_ms: float) -> list[Answer]:
        """As `AsyncSession.ask_many`."""
        return self._run(self._session.ask_many(pictures, accuracy=accuracy, deadline_ms=deadline_ms))

    def close(self) -> None:
        """Close whatever was opened, after which whoever still waits is told so; may be called again."""
        with self._closing:
            if not self._open:
                return
            self._open = False
        try:
            _result(asyncio.run_coroutine_threadsafe(self._opening.__aexit__(None, None, None), self._loop))
        finally:
            self._end()

    def __enter__(self) -> Session:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._closing:
            if not self._open:
                work.close()
                raise EdgeError("the session is closed: open it anew")
            running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return _result(running)
        except CancelledError:
            raise EdgeError("the session was closed before it answered: open it anew") from None

    def _end(self) -> None:
        self._open = False
        _result(asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _result(running: Future[T]) -> T:
    try:
        return running.result()
    except BaseException:
        running.cancel()  # Ctrl-C: nobody waits for it any longer
        raise


async def _cancel_all() -> None:
    """End all else that runs in this loop, so that nobody in another thread waits for it for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


def _check_number(name: str, value: object, most: float) -> None:
    """Raise EdgeError where `value` is no number above 0, at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0.0 < value <= most:
        raise EdgeError(f"{name} {value!r}: expected a number above 0, at most {most:g}")


def _build(path: Path, fabric: str) -> None:
    """Build the library of a simulated `fabric` where this machine has none; raises VerilateError or CsimError."""
    # Imported only when it is to be built: whoever has a board, or the library, needs none of what builds one.
    if fabric == "verilated" and find(package := Package.load(path), "verilated") is None:
        from edgesight.sim import verilate

        verilate.build_library(package)
    elif fabric == "csim" and find(package := Package.load(path), "csim") is None:
        from edgesight.hls import csim

        csim.build_library(package)


@contextlib.asynccontextmanager
async def _session(opening: Callable[[], AbstractAsyncContextManager[Edge]]) -> AsyncIterator[AsyncSession]:
    # Opened only here, so that what is never entered holds no fabric; in a thread, since PYNQ runs a loop of its own.
    async with await asyncio.to_thread(opening) as edge:
        yield AsyncSession(edge)


def open_async(
    package: str | Path,
    *,
    fabric: str = "verilated",
    datacenter: str | None = None,
    keys: str | Path | None = None,
    power: str | None = None,
    hedge_budget: float | None = None,
) -> AbstractAsyncContextManager[AsyncSession]:
    """The kernel package in the folder `package` on `fabric`, to be entered by `async with`.

    `fabric` is as for `edgesight edge --fabric`; `datacenter` is HOST:PORT, reached with `keys`, the folder that
    `edgesight edge --enroll` wrote. `power` names a sensor, `hedge_budget` the share of requests to the data centre
    that may be needless. The fabric is opened on entering, which raises what `edgesight.host.edge.open_edge` does.
    Raises VerilateError or CsimError at once where the fabric's library cannot be built.
    """
    if not isinstance(fabric, str):
        raise EdgeError(f"fabric {fabric!r}: expected a name, such as 'csim' or 'verilated'")
    if keys is not None and datacenter is None:
        raise EdgeError("keys without a data centre: name it by datacenter='HOST:PORT', or leave keys out")
    _build(Path(package), fabric)
    return _session(
        partial(
            open_edge,
            Path(package),
            fabric,
            datacenter=host_and_port(datacenter) if datacenter is not None else None,
            keys_folder=Path(keys) if keys is not None else None,
            power=power,
            hedge_budget=hedge_budget,
        )
    )


def open_session(
    package: str | Path,
    *,
    fabric: str = "verilated",
    datacenter: str | None = None,
    keys: str | Path | None = None,
    power: str | None = None,
    hedge_budget: float | None = None,
) -> Session:
    """The kernel package in the folder `package` on `fabric`, open at once, and to be closed, which `with` does.

    For programs without asyncio; any thread may ask. Arguments and errors are those of `open_async`: `fabric` is
    "csim", "verilated" or a board's, as `edgesight edge --fabric` takes it; `datacenter` is HOST:PORT, reached with
    `keys`, the folder that `edgesight edge --enroll` wrote; `power` names a sensor, `hedge_budget` the share of
    requests to the data centre that may be needless.
    """
    opening = open_async(
        package, fabric=fabric, datacenter=datacenter, keys=keys, power=power, hedge_budget=hedge_budget
    )
    return Session(opening)
