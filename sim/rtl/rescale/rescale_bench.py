"""Coroutines of rescale's bench: equality with the reference, interval, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import PATTERNS
from edgesight.sim.rtl.vectors import VectorBench

P: dict[str, Any] = bench_parameters()
CHANNELS = P["Channels"]
GROUPS = CHANNELS // P["Pe"]
LATENCY = 7


class RescaleBench(VectorBench):
    """A rescale unit and random vectors."""

    def __init__(self, dut: Any) -> None:
        """Multipliers and offsets are parameters of the build."""
        super().__init__(dut, GROUPS, LATENCY)
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.multiplier = reference.unpack(int(os.environ["MULTIPLIER"], 16), CHANNELS, P["MultiplierWidth"], True)
        self.offset = reference.unpack(int(os.environ["OFFSET"], 16), CHANNELS, P["OffsetWidth"], True)

    def vectors(self, count: int) -> tuple[list[int], list[int]]:
        """Random vectors, and the answers that belong to them."""
        values = reference.random_values(self.rng, (count, CHANNELS), P["InWidth"], bool(P["InSigned"]))
        sums = values * self.multiplier + self.offset
        rounded = reference.requantise(sums, P["Shift"], P["Round"], False, 60, True)
        answers = np.clip(rounded, P["Low"], P["High"])
        return (
            [reference.pack(group, P["InWidth"]) for group in values.reshape(-1, P["Pe"])],
            [reference.pack(group, P["OutWidth"]) for group in answers.reshape(-1, P["Pe"])],
        )


async def _started(dut: Any) -> RescaleBench:
    bench = RescaleBench(dut)
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """Random vectors equal the reference bit for bit, whatever the stalls."""
    await (await _started(dut)).equals_reference(pattern)


@cocotb.test()
async def keeps_its_interval(dut: Any) -> None:
    """At full speed a group comes every cycle, each with the stated latency."""
    await (await _started(dut)).keeps_its_interval()


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random moments leave nothing behind."""
    await (await _started(dut)).starts_clean()
