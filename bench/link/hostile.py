"""What hostile clients can do to an edge's answers, and to the memory and the log of its data centre.

Edge and data centre run as their users run them, over loopback. The edge is asked at a steady rate, once unattacked
(*control*) and then under each attack of `edgesight.bench.link.attacks` in turn, from other addresses than its own
and from its own, as behind one NAT. An attack runs on one core, whatever else runs there.

An answer counts when it is sound (`edgesight.bench.link.programs`): the edge gives it by its deadline or not at
all. Attacks that keep others from coming in are met by an edge that is started while they last.

For attacks by large images the data centre serves the same model behind a larger input: blocks of pixels are averaged
down to what the model takes.

Words owned here: phase (a control, or an attack from somewhere), control, idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgesight.bench.link.attacks import ATTACKS
from edgesight.bench.link.programs import Asked, Material, Program, asking, offloading_package, robust_digits
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.files import sha256
from edgesight.host.link.addresses import host_and_port
from edgesight.host.link.strips import resize
from edgesight.host.package import Package
from edgesight.sim.link.options import EmulationError
from edgesight.sim.link.trust import add_edge, make_trust
from edgesight.sim.verilate import build_library

PER_SECOND = 20.0
DEADLINE_S = 0.3
SECONDS = 20.0  # of a phase
SHARE = 0.98  # of the control's answers
MEMORY_MB = 256.0  # beyond idle
LINES_PER_S = 10.0
OWN = "127.0.0.1"
OTHERS = tuple(f"127.0.0.{last}" for last in range(2, 18))
TURNED = "turned"  # name of the enrolled edge that attacks
_TAKE_HOLD_S = 6.0  # until an attack that keeps others out does so
_SETTLE_S = 1.5  # for an edge to connect, and between phases
_LOOK_S = 0.05  # between looks at memory and log
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = _ROOT / "bitstreams" / "digits"


@dataclass(frozen=True)
class Phase:
    """What happened in one phase.

    Attributes:
        attack: name, None in a control.
        source: "other addresses" or "the edge's address"; empty in a control.
        side: pixels of the model's input.
        asked, answered: queries, and those with a sound answer.
        share: of the control's share answered.
        p50_ms, p99_ms: to the answer, of all queries.
        idle_mb, most_mb: resident memory of the data centre before it was ever attacked, and its highest.
        edge_idle_mb, edge_most_mb: of the edge before this phase, and its highest.
        lines: of the data centre's log. most_lines_per_s: in its worst second.
        tracebacks: in both logs.
        server_cpu_s: processor time of the data centre.
        attacker: what the attacker says that it did.
    """

    attack: str | None
    source: str
    side: int
    asked: int
    answered: int
    share: float
    p50_ms: float
    p99_ms: float
    idle_mb: float
    most_mb: float
    edge_idle_mb: float
    edge_most_mb: float
    lines: int
    most_lines_per_s: int
    tracebacks: int
    server_cpu_s: float
    attacker: dict[str, int]

    @property
    def title(self) -> str:
        """For people."""
        return f"control, {self.side} pixels" if self.attack is None else f"{ATTACKS[self.attack].title}, {self.source}"


def bench_hostile(
    out: Path,
    console: Console,
    *,
    names: Sequence[str] = (),
    seconds: float = SECONDS,
    package: Path = _PACKAGE,
    fabric: str = "verilated",
) -> bool:
    """Run the attacks `names` (none: all) for `seconds` each; returns whether all checks are met.

    Writes hostile.json and the programs' logs to folder `out`. `package` is of the digits. Raises EmulationError or
    VerilateError where a part is missing.
    """
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise EmulationError(f"no attack is called {', '.join(unknown)}: choose one of {', '.join(ATTACKS)}")
    chosen = list(names) or list(ATTACKS)
    logs = out / "hostile"
    logs.mkdir(parents=True, exist_ok=True)
    if fabric == "verilated":
        build_library(Package.load(package))
    with tempfile.TemporaryDirectory(prefix="edgesight-hostile-") as scratch:
        phases = asyncio.run(_all(chosen, seconds, package, fabric, Path(scratch), logs, console))
    checks = judge(phases)
    body = {
        "machine": {"cores": os.cpu_count(), "machine": platform.machine(), "kernel": platform.release()},
        "python": platform.python_version(),
        "per_second": PER_SECOND,
        "deadline_s": DEADLINE_S,
        "seconds": seconds,
        "phases": [asdict(phase) for phase in phases],
    }
    write_report(out / "hostile.json", body, checks)
    return print_checks(console, checks)


def judge(phases: Sequence[Phase]) -> list[Check]:
    """The checks of what was found."""
    checks = []
    for phase in phases:
        if phase.attack is None:
            # Without answers a control shows nothing.
            answered = phase.answered / max(phase.asked, 1)
            checks.append(Check(f"{phase.title}: answered in time", answered, SHARE, False, "share", "measured"))
            continue
        title = phase.title
        gained = phase.most_mb - phase.idle_mb
        edge_gained = phase.edge_most_mb - phase.edge_idle_mb
        checks += [
            Check(f"{title}: answers in time, of the control's", phase.share, SHARE, False, "share", "measured"),
            Check(f"{title}: memory above idle, data centre", gained, MEMORY_MB, True, "MB", "measured"),
            Check(f"{title}: memory above idle, edge", edge_gained, MEMORY_MB, True, "MB", "measured"),
            Check(f"{title}: log, worst second", phase.most_lines_per_s, LINES_PER_S, True, "lines/s", "measured"),
            Check(f"{title}: tracebacks", phase.tracebacks, 0, True, "tracebacks", "measured"),
        ]
    return checks


async def _all(
    names: Sequence[str], seconds: float, package: Path, fabric: str, folder: Path, logs: Path, console: Console
) -> list[Phase]:
    """All phases: data centre by data centre, as their models' inputs differ."""
    sides = sorted({ATTACKS[name].side for name in names})
    total = sum(2 * len([name for name in names if ATTACKS[name].side == side]) + 1 for side in sides)
    phases: list[Phase] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("hostile", total=total)
        for side in sides:
            opened = offloading_package(package, folder / f"package-{side}")
            (images := folder / f"images-{side}").mkdir()
            material = robust_digits(opened, fabric, images)
            if side:
                opened = _widened(opened, side)
                material = _alike(material, opened)
            async with _Site(opened, fabric, folder / f"site-{side}", logs, side, material, seconds) as site:
                control = await site.phase(None, (), 1.0)
                phases.append(control)
                progress.advance(bar)
                rate = control.answered / max(control.asked, 1)
                for name in (name for name in names if ATTACKS[name].side == side):
                    for sources in (OTHERS, (OWN,)):
                        progress.update(bar, description=ATTACKS[name].title)
                        phases.append(await site.phase(name, sources, rate))
                        progress.advance(bar)
    return phases


class _Site:
    """A data centre, an edge that is asked, and one that has turned."""

    def __init__(
        self, package: Package, fabric: str, folder: Path, logs: Path, side: int, material: Material, seconds: float
    ) -> None:
        folder.mkdir()
        self._side, self._material, self._seconds = side or material.images.shape[1], material, seconds
        self._socket = folder / "edge.sock"
        self._trust = make_trust(folder / "trust")
        self._turned = folder / "turned"
        add_edge(self._trust.datacenter, TURNED, self._turned)
        self._datacenter = Program(
            "data centre",
            ["datacenter", "serve", str(package.path), "--keys", str(self._trust.datacenter), "--port", "0"],
            "data centre:",
            logs / f"datacenter-{self._side}.log",
        )
        self._edge = Program(
            "edge",
            [
                *("edge", str(package.path), "--fabric", fabric, "--socket", str(self._socket)),
                *("--keys", str(self._trust.edge), "--datacenter"),
            ],
            "edge:",
            logs / f"edge-{self._side}.log",
        )

    async def __aenter__(self) -> _Site:
        line = await self._datacenter.start()
        _, self._port = host_and_port(line.split()[-1])
        self._edge.arguments.append(f"{OWN}:{self._port}")
        try:
            await self._edge.start()
        except BaseException:
            await self._end(self._datacenter)
            raise
        await asyncio.sleep(_SETTLE_S)
        await self._recovered()
        self._idle_mb = self._datacenter.memory_mb()
        return self

    async def __aexit__(self, *_: object) -> None:
        for program in (self._edge, self._datacenter):
            await self._end(program)

    @staticmethod
    async def _end(program: Program) -> None:
        if program.ended() is None:
            await program.end(signal.SIGTERM)

    async def phase(self, name: str | None, sources: Sequence[str], control: float) -> Phase:
        """Ask for the phase's time under attack `name` from `sources`; `control` is the share answered without."""
        keeps_out = name is not None and ATTACKS[name].keeps_out
        for program in (self._datacenter, self._edge):
            if program.ended() is not None:
                raise EmulationError(f"the {program.name} ended with {program.ended()}: see {program.log}")
        edge_idle = self._edge.memory_mb()
        begins = [program.log.stat().st_size for program in (self._datacenter, self._edge)]
        cpu = _cpu_s(self._datacenter.pid)
        lead = _TAKE_HOLD_S + 2 * _SETTLE_S if keeps_out else 0.5
        attacker = self._attack(name, sources, self._seconds + lead) if name is not None else None
        watch = _Watch(self._datacenter, self._edge)
        asked: list[Asked] = []
        chance = random.Random(name)
        async with watch:
            if keeps_out:
                await self._end(self._edge)
                await asyncio.sleep(_TAKE_HOLD_S)
                await self._edge.start()
                edge_idle = self._edge.memory_mb()
                begins[1] = min(begins[1], self._edge.log.stat().st_size)
                await asyncio.sleep(_SETTLE_S)
            elif attacker is not None:
                await asyncio.sleep(0.5)
            async with asking(
                self._edge, self._socket, self._material, PER_SECOND, lambda: DEADLINE_S, chance.randrange, asked
            ):
                await asyncio.sleep(self._seconds)
        did = await _did(attacker) if attacker is not None else {}
        sound = sum(
            one.sound and one.answer is not None and one.answer.label == int(self._material.backend[one.image])
            for one in asked
        )
        took = sorted(one.took_s for one in asked) or [0.0]
        share = sound / max(len(asked), 1)
        found = Phase(
            attack=name,
            source="" if name is None else "the edge's address" if sources == (OWN,) else "other addresses",
            side=self._side,
            asked=len(asked),
            answered=sound,
            share=round(share / max(control, 1e-9), 4),
            p50_ms=round(1e3 * took[len(took) // 2], 1),
            p99_ms=round(1e3 * took[len(took) * 99 // 100], 1),
            idle_mb=round(self._idle_mb, 1),
            most_mb=round(watch.most_mb, 1),
            edge_idle_mb=round(edge_idle, 1),
            edge_most_mb=round(watch.edge_most_mb, 1),
            lines=watch.lines,
            most_lines_per_s=watch.most_lines_per_s,
            tracebacks=self._datacenter.unhandled(begins[0]) + self._edge.unhandled(begins[1]),
            server_cpu_s=round(_cpu_s(self._datacenter.pid) - cpu, 2),
            attacker=did,
        )
        await asyncio.sleep(_SETTLE_S)
        await self._recovered()
        return found

    def _attack(self, name: str, sources: Sequence[str], seconds: float) -> subprocess.Popen[bytes]:
        where = [OWN, str(self._port), str(seconds), ",".join(sources), str(self._turned)]
        command = [sys.executable, "-m", "edgesight.bench.link.attacks", name, *where]
        return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    async def _recovered(self) -> None:
        """Wait until the edge has a sound answer again, or for half a minute: no phase begins in another's shadow."""
        until = time.monotonic() + 30.0
        while time.monotonic() < until:
            asked: list[Asked] = []
            async with asking(self._edge, self._socket, self._material, 5.0, lambda: DEADLINE_S, lambda n: 0, asked):
                await asyncio.sleep(1.0)
            if asked and asked[-1].sound:
                return


class _Watch:
    """Looks at the memory of both programs, and at the data centre's log, again and again."""

    def __init__(self, datacenter: Program, edge: Program) -> None:
        self.most_mb, self.edge_most_mb = datacenter.memory_mb(), edge.memory_mb()
        self.lines = self.most_lines_per_s = 0
        self._datacenter, self._edge = datacenter, edge

    async def __aenter__(self) -> _Watch:
        self._task = asyncio.ensure_future(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        with self._datacenter.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            second, now = 0, time.monotonic()
            while True:
                self.most_mb = max(self.most_mb, self._datacenter.memory_mb())
                with contextlib.suppress(OSError):  # it may just be started anew
                    self.edge_most_mb = max(self.edge_most_mb, self._edge.memory_mb())
                lines = log.read().count(b"\n")
                self.lines += lines
                second += lines
                self.most_lines_per_s = max(self.most_lines_per_s, second)
                if time.monotonic() >= now + 1.0:
                    second, now = 0, time.monotonic()
                await asyncio.sleep(_LOOK_S)


async def _did(attacker: subprocess.Popen[bytes]) -> dict[str, int]:
    """What an attacker says that it did; raises EmulationError where it broke."""
    try:
        said, _ = await asyncio.to_thread(attacker.communicate, timeout=30.0)
    except subprocess.TimeoutExpired:
        attacker.kill()
        attacker.wait()
        return {}
    try:
        did: dict[str, int] = json.loads(said)
    except ValueError:
        raise EmulationError(
            f"an attacker ended with {attacker.returncode}; see what it said: {said[-200:]!r}"
        ) from None
    return did


def _cpu_s(pid: int) -> float:
    """Seconds of processor time of process `pid`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _widened(package: Package, side: int) -> Package:
    """`package` with a back end that takes images of `side` x `side` pixels, whose blocks it averages."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EmulationError("onnx is not installed: pip install 'edgesight[build]'") from error
    calibration = package.kernel.calibration
    assert calibration is not None  # `offloading_package` looked
    file = package.path / "datacenter.onnx"
    model = onnx.load(file)
    graph = model.graph
    small, _, channels = package.kernel.input.shape
    if side % small:
        raise EmulationError(f"{side} pixels are no multiple of the {small} that the model takes: choose another side")
    times = side // small
    inner = "wide_averaged"
    for node in graph.node:
        node.input[:] = [inner if name == "image" else name for name in node.input]
    split = np.array([-1, small, times, small, times, channels], np.int64)
    front = [
        helper.make_node("Cast", ["image"], ["wide_float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["wide_float", "wide_blocks"], ["wide_split"]),
        helper.make_node("ReduceMean", ["wide_split"], ["wide_mean"], axes=[2, 4], keepdims=0),
        helper.make_node("Round", ["wide_mean"], ["wide_round"]),
        helper.make_node("Cast", ["wide_round"], [inner], to=TensorProto.UINT8),
    ]
    for place, node in enumerate(front):
        graph.node.insert(place, node)
    graph.initializer.append(numpy_helper.from_array(split, "wide_blocks"))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, channels]))
    content = model.SerializeToString()
    file.write_bytes(content)
    known = calibration.model_copy(update={"backend_sha256": sha256(content)})
    files = {**package.kernel.files, file.name: sha256(content)}
    return package.replace(calibration=known.model_dump(), files=files)


def _alike(material: Material, package: Package) -> Material:
    """Those images of `material` whose label a larger input of the back end leaves as it is."""
    model = OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input)
    enlarged = (resize(image, model.input_shape) for image in material.images)
    labels = np.array([np.argmax(model.run(image[None])[0]) for image in enlarged])
    same = np.flatnonzero(labels == material.backend)
    files = [material.files[place] for place in same]
    return Material(material.images[same], files, material.backend[same], material.edge[same])
