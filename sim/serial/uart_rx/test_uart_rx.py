"""The receiver takes every byte at whole and broken ratios of clock and baud rate."""

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


@pytest.mark.parametrize(("clock", "baud"), [(100_000_000, 3_000_000), (80_000_000, 10_000_000)])
def test_uart_rx(clock: int, baud: int) -> None:
    run_bench("uart_rx", {"ClockHz": clock, "Baud": baud}, sources=[SERIAL / "serial_pkg.sv", SERIAL / "uart_rx.sv"])
