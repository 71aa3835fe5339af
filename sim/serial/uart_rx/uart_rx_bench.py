"""The receiver against bytes whose bits are as long as the baud rate says, or somewhat longer or shorter."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.uart import Transmitter

P: dict[str, Any] = bench_parameters()
PERIOD_PS = 10**12 // P["ClockHz"] // 2 * 2
BIT_PS = round(PERIOD_PS * P["ClockHz"] / P["Baud"])


async def _started(dut: Any) -> tuple[random.Random, list[int]]:
    """A receiver fresh from reset, and what comes out of it: bytes, and -1 for an error."""
    dut.rst_ni.value = 0
    dut.rx_i.value = 1
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_PS, "ps").start())
    for _ in range(3):
        await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    came: list[int] = []

    async def listen() -> None:
        while True:
            await RisingEdge(dut.clk_i)
            if int(dut.valid_o.value):
                came.append(int(dut.data_o.value))
            if int(dut.error_o.value):
                came.append(-1)

    cocotb.start_soon(listen())
    return random.Random(cocotb.RANDOM_SEED), came


@cocotb.test()
@cocotb.parametrize(off_per_mille=[0, -20, 20])
async def every_byte_comes(dut: Any, off_per_mille: int) -> None:
    """All byte values back to back, from a sender whose baud rate is up to 2 % off."""
    rng, came = await _started(dut)
    data = bytes(rng.sample(range(256), 256))
    await Transmitter(dut.rx_i, BIT_PS * (1000 + off_per_mille) // 1000).send(data)
    await Timer(2 * BIT_PS, "ps")
    assert bytes(came) == data


@cocotb.test()
async def a_missing_stop_bit_is_told(dut: Any) -> None:
    """A break gives one error however long it lasts, and the next byte is right."""
    _, came = await _started(dut)
    transmitter = Transmitter(dut.rx_i, BIT_PS)
    for length in (10, 11, 40):
        came.clear()
        await transmitter.hold_low(length)
        await transmitter.send(b"\xa5")
        await Timer(2 * BIT_PS, "ps")
        assert came == [-1, 0xA5]


@cocotb.test()
async def a_spike_is_no_byte(dut: Any) -> None:
    """A low level that is gone by the middle of the start bit gives nothing."""
    _, came = await _started(dut)
    dut.rx_i.value = 0
    await Timer(BIT_PS // 3, "ps")
    dut.rx_i.value = 1
    await Timer(12 * BIT_PS, "ps")
    assert came == []
    await Transmitter(dut.rx_i, BIT_PS).send(b"\x3c")
    await Timer(2 * BIT_PS, "ps")
    assert came == [0x3C]
