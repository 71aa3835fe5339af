"""One version of a model on this machine: loaded, tried, asked, started anew where it was lost, unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter import engine
from edgesight.host.datacenter.batching import NO_LEVEL, Done, Limits, Scheduler
from edgesight.host.datacenter.engine import State
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.memory import Memory, Rate
from edgesight.host.datacenter.repository import Version, check_same, open_file
from edgesight.host.datacenter.trial import Outputs, Ports, try_on_zeros
from edgesight.host.datacenter.workers import LOAD_WITHIN, Answer, Worker, WorkerLost
from edgesight.host.doors.served import Code, Refused, TensorForm

_PROCESS_BYTES = 64 << 20  # that a worker takes beside its model, before any was measured
_FILE_TIMES = 2.0  # bytes that a model takes in memory, a byte of its file, before that is measured
_LOAD_S = 2.0  # seconds of a load, before one was measured
_HANGS, _HANGS_LEAST, _HANGS_MOST = 20.0, 2.0, 60.0  # a call hangs after so many times its usual seconds; bounds of it
_AGAIN, _AGAIN_MOST = 0.1, 30.0  # seconds before a lost worker is started anew: twice as many each time

logger = logging.getLogger(__name__)


class Hosted:
    """The `engine.Hosted` of the local engine; a tenant of the memory, and its scheduler's runner."""

    def __init__(self, version: Version, memory: Memory, limits: Limits) -> None:
        """Of a version that was found; `begin` loads it. Raises ModelError where its file cannot be opened."""
        self.version = version
        self.name = version.title
        self.state, self.reason = State.LOADING, ""
        self.inputs: Sequence[TensorForm] = ()
        self.outputs: Sequence[TensorForm] = ()
        self.max_batch_size = 0
        self.takes_pictures = False  # encoded, beside its own inputs
        self.bytes = round(_PROCESS_BYTES + _FILE_TIMES * version.bytes)
        self.measured = False  # else `bytes` is an estimate
        self.load_s = _LOAD_S
        self.lost = 0  # workers
        self.scheduler: Scheduler | None = None
        self._memory, self._limits = memory, limits
        self._loop = asyncio.get_running_loop()
        self.rate = Rate(self._loop.time())
        self._file = open_file(version)
        self._worker: Worker | None = None
        self._sha256 = ""  # of the file that was loaded first
        self._leaving = False
        self._restart: asyncio.Task[None] | None = None
        self._failures = 0  # of workers, one after the other
        self._not_before = 0.0  # when another may be started, by the loop's clock
        self._largest = 0  # rows of a batch, for which memory was measured
        self._loaded_bytes = self.bytes  # before requests came
        options = version.recipe.options
        self._prepares = options.get("device", "cpu") != "cpu" or options.get("compile") == "true"
        self._prepared: set[int] = set()  # rows of batches that this worker has had
        self._work: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------------ its life

    @property
    def in_memory(self) -> bool:
        """It has a worker."""
        return self._worker is not None

    @property
    def sha256(self) -> str:
        """Checksum of the file that it was loaded of; empty before."""
        return self._sha256

    @property
    def faulty(self) -> bool:
        """It takes no requests, since its worker is gone and the next does not yet work."""
        return self._restart is not None

    @property
    def absent(self) -> str:
        """Why it is not in memory just now; empty: it is."""
        return "" if self._memory.holds(self) else "not in memory: the next request brings it back"

    async def begin(self, beside: engine.Hosted | None = None) -> None:
        """As `engine.Hosted` says."""
        assert beside is None or isinstance(beside, Hosted)
        try:
            await self._memory.make(self, beside)
        except ModelError as error:
            await self._memory.leave(self)
            self._close_file()
            code = Code.UNAVAILABLE if isinstance(error, WorkerLost) else Code.INVALID_ARGUMENT
            raise Refused(code, str(error)) from error
        except BaseException:
            await self._memory.leave(self)
            self._close_file()
            raise
        self.scheduler = Scheduler(self, self.max_batch_size, self._limits)
        self._work = self._loop.create_task(self.scheduler.run())
        self.state = State.READY
        logger.info(
            "model %s: loaded in %.2f s, %d MiB (%s), file %s",
            self.name,
            self.load_s,
            self.bytes >> 20,
            "measured",
            self._sha256[:12],
        )

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""
        return len(self.scheduler) if self.scheduler is not None else 0

    async def ask(
        self,
        caller: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        wanted: Sequence[str] = (),
        timeout: float | None = None,
        level: int = NO_LEVEL,
    ) -> Done:
        """As `engine.Hosted` says."""
        assert self.scheduler is not None  # as it was begun
        self.rate.add(self._loop.time())
        return await self.scheduler.ask(caller, inputs, wanted, timeout, level)

    def limit_rows(self, rows: int) -> None:
        """As `engine.Hosted` says."""
        assert self.scheduler is not None  # as it was begun
        self.scheduler.max_batch = rows

    async def end(self, drain: float) -> None:
        """As `engine.Hosted` says."""
        self.state, self.reason = State.UNLOADING, "it is unloaded"
        if self.scheduler is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.scheduler.drained(), drain)
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._stop_restart()
        await self._memory.leave(self)
        await self._end_worker()
        self._close_file()
        self.state, self.reason = State.UNAVAILABLE, "unloaded"

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # ---------------------------------------------------------------------------------------- as the memory's tenant

    def in_time(self, at: float) -> int:
        """Requests that wait and would be in time if it could begin at `at`."""
        return self.scheduler.in_time(at) if self.scheduler is not None else 0

    def patience(self) -> float:
        """Seconds that its requests of late had."""
        return self.scheduler.had if self.scheduler is not None else 0.0

    async def bring(self) -> None:
        """Load it and try it; raises Refused, or ModelError where it is for the first time."""
        begun = time.monotonic()
        try:
            await self._start()
            if self.scheduler is None:
                check_same(self.version)
        except ModelError as error:
            await self._end_worker()
            if self.scheduler is None:
                raise
            self._fails(error)
            raise Refused(Code.UNAVAILABLE, f"model {self.name} cannot be loaded: {error}", 1.0) from error
        self.load_s = time.monotonic() - begun
        self._leaving, self.reason = False, ""

    async def drop(self) -> None:
        """Let it end what it has in work, and give its memory back."""
        self._leaving = True
        await self._stop_restart()
        if self.scheduler is not None:
            await self.scheduler.rest()
        await self._end_worker()
        if self.scheduler is not None and self.bytes > self._memory.budget:
            self.bytes = self._loaded_bytes  # a request that took so much must not keep it from all others for ever

    async def _stop_restart(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait([self._restart])

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    # ------------------------------------------------------------------------------------------- as a batch's runner

    def delay(self) -> float:
        """Seconds until it can begin."""
        if self._worker is not None and not self._leaving:
            return 0.0
        if self._restart is not None:
            return self._again() + self.load_s
        return self._memory.delay(self)

    async def ready(self) -> None:
        """Wait until it is in memory and has a worker. Raises Refused where it cannot be loaded."""
        while self._worker is None or self._leaving or self._worker.ended.done():
            if self._worker is not None and self._worker.ended.done():
                self._lose(self._worker)
            if self._restart is not None:
                await asyncio.wait([self._restart])
            elif self._loop.time() < self._not_before:
                raise Refused(Code.UNAVAILABLE, f"model {self.name} cannot be loaded: {self.reason}", self._again())
            else:
                await self._memory.admit(self)

    async def run(self, inputs: Mapping[str, Sequence[npt.NDArray[Any]]], wanted: Sequence[str], rows: int) -> Answer:
        """The outputs for the inputs' parts, joined. Raises ModelError for what is the model's fault, else Refused."""
        worker, scheduler = self._worker, self.scheduler
        assert scheduler is not None
        if worker is None:
            raise Refused(Code.UNAVAILABLE, f"model {self.name} has no worker just now: ask again", self._again())
        usual = scheduler.usual.expected(rows)
        within = _HANGS_MOST if usual == 0.0 else min(max(_HANGS * usual, _HANGS_LEAST), _HANGS_MOST)
        if self._prepares and rows not in self._prepared:
            within = _HANGS_MOST  # kernels may be chosen or compiled for a size that first comes
        measure = rows > self._largest or self._free
        try:
            answer = await worker.run(inputs, within, wanted, measure)
        except WorkerLost as error:
            raise Refused(Code.UNAVAILABLE, str(error), self._again() + self.load_s) from error
        self._failures = 0
        self._prepared.add(rows)
        if measure:
            self._largest = max(rows, self._largest)
            if answer.rss > self.bytes:
                self.bytes = answer.rss
                self._memory.measured()
        self._ports.check(answer.outputs, rows)
        return answer

    # --------------------------------------------------------------------------------------------------------- workers

    async def _start(self) -> None:
        """A worker with the model in it, which gave outputs for zeros; raises ModelError."""
        worker = await Worker.start(self.version.recipe, self._file)
        self._worker = worker
        self._prepared.clear()
        if self._sha256 not in ("", worker.sha256):
            raise ModelError(f"the file of model {self.name} was written to since it was loaded: load it again")
        self._sha256 = worker.sha256
        self.inputs, self.outputs, self.max_batch_size = worker.inputs, worker.outputs, worker.max_batch_size
        self.takes_pictures = worker.takes_pictures
        self.bytes, self.measured = max(worker.rss, self.bytes if self.measured else 0), True

        async def tried(zeros: Outputs, rows: int) -> Outputs:
            one_part = {name: [array] for name, array in zeros.items()}
            answer = await worker.run(one_part, LOAD_WITHIN, (), measure=True)  # it may compile
            self.bytes = max(self.bytes, answer.rss)
            return answer.outputs

        await try_on_zeros(self.name, self._ports, tried)
        self._loaded_bytes = self.bytes
        worker.ended.add_done_callback(lambda _: self._lose(worker))
        if worker.ended.done():
            raise WorkerLost(f"the worker of model {self.name} ended as it was tried: see the log for why")

    @property
    def _free(self) -> bool:
        """A length other than the batch's is free, so that rows alone do not tell what memory a request takes."""
        return any(-1 in port.shape[1:] or not port.shape for port in self.inputs) or not self.max_batch_size

    @property
    def _ports(self) -> Ports:
        return Ports(self.inputs, self.outputs, self.max_batch_size)

    def _lose(self, worker: Worker) -> None:
        """A worker ended; unless it was to, another is started."""
        if worker is not self._worker:
            return
        self._worker = None
        if not self._leaving and self.state is State.READY:
            self.lost += 1
            self._fails(WorkerLost(f"the worker of model {self.name} (process {worker.pid}) ended: ask again"))
            self._restart = self._loop.create_task(self._start_anew())

    async def _start_anew(self) -> None:
        """Until it works, with longer pauses every time."""
        try:
            while not self._leaving:
                await asyncio.sleep(self._again())
                try:
                    await self._start()
                except ModelError as error:
                    await self._end_worker()
                    self._fails(error)
                    if self.scheduler is not None and not isinstance(error, WorkerLost):
                        self.scheduler.refuse_all(
                            Refused(Code.UNAVAILABLE, f"model {self.name} cannot be loaded: {error}", self._again())
                        )
                else:
                    self.reason = ""
                    logger.info("model %s: its worker was started anew", self.name)
                    return
        finally:
            self._restart = None

    def _again(self) -> float:
        """Seconds until the next start."""
        return min(_AGAIN * 2.0 ** min(max(self._failures - 1, 0), 16), _AGAIN_MOST)

    def _fails(self, error: ModelError) -> None:
        self._failures += 1
        self._not_before = self._loop.time() + self._again()
        self.reason = str(error)
        logger.error("%s; it is started anew in %.1f s", error, self._again())
