"""Builds the event counters and runs their coroutines."""

from __future__ import annotations

from edgesight.sim.rtl.runner import RTL, run_bench


def test_event_counters() -> None:
    run_bench("event_counters", sources=[RTL / "registers_pkg.sv", RTL / "cascade_pkg.sv", RTL / "event_counters.sv"])
