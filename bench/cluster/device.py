"""`python -m edgesight.bench.cluster.device JOB`: the device of a cut network under load, a process of its own.

It loads, waits until the data centre answers, and only then holds itself to its share of a core, so that what is slow
is what it does, and not how it begins.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.limits import Group, Limits
from edgesight.host.split.pieces import Pieces
from edgesight.host.split.remote import GrpcRemote
from edgesight.host.split.run import Answered, RemoteError, Runner
from edgesight.plan.split.planner import Planned, Stays

_CONNECT_S: Final = 60.0
_WITHIN_S: Final = 2.0


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        pieces: the folder.
        fixed: the exit and cut of all requests; None: as the planner says.
        images: file of uint8 pictures [N, H, W, C].
        picture: of each request, by its place.
        at: seconds of each request from the beginning.
        begin: of the machine's monotonic clock, when the requests begin.
        address: HOST:PORT of the data centre.
        cores: that the device is held to.
    """

    pieces: Path
    fixed: tuple[str, int] | None
    images: Path
    picture: tuple[int, ...]
    at: tuple[float, ...]
    begin: float
    address: str
    cores: float


async def answers(job: Job) -> list[dict[str, Any]]:
    """What became of each request; plain JSON."""
    pieces = Pieces.load(job.pieces)
    images = np.load(job.images, mmap_mode="r")
    inputs = {index: {"pixels": as_input(np.asarray(images[index]))} for index in sorted(set(job.picture))}
    planner = Stays(*job.fixed) if job.fixed is not None else Planned(pieces)
    loop = asyncio.get_running_loop()
    async with GrpcRemote(job.address) as remote:
        until = loop.time() + _CONNECT_S
        while True:
            try:
                await remote.infer(pieces.manifest.probe, {"x": np.zeros(1, np.uint8)}, "y", _WITHIN_S)
                break
            except RemoteError:
                if loop.time() > until:
                    raise
                await asyncio.sleep(0.1)
        runner = Runner(pieces, planner, remote)

        async def one(number: int) -> dict[str, Any]:
            due = job.begin + job.at[number]
            await asyncio.sleep(due - loop.time())
            late_by = loop.time() - due
            left = pieces.manifest.deadline_ms / 1e3 - late_by
            return told(number, await runner.ask(inputs[job.picture[number]], max(left, 0.0)), late_by)

        with Group(Limits(cores=job.cores)) as held:
            held.hold(os.getpid())
            try:
                await runner.open()
                return list(await asyncio.gather(*(one(number) for number in range(len(job.at)))))
            finally:
                await runner.close()


def as_input(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """One picture [H, W, 3] as the network takes it."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def told(number: int, answer: Answered, late_by: float) -> dict[str, Any]:
    """Of one request; its time counts from when it was to come."""
    return {
        "number": number,
        "label": None if answer.output is None else int(answer.output.argmax()),
        "exit": answer.exit,
        "cut": answer.cut,
        "by": answer.by,
        "late": answer.late,
        "took_s": answer.took_s + late_by,
        "sent_bytes": answer.sent_bytes,
        "fault": answer.fault,
    }


def main(job_file: Path) -> None:
    """Ask, and tell."""
    job: Job = pickle.loads(job_file.read_bytes())
    began = time.process_time()
    found = asyncio.run(answers(job))
    print(json.dumps({"answers": found, "processor_s": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
