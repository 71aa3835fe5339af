"""Coroutines of the benches of stream_fifo and block_fifo: order, capacity, latency, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench

P: dict[str, Any] = bench_parameters()
BEATS = 400


async def _started(dut: Any) -> StreamBench:
    bench = StreamBench(dut)
    await bench.start()
    return bench


def _beats(bench: StreamBench, count: int) -> list[int]:
    return [bench.random.getrandbits(P["Width"]) for _ in range(count)]


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def keeps_order(dut: Any, pattern: str) -> None:
    """What goes in comes out, in order, whatever the stalls."""
    bench = await _started(dut)
    beats = _beats(bench, BEATS)
    assert (await bench.transfer(beats, BEATS, PATTERNS[pattern])).beats == beats


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """At full speed every cycle takes a beat and gives one, a cycle later, out of a block memory two."""
    latency = 2 if dut._name == "block_fifo" else 1
    bench = await _started(dut)
    passed = await bench.transfer(_beats(bench, 50), 50, FULL_SPEED)
    assert passed.intervals() == [1] * 49
    assert [out - taken for out, taken in zip(passed.cycles, passed.taken, strict=True)] == [latency] * 50


@cocotb.test()
async def holds_depth_and_one(dut: Any) -> None:
    """With a blocked output it takes Depth + 1 beats and no more."""
    bench = await _started(dut)
    beats = _beats(bench, P["Depth"] + 9)
    passed = await bench.block(beats, P["Depth"] + 20)
    assert len(passed.taken) == P["Depth"] + 1


@cocotb.test()
async def reset_empties(dut: Any) -> None:
    """Nothing of what was in it before a reset comes out behind it."""
    bench = await _started(dut)
    for _ in range(8):
        await bench.interrupt(_beats(bench, 50), bench.random.randrange(1, 40), (0.2, 0.6))
        beats = _beats(bench, 20)
        assert (await bench.transfer(beats, 20, (0.3, 0.3))).beats == beats
