"""The far end of an asynchronous serial line, for cocotb benches: 8 data bits, no parity, one stop bit.

Words owned here: transmitter, receiver (of the line's far end).
"""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import Event, FallingEdge, Timer, with_timeout

from edgesight.host.fabric.serial import Deframer

_PATIENCE_BYTES = 5000  # how long a packet is waited for


class Transmitter:
    """Drives the device's receive pin."""

    def __init__(self, pin: Any, bit_ps: int) -> None:
        """`bit_ps`: picoseconds of a bit; need not be a multiple of the clock's period."""
        self._pin = pin
        self._bit = bit_ps
        pin.value = 1

    async def send(self, data: bytes) -> None:
        """Send bytes back to back; returns when the last stop bit ends."""
        for byte in data:
            # Start bit, data from the lowest bit up, stop bit; the level is only written where it changes.
            level, rest = 1, 0
            for position in range(10):
                bit = (byte << 1 | 0x200) >> position & 1
                if bit != level:
                    if rest:
                        await Timer(rest, "ps")
                    self._pin.value = level = bit
                    rest = 0
                rest += self._bit
            await Timer(rest, "ps")

    async def hold_low(self, bits: int) -> None:
        """A break: hold the line low for so many bits, then let it idle for one."""
        self._pin.value = 0
        await Timer(bits * self._bit, "ps")
        self._pin.value = 1
        await Timer(self._bit, "ps")


class Receiver:
    """Listens to the device's transmit pin."""

    def __init__(self, pin: Any, bit_ps: int, tamper: Callable[[bytes], bytes] = lambda data: data) -> None:
        """`tamper`: what becomes of each byte on its way, for noise."""
        self._pin = pin
        self._bit = bit_ps
        self._tamper = tamper
        self._bytes = bytearray()
        self._came = Event()
        self._deframer = Deframer()
        self._packets: deque[bytes] = deque()

    @property
    def damaged(self) -> int:
        """Packets that came damaged."""
        return self._deframer.damaged

    def start(self) -> None:
        """Listen from now on."""
        cocotb.start_soon(self._listen())

    async def arrived(self, timeout_ps: int) -> bytes:
        """Bytes that came since the last call; waits for the first, none if none comes in time."""
        if not self._bytes:
            self._came.clear()
            try:
                await with_timeout(self._came.wait(), max(timeout_ps, 1), "ps")
            except cocotb.triggers.SimTimeoutError:
                return b""
        data = bytes(self._bytes)
        self._bytes.clear()
        return data

    async def packet(self) -> bytes:
        """The next undamaged packet; fails if it does not come."""
        while not self._packets:
            data = await self.arrived(_PATIENCE_BYTES * 10 * self._bit)
            assert data, "the device fell silent"
            self._packets.extend(self._deframer.feed(data))
        return self._packets.popleft()

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self._pin)
            await Timer(self._bit * 3 // 2, "ps")
            byte = 0
            for position in range(8):
                byte |= int(self._pin.value) << position
                await Timer(self._bit, "ps")
            assert int(self._pin.value) == 1, "a byte without stop bit"
            self._bytes += self._tamper(bytes([byte]))
            self._came.set()
