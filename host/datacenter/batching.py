"""One model's scheduler: who waits for it, who goes next, and in how large batches.

Callers share the model's time fairly (`edgesight.host.datacenter.shares`); of a caller's requests the more urgent level
goes first, and within it the nearest deadline. A batch is as large as all in it can still be in time, and as who comes
next need not wait too long for, by what batches have taken. What cannot be in time is refused as soon as that is known,
at its coming if it can be, and what there is no room for with the time after which there may be some.

Words owned here: job, runner.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from edgesight.host.datacenter.blocks import bytes_of
from edgesight.host.datacenter.durations import Durations
from edgesight.host.datacenter.executors.base import Arrays, ModelError
from edgesight.host.datacenter.shares import Line, Share, Shares
from edgesight.host.datacenter.workers import Answer
from edgesight.host.doors.served import Code, Refused

NO_LEVEL = 1 << 31  # of requests that name no priority: after all that do
_MARGIN = 1.1  # times what a batch usually takes, to be in time for certain
_SLACK = 0.5  # of the time that requests of late had, which a batch may take from who comes next
_SMOOTHED = 16  # requests over which that time is smoothed
_RETRY_LEAST = 0.05  # seconds
_KEPT_SHARES = 1_024
_COPY_BYTES = 256  # that a job holds beside its arrays


@dataclass(frozen=True)
class Limits:
    """What may wait for one model.

    Attributes:
        jobs: of all callers together, in equal parts; at least `fewest` of each.
        fewest: of one caller, however many there are.
        bytes: of the inputs of all.
        caller_bytes: of the inputs of one caller.
        patience: seconds that a request without a deadline waits.
    """

    jobs: int = 512
    fewest: int = 16
    bytes: int = 256 << 20
    caller_bytes: int = 128 << 20
    patience: float = 60.0


@dataclass(frozen=True)
class Done:
    """What came of a job: its own rows of the outputs, and where its time went, in seconds."""

    outputs: Mapping[str, npt.NDArray[Any]]
    queue: float
    compute: tuple[float, float, float]  # of its whole batch: taking inputs, the model, giving outputs
    batch: int  # rows


class Runner(Protocol):
    """What runs a batch, once it can."""

    name: str  # of the model

    def delay(self) -> float:
        """Seconds until it can begin; 0.0: now; infinite: it cannot."""

    async def ready(self) -> None:
        """Wait until it can begin. Raises Refused where it will not."""

    async def run(self, inputs: Mapping[str, Sequence[npt.NDArray[Any]]], wanted: Sequence[str], rows: int) -> Answer:
        """The outputs for the inputs' parts, joined. Raises ModelError or Refused."""


@dataclass(eq=False)
class Job:
    """A request that waits for the model."""

    inputs: Arrays
    wanted: tuple[str, ...]
    rows: int
    deadline: float  # of the loop's clock
    level: int
    share: Share[Job]
    number: int
    came: float
    bytes: int
    result: asyncio.Future[Done]
    timer: asyncio.TimerHandle | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = field(default=())

    @property
    def waits(self) -> bool:
        """Whether somebody still wants its answer."""
        return not self.result.done()


class Scheduler:
    """Of one model; runs in the loop that makes it. `run` does the work."""

    def __init__(self, runner: Runner, max_batch: int, limits: Limits) -> None:
        """`max_batch` 0: inputs are not joined."""
        self.max_batch = max_batch  # where it is not 0, it may be made another at any time
        self._runner, self._limits = runner, limits
        self._loop = asyncio.get_running_loop()
        self._shares: Shares[Job] = Shares()
        self._numbers = itertools.count()
        # Something waits; nothing waits and nothing is in work; nothing is in work.
        self._something, self._empty, self._rest = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._rest.set()
        self._waiting: dict[int, Job] = {}  # by number
        self._bytes = 0
        self.had = math.inf  # seconds that requests of late had, smoothed
        self._until = 0.0  # when the batch in work is expected to end
        self.usual = Durations(self._loop.time())
        self.working = 0  # jobs of the batch in work
        self._over = False  # `run` has ended

    def __len__(self) -> int:
        """Jobs that wait; those in work are not among them."""
        return len(self._waiting)

    def in_time(self, at: float) -> int:
        """Jobs that wait and would be in time if the model could begin at `at`, seconds of the loop's clock."""
        latest = at + self.usual.expected(1) * _MARGIN
        return sum(job.deadline > latest for job in self._waiting.values())

    async def ask(
        self,
        caller: str,
        inputs: Arrays,
        wanted: Sequence[str] = (),
        timeout: float | None = None,
        level: int = NO_LEVEL,
    ) -> Done:
        """The outputs `wanted` for contiguous inputs; raises Refused.

        Whoever cancels this gives its place to others at once.
        """
        job = self._admitted(caller, inputs, tuple(wanted), timeout, level)
        try:
            return await job.result
        finally:
            self._withdraw(job)

    async def run(self) -> None:
        """Answer what comes, for ever; what waits when this is cancelled is refused."""
        try:
            while True:
                await self._something.wait()
                try:
                    await self._runner.ready()
                except Refused as error:
                    self.refuse_all(error)
                    continue
                batch = self._timely(self._taken())
                if batch:
                    await self._work(batch)
                self._look_whether_empty()
        finally:
            self._over = True
            self.refuse_all(self._unloaded())

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is in work."""
        await self._empty.wait()

    async def rest(self) -> None:
        """Wait until nothing is in work."""
        await self._rest.wait()

    # --------------------------------------------------------------------------------------------------- admission

    def _admitted(self, caller: str, inputs: Arrays, wanted: tuple[str, ...], timeout: float | None, level: int) -> Job:
        if self._over:
            raise self._unloaded()
        now = self._loop.time()
        had = self._limits.patience if timeout is None else timeout
        rows = len(next(iter(inputs.values()))) if self.max_batch else 1
        share = self._shares.of(caller)
        held = sum(bytes_of(array) for array in inputs.values()) + _COPY_BYTES
        self._check_time(share, rows, now, had, timeout is not None)
        self._check_room(share, held)
        if timeout is not None:
            self.had = had if math.isinf(self.had) else self.had + (had - self.had) / _SMOOTHED
        job = Job(
            inputs, wanted, rows, now + had, level, share, next(self._numbers), now, held, self._loop.create_future()
        )
        job.shapes = tuple((name, array.shape[1:]) for name, array in inputs.items()) if self.max_batch else ()
        # By then its load has to go on, if it is not in memory.
        job.timer = self._loop.call_at(job.deadline - self._begins(), self._due, job)
        self._shares.wait(share, job.deadline, job.number, job, level)
        share.bytes += held
        self._bytes += held
        self._waiting[job.number] = job
        self._empty.clear()
        self._something.set()
        return job

    def _check_time(self, share: Share[Job], rows: int, now: float, had: float, told: bool) -> None:
        """Raise Refused where a request that comes now and has `had` seconds will not be in time."""
        needed = self._needed(share, rows, now)
        if needed > had:
            self.usual.doubt(now + had, now)
            needed = self._needed(share, rows, now)
        if needed <= had:
            return
        name = self._runner.name
        delay = self._runner.delay()
        if math.isinf(delay):
            raise Refused(Code.UNAVAILABLE, f"model {name} is not in memory and cannot be loaded now", 1.0)
        why = (
            f"model {name} is not in memory, and its load takes {delay:.2g} s" if delay > 0.0 else "others go before it"
        )
        raise Refused(
            Code.DEADLINE_EXCEEDED if told else Code.RESOURCE_EXHAUSTED,
            f"an answer of model {name} would take about {needed:.2g} s, and there are {had:.2g} s: {why}; give it "
            "more time, or ask later",
            max(needed - had, _RETRY_LEAST),
        )

    def _needed(self, share: Share[Job], rows: int, now: float) -> float:
        """Seconds until a request of `share` that comes now would be answered, at best."""
        # Of each caller as many go before a further one of this caller as this caller itself has waiting.
        ahead = sum(min(other.queued, share.queued) for other in self._shares) if self._waiting else 0
        begins = max(self._runner.delay(), self._until - now, 0.0)
        return begins + ahead * self.usual.each() + self.usual.expected(rows)

    def _check_room(self, share: Share[Job], held: int) -> None:
        """Raise Refused where there is no room for so many bytes more; who holds the most makes room for others."""
        limits, name = self._limits, self._runner.name
        active = sum(one.queued > 0 for one in self._shares) + (not share.queued)
        most = max(limits.jobs // active, limits.fewest)
        retry = max(share.queued * self.usual.each(), _RETRY_LEAST)
        if share.queued >= most:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"{share.queued} requests of yours wait for model {name}, the most that may: ask again later",
                retry,
            )
        if share.bytes + held > min(limits.caller_bytes, limits.bytes):
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"your requests that wait for model {name} hold {share.bytes} bytes, and with this one more than "
                f"{limits.caller_bytes}: ask again later",
                retry,
            )
        while self._bytes + held > limits.bytes:
            fullest = max((one for one in self._shares if one.queued), key=lambda one: one.bytes, default=share)
            if fullest is share or fullest.bytes <= share.bytes + held:
                raise Refused(
                    Code.RESOURCE_EXHAUSTED, f"what waits for model {name} fills its memory: ask again later", retry
                )
            self._refuse(
                fullest.waiting.last(),
                Refused(Code.RESOURCE_EXHAUSTED, f"model {name} made room for other callers: ask again later", retry),
            )

    # ------------------------------------------------------------------------------------------------------ leaving

    def _withdraw(self, job: Job) -> None:
        """Let a job wait no more, if it does."""
        if self._waiting.pop(job.number, None) is None:
            return
        job.share.waiting.remove(job.deadline, job.number, job.level)
        self._left(job)
        self._look_whether_empty()

    def _left(self, job: Job) -> None:
        """It waits no more, and is in no line."""
        if job.timer is not None:
            job.timer.cancel()
        job.share.bytes -= job.bytes
        self._bytes -= job.bytes
        if not self._waiting:
            self._something.clear()
            self._shares.forget(_KEPT_SHARES)

    def _look_whether_empty(self) -> None:
        if not (self._waiting or self.working):
            self._empty.set()

    def _begins(self) -> float:
        """Seconds that an answer takes if it is the next."""
        return self._runner.delay() + self.usual.expected(1)

    def _due(self, job: Job) -> None:
        if self._runner.delay() > 0.0 and self._loop.time() + self._begins() >= job.deadline:
            self._late(job)
        else:
            job.timer = self._loop.call_at(job.deadline, self._late, job)

    def _late(self, job: Job) -> None:
        if job.waits:
            self._refuse(job, self._lateness(job))

    def _lateness(self, job: Job) -> Refused:
        delay = self._runner.delay()
        why = "it was not in memory, and busier models were" if delay > 0.0 else "others went before it"
        return Refused(
            Code.DEADLINE_EXCEEDED,
            f"model {self._runner.name} does not come to it in {job.deadline - job.came:.3g} s: {why}; give it more "
            "time, or ask later",
            max(self._begins(), _RETRY_LEAST),
        )

    def _refuse(self, job: Job, error: Refused) -> None:
        self._withdraw(job)
        if job.waits:
            job.result.set_exception(error)

    def refuse_all(self, error: Refused) -> None:
        """Refuse what waits."""
        for job in list(self._waiting.values()):
            self._refuse(job, error)

    # ------------------------------------------------------------------------------------------------------ batches

    def _taken(self) -> list[Job]:
        """Who goes next, together."""
        most = self._most()
        if not self._waiting:
            return []
        first = min((share for share in self._shares if len(share.waiting)), key=lambda share: share.used)
        shapes = first.waiting.next().shapes
        taken = self._shares.take(
            _waiting,
            lambda share: most,
            most,
            lambda job: job.rows,
            lambda job: self.max_batch > 0 and job.shapes == shapes,
        )
        for job in taken:
            del self._waiting[job.number]
            self._left(job)
        return taken

    def _most(self) -> int:
        """Rows that go together now, so that they are in time and who comes meanwhile is, too.

        Of a caller who has more waiting than its part of a batch the nearest deadlines bound nothing: batches would
        become the smaller, and fewer of its requests answered, the more it asks. Those that a batch comes too late for
        are refused.
        """
        now = self._loop.time()
        shares = [share for share in self._shares if len(share.waiting)]
        most = max(self.max_batch, 1)
        part = max(most // max(len(shares), 1), 1)
        soonest = min((share.waiting.next().deadline for share in shares if share.queued <= part), default=math.inf)
        within = min(soonest - now, self.had * _SLACK)
        most = self.usual.batch(most, max(within / _MARGIN, 0.0))
        latest = now + self.usual.expected(min(most, len(self._waiting)))
        for share in shares:
            while share.queued > part and share.waiting.next().deadline <= latest:
                job = share.waiting.next()
                self._refuse(job, self._lateness(job))
        return most

    def _timely(self, taken: list[Job]) -> list[Job]:
        """Those of `taken` that can still be in time: nothing but what comes too late would else be worked on."""
        now = self._loop.time()
        timely = []
        for job in taken:
            needed = self.usual.expected(job.rows)
            if job.deadline - needed <= now:
                self.usual.doubt(job.deadline, now)
                needed = self.usual.expected(job.rows)
            if not job.waits:
                continue
            if job.deadline - needed <= now:
                job.result.set_exception(self._lateness(job))
            else:
                timely.append(job)
        return timely

    async def _work(self, batch: list[Job]) -> None:
        rows = sum(job.rows for job in batch)
        begun = self._loop.time()
        self.working = len(batch)
        self._rest.clear()
        self._until = begun + self.usual.expected(rows)
        try:
            await self._answer(batch, rows, begun)
        except ModelError as error:
            if len(batch) == 1:
                self._fail(batch, error)
                return
            # One of them may be what it fails on, and must not cost the others their answers.
            for job in batch:
                if job.waits:
                    try:
                        await self._answer([job], job.rows, begun)
                    except ModelError as alone:
                        self._fail([job], alone)
                    except Refused as refused:
                        _settle([job], refused)
        except Refused as error:
            _settle(batch, error)
        finally:
            _settle(batch, self._unloaded())
            self.working = 0
            self._rest.set()

    async def _answer(self, batch: list[Job], rows: int, begun: float) -> None:
        """Run the model on `batch` and give out what comes of it."""
        inputs = {name: [job.inputs[name] for job in batch] for name in batch[0].inputs}
        wanted: list[str] = []
        if all(job.wanted for job in batch):
            wanted = sorted({name for job in batch for name in job.wanted})
        at = self._loop.time()
        answer = await self._runner.run(inputs, wanted, rows)
        took = self._loop.time() - at
        self.usual.answered(rows, took, self._loop.time())
        begin = 0
        for job in batch:
            job.share.used += took * job.rows / rows
            outputs = answer.outputs
            if self.max_batch:
                outputs = {name: array[begin : begin + job.rows] for name, array in outputs.items()}
            fault = next((place for place in range(begin, begin + job.rows) if place in answer.faults), None)
            begin += job.rows
            if job.waits and fault is not None:
                told = f"picture {fault - begin + job.rows} {answer.faults[fault]}"
                job.result.set_exception(Refused(Code.INVALID_ARGUMENT, told))
            elif job.waits:
                named = {name: array for name, array in outputs.items() if not job.wanted or name in job.wanted}
                job.result.set_result(Done(named, begun - job.came, answer.seconds, rows))

    def _unloaded(self) -> Refused:
        return Refused(Code.UNAVAILABLE, f"model {self._runner.name} is unloaded: ask again", 1.0)

    def _fail(self, batch: list[Job], error: ModelError) -> None:
        _settle(batch, Refused(Code.INTERNAL, f"model {self._runner.name} failed: {error}"))


def _settle(batch: Sequence[Job], error: Refused) -> None:
    for job in batch:
        if job.waits:
            job.result.set_exception(error)


def _waiting(share: Share[Job]) -> Line[Job]:
    return share.waiting
