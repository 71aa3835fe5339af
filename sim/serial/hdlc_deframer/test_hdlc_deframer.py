"""The deframer finds the whole packets, and only those."""

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


def test_hdlc_deframer() -> None:
    run_bench("hdlc_deframer", {}, sources=[*sorted(SERIAL.glob("*_pkg.sv")), SERIAL / "hdlc_deframer.sv"])
