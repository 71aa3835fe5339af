"""Our transport against others on the same emulated link, cell by cell: one run of one transport over one link, with
one data set and one seed.

A cell is a file of its own and is not run again while it says what would be measured anew: the same plan, link, images,
model and code. So a comparison that was stopped goes on where it was, and a change to our transport leaves the others'
cells as they are.

Agreement is the share of requests answered, in time, as the model answers the unharmed image: what `encode` makes of
it, decoded. An answer that never came, or came from the edge, does not agree.

Words owned here: cell, case (a link, or a data set, that is compared on), row (the cells of all seeds together),
agreement, reliable (a transport that sends again what was lost).
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgesight.bench.link.photos import make_network, read_photos
from edgesight.bench.link.workload import Outcomes, Plan, decode, encode
from edgesight.bench.report import Check
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.files import write_atomically
from edgesight.host.link.strips import QUALITY
from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, NamespaceLink, congestion_controls
from edgesight.sim.link.options import (
    BandwidthDelayProducts,
    ConstantRate,
    EmulationError,
    LinkOptions,
    MahimahiTrace,
    Packets,
    Rate,
    RateTrace,
)
from edgesight.sim.link.trust import Trust, make_trust

RATE = 20.0  # Mbit/s
DELAY_S = 0.02  # each way
QUEUE = 1.0  # bandwidth-delay products
LOSSES = (0.0, 0.01, 0.05, 0.1, 0.2)  # each way
FASHION_IMAGES = 1_000  # the first ones of the test split
SLOW_RATES = (0.2, 0.4, 0.8)  # Mbit/s each way
SLOW_QUEUE = 20  # packets: a bandwidth-delay product of such a link is less than a few of them
BEGIN_S = 8.0  # seconds that a trace has run when requests begin: all transports meet the same part of it
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
_QUIC_CODE = tuple(f"host/link/{name}.py" for name in ("congestion", "keys", "tls"))
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
)
CODE = (*_SHARED_CODE, *OURS.code)  # of all transports


@dataclass(frozen=True)
class Gate:
    """What our transport must reach."""

    p99_ratio: float  # at most, of the best reliable transport's P99
    agreement: float  # at least


GATED_REQUESTS, GATED_SEEDS = 1_000, 3  # at least, in a row that a gate looks at
GATES = {0.0: Gate(1.05, 1.0), 0.05: Gate(0.6, 0.95), 0.1: Gate(0.5, 0.9)}


@dataclass(frozen=True)
class LinkCase:
    """A link that is compared on; the one without a gate is only reported."""

    name: str
    up: LinkOptions
    down: LinkOptions
    gate: Gate | None = None

    @property
    def begin_s(self) -> float:
        """Seconds from the link's begin to the first request, at least."""
        return 0.0 if isinstance(self.up.rate, ConstantRate) else BEGIN_S


@dataclass(frozen=True)
class DataCase:
    """Images that are compared with, and the model that answers.

    Attributes:
        name: of the data set.
        model: ONNX file.
        images: .npy file, uint8 [N, H, W, C].
        reference: int64 [N], the model's labels of the unharmed images.
        labels: int64 [N], the true ones, None where they are not known.
        identity: checksums of model and images, and JPEG's quality.
        work_s: seconds that a request takes one core, about.
    """

    name: str
    model: Path
    images: Path
    reference: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    identity: str
    work_s: float

    @property
    def accuracy(self) -> float | None:
        """Of the model on the unharmed images."""
        return None if self.labels is None else float(np.mean(self.reference == self.labels))

    @functools.cached_property
    def mean_bytes(self) -> float:
        """Of an image as the other transports carry it, without what they add."""
        return float(np.mean([len(encode(image)) for image in np.load(self.images, mmap_mode="r")]))


@dataclass(frozen=True)
class Row:
    """What one transport did on one link with one data set, over all seeds.

    Times are milliseconds from arrival; a request without an answer counts as having taken the deadline.
    """

    link: str
    transport: str
    seeds: int
    requests: int
    p50_ms: float
    p99_ms: float
    p99_ms_of_seeds: tuple[float, ...]
    answered: float  # share in time
    goodput_per_s: float  # answers in time
    agreement: float
    accuracy: float | None  # share answered with the true label
    sent_bytes: float  # of the edge, a request
    client_late_ms: float  # P99 of how late the client itself turned to a request
    link_late_ms: float  # by which the emulator handed over the latest packet but one in a hundred; worst seed
    link_missed: int  # packets that the emulator was too slow to take
    load: float  # the machine's load average before a cell, worst seed

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better."""
        return self.p99_ms, self.p50_ms


# ---------------------------------------------------------------------------------------------------------- cases


def loss_cases(losses: Sequence[float] = LOSSES) -> list[LinkCase]:
    """The same link with random loss each way."""
    cases = []
    for loss in losses:
        options = LinkOptions(ConstantRate(RATE * 1e6), DELAY_S, loss=loss, queue=BandwidthDelayProducts(QUEUE))
        cases.append(LinkCase(f"loss {loss:.0%}", options, options, GATES.get(loss)))
    return cases


def trace_cases(folder: Path) -> list[LinkCase]:
    """A link for each trace in `folder`: `NAME.up` with `NAME.down` (Mahimahi), `NAME.txt` (Mbit/s by the second).

    The latter holds for the way up; the way down, which carries answers, then has the constant rate. Nothing is lost
    but what the queue cannot take. Raises EmulationError where there is no trace.
    """

    def options(rate: Rate) -> LinkOptions:
        return LinkOptions(rate, DELAY_S, queue=BandwidthDelayProducts(QUEUE))

    cases = []
    for up in sorted(folder.glob("*.up")):
        down = up.with_suffix(".down")
        cases.append(LinkCase(up.stem, options(MahimahiTrace.read(up)), options(MahimahiTrace.read(down))))
    for trace in sorted(folder.glob("*.txt")):
        cases.append(LinkCase(trace.stem, options(RateTrace.read(trace)), options(ConstantRate(RATE * 1e6))))
    if not cases:
        raise EmulationError(f"{folder}: no trace is in it: expected NAME.up with NAME.down, or NAME.txt")
    return cases


def slow_cases() -> list[LinkCase]:
    """Links of a constant rate at which one photograph takes from a sixth to most of a second; they lose nothing."""
    cases = []
    for rate in SLOW_RATES:
        options = LinkOptions(ConstantRate(rate * 1e6), DELAY_S, queue=Packets(SLOW_QUEUE))
        cases.append(LinkCase(f"{rate:g} Mbit/s", options, options))
    return cases


def photo_case(photos: Path, labels: Path | None, cache: Path) -> DataCase:
    """Photographs in a folder or zip and what is on them, with EfficientNet-Lite0; raises PhotoError."""
    found = read_photos(photos, labels)
    return _data_case("photos", make_network(network_file(cache)), found.images, found.labels, cache, 0.035)


def network_file(cache: Path) -> Path:
    """Where the network for photographs is kept."""
    return cache / "efficientnet-lite0.onnx"


def fashion_case(model: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], cache: Path) -> DataCase:
    """The first of Fashion-MNIST's test `images` uint8 [N, H, W, C] with `labels` [N], with the back end `model`."""
    return _data_case("fashion-mnist", model, images[:FASHION_IMAGES], labels[:FASHION_IMAGES], cache, 0.004)


def _data_case(
    name: str,
    model: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None,
    cache: Path,
    work_s: float,
) -> DataCase:
    executor = OnnxModel(model)
    checksum = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    identity = f"{executor.sha256[:12]}-{checksum[:12]}-q{QUALITY}"
    cache.mkdir(parents=True, exist_ok=True)
    images_file, reference_file = cache / f"{name}-{checksum[:12]}.npy", cache / f"{name}-{identity}-reference.npy"
    if not images_file.exists():
        write_atomically(images_file, _npy(images))
    unharmed = (decode(encode(image), executor.input_shape) for image in images)
    if not reference_file.exists():
        # One by one, so that no label depends on its neighbours.
        found = [int(np.argmax(executor.run(image[None])[0])) for image in unharmed]
        write_atomically(reference_file, _npy(np.array(found, np.int64)))
    return DataCase(name, model, images_file, np.load(reference_file), labels, identity, work_s)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------- cells


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
            raise EmulationError(f"the server of {transport.name} did not begin; what it said stands above")
        ends = [transport.program, str(trust.edge), DATACENTER_ADDRESS, str(_PORT), str(data.images.resolve())]
        client = link.run_edge([*program, "ask", *ends, plan.to_json(), str(begin)], **options)
        try:
            if time.monotonic() > begin and plan.turns > 1:
                raise EmulationError(f"{transport.name} was not ready for its first turn: the machine is too busy")
            left = max(begin - time.monotonic(), 0.0)
            said, _ = client.communicate(timeout=left + plan.seconds + _END_WITHIN)
        except subprocess.TimeoutExpired:
            raise EmulationError(
                f"the client of {transport.name} did not end within {_END_WITHIN:g} s after its last request"
            ) from None
        if client.returncode:
            raise EmulationError(f"the client of {transport.name} failed; what it said stands above")
        if server.poll() is not None:
            raise EmulationError(f"the server of {transport.name} ended early; what it said stands above")
    return Outcomes.from_json(json.loads(said)), link.report()


def code_checksum(globs: Sequence[str]) -> str:
    """Of the repository's files that match, names included."""
    digest = hashlib.sha256()
    for pattern in globs:
        for file in sorted(_ROOT.glob(pattern)):
            digest.update(str(file.relative_to(_ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------------- rows


def make_rows(cells: Sequence[Cell]) -> list[Row]:
    """A row for each link and transport, from the cells that were measured."""
    groups: dict[tuple[str, str], list[tuple[Cell, dict[str, Any]]]] = {}
    for cell in cells:
        measured = cell.read()
        if measured is not None:
            groups.setdefault((cell.link.name, cell.transport.name), []).append((cell, measured))
    return [_row(link, transport, group) for (link, transport), group in groups.items()]


def _row(link: str, transport: str, group: list[tuple[Cell, dict[str, Any]]]) -> Row:
    data, plan = group[0][0].data, group[0][0].plan
    runs = [Outcomes.from_json(measured["outcomes"]) for _, measured in group]
    reports = [measured["link"] for _, measured in group]
    took = np.concatenate([run.took_s for run in runs]) * 1e3
    images, label = np.concatenate([run.image for run in runs]), np.concatenate([run.label for run in runs])
    answered = float(np.mean(label >= 0))
    ways = [report[way] for report in reports for way in ("up", "down")]
    return Row(
        link=link,
        transport=transport,
        seeds=len(runs),
        requests=len(took),
        p50_ms=_percentile(took, 50),
        p99_ms=_percentile(took, 99),
        p99_ms_of_seeds=tuple(_percentile(np.array(run.took_s) * 1e3, 99) for run in runs),
        answered=answered,
        goodput_per_s=answered * plan.per_second,
        agreement=float(np.mean(label == data.reference[images])),
        accuracy=None if data.labels is None else float(np.mean(label == data.labels[images])),
        sent_bytes=sum(run.sent_bytes for run in runs) / len(took),
        client_late_ms=_percentile(np.concatenate([run.late_s for run in runs]) * 1e3, 99),
        link_late_ms=max(way["late_ms"]["p99"] for way in ways if way["late_ms"]),
        link_missed=sum(way["missed"] for way in ways),
        load=max(measured["load"] for _, measured in group),
    )


def _percentile(values: npt.NDArray[np.float64], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3)


def best_reliable(rows: Sequence[Row], link: str) -> Row | None:
    """The reliable transport whose P99 is least on `link`: so also the better of TCP's congestion controls."""
    names = {transport.name for transport in TRANSPORTS if transport.reliable}
    there = [row for row in rows if row.link == link and row.transport in names]
    return min(there, key=lambda row: row.rank, default=None)


def better_grpc(rows: Sequence[Row], link: str) -> Row | None:
    """gRPC on `link` with the congestion control whose P99 is less."""
    there = [row for row in rows if row.link == link and row.transport.startswith("grpc-")]
    return min(there, key=lambda row: row.rank, default=None)


def gate_checks(rows: Sequence[Row], links: Sequence[LinkCase], data: str) -> list[Check]:
    """Our transport's rows held against the gates of their links."""
    return list(_gate_checks(rows, links, data))


def _gate_checks(rows: Sequence[Row], links: Sequence[LinkCase], data: str) -> Iterator[Check]:
    for link in links:
        ours = next((row for row in rows if row.link == link.name and row.transport == OURS.name), None)
        best = best_reliable(rows, link.name)
        if link.gate is None or ours is None or best is None:
            continue
        where = f"{data}, {link.name}"
        ratio = ours.p99_ms / best.p99_ms
        yield Check(f"{where}: P99 over the best reliable one's", ratio, link.gate.p99_ratio, True, "", "measured")
        yield Check(f"{where}: agreement", ours.agreement, link.gate.agreement, False, "", "measured")
        requests, seeds = min(ours.requests, best.requests), min(ours.seeds, best.seeds)
        yield Check(f"{where}: requests", requests, GATED_REQUESTS, False, "", "measured")
        yield Check(f"{where}: seeds of loss", seeds, GATED_SEEDS, False, "", "measured")


# ----------------------------------------------------------------------------------------------------- slow links

SLOW_REQUESTS = 600
SLOW_LOAD = 0.8  # of what a link would just carry of the images' bytes alone
# Requests a second that one machine's ends and models carry of each data set, where a link would carry more.
MOST_PER_SECOND = {"photos": 25.0, "fashion-mnist": 100.0}
LEAST_ANSWERED, MOST_P99, LEAST_AGREEMENT = 0.01, 1.1, 0.005  # below the best, times the best, below the best


def slow_rate(link: LinkCase, data: DataCase) -> float:
    """Requests a second at SLOW_LOAD of what `link` carries of `data`, as far as a machine carries them."""
    assert link.up.rate is not None
    return round(min(SLOW_LOAD * link.up.rate.mean_bit_per_s / 8 / data.mean_bytes, MOST_PER_SECOND[data.name]), 2)


def slow_checks(rows: Sequence[Row], per_second: float, data: str) -> list[Check]:
    """Our transport's rows held against the best of the reliable ones in each figure, which need not be the same."""
    checks = []
    names = {transport.name for transport in TRANSPORTS if transport.reliable}
    for ours in (row for row in rows if row.transport == OURS.name):
        others = [row for row in rows if row.link == ours.link and row.transport in names]
        if not others:
            continue
        where = f"{data}, {ours.link}, {per_second:g}/s"
        answered = max(row.answered for row in others) - LEAST_ANSWERED
        agreed = max(row.agreement for row in others) - LEAST_AGREEMENT
        checks.append(Check(f"{where}: in time", ours.answered, answered, False, "", "measured"))
        checks.append(Check(f"{where}: agreement", ours.agreement, agreed, False, "", "measured"))
        whole = [row.p99_ms for row in others if row.answered == 1.0]
        if whole:
            ratio = ours.p99_ms / min(whole)
            checks.append(Check(f"{where}: P99 over the best reliable one's", ratio, MOST_P99, True, "", "measured"))
        requests = min(row.requests for row in (ours, *others))
        checks.append(Check(f"{where}: requests", requests, SLOW_REQUESTS, False, "", "measured"))
    return checks
