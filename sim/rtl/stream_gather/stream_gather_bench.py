"""Coroutines of stream_gather's bench: order, interval, reset in the middle of a beat."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
WIDTH, PARTS, BEATS = int(P["Width"]), int(P["Parts"]), 60


async def _check(bench: StreamBench, stalls: tuple[float, float]) -> list[int]:
    """Send parts of random beats; what comes out is they, put together. Returns the intervals."""
    parts = [[bench.random.getrandbits(WIDTH) for _ in range(PARTS)] for _ in range(BEATS)]
    passed = await bench.transfer([part for beat in parts for part in beat], BEATS, stalls)
    assert passed.beats == [sum(part << WIDTH * n for n, part in enumerate(beat)) for beat in parts]
    return passed.intervals()


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def puts_parts_together(dut: Any, pattern: str) -> None:
    """The first part is the lowest one, whatever the stalls."""
    bench = StreamBench(dut)
    await bench.start()
    await _check(bench, PATTERNS[pattern])


@cocotb.test()
async def a_part_a_cycle(dut: Any) -> None:
    """At full speed no cycle is lost, and a reset forgets the parts of half a beat."""
    bench = StreamBench(dut)
    await bench.start()
    for _ in range(5):
        assert await _check(bench, FULL_SPEED) == [PARTS] * (BEATS - 1)
        await bench.interrupt([1] * 3 * PARTS, bench.random.randrange(1, 2 * PARTS), (0.2, 0.5))
