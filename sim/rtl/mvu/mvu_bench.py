"""Coroutines of mvu's bench: equality with the reference, intervals, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
GROUPS = P["Outputs"] // P["Pe"]
BLOCK_LANES = P["InLanes"] // P.get("Blocks", 1)
SLICES = BLOCK_LANES // P["Simd"]
INTERVAL = P["Beats"] * GROUPS * SLICES
PLACES = P["InWidth"] * P["WeightWidth"]  # pairs of a bit of both factors
LEAVES = -(-P["Simd"] // 6) if PLACES <= 4 else P["Simd"]
LEVELS = ((LEAVES - 1).bit_length() + 1) // 2 + (1 < PLACES <= 4)
LATENCY = 7 + LEVELS - (2 if P["Shift"] == 0 and not P["Saturate"] else 0)
SLICED = P.get("Sliced", 0)
TAKEN = INTERVAL if SLICED else P["Beats"]  # beats of the port that a vector has
# A shift and a rounding mode that come at a port, where they are no parameters.
ROUNDING = {name: int(os.environ[f"MVU_{name.upper()}"]) for name in ("Shift", "Round")} if P.get("ShiftBits") else {}
WEIGHTS = (P["Outputs"], P["Beats"], BLOCK_LANES)
VECTORS = max(12, min(200, 3000 // INTERVAL))


class MvuBench(StreamBench):
    """An mvu with the weight memory beside it."""

    def __init__(self, dut: Any, rng: np.random.Generator) -> None:
        """Draw the weights; the bias is a parameter of the build, or what the bench answers."""
        super().__init__(dut)
        self.rng = rng
        self.bias = reference.unpack(int(os.environ["MVU_BIAS"], 16), P["Outputs"], P["BiasWidth"], True)
        self.weights = reference.random_values(rng, WEIGHTS, P["WeightWidth"], True)
        self.memory = reference.weight_words(self.weights, P["Pe"], P["Simd"], P["WeightWidth"])
        self._word: int | None = None
        self._bias: int | None = None
        dut.bias_data_i.value = 0
        dut.rounding_i.value = ROUNDING["Round"] << P["ShiftBits"] | ROUNDING["Shift"] if ROUNDING else 0

    def drive(self) -> None:
        """Answer the read of the cycle before; hold the word otherwise."""
        if self._bias is not None:
            self.dut.bias_data_i.value = self._bias
            self._bias = None
        if self._word is not None:
            self.dut.weight_data_i.value = self._word
            self._word = None

    def observe(self) -> None:
        """See a read."""
        if P.get("Runtime") and self.dut.bias_en_o.value:
            first = int(self.dut.bias_addr_o.value) * P["Pe"]
            self._bias = reference.pack(self.bias[first : first + P["Pe"]], P["BiasWidth"])
        if self.dut.weight_en_o.value:
            self._word = self.memory[int(self.dut.weight_addr_o.value)]

    def inputs(self, vectors: int) -> reference.Integers:
        """Random inputs [vectors, beats, lanes]."""
        shape = (vectors, P["Beats"], P["InLanes"])
        return reference.random_values(self.rng, shape, P["InWidth"], bool(P["InSigned"]))

    def beats(self, inputs: reference.Integers) -> list[int]:
        """The input beats of `inputs`."""
        taken = reference.mvu_steps(inputs, P) if SLICED else inputs.reshape(-1, P["InLanes"])
        return [reference.pack(beat, P["InWidth"]) for beat in taken]

    def expected(self, inputs: reference.Integers) -> list[int]:
        """The output beats that belong to `inputs`, a group each."""
        outputs = reference.mvu(inputs, self.weights, self.bias, P | ROUNDING)
        return [reference.pack(group, P["OutWidth"]) for group in outputs.reshape(-1, P["Pe"])]


async def _started(dut: Any) -> MvuBench:
    bench = MvuBench(dut, np.random.default_rng(cocotb.RANDOM_SEED))
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """Random vectors equal the reference bit for bit, whatever the stalls."""
    bench = await _started(dut)
    inputs = bench.inputs(VECTORS)
    passed = await bench.transfer(bench.beats(inputs), VECTORS * GROUPS, PATTERNS[pattern])
    assert passed.beats == bench.expected(inputs)


@cocotb.test()
async def answers_of_a_fixed_layer(dut: Any) -> None:
    """Answers that depend on the layer alone, listed for the comparison of foldings where one is asked for."""
    bench = await _started(dut)
    inputs = bench.inputs(20)
    passed = await bench.transfer(bench.beats(inputs), 20 * GROUPS, PATTERNS["ragged"])
    assert passed.beats == bench.expected(inputs)
    if listed := os.environ.get("MVU_ANSWERS"):
        values = [reference.unpack(beat, P["Pe"], P["OutWidth"], False) for beat in passed.beats]
        Path(listed).write_text(" ".join(str(value) for value in np.concatenate(values)))


@cocotb.test()
async def interval_is_the_product_of_the_folds(dut: Any) -> None:
    """At full speed a vector comes every Beats * Groups * Slices cycles, each group with the stated latency."""
    bench = await _started(dut)
    inputs = bench.inputs(10)
    passed = await bench.transfer(bench.beats(inputs), 10 * GROUPS, FULL_SPEED)
    assert passed.intervals(GROUPS) == [INTERVAL] * 9
    last = passed.taken[TAKEN - 1 :: TAKEN]
    wanted = [taken + LATENCY - (GROUPS - 1 - group) * SLICES for taken in last for group in range(GROUPS)]
    assert passed.cycles == wanted
    dut._log.info("interval %d, latency %d", INTERVAL, LATENCY)


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random moments leave nothing behind."""
    bench = await _started(dut)
    for _ in range(6):
        inputs = bench.inputs(6)
        await bench.interrupt(bench.beats(inputs), bench.random.randrange(1, 3 * INTERVAL + LATENCY + 3), (0.2, 0.4))
        inputs = bench.inputs(3)
        passed = await bench.transfer(bench.beats(inputs), 3 * GROUPS, FULL_SPEED)
        assert passed.beats == bench.expected(inputs)
