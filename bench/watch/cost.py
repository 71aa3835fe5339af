"""What watching an edge costs it: audits, metrics that Prometheus scrapes, and the live page with somebody before it.

Two edges run as programs, on simulated fabrics, one with all of it and one with none, and are asked in turn for the
same pictures, as many at a time as they answer: blocks of about a second, the order of the two drawn. Both are kept on
one core, which the one that is asked has for itself; who asks, who looks on, and the data centre are on another. So
what is done beside answering takes from answering, in whichever thread. The cost is told by who asks: the median, over
the pairs of blocks, of the pictures a second that are lost. Audits have run for long: as many pictures are kept as may
be.

An hour of 30 pictures a second is then replayed as fast as it goes, and so are its scrapes and the page's questions.
What the edge holds at its beginning, once warm, is compared with what it holds at its end. All that it keeps is
bounded: pictures, watches, counts by label, windows of the link. But Python takes memory from the system 1 MiB at a
time, and one time more counts as up to 1.7 MiB an hour, whenever it comes; so the bar lies above one and below two.

Words owned here: watched (of the edge with all of it), plain (of the other).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.kept import Found
from edgesight.bench.link.programs import Program
from edgesight.bench.report import Check
from edgesight.bench.service.processors import pin, pinned, two_cores
from edgesight.bench.watch.onlookers import (
    LOOK_S,
    SCRAPE_S,
    Asker,
    Connection,
    Onlooker,
    OnlookerError,
    Scraper,
    Viewer,
    browser,
    prometheus,
)
from edgesight.hls.zoo import shipped_folder
from edgesight.host.answer import Answer, Leg
from edgesight.host.audits import KEPT, Auditing, Audits
from edgesight.host.package import Package
from edgesight.sim.link.trust import add_edge, make_trust
from edgesight.sim.workers import progress

COST = 3.0  # percent of the pictures a second
GROWTH = 2.0  # MiB, over an hour: 20 bytes a picture
KERNEL = "digits"  # shipped with what it is calibrated on; the cheapest to answer, so that what is added shows most
BATCH, IN_FLIGHT = 60, 2  # pictures a request; requests
PAIRS, BLOCK = 150, 10  # of blocks; requests a block
PER_SECOND, HOUR = 30, 3_600  # pictures of the replay; seconds of it
STEP = 20  # requests of the replay, after which memory is looked at
WARM = 0.1  # of the replay
_SEED, _RESAMPLES, _CONFIDENCE = 7, 10_000, 0.95
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Block:
    """What it took an edge to answer a block of pictures.

    Attributes:
        seconds: until the last answer.
        cpu_s: of processor time, in all of its threads.
        fabric_s: of that, in the busiest thread, which is the simulated fabric's.
    """

    seconds: float
    cpu_s: float
    fabric_s: float


@dataclass(frozen=True)
class Replay:
    """An hour, as fast as it went: resident memory in MiB after each step, how long it took, and what was done."""

    memory: list[float]
    seconds: float
    audits: int
    scrapes: int
    looks: int
    shown: int  # pictures


def measure(folder: Path, console: Console) -> Found:
    """Both edges in turn, then the hour. Raises EmulationError, CommandError or OnlookerError."""
    work = folder / "cost"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shutil.copytree(shipped_folder() / KERNEL, work / "package")
    run_command(console, "csim", str(work / "package"))
    # So that the agreement of its targets is known, however old the shipped calibration is.
    run_command(console, "calibrate", str(work / "package"), KERNEL, "--targets", "auto", "--resplits", "0")
    _fill(work / "audits", Package.load(work / "package"))
    serving, asking = two_cores()
    with pinned(asking):
        return asyncio.run(_measure(work, serving, console))


def _fill(folder: Path, package: Package) -> None:
    """Put as many audits into the folder as are kept: a full one is dearest."""
    calibration = package.kernel.calibration
    assert calibration is not None
    audits = Audits(Auditing(folder), calibration, package.kernel.classes)
    picture = np.zeros(package.kernel.input.shape, np.uint8)
    answer = Answer(
        label=0,
        class_name=package.kernel.classes[0],
        confidence=1.0,
        stage="stage0",
        accuracy_target=calibration.targets[0].accuracy,
        degraded=False,
        guaranteed=True,
        guaranteed_for=None,
        reason=None,
        hedged=False,
        legs=[Leg(name="fabric", milliseconds=0.0, obtained="simulated")],
        energy_joules=None,
        energy_obtained=None,
    )
    with progress() as bar:
        task = bar.add_task("audits of former days", total=KEPT)
        for _ in range(KEPT):
            audits.take(picture, answer, calibration, None, asked=False)
            bar.advance(task)


async def _measure(work: Path, serving: int, console: Console) -> Found:
    trust = make_trust(work)
    add_edge(trust.datacenter, "watched", work / "watched-keys")
    centre = Program(
        "data centre",
        ["datacenter", "serve", str(work / "package"), "--keys", str(trust.datacenter), "--port", "0"],
        "data centre: ",
        work / "datacenter.log",
    )
    more = ("--audits", str(work / "audits"), "--health", f"{_HOST}:0")
    async with contextlib.AsyncExitStack() as stack:
        line = await _started(stack, centre)
        found = re.search(r" on (\S+:\d+)", line)
        assert found is not None
        at = found[1]
        plain, plain_doors = await _edge(stack, work, "plain", at, trust.edge, serving)
        watched, doors = await _edge(stack, work, "watched", at, work / "watched-keys", serving, *more)
        pictures = _pictures(work)
        askers = [
            Asker(
                KERNEL, pictures, BATCH, [await stack.enter_async_context(Connection(http)) for _ in range(IN_FLIGHT)]
            )
            for http in (plain_doors["HTTP"], doors["HTTP"])
        ]
        scraper = await stack.enter_async_context(prometheus(doors["health"]))
        viewer = await stack.enter_async_context(browser(doors["HTTP"]))
        blocks = await _blocks((plain, watched), askers, scraper, viewer)
        replay = await _replay(watched, askers[1], scraper, viewer)
        peaks = {one.name: _peak_mb(one) for one in (watched, plain, centre)}
    found_ = found_of(blocks, replay, peaks)
    console.print(found_.body["told"], highlight=False, markup=False, soft_wrap=True)
    return found_


async def _started(stack: contextlib.AsyncExitStack, program: Program) -> str:
    """The line by which a program says that it is ready; it is ended with the stack."""

    async def end() -> None:
        if program.started and program.ended() is None:
            await program.end(signal.SIGTERM)

    stack.push_async_callback(end)
    return await program.start()


async def _edge(
    stack: contextlib.AsyncExitStack, work: Path, name: str, datacenter: str, keys: Path, core: int, *more: str
) -> tuple[Program, dict[str, str]]:
    """An edge as a program on a core, and its doors as HOST:PORT by kind: HTTP, health."""
    words = ["edge", str(work / "package"), "--fabric", "csim", "--socket", str(work / f"{name}.sock")]
    words += ["--datacenter", datacenter, "--keys", str(keys), "--http", f"{_HOST}:0", *more]
    program = Program(f"{name} edge", words, "edge: HTTP at ", work / f"{name}.log", {"OMP_NUM_THREADS": "1"})
    line = await _started(stack, program)
    pin(program.pid, core)
    return program, dict(door.split(" at ") for door in line.removeprefix("edge: ").split(", "))


def _pictures(work: Path) -> npt.NDArray[np.uint8]:
    from edgesight.quant import datasets

    height = Package.load(work / "package").kernel.input.height
    data = datasets.load(KERNEL, None, height)
    return np.concatenate([split.photographs[np.arange(len(split))] for split in (data.calibration, data.test)])


async def _blocks(
    programs: tuple[Program, Program], askers: Sequence[Asker], scraper: Scraper, viewer: Viewer
) -> list[tuple[Block, Block]]:
    """Pairs of blocks, plain and watched."""
    chance = random.Random(_SEED)
    onlookers = Onlooker(scraper.look, SCRAPE_S), Onlooker(viewer.look, LOOK_S)
    pairs = []
    with progress() as bar:
        task = bar.add_task("blocks of two edges", total=PAIRS)
        for number in range(-1, PAIRS):
            found: dict[int, Block] = {}
            for which in chance.sample((0, 1), 2):
                found[which] = await _block(
                    programs[which], askers[which], onlookers if which else (), max(number, 0) * BLOCK
                )
            if number >= 0:  # the first pair is for warming up
                pairs.append((found[0], found[1]))
                bar.advance(task)
    return pairs


async def _block(program: Program, asker: Asker, onlookers: Sequence[Onlooker], first: int) -> Block:
    fabric, cpu, begun = _threads_s(program), _cpu_s(program), time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        for one in onlookers:
            await stack.enter_async_context(one.meanwhile())
        await asker.ask(BLOCK, first)
    seconds, used = time.perf_counter() - begun, _cpu_s(program) - cpu
    busiest = max(ran - fabric.get(thread, 0.0) for thread, ran in _threads_s(program).items())
    return Block(seconds, used, busiest)


async def _replay(program: Program, asker: Asker, scraper: Scraper, viewer: Viewer) -> Replay:
    """An hour of pictures, scrapes and questions of the page."""
    await scraper.look()
    before = scraper.total("edgesight_audits_total"), scraper.count, viewer.count, viewer.pictures
    requests = PER_SECOND * HOUR // BATCH
    seconds = STEP * BATCH / PER_SECOND  # of the hour, a step
    memory, begun = [], time.perf_counter()

    async def again(look: Any, times: float) -> None:
        for _ in range(round(times)):
            await look()

    with progress() as bar:
        task = bar.add_task("an hour's pictures", total=requests * BATCH)
        for first in range(0, requests, STEP):
            await asyncio.gather(
                asker.ask(STEP, first), again(scraper.look, seconds / SCRAPE_S), again(viewer.look, seconds / LOOK_S)
            )
            memory.append(program.memory_mb())
            bar.advance(task, STEP * BATCH)
    took = time.perf_counter() - begun
    await scraper.look()
    audits = scraper.total("edgesight_audits_total") - before[0]
    if not audits or viewer.pictures == before[3]:
        raise OnlookerError(f"{audits:g} audits were made, or the page named no picture: see {program.log}")
    return Replay(
        memory, took, round(audits), scraper.count - before[1], viewer.count - before[2], viewer.pictures - before[3]
    )


def found_of(blocks: Sequence[tuple[Block, Block]], replay: Replay, peaks: dict[str, float]) -> Found:
    """What is reported of pairs of blocks, plain and watched; of an hour; and of the most memory of each program."""
    pictures = BLOCK * BATCH
    lost, low, high = lost_of([plain.seconds for plain, _ in blocks], [watched.seconds for _, watched in blocks])
    cpu = lost_of([plain.cpu_s for plain, _ in blocks], [watched.cpu_s for _, watched in blocks])
    own = [one.cpu_s - one.fabric_s for pair in blocks for one in pair]
    plain_own, watched_own = float(np.median(own[::2])), float(np.median(own[1::2]))
    growth = growth_of(replay.memory)
    rates = [pictures / float(np.median([pair[which].seconds for pair in blocks])) for which in (0, 1)]
    told = (
        f"{rates[0]:.0f} pictures a second plain and {rates[1]:.0f} watched; an hour's pictures took"
        f" {replay.seconds:.0f} s, with {replay.audits} audits, {replay.scrapes} scrapes, {replay.looks} questions and"
        f" {replay.shown} pictures of the page; at most "
        + ", ".join(f"{most:.0f} MiB ({name})" for name, most in peaks.items())
    )
    body = {
        "told": told,
        "pictures_per_second": {"plain": rates[0], "watched": rates[1]},
        "lost_percent": {"median": lost, "low": low, "high": high, "confidence": _CONFIDENCE},
        "processor_time_lost_percent": dict(zip(("median", "low", "high"), cpu, strict=True))
        | {"of_sums": 100.0 * (1.0 - sum(plain.cpu_s for plain, _ in blocks) / sum(one.cpu_s for _, one in blocks))},
        # What a fabric that is none would leave: microseconds a picture, of all threads but the simulation's.
        "own_microseconds_a_picture": {"plain": 1e6 * plain_own / pictures, "watched": 1e6 * watched_own / pictures},
        "blocks_s": [[plain.seconds, watched.seconds] for plain, watched in blocks],
        "replay": {"pictures": PER_SECOND * HOUR, "seconds": replay.seconds, "audits": replay.audits}
        | {"scrapes": replay.scrapes, "looks": replay.looks, "shown": replay.shown},
        "memory_mib": replay.memory,
        "peak_mib": peaks,
    }
    interval = f"% ({100 * _CONFIDENCE:g} %: {low:.2f} to {high:.2f})"
    return Found(
        body,
        (
            Check("pictures a second that watching costs", lost, COST, True, interval, "measured"),
            Check("memory that an hour's replay adds", growth, GROWTH, True, "MiB", "measured"),
        ),
    )


def lost_of(plain: Sequence[float], watched: Sequence[float]) -> tuple[float, float, float]:
    """Percent of its speed that the second loses to the first, by the times that both took in pairs.

    The median over the pairs, and the bounds of its bootstrap interval.
    """
    lost = 100.0 * (1.0 - np.asarray(plain) / np.asarray(watched))
    chosen = np.random.default_rng(_SEED).integers(len(lost), size=(_RESAMPLES, len(lost)))
    medians = np.median(lost[chosen], axis=1)
    low, high = np.quantile(medians, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(np.median(lost)), float(low), float(high)


def growth_of(memory: Sequence[float]) -> float:
    """How much memory the whole of a replay adds, by how far the last third lies above the first, once it is warm."""
    warm = np.asarray(memory[round(WARM * len(memory)) :])
    third = len(warm) // 3
    rise = float(np.median(warm[-third:]) - np.median(warm[:third]))
    return rise * len(memory) / (len(warm) - third)  # the thirds' middles lie so many steps apart


def _cpu_s(program: Program) -> float:
    """Seconds of processor time that a program has had, threads that are gone included."""
    return time.clock_gettime((~program.pid << 3) | 2)  # clock_getcpuclockid(3)


def _threads_s(program: Program) -> dict[str, float]:
    """The same of each thread that there is."""
    found = {}
    for task in program.tasks():
        with contextlib.suppress(OSError):
            found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def _peak_mb(program: Program) -> float:
    """The most resident memory that a program ever had."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
