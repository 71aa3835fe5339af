"""Processes on a processor core each: the model on one, who serves and who asks on the other.

Words owned here: bare executor (a model run in a process that does nothing else).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgesight.bench.kept import ROOT
from edgesight.host.datacenter.executors import Recipe, make
from edgesight.host.datacenter.executors.base import DTYPES
from edgesight.host.errors import EdgeSightError

_WARM = 5  # runs that are not counted


class BareError(EdgeSightError):
    """The bare executor does not run: tells what it said."""


def lacks_two() -> str | None:
    """Why there are no two cores to put processes on; None: there are."""
    return None if len(os.sched_getaffinity(0)) > 1 else "two processor cores are needed, and this process may use one"


def two_cores() -> tuple[int, int]:
    """Of who serves and asks, and of the model."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def pin(process: int, core: int) -> None:
    """Keep a process, all threads that it has, and those that these start, on a core."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process on one core, as long as this lasts."""
    before = os.sched_getaffinity(0)
    pin(os.getpid(), core)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), before)


class Bare:
    """The bare executor: the very one that a worker has, with one thread, asked for many runs at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Made by `bare`."""
        self._process = process

    def run(self, rows: int, times: int) -> list[float]:
        """Seconds of each of `times` runs of a batch of so many rows. Raises BareError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(rows, times, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise BareError("the bare executor ended: look above for what it said")
        return [float(one) for one in json.loads(line)]


@contextlib.contextmanager
def bare(model: Path, core: int) -> Iterator[Bare]:
    """The model of a file, in a process of its own that is kept on a core."""
    command = [sys.executable, "-m", "edgesight.bench.service.processors", str(model), str(core)]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True) as process:
        try:
            yield Bare(process)
        finally:
            process.kill()


def _main(arguments: Sequence[str]) -> None:
    """Be the bare executor: lines `ROWS TIMES` come, JSON lists of seconds go."""
    model, core = Path(arguments[0]), int(arguments[1])
    os.sched_setaffinity(0, {core})
    executor = make(Recipe("onnxruntime", model.name), model.read_bytes())
    (port,) = executor.inputs
    for line in sys.stdin:
        rows, times = map(int, line.split())
        arrays = {port.name: np.zeros((rows, *port.shape[1:]), DTYPES[port.datatype])}
        for _ in range(_WARM):
            executor.run(arrays)
        took = []
        for _ in range(times):
            begun = time.perf_counter()
            executor.run(arrays)
            took.append(time.perf_counter() - begun)
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
