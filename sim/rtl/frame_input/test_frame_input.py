"""Builds the frame input for two payload sizes and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

PACKAGES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv"]


@pytest.mark.parametrize("payload_bytes", [20, 33, 64])
def test_frame_input(payload_bytes: int) -> None:
    run_bench(
        "frame_input",
        {"PayloadBytes": payload_bytes, "Slots": 4},
        sources=[*PACKAGES, RTL / "frame_input.sv"],
    )
