"""`python -m edgesight.bench.cluster.cameras JOB`: clients of adaptation under load, several in a process of its own.

Their frames are bytes of chance of the size that the profile declares, since the executor that they ask is `declared`.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgesight.host.adapt import asked
from edgesight.host.adapt.client import Answered, CameraClient
from edgesight.host.adapt.planning import Model, Wants
from edgesight.host.adapt.remote import GrpcServer
from edgesight.host.doors.serve import new_event_loop
from edgesight.plan.adapt.data import Situation
from edgesight.plan.adapt.online import FrameSizer, models
from edgesight.plan.profile import read

_TOGETHER_S: Final = 0.05  # between one client's opening and the next one's


@dataclass(frozen=True)
class Job:
    """Clients, each with the address of its link.

    Attributes:
        situation: file of the profile.
        addresses: HOST:PORT, by client's name.
        first_s: when each client's camera begins, after `begin`, in the same order.
        begin: of the machine's monotonic clock, when what is counted begins.
        warm_s: before that frames are sent already.
    """

    situation: Path
    addresses: dict[str, str]
    first_s: tuple[float, ...]
    slo_ms: float
    rate: float
    begin: float
    warm_s: float
    seconds: float


async def answers(job: Job) -> list[dict[str, Any]]:
    """What became of each frame that counts; plain JSON."""
    situation = read(job.situation, Situation)
    clients = [
        _Camera(job, situation, name, address, first)
        for (name, address), first in zip(job.addresses.items(), job.first_s, strict=True)
    ]
    found = await asyncio.gather(*(client.run() for client in clients))
    return [answer for of_one in found for answer in of_one]


class _Camera:
    def __init__(self, job: Job, situation: Situation, name: str, address: str, first_s: float) -> None:
        self._job, self._situation = job, situation
        self._name, self._address, self._first_s = name, address, first_s
        self._models = models(situation.profile)
        content = np.random.default_rng(0).bytes(max(model.frame_bytes for model in self._models))
        self._contents = {model.name: content[: model.frame_bytes] for model in self._models}

    async def run(self) -> list[dict[str, Any]]:
        """Send frames until the end."""
        job, profile, overhead_ms = self._job, self._situation.profile, self._situation.overhead_ms

        def sizer(wants: Wants) -> FrameSizer:
            return FrameSizer(profile, wants, overhead_ms)

        async with GrpcServer(self._address) as server:
            client = CameraClient(self._name, server, sizer, slo_ms=job.slo_ms, rate=job.rate)
            await client.open(self._make, self._models[-1])
            loop, offset = asyncio.get_running_loop(), asyncio.get_running_loop().time() - time.monotonic()
            begin = job.begin + offset
            warm = int(job.warm_s * job.rate)
            count = sum(
                self._first_s + number / job.rate < job.seconds for number in range(int(job.seconds * job.rate) + 1)
            )

            async def one(number: int) -> dict[str, Any]:
                due = begin + self._first_s + number / job.rate
                await asyncio.sleep(due - loop.time())
                woke = loop.time() - due
                return self._told(number, await client.ask(self._make, due), woke)

            first = max(-warm, int((loop.time() - begin - self._first_s) * job.rate) + 1)
            found = await asyncio.gather(*(one(number) for number in range(first, count)))
        return [answer for answer in found if answer["number"] >= 0]

    def _make(self, model: Model) -> bytes:
        return self._contents[model.name]

    def _told(self, number: int, answer: Answered, woke_s: float) -> dict[str, Any]:
        told = answer.reply.parameters if answer.reply is not None else {}
        return {
            "client": self._name,
            "number": number,
            "at_s": self._first_s + number / self._job.rate,
            "late": answer.late,
            "sent": answer.sized_for is not None,
            "sized_for": answer.sized_for.name if answer.sized_for is not None else None,
            "ran": told.get(asked.RAN),
            "executor": told.get(asked.EXECUTOR),
            "batch": told.get(asked.BATCH),
            "accuracy": answer.accuracy,
            "took_s": answer.took_s,
            "woke_s": woke_s,
            "server_ms": told.get(asked.SERVER_MS),
            "fault": answer.fault,
        }


def main(job_file: Path) -> None:
    """Ask, and tell."""
    job: Job = pickle.loads(job_file.read_bytes())
    began = time.process_time()
    loop = new_event_loop()
    found = loop.run_until_complete(answers(job))
    print(json.dumps({"answers": found, "processor_s": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
