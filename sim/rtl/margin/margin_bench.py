"""Coroutines of margin's bench: equality with the reference, ties, extremes, interval, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
CLASSES, WIDTH = P["Classes"], P["Width"]
VECTORS = 300


class MarginBench(StreamBench):
    """A margin and random logits."""

    def __init__(self, dut: Any) -> None:
        """Seed the logits."""
        super().__init__(dut, ("m_label_o", "m_margin_o"))
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)

    def logits(self, count: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Random logits, some of few distinct values so that ties are many, and the answers that belong to them."""
        low, high = reference.limits(WIDTH, True)
        values = reference.random_values(self.rng, (count, CLASSES), WIDTH, True)
        values[::3] = self.rng.integers(max(low, -1), min(high, 1), (len(values[::3]), CLASSES), endpoint=True)
        values[0], values[1] = low, high
        values[2] = low
        values[2, CLASSES - 1] = high
        return [reference.pack(vector, WIDTH) for vector in values], [reference.margin(vector) for vector in values]


async def _started(dut: Any) -> MarginBench:
    bench = MarginBench(dut)
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """Labels and margins equal the reference, also for ties and extremes, whatever the stalls."""
    bench = await _started(dut)
    vectors, answers = bench.logits(VECTORS)
    passed = await bench.transfer(vectors, VECTORS, PATTERNS[pattern])
    assert passed.beats == answers


@cocotb.test()
async def interval_is_the_number_of_classes(dut: Any) -> None:
    """At full speed an answer comes every `Classes` cycles, two cycles behind the last class."""
    bench = await _started(dut)
    vectors, _ = bench.logits(20)
    passed = await bench.transfer(vectors, 20, FULL_SPEED)
    assert passed.intervals() == [CLASSES] * 19
    assert [out - taken for out, taken in zip(passed.cycles, passed.taken, strict=True)] == [3] * 20
    dut._log.info("interval %d", CLASSES)


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets in the middle of a vector leave nothing behind."""
    bench = await _started(dut)
    for _ in range(8):
        vectors, _ = bench.logits(5)
        await bench.interrupt(vectors, bench.random.randrange(1, 3 * CLASSES), (0.1, 0.4))
        vectors, answers = bench.logits(4)
        assert (await bench.transfer(vectors, 4, FULL_SPEED)).beats == answers
