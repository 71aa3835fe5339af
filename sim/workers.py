"""A fabric on several processes: thousands of images through csim or the Verilated RTL, with a progress bar.

Simulated hardware is a pure function of its frames, so that frames can be split over processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgesight.host.fabric.base import Images, Records, TransparentFabric
from edgesight.host.fabric.makers import open_transparent
from edgesight.host.package import Package

PROCESSES = 2
_CHUNK = 64

Sets = npt.NDArray[np.uint8]  # [N], a threshold row an image

_fabric: TransparentFabric | None = None  # one a worker process, opened once by `_open`
Result = TypeVar("Result")


class Workers:
    """Worker processes that each hold the fabric `maker` over `package` open."""

    def __init__(self, package: Package, maker: str, processes: int = PROCESSES) -> None:
        """Start the processes; the library that `maker` needs must have been built."""
        self.cycles = 0  # the fabric's, summed over the records of all processes; 0 where it counts none
        self.seconds = 0.0  # of wall time that `records` took
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self._pool = ProcessPoolExecutor(processes, context, initializer=_open, initargs=(str(package.path), maker))

    def __enter__(self) -> Workers:
        """The workers themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; work that was not begun is dropped, and at an error what was begun, too."""
        if kind is not None:
            for process in list((self._pool._processes or {}).values()):  # its own `kill_workers` is Python 3.14's
                process.kill()
        self._pool.shutdown(cancel_futures=True)

    def records(self, images: Images, rows: list[list[int]], sets: Sets, what: str) -> Records:
        """Records [N] of images uint8 [N, H, W, C], each under row `sets` [N] of the thresholds `rows`.

        `what` labels the progress bar.
        """
        jobs = [(images[part], rows, sets[part]) for part in _parts(len(images))]
        begin = time.perf_counter()
        parts = self._map(_records, jobs, len(images), what)
        self.seconds += time.perf_counter() - begin
        self.cycles += sum(cycles for _, cycles in parts)
        return np.concatenate([records for records, _ in parts])

    def logits(self, images: Images, what: str) -> list[npt.NDArray[np.int32]]:
        """Integer logits [N, classes] by stage."""
        parts = self._map(_logits, [(images[part],) for part in _parts(len(images))], len(images), what)
        return [np.concatenate(stage) for stage in zip(*parts, strict=True)]

    def _map(
        self, function: Callable[..., Result], jobs: list[tuple[Any, ...]], images: int, what: str
    ) -> list[Result]:
        with progress() as bar:
            task = bar.add_task(what, total=images)
            with _uninterrupted():  # here the processes are started
                futures = [self._pool.submit(function, *job) for job in jobs]
            results = []
            for job, future in zip(jobs, futures, strict=True):
                results.append(future.result())
                bar.advance(task, len(job[0]))
            return results


def progress() -> Progress:
    """A progress bar in the project's style."""
    columns = [TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=Console(stderr=True))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, which a terminal sends them, too: their end is ours."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def _open(path: str, maker: str) -> None:
    global _fabric
    _fabric = open_transparent(Package.load(Path(path), verify=False), maker)


def _opened() -> TransparentFabric:
    if _fabric is None:
        raise RuntimeError("the worker process was not initialised")
    return _fabric


def _records(images: Images, rows: list[list[int]], sets: Sets) -> tuple[Records, int]:
    """Records, and the cycles that were simulated for them."""
    fabric = _opened()
    before = fabric.simulated_cycles
    for index, thresholds in enumerate(rows):
        fabric.set_thresholds(index, thresholds)
    return fabric.run(images, sets), fabric.simulated_cycles - before


def _logits(images: Images) -> list[npt.NDArray[np.int32]]:
    return _opened().logits(images)
