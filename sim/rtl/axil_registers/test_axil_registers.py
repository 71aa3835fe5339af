"""Builds the registers and runs their coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench, wide_literal

PACKAGES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv", RTL / "weights_pkg.sv"]


@pytest.mark.parametrize(("stages", "words"), [(1, 0), (2, 0), (4, 0), (2, 99)])
def test_axil_registers(stages: int, words: int) -> None:
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
            "WeightsWords": words,
        },
        sources=[*PACKAGES, RTL / "axil_registers.sv"],
    )
