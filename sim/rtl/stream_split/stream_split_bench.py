"""Coroutines of stream_split's bench: order, interval, reset in the middle of a beat."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
WIDTH, PARTS, BEATS = int(P["Width"]), int(P["Parts"]), 60


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def takes_beats_apart(dut: Any, pattern: str) -> None:
    """The lowest part comes first, whatever the stalls; at full speed a part a cycle, also behind a reset."""
    bench = StreamBench(dut)
    await bench.start()
    for _ in range(3):
        parts = [[bench.random.getrandbits(WIDTH) for _ in range(PARTS)] for _ in range(BEATS)]
        beats = [sum(part << WIDTH * n for n, part in enumerate(beat)) for beat in parts]
        passed = await bench.transfer(beats, BEATS * PARTS, PATTERNS[pattern])
        assert passed.beats == [part for beat in parts for part in beat]
        if PATTERNS[pattern] == FULL_SPEED:
            assert passed.intervals() == [1] * (BEATS * PARTS - 1)
        await bench.interrupt([1] * 5, bench.random.randrange(1, 2 * PARTS + 2), (0.2, 0.5))
