"""Coroutines of upsample's bench: equality with the reference, interval, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
COLUMNS, ROW_COPIES, COPIES = P["ImgW"], P["FactorH"], P["FactorW"]
OUT = COLUMNS * COPIES * ROW_COPIES  # beats that a row becomes


def _frame(bench: StreamBench, rows: int) -> tuple[list[int], list[int]]:
    pixels, copies = [], []
    for _ in range(rows):
        row = [bench.random.getrandbits(P["Width"]) for _ in range(COLUMNS)]
        pixels += row
        copies += [pixel for pixel in row for _ in range(COPIES)] * ROW_COPIES
    return pixels, copies


async def _started(dut: Any) -> StreamBench:
    bench = StreamBench(dut)
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """Copies of random pixels in their order, whatever the stalls."""
    bench = await _started(dut)
    pixels, copies = _frame(bench, max(4, 400 // OUT))
    assert (await bench.transfer(pixels, len(copies), PATTERNS[pattern])).beats == copies


@cocotb.test()
async def a_copy_a_cycle(dut: Any) -> None:
    """At full speed a pixel leaves in every cycle, the first one a cycle after it is there."""
    bench = await _started(dut)
    pixels, copies = _frame(bench, 5)
    passed = await bench.transfer(pixels, len(copies), FULL_SPEED)
    assert passed.intervals() == [1] * (len(copies) - 1)


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets in the middle of a row leave nothing behind."""
    bench = await _started(dut)
    for _ in range(6):
        await bench.interrupt(_frame(bench, 3)[0], bench.random.randrange(1, 2 * OUT + 2), (0.2, 0.3))
        pixels, copies = _frame(bench, 2)
        assert (await bench.transfer(pixels, len(copies), FULL_SPEED)).beats == copies
