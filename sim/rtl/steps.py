"""Drives a module cycle by cycle in the cocotb benches: all inputs in, all outputs seen, one clock edge.

For modules whose ports are no streams; for those see `edgesight.sim.rtl.stream`. Words owned here: *step* is one
clock cycle.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


class Steps:
    """One device under test. Inputs change at falling edges; outputs are read as the rising edge finds them."""

    def __init__(self, dut: Any, outputs: Sequence[str]) -> None:
        """`outputs`: the ports that every step returns."""
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.cycle = 0
        self._outputs = {name: getattr(dut, name) for name in outputs}
        dut._log.info("seed %s", cocotb.RANDOM_SEED)

    async def start(self, **inputs: int) -> None:
        """Start the clock with these inputs, which must be all, and reset the module if it has a reset."""
        for name, value in inputs.items():
            getattr(self.dut, name).value = value
        cocotb.start_soon(Clock(self.dut.clk_i, 2, "ns").start())
        await FallingEdge(self.dut.clk_i)
        if hasattr(self.dut, "rst_ni"):
            self.dut.rst_ni.value = 0
            await FallingEdge(self.dut.clk_i)
            await FallingEdge(self.dut.clk_i)
            self.dut.rst_ni.value = 1

    async def step(self, **inputs: int) -> dict[str, int]:
        """Drive inputs, which stay until they are driven anew, and return the outputs as the clock edge finds them."""
        for name, value in inputs.items():
            getattr(self.dut, name).value = value
        await RisingEdge(self.dut.clk_i)
        outputs = {name: int(port.value) for name, port in self._outputs.items()}
        self.cycle += 1
        await FallingEdge(self.dut.clk_i)
        return outputs

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability
