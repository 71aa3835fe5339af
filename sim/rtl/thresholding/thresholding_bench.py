"""Coroutines of thresholding's bench: equality with the reference, interval, reset."""

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
CHANNELS, PE, LEVELS, BITS = P["Channels"], P["Pe"], P["Levels"], P["ThresholdWidth"]
GROUPS = CHANNELS // PE
LATENCY = 2 * LEVELS + 3
ADDRESS = max(((GROUPS << (LEVELS - 1)) - 1).bit_length(), 1)


class ThresholdingBench(VectorBench):
    """A thresholding unit with its memories beside it."""

    def __init__(self, dut: Any, rng: np.random.Generator) -> None:
        """Draw the thresholds; what channels begin with and step by are parameters of the build."""
        super().__init__(dut, GROUPS, LATENCY)
        self.rng = rng
        self.first = reference.unpack(int(os.environ["FIRST"], 16), CHANNELS, P["OutWidth"], False)
        self.step = reference.unpack(int(os.environ["STEP"], 16), CHANNELS, P["OutWidth"], False)
        drawn = reference.random_values(rng, (CHANNELS, (1 << LEVELS) - 1), BITS, True)
        self.thresholds = np.sort(drawn, axis=1)
        self.falls = rng.integers(0, 1, CHANNELS, endpoint=True) if P.get("Senses") else np.zeros(CHANNELS, np.int64)
        self._words = [0] * (LEVELS * PE)
        self._data = 0

    def word(self, level: int, p: int, address: int) -> int:
        """The word of a level's memory that the module's header tells."""
        group, path = address >> level, address & ((1 << level) - 1)
        place = path * (1 << (LEVELS - level)) + (1 << (LEVELS - level - 1)) - 1
        channel = group * PE + p
        falls = int(self.falls[channel])
        threshold = int(self.thresholds[channel, -1 - place if falls else place])
        return threshold & ((1 << int(BITS)) - 1) | falls << int(BITS)

    def drive(self) -> None:
        """Answer the reads of the cycle before; hold the words otherwise."""
        self.dut.threshold_data_i.value = self._data

    def observe(self) -> None:
        """See reads."""
        enabled, addresses = int(self.dut.threshold_en_o.value), int(self.dut.threshold_addr_o.value)
        for level in range(LEVELS):
            if enabled >> level & 1:
                for lane in range(level * PE, level * PE + PE):
                    address = addresses >> (lane * ADDRESS) & ((1 << ADDRESS) - 1)
                    self._words[lane] = self.word(level, lane - level * PE, address)
        self._data = sum(word << (lane * (BITS + P.get("Senses", 0))) for lane, word in enumerate(self._words))

    def vectors(self, count: int) -> tuple[list[int], list[int]]:
        """Random vectors, many values at a threshold or just below one, and the answers that belong to them."""
        low, high = reference.limits(P["InWidth"], bool(P["InSigned"]))
        values = reference.random_values(self.rng, (count, CHANNELS), P["InWidth"], bool(P["InSigned"]))
        picked = self.rng.integers(0, self.thresholds.shape[1], (count, CHANNELS))
        near = self.thresholds[np.arange(CHANNELS), picked] - self.rng.integers(0, 1, picked.shape, endpoint=True)
        values = np.where(self.rng.random(values.shape) < 0.5, np.clip(near, low, high), values)
        # What falls counts the thresholds above: all of them less those that are reached.
        count = self.thresholds.shape[1]
        first, step = self.first + self.falls * self.step * count, np.where(self.falls, -self.step, self.step)
        answers = reference.thresholding(values, self.thresholds, first, step, P["OutWidth"])
        return (
            [reference.pack(group, P["InWidth"]) for group in values.reshape(-1, PE)],
            [reference.pack(group, P["OutWidth"]) for group in answers.reshape(-1, PE)],
        )


async def _started(dut: Any) -> ThresholdingBench:
    bench = ThresholdingBench(dut, np.random.default_rng(cocotb.RANDOM_SEED))
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
