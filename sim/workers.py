"""A fabric on several processes: thousands of images through csim or the Verilated RTL, with a progress bar.

Simulated hardware is a pure function of its frames, so that frames can be split over processes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from host.fabric.base import Fabric, Images, Records
from host.fabric.makers import open_fabric
from host.kernel import Package

PROCESSES = 2
_CHUNK = 64

_fabric: Fabric | None = None  # one a worker process, opened once by `_open`
Result = TypeVar("Result")


class Workers:
    """Worker processes that each hold the fabric `maker` over `package` open."""

    def __init__(self, package: Package, maker: str, processes: int = PROCESSES) -> None:
        """Start the processes; the library that `maker` needs must have been built."""
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self._pool = ProcessPoolExecutor(processes, context, initializer=_open, initargs=(str(package.path), maker))

    def __enter__(self) -> Workers:
        """The workers themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; work that was not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def records(self, images: Images, thresholds: list[int], what: str) -> Records:
        """Records [N] of images uint8 [N, H, W, C], all under the same thresholds; `what` labels the progress bar."""
        jobs = [(chunk, thresholds) for chunk in _chunks(images)]
        return np.concatenate(self._map(_records, jobs, len(images), what))

    def logits(self, images: Images, what: str) -> list[npt.NDArray[np.int32]]:
        """Integer logits [N, classes] by stage."""
        parts = self._map(_logits, [(chunk,) for chunk in _chunks(images)], len(images), what)
        return [np.concatenate(stage) for stage in zip(*parts, strict=True)]

    def _map(
        self, function: Callable[..., Result], jobs: list[tuple[Any, ...]], images: int, what: str
    ) -> list[Result]:
        with progress() as bar:
            task = bar.add_task(what, total=images)
            futures = [self._pool.submit(function, *job) for job in jobs]
            results = []
            for job, future in zip(jobs, futures, strict=True):
                results.append(future.result())
                bar.advance(task, len(job[0]))
            return results


def progress() -> Progress:
    """A progress bar in the project's style."""
    columns = [TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns)


def _chunks(images: Images) -> list[Images]:
    return [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]


def _open(path: str, maker: str) -> None:
    global _fabric
    _fabric = open_fabric(Package.load(Path(path), verify=False), maker)


def _opened() -> Fabric:
    if _fabric is None:
        raise RuntimeError("the worker process was not initialised")
    return _fabric


def _records(images: Images, thresholds: list[int]) -> Records:
    fabric = _opened()
    fabric.set_thresholds(0, thresholds)
    return fabric.run(images, np.zeros(len(images), np.uint8))


def _logits(images: Images) -> list[npt.NDArray[np.int32]]:
    return _opened().logits(images)
