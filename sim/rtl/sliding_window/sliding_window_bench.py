"""Coroutines of sliding_window's bench: equality with the reference, interval, reset."""

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
PADS = (P["PadTop"], P["PadLeft"], P["PadBottom"], P["PadRight"])
ROWS = reference.grid(P["ImgH"], P["Kernel"], P["Stride"], P["PadTop"], P["PadBottom"])
STEPS = ROWS * reference.grid(P["ImgW"], P["Kernel"], P["Stride"], P["PadLeft"], P["PadRight"])
FRAMES = max(6, 2000 // STEPS)


async def _started(dut: Any) -> FrameBench:
    bench = FrameBench(dut, lambda image: reference.windows(image, P["Kernel"], P["Stride"], PADS))
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """The windows of random frames equal the reference, whatever the stalls."""
    bench = await _started(dut)
    await bench.check_equality(FRAMES, PATTERNS[pattern])


@cocotb.test()
async def interval_is_the_grid(dut: Any) -> None:
    """At full speed a frame takes as many cycles as the padded image has positions, also from frame to frame."""
    bench = await _started(dut)
    pixels, windows = bench.frames(5)
    passed = await bench.transfer(pixels, len(windows), FULL_SPEED)
    assert passed.intervals(len(windows) // 5) == [STEPS] * 4
    dut._log.info("interval %d", STEPS)


@cocotb.test()
async def turns_hide_behind_a_slow_consumer(dut: Any) -> None:
    """A consumer that takes a window every n cycles sees no bubble where n covers the longest walk between windows."""
    bench = await _started(dut)
    pixels, windows = bench.frames(5)
    natural = (await bench.transfer(pixels, len(windows), FULL_SPEED)).intervals()
    pace = max(natural, default=1)
    passed = await bench.transfer_paced(pixels, len(windows), pace)
    assert passed.intervals() == [pace] * (len(windows) - 1)
    assert passed.beats == windows


@cocotb.test()
async def one_window_waits_behind_a_blocked_output(dut: Any) -> None:
    """Against a blocked output pixels are taken up to the position that would complete a second window."""
    bench = await _started(dut)
    frames = 3
    pixels, _ = bench.frames(frames)
    kernel, stride, columns = P["Kernel"], P["Stride"], STEPS // ROWS
    inside, completed = 0, 0
    for position in range(frames * STEPS):
        row, column = divmod(position % STEPS, columns)
        ends = [(at - kernel + 1) % stride == 0 and at >= kernel - 1 for at in (row, column)]
        if all(ends):
            completed += 1
            if completed == 2:
                break
        in_rows = P["PadTop"] <= row < P["PadTop"] + P["ImgH"]
        inside += in_rows and P["PadLeft"] <= column < P["PadLeft"] + P["ImgW"]
    passed = await bench.block(pixels, frames * STEPS + 20)
    assert len(passed.taken) == inside


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random positions of a frame leave nothing behind."""
    bench = await _started(dut)
    await bench.check_resets(2 * STEPS)
