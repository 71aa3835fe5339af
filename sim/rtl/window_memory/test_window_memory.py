"""window_memory equals the reference over windows, folds and depths, with the interval and latency that it states."""

from typing import Any

import pytest

from edgesight.sim.rtl.runner import run_bench

BASE: dict[str, Any] = {
    "Channels": 4,
    "Width": 3,
    "ImgH": 5,
    "ImgW": 6,
    "KernelH": 3,
    "KernelW": 3,
    "Simd": 2,
    "Turns": 2,
    "Pixels": 20,
}
SAME = {"PadTop": 1, "PadLeft": 1, "PadBottom": 1, "PadRight": 1}

CASES: dict[str, dict[str, Any]] = {
    "as little room as works": {"Pixels": 15},
    "two frames of room": {"Pixels": 64},
    "a pixel a word": {"Simd": 4, "Turns": 1, "Pixels": 64},
    "padded": {**SAME, "Pixels": 17},
    "padded, two frames of room": {**SAME, "Pixels": 60, "Turns": 1},
    "lopsided padding and strides": {"PadTop": 2, "PadRight": 1, "StrideH": 2, "StrideW": 3, "ImgH": 7, "Pixels": 32},
    "pixels that no window reaches": {"StrideH": 4, "StrideW": 4, "ImgH": 8, "Pixels": 16},
    "pointwise with strides": {"KernelH": 1, "KernelW": 1, "StrideH": 2, "StrideW": 2, "Pixels": 1},
    "one value, one window": {"Channels": 1, "Simd": 1, "Turns": 1, "KernelH": 1, "KernelW": 1}
    | {"ImgH": 1, "ImgW": 1, "Pixels": 2},
    "a beat a window": {"KernelH": 1, "KernelW": 1, "Simd": 4, "Turns": 1, "Pixels": 3},
    "dilated": {"DilationH": 2, "DilationW": 3, "ImgH": 7, "ImgW": 9, "PadLeft": 2, "PadBottom": 3, "Pixels": 50},
    "signal": {"ImgH": 1, "ImgW": 15, "KernelH": 1, "KernelW": 5, "StrideW": 2, "PadLeft": 4, "Pixels": 5},
    "column": {"KernelH": 4, "KernelW": 1, "ImgW": 1, "ImgH": 9, "StrideH": 3, "Pixels": 4},
    "windows of padding alone": {"KernelH": 1, "KernelW": 1, "PadTop": 2, "PadLeft": 2, "PadBottom": 2, "PadRight": 2}
    | {"Pixels": 14},
    "a row of padding before and after": {"KernelH": 2, "KernelW": 2, "PadTop": 3, "PadBottom": 3, "PadRight": 3}
    | {"Pixels": 20},
    "depthwise, a channel at a time": {"Blocks": 4, "Simd": 1, "Turns": 1},
    "depthwise, channels side by side": {"Blocks": 4, "SideBlocks": 2, "Simd": 1, "Turns": 1, **SAME},
    "groups, folded both ways": {"Channels": 12, "Blocks": 3, "Simd": 2, "Turns": 3},
    "groups side by side": {"Channels": 12, "Blocks": 6, "SideBlocks": 3, "Simd": 1, "Turns": 2, "Pixels": 30},
    "word by word": {"Worded": 1, **SAME},
    "a pixel is a word": {"Worded": 1, "Simd": 4, "Turns": 3},
    "groups, word by word": {"Channels": 24, "Blocks": 6, "SideBlocks": 3, "Turns": 2, "Pixels": 30, "Worded": 1},
    "wide words in block memory": {"Channels": 64, "Width": 8, "Simd": 32, "ImgW": 9, "Turns": 1, "Pixels": 72},
}


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    run_bench("window_memory", BASE | CASES[case])
