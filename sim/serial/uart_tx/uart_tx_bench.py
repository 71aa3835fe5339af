"""The sender, listened to by a far end with its own clock."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.uart import Receiver

P: dict[str, Any] = bench_parameters()
PERIOD_PS = 10**12 // P["ClockHz"] // 2 * 2
BIT_PS = round(PERIOD_PS * P["ClockHz"] / P["Baud"])


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.9])
async def every_byte_leaves(dut: Any, pause: float) -> None:
    """All byte values; without pauses, bits add up to the baud rate to within a cycle."""
    rng = random.Random(cocotb.RANDOM_SEED)
    dut.rst_ni.value = 0
    dut.s_valid_i.value = 0
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_PS, "ps").start())
    for _ in range(3):
        await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    assert int(dut.tx_o.value) == 1
    receiver = Receiver(dut.tx_o, BIT_PS)
    receiver.start()
    data = bytes(rng.sample(range(256), 256))
    taken: list[int] = []
    for byte in data:
        while rng.random() < pause:
            await FallingEdge(dut.clk_i)
        dut.s_valid_i.value = 1
        dut.s_data_i.value = byte
        await RisingEdge(dut.clk_i)
        while not int(dut.s_ready_o.value):
            await RisingEdge(dut.clk_i)
        taken.append(get_sim_time("ps"))
        await FallingEdge(dut.clk_i)
        dut.s_valid_i.value = 0
    came = b""
    while len(came) < len(data):
        more = await receiver.arrived(20 * BIT_PS)
        assert more, f"{len(came)} of {len(data)} bytes came"
        came += more
    assert came == data
    if not pause:
        assert abs(taken[-1] - taken[0] - (len(data) - 1) * 10 * BIT_PS) <= PERIOD_PS
