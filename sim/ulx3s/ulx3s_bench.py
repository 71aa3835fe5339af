"""The host's serial fabric in a thread of its own, at the pins of the simulated board."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotb.utils import get_sim_time

from edgesight.host.board_build import Serial
from edgesight.host.fabric.base import Records
from edgesight.host.fabric.serial import SerialFabric
from edgesight.host.fabric.serial_protocol import FLAG
from edgesight.host.package import Package
from edgesight.sim.rtl.uart import Receiver, Transmitter

PERIOD_PS = 10_000  # of the kernel's clock, which the stand-in for the PLL takes from the pin
BAUD = 3_000_000


class Pins:
    """`BytePort` at the board's serial pins, in simulated time. Its methods are called from another thread."""

    name = "simulated ULX3S"
    latency = 0.0

    def __init__(self, dut: Any, noise: float) -> None:
        """`noise`: see `edgesight.sim.ulx3s.answers_at_pins`."""
        self._random = random.Random(cocotb.RANDOM_SEED)
        self._noise = noise
        self.spoilt = 0  # packets that noise hit
        self._outgoing: Queue[bytes] = Queue()
        bit = 10**12 // BAUD
        self._transmitter = Transmitter(dut.ftdi_txd, bit)
        # A packet from the board has 20 to 50 bytes.
        self._receiver = Receiver(dut.ftdi_rxd, bit, lambda data: self._spoil_byte(data, noise / 30))
        self._receiver.start()
        cocotb.start_soon(self._send())
        self.write: Callable[[bytes], None] = resume(self._write)
        self.read: Callable[[float], bytes] = resume(self._read)
        self.now: Callable[[], float] = resume(self._now)

    def close(self) -> None:
        """Nothing is held that would need releasing."""

    async def _write(self, data: bytes) -> None:
        self._outgoing.put_nowait(self._spoil(data))

    async def _read(self, timeout: float) -> bytes:
        return await self._receiver.arrived(round(timeout * 1e12))

    async def _now(self) -> float:
        return float(get_sim_time("ps")) * 1e-12

    async def _send(self) -> None:
        while True:
            await self._transmitter.send(await self._outgoing.get())

    def _spoil(self, data: bytes) -> bytes:
        if self._random.random() >= self._noise:
            return data
        self.spoilt += 1
        fate = self._random.choice(["lost", "damaged", "garbage", "flag lost"])
        if fate == "lost":
            return b""
        if fate == "garbage":
            return self._random.randbytes(self._random.randrange(1, 40)) + data
        if fate == "flag lost":
            return data.strip(bytes([FLAG]))
        position = self._random.randrange(len(data))
        return data[:position] + bytes([data[position] ^ 1 << self._random.randrange(8)]) + data[position + 1 :]

    def _spoil_byte(self, data: bytes, probability: float) -> bytes:
        if self._random.random() >= probability:
            return data
        self.spoilt += 1
        return self._random.choice([b"", bytes([data[0] ^ 1 << self._random.randrange(8)]), data + b"\x55"])


@cocotb.test()
async def answers_what_it_was_asked(dut: Any) -> None:
    """Run the images, and leave the records where they were asked for."""
    package = Package.load(Path(os.environ["EDGESIGHT_PACKAGE"]))
    noise = float(os.environ["EDGESIGHT_NOISE"])
    with np.load(os.environ["EDGESIGHT_ASKED"]) as asked:
        images, rows, sets = asked["images"], asked["rows"], asked["sets"]
    dut.fire1.value = 0
    dut.ftdi_txd.value = 1
    cocotb.start_soon(Clock(dut.clk_25mhz, PERIOD_PS, "ps").start())
    await ClockCycles(dut.clk_25mhz, 10)
    pins = Pins(dut, noise)

    def host() -> tuple[Records, Any]:
        fabric = SerialFabric(package, pins, Serial(baud=BAUD, frames_in_flight=package.kernel.frame_slots))
        for index, row in enumerate(rows):
            fabric.set_thresholds(index, [int(threshold) for threshold in row])
        records = fabric.run(images, sets)
        counters = fabric.line_counters()
        fabric.close()
        return records, counters

    records, counters = await bridge(host)()
    dut._log.info("%d packets spoilt; %s; %.3f ms of the board's time", pins.spoilt, counters, get_sim_time("ms"))
    if noise:
        assert pins.spoilt
        assert counters.repeated
    else:
        assert counters.repeated == counters.damaged == counters.host_damaged == 0
    assert counters.overruns == counters.malformed == 0
    assert int(dut.led.value) >> 7 == (counters.damaged > 0), "the lamp for faults"
    np.save(os.environ["EDGESIGHT_ANSWERED"], records)
