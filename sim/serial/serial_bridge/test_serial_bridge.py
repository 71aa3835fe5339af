"""The serial bridge carries whole packets and nothing else."""

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


@pytest.mark.parametrize("record_beats", [2, 5])
def test_serial_bridge(record_beats: int) -> None:
    # A bit of nine cycles and a bit: broken, as at 100 MHz and 3 Mbaud, and quick to simulate.
    run_bench(
        "serial_bridge",
        {"ClockHz": 100_000_000, "Baud": 11_000_000, "BufferBytes": 128, "RecordBeats": record_beats},
        sources=[*sorted(SERIAL.glob("*_pkg.sv")), SERIAL / "serial_bridge.sv"],
        build_args=["-y", str(SERIAL)],
    )
