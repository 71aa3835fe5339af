"""The edge: the one way from a picture to its answer. It reads pictures, batches them for the fabric, and settles them.

Whoever asks, over a socket (`edgesight.host.queries`), from Python (`edgesight.session`) or from a bench, asks here.
A board has little memory, so one picture is decoded at a time, and those that are not answered yet take at most
`HELD_BYTES` together, in the forms that the fabric and the back end take.

Words owned here: edge, look (one run of the fabric on the pictures that wait).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from edgesight.host.answer import Answer, Leg
from edgesight.host.answered import Answered
from edgesight.host.audits import Auditing, Audits
from edgesight.host.back_end import form_for, form_sha256
from edgesight.host.cascade import Cascade, Request
from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import FabricError
from edgesight.host.fabric.makers import open_fabric
from edgesight.host.hedge import Hedging
from edgesight.host.images import Picture, photograph_shape, picture_of, read_image
from edgesight.host.kernel import Calibration, Kernel, Target
from edgesight.host.measures import Measure
from edgesight.host.novelty import NoveltyTest
from edgesight.host.package import Package
from edgesight.host.power.meter import EnergyMeter
from edgesight.host.power.sensors import open_sensor
from edgesight.host.recent import Recent
from edgesight.host.swap import successor_of

if TYPE_CHECKING:
    from edgesight.host.link.client import OffloadClient

MAX_WAITING = 256  # images that wait for the fabric; beyond, asking is refused at once
HELD_BYTES = 64 * 2**20  # of pictures that are not answered yet; one is always taken
LOOK_AT_MOST = 64  # images of one run of the fabric


class EdgeError(EdgeSightError):
    """An edge that cannot be started or asked: says what was found and what to do."""


class EdgeFull(EdgeError):
    """An edge that takes no more pictures now: asking again later may do."""


@dataclass(frozen=True)
class Look:
    """One run of the fabric: `began` and `ended` of the loop's clock, on so many `pictures`."""

    began: float
    ended: float
    pictures: int


Looked = Callable[[Look], None]


@dataclass(frozen=True, order=True)
class _Waiting:
    """A request on its way to the fabric, and whoever waits for its answer."""

    place: tuple[int, int]  # its priority, and a number by which the older one goes first
    request: Request = field(compare=False)
    answer: asyncio.Future[Answer] = field(compare=False)
    looked: Looked | None = field(compare=False)


class Edge:
    """Takes images and batches them for the fabric; an asynchronous context manager, within which it answers."""

    def __init__(
        self, cascade: Cascade, *, decoder: ThreadPoolExecutor | None = None, held_bytes: int = HELD_BYTES
    ) -> None:
        """To be entered inside an asyncio loop. The cascade stays its maker's to close.

        Several edges of one process share a `decoder`, which stays its maker's too, and the `held_bytes`.
        """
        self._cascade = cascade
        self._held_bytes = held_bytes
        self._waiting: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue(MAX_WAITING)
        self._numbers = itertools.count()
        self._answered = Answered()
        self.recent = Recent()
        self._asking = 0  # pictures that are about to wait
        self._at_fabric = 0  # that the fabric looks at
        self._settling: set[asyncio.Task[None]] = set()
        self._own_decoder = decoder is None
        self._decoder = decoder or picture_decoder()
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Edge:
        """Begin to work."""
        self._work = asyncio.get_running_loop().create_task(self._answer_all())
        self._work.add_done_callback(lambda _: self._tell_waiting())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more; whoever still waits is told so."""
        assert self._work is not None
        tasks = [self._work, *self._settling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._own_decoder:
            self._decoder.shutdown(wait=False, cancel_futures=True)

    @property
    def kernel(self) -> Kernel:
        """What it runs."""
        return self._cascade.kernel

    @property
    def calibration(self) -> Calibration:
        """What it answers under."""
        return self._cascade.terms.calibration

    def target(self, accuracy: float) -> Target:
        """The lowest offered target of at least `accuracy`; raises TargetRefused when there is none."""
        return self._cascade.target(accuracy)

    async def read(self, content: bytes, name: str) -> Picture:
        """The picture in a file's `content`, called `name` in errors, as the kernel takes it.

        Raises ImageError, EdgeFull when too many wait, or EdgeError when the edge is closed.
        """
        self._check_room()
        loop, kernel = asyncio.get_running_loop(), self.kernel
        return await loop.run_in_executor(self._decoder, read_image, content, kernel.input, name, kernel.backend_input)

    async def take(self, array: npt.NDArray[Any], name: str) -> Picture:
        """The picture that `array` is, uint8 [H, W, C] as fabric or back end takes it; the rest as of `read`."""
        self._check_room()
        loop, kernel = asyncio.get_running_loop(), self.kernel
        if photograph_shape(kernel.input, kernel.backend_input) is None:
            return picture_of(array, kernel.input, name)  # nothing to be made of it that would take a thread
        return await loop.run_in_executor(self._decoder, picture_of, array, kernel.input, name, kernel.backend_input)

    async def ask(
        self,
        picture: Picture,
        target: Target,
        deadline: float,
        *,
        priority: int = 1,
        looked: Looked | None = None,
        trace: str | None = None,
    ) -> Answer:
        """Answer of `picture`, as `read` or `take` gave it, under `target`, `deadline` seconds from now.

        Of the pictures that wait for the fabric, those of a lower `priority` go first; `looked` is told of the run of
        the fabric that it was in, and the data centre of the `trace`, a W3C `traceparent`. Once cancelled it goes no
        further. Raises FabricError, EdgeFull when too many wait, EdgeError when the edge is closed, or TargetRefused
        where the target was swapped out since it was given.
        """
        self._check_room()
        self._asking += 1
        try:
            request = await self._cascade.request(picture, target, deadline, trace)
        finally:
            self._asking -= 1
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(_Waiting((priority, next(self._numbers)), request, answer, looked))
        if self.closed:
            self._tell_waiting()
        return await answer

    async def swap(
        self, calibration: Calibration, novelty: NoveltyTest | None = None, package: Package | None = None
    ) -> None:
        """Take `calibration` over, and the weights of `package`, while queries go on: see `Cascade.swap`."""
        await self._cascade.swap(calibration, novelty, package)
        self._answered.swapped()

    async def reload(self) -> Calibration:
        """Take over the calibration that the package's folder holds now, and return it; the rest as of `swap`.

        So it does with weights, where those of the package are loaded at run time. Raises KernelError, too, where the
        folder is damaged.
        """
        now = await asyncio.to_thread(successor_of, self._cascade.package)
        await self.swap(now.calibration, now.novelty, now.package)
        return now.calibration

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself."""
        waiting = Measure("waiting", "Pictures that wait for the fabric.", "gauge", (), {(): self._waiting.qsize()})
        return *self._answered.measures(), *self._cascade.measures(), waiting

    @property
    def most_held(self) -> int:
        """Pictures that may be unanswered at a time, whether they wait or are under way."""
        kernel = self.kernel
        photograph = photograph_shape(kernel.input, kernel.backend_input)
        size = kernel.input.frame_bytes + (math.prod(photograph) if photograph is not None else 0)
        return max(1, self._held_bytes // size)

    @property
    def closed(self) -> bool:
        """It answers nothing: it was not entered, was left, or a fault of ours ended its work."""
        return self._work is None or self._work.done()

    def _check_room(self) -> None:
        """Raise EdgeError where another picture cannot be taken."""
        if self.closed:
            raise EdgeError("the edge is closed: open it anew")
        waiting = self._waiting.qsize() + self._asking
        if waiting >= MAX_WAITING:
            raise EdgeFull(f"{MAX_WAITING} queries already wait: ask again later")
        held = waiting + self._at_fabric + len(self._settling)
        if held >= self.most_held:
            raise EdgeFull(
                f"{held} pictures of others, all that there is memory for, wait for answers: ask again later"
            )

    async def failed(self) -> None:
        """Return never, but raise what ends the edge's work: a fault of ours."""
        assert self._work is not None
        await asyncio.shield(self._work)

    async def _answer_all(self) -> None:
        """Run the fabric on whatever waits, for ever; the way to the data centre is taken beside it."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < LOOK_AT_MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            batch = self._wanted(batch)
            if not batch:
                continue
            begin, self._at_fabric = loop.time(), len(batch)
            try:
                records, legs = await self._cascade.look([waiting.request for waiting in batch])
            except (Exception, asyncio.CancelledError) as error:  # whatever it is: who asks must not wait for ever
                self._at_fabric = 0
                for waiting in batch:
                    self._answered.failed()
                    self._end(waiting, error if isinstance(error, Exception) else _closed())
                if isinstance(error, FabricError):
                    continue
                raise
            self._at_fabric = 0
            look = Look(begin, loop.time(), len(batch))
            self._answered.look(len(batch))
            for waiting in batch:
                if waiting.looked is not None:
                    waiting.looked(look)
            for waiting, record, leg in zip(batch, records, legs, strict=True):
                if not self._wanted([waiting]):
                    continue
                # Simulating is slower than what is simulated, so waiting for it counts for no deadline.
                waited = 0.0 if self._cascade.simulated else begin - waiting.request.since
                task = loop.create_task(self._settle(waiting, record, leg, waited))
                self._settling.add(task)
                task.add_done_callback(self._settling.discard)
                waiting.answer.add_done_callback(partial(_stop_unwanted, task))

    def _wanted(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Of `batch` what somebody still waits for; the rest was cancelled, and is let go of before it costs more."""
        for waiting in batch:
            if waiting.answer.cancelled():
                self._cascade.give_up(waiting.request)
        return [waiting for waiting in batch if not waiting.answer.cancelled()]

    def _tell_waiting(self) -> None:
        """Nobody answers any more: end whatever has not come to the fabric yet."""
        while not self._waiting.empty():
            self._end(self._waiting.get_nowait(), _closed())

    def _end(self, waiting: _Waiting, error: Exception) -> None:
        self._cascade.give_up(waiting.request)
        if not waiting.answer.done():
            waiting.answer.set_exception(error)

    async def _settle(self, waiting: _Waiting, record: Any, leg: Leg, waited: float) -> None:
        try:
            answer = await self._cascade.settle(waiting.request, record, leg, waited)
        except asyncio.CancelledError:
            if not waiting.answer.done():
                waiting.answer.set_exception(_closed())
            raise
        except Exception as error:  # whatever it is: who asks must not wait for ever
            self._answered.failed()
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
            if not isinstance(error, FabricError):
                raise  # a fault of ours: let it be seen
        else:
            novelty = waiting.request.terms.novelty
            self._answered.answer(answer, novelty.level if novelty is not None else None)
            self.recent.add(self.kernel.name, waiting.request.picture.for_back_end, answer.told)
            if not waiting.answer.done():
                waiting.answer.set_result(answer)


def picture_decoder() -> ThreadPoolExecutor:
    """Decodes one picture at a time, as each may take a good part of a board's memory."""
    return ThreadPoolExecutor(1, "picture")


def _stop_unwanted(settling: asyncio.Task[None], answer: asyncio.Future[Answer]) -> None:
    """Once an `answer` was cancelled nobody waits for it: end what is under way for it."""
    if answer.cancelled():
        settling.cancel()


def _closed() -> EdgeError:
    return EdgeError("the edge was closed before it answered: open it anew")


def open_edge(  # noqa: PLR0913 - all that an edge can be told
    package_path: Path,
    fabric_name: str,
    *,
    datacenter: tuple[str, int] | None = None,
    keys_folder: Path | None = None,
    power: str | None = None,
    hedge_budget: float | None = None,
    audits: Auditing | None = None,
    decoder: ThreadPoolExecutor | None = None,
    held_bytes: int = HELD_BYTES,
) -> AbstractAsyncContextManager[Edge]:
    """An edge of the package at `package_path` on the fabric called so, to be entered; closes whatever it opened.

    `datacenter` is host and port, reached with the keys in `keys_folder`; it is connected to in the background, and
    without one unsure answers are the last stage's, marked degraded. `power` names a sensor as `open_sensor` takes it,
    whose energy answers then carry. With `hedge_budget`, a share of the requests to the data centre, images are hedged
    (see `edgesight.host.hedge`). With `audits` a share of the answers is audited, and kept (see
    `edgesight.host.audits`). `decoder` and `held_bytes` are as of `Edge`. Raises KernelError, FabricError, KeysError,
    LinkError, PowerError, HedgeError, AuditError or EdgeError at once, before anything is entered.
    """
    package = Package.load(package_path)
    calibration = package.kernel.calibration
    package.check_cascade()
    if calibration is None:
        raise EdgeError(f"{package_path} is not calibrated, so no accuracy is known: run `edgesight calibrate`")
    connect = _way_to(datacenter, keys_folder, package.kernel, calibration) if datacenter is not None else None
    meter = EnergyMeter(open_sensor(power)) if power is not None else None
    hedging = Hedging(hedge_budget) if hedge_budget is not None else None
    audited = Audits(audits, calibration, package.kernel.classes) if audits is not None else None
    fabric = open_fabric(package, fabric_name)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Edge]:
        try:
            client = connect() if connect is not None else None
            cascade = Cascade(fabric, calibration, client, meter, hedging, audited)
        except BaseException:
            fabric.close()
            raise
        if client is not None:
            client.start()
        if meter is not None:
            meter.start()
        try:
            async with Edge(cascade, decoder=decoder, held_bytes=held_bytes) as edge:
                yield edge
        finally:
            await cascade.end_audits()
            if client is not None:
                await client.close()
            cascade.close()
            if meter is not None:
                meter.close()

    return opened()


def _way_to(
    datacenter: tuple[str, int], keys_folder: Path | None, kernel: Kernel, calibration: Calibration
) -> Callable[[], OffloadClient]:
    """Makes the client of the data centre, inside an asyncio loop. Raises KeysError, or LinkError without QUIC."""
    # Imported only now: not every board has what QUIC needs, and an edge without a data centre needs none of it.
    from edgesight.host.link.client import OffloadClient
    from edgesight.host.link.keys import KeysError, client_keys
    from edgesight.host.link.quality import ladder_of
    from edgesight.host.link.quic import IDLE_TIMEOUT

    if keys_folder is None:
        raise KeysError("a data centre is given without keys: name the folder that `edgesight edge --enroll` wrote")
    keys = client_keys(keys_folder, IDLE_TIMEOUT)
    return lambda: OffloadClient(
        *datacenter,
        keys,
        model_sha256=calibration.backend_sha256,
        form_sha256=form_sha256(form_for(kernel)),
        ladder=ladder_of(calibration.ladder),
    )
