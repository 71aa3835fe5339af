"""Coroutines of stream_concat's bench: order, and a beat a cycle."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

import os
from typing import Any

import cocotb

from edgesight.sim.rtl.joins import JoinBench

BITS = [int(bits) for bits in os.environ["BEAT_BITS"].split()]


def _joined(beats: list[list[int]]) -> list[int]:
    return [sum(beat << sum(BITS[:k]) for k, beat in enumerate(each)) for each in zip(*beats, strict=True)]


@cocotb.test()
async def joins_in_order(dut: Any) -> None:
    """Beats of all sources, side by side, whatever the stalls of each."""
    bench = JoinBench(dut, BITS)
    await bench.begin()
    for _ in range(8):
        beats = bench.draw(150)
        chances = [bench.random.choice([0.1, 0.5, 1.0]) for _ in BITS]
        assert await bench.join(beats, chances, bench.random.choice([0.3, 1.0])) == _joined(beats)


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """At full speed every cycle takes a beat of each source, and gives one a cycle later."""
    bench = JoinBench(dut, BITS)
    await bench.begin()
    beats, before = bench.draw(50), bench.cycle
    assert await bench.join(beats, [1.0] * len(BITS), 1.0) == _joined(beats)
    assert bench.cycle - before == 51


@cocotb.test()
async def reset_drops_what_waits(dut: Any) -> None:
    """A beat that waits for its taker is gone after a reset."""
    bench = JoinBench(dut, BITS)
    await bench.begin()
    await bench.join(bench.draw(2), [1.0] * len(BITS), 0.0)
    assert (await bench.step(s_valid_i=0))["m_valid_o"]
    await bench.step(rst_ni=0, s_valid_i=0)
    assert not (await bench.step(rst_ni=1, s_valid_i=0))["m_valid_o"]
