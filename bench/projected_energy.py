"""An answer's energy on a board without a meter: published watts times cycles of the simulated RTL."""

from __future__ import annotations

from collections.abc import Sequence

from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import random_images
from edgesight.host.package import Package
from edgesight.host.power.projection import Projection, PublishedPower, project, published_for
from edgesight.sim import verilate

_FRAMES = 24  # whose interval is taken


def projected_energy(package: Package, board: str, published: Sequence[PublishedPower]) -> dict[str, Projection]:
    """By stage: energy of an answer of that stage at full speed, at the clock built for `board`, else the kernel's.

    Builds and simulates the RTL, which takes minutes. Raises PowerError before that where no power is known.
    """
    published_for(board, published)
    verilate.build_library(package)
    fabric = VerilatedFabric(package)
    try:
        intervals = fabric.measure_intervals(random_images(package.kernel.input, _FRAMES, 0))
    finally:
        fabric.close()
    build = package.kernel.boards.get(board)
    clock = build.clock_mhz if build is not None else package.kernel.clock_mhz
    return {
        stage.name: project(board, interval.interval_cycles, clock, "simulated: interval of the RTL", published)
        for stage, interval in zip(package.kernel.stages, intervals, strict=True)
    }
