"""Builds the record output and runs its coroutines."""

from __future__ import annotations

from edgesight.sim.rtl.runner import RTL, run_bench

PACKAGES = [RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv"]


def test_record_output() -> None:
    run_bench("record_output", {"Depth": 4}, sources=[*PACKAGES, RTL / "record_output.sv"])
