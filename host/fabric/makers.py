"""Fabrics by name."""

from __future__ import annotations

from edgesight.host.fabric.base import Fabric, FabricError, TransparentFabric
from edgesight.host.package import Package

MAKERS = ("pynq", "serial:PORT", "verilated", "csim")  # PORT: a serial port's name


def open_fabric(package: Package, maker: str) -> Fabric:
    """Open `package` on the fabric `maker`, one of `MAKERS`; raises FabricError."""
    # Imported when asked for, so that a board needs none of the simulators' parts.
    if maker in ("verilated", "csim"):
        return open_transparent(package, maker)
    if maker == "pynq":
        from edgesight.host.fabric.pynq import PynqFabric
        from edgesight.host.fabric.pynq_board import NoBoardError

        try:
            return PynqFabric(package)
        except NoBoardError as error:
            raise FabricError(f"{error}; elsewhere, choose the fabric csim or verilated") from error
    if maker.startswith("serial:"):
        from edgesight.host.fabric.serial import SerialFabric

        return SerialFabric(package, maker.removeprefix("serial:"))
    raise FabricError(f"no fabric is called {maker!r}: choose one of {', '.join(MAKERS)}")


def open_transparent(package: Package, maker: str) -> TransparentFabric:
    """Open `package` on the fabric `maker`, verilated or csim; raises FabricError."""
    if maker == "verilated":
        from edgesight.host.fabric.verilated import VerilatedFabric

        return VerilatedFabric(package)
    if maker == "csim":
        from edgesight.host.fabric.csim import CsimFabric

        return CsimFabric(package)
    raise FabricError(f"fabric {maker!r} cannot be looked into: choose verilated or csim")
