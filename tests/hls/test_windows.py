"""Where windows are read from a memory, and how many pixels it and the buffer before registers have room for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import Matrix, Stream, Window, matrix
from edgesight.hls.folding import Fold
from edgesight.hls.network import Shape
from edgesight.hls.rtl.windows import WindowMemory, gathering_pixels, needed_pixels, window_memory

WIDE = Stream(Shape(8, 8, 32), 0, 15)
SAME = Window((3, 3), pads=(1, 1, 1, 1))


def conv(source: Stream, window: Window = SAME, outputs: int = 16, groups: int = 1) -> Matrix:
    return matrix(
        "conv", 0, source, window, groups, np.ones((outputs, *window.kernel, source.shape.channels // groups), np.int64)
    )


def test_windows_come_from_a_memory_where_simd_divides_the_channels() -> None:
    memory = window_memory(conv(WIDE), WIDE, Fold(2, 8, 8 * 36), 64 * 8 * 36)
    assert memory == WindowMemory(
        side_blocks=1, turns=8, words=4, pixels=28
    )  # 3 rows and what begins and ends with them
    assert window_memory(conv(WIDE), WIDE, Fold(2, 24, 8 * 12), 64 * 8 * 12) is None


def test_groups_are_read_in_turn_or_side_by_side() -> None:
    grouped = conv(WIDE, groups=4)
    memory = window_memory(grouped, WIDE, Fold(2, 8, 8 * 9), 64 * 8 * 9)
    assert memory is not None
    assert (memory.side_blocks, memory.turns, memory.words) == (1, 2, 4)
    memory = window_memory(grouped, WIDE, Fold(8, 4, 2 * 18), 64 * 2 * 18)
    assert memory is not None
    assert (memory.side_blocks, memory.turns, memory.words) == (2, 1, 4)
    depthwise = window_memory(conv(WIDE, outputs=32, groups=32), WIDE, Fold(8, 1, 4 * 9), 64 * 4 * 9)
    assert depthwise is not None
    assert (depthwise.side_blocks, depthwise.turns, depthwise.words) == (8, 1, 4)


def test_a_memory_that_would_be_slower_or_larger_is_none() -> None:
    # Every pixel takes 32 cycles to be written, every fourth window 64.
    strided = conv(WIDE, Window((3, 3), (2, 2), pads=(1, 1, 1, 1)), outputs=1)
    assert window_memory(strided, WIDE, Fold(1, 1, 288), 16 * 288) is not None
    assert window_memory(strided, WIDE, Fold(1, 1, 288), 64 * 32 - 1) is None
    narrow = replace(WIDE, shape=Shape(8, 8, 2))
    assert window_memory(conv(narrow), narrow, Fold(1, 2, 16 * 9), 64 * 16 * 9) is None


def test_rows_gather_before_registers_while_a_frame_without_padding_ends() -> None:
    shape = Shape(16, 16, 1)
    assert gathering_pixels(Window((5, 5)), shape) == 4 * 16 + 5
    assert gathering_pixels(Window((3, 3)), shape) == 2 * 16 + 3
    assert gathering_pixels(SAME, shape) == 16 + 2
    assert gathering_pixels(Window((1, 1), (2, 2)), shape) == 16 + 2  # of which every other row is in no window


@pytest.mark.parametrize("seed", range(30))
def test_a_window_needs_the_pixels_up_to_its_last_tap_and_finds_room_for_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(1, 4, (3, 2)).tolist()
    kernel, stride, dilation = (tuple(pair) for pair in pairs)
    height, width = ((k - 1) * d + 1 + int(rng.integers(6)) for k, d in zip(kernel, dilation, strict=True))
    window = Window(kernel, stride, dilation, tuple(rng.integers(0, 3, 4).tolist()))
    source = Stream(Shape(height, width, 64), 0, 255)
    last = []
    alive = []
    rows, columns = window.positions(source.shape)
    for row in range(rows):
        for column in range(columns):
            taps = [
                (
                    row * stride[0] + kr * dilation[0] - window.pads[0],
                    column * stride[1] + kc * dilation[1] - window.pads[1],
                )
                for kr in range(kernel[0])
                for kc in range(kernel[1])
            ]
            places = [r * width + c for r, c in taps if 0 <= r < height and 0 <= c < width]
            last.append(max(places, default=0) + 1)
            alive.append(min(places, default=height * width))
    needed = needed_pixels(window, source.shape)
    assert (needed >= last).all()
    assert (np.diff(needed) >= 0).all()
    memory = window_memory(conv(source, window, 1), source, Fold(1, 64, 1), 10**6)
    assert memory is None or memory.pixels >= (needed - np.minimum.accumulate(alive[::-1])[::-1]).max()
