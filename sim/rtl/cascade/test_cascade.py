"""Builds the cascade with stand-in stages for several frame shapes and runs its coroutines."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

HERE = Path(__file__).parent
SOURCES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv", HERE / "stub_stage.sv", HERE / "kernel.sv"]


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [
        (20, 1),  # half a word is left over
        (20, 3),  # pixels lie across words, half a word is left over
        (11, 3),  # the last pixel lies across words
        (16, 1),  # whole words
    ],
)
def test_cascade(pixels: int, channels: int) -> None:
    run_bench(
        "kernel",
        {"Pixels": pixels, "Channels": channels, "Delay0": 3, "Delay1": 60},
        sources=SOURCES,
        bench="edgesight.sim.rtl.cascade.cascade_bench",
    )
