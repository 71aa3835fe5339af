"""`python -m edgesight.bench.serve.real.edge JOB ADDRESS`: a real run's edge and who asks it, a process of its own.

Requests come open-loop in the edge's process, as an application in Python asks its edge (`edgesight.session`). The
fabric says what the package's network says, and takes the time that the board would, by the cycles of its simulation,
on the real clock. What goes to a server of Triton's protocol goes by tritonclient, on one channel without TLS.

It prints what became of the requests as one JSON line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import selectors
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.serve.material import Material
from edgesight.bench.serve.real.job import PORT, Job
from edgesight.bench.serve.replay import Host
from edgesight.bench.serve.systems import DATA_CENTRE, EDGE, HEDGED, TWO_STAGE, LoneStages
from edgesight.bench.serve.virtual import (
    Answered,
    Asks,
    TimedFabric,
    arrive,
    ask_data_centre,
    asking_edge,
    our_link,
    quic_streams,
)
from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import ALWAYS, NEVER, STAGE_MASK, Records
from edgesight.host.kernel import Target
from edgesight.host.link.datagrams import Status
from edgesight.host.link.offload import NoAnswer, Offload, Offloaded
from edgesight.sim.link.options import EmulationError

UNANSWERED = -1  # as a label: nobody answered, not even late
_CONNECT_S = 30.0
_TRY_EVERY_S = 0.05
_TOLD = 10  # faults that are told, at most


class DeviceFabric(TimedFabric):
    """A device that holds one stage alone at a time."""

    def __init__(self, material: Material, load_s: float) -> None:
        """Loading another stage takes `load_s`."""
        super().__init__(material, time.sleep, len(material.labels))
        self.lone = LoneStages(material, load_s)

    def _seconds(self, found: Records) -> float:
        return self.lone.seconds((found["stage"] & STAGE_MASK).tolist())


class Triton:
    """Asks a model of a server of Triton's protocol."""

    def __init__(self, client: Any, library: Any, model: str, given: str, wanted: str) -> None:
        """By a connected `client` of tritonclient's asynchronous `library`; its input and output by name."""
        self._client, self._library, self._model, self._given, self._wanted = client, library, model, given, wanted

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        """As `Offload` has it."""
        if within <= 0.0:
            raise NoAnswer("the deadline passed before it was asked: give it more time", asked=False)
        tensor = self._library.InferInput(self._given, [1, *image.shape], "UINT8")
        tensor.set_data_from_numpy(image[None])
        wanted = [self._library.InferRequestedOutput(self._wanted)]
        try:
            found = await self._client.infer(self._model, [tensor], outputs=wanted, client_timeout=within)
        except self._library.InferenceServerException as error:
            raise NoAnswer(str(error)) from error
        return Offloaded(0, Status.ANSWERED, int(np.argmax(found.as_numpy(self._wanted))), 0, 0, 0)


@contextlib.asynccontextmanager
async def _triton(job: Job, address: str) -> AsyncIterator[Offload]:
    """The back end behind the data centre's door."""
    import tritonclient.grpc.aio as library

    model = job.material.package.kernel.name
    async with library.InferenceServerClient(f"{address}:{PORT}") as client:
        until = time.monotonic() + _CONNECT_S
        while True:
            try:
                told = await client.get_model_metadata(model)
                break
            except library.InferenceServerException:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(_TRY_EVERY_S)
        yield Triton(client, library, model, told.inputs[0].name, told.outputs[0].name)


@contextlib.asynccontextmanager
async def _asking(job: Job, address: str) -> AsyncIterator[tuple[Asks, DeviceFabric | None]]:
    """How the job's system is asked, and its device where that holds variants."""
    material, workload, kind = job.material, job.workload, job.kind
    stages = len(material.labels)
    async with contextlib.AsyncExitStack() as opened:
        if kind in (HEDGED, TWO_STAGE):
            way, first = (our_link, stages) if kind is HEDGED else (quic_streams, 1)
            offload = await opened.enter_async_context(way.asks(material, job.trust.edge, address, PORT))
            targets = [goal.cascade if kind is HEDGED else goal.two_stage for goal in job.goals]
            fabric = TimedFabric(material, time.sleep, first)
            asking = asking_edge(fabric, material, targets, workload, offload, hedged=kind is HEDGED)
            yield await opened.enter_async_context(asking), None
            return
        variants = [{EDGE: stages - 1, DATA_CENTRE: stages}.get(kind, goal.variant) for goal in job.goals]
        device, asks = None, dict[bool, Asks]()  # by whether the data centre is asked
        if any(variant < stages for variant in variants):
            device = DeviceFabric(material, job.load_s)
            targets = [_alone(job, place, variant) for place, variant in enumerate(variants)]
            asking = asking_edge(device, material, targets, workload, None, hedged=False)
            asks[False] = await opened.enter_async_context(asking)
        if stages in variants:
            offload = await opened.enter_async_context(_triton(job, address))
            asks[True] = ask_data_centre(material, workload, offload)

        def ask(number: int, left: float) -> Any:
            return asks[variants[int(workload.target[number])] == stages](number, left)

        yield ask, device


def _alone(job: Job, place: int, variant: int) -> Target:
    """A target that one stage answers."""
    stages = len(job.material.labels)
    row = [NEVER if stage < variant else ALWAYS for stage in range(stages)]
    return job.goals[place].cascade.model_copy(update={"thresholds": row, "set_index": place})


async def outcomes(job: Job, address: str) -> dict[str, Any]:
    """What became of all requests; plain JSON."""
    faults: list[str] = []
    late_s: list[float] = [0.0] * len(job.workload)
    async with _asking(job, address) as (asks, device):
        if job.begin is not None and asyncio.get_running_loop().time() > job.begin:
            raise EmulationError("the edge was not ready in time: try again when this machine is less busy")

        async def ask(number: int, left: float) -> tuple[int, bool, int]:
            late_s[number] = float(job.workload.deadline_s[number]) - left
            try:
                return await asks(number, left)
            except EdgeSightError as error:
                faults.append(str(error))
                return UNANSWERED, True, UNANSWERED

        began = time.process_time()
        found: list[Answered] = await arrive(job.workload, ask, Host(begin=job.begin))
        processor_s = time.process_time() - began
    label, took, late, stage = zip(*found, strict=True)
    return {
        "label": label,
        "took_s": took,
        "late": late,
        "stage": stage,
        "turned_to_s": late_s,
        "swaps": device.lone.swaps if device is not None else 0,
        "faults": faults[:_TOLD],
        "processor_s": processor_s,
    }


def main(job_file: Path, address: str) -> None:
    """Ask, and tell."""
    job: Job = pickle.loads(job_file.read_bytes())
    with asyncio.Runner(loop_factory=_punctual_loop) as runner:
        print(json.dumps(runner.run(outcomes(job, address))), flush=True)


def _punctual_loop() -> asyncio.AbstractEventLoop:
    """One whose timers are not rounded up to a millisecond, as epoll's are: requests shall come when they come."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
