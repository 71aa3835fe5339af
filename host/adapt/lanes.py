"""Frames that wait for a GPU, the order in which they go, and the batches that they go in.

An idle GPU takes those with the earliest deadlines, at most the plan's batch and no more than leave the first of them
in time. A frame that would be late even if it were run alone at once is run alone by a faster model that the GPU holds,
if there is one and nobody else becomes late by it; else it is dropped. Frames of clients that the plan does not serve
go last. A GPU changes its model between batches, once the new one is ready.

What a frame is told to count on at the server is what the last frames took there, but for the slowest of them.

Words owned here: *lane* (a GPU and what waits for it), *finish* (the moment at which an answer has to leave).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy.typing as npt

from edgesight.host.adapt.planning import Model, Work
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.doors.served import Code, Refused

RECENT: Final = 100  # frames by which the server's time is told
FEWEST: Final = 30  # before which it is told as planned
SHARE: Final = 0.9  # of them that took at most what is told

Outputs = Mapping[str, npt.NDArray[Any]]  # a frame's own


class Executor(Protocol):
    """Runs models on GPUs.

    Attributes:
        name: by which an answer says what ran it.
    """

    name: str

    async def start(self) -> None:
        """Load all that is run; raises AdaptError."""

    async def run(self, gpu: str, model: Model, frames: Sequence[bytes]) -> Sequence[Outputs | Refused]:
        """Each frame's outputs, or why it has none; one batch at a time on each GPU. Raises ModelError or Refused."""

    async def end(self) -> None:
        """Give everything back."""


@dataclass(frozen=True)
class Ran:
    """What became of a frame: its outputs, the model that ran it, and with how many others, itself included."""

    outputs: Outputs
    model: Model
    batch: int


@dataclass(eq=False)
class Frame:
    """A frame that waits."""

    content: bytes
    finish: float  # of the loop's clock
    served: bool  # its client has a place in the plan
    result: asyncio.Future[Ran]


class Late(Refused):
    """A frame that was dropped, since its answer would have been late."""

    def __init__(self) -> None:
        """Of any frame."""
        super().__init__(Code.DEADLINE_EXCEEDED, "the answer would have come too late: send smaller frames, or fewer")


class Lane:
    """One GPU; works while `run` does, in the loop that makes it."""

    def __init__(self, gpu: str, models: Mapping[str, Model], executor: Executor) -> None:
        """It runs nothing yet."""
        self.gpu = gpu
        self.model: Model | None = None
        self.batch = 1
        self.switches = 0
        self._planned = ("", 0)  # model and batch, from now or from soon on
        self._held: list[Model] = []  # besides the model, the most accurate first
        self._took: deque[float] = deque(maxlen=RECENT)  # seconds
        self._next: Work | None = None
        self._models, self._executor = models, executor
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Frame] = []
        self._something = asyncio.Event()

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._waiting)

    @property
    def server_ms(self) -> float:
        """What a frame is to count on: as it was lately; before that as planned, the rest of one batch and one more."""
        if len(self._took) >= FEWEST:
            return 1e3 * sorted(self._took)[math.ceil(SHARE * len(self._took)) - 1]
        model, batch = self._planned
        latency = self._models[model].latency_ms
        return 2.0 * latency[min(batch, len(latency)) - 1]

    def plan(self, work: Work) -> None:
        """Do this `work` once it can be."""
        if (work.model, work.batch) != self._planned:
            self._planned, self._next = (work.model, work.batch), work
            self._something.set()

    async def ask(self, frame: Frame) -> Ran:
        """What becomes of a frame; raises Refused. Whoever cancels this takes it back."""
        self._waiting.append(frame)
        self._something.set()
        begun = self._loop.time()
        try:
            ran = await frame.result
            self._took.append(self._loop.time() - begun)
            return ran
        finally:
            if frame in self._waiting:
                self._waiting.remove(frame)

    async def run(self) -> None:
        """Run what waits, for ever."""
        while True:
            now = self._loop.time()
            self._change(now)
            taken = self._take(now)
            if taken is not None:
                await self._answer(*taken)
                continue
            self._something.clear()
            # No `wait_for`: before Python 3.12 it may lose the cancellation by which this ends.
            soon = None if self._next is None else self._loop.call_at(self._next.ready_s, self._something.set)
            try:
                await self._something.wait()
            finally:
                if soon is not None:
                    soon.cancel()

    def _change(self, now: float) -> None:
        if self._next is not None and now >= self._next.ready_s:
            model = self._models[self._next.model]
            self.switches += self.model not in (None, model)
            held = [one for name, one in self._models.items() if name in self._next.held and one is not model]
            self._held = sorted(held, key=lambda one: -one.accuracy)
            self.model, self.batch, self._next = model, self._next.batch, None

    def _take(self, now: float) -> tuple[Model, list[Frame]] | None:
        """What to run next, of frames that have a result to come; those that could only be late are dropped."""
        if self.model is None:
            return None
        latency = [1e-3 * one for one in self.model.latency_ms]
        order = sorted(self._waiting, key=lambda one: (not one.served, one.finish))
        order = [frame for frame in order if not frame.result.done()]
        waiting = [frame for frame in order if now + latency[0] <= frame.finish]
        first = waiting[0].finish - latency[0] if waiting else math.inf
        saved: tuple[Model, list[Frame]] | None = None
        for frame in order:
            if now + latency[0] <= frame.finish:
                continue
            by = min(frame.finish, first) - now
            model = next((one for one in self._held if 1e-3 * one.latency_ms[0] <= by), None)
            if model is None:
                frame.result.set_exception(Late())
            elif saved is None:
                saved = model, [frame]
            else:
                waiting.append(frame)
        if saved is not None:
            self._waiting = waiting
            return saved
        count = min(self.batch, len(waiting), len(latency))
        while count > 1 and now + latency[count - 1] > waiting[0].finish:
            count -= 1
        self._waiting = waiting[count:]
        return (self.model, waiting[:count]) if count else None

    async def _answer(self, model: Model, batch: Sequence[Frame]) -> None:
        given: Sequence[Outputs | Refused]
        try:
            given = await self._executor.run(self.gpu, model, [frame.content for frame in batch])
        except ModelError as error:
            given = [Refused(Code.INTERNAL, str(error))] * len(batch)
        except Refused as error:
            given = [error] * len(batch)
        for frame, outputs in zip(batch, given, strict=True):
            if frame.result.done():
                continue
            if isinstance(outputs, Refused):
                frame.result.set_exception(outputs)
            else:
                frame.result.set_result(Ran(outputs, model, len(batch)))
