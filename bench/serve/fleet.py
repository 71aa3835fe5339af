"""The fleet: 1,000 edges and a million requests before a data centre of four GPUs, and a region that is cut off.

All of it is simulated by events (`edgesight.sim.fleet`), from what was measured: the fabric's cycles, what stages and
back end say of each picture, and the seconds that the back end takes by size of the batch. Before that the simulation
is held against the real programs in virtual time, with the same arrivals and the same service samples.

Words owned here: goodput (requests a second that a sure fabric or the data centre answers in time), back (of a region:
its goodput is what it was).
"""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.data import prepared
from edgesight.bench.serve.grid import DEADLINES_S
from edgesight.bench.serve.links import Links, links_of
from edgesight.bench.serve.material import Material, Profile
from edgesight.bench.serve.profiles import gpu_profile
from edgesight.bench.serve.virtual import BEGIN_S, WARM_UP, our_link, run_edge
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.fabric.base import OFFLOAD, STAGE_MASK
from edgesight.host.kernel import Target
from edgesight.host.link.datagrams import STRIP_HEADER
from edgesight.host.link.quality import ladder_of
from edgesight.host.link.strips import encode_at
from edgesight.sim.fleet.parts import Fleet, FleetError, Outcome, Outcomes, Pictures, Region
from edgesight.sim.fleet.run import run
from edgesight.sim.link.options import ConstantRate, LinkOptions, Packets
from edgesight.sim.workers import PROCESSES
from edgesight.sim.workload import Bursty, Poisson, Workload, workload

EDGES, REGIONS, SERVERS = 1_000, 10, 4
REQUESTS, MOST_REQUESTS = 1_000_000, 2_000_000
LOAD: Final = 0.6  # of what the servers answer in full batches, by what is offloaded
LEAST_S: Final = 85.0  # that the requests last
OUTAGE_S: Final = (25.0, 55.0)
_CUT_OFF = 1  # the region, whose edges' links lose packets besides
_BELOW = 0.01  # accuracy below the data centre alone: the target of all requests
_SHARED = LinkOptions(ConstantRate(200e6), queue=Packets(1_000))  # of a region's edges
_FROM_S = 5.0  # when edges have their estimates
_BIN_S, _BACK = 0.5, 0.95  # by which it is told when goodput is back, and at what share of what it was
WITHIN_S, MINUTES, GIGABYTES = 5.0, 10.0, 4.0
P50_WITHIN, P99_WITHIN, FALLBACKS_WITHIN = 0.10, 0.20, 0.10  # of the real programs' figures
_CELL_LOADS: Final = (0.3, 0.6)  # of one server, beside an edge of the fleet
_CELL_REQUESTS, _REPEATS = 1_500, 5
_WHAT: Final = ("all", "offloaded")
_LONE_REQUESTS, _LONE_OUTAGE_S = 800, (20.0, 50.0)  # of an edge that is cut off

Floats = npt.NDArray[np.float64]


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """The fleet, on Fashion-MNIST."""
    name = "fashion-mnist"
    ready = prepared(name, asked, folder / name, (_BELOW,), console)
    served, targets = ready.material, [goal.cascade for goal in ready.goals]
    profile, whose = served.profile, "the back end of these pictures on a CPU of this machine, one such for each server"
    skipped = {}
    if asked.gpu is not None:
        profile, whose = gpu_profile(asked.gpu, MAX_BATCH)
    else:
        skipped["a GPU's times"] = "name the report of `make bench-gpu` with --gpu-profile"
    pictures = pictures_of(served, targets)
    links = links_of(None)
    rate, seconds = rate_of(profile, float(pictures.unsure.mean()))
    cells = agreement(served, targets, pictures, links, rate / EDGES)
    console.print(f"{len(cells)} cells are held against the real programs", highlight=False)
    alone = cut_off(served, targets, pictures, links)
    fleet = fleet_of(list(links.values()))
    coming = workloads(rate, seconds, len(served.truth))
    console.print(f"{sum(map(len, coming)):,} requests of {EDGES:,} edges in {seconds:.0f} s ...", highlight=False)
    begun, processor = time.perf_counter(), time.process_time()
    found = run(fleet, coming, pictures, [profile] * SERVERS)
    took, processor = time.perf_counter() - begun, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = told_of(found, fleet, pictures, coming)
    load = float(told["offloaded_per_s"]) / (SERVERS * full_capacity(profile))
    console.print(
        f"simulated in {took:.0f} s; {told['events']:,} events; back after {told['back_s']:.2f} s", highlight=False
    )
    body = {
        "data": name,
        "target": {"below": _BELOW, "thresholds": targets[0].thresholds},
        "servers": SERVERS,
        "profile": {
            "of": whose,
            "obtained": "measured",
            "median_ms_by_batch": [1e3 * profile.usual(size) for size in range(1, MAX_BATCH + 1)],
            "full_batches_per_s": full_capacity(profile),
        },
        "load": load,
        "edges": EDGES,
        "regions": [
            {"edges": one.edges, "links": _described(one.links), "shared": _described(one.shared or ())}
            for one in fleet.regions
        ],
        "run_seconds": took,
        "run_processor_seconds": processor,
        "peak_bytes": peak,
        "digest": found.digest,
        **told,
        "agreement": cells,
        "cut_off_alone": alone,
        "skipped": skipped,
    }
    return Found(body, tuple(checks(body)))


def _described(links: Sequence[LinkOptions]) -> list[dict[str, Any]]:
    return [one.describe() for one in links]


def full_capacity(profile: Profile) -> float:
    """Pictures a second that a server answers while there is always a full batch."""
    return MAX_BATCH / float(np.mean(profile.seconds[MAX_BATCH - 1]))


def rate_of(profile: Profile, unsure: float) -> tuple[float, float]:
    """Requests a second of the whole fleet, and for how many seconds.

    As many as load the servers by `LOAD`, or fewer where that were more than `MOST_REQUESTS`. Raises FleetError where
    nothing is offloaded, the share `unsure` being 0.
    """
    if not unsure > 0.0:
        raise FleetError("no picture is offloaded, so that the servers get no load: ask for more accuracy")
    rate = LOAD * SERVERS * full_capacity(profile) / unsure
    seconds = max(LEAST_S, 1.01 * REQUESTS / rate)  # chance must not make it fewer
    return min(rate, MOST_REQUESTS / seconds), seconds


def workloads(rate: float, seconds: float, pictures: int, edges: int = EDGES) -> list[Workload]:
    """Of each edge: every other one's requests come in bursts."""
    each = rate / edges
    found = []
    for edge in range(edges):
        arrivals = Bursty(each) if edge % 2 else Poisson(each)
        one = workload(arrivals, round(3 * each * seconds) + 100, pictures, deadlines_s=DEADLINES_S, seed=edge)
        found.append(one.take(np.flatnonzero(one.at < seconds)))
    return found


def fleet_of(links: Sequence[Links], edges: int = EDGES) -> Fleet:
    """Regions whose edges have one or the other of the `links`; one of them is cut off for a while."""
    regions = []
    for place in range(REGIONS):
        shared = dataclasses.replace(_SHARED, outages=(OUTAGE_S,) if place == _CUT_OFF else ())
        regions.append(Region(edges // REGIONS, links[place % len(links)], (shared, shared)))
    return Fleet(tuple(regions), SERVERS)


def pictures_of(served: Material, targets: Sequence[Target]) -> Pictures:
    """What the fabric makes of each picture, and in how many bytes it travels; raises FleetError for larger ones."""
    step = ladder_of(served.calibration.ladder)[0]
    first = encode_at(served.photographs[0], step.quality, step.divisor)
    if not first.kind.raw:
        raise FleetError(f"{served.name}: its pictures do not travel raw, as the fleet's do: take smaller ones")
    clock = served.package.kernel.clock_mhz * 1e6
    records = [served.records(target.thresholds) for target in targets]
    entire = [encode_at(one, step.quality, step.divisor, entire=True).size for one in served.photographs]
    return Pictures(
        targets,
        np.array([one["cycles"] / clock for one in records]),
        max(stage.bound_cycles for stage in served.package.kernel.stages) / clock,
        np.array([one["stage"] & STAGE_MASK for one in records], np.int8),
        np.array([(one["stage"] & OFFLOAD) > 0 for one in records]),
        np.array(entire, np.int64),
        [STRIP_HEADER + len(payload) for payload in first.payloads],
    )


# ------------------------------------------------------------------------------------------ against the real programs


def agreement(
    served: Material, targets: Sequence[Target], pictures: Pictures, links: dict[str, Links], slow: float
) -> list[dict[str, Any]]:
    """Cells of one edge and one server: at a fleet edge's rate, `slow`, and at loads of the server; by link."""
    unsure = float(pictures.unsure.mean())
    rates = {"an edge of the fleet": slow}
    rates |= {f"load {load:g}": load * full_capacity(served.profile) / unsure for load in _CELL_LOADS}
    cells = [(what, rate, link) for what, rate in rates.items() for link in links]
    one = partial(_cell, served, targets, pictures)
    with ProcessPoolExecutor(PROCESSES) as workers:
        found = workers.map(one, [rate for _, rate, _ in cells], [links[link] for _, _, link in cells])
        return [
            {"cell": what, "per_s": rate, "link": link, **compared}
            for (what, rate, link), compared in zip(cells, found, strict=True)
        ]


def _cell(served: Material, targets: Sequence[Target], pictures: Pictures, rate: float, links: Links) -> dict[str, Any]:
    """P50 and P99 of all requests and of those that are offloaded, in milliseconds: medians over several repeats."""
    ms: dict[tuple[str, int], list[tuple[float, float]]] = {(what, one): [] for what in _WHAT for one in (50, 99)}
    for seed in range(_REPEATS):
        count = WARM_UP + _CELL_REQUESTS
        coming = workload(Poisson(rate), count, len(served.truth), deadlines_s=DEADLINES_S, seed=seed)
        both = both_ways(served, targets, pictures, coming, links, seed)
        offloaded = pictures.unsure[coming.target, coming.picture][WARM_UP:]
        chosen = {"all": np.ones(len(offloaded), bool), "offloaded": offloaded}
        for (what, percent), found in ms.items():
            real, simulated = (1e3 * float(np.percentile(took[chosen[what]], percent)) for took in both)
            found.append((real, simulated))
    compared: dict[str, Any] = {}
    for (what, percent), found in ms.items():
        real, simulated = (float(one) for one in np.median(found, axis=0))
        apart = abs(simulated - real) / real
        compared[f"p{percent}_{what}"] = {"real_ms": real, "simulated_ms": simulated, "apart": apart, "repeats": found}
    return compared


def both_ways(
    served: Material, targets: Sequence[Target], pictures: Pictures, coming: Workload, links: Links, seed: int
) -> tuple[Floats, Floats]:
    """Seconds of each request that counts [N], by the real programs and by the simulation of a fleet of one edge.

    Outages of the `links` are by the time of the workload.
    """
    stages = len(served.labels)
    up, down = (
        dataclasses.replace(one, outages=tuple((a + BEGIN_S, b + BEGIN_S) for a, b in one.outages)) for one in links
    )
    real = run_edge(served, targets, coming, (up, down), our_link, {}, stages, hedged=True, seed=seed)
    found = run(Fleet((Region(1, links),), 1), [coming], pictures, [served.profile], seed=seed)
    return real.took_s, found.counted_s[WARM_UP:]


def cut_off(
    served: Material, targets: Sequence[Target], pictures: Pictures, links: dict[str, Links]
) -> list[dict[str, Any]]:
    """One edge whose link fails, by the real programs and by the simulation: requests that the fallback answered."""
    found = []
    for name, both in links.items():
        fails = tuple(dataclasses.replace(one, outages=(_LONE_OUTAGE_S,)) for one in both)
        rate = _LONE_REQUESTS / (_LONE_OUTAGE_S[1] + 10.0)
        late: dict[str, list[int]] = {"real": [], "simulated": []}
        for seed in range(_REPEATS):
            count = WARM_UP + _LONE_REQUESTS
            coming = workload(Poisson(rate), count, len(served.truth), deadlines_s=DEADLINES_S, seed=seed)
            early = coming.at[WARM_UP]
            moved = tuple(
                dataclasses.replace(one, outages=tuple((a + early, b + early) for a, b in one.outages)) for one in fails
            )
            real, simulated = both_ways(served, targets, pictures, coming, (moved[0], moved[1]), seed)
            due = coming.deadline_s[WARM_UP:]
            late["real"].append(int((real >= due).sum()))
            late["simulated"].append(int((simulated >= due).sum()))
        apart = abs(sum(late["simulated"]) - sum(late["real"])) / sum(late["real"])
        found.append({"link": name, "outage_s": list(_LONE_OUTAGE_S), "fallbacks": late, "apart": apart})
    return found


# ---------------------------------------------------------------------------------------------------- what came of it


def told_of(found: Outcomes, fleet: Fleet, pictures: Pictures, coming: Sequence[Workload]) -> dict[str, Any]:
    """What is told of a fleet's run."""
    unsure = _unsure(found, pictures, coming)
    hit = fleet.region_of()[found.edge] == _CUT_OFF
    seconds = float(found.at[-1])
    regional, others = hit & unsure, ~hit & unsure
    ms = 1e3 * found.counted_s
    return {
        "requests": len(found.at),
        "seconds": seconds,
        "outage": {"region": _CUT_OFF, "begin_s": OUTAGE_S[0], "end_s": OUTAGE_S[1]},
        "unanswered": found.unanswered,
        "answers": {how.name.lower(): int((found.how == how).sum()) for how in Outcome if how is not Outcome.NONE},
        "offloaded": int(unsure.sum()),
        "offloaded_per_s": float(unsure.sum()) / seconds,
        "p50_ms": float(np.percentile(ms, 50)),
        "p99_ms": float(np.percentile(ms, 99)),
        "others_offloaded_p50_ms": float(np.percentile(ms[others], 50)),
        "others_offloaded_p99_ms": float(np.percentile(ms[others], 99)),
        "back_s": back_s(found.at[regional], found.good[regional]),
        "goodput_per_s": {
            "fleet": goodput(found.at, found.good),
            "region": goodput(found.at[hit], found.good[hit]),
            "region_of_what_needs_offloading": goodput(found.at[regional], found.good[regional]),
        },
        "batches_by_size": list(found.batches),
        "busy": [busy / seconds for busy in found.busy_s],
        "connects": found.connects,
        "events": found.events,
    }


def _unsure(found: Outcomes, pictures: Pictures, coming: Sequence[Workload]) -> npt.NDArray[np.bool_]:
    """Which requests the fabric is unsure of, in order of arrival [N]."""
    order = np.argsort(np.concatenate([one.at for one in coming]), kind="stable")
    target, picture = (np.concatenate([getattr(one, name) for one in coming])[order] for name in ("target", "picture"))
    unsure: npt.NDArray[np.bool_] = pictures.unsure[target, picture]
    return unsure


def goodput(at: Floats, good: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Before, during and after the outage, and second by second, by the moments of arrival `at`."""
    seconds = int(at[-1]) if len(at) else 0  # whole ones
    series = np.bincount(at[good].astype(int), minlength=seconds)[:seconds]
    asked = np.bincount(at.astype(int), minlength=seconds)[:seconds]
    begin, end = (round(one) for one in OUTAGE_S)
    spans = {"before": slice(int(_FROM_S), begin), "during": slice(begin, end), "after": slice(end, seconds)}
    means = {name: float(series[span].mean()) for name, span in spans.items()}
    return {**means, "asked_by_second": asked.tolist(), "good_by_second": series.tolist()}


def back_s(at: Floats, good: npt.NDArray[np.bool_]) -> float:
    """Seconds from the end of the outage until the share of good answers stays what it was.

    Infinity: it never does, or nothing was asked or was good before, so that there is nothing to come back to.
    """
    begin, end = OUTAGE_S
    earlier, after = good[(at >= _FROM_S) & (at < begin)], at >= end
    if not earlier.any() or not after.any():
        return float("inf")
    before = float(earlier.mean())
    place = ((at[after] - end) / _BIN_S).astype(int)
    asked, fine = np.bincount(place), np.bincount(place, weights=good[after])
    bad = np.flatnonzero(fine < _BACK * before * asked)
    if not len(bad):
        return 0.0
    back = int(bad[-1]) + 1
    return float("inf") if back == len(asked) else back * _BIN_S


def checks(body: dict[str, Any]) -> list[Check]:
    """What the fleet comes to."""

    def worst(percent: int) -> float:
        return max(float(one[f"p{percent}_{what}"]["apart"]) for one in body["agreement"] for what in _WHAT)

    apart = max(one["apart"] for one in body["cut_off_alone"])
    return [
        Check("fleet: requests", body["requests"], REQUESTS, False, "requests", "simulated"),
        Check("fleet: requests unanswered", body["unanswered"], 0, True, "requests", "simulated"),
        Check("fleet: goodput of what needs offloading in the region that was cut off is back after", body["back_s"],
              WITHIN_S, True, "s", "simulated"),
        Check("fleet: run time", body["run_seconds"] / 60, MINUTES, True, "min", "measured"),
        Check("fleet: peak memory of the whole process", body["peak_bytes"] / 1e9, GIGABYTES, True, "GB", "measured"),
        Check("fleet: P50 of an edge against the real programs, the worst cell", worst(50), P50_WITHIN, True, "share",
              "simulated"),
        Check("fleet: P99 of an edge against the real programs, the worst cell", worst(99), P99_WITHIN, True, "share",
              "simulated"),
        Check("fleet: fallbacks of an edge that is cut off against the real programs", apart, FALLBACKS_WITHIN, True,
              "share", "simulated"),
    ]  # fmt: skip
