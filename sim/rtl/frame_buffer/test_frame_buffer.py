"""Builds the frame buffer with a count of words that is no power of two and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize("readers", [1, 2, 4])
def test_frame_buffer(readers: int) -> None:
    run_bench("frame_buffer", {"Words": 24, "Readers": readers})
