"""Builds the registers and runs their coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench, wide_literal

PACKAGES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv"]


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_axil_registers(stages: int) -> None:
    run_bench(
        "axil_registers",
        {
            "Stages": stages,
            "RecordBeats": 7,
            "Pixels": 77,
            "Channels": 3,
            "Classes": 12,
            "FrameSlots": 16,
            "BuildHash": wide_literal(0x89ABCDEF, 32),
            "WeightsHash": wide_literal(0x76543210, 32),
        },
        sources=[*PACKAGES, RTL / "axil_registers.sv"],
    )
