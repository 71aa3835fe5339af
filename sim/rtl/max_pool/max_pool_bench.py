"""Coroutines of max_pool's bench: equality with the reference, interval, reset."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.frames import FrameBench
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS

P: dict[str, Any] = bench_parameters()
PIXELS = P["ImgH"] * P["ImgW"]
FRAMES = max(6, 2000 // PIXELS)


async def _started(dut: Any) -> FrameBench:
    bench = FrameBench(dut, lambda image: reference.max_pool(image, P["Kernel"], P["Stride"]), bool(P["Signed"]))
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """The maxima of random frames equal the reference, whatever the stalls."""
    bench = await _started(dut)
    await bench.check_equality(FRAMES, PATTERNS[pattern])


@cocotb.test()
async def a_pixel_a_cycle(dut: Any) -> None:
    """At full speed a frame takes as many cycles as it has pixels, also from frame to frame."""
    bench = await _started(dut)
    pixels, maxima = bench.frames(5)
    passed = await bench.transfer(pixels, len(maxima), FULL_SPEED)
    assert passed.intervals(len(maxima) // 5) == [PIXELS] * 4
    first = (P["Kernel"] - 1) * (P["ImgW"] + 1)
    assert passed.cycles[0] - passed.taken[first] == 2
    dut._log.info("interval %d", PIXELS)


@cocotb.test()
async def two_maxima_wait_behind_a_blocked_output(dut: Any) -> None:
    """Against a blocked output pixels are taken up to the one that would complete a third window."""
    bench = await _started(dut)
    pixels, _ = bench.frames(4)
    kernel, stride, width = P["Kernel"], P["Stride"], P["ImgW"]
    ends = [
        frame * PIXELS + (row + kernel - 1) * width + column + kernel - 1
        for frame in range(4)
        for row in range(0, P["ImgH"] - kernel + 1, stride)
        for column in range(0, width - kernel + 1, stride)
    ]
    passed = await bench.block(pixels, 4 * PIXELS + 20)
    assert len(passed.taken) == ends[2]


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random positions of a frame leave nothing behind."""
    bench = await _started(dut)
    await bench.check_resets(2 * PIXELS)
