"""Builds the pixel feeder for several frame shapes and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [
        (2, 1),  # less than a word
        (20, 1),  # half a word is left over
        (16, 1),  # whole words
        (3, 3),  # the last pixel lies across words, and every frame is two words
        (40, 3),  # pixels lie across words, whole words
        (5, 8),  # a word a pixel: the memory is read in every cycle
    ],
)
def test_pixel_feeder(pixels: int, channels: int) -> None:
    run_bench("pixel_feeder", {"Pixels": pixels, "Channels": channels, "Slots": 4})
