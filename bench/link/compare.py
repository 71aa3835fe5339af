"""Our transport against others on the same emulated link, cell by cell: one run of one transport over one link, with
one data set and one seed.

A cell is a file of its own and is not run again while it says what would be measured anew: the same plan, link, images,
model and code. So a comparison that was stopped goes on where it was, and a change to our transport leaves the others'
cells as they are.

Words owned here: cell, reliable (a transport that sends again what was lost).
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgesight.bench.link.cases import DataCase, LinkCase
from edgesight.bench.link.workload import Outcomes, Plan
from edgesight.host.files import write_atomically
from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, NamespaceLink, congestion_controls
from edgesight.sim.link.options import EmulationError
from edgesight.sim.link.trust import Trust, make_trust

CELL_OVERHEAD_S = 2.0  # of a cell, beside its plan: putting the link up, loading the model, taking all down

_ROOT = Path(__file__).resolve().parent.parent.parent
_PORT = 4_433
_BEGIN_WITHIN, _END_WITHIN = 60.0, 60.0  # seconds
_AT_ONCE = 0.25  # seconds of work a second up to which a link's transports are measured at once
# Beyond it they take turns: between two whole cells lie minutes, within which a shared machine's speed moves by more
# than transports differ.
TURNS, _TURN_WARM_UP = 6, 20  # turns of a cell, and requests in each that open what a pause has closed
_TURNS_BEGIN_S = 25.0  # seconds from the first process's start to the first turn: until all ends of all are ready
_BUSY = 1.0  # load average from which on the machine is said to be busy with something else


@dataclass(frozen=True)
class Transport:
    """A way to the data centre and back.

    Attributes:
        name: in reports.
        title: for people.
        program: what `edgesight.bench.link.peers` calls it.
        tcp: the kernel's congestion control, where it is TCP.
        reliable: whether what was lost is sent again until it comes.
        code: what it is made of beside `_SHARED_CODE`, as globs under the repository.
    """

    name: str
    title: str
    program: str
    tcp: str | None = None
    reliable: bool = False
    code: tuple[str, ...] = ()


OURS = Transport("edgesight", "EdgeSight", "edgesight", code=("host/link/*.py", "host/datacenter/*.py"))
CONGESTION_CODE = tuple(f"host/link/{name}.py" for name in ("congestion", "cubic", "pacing", "round_trips"))
_QUIC_CODE = (*CONGESTION_CODE, *(f"host/link/{name}.py" for name in ("keys", "tls")))
TRANSPORTS = (
    OURS,
    Transport("grpc-cubic", "gRPC, TCP cubic", "grpc", tcp="cubic", reliable=True),
    Transport("grpc-bbr", "gRPC, TCP bbr", "grpc", tcp="bbr", reliable=True),
    Transport("quic", "QUIC streams", "quic", reliable=True, code=_QUIC_CODE),
    Transport("udp", "plain UDP", "udp"),
)
_SHARED_CODE = (
    *(f"bench/link/{name}.py" for name in ("peers/*", "workload")),
    *(f"sim/link/{name}.py" for name in ("engine", "model")),
    "host/datacenter/models.py",
    "host/datacenter/executors/onnx_runtime.py",
)
CODE = (*_SHARED_CODE, *OURS.code)  # of all transports


@dataclass(frozen=True)
class Cell:
    """One run: to be made, or made and in its file. Measured in a thread of its own, beside others."""

    link: LinkCase
    transport: Transport
    data: DataCase
    plan: Plan
    path: Path

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides what is measured."""
        return {
            "data": self.data.identity,
            "plan": asdict(self.plan),
            "up": self.link.up.describe(),
            "down": self.link.down.describe(),
            "transport": self.transport.name,
            "code": code_checksum((*_SHARED_CODE, *self.transport.code)),
        }

    def read(self) -> dict[str, Any] | None:
        """What was measured; None where that was something else, or nothing."""
        try:
            parsed = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None
        same = isinstance(parsed, dict) and parsed.get("identity") == json.loads(json.dumps(self.identity))
        return parsed if same else None

    def measure(self, trust: Trust, begin: float | None = None, link_began: float | None = None) -> None:
        """Run it and write its file; raises EmulationError where the link or an end breaks. Times as `run_once`'s."""
        load, _, _ = os.getloadavg()
        began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        outcomes, link = run_once(self.link, self.transport, self.data, self.plan, trust, begin, link_began)
        content = {
            "identity": self.identity,
            "began": began,
            "load": load,
            "link": link,
            "outcomes": outcomes.to_json(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, (json.dumps(content) + "\n").encode())


def make_cells(
    links: Sequence[LinkCase],
    data: DataCase,
    plan: Plan,
    seeds: int,
    folder: Path,
    transports: Sequence[Transport] = TRANSPORTS,
) -> list[Cell]:
    """The cells of a comparison; transports next to each other, so that all meet the machine in much the same state."""
    return [
        Cell(
            link,
            transport,
            data,
            replace(plan, seed=seed),
            folder
            / data.name
            / _file_name(link.name)
            / f"{transport.name}-{plan.per_second:g}-{plan.requests}-{seed}.json",
        )
        for link in links
        for seed in range(seeds)
        for transport in transports
    ]


def _file_name(name: str) -> str:
    return name.replace(" ", "-").replace("%", "").replace("/", "-")


def available_transports() -> tuple[list[Transport], dict[str, str]]:
    """Those that this machine can measure, and why not the others."""
    there, skipped = [], {}
    for transport in TRANSPORTS:
        if transport.tcp is not None and transport.tcp not in congestion_controls():
            skipped[transport.name] = f"this kernel has no TCP congestion control {transport.tcp}"
        else:
            there.append(transport)
    return there, skipped


def in_turns(plan: Plan, data: DataCase, transports: int) -> Plan:
    """`plan` for so many transports that take turns on the machine, where they are too much for it at once."""
    if plan.per_second * data.work_s <= _AT_ONCE:
        return plan
    own = replace(plan, turns=min(TURNS, plan.requests), warm_up=_TURN_WARM_UP)
    return replace(own, pause_s=(transports - 1) * own.turn_s)


def together(cells: Sequence[Cell], at_once: bool) -> list[list[Cell]]:
    """`cells` in the order they are measured, those next to each other that are measured together in one list.

    All transports of a link are whose plan has turns; with `at_once` also where each has so little to do that the
    machine is idle most of the time.
    """
    groups: list[list[Cell]] = []
    for cell in cells:
        first = groups[-1][0] if groups else None
        same = first is not None and (first.link, first.data, first.plan) == (cell.link, cell.data, cell.plan)
        light = at_once and cell.plan.per_second * cell.data.work_s <= _AT_ONCE
        if same and (light or cell.plan.turns > 1):
            groups[-1].append(cell)
        else:
            groups.append([cell])
    return groups


def _due(cells: Sequence[Cell], again: bool, at_once: bool) -> list[list[Cell]]:
    """What is to be measured: of those that take turns all or none, since they are held against each other."""
    groups = []
    for group in together(cells, at_once):
        due = [cell for cell in group if again or cell.read() is None]
        if due:
            groups.append(group if group[0].plan.turns > 1 else due)
    return groups


def run_cells(cells: Sequence[Cell], console: Console, again: bool = False, at_once: bool = False) -> None:
    """Measure those of `cells` that are not there yet; with `again` all. `at_once`: see `together`."""
    due = _due(cells, again, at_once)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        if not due:
            return
        trust = make_trust(Path(folder))
        bar = progress.add_task("", total=sum(len(group) for group in due))
        load, _, _ = os.getloadavg()
        if load > _BUSY:
            console.print(f"[yellow]The machine is busy (load {load:.1f}): times will be too long.[/yellow]")
        for group in due:
            titles = ", ".join(cell.transport.title for cell in group)
            cell = group[0]
            progress.update(bar, description=f"{cell.data.name}, {cell.link.name}, {titles}, seed {cell.plan.seed}")
            _measure(group, trust)
            progress.advance(bar, len(group))


def _measure(group: Sequence[Cell], trust: Trust) -> None:
    """Measure the cells of `group` side by side, or in turns, in each of which all meet the same part of a trace."""
    begins: list[float | None] = [None] * len(group)
    links_began = list(begins)
    plan = group[0].plan
    if plan.turns > 1:
        now = time.monotonic()
        waits = [number * plan.turn_s for number in range(len(group))]
        begins = [now + _TURNS_BEGIN_S + wait for wait in waits]
        links_began = [now + wait - waits[-1] for wait in waits]
    with ThreadPoolExecutor(len(group)) as threads:
        list(threads.map(Cell.measure, group, [trust] * len(group), begins, links_began))


def seconds_of(cells: Sequence[Cell], again: bool = False, at_once: bool = False) -> float:
    """How long `run_cells` will take, about."""
    return sum(_seconds(group) for group in _due(cells, again, at_once))


def _seconds(group: Sequence[Cell]) -> float:
    plan, link = group[0].plan, group[0].link
    if plan.turns > 1:
        return _TURNS_BEGIN_S + plan.seconds + (len(group) - 1) * plan.turn_s
    return link.begin_s + plan.seconds + CELL_OVERHEAD_S


def run_once(
    link_case: LinkCase,
    transport: Transport,
    data: DataCase,
    plan: Plan,
    trust: Trust,
    begin: float | None = None,
    link_began: float | None = None,
) -> tuple[Outcomes, dict[str, Any]]:
    """Outcomes of `plan` over an emulated link, and the link's report; raises EmulationError where something breaks.

    Of the monotonic clock, the first request comes at `begin`, and the link's traces began at `link_began`; None: as
    soon as all is ready, and when the link is up.
    """
    program = [sys.executable, "-m", "edgesight.bench.link.peers"]
    options: dict[str, Any] = {"cwd": _ROOT, "stdout": subprocess.PIPE, "text": True}
    with NamespaceLink(link_case.up, link_case.down, seed=plan.seed, tcp=transport.tcp, began=link_began) as link:
        begin = time.monotonic() + link_case.begin_s if begin is None else begin
        ends = [transport.program, str(data.model.resolve()), str(trust.datacenter), str(_PORT)]
        server = link.run_datacenter([*program, "serve", *ends], **options)
        assert server.stdout is not None
        heard, _, _ = select.select([server.stdout], [], [], _BEGIN_WITHIN)
        if not heard or server.stdout.readline() != "ready\n":
            raise EmulationError(f"the server of {transport.name} did not begin; see what it said above")
        ends = [transport.program, str(trust.edge), DATACENTER_ADDRESS, str(_PORT), str(data.images.resolve())]
        client = link.run_edge([*program, "ask", *ends, plan.to_json(), str(begin)], **options)
        try:
            if time.monotonic() > begin and plan.turns > 1:
                raise EmulationError(
                    f"{transport.name} was not ready for its first turn: try again when this machine is less busy"
                )
            left = max(begin - time.monotonic(), 0.0)
            said, _ = client.communicate(timeout=left + plan.seconds + _END_WITHIN)
        except subprocess.TimeoutExpired:
            raise EmulationError(
                f"the client of {transport.name} did not end within {_END_WITHIN:g} s after its last request"
                ": try again when this machine is less busy"
            ) from None
        if client.returncode:
            raise EmulationError(f"the client of {transport.name} failed; see what it said above")
        if server.poll() is not None:
            raise EmulationError(f"the server of {transport.name} ended early; see what it said above")
    return Outcomes.from_json(json.loads(said)), link.report()


def code_checksum(globs: Sequence[str]) -> str:
    """Of the repository's files that match, names included."""
    digest = hashlib.sha256()
    for pattern in globs:
        for file in sorted(_ROOT.glob(pattern)):
            digest.update(str(file.relative_to(_ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
