"""The folding bench: each stage's steady-state interval over its folding bound, at several foldings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.package import Package
from edgesight.sim.verilate import build_library

FRAMES = 24
SLACK = 1.10  # interval over bound
SEED = 0


def bench_folding(packages: Mapping[str, Package], full_rate: str, out: Path, console: Console) -> bool:
    """Measure one cascade at several foldings, by name; returns whether every bar is met.

    At the folding `full_rate`, stage 0 must take at most one cycle an input pixel. Writes `out`/folding.json.
    """
    checks: list[Check] = []
    measured = []
    for name, package in packages.items():
        console.print(f"Building and running folding {name} ...")
        build_library(package)
        fabric = VerilatedFabric(package)
        images = np.random.default_rng(SEED).integers(0, 256, (FRAMES, *package.kernel.input.shape), np.uint8)
        intervals = fabric.measure_intervals(images)
        fabric.close()
        for stage, interval in zip(package.kernel.stages, intervals, strict=True):
            ratio = interval.interval_cycles / stage.bound_cycles
            where = f"{stage.name}, folding {name}"
            checks.append(Check(f"interval over bound, {where}", ratio, SLACK, True, "ratio", "simulated"))
            measured.append(
                {
                    "folding": name,
                    "stage": stage.name,
                    "bound_cycles": stage.bound_cycles,
                    "bound_layer": stage.bound_layer,
                    "interval_cycles": interval.interval_cycles,
                    "latency_cycles": interval.latency_cycles,
                    "multipliers": sum(layer.multipliers for layer in stage.layers),
                }
            )
        if name == full_rate:
            height, width, _ = package.kernel.input.shape
            cycles, what = intervals[0].interval_cycles, f"stage0 at one cycle a pixel, folding {name}"
            checks.append(Check(what, cycles, height * width, True, "cycles a frame", "simulated"))
    write_report(out / "folding.json", {"frames": FRAMES, "seed": SEED, "measured": measured}, checks)
    return print_checks(console, checks)
