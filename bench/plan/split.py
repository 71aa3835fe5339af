"""The bench of `edgesight plan split`: against exhaustive search, on links that move, and against the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from edgesight.bench.plan.split_links import generated, steady, traces
from edgesight.bench.plan.split_moving import GAIN, LOSS, OURS, PERIOD_MS, PROBE_BYTES, Cell, try_link
from edgesight.bench.plan.split_picture import draw
from edgesight.bench.plan.split_resnet18 import PROFILE
from edgesight.bench.plan.split_search import exhaustive
from edgesight.bench.report import Check, PlainTable
from edgesight.plan.profile import Device, Link, Slo, read
from edgesight.plan.split.bandwidth import MovingSplit
from edgesight.plan.split.plan import Choices, Exit, Layer, SplitProfile, split

SEED: Final = 2026
LINK_SEEDS: Final = (101, 102, 103, 104)  # the detector's defaults were chosen on others: 0, 1 and 2
DEADLINES_MS: Final = (150.0, 200.0, 250.0, 300.0, 400.0)
REQUESTS: Final = 1200  # ten minutes
DECISION_MS: Final = 1.0


def bench(
    out: Path, console: Console, *, trace_folder: Path | None = None, count: int = 10_000, quick: bool = False
) -> tuple[list[Check], dict[str, Any]]:
    """Run all of it; returns the checks and what was found, and draws `out`/split.png.

    `trace_folder` holds capacity traces (see `edgesight.bench.plan.split_links.traces`); None tries generated links
    only, and says so.
    `count`: random instances held against exhaustive search. `quick`: a link of each family and fewer requests.
    """
    checks = []
    console.print(f"split: {count} random instances against exhaustive search ...")
    different, broken = exhaustive(count, SEED)
    checks.append(Check("split: equal to exhaustive search", count - different, count, False, "instances", "measured"))
    checks.append(Check("split: plans that break a constraint", broken, 0, True, "plans", "measured"))

    profile = read(PROFILE, SplitProfile)
    links = generated(LINK_SEEDS[:1] if quick else LINK_SEEDS)
    skipped = None
    if trace_folder is None:
        skipped = "no folder of traces was given: generated links only"
    else:
        links = traces(trace_folder) + links
    if skipped:
        console.print(f"split: skipped: {skipped}")
    requests = REQUESTS // 4 if quick else REQUESTS
    console.print(f"split: {len(links)} moving links at {len(DEADLINES_MS)} deadlines, {requests} requests each ...")
    cells = [try_link(profile, link, deadline, requests) for link in links for deadline in DEADLINES_MS]
    still = [try_link(profile, steady(mbps), deadline, requests) for mbps in (2.0, 20.0) for deadline in DEADLINES_MS]
    gains = [cell.gain(OURS) for cell in cells]
    checks.append(
        Check("split: mean gain over the best fixed exit and cut", _mean(gains), GAIN, False, "points", "simulated")
    )
    worst = min(cell.gain(OURS) for cell in [*cells, *still])
    checks.append(Check("split: gain on the worst link", worst, -LOSS, False, "points", "simulated"))

    console.print("split: time of a decision, 100 layers and 5 exits ...")
    times = decision_times(200 if quick else 2000)
    for form, found in times.items():
        checks.append(Check(f"split: {form} decision, median", found["median_ms"], DECISION_MS, True, "ms", "measured"))
        checks.append(
            Check(f"split: {form} decision, worst", found["worst_ms"], DECISION_MS, True, "ms of CPU", "measured")
        )

    planners = list(cells[0].served)
    intervals = {planner: _interval(cells, planner) for planner in planners}
    _print_gains(console, cells, intervals)
    draw(cells, intervals, profile, out / "split.png")
    body = {
        "profile": {"name": profile.name, "origin": profile.origin},
        "tie_rule": "accuracy, then latency, then fewer bytes sent, then the later cut, then the exit listed first",
        "instances": {"count": count, "seed": SEED},
        "requests": {"count": requests, "period_ms": PERIOD_MS, "probe_bytes": PROBE_BYTES},
        "links": {"seeds": LINK_SEEDS[:1] if quick else LINK_SEEDS, "skipped": skipped},
        "gain_points": {
            planner: {
                "mean": _mean([cell.gain(planner) for cell in cells]),
                "interval_95": intervals[planner],
                "worst": min(cell.gain(planner) for cell in cells),
            }
            for planner in planners
        },
        "fixed_falling_back_gain_points": _mean([100 * (cell.fixed_falling_back - cell.fixed) for cell in cells]),
        "oracle_gain_points": _mean([100 * (cell.oracle - cell.fixed) for cell in cells]),
        "interior_cuts": {
            planner: _mean([cell.served[planner].interior for cell in cells]) for planner in planners
        },  # shares of the chosen cuts, neither all on the device nor all at the data centre
        "cells": [asdict(cell) for cell in cells],
        "steady": [asdict(cell) for cell in still],
        "decisions": times,
    }
    return checks, body


def decision_times(count: int) -> dict[str, dict[str, float]]:
    """Times of a decision in ms, static and moving, on 100 layers and 5 exits.

    The median is of the time that passed. The worst is of processor time, since on a shared machine another program's
    turn takes longer than any decision; the worst that passed is given beside it.
    """
    profile = _large()
    slo = Slo(latency_ms=120.0)
    rng = np.random.default_rng(SEED)
    rates = np.exp(rng.uniform(np.log(0.5), np.log(50.0), count))
    choices = Choices.of(profile)
    moving = MovingSplit(choices, slo, 20.0, fall_back=True)  # weighs more choices than without

    def static(mbps: float) -> None:
        split(choices, Link(mbps=mbps, round_trip_ms=20.0), slo)

    def live(mbps: float) -> None:
        moving.observe(mbps)
        moving.choose()

    found = {}
    for form, decide in (("static", static), ("moving", live)):
        for mbps in rates[:100]:  # until the detector holds as many runs as it ever will
            decide(float(mbps))
        passed, worked = [], []
        for mbps in rates:
            begun, busy = time.perf_counter(), time.thread_time()
            decide(float(mbps))
            worked.append(1e3 * (time.thread_time() - busy))
            passed.append(1e3 * (time.perf_counter() - begun))
        found[form] = {
            "count": count,
            "choices": len(choices.cuts),
            "median_ms": float(np.median(passed)),
            "p99_ms": float(np.percentile(passed, 99)),
            "worst_ms": max(worked),
            "worst_passed_ms": max(passed),
        }
    begun = time.perf_counter()
    Choices.of(profile)
    found["static"]["layout_ms"] = 1e3 * (time.perf_counter() - begun)  # once a profile
    return found


def _large() -> SplitProfile:
    """100 layers to the last of 5 exits, each with 5 layers of its own."""
    rng = np.random.default_rng(SEED)

    def layer(name: str) -> Layer:
        ms = float(rng.uniform(0.5, 2.0))
        size = int(rng.integers(5_000, 100_000))
        return Layer(name=name, ms={"device": ms, "datacenter": ms / 20}, output_bytes=size)

    return SplitProfile(
        name="100 layers",
        device=Device(name="device"),
        datacenter=Device(name="datacenter", tier=1),
        obtained={"device": "simulated", "datacenter": "simulated"},
        accuracy_obtained="simulated",
        input_bytes=150_528,
        layers=[layer(f"layer{number}") for number in range(95)],
        exits=[
            Exit(
                name=f"exit{number}",
                accuracy=0.5 + number / 10,
                after=15 + 20 * number,
                layers=tuple(layer(f"exit{number}.layer{place}") for place in range(5)),
                answer_bytes=16,
            )
            for number in range(5)
        ],
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _interval(cells: Sequence[Cell], planner: str) -> tuple[float, float]:
    """95 % interval of a planner's mean gain: bootstrap over links, a link's deadlines staying together."""
    by_link: dict[str, list[float]] = {}
    for cell in cells:
        by_link.setdefault(cell.link, []).append(cell.gain(planner))
    means = np.array([np.mean(gains) for gains in by_link.values()])
    drawn = np.random.default_rng(SEED).choice(means, (4000, len(means))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _print_gains(console: Console, cells: Sequence[Cell], intervals: dict[str, tuple[float, float]]) -> None:
    families = list(dict.fromkeys(cell.family for cell in cells))
    title = (
        "Points of accuracy above the best fixed exit and cut of each link (late answers count 0; exits' accuracies "
        "quoted from memory)"
    )
    table = PlainTable(title, ("planner", "mean", "95 %", "worst", "late", *families), words=("planner",))
    for planner in cells[0].served:
        gains = [cell.gain(planner) for cell in cells]
        low, high = intervals[planner]
        table.add_row(
            planner,
            f"{_mean(gains):+.2f}",
            f"{low:+.2f} to {high:+.2f}",
            f"{min(gains):+.2f}",
            f"{_mean([cell.served[planner].late for cell in cells]):.1%}",
            *(f"{_mean([cell.gain(planner) for cell in cells if cell.family == f]):+.2f}" for f in families),
        )
    fixed = [100 * (cell.fixed_falling_back - cell.fixed) for cell in cells]
    of = [[gain for gain, cell in zip(fixed, cells, strict=True) if cell.family == family] for family in families]
    table.add_row(
        "best fixed exit and cut, falling back", f"{_mean(fixed):+.2f}", "", f"{min(fixed):+.2f}", "",
        *(f"{_mean(gains):+.2f}" for gains in of),
    )  # fmt: skip
    oracle = [100 * (cell.oracle - cell.fixed) for cell in cells]
    by_family = [[100 * (cell.oracle - cell.fixed) for cell in cells if cell.family == family] for family in families]
    table.add_row(
        "knows the future",
        f"{_mean(oracle):+.2f}",
        "",
        f"{min(oracle):+.2f}",
        "",
        *(f"{_mean(g):+.2f}" for g in by_family),
    )
    console.print(table)
