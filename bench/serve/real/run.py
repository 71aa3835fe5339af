"""One real run: a system under a workload, between two processes at the ends of an emulated link.

Words owned here: ran (what a real run gave).
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgesight.bench.kept import ROOT
from edgesight.bench.link.programs import die_with_parent
from edgesight.bench.serve.links import Links
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.real.data_centre import READY
from edgesight.bench.serve.real.edge import UNANSWERED
from edgesight.bench.serve.real.job import Job
from edgesight.bench.serve.systems import EDGE, Goal, System
from edgesight.bench.serve.virtual import WARM_UP, Outcomes
from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, NamespaceLink
from edgesight.sim.link.options import ConstantRate, EmulationError
from edgesight.sim.link.trust import make_trust
from edgesight.sim.workload import Workload

TCP: Final = "cubic"  # congestion control of gRPC's connections: what Linux has unless it is told otherwise
BEGIN_S: Final = 15.0  # seconds that a trace has run when requests begin, so that all meet the same part of it
_READY_S, _END_S = 60.0, 60.0
_PROGRAM = (sys.executable, "-u", "-m")


@dataclass(frozen=True)
class Ran:
    """What came of a run.

    Attributes:
        outcomes: of the requests that count.
        unanswered: of all requests, those whose asking failed.
        faults: some of what was said then.
        turned_to_s: seconds from each arrival until the edge turned to it, of those that count.
        swaps: of what the device held.
        runs: seconds of the model's runs, by batch size, in their order.
        computed_s: of all those runs, that the model computed.
        link: what the emulated link tells of itself.
        load: average of the machine before it began.
        processor_s: seconds of a processor that the edge's process took for all requests.
        wall_s: seconds from its beginning to its end, both processes' starts included.
    """

    outcomes: Outcomes
    unanswered: int
    faults: tuple[str, ...]
    turned_to_s: tuple[float, ...]
    swaps: int
    runs: Mapping[int, tuple[float, ...]]
    computed_s: float
    link: Mapping[str, Any]
    load: float
    processor_s: float
    wall_s: float

    def packed(self) -> dict[str, Any]:
        """As plain JSON."""
        listed = {name: value.tolist() for name, value in vars(self.outcomes).items() if isinstance(value, np.ndarray)}
        return {**vars(self), "outcomes": {**vars(self.outcomes), **listed}}

    @classmethod
    def unpacked(cls, kept: Mapping[str, Any]) -> Ran:
        """What `packed` gave, be it by way of JSON."""
        told = kept["outcomes"]
        outcomes = Outcomes(
            np.array(told["label"], np.int64),
            np.array(told["took_s"], np.float64),
            np.array(told["late"], np.bool_),
            np.array(told["stage"], np.int64),
            told["bytes"],
            told["busy_s"],
            told["ran"],
        )
        runs = {int(size): tuple(seconds) for size, seconds in kept["runs"].items()}
        plain = {"faults": tuple(kept["faults"]), "turned_to_s": tuple(kept["turned_to_s"])}
        return cls(**{**kept, "outcomes": outcomes, "runs": runs, **plain})


def has_trace(links: Links) -> bool:
    """Whether a link is another at another time."""
    return not all(isinstance(one.rate, ConstantRate) for one in links)


def run_once(
    system: System,
    material: Material,
    goals: tuple[Goal, ...],
    workload: Workload,
    links: Links,
    *,
    load_s: float,
    seed: int,
    warm_up: int = WARM_UP,
) -> Ran:
    """Put a `system` under a workload for real; the first `warm_up` requests do not count. Raises EmulationError."""
    load, _, _ = os.getloadavg()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trust = make_trust(folder)
        link_began = time.monotonic()
        begin = link_began + BEGIN_S if has_trace(links) and system is not EDGE else None
        job, runs = folder / "job", folder / "runs.json"
        job.write_bytes(pickle.dumps(Job(system.name, material, goals, workload, trust, load_s, begin)))
        within = BEGIN_S + float(workload.at[-1]) + _END_S
        report: dict[str, Any] = {}
        listed: list[dict[str, Any]] = []
        if system is EDGE:
            asker = subprocess.Popen(_edge(job, ""), **_OPTIONS)
            try:
                told = _told(asker, within)
            finally:
                asker.kill()
        else:
            with NamespaceLink(*links, seed=seed, tcp=TCP, began=link_began) as link:
                program = "edgesight.bench.serve.real.data_centre"
                server = link.run_datacenter([*_PROGRAM, program, str(job), str(runs)], **_OPTIONS)
                _wait_ready(server)
                told = _told(link.run_edge(_edge(job, DATACENTER_ADDRESS), **_OPTIONS), within)
                server.terminate()
                if server.wait(_END_S):
                    raise EmulationError(f"the data centre of {system.name} failed: see what it said above")
            report, listed = link.report(), json.loads(runs.read_text())
    by_size: dict[int, list[float]] = {}
    for run in listed:
        by_size.setdefault(run["pictures"], []).append(run["took_s"])
    counted = slice(warm_up, None)
    outcomes = Outcomes(
        np.array(told["label"], np.int64)[counted],
        np.array(told["took_s"], np.float64)[counted],
        np.array(told["late"], np.bool_)[counted],
        np.array(told["stage"], np.int64)[counted],
        report["up"]["offered_bytes"] if report else 0,
        sum(run["took_s"] for run in listed),
        sum(run["pictures"] for run in listed),
    )
    return Ran(
        outcomes,
        told["label"].count(UNANSWERED),
        tuple(told["faults"]),
        tuple(told["turned_to_s"][counted]),
        told["swaps"],
        {size: tuple(seconds) for size, seconds in sorted(by_size.items())},
        sum(run["computed_s"] for run in listed),
        report,
        load,
        told["processor_s"],
        time.monotonic() - began,
    )


_OPTIONS: dict[str, Any] = {
    "cwd": ROOT,
    "stdout": subprocess.PIPE,
    "text": True,
    "preexec_fn": die_with_parent,  # else a bench that is killed leaves them behind
}


def _edge(job: Path, address: str) -> list[str]:
    return [*_PROGRAM, "edgesight.bench.serve.real.edge", str(job), address]


def _wait_ready(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    heard, _, _ = select.select([server.stdout], [], [], _READY_S)
    if not heard or not server.stdout.readline().startswith(READY):
        raise EmulationError("the data centre did not begin: see what it said above")


def _told(asker: subprocess.Popen[str], within: float) -> dict[str, Any]:
    """What the edge's process says at its end."""
    try:
        said, _ = asker.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise EmulationError(
            f"the edge did not end within {within:.0f} s: try again when this machine is less busy"
        ) from None
    if asker.returncode:
        raise EmulationError("the edge failed: see what it said above")
    told: dict[str, Any] = json.loads(said)
    return told
