"""Coroutines of stream_add's bench: sums in order, and one a cycle."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.joins import JoinBench
from edgesight.sim.rtl.runner import bench_parameters

P: dict[str, Any] = bench_parameters()
VALUES, WIDTH, SOURCES = P["Values"], P["Width"], P["Sources"]


def _sums(beats: list[list[int]]) -> list[int]:
    return [
        reference.pack(sum(reference.unpack(beat, VALUES, WIDTH, False) for beat in each), WIDTH)  # type: ignore[arg-type] # a sum of arrays is one
        for each in zip(*beats, strict=True)
    ]


@cocotb.test()
async def adds_in_order(dut: Any) -> None:
    """Sums of all sources' beats, value by value, whatever the stalls of each."""
    bench = JoinBench(dut, [VALUES * WIDTH] * SOURCES)
    await bench.begin()
    for _ in range(8):
        beats = bench.draw(150)
        chances = [bench.random.choice([0.1, 0.5, 1.0]) for _ in range(SOURCES)]
        assert await bench.join(beats, chances, bench.random.choice([0.3, 1.0])) == _sums(beats)


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """At full speed every cycle takes a beat of each source, and gives one two cycles later."""
    bench = JoinBench(dut, [VALUES * WIDTH] * SOURCES)
    await bench.begin()
    beats, before = bench.draw(50), bench.cycle
    assert await bench.join(beats, [1.0] * SOURCES, 1.0) == _sums(beats)
    assert bench.cycle - before == 52
