"""The packet buffer holds packets back until they are whole."""

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


def test_packet_fifo() -> None:
    run_bench("packet_fifo", {"Depth": 32}, sources=[SERIAL / "serial_pkg.sv", SERIAL / "packet_fifo.sv"])
