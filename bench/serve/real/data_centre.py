"""`python -m edgesight.bench.serve.real.data_centre JOB RUNS`: the data centre of a real run, a process of its own.

Ours, and Triton's protocol, are the very program `edgesight datacenter`, of which only the model is held: it computes
each answer, and lets it go when a stated time is over, that of a slower device. So the back end is what is loaded, and
not a machine of a few cores that carries both ends, the link and whoever asks. QUIC streams have their peer's service.

When it is told to end it writes what each run of the model took to the file RUNS.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from edgesight.bench.serve.real.job import PORT, Job, held_s
from edgesight.bench.serve.systems import HEDGED, TWO_STAGE
from edgesight.bench.serve.virtual import quic_streams
from edgesight.host.datacenter import hosted, serve
from edgesight.host.datacenter.models import Images, Logits, OnnxModel
from edgesight.host.datacenter.workers import Answer, Worker
from edgesight.host.process import run_until_told

READY: Final = "data centre: "  # begins the line that says it is
_ANYWHERE = "0.0.0.0"


@dataclass(frozen=True)
class Run:
    """Of the model: pictures, seconds that it computed, and seconds until it was let go."""

    pictures: int
    computed_s: float
    took_s: float


_runs: list[Run] = []


class _HeldModel(OnnxModel):
    """Runs in this process."""

    def run(self, images: Images) -> Logits:
        """As `OnnxModel` does."""
        begun = time.perf_counter()
        logits = super().run(images)
        computed = time.perf_counter() - begun
        time.sleep(max(held_s(len(images)) - computed, 0.0))
        _runs.append(Run(len(images), computed, time.perf_counter() - begun))
        return logits


class _HeldWorker(Worker):
    """A model in a process of its own, behind the doors."""

    async def run(
        self,
        inputs: Mapping[str, Sequence[npt.NDArray[Any]]],
        within: float,
        wanted: Sequence[str] = (),
        measure: bool = False,
    ) -> Answer:
        """As `Worker` does."""
        begun = time.perf_counter()
        answer = await super().run(inputs, within, wanted, measure)
        computed = time.perf_counter() - begun
        pictures = sum(len(part) for part in next(iter(inputs.values())))
        while (left := begun + held_s(pictures) - time.perf_counter()) > 0.0:  # uvloop's timers end early
            await asyncio.sleep(left)
        _runs.append(Run(pictures, computed, time.perf_counter() - begun))
        return answer


def main(job_file: Path, runs_file: Path) -> None:
    """Serve until told to end."""
    job: Job = pickle.loads(job_file.read_bytes())
    try:
        if job.kind is TWO_STAGE:
            _serve_streams(job)
        else:
            _serve_program(job)
    finally:
        runs_file.write_text(json.dumps([asdict(run) for run in _runs]))


def _serve_program(job: Job) -> None:
    """By the command line."""
    words = ["datacenter", "serve", str(job.material.package.path)]
    if job.kind is HEDGED:
        vars(serve).update(OnnxModel=_HeldModel)
        words += ["--keys", str(job.trust.datacenter), "--host", _ANYWHERE, "--port", str(PORT)]
    else:
        vars(hosted).update(Worker=_HeldWorker)
        words += ["--grpc", f"{_ANYWHERE}:{PORT}", "--insecure"]
    sys.argv[1:] = words
    runpy.run_module("edgesight", run_name="__main__", alter_sys=True)


def _serve_streams(job: Job) -> None:
    package = job.material.package
    model = _HeldModel(package.path / "datacenter.onnx", package.kernel.backend_input)

    async def serving(told: asyncio.Event) -> None:
        async with quic_streams.serves(model, job.trust.datacenter, _ANYWHERE, PORT):
            print(READY, flush=True)
            await told.wait()

    run_until_told(serving)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
