"""Jellyfish, executed: eight clients over links that move, whose input sizes and models are planned as they go.

The server is the very program `edgesight adapt serve`, behind its gRPC door; what runs models is `declared`: a batch
takes the time that the published profile states, since there are no two GPUs here, and no pictures with a truth. Frames
have the profile's bytes. Each client has a link of its own, a TCP relay's, shaped by a trace from a moment on that is
the client's own. All runs of a trace have the same frames at the same moments of the same links. A frame without an
answer in time counts as accuracy 0.

Beside it the same system runs with one model only in its profile, so that sizes and models stay. Which of these are run
is chosen in hindsight, by the simulation of the very links; the best of them by what came of it.

Words owned here: fixed (one model and input size for all, that stay).
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from edgesight.bench.cluster.asked import Asked
from edgesight.bench.cluster.cameras import Job
from edgesight.bench.kept import ROOT, Found
from edgesight.bench.link.programs import die_with_parent
from edgesight.bench.plan.adapt_grid import BAR, QUALIFIES, simulate, traces_in
from edgesight.bench.plan.adapt_instances import ROUND_TRIP_MS, alike, gpus
from edgesight.bench.plan.adapt_simulation import Outcome, Scheduling
from edgesight.bench.report import Check, PlainTable
from edgesight.plan.adapt.data import ModelProfile, Situation, shipped
from edgesight.sim.link.options import EmulationError
from edgesight.sim.link.tcp_relay import StreamLink, Task
from edgesight.sim.workers import progress

CLIENTS: Final = 8
RATE: Final = 15.0  # frames a second of each
SECONDS: Final = 45.0
SEED: Final = 4  # of the moments at which clients and cameras begin
PROFILE: Final = "jellyfish"
MARGIN, LOAD_LIMIT = -0.1, 0.9  # of the server, as it has them where nothing is said
MOST_FIXED: Final = 3
WIFI_BELOW: Final = 0.005
FEWEST_MODELS: Final = 3
_WARM_S: Final = 3.0
_OF_A_PROCESS: Final = 4  # clients
_BEGIN_S: Final = 5.0  # from a run's beginning to the first frame that counts
_END_S: Final = 30.0
_SWIFT_MBPS, _SWIFT_RATE, _SWIFT_SLO_MS, _SWIFT_SECONDS = 90.0, 4.0, 1_000.0, 10.0
_OVERHEAD_SHARE: Final = 0.75  # of frames that the computers take at most the stated time for
_NICE: Final = -10


@dataclass(frozen=True)
class Cell:
    """A trace, by a word of its file's name, and what clients want over it."""

    word: str
    title: str
    slo_ms: float


CELLS: Final = (Cell("lte", "LTE", 150.0), Cell("wifi", "WiFi", 150.0))


@dataclass(frozen=True)
class Ran:
    """A live run: what was told of each frame, and seconds of processor time that each program took."""

    name: str
    answers: list[dict[str, Any]]
    processor_s: dict[str, float]

    @property
    def in_time(self) -> float:
        """Share of the frames."""
        return 1.0 - float(np.mean([one["late"] for one in self.answers]))

    @property
    def accuracy(self) -> float:
        """Mean of the frames, those that were late counted as 0."""
        return float(np.mean([one["accuracy"] for one in self.answers]))


def lacks(asked: Asked) -> str | None:
    """Why it cannot be run here; None: it can."""
    if asked.traces is None:
        return "no traces were given: name their folder with --traces"
    names = traces_in(asked.traces)
    for cell in CELLS:
        if not _named(names, cell):
            return f"{asked.traces} holds no trace of {cell.title}: give a .txt file whose name says {cell.word}"
    return None


def _named(names: Mapping[str, Any], cell: Cell) -> list[str]:
    return [name for name in names if cell.word in name.lower()]


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Raises EmulationError where a run fails."""
    folder.mkdir(parents=True, exist_ok=True)
    traces = traces_in(asked.traces)
    profile = shipped(PROFILE)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(Path(name))
        overhead_ms = bench.overhead_ms(profile)
        console.print(f"The computers at both ends take {overhead_ms:.1f} ms for a frame (measured).")
        found = []
        for cell in CELLS:
            trace = traces[_named(traces, cell)[0]]
            found.append(_OfCell(cell, profile, trace, overhead_ms, bench))
            loads.append(os.getloadavg()[0])
            console.print(found[-1].table())
    settings = {
        "profile": PROFILE,
        "executor": "declared",
        "clients": CLIENTS,
        "rate": RATE,
        "seconds": SECONDS,
        "seed": SEED,
        "gpus": len(gpus()),
        "round_trip_ms": ROUND_TRIP_MS,
        "overhead_ms": overhead_ms,
        "margin": MARGIN,
        "load_limit": LOAD_LIMIT,
        "links": "a TCP relay",
        "load_average": loads,
    }
    return Found(
        {"settings": settings, "cells": [one.body() for one in found]},
        tuple(check for one in found for check in one.checks()),
    )


class _OfCell:
    """One trace: what the simulation says of it, and the live runs."""

    def __init__(
        self, cell: Cell, profile: ModelProfile, trace: Sequence[float], overhead_ms: float, bench: _Bench
    ) -> None:
        self.cell, self._profile, self._trace, self._overhead_ms = cell, profile, trace, overhead_ms
        self._exact = self._simulated(profile, Scheduling("exact", told=True))
        self._ours = self._simulated(profile, Scheduling(margin=MARGIN, load_limit=LOAD_LIMIT, served=True))
        self._fixed = self._in_hindsight()
        runs = [("as planned", profile), *((name, only(profile, name)) for name in self._fixed)]
        chance, phases = random.Random(SEED), random.Random(SEED)  # as `simulate` draws them
        links = [StreamLink(tuple(trace), chance.uniform(0, len(trace))) for _ in range(CLIENTS)]
        first = [phases.random() / RATE for _ in range(CLIENTS)]
        self.runs = []
        with progress() as bar:
            task = bar.add_task(f"live runs over {cell.title}", total=len(runs))
            for name, used in runs:
                wants = _Wants(cell.slo_ms, RATE, SECONDS, tuple(first))
                self.runs.append(bench.run(name, used, overhead_ms, links, wants))
                bar.advance(task)

    def _simulated(self, profile: ModelProfile, scheduling: Scheduling) -> Outcome:
        clients = alike(CLIENTS, RATE, self.cell.slo_ms)
        return simulate(profile, self._trace, clients, SECONDS, SEED, scheduling, overhead_ms=self._overhead_ms)

    def _in_hindsight(self) -> dict[str, Outcome]:
        """The models that would be best if they stayed: by mean accuracy, and the best of those that keep the SLO."""
        scheduling = Scheduling(margin=MARGIN, load_limit=LOAD_LIMIT, served=True)
        outcomes = {
            one.name: self._simulated(only(self._profile, one.name), scheduling) for one in self._profile.models
        }
        order = sorted(outcomes, key=lambda name: -outcomes[name].mean_accuracy)
        keep = [name for name in order if outcomes[name].in_time >= BAR]
        chosen = dict.fromkeys([*order[: MOST_FIXED - 1], *keep[:1], *order])
        return {name: outcomes[name] for name in list(chosen)[:MOST_FIXED]}

    @property
    def qualifies(self) -> bool:
        """Whether the exact plan that is told what the links will carry answers enough in time, simulated."""
        return self._exact.in_time >= QUALIFIES

    @property
    def best(self) -> Ran:
        """Of the fixed ones."""
        return max(self.runs[1:], key=lambda one: one.accuracy)

    def checks(self) -> list[Check]:
        """Its bars."""
        ours, title = self.runs[0], f"Jellyfish, {self.cell.title}"
        least = -WIFI_BELOW if self.cell.word == "wifi" else 0.0
        models = {one["ran"] for one in ours.answers if not one["late"]}
        found = [
            Check(f"{title}: accuracy above that of {self.best.name}, the best that stays", ours.accuracy
                  - self.best.accuracy, least, False, "share", "measured"),
            Check(f"{title}: models that answered", len(models), FEWEST_MODELS, False, "models", "measured"),
        ]  # fmt: skip
        if self.qualifies:
            found.insert(0, Check(f"{title}: requests within {self.cell.slo_ms:g} ms", ours.in_time, BAR, False,
                                  "share", "measured"))  # fmt: skip
        return found

    def body(self) -> dict[str, Any]:
        """For the report."""
        return {
            "trace": self.cell.title,
            "slo_ms": self.cell.slo_ms,
            "qualifies": self.qualifies,
            "exact_told_simulated": _simulated(self._exact),
            "ours_simulated": _simulated(self._ours),
            "fixed_simulated": {name: _simulated(one) for name, one in self._fixed.items()},
            "best_fixed": self.best.name,
            "runs": [_told(one) for one in self.runs],
        }

    def table(self) -> PlainTable:
        """For people."""
        qualifies = "the exact plan can keep the SLO" if self.qualifies else "the exact plan cannot keep the SLO either"
        table = PlainTable(
            f"{CLIENTS} clients over {self.cell.title}, {RATE:g} frames/s, {self.cell.slo_ms:g} ms: {qualifies}",
            ["run", "in time, %", "accuracy, %", "not sent", "P50 ms", "P99 ms", "obtained"],
            words=("run", "obtained"),
        )
        for one in self.runs:
            told = _told(one)
            cells = [f"{100 * one.in_time:.2f}", f"{100 * one.accuracy:.2f}", str(told["not_sent"])]
            table.add_row(one.name, *cells, f"{told['p50_ms']:.0f}", f"{told['p99_ms']:.0f}", "measured")
        for name, run in (("as planned", self._ours), *self._fixed.items(), ("exact, told", self._exact)):
            cells = [f"{100 * run.in_time:.2f}", f"{100 * run.mean_accuracy:.2f}", str(run.dropped_by_client)]
            low, high = np.percentile(run.latencies_ms or [0.0], [50, 99])
            table.add_row(name, *cells, f"{low:.0f}", f"{high:.0f}", "simulated")
        return table


def only(profile: ModelProfile, name: str) -> ModelProfile:
    """The profile with one of its models."""
    (model,) = [one for one in profile.models if one.name == name]
    networks = tuple(one for one in profile.networks if one.name == model.weights)
    return profile.model_copy(update={"models": (model,), "networks": networks})


def _simulated(run: Outcome) -> dict[str, float]:
    return {"in_time": run.in_time, "accuracy": run.mean_accuracy}


def _told(run: Ran) -> dict[str, Any]:
    took = [1e3 * one["took_s"] for one in run.answers if one["ran"] is not None] or [0.0]
    late = [1e3 * one["woke_s"] for one in run.answers]
    return {
        "name": run.name,
        "frames": len(run.answers),
        "in_time": run.in_time,
        "accuracy": run.accuracy,
        "not_sent": sum(not one["sent"] for one in run.answers),
        "without_answer": sum(one["sent"] and one["ran"] is None for one in run.answers),
        "p50_ms": float(np.percentile(took, 50)),
        "p99_ms": float(np.percentile(took, 99)),
        "models": dict(Counter(one["ran"] for one in run.answers if one["ran"] is not None)),
        "executors": sorted({one["executor"] for one in run.answers if one["executor"] is not None}),
        "cameras_late_p99_ms": float(np.percentile(late, 99)),  # by this machine, before anything was sent
        "processor_s": run.processor_s,
    }


@dataclass(frozen=True)
class _Wants:
    slo_ms: float
    rate: float
    seconds: float
    first_s: tuple[float, ...]


class _Bench:
    """Where runs are made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def overhead_ms(self, profile: ModelProfile) -> float:
        """What the computers at both ends take for a frame beside its model, over fast links with little to do."""
        fastest = min(profile.models, key=lambda one: min(one.latency_ms.values()))
        first = tuple(number / (_SWIFT_RATE * CLIENTS) for number in range(CLIENTS))
        wants = _Wants(_SWIFT_SLO_MS, _SWIFT_RATE, _SWIFT_SECONDS, first)
        links = [StreamLink((_SWIFT_MBPS,))] * CLIENTS
        ran = self.run("unhurried", only(profile, fastest.name), 0.0, links, wants)
        expected = ROUND_TRIP_MS + profile.frame_bytes[fastest.input_px] * 8e-3 / _SWIFT_MBPS + fastest.latency_ms[1]
        took = [1e3 * one["took_s"] for one in ran.answers if one["batch"] == 1]
        if not took:
            raise EmulationError("no frame was answered alone: try again when this machine is less busy")
        return max(float(np.quantile(took, _OVERHEAD_SHARE)) - expected, 0.0)

    def run(
        self, name: str, profile: ModelProfile, overhead_ms: float, links: Sequence[StreamLink], wants: _Wants
    ) -> Ran:
        """The clients over these links, asking a server of that profile."""
        situation = self._folder / "situation.json"
        told = Situation(profile=profile, clients=(), gpus=gpus(), overhead_ms=overhead_ms)
        situation.write_text(told.model_dump_json())
        words = ["edgesight", "adapt", "serve", str(situation), "--declared", "--grpc", "127.0.0.1:0"]
        words += ["--margin", str(MARGIN), "--load-limit", str(LOAD_LIMIT)]
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(_program(words))
            line = _line(server, name).decode()
            if "gRPC at " not in line:
                raise EmulationError(f"{name}: the server did not begin: see what it said above")
            host, _, port = line.split("gRPC at ")[1].split(",")[0].rpartition(":")
            begin = time.monotonic() + _BEGIN_S
            relay = stack.enter_context(_program(["edgesight.sim.link.tcp_relay"]))
            assert relay.stdin is not None
            task = Task((host, int(port)), tuple(links), begin, ROUND_TRIP_MS / 2e3)
            relay.stdin.write(pickle.dumps(task))
            relay.stdin.flush()
            ports = json.loads(_line(relay, name))
            cameras = []
            for start in range(0, CLIENTS, _OF_A_PROCESS):
                mine = range(start, min(start + _OF_A_PROCESS, CLIENTS))
                addresses = {f"client-{number}": f"127.0.0.1:{ports[number]}" for number in mine}
                first = tuple(wants.first_s[number] for number in mine)
                job = Job(situation, addresses, first, wants.slo_ms, wants.rate, begin, _WARM_S, wants.seconds)
                file = self._folder / f"job-{start}"
                file.write_bytes(pickle.dumps(job))
                cameras.append(stack.enter_context(_program(["edgesight.bench.cluster.cameras", str(file)])))
            found = [_told_by(one, name, _BEGIN_S + wants.seconds + _END_S) for one in cameras]
            spent = {"server": _processor_s(server), "relay": _processor_s(relay)}
        spent["clients"] = sum(one["processor_s"] for one in found)
        return Ran(name, [answer for one in found for answer in one["answers"]], spent)


@contextlib.contextmanager
def _program(words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A module of ours as a program, which is ended then."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=_alone,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def _alone() -> None:
    """Of a program that stands for a machine of its own: where that may be, this machine's others come after it."""
    die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(_NICE)


def _line(process: subprocess.Popen[bytes], name: str) -> bytes:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise EmulationError(f"{name}: a program did not begin: see what it said above")
    return line


def _told_by(process: subprocess.Popen[bytes], name: str, within: float) -> dict[str, Any]:
    try:
        said, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise EmulationError(f"{name}: the clients did not end: try again when this machine is less busy") from None
    if process.returncode:
        raise EmulationError(f"{name}: the clients failed: see what they said above")
    return dict(json.loads(said))


def _processor_s(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that it took so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
