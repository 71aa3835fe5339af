"""A schedule of faults against an edge and its data centre, both real processes, and what must hold through it.

An edge (`edgesight edge`) and a data centre (`edgesight datacenter`) run as their users run them, joined by a relay
that needs no root. Queries come to the edge all the time, under a threshold row that offloads every image. Fault
follows fault, chosen by a seed; each ends when the edge has its first sound answer again.

A sound answer (`edgesight.bench.link.programs` says what that is) is *wrong* when its label is not what the back
end itself says of that image unharmed. An edge's own answer, which must be marked degraded here, is wrong when it
is not the fabric's. Time for which the edge or the asker was kept off the processor is taken off a recovery. Clocks
are set wrong inside each process by a preloaded library; the machine's clock is left alone.

Words owned here: fault, schedule, recovery (from a fault's end to the answer of the first query asked after it that is
sound).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from edgesight.bench.link.fault_findings import RECOVER_WITHIN_S, Findings, judge, told
from edgesight.bench.link.mischief import Damage, DisturbedLink, begin_idle, garbage, noise
from edgesight.bench.link.programs import Material, Program, asking, kept_off_s, offloading_package, robust_digits
from edgesight.bench.report import Check
from edgesight.host.link.addresses import host_and_port
from edgesight.host.package import Package
from edgesight.sim.link.options import EmulationError, LinkOptions
from edgesight.sim.link.trust import make_trust
from edgesight.sim.verilate import build_library

_DEADLINES_MS = (150.0, 300.0, 600.0)
_RATE = 10.0  # queries a second
_DELAY_S = 0.005  # of the link, each way
_IDLE_CONNECTIONS = 1_000
_IDLE_S = 2.0
_PACKETS = 300  # invented or played back by one fault, each way
_STOPPED_S, _RUNNING_S = 0.06, 0.02  # of a slow process
_DAY = 86_400
_CLOCKS_S = (-50 * 365 * _DAY, -400 * _DAY, -2 * _DAY, -3_600, 3_600, 40 * _DAY, 100 * _DAY, 800 * _DAY)
_ROOT = Path(__file__).resolve().parents[2]
_SKEW = Path(__file__).with_name("clock.cpp")

# Faults that the data centre's process lives through, and those that restart it. The first come first, so that its
# memory is looked at over one long life.
LIVED_THROUGH = (
    *("link_down", "one_way_down", "heavy_loss", "path_change", "duplicated", "reordered", "corrupted", "truncated"),
    *("played_back", "noise", "garbage", "frozen", "slow", "clock_of_edge"),
)
RESTARTING = ("killed", "restarted", "clock_of_datacenter", "clock_of_edge_and_restart")
_SHARE_RESTARTING = 0.2
_IDLE_EVERY = 50  # faults; a thousand connections cost the data centre seconds of its one core


@dataclass(frozen=True)
class Fault:
    """One entry of the schedule."""

    kind: str
    seconds: float
    number: int  # decides, with the seed, all chance in it


def schedule(seed: int, count: int) -> list[Fault]:
    """`count` faults, every kind about as often as the others, their order and lengths decided by `seed`."""
    chance = random.Random(f"{seed} schedule")
    restarting = round(count * _SHARE_RESTARTING)
    idle = -(-count // _IDLE_EVERY)
    lived = _dealt(LIVED_THROUGH, count - restarting - idle, chance) + ["idle_connections"] * idle
    chance.shuffle(lived)
    kinds = lived + _dealt(RESTARTING, restarting, chance)
    # Mostly short; one in five is longer than the silence after which a connection is given up.
    lengths = [chance.uniform(3.2, 4.5) if chance.random() < 0.2 else chance.uniform(0.2, 1.0) for _ in kinds]
    return [
        Fault(kind, round(length, 3), number) for number, (kind, length) in enumerate(zip(kinds, lengths, strict=True))
    ]


def _dealt(kinds: tuple[str, ...], count: int, chance: random.Random) -> list[str]:
    """`count` of `kinds`, each as often as any other but for one, in any order."""
    dealt = [kind for _ in range(-(-count // len(kinds))) for kind in chance.sample(kinds, len(kinds))][:count]
    chance.shuffle(dealt)
    return dealt


def run_faults(
    out: Path,
    console: Console,
    seed: int,
    faults: int,
    *,
    package: Path = _ROOT / "bitstreams" / "digits",
    fabric: str = "verilated",
) -> tuple[list[Check], dict[str, Any]]:
    """Run a schedule of so many `faults`; the checks, and all that was found as plain JSON. Logs go to folder `out`.

    `package` is of the digits. The Verilated library is built where it is not there; one for another `fabric` must be.
    Raises EmulationError or VerilateError where a part is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    if fabric == "verilated":
        build_library(Package.load(package))
    with tempfile.TemporaryDirectory(prefix="edgesight-faults-") as scratch:
        folder = Path(scratch)
        opened = offloading_package(package, folder / "package")
        material = robust_digits(opened, fabric, folder)
        run = _Run(out, console, seed, schedule(seed, faults), opened, fabric, folder, material)
        findings = asyncio.run(run.all())
        unhandled = sum(program.unhandled() for program in (run.edge, run.datacenter))
    checks = judge(findings, material.backend, material.edge, unhandled, faults)
    return checks, {**told(findings, material, seed, run.link.report()), "unhandled": unhandled}


class _ClockedProgram(Program):
    """A process that has a wall clock of its own."""

    def __init__(self, name: str, arguments: list[str], ready: str, folder: Path, out: Path, clock: Path) -> None:
        self._clock = folder / f"{name}.clock"
        set_wrong = {"LD_PRELOAD": str(clock), "EDGESIGHT_CLOCK": str(self._clock)}
        super().__init__(name, arguments, ready, out / f"{name}.log", set_wrong)
        self.set_clock(0)

    def set_clock(self, offset_s: int) -> None:
        """Set its wall clock off by `offset_s` seconds."""
        content = struct.pack("=q", offset_s)
        if not self._clock.exists():
            self._clock.write_bytes(content)
            return
        with self._clock.open("r+b") as file:  # the same file: the process has it mapped
            file.write(content)


class _Run:
    """The schedule at work."""

    def __init__(
        self,
        out: Path,
        console: Console,
        seed: int,
        faults: list[Fault],
        package: Package,
        fabric: str,
        folder: Path,
        material: Material,
    ) -> None:
        self.out, self.console, self.seed, self.faults = out, console, seed, faults
        self.findings = Findings()
        self._folder, self._material = folder, material
        self._socket = folder / "edge.sock"
        self._trust = make_trust(folder / "trust")
        self._clock = _clock_library(folder)
        self.datacenter = _ClockedProgram(
            "datacenter",
            ["datacenter", "serve", str(package.path), "--keys", str(self._trust.datacenter), "--port", "0"],
            "data centre:",
            folder,
            out,
            self._clock,
        )
        self._edge_arguments = ["edge", str(package.path), "--fabric", fabric, "--socket", str(self._socket)]
        self._handlers: list[str] = []  # what this process's own loop complained of

    async def all(self) -> Findings:
        """Run it all."""
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self._handlers.append(str(context)))
        line = await self.datacenter.start()
        address = host_and_port(line.split()[-1])
        self.datacenter.arguments[-1] = str(address[1])  # a restarted one is where it was
        self.address = address
        try:
            self.link = link = DisturbedLink(address, LinkOptions(delay_s=_DELAY_S), seed=self.seed)
            async with link:
                where = f"{link.address[0]}:{link.address[1]}"
                edge = ["--datacenter", where, "--keys", str(self._trust.edge)]
                self.edge = _ClockedProgram(
                    "edge", [*self._edge_arguments, *edge], "edge:", self._folder, self.out, self._clock
                )
                await self.edge.start()
                try:
                    async with self._asking():
                        await self._through()
                finally:
                    if self.edge.ended() is None:
                        await self.edge.end(signal.SIGTERM)
        finally:
            if self.datacenter.ended() is None:
                await self.datacenter.end(signal.SIGTERM)
        self.findings.ended += self._handlers
        return self.findings

    async def _through(self) -> None:
        await self._recovered(time.monotonic())
        began = self.findings.began = time.monotonic()
        for number, fault in enumerate(self.faults, 1):
            begin, asked = time.monotonic(), len(self.findings.asked)
            await getattr(self, f"_{fault.kind}")(fault, random.Random(f"{self.seed} {fault.number}"))
            end = time.monotonic()
            kept_off = kept_off_s(*self.edge.tasks(), *self.datacenter.tasks())
            recovery = await self._recovered(end)
            kept_off = max(kept_off_s(*self.edge.tasks(), *self.datacenter.tasks()) - kept_off, 0.0)
            self.findings.faults.append(
                {
                    **asdict(fault),
                    "begun_s": round(begin - began, 3),
                    "lasted_s": round(end - begin, 3),
                    "recovery_s": round(recovery, 3),
                    "kept_off_s": round(kept_off, 3),
                }
            )
            for program in (self.edge, self.datacenter):
                code = program.ended()
                if code is not None:
                    self.findings.ended.append(f"the {program.name} ended with {code} in fault {number}, {fault.kind}")
                    return
                memory = self.findings.memory_mb.setdefault(program.name, [])
                memory.append((program.pid, round(program.memory_mb(), 2)))
            if number % 10 == 0 or number == len(self.faults):
                self.console.print(
                    f"{number} faults of {len(self.faults)}, {len(self.findings.asked) - asked} queries in the last "
                    f"({fault.kind}), edge {self.findings.memory_mb['edge'][-1][1]:.0f} MB"
                )

    async def _recovered(self, since: float) -> float:
        """Seconds from `since` until a query asked after it had a sound answer, or until no more is waited for."""
        while time.monotonic() < since + 2 * RECOVER_WITHIN_S:
            for asked in reversed(self.findings.asked):
                if asked.begun < since - max(_DEADLINES_MS) / 1e3:
                    break
                if asked.begun >= since and asked.sound:
                    return asked.begun + asked.took_s - since
            await asyncio.sleep(0.02)
        return time.monotonic() - since

    def _asking(self) -> contextlib.AbstractAsyncContextManager[None]:
        chance = random.Random(f"{self.seed} queries")
        return asking(
            self.edge,
            self._socket,
            self._material,
            _RATE,
            lambda: chance.choice(_DEADLINES_MS) / 1e3,
            chance.randrange,
            self.findings.asked,
        )

    # One method a kind of fault. It returns when the fault is over.

    async def _link_down(self, fault: Fault, chance: random.Random) -> None:
        await self._lossy(1.0, 1.0, fault.seconds)

    async def _one_way_down(self, fault: Fault, chance: random.Random) -> None:
        up = chance.random() < 0.5
        await self._lossy(float(up), float(not up), fault.seconds)

    async def _heavy_loss(self, fault: Fault, chance: random.Random) -> None:
        await self._lossy(chance.uniform(0.2, 0.6), chance.uniform(0.2, 0.6), fault.seconds)

    async def _lossy(self, up: float, down: float, seconds: float) -> None:
        self.link.set_losses(up, down)
        await asyncio.sleep(seconds)
        self.link.set_losses(0.0, 0.0)

    async def _path_change(self, fault: Fault, chance: random.Random) -> None:
        for _ in range(chance.randrange(1, 4)):
            self.link.move_clients()
            await asyncio.sleep(fault.seconds / 3)

    async def _damaged(self, fault: Fault, chance: random.Random) -> None:
        self.link.damage = cast(Damage, fault.kind)
        await asyncio.sleep(fault.seconds)
        self.link.damage = None

    _duplicated = _reordered = _corrupted = _truncated = _damaged

    async def _played_back(self, fault: Fault, chance: random.Random) -> None:
        await self._in_parts(fault.seconds, self.link.play_back)

    async def _noise(self, fault: Fault, chance: random.Random) -> None:
        await self._in_parts(fault.seconds, lambda count: self.link.invent(count, noise))

    async def _garbage(self, fault: Fault, chance: random.Random) -> None:
        await self._in_parts(fault.seconds, lambda count: self.link.invent(count, garbage))

    async def _in_parts(self, seconds: float, send: Callable[[int], None]) -> None:
        for _ in range(10):
            send(_PACKETS // 10)
            await asyncio.sleep(min(seconds, 1.0) / 10)

    async def _frozen(self, fault: Fault, chance: random.Random) -> None:
        self.datacenter.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        self.datacenter.signal(signal.SIGCONT)

    async def _slow(self, fault: Fault, chance: random.Random) -> None:
        until = time.monotonic() + fault.seconds
        while time.monotonic() < until:
            self.datacenter.signal(signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_S)
            self.datacenter.signal(signal.SIGCONT)
            await asyncio.sleep(_RUNNING_S)

    async def _idle_connections(self, fault: Fault, chance: random.Random) -> None:
        process = await begin_idle(self.address, _IDLE_CONNECTIONS, _IDLE_S)
        said, _ = await process.communicate()
        if said.strip() != b"open":
            raise EmulationError(f"idle connections could not be made; see why: {said!r}")

    async def _clock_of_edge(self, fault: Fault, chance: random.Random) -> None:
        self.edge.set_clock(chance.choice(_CLOCKS_S))
        await asyncio.sleep(fault.seconds)
        self.edge.set_clock(0)

    async def _clock_of_edge_and_restart(self, fault: Fault, chance: random.Random) -> None:
        self.edge.set_clock(chance.choice(_CLOCKS_S))
        await self._restarted(fault, chance)
        await asyncio.sleep(fault.seconds)
        self.edge.set_clock(0)

    async def _clock_of_datacenter(self, fault: Fault, chance: random.Random) -> None:
        """Its clock jumps, it is restarted under the wrong one, the clock is put right, and it is restarted again."""
        self.datacenter.set_clock(chance.choice([offset for offset in _CLOCKS_S if offset > -_DAY * 1_000]))
        await asyncio.sleep(fault.seconds)
        await self._restarted(fault, chance)
        await asyncio.sleep(fault.seconds)
        self.datacenter.set_clock(0)
        await self._restarted(fault, chance)

    async def _killed(self, fault: Fault, chance: random.Random) -> None:
        await self.datacenter.end(signal.SIGKILL)
        await asyncio.sleep(fault.seconds)
        await self.datacenter.start()

    async def _restarted(self, fault: Fault, chance: random.Random) -> None:
        await self.datacenter.end(signal.SIGTERM)
        await self.datacenter.start()


def _clock_library(folder: Path) -> Path:
    """Compile the library that sets a process's clock wrong."""
    library = folder / "clock.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SKEW), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise EmulationError("g++ is not found, which a wrong clock needs: apt-get install g++") from None
    except subprocess.CalledProcessError as error:
        raise EmulationError(f"{_SKEW} does not compile; see why: {error.stderr[-1_000:]}") from error
    return library
