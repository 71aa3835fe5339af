"""A coroutine that misuses slot_pool and checks nothing itself; `test_assertions` runs it."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


@cocotb.test()
async def gives_back_what_it_has_not_taken(dut: Any) -> None:
    """A slot that is free comes back."""
    for port in ("take_i", "take_slot_i", "give_i", "give_slot_i", "rst_ni"):
        getattr(dut, port).value = 0
    Clock(dut.clk_i, 10, "ns").start()
    await ClockCycles(dut.clk_i, 3)
    dut.rst_ni.value = 1
    await ClockCycles(dut.clk_i, 3)
    dut.give_slot_i.value = 2
    dut.give_i.value = 1
    await ClockCycles(dut.clk_i, 3)
