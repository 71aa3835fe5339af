"""Coroutines of replay_buffer's bench: order, interval, reset in the middle of a turn."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
WIDTH, WORDS, TURNS, ROUNDS = int(P["Width"]), int(P["Words"]), int(P["Turns"]), 12


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def repeats_words(dut: Any, pattern: str) -> None:
    """Words come again in their order, whatever the stalls; at full speed one a cycle, also behind a reset."""
    bench = StreamBench(dut)
    await bench.start()
    for _ in range(3):
        rounds = [[bench.random.getrandbits(WIDTH) for _ in range(WORDS)] for _ in range(ROUNDS)]
        words = [word for each in rounds for word in each]
        passed = await bench.transfer(words, ROUNDS * WORDS * TURNS, PATTERNS[pattern])
        assert passed.beats == [word for each in rounds for word in each * TURNS]
        if PATTERNS[pattern] == FULL_SPEED:
            assert passed.intervals() == [1] * (ROUNDS * WORDS * TURNS - 1)
        await bench.interrupt([1] * 3 * WORDS, bench.random.randrange(1, 2 * WORDS * TURNS + 2), (0.2, 0.5))
