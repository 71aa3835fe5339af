"""The serial bridge carries whole packets and nothing else, at whole and broken clock ratios."""

import pytest

from sim.bench import RTL, run_bench

SERIAL = RTL.parent / "serial"


@pytest.mark.parametrize("baud", [12_500_000, 3_000_000])
def test_serial_bridge(baud: int) -> None:
    run_bench(
        "serial_bridge",
        {"ClockHz": 100_000_000, "Baud": baud, "BufferBytes": 256},
        sources=[SERIAL / "serial_pkg.sv", SERIAL / "serial_bridge.sv"],
        build_args=["-y", str(SERIAL)],
    )
