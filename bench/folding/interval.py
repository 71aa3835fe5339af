"""The folding bench: each stage's steady-state interval over its folding bound, at several foldings."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from edgesight.bench.report import Check, print_checks, write_report
from edgesight.hls.zoo import compile_zoo, foldings_of
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import random_images
from edgesight.sim.verilate import build_library

FRAMES = 24
SLACK = 1.10  # interval over bound
SEED = 0


# Cycles a frame that a layer of stage 0 and of stage 1 may take, by the name of the folding.
FOLDINGS = {"fast": [700, 2_500], "middle": [1_500, 10_000], "small": [6_000, 40_000]}
FULL_RATE = "fast"  # at which stage 0 must take at most one cycle an input pixel


def bench_folding(zoo: Path, out: Path, console: Console) -> bool:
    """Compile the zoo folder's cascade at several foldings and measure each; returns whether every bar is met.

    Writes `out`/folding.json, and the packages into `out`/folding.
    """
    packages = {
        name: compile_zoo(zoo, out / "folding" / name, foldings_of(budgets)) for name, budgets in FOLDINGS.items()
    }
    checks: list[Check] = []
    measured = []
    for name, package in packages.items():
        console.print(f"Building and running folding {name} ...")
        build_library(package)
        fabric = VerilatedFabric(package)
        intervals = fabric.measure_intervals(random_images(package.kernel.input, FRAMES, SEED))
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
        if name == FULL_RATE:
            height, width, _ = package.kernel.input.shape
            cycles, what = intervals[0].interval_cycles, f"stage0 at one cycle a pixel, folding {name}"
            checks.append(Check(what, cycles, height * width, True, "cycles a frame", "simulated"))
    write_report(out / "folding.json", {"frames": FRAMES, "seed": SEED, "measured": measured}, checks)
    return print_checks(console, checks)
