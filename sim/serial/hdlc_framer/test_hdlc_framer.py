"""The framer frames as the host does."""

from edgesight.sim.rtl.runner import RTL, run_bench

SERIAL = RTL.parent / "serial"


def test_hdlc_framer() -> None:
    run_bench("hdlc_framer", {}, sources=[*sorted(SERIAL.glob("*_pkg.sv")), SERIAL / "hdlc_framer.sv"])
