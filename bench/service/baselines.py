"""What the data centre's memory and scheduler are measured beside: the plain ways, in their places in the same program.

`python -m edgesight.bench.service.baselines KIND ...` is `edgesight ...` with them. `lru`: who waits first is loaded
first, in the place of what ran longest ago, whatever that costs. `lru-fifo`: besides, each model's requests are run
one by one in the order of their coming, and none is refused before its deadline has passed.

Words owned here: baseline.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter import hosted, local
from edgesight.host.datacenter.batching import Job, Scheduler
from edgesight.host.datacenter.hosted import Hosted
from edgesight.host.datacenter.memory import Memory, Tenant
from edgesight.host.datacenter.shares import Share
from edgesight.host.datacenter.workers import Answer
from edgesight.host.doors.served import Refused

KINDS = ("lru", "lru-fifo")


class Lru(Memory):
    """Who waits first is loaded next; what ran longest ago goes for it."""

    def __init__(self, budget: int) -> None:
        """A `budget` in bytes."""
        super().__init__(budget)
        self._ran: dict[Tenant, float] = {}

    def touch(self, tenant: Tenant) -> None:
        """It runs something now."""
        self._ran[tenant] = self._loop.time()

    def _value(self, tenant: Tenant) -> float:
        return self._ran.get(tenant, 0.0)

    async def _serve(self) -> bool:
        if not self._wanted:
            return False
        tenant = next(iter(self._wanted))
        error = None
        if tenant not in self._residents:
            try:
                self._check_size(tenant)
                victims = self._victims(tenant, self._residents, 0)
                assert victims is not None  # it is no larger than the budget
                await self._load(tenant, victims)
                self.touch(tenant)
            except Refused as refused:
                error = refused
        self._settle(tenant, error)
        return True


class Fifo(Scheduler):
    """One by one, in the order of coming; what waits past its deadline is dropped."""

    def _check_time(self, share: Share[Job], rows: int, now: float, had: float, told: bool) -> None:
        pass

    def _begins(self) -> float:
        return 0.0

    def _taken(self) -> list[Job]:
        job = next(iter(self._waiting.values()), None)
        if job is None:
            return []
        del self._waiting[job.number]
        job.share.waiting.remove(job.deadline, job.number, job.level)
        self._left(job)
        return [job]

    def _timely(self, taken: list[Job]) -> list[Job]:
        return [job for job in taken if job.waits]


class _Touching(Hosted):
    """Says when it runs."""

    async def run(self, inputs: Mapping[str, Sequence[npt.NDArray[Any]]], wanted: Sequence[str], rows: int) -> Answer:
        assert isinstance(self._memory, Lru)
        self._memory.touch(self)
        return await super().run(inputs, wanted, rows)


def main(kind: str, arguments: Sequence[str]) -> None:
    """`edgesight` with the parts of `kind`."""
    vars(local).update(Memory=Lru, Hosted=_Touching)
    if kind == "lru-fifo":
        vars(hosted).update(Scheduler=Fifo)
    sys.argv[1:] = arguments
    runpy.run_module("edgesight", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
