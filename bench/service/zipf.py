"""Five models in memory for two: how many requests are answered in time, beside plain ways to choose who is there.

Five copies of a model are asked for as Zipf's law says with exponent 1, at random times (Poisson), at 0.8 of what the
same machine answers of that mix with all five in memory. A request has twice the time that a load takes. Everything is
real: the program, its workers, loads and requests; the baselines are the same program with other parts
(`edgesight.bench.service.baselines`). Beside it the same is simulated in virtual time, on several seeds.

Words owned here: mix.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import tritonclient.grpc as tritonclient
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Asked, Centre, Figure, data_centre, told
from edgesight.bench.service.loads import Call, Stream, Tally, offer, percentiles, request_bytes, saturate
from edgesight.bench.service.models import WIDTH, put, working
from edgesight.bench.service.zipf_virtual import World, times_better

MODELS, IN_MEMORY = 5, 2
LOAD = 0.8  # of the capacity
DEADLINE_LOADS = 2.0  # times what a load takes
BETTER = 1.3  # times plain LRU's goodput
LAYERS, MEGABYTES = 40, 32
IN_FLIGHT = 32
WARM_S, CAPACITY_S = 3.0, 10.0
SECONDS = 40.0  # of each way
VIRTUAL_CORES, VIRTUAL_SEEDS, VIRTUAL_S = (2, 1), 5, 30.0
OURS, LRU, FIFO = "ours", "lru", "lru-fifo"
NAMES = tuple(f"model{place}" for place in range(MODELS))
PARTS = [1 / place / sum(1 / other for other in range(1, MODELS + 1)) for place in range(1, MODELS + 1)]


@dataclass(frozen=True)
class Setting:
    """What the program was found to do with all models in memory.

    Attributes:
        capacity: answers a second, of the mix.
        load_s: seconds of a load, the median of five.
        bytes: that a model takes in memory.
    """

    capacity: float
    load_s: float
    bytes: int

    @property
    def deadline(self) -> float:
        """Seconds that a request has."""
        return DEADLINE_LOADS * self.load_s

    @property
    def budget(self) -> int:
        """MiB in which two models find room, and three do not."""
        return round((IN_MEMORY + 0.5) * self.bytes / 2**20)


def measure(asked: Asked, folder: Path, console: Console) -> Found:
    """All three ways, one after the other, with the same arrivals."""
    repository = folder / "models"
    content = working(LAYERS, MEGABYTES)
    for name in NAMES:
        put(repository, name, content)
    setting = asyncio.run(_setting(repository, folder))
    console.print(
        f"capacity {setting.capacity:.1f}/s, a load {setting.load_s:.2f} s, {setting.bytes >> 20} MiB a model",
        highlight=False,
    )
    found: dict[str, dict[str, Any]] = {}
    for kind in (OURS, FIFO, LRU):
        found[kind] = summed(asyncio.run(_goodput(kind, repository, folder, setting)))
        console.print(f"{kind}: {found[kind]['share']:.3f} of the requests in time", highlight=False)
    simulated = {}
    for cores in VIRTUAL_CORES:
        world = World(IN_MEMORY, cores, LOAD, PARTS, VIRTUAL_S)
        simulated[cores] = times_better(world, range(VIRTUAL_SEEDS))
    return found_of(setting, found, simulated)


def found_of(setting: Setting, found: Mapping[str, dict[str, Any]], simulated: Mapping[int, list[float]]) -> Found:
    """What is reported of the ways, by kind, and of what was simulated, by the cores that it was simulated on."""
    goodput = {kind: one["share"] for kind, one in found.items()}
    check = Check(
        "zipf: goodput over LRU with FIFO queues", goodput[OURS] / goodput[FIFO], BETTER, False, "times", "measured"
    )
    figures = [
        Figure("zipf: in time, ours", goodput[OURS], "of requests", "measured"),
        Figure("zipf: in time, LRU with FIFO queues", goodput[FIFO], "of requests", "measured"),
        Figure("zipf: in time, LRU with our batching", goodput[LRU], "of requests", "measured"),
        Figure("zipf: capacity with all in memory", setting.capacity, "1/s", "measured"),
        Figure("zipf: a load", setting.load_s, "s", "measured"),
        *(
            Figure(f"zipf: over LRU with FIFO queues, {cores} cores", statistics.median(times), "times", "simulated")
            for cores, times in simulated.items()
        ),
    ]
    body = {
        "capacity": setting.capacity,
        "load_s": setting.load_s,
        "deadline_s": setting.deadline,
        "budget_mib": setting.budget,
        "seconds": SECONDS,
        "ways": dict(found),
        "simulated": {str(cores): times for cores, times in simulated.items()},
        "told": told(*figures),
    }
    return Found(body, (check,))


def summed(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Of the models' tallies: all in all, and each."""
    failed: dict[str, int] = {}
    for tally in tallies:
        for status, count in tally.failed.items():
            failed[status] = failed.get(status, 0) + count
    asked = sum(tally.asked for tally in tallies)
    return {
        "share": sum(tally.good for tally in tallies) / max(asked, 1),
        "asked": asked,
        "late": sum(tally.late for tally in tallies),
        "failed": failed,
        "by_model": [tally.share for tally in tallies],
        **percentiles([took for tally in tallies for took in tally.seconds]),
    }


@asynccontextmanager
async def _calls(at: Centre) -> AsyncIterator[list[Call]]:
    """A request of each model, over one channel."""
    array = np.ones((1, WIDTH), np.float32)
    async with grpc.aio.insecure_channel(at.grpc) as channel:
        yield [Call(channel, request_bytes(name, "x", array)) for name in NAMES]


async def _setting(repository: Path, folder: Path) -> Setting:
    """With room for all."""
    async with data_centre(folder / "all.log", "--repository", repository) as at, _calls(at) as calls:
        with tritonclient.InferenceServerClient(at.grpc) as client:
            said = [client.get_model_config(name).config.parameters for name in NAMES]
        chance = random.Random(0)
        capacity = await saturate(lambda: chance.choices(calls, PARTS)[0], IN_FLIGHT, WARM_S, CAPACITY_S)
    loads, sizes = ([float(one[key].string_value) for one in said] for key in ("load_seconds", "memory_bytes"))
    return Setting(capacity, statistics.median(loads), round(statistics.median(sizes)))


async def _goodput(kind: str, repository: Path, folder: Path, setting: Setting) -> list[Tally]:
    """Of each model, with room for two."""
    given = ("--repository", repository, "--memory", setting.budget)
    module = ("edgesight",) if kind == OURS else ("edgesight.bench.service.baselines", kind)
    async with data_centre(folder / f"{kind}.log", *given, module=module) as at, _calls(at) as calls:
        streams = [
            Stream(call, LOAD * setting.capacity * part, setting.deadline, place)
            for place, (call, part) in enumerate(zip(calls, PARTS, strict=True))
        ]
        return await offer(streams, SECONDS)
