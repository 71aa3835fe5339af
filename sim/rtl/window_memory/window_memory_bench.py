"""Coroutines of window_memory's bench: equality with the reference, interval, latency, room, reset."""

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
GEOMETRY = reference.Geometry.of(P)
SIZE = (P["ImgH"], P["ImgW"])
PIXELS = SIZE[0] * SIZE[1]
FOLD = reference.WindowFold(P.get("Blocks", 1), P.get("SideBlocks", 1), P["Simd"], P.get("Turns", 1))
WORDS = P["Channels"] // (FOLD.side * FOLD.simd)
WORDED = P.get("Worded", 0)
TAKEN = WORDS if WORDED else 1  # beats of the port that a pixel has
WINDOW = FOLD.sets * FOLD.turns * GEOMETRY.kernel[0] * GEOMETRY.kernel[1] * (WORDS // FOLD.sets)
WINDOWS = len(GEOMETRY.needed(SIZE))
READS = WINDOWS * WINDOW
FRAMES = max(4, min(12, 4000 // READS))


def _words(images: reference.Integers) -> reference.Integers:
    """The words of pixels [..., channels] as the module's header has them."""
    flat = images.reshape(-1, FOLD.sets, FOLD.side, WORDS // FOLD.sets, FOLD.simd)
    return flat.transpose(0, 1, 3, 2, 4).reshape(-1, FOLD.side * FOLD.simd)


async def _started(dut: Any) -> FrameBench:
    bench = FrameBench(
        dut, lambda image: reference.window_beats(image, GEOMETRY, FOLD), parts_of=_words if WORDED else None
    )
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def equals_reference(dut: Any, pattern: str) -> None:
    """The beats of random frames equal the reference, whatever the stalls."""
    bench = await _started(dut)
    await bench.check_equality(FRAMES, PATTERNS[pattern])


@cocotb.test()
async def reader_and_writer_both_keep_their_interval(dut: Any) -> None:
    """At full speed a frame takes as many cycles as it has beats, or its pixels words, where two frames find room."""
    bench = await _started(dut)
    pixels, beats = bench.frames(6)
    passed = await bench.transfer(pixels, len(beats), FULL_SPEED)
    # The first frames fill the memory.
    intervals = passed.intervals(READS)[2:]
    dut._log.info("intervals %s", intervals)
    assert min(intervals) >= min(READS, PIXELS * WORDS)
    assert max(intervals) >= max(READS, PIXELS * WORDS)
    if P["Pixels"] >= 2 * PIXELS:
        assert intervals == [max(READS, PIXELS * WORDS)] * 3


@cocotb.test()
async def windows_follow_without_a_bubble_where_their_pixels_are_there(dut: Any) -> None:
    """Once a window's pixels are there, its beats come in consecutive cycles."""
    bench = await _started(dut)
    pixels, beats = bench.frames(4)
    passed = await bench.transfer(pixels, len(beats), FULL_SPEED)
    for first in range(0, len(beats), WINDOW):
        assert passed.cycles[first + WINDOW - 1] - passed.cycles[first] == WINDOW - 1


@cocotb.test()
async def a_window_comes_three_cycles_after_its_last_pixel(dut: Any) -> None:
    """From a source slower than the windows are read, each begins three cycles after the pixel that it waited for."""
    bench = await _started(dut)
    needed = GEOMETRY.needed(SIZE)
    pixels, beats = bench.frames(3)
    passed = await bench.transfer(pixels, len(beats), (0.9, 0.0))
    waited = 0
    for window in range(3 * WINDOWS):
        first = passed.cycles[window * WINDOW]
        pixel = passed.taken[(window // WINDOWS * PIXELS + needed[window % WINDOWS]) * TAKEN - 1]
        before = passed.cycles[window * WINDOW - 1] if window else 0
        assert first == max(pixel + 3, before + 1)
        waited += first > before + 1
    assert waited


@cocotb.test()
async def pixels_are_taken_while_there_is_room(dut: Any) -> None:
    """Against a blocked output exactly `Pixels` pixels are taken, and those that the first two beats have set free."""
    bench = await _started(dut)
    pixels, _ = bench.frames(2 + P["Pixels"] // PIXELS)
    passed = await bench.block(pixels, (P["Pixels"] + PIXELS) * WORDS + 20)
    # Two beats wait behind the output: in the memory's register and in the output's.
    gone = GEOMETRY.gone(SIZE)
    frames, window = divmod(2 // WINDOW, WINDOWS)
    assert len(passed.taken) == (P["Pixels"] + frames * PIXELS + gone[window]) * TAKEN


@cocotb.test()
async def reset_restores_a_clean_start(dut: Any) -> None:
    """Resets at random positions of a frame leave nothing behind."""
    bench = await _started(dut)
    await bench.check_resets(2 * READS)
