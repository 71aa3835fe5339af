"""Builds a lane for either stage and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

PACKAGES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv"]


@pytest.mark.parametrize(("stage", "pixels", "classes"), [(0, 12, 10), (1, 8, 10), (3, 8, 10)])
def test_stage_lane(stage: int, pixels: int, classes: int) -> None:
    run_bench(
        "stage_lane",
        {
            "Stage": stage,
            "Pixels": pixels,
            "Channels": 1,
            "Classes": classes,
            "LogitWidth": 6,
            "Slots": 4,
            "Depth": 4,
        },
        sources=[*PACKAGES, RTL / "stage_lane.sv"],
    )
