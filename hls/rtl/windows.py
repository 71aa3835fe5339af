"""How a convolution's windows come to its multipliers: whole, from registers, or a few values a cycle from a memory.

sliding_window.sv keeps each window in registers, from which mvu.sv picks; window_memory.sv keeps pixels alone. The
memory is chosen where it can give what a cycle multiplies, is no slower and is smaller, in look-up tables as they are
counted below. Words owned here: needed and gone pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import Matrix, Stream, Window
from edgesight.hls.folding import Fold
from edgesight.hls.network import Integers, Shape

# In six-input look-up tables, as Yosys maps to a 7-series part: what a memory's counters and addresses take; what a bit
# of a window takes to be picked from its register; a bit of a pixel whose words take turns. Registers need no count:
# the memory has fewer of them whenever it has fewer look-up tables.
_WALK, _PICK, _TURN = 140, 0.5, 0.34
# Where a pixel has so many bits, to pick parts from it takes more than a replay_buffer.sv.
_PICKED_BITS = 64
# A bit of up to 32 words in distributed memory, of each 64 words, and to be picked where these are many. A XC7Z020 has
# 380 look-up tables for each block memory, of which half is the smallest there is.
_HALF_CELL, _CELL, _CELL_PICK, _HALF_BLOCK = 2 / 3, 4 / 3, 0.35, 190
_HALF_BLOCKS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # words and bits
# Up to so many words, or so many bits of them, window_memory.sv wants distributed memory.
_FEW_WORDS, _FEW_BITS = 128, 4096


@dataclass(frozen=True)
class WindowMemory:
    """A window_memory.sv: how it is folded, `words` a pixel, and for how many `pixels` it has room."""

    side_blocks: int
    turns: int
    words: int
    pixels: int


def walked_cycles(window: Window, source: Shape, fold_cycles: int) -> int:
    """Cycles for a frame before a unit that takes so many for a window, where windows come from registers.

    A position of the padded map is walked each cycle, but while a window is kept only those up to the next one's last.
    """
    return int(np.maximum(_steps(window, source), fold_cycles).sum())


def turn_cycles(window: Window, source: Shape, fold_cycles: int) -> int:
    """Cycles from one frame's last window to the next one's first in which registers have none for their unit."""
    return max(0, int(_steps(window, source)[0]) - fold_cycles)


def _steps(window: Window, source: Shape) -> Integers:
    """Positions that sliding_window.sv walks from each window to the next, the first one from the frame before."""
    rows, columns = (
        np.arange(count) * stride + reach - 1
        for count, stride, reach in zip(window.positions(source), window.stride, window.reach, strict=True)
    )
    height, width = grid(window, source)
    windows = (rows[:, None] * width + columns).ravel()
    return np.asarray(np.diff(windows, prepend=windows[-1] - height * width))


def grid(window: Window, source: Shape) -> tuple[int, int]:
    """Rows and columns of the padded map that sliding_window.sv walks: to the last window or pixel."""
    rows, columns = (
        max((count - 1) * stride + reach, before + size)
        for count, stride, reach, before, size in zip(
            window.positions(source),
            window.stride,
            window.reach,
            window.pads[:2],
            (source.height, source.width),
            strict=True,
        )
    )
    return rows, columns


def window_memory(
    operator: Matrix, source: Stream, fold: Fold, cycles: int, limit: int | None = None
) -> WindowMemory | None:
    """The memory from which the unit of `operator`, folded so, reads its windows; None where registers are better.

    `cycles`: those of the unit for a frame, with registers. `limit`: those that it may take, pixels that wait for it
    included; where registers take more, they are not better, whatever their size.
    """
    channels = source.shape.channels
    outputs = len(operator.weights) // operator.groups
    if channels // operator.groups % fold.simd:
        return None
    side = max(1, fold.pe // outputs)
    words = channels // (side * fold.simd)
    if source.shape.pixels * words > cycles:
        return None
    memory = WindowMemory(side, max(1, outputs // fold.pe), words, _pixels(operator.window, source.shape))
    if limit is not None and walked_cycles(operator.window, source.shape, fold.cycles) > limit:
        return memory
    taps = operator.window.kernel[0] * operator.window.kernel[1]
    picked = taps * source.shape.channels * source.bits if taps * words > 1 else 0
    return memory if _memory(memory, source) < _PICK * picked + _lines(operator.window, source) else None


def replays(operator: Matrix, source: Stream, fold: Fold) -> bool:
    """Whether a unit on single pixels is to read their parts again and again from a memory, where they come in parts.

    Else it gathers pixels, keeps them in a FIFO and picks its parts there.
    """
    outputs, channels = len(operator.weights) // operator.groups, source.shape.channels
    side = max(1, fold.pe // outputs)
    in_order = _in_order(side, fold.simd, operator.groups, channels)
    return channels > side * fold.simd and in_order and channels * source.bits >= _PICKED_BITS


def _in_order(side_blocks: int, simd: int, groups: int, channels: int) -> bool:
    """Whether words are neighbours in a pixel: where one has a group's values alone, or all of each of several."""
    return side_blocks == 1 or simd * groups == channels


def in_words(memory: WindowMemory, simd: int, groups: int, channels: int, beat: int) -> bool:
    """Whether a memory takes pixels that come in beats of so many channels word by word."""
    word = memory.side_blocks * simd
    whole = word % beat == 0 or beat % word == 0
    return beat < channels and whole and _in_order(memory.side_blocks, simd, groups, channels)


def window_parameters(window: Window, source: Stream) -> dict[str, object]:
    """What sliding_window.sv, window_memory.sv and max_pool.sv are told of their windows."""
    pads = zip(("Top", "Left", "Bottom", "Right"), window.pads, strict=True)
    return {
        "Channels": source.shape.channels,
        "Width": source.bits,
        "ImgH": source.shape.height,
        "ImgW": source.shape.width,
        **{f"Pad{side}": pad for side, pad in pads},
        "KernelH": window.kernel[0],
        "KernelW": window.kernel[1],
        "StrideH": window.stride[0],
        "StrideW": window.stride[1],
        "DilationH": window.dilation[0],
        "DilationW": window.dilation[1],
    }


def needed_pixels(window: Window, source: Shape) -> Integers:
    """By window [rows * columns], how many pixels of the map must be there: up to its last tap, and one at least."""
    rows, columns = (
        np.arange(count) * stride + reach - 1 - pad
        for count, stride, reach, pad in zip(
            window.positions(source), window.stride, window.reach, window.pads[:2], strict=True
        )
    )
    return _counted(rows, np.clip(columns + 1, 1, source.width), source, 1)


def _gone_pixels(window: Window, source: Shape) -> Integers:
    """By window [rows * columns], how many pixels of the map neither it nor a later one has a tap at or before."""
    rows, columns = (
        np.arange(count) * stride - pad
        for count, stride, pad in zip(window.positions(source), window.stride, window.pads[:2], strict=True)
    )
    return _counted(rows, np.clip(columns, 0, source.width), source, 0)


def _counted(rows: Integers, columns: Integers, source: Shape, above: int) -> Integers:
    """Pixels up to each row and column; `above`: those of rows above the map."""
    counts = rows[:, None] * source.width + columns
    counts = np.where(rows[:, None] >= source.height, source.pixels, counts)
    return np.asarray(np.where(rows[:, None] < 0, above, counts).ravel())


def gathering_pixels(window: Window, source: Shape) -> int:
    """Pixels that wait before registers, at most, where map and windows come and go steadily, frame behind frame.

    Before a window without padding that is the rows of the next frame that gather while the last windows are computed.
    """
    needed = needed_pixels(window, source)
    return _waiting(needed, needed, source)


def _pixels(window: Window, source: Shape) -> int:
    """Pixels in a memory, at most, where map and windows come and go steadily, and a row more.

    The row decouples from units that give a row in a burst, as poolings do.
    """
    waiting = _waiting(needed_pixels(window, source), _gone_pixels(window, source), source)
    return waiting + (source.width if source.height > 1 else 1)


def _waiting(needed: Integers, left: Integers, source: Shape) -> int:
    """Pixels that came and have not left, at most, where by each window `needed` have come and `left` have left."""
    # Pixels that came since the first one that was needed, by the time that a window begins and by that it ends.
    came = np.arange(len(needed) + 1) * source.pixels / len(needed)
    ahead = (needed - came[:-1]).max()
    return int(np.ceil((came[1:] + ahead - left).max()))


def _memory(memory: WindowMemory, source: Stream) -> float:
    """Look-up tables of window_memory.sv, about, with what stands for its block memories."""
    pixel = source.shape.channels * source.bits
    return (
        _WALK
        + (_TURN * pixel if memory.words > 1 else 0)
        + _stored(memory.pixels * memory.words, pixel // memory.words)
    )


def _lines(window: Window, source: Stream) -> float:
    """Look-up tables of sliding_window.sv, about: those of its lines."""
    columns = window.pads[1] + source.shape.width + window.pads[3]
    return _stored(columns, (window.reach[0] - 1) * source.shape.channels * source.bits)


def _stored(words: int, bits: int) -> float:
    """Look-up tables that `words` of `bits` take, or that stand for their block memories."""
    if words > _FEW_WORDS and words * bits > _FEW_BITS:
        return _HALF_BLOCK * min(-(-words // deep) * -(-bits // wide) for deep, wide in _HALF_BLOCKS)
    if words <= 32:
        return bits * _HALF_CELL
    cells = -(-words // 64)
    return bits * (_CELL * cells + _CELL_PICK * (cells - 1))
