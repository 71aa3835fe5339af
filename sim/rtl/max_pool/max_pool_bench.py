"""Coroutines of max_pool's bench: equality with the reference, interval, reset."""

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
PIXELS = P["ImgH"] * P["ImgW"]
FRAMES = max(6, 2000 // PIXELS)


class PoolBench(StreamBench):
    """A pool and random frames."""

    def __init__(self, dut: Any) -> None:
        """Seed the frames."""
        super().__init__(dut)
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)

    def frames(self, count: int) -> tuple[list[int], list[int]]:
        """Pixels of random frames, and the maxima that belong to them."""
        shape = (count, P["ImgH"], P["ImgW"], P["Channels"])
        images = reference.random_values(self.rng, shape, P["Width"], bool(P["Signed"]))
        pixels = [reference.pack(pixel, P["Width"]) for pixel in images.reshape(-1, P["Channels"])]
        maxima = [
            reference.pack(pixel, P["Width"])
            for image in images
            for pixel in reference.max_pool(image, P["Kernel"], P["Stride"])
        ]
        return pixels, maxima


async def _started(dut: Any) -> PoolBench:
    bench = PoolBench(dut)
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """The maxima of random frames equal the reference, whatever the stalls."""
    bench = await _started(dut)
    pixels, maxima = bench.frames(FRAMES)
    passed = await bench.transfer(pixels, len(maxima), PATTERNS[pattern])
    assert passed.beats == maxima


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
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random positions of a frame leave nothing behind."""
    bench = await _started(dut)
    for _ in range(6):
        pixels, _ = bench.frames(3)
        await bench.interrupt(pixels, bench.random.randrange(1, 2 * PIXELS), (0.1, 0.2))
        pixels, maxima = bench.frames(2)
        assert (await bench.transfer(pixels, len(maxima), FULL_SPEED)).beats == maxima
