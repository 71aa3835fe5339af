"""The same five models in virtual time: the very memory and schedulers, and models that take the time they declare.

However busy the machine is, it comes out the same; so several seeds can be told of beside what was measured once.
A load costs the others nothing here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.service.baselines import Fifo, Lru
from edgesight.host.datacenter.batching import Limits, Scheduler
from edgesight.host.datacenter.memory import Memory, Rate
from edgesight.host.datacenter.workers import Answer
from edgesight.host.doors.served import Refused
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual

ROW_S, LOAD_S = 0.025, 1.0  # that a row takes, and a load
BATCH = 8
_ROW = {"x": np.zeros((1, 1), np.float32)}


class Declared:
    """A model that takes the time it is said to: a tenant of the memory, and its scheduler's runner."""

    def __init__(self, name: str, memory: Memory, cores: asyncio.Semaphore, scheduler: type[Scheduler]) -> None:
        """Not yet in memory."""
        self.name, self.bytes, self.load_s = name, 1, LOAD_S
        self.rate = Rate(asyncio.get_running_loop().time())
        self.scheduler = scheduler(self, BATCH, Limits())
        self._memory, self._cores = memory, cores
        self._here, self._leaving = False, False

    def delay(self) -> float:
        """Seconds until it can begin."""
        return 0.0 if self._here and not self._leaving else self._memory.delay(self)

    async def ready(self) -> None:
        """Wait until it is in memory."""
        while not self._here or self._leaving:
            await self._memory.admit(self)

    def in_time(self, at: float) -> int:
        """Requests that would be in time if it could begin at `at`."""
        return self.scheduler.in_time(at)

    def patience(self) -> float:
        """Seconds that its requests of late had."""
        return self.scheduler.had

    async def bring(self) -> None:
        """Load it."""
        await asyncio.sleep(self.load_s)
        self._here, self._leaving = True, False

    async def drop(self) -> None:
        """Let it end what it has in work, and go."""
        self._leaving = True
        await self.scheduler.rest()
        self._here = False

    async def run(self, inputs: Mapping[str, Sequence[npt.NDArray[Any]]], wanted: Sequence[str], rows: int) -> Answer:
        """As many outputs as there are rows, after the time that these take."""
        if isinstance(self._memory, Lru):
            self._memory.touch(self)
        async with self._cores:
            await asyncio.sleep(ROW_S * rows)
        return Answer({"y": np.zeros((rows, 1), np.float32)}, (0.0, ROW_S * rows, 0.0), 0)


@dataclass(frozen=True)
class World:
    """What is asked of which machine.

    Attributes:
        in_memory: models that there is room for.
        cores: models that run at a time.
        load: what is asked, of what the cores can answer.
        parts: of it, of each model.
        seconds: how long.
    """

    in_memory: int
    cores: int
    load: float
    parts: Sequence[float]
    seconds: float


def times_better(world: World, seeds: Sequence[int]) -> list[float]:
    """Of each seed: our goodput over that of plain LRU with FIFO queues."""
    return [goodput(world, Memory, Scheduler, seed) / goodput(world, Lru, Fifo, seed) for seed in seeds]


def goodput(world: World, memory: type[Memory], scheduler: type[Scheduler], seed: int) -> float:
    """Part of the requests that are answered within two loads."""
    return run_virtual(_goodput(world, memory, scheduler, seed), LinkOptions())


async def _goodput(world: World, memory: type[Memory], scheduler: type[Scheduler], seed: int) -> float:
    loop, counted = asyncio.get_running_loop(), [0, 0]
    shared, cores = memory(world.in_memory), asyncio.Semaphore(world.cores)
    models = [Declared(f"m{number}", shared, cores, scheduler) for number in range(len(world.parts))]
    working = [loop.create_task(shared.run()), *(loop.create_task(model.scheduler.run()) for model in models)]

    async def one(model: Declared) -> None:
        model.rate.add(loop.time())
        counted[1] += 1
        try:
            await model.scheduler.ask("client", _ROW, (), 2 * LOAD_S)
        except Refused:
            return
        counted[0] += 1

    async def asking(model: Declared, part: float, chance: random.Random) -> None:
        tasks = []
        end = loop.time() + world.seconds
        while loop.time() < end:
            await asyncio.sleep(chance.expovariate(world.load * world.cores / ROW_S * part))
            tasks.append(loop.create_task(one(model)))
        await asyncio.gather(*tasks)

    chances = [random.Random(seed * len(models) + number) for number in range(len(models))]
    await asyncio.gather(*map(asking, models, world.parts, chances))
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    return counted[0] / counted[1]
