"""Energy an image, of board, radio and back end together, for each system; projected.

What a system does is simulated: how long its fabric works, how many bytes it sends, how many pictures its back end
runs. That times what others measured (`edgesight.bench.serve.energy_sources`) is its energy:

- the board's idle power over the whole time between two requests, and what an active fabric draws more while it works;
- the radio's base power over the same time, in every system that sends at all, and its energy for each bit sent;
- the back end's, by its multiply-accumulates, at what a device takes for one whose time is all used in full batches.

The same board stands in every system: the one that sends every picture has it to send them with. Where a GPU is here,
the back end's joules are measured on it instead. `LEFT_OUT` names what is not counted.

Words owned here: use (what a system takes for a request), terms (of its energy).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.bench.serve import data
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.data import GRIDS
from edgesight.bench.serve.energy_sources import BOARDS, DEVICE, LTE, WIFI, Board, Radio
from edgesight.bench.serve.grid import BELOWS, DEADLINES_S, LOADS
from edgesight.bench.serve.links import Links, links_of
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.systems import (
    DATA_CENTRE,
    EDGE,
    HEDGED,
    SELECTING,
    TWO_STAGE,
    Goal,
    Served,
    System,
    serve,
)
from edgesight.bench.serve.virtual import WARM_UP, Known
from edgesight.host.datacenter.executors.base import ModelError, Recipe
from edgesight.host.datacenter.executors.onnx_runtime import OnnxExecutor
from edgesight.host.datacenter.models import PackageModel
from edgesight.host.fabric.base import Images
from edgesight.host.files import sha256
from edgesight.host.obtained import Obtained
from edgesight.host.package import Package
from edgesight.host.power.readings import DropOut, PowerError
from edgesight.host.power.sensors import NvmlSensor
from edgesight.plan.place.graph import read_onnx
from edgesight.sim.workers import PROCESSES, progress
from edgesight.sim.workload import Poisson, Workload, workload

RATIO: Final = 3.34  # the back end answering everything over ours
SYSTEMS: Final = (EDGE, DATA_CENTRE, SELECTING, TWO_STAGE, HEDGED)
SEEDS: Final = range(5)
REQUESTS: Final = 3_000  # of a cell, that count
LOAD: Final = LOADS[1]  # that the check is about
CHANGES: Final = (0.5, 2.0)  # of one term at a time
ASSUMED: Final = (
    "the device's time is all used in full batches, however little is offloaded",
    "the radio does not sleep between pictures in a system that sends any",
    "the board idles whenever its fabric does not work",
)
LEFT_OUT: Final = (
    "what the board's processor draws more while it packs, encodes and sends",
    "the radio's receiving of answers",
    "the network between radio and data centre",
    "cooling, and the time in which the data centre's device has too little to do",
    "camera and sensors",
)
_GPU_BATCH, _GPU_S = 128, 5.0


@dataclass(frozen=True)
class Subject:
    """A data set's material, the goal that all its requests are under, and a selecting server's time to load."""

    material: Material
    goal: Goal
    load_s: float


@dataclass(frozen=True)
class Use:
    """What a system takes for a request, on average.

    Attributes:
        interval_s: from one request to the next.
        fabric_s: that the fabric works; the latency of each answer, which is longer than its share of a full pipeline.
        sent_bytes: by the edge.
        ran: pictures that the back end runs.
    """

    interval_s: float
    fabric_s: float
    sent_bytes: float
    ran: float


@dataclass(frozen=True)
class Terms:
    """Joules of a request."""

    board_idle: float
    fabric: float
    radio_base: float
    radio_bits: float
    back_end: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.board_idle + self.fabric + self.radio_base + self.radio_bits + self.back_end


@dataclass(frozen=True)
class BackEndJoules:
    """Of a picture at the back end."""

    joules: float
    obtained: Obtained
    source: str


@dataclass(frozen=True)
class EnergyRow:
    """A system in a cell: the medians of its seeds.

    Attributes:
        microjoules: an inference.
        of_which: its terms, in the seed whose total is the median.
        largest: of these.
        reaches: its accuracy is at least what was asked for.
    """

    system: str
    microjoules: float
    of_which: Terms
    largest: str
    accuracy: float
    reaches: bool
    use: Use


@dataclass(frozen=True)
class EnergyCell:
    """A load and a link with a board and a radio.

    Attributes:
        requests_per_second: of the median seed.
        ratio: of the back end answering everything over ours.
        sensitivity: that ratio, with one term at so many times its value.
        needed_per_second: requests at which the ratio is `RATIO`; None: it is at no rate.
    """

    load: float
    link: str
    board: str
    radio: str
    requests_per_second: float
    rows: tuple[EnergyRow, ...]
    ratio: float
    sensitivity: dict[str, float]
    needed_per_second: float | None


def energy(use: Use, board: Board, radio: Radio, back_end_joules: float) -> Terms:
    """Joules of a request that a system uses so much for."""
    sends = use.sent_bytes > 0.0
    return Terms(
        board_idle=board.idle_watts * use.interval_s,
        fabric=(board.active_watts - board.idle_watts) * use.fabric_s,
        radio_base=radio.base_watts * use.interval_s if sends else 0.0,
        radio_bits=8.0 * radio.joules_a_bit * use.sent_bytes,
        back_end=back_end_joules * use.ran,
    )


@dataclass(frozen=True)
class Did:
    """A system under the requests of a seed; `short`: by how much its accuracy misses the goal, as the grid has it."""

    use: Use
    accuracy: float
    short: float


def use_of(system: System, served: Served, material: Material, goal: Goal, coming: Workload) -> Use:
    """What a system took for a request of the workload, all of which are under that `goal`."""
    outcomes, requests = served.outcomes, len(coming)
    pictures = coming.picture[WARM_UP:]
    clock = material.package.kernel.clock_mhz * 1e6
    alone = np.diff(material.latency_s, prepend=0.0)  # of each stage, without those before it
    if system is EDGE:
        fabric_s = float(alone[-1])
    elif system is DATA_CENTRE or (system is SELECTING and goal.variant == len(alone)):
        fabric_s = material.latency_s[-1] * float(outcomes.late.mean())  # the fallback's
    elif system is SELECTING:
        fabric_s = float(alone[goal.variant])
    else:
        row = goal.two_stage.thresholds[:1] if system is TWO_STAGE else goal.cascade.thresholds
        fabric_s = float(material.records(row)["cycles"][pictures].mean()) / clock
    return Use(
        float(coming.at[-1] - coming.at[0]) / (requests - 1),
        fabric_s,
        outcomes.bytes / requests,
        outcomes.ran / requests,
    )


def needed_interval_s(everything: Use, ours: Use, board: Board, radio: Radio, back_end_joules: float) -> float:
    """The longest time between requests at which the back end answering everything takes `RATIO` times as much as ours.

    0.0: there is none, however often something is asked; beyond it idling, which is alike in both, takes too much.
    """
    theirs, own = (
        energy(replace(one, interval_s=0.0), board, radio, back_end_joules).total for one in (everything, ours)
    )
    theirs_w, own_w = (
        board.idle_watts + (radio.base_watts if one.sent_bytes > 0.0 else 0.0) for one in (everything, ours)
    )
    return max(0.0, (theirs - RATIO * own) / (RATIO * own_w - theirs_w))


def back_end_joules(package: Package) -> BackEndJoules:
    """Of a picture at the package's back end, by the multiply-accumulates of its ONNX file; projected.

    A small network uses a large device less well than the one that was measured, so that this is little.
    """
    operations = sum(layer.operations for layer in read_onnx(package.path / "datacenter.onnx").layers)
    source = f"{operations:g} multiply-accumulates as those of {DEVICE.name}: {DEVICE.source}"
    return BackEndJoules(operations * DEVICE.joules_an_operation, "projected", source)


def measured_joules(package: Package, photographs: Images) -> BackEndJoules:
    """Of a picture at the package's back end on this machine's first GPU in full batches, by NVML.

    Raises PowerError or ModelError where there is none that ONNX Runtime and NVML know.
    """
    sensor = NvmlSensor(0)
    content = (package.path / "datacenter.onnx").read_bytes()
    executor = OnnxExecutor(Recipe("onnxruntime", "datacenter", options={"device": "cuda"}), content)
    ports = executor.inputs, executor.outputs
    model = PackageModel(package.path, sha256(content), ports, executor.run, package.kernel.backend_input)
    batch = photographs[np.arange(_GPU_BATCH) % len(photographs)]
    model.run(batch)  # to warm up
    sensor.read()
    begun, read, images, joules, seconds = time.perf_counter(), 0.0, 0, 0.0, 0.0
    while (now := time.perf_counter() - begun) < _GPU_S:
        model.run(batch)
        images += len(batch)
        if now - read >= sensor.update_seconds:
            read = now
            try:
                reading = sensor.read()
            except DropOut:
                continue
            if reading is not None:
                joules, seconds = joules + reading.watts * reading.span, seconds + reading.span
    if not seconds:
        raise PowerError(f"{sensor.name}: said nothing for {_GPU_S:g} s: check `nvidia-smi`")
    rate = images / (time.perf_counter() - begun)
    return BackEndJoules(
        joules / seconds / rate, "measured", f"{sensor.name}, batches of {_GPU_BATCH}, without its host"
    )


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """All data sets that are here."""
    there = [name for name in GRIDS if data.lacks(name, asked) is None]
    served = [data.prepared(name, asked, folder / name, BELOWS[:1], console) for name in there]
    found = run([Subject(one.material, one.goals[0], one.load_s) for one in served], links_of(asked.traces), console)
    absent = {name: str(data.lacks(name, asked)) for name in GRIDS if name not in there}
    return Found({**found.body, "skipped": {**found.body.get("skipped", {}), **absent}}, found.checks)


def lacks(asked: Asked) -> str | None:
    """Why nothing can be served; None where something can."""
    reasons = [data.lacks(name, asked) for name in GRIDS]
    return None if None in reasons else "; ".join(map(str, reasons))


def run(
    subjects: Sequence[Subject],
    links: dict[str, Links],
    console: Console,
    *,
    requests: int = REQUESTS,
    seeds: Sequence[int] = SEEDS,
) -> Found:
    """All systems of each subject: at every load on the first of the links, and at one load on the others.

    The check is about one cell of the data set that has the most to win there: `LOAD`, the first link, the first board.
    It counts `counted_ratio`.
    """
    first, *others = links
    places = [*((load, first) for load in LOADS), *((LOAD, link) for link in others)]
    energies: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    ratios: dict[str, float] = {}
    for subject in subjects:
        name, package = subject.material.name, subject.material.package
        try:
            back_end = measured_joules(package, subject.material.photographs)
        except (PowerError, ModelError) as error:
            skipped[f"joules of {name}'s back end on a GPU"] = f"{error}; projected instead"
            back_end = back_end_joules(package)
        cells = [
            cell_of(load, link, board, LTE if link == "LTE" else WIFI, did, back_end.joules)
            for (load, link), did in _did(subject, links, places, requests, seeds).items()
            for board in BOARDS
        ]
        ratios[name] = counted_ratio(cells[places.index((LOAD, first)) * len(BOARDS)])
        energies[name] = {
            "below": subject.goal.below,
            "accuracy_asked": subject.goal.accuracy,
            "back_end": asdict(back_end),
            "cells": [asdict(one) for one in cells],
        }
        console.print(_table(name, cells))
        console.print(_why(cells[places.index((LOAD, first)) * len(BOARDS)]), highlight=False, soft_wrap=True)
    body = {
        "unit": "microjoules an inference, median of the seeds",
        "obtained": "projected",
        "requests": requests,
        "seeds": list(seeds),
        "boards": [asdict(board) for board in BOARDS],
        "radios": [asdict(radio) for radio in (WIFI, LTE)],
        "device": asdict(DEVICE),
        "assumed": list(ASSUMED),
        "left_out": list(LEFT_OUT),
        "data": energies,
        "skipped": skipped,
    }
    best = max(ratios, key=lambda name: ratios[name])
    said = f"{best}: projected energy an image, the back end answering everything over ours, load {LOAD:g}, {first}"
    return Found(body, (Check(said, ratios[best], RATIO, False, "ratio", "projected"),))


def counted_ratio(cell: EnergyCell) -> float:
    """A cell's ratio, for its check: 0 where ours misses the target, as little energy is no merit then."""
    ours = next(row for row in cell.rows if row.system == HEDGED.name)
    return cell.ratio if ours.reaches else 0.0


def cell_of(
    load: float, link: str, board: Board, radio: Radio, did: Sequence[Mapping[System, Did]], back_end: float
) -> EnergyCell:
    """What the seeds of a cell come to, given what each system `did`; `back_end` is joules of a picture there."""

    def median(system: System, board: Board, radio: Radio, back_end: float) -> tuple[Terms, Use]:
        """Of the seed in the middle."""
        each = [(energy(one[system].use, board, radio, back_end), one[system].use) for one in did]
        return sorted(each, key=lambda one: one[0].total)[len(each) // 2]

    def ratio(board: Board, radio: Radio, back_end: float) -> float:
        theirs, ours = (median(system, board, radio, back_end)[0].total for system in (DATA_CENTRE, HEDGED))
        return theirs / ours

    rows = []
    for system in did[0]:
        terms, use = median(system, board, radio, back_end)
        in_microjoules = Terms(*(1e6 * joules for joules in astuple(terms)))
        accuracy = float(np.median([one[system].accuracy for one in did]))
        reaches = float(np.median([one[system].short for one in did])) <= 0.0
        largest = max(asdict(terms).items(), key=lambda term: term[1])[0].replace("_", " ")
        rows.append(EnergyRow(system.name, in_microjoules.total, in_microjoules, largest, accuracy, reaches, use))
    use_of_all, use_of_ours = (median(system, board, radio, back_end)[1] for system in (DATA_CENTRE, HEDGED))
    longest = needed_interval_s(use_of_all, use_of_ours, board, radio, back_end)
    changed = {
        f"{name} x {by:g}": ratio(*terms)
        for by in CHANGES
        for name, terms in {
            "board": (board.times(by), radio, back_end),
            "radio": (board, radio.times(by), back_end),
            "back end": (board, radio, by * back_end),
        }.items()
    }
    return EnergyCell(
        load,
        link,
        board.name,
        radio.name,
        1.0 / use_of_ours.interval_s,
        tuple(rows),
        ratio(board, radio, back_end),
        changed,
        1.0 / longest if longest else None,
    )


def _did(
    subject: Subject,
    links: dict[str, Links],
    places: Sequence[tuple[float, str]],
    requests: int,
    seeds: Sequence[int],
) -> dict[tuple[float, str], list[dict[System, Did]]]:
    """What each system did, seed by seed, at each load and link."""
    tasks = [(load, link, seed) for load, link in places for seed in seeds]
    one = partial(_of_seed, subject, links, requests)
    found: dict[tuple[float, str], list[dict[System, Did]]] = {place: [] for place in places}
    with ProcessPoolExecutor(PROCESSES) as workers, progress() as bar:
        task = bar.add_task(f"energy, {subject.material.name}", total=len(tasks))
        for (load, link, _), did in zip(tasks, workers.map(one, tasks), strict=True):
            found[load, link].append(did)
            bar.advance(task)
    return found


def _of_seed(
    subject: Subject, links: dict[str, Links], requests: int, task: tuple[float, str, int]
) -> dict[System, Did]:
    load, link, seed = task
    material, goal = subject.material, subject.goal
    coming = workload(
        Poisson(load * material.profile.capacity),
        WARM_UP + requests,
        len(material.truth),
        deadlines_s=DEADLINES_S,
        seed=seed,
    )
    known: Known = {}
    did = {}
    for system in SYSTEMS:
        served = serve(system, material, [goal], coming, links[link], known, load_s=subject.load_s, seed=seed)
        asked = coming.picture[WARM_UP:]
        right = (served.outcomes.label == material.truth[asked]) & ~served.outcomes.late
        accuracy, alone = float(right.mean()), float((material.backend[asked] == material.truth[asked]).mean())
        did[system] = Did(use_of(system, served, material, goal, coming), accuracy, alone - goal.below - accuracy)
    return did


def _why(cell: EnergyCell) -> str:
    """What a cell's energy is mostly spent on, in words."""
    rows = [row for row in cell.rows if row.system in (DATA_CENTRE.name, HEDGED.name)]
    spent = "; ".join(
        f"{row.system}: "
        + ", ".join(f"{name.replace('_', ' ')} {joules:.0f}" for name, joules in asdict(row.of_which).items())
        + f" µJ, mostly {row.largest}"
        for row in rows
    )
    needed = cell.needed_per_second
    rate = "at no rate of requests"
    if needed is not None:
        beyond = needed > cell.requests_per_second / cell.load
        rate = f"from {needed:.0f} requests/s on{', more than the back end answers' if beyond else ''}"
    return f"{cell.board}, load {cell.load:g}, {cell.link}: {spent}; {RATIO:g} times as much {rate}"


def _table(name: str, cells: Sequence[EnergyCell]) -> PlainTable:
    columns = [
        "board",
        "radio",
        "load",
        "link",
        "requests/s",
        *(system.name for system in SYSTEMS),
        "ratio",
        "half, double",
    ]
    words = ("board", "radio", "link", "half, double")
    table = PlainTable(f"Projected µJ an inference, {name}; * misses the target", columns, words=words)
    for one in cells:
        table.add_row(
            one.board,
            one.radio,
            f"{one.load:g}",
            one.link,
            f"{one.requests_per_second:.0f}",
            *(f"{row.microjoules:.0f}{'' if row.reaches else '*'}" for row in one.rows),
            f"{one.ratio:.2f}",
            f"{min(one.sensitivity.values()):.2f} to {max(one.sensitivity.values()):.2f}",
        )
    return table
