"""Builds the frame buffer with a count of words that is no power of two and runs its coroutines."""

from __future__ import annotations

from edgesight.sim.rtl.runner import run_bench


def test_frame_buffer() -> None:
    run_bench("frame_buffer", {"Words": 24})
