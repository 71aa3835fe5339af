"""Projected energy, for a board that nobody has metered with our kernel: published watts times our cycles.

This is no measurement, and never called one. Board power is nearly flat across kernels, so that energy an image follows
the time it takes; but it is other people's power, of other kernels, without Linux running. What is projected is the
whole board's energy while it answers at full speed, idle power included.

Words owned here: published power, projection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from edgesight.host.power.measure import Figure
from edgesight.host.power.readings import PowerError


@dataclass(frozen=True)
class PublishedPower:
    """Power that somebody measured and published."""

    board: str
    watts: float  # median of the source's windows
    kernel: str
    source: str


_MLPERF = (
    "MLPerf Tiny v0.7, mlcommons/tiny_results_v0.7 at 8813eded, open/hls4ml-finn/results/pynq-z2/{}/power/results.txt"
)

# Of the whole board at its 5 V supply, by a Joulescope JS110, without an operating system (pynq_energy_setup.md there).
PUBLISHED = (
    PublishedPower("pynq-z2", 1.673301, "CNV-W1A1 by FINN", _MLPERF.format("ic/CNV-W1A1")),
    PublishedPower("pynq-z2", 1.616806, "RN07 by hls4ml", _MLPERF.format("ic/RN07")),
    PublishedPower("pynq-z2", 1.756066, "KWS-W3A3 by FINN", _MLPERF.format("kws/KWS-W3A3")),
    PublishedPower("pynq-z2", 1.583118, "AD08 by hls4ml", _MLPERF.format("ad/AD08")),
)


class Projection(BaseModel):
    """Energy an image that was projected, with everything that it was projected from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    board: str
    joules_per_image: Figure  # the whole board's; from the smallest to the largest of the published powers
    cycles_per_image: float
    cycles_obtained: str  # how: by simulating the RTL, say
    clock_mhz: float
    sources: list[str]


def published_for(board: str, published: Sequence[PublishedPower] = PUBLISHED) -> list[PublishedPower]:
    """What is published for `board`; PowerError where that is nothing, or a source is not named."""
    known = [power for power in published if power.board == board]
    if not known:
        boards = ", ".join(sorted({power.board for power in published})) or "none"
        raise PowerError(
            f"no published power is known for board {board} (known: {boards}): measure it, or give its power in watts "
            "with the source"
        )
    for power in known:
        if not power.source.strip() or not 0.0 < power.watts < math.inf:
            raise PowerError(f"published power of {power.watts:g} W: give more than 0, and its source")
    return known


def project(
    board: str,
    cycles_per_image: float,
    clock_mhz: float,
    cycles_obtained: str,
    published: Sequence[PublishedPower] = PUBLISHED,
) -> Projection:
    """Energy an image on `board` at full speed: published power of that board x `cycles_per_image` / clock.

    `cycles_per_image` are those of the kernel's interval at the exits that the images take, `cycles_obtained` how they
    are known. Raises PowerError where nothing is published for the board, or a source is not named.
    """
    known = published_for(board, published)
    if not cycles_per_image > 0.0 or not clock_mhz > 0.0:
        raise PowerError(f"{cycles_per_image:g} cycles at {clock_mhz:g} MHz: give more than 0 of both")
    seconds = cycles_per_image / (clock_mhz * 1e6)
    watts = sorted(power.watts for power in known)
    return Projection(
        board=board,
        joules_per_image=Figure(
            value=sum(watts) / len(watts) * seconds,
            unit="J",
            obtained="projected",
            low=watts[0] * seconds,
            high=watts[-1] * seconds,
        ),
        cycles_per_image=cycles_per_image,
        cycles_obtained=cycles_obtained,
        clock_mhz=clock_mhz,
        sources=[f"{power.watts:.3f} W, {power.kernel}: {power.source}" for power in known],
    )
