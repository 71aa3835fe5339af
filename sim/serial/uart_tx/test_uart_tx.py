"""The sender keeps the baud rate at whole and broken ratios."""

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


@pytest.mark.parametrize(("clock", "baud"), [(100_000_000, 3_000_000), (80_000_000, 40_000_000)])
def test_uart_tx(clock: int, baud: int) -> None:
    run_bench("uart_tx", {"ClockHz": clock, "Baud": baud}, sources=[SERIAL / "serial_pkg.sv", SERIAL / "uart_tx.sv"])
