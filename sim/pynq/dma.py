"""A stand-in for the AXI DMA in simple mode, by its registers (AMD PG021), on the simulated kernel's streams.

cocotbpynq's own DMA moves 32-bit words without TKEEP and knows no registers, errors or reset; this one has what a
driver on a board meets: both status registers, transfers of any length over 64-bit streams, errors, soft reset, the
interrupt line, and memory that only holds what the processor flushed to it.
It is stricter than the real one where a driver would be at fault: a transfer started while one runs, an address that is
not aligned to the bus and a length that is too long for the length register end the simulation.
Words owned here: memory (as the DMA sees it), fault (made on purpose).
"""

from __future__ import annotations

from typing import Any, Literal

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.task import Task, resume
from cocotb.triggers import ClockCycles, Event, ReadOnly, RisingEdge

ACCESS_CYCLES = 10  # a register access from a processor takes about so long
_RESET_CYCLES = 8
_BEAT = 8
_LENGTH_BITS = 26
_RUN, _RESET = 1 << 0, 1 << 2
_HALTED, _IDLE = 1 << 0, 1 << 1
_DONE_IRQ, _ERROR_IRQ = 1 << 12, 1 << 14
_IRQS = 0x7000
_STATUS_AFTER_RESET = 1 << 16 | _HALTED
ERROR_BITS = {"DMAIntErr": 1 << 4, "DMASlvErr": 1 << 5, "DMADecErr": 1 << 6}

Fault = Literal["DMAIntErr", "DMASlvErr", "DMADecErr", "stall"]


class Memory:
    """Contiguous buffers, each twice: as the processor sees it, and as the DMA does. Flush and invalidate join them."""

    def __init__(self) -> None:
        """No buffer is there."""
        self._next = 0x1000_0000
        self._regions: dict[int, bytearray] = {}

    def allocate(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = "u4", **_: object) -> Buffer:
        """A buffer as `pynq.allocate` gives it; what it holds at first is arbitrary, and differs on both sides."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        region = bytearray(b"\xcd" * nbytes)
        address = self._next
        self._next += -(-nbytes // 4096) * 4096 + 4096  # a page without memory lies between two buffers
        self._regions[address] = region
        buffer = Buffer(shape, dtype)
        buffer.view(np.ndarray).reshape(-1).view(np.uint8)[:] = 0xAB
        buffer.region, buffer.base_address, buffer.origin = region, address, buffer.__array_interface__["data"][0]
        return buffer

    def find(self, address: int, nbytes: int) -> memoryview | None:
        """The DMA's view of `nbytes` at `address`, or None where no buffer covers them."""
        for start, region in self._regions.items():
            if start <= address and address + nbytes <= start + len(region):
                return memoryview(region)[address - start : address - start + nbytes]
        return None


class Buffer(npt.NDArray[Any]):
    """What `pynq.allocate` returns: an array with a physical address, whose views know theirs, too."""

    region: bytearray | None
    base_address: int
    origin: int

    def __array_finalize__(self, parent: Any) -> None:
        """Let a view know its buffer."""
        self.region = getattr(parent, "region", None)
        self.base_address = getattr(parent, "base_address", 0)
        self.origin = getattr(parent, "origin", 0)

    @property
    def physical_address(self) -> int:
        """Where the DMA finds the first element."""
        return self.base_address + self._offset

    def flush(self) -> None:
        """Let the DMA see what the processor wrote."""
        assert self.region is not None
        self.region[self._offset : self._offset + self.nbytes] = self.tobytes()

    def invalidate(self) -> None:
        """Let the processor see what the DMA wrote."""
        assert self.region is not None
        raw = np.frombuffer(self.region, np.uint8, self.nbytes, self._offset)
        self.view(np.ndarray).reshape(-1).view(np.uint8)[:] = raw

    @property
    def _offset(self) -> int:
        return int(self.__array_interface__["data"][0]) - self.origin


class _Channel:
    """One direction: registers, and the task that moves a transfer."""

    def __init__(self, dma: AxiDma, bus: Any, sends: bool) -> None:
        self.dma, self.bus, self.sends = dma, bus, sends
        self.task: Task[None] | None = None
        self.fault: tuple[Fault, int] | None = None
        self.reset()

    def reset(self) -> None:
        if self.task is not None:
            self.task.cancel()
        self.task = None
        self.control, self.status, self.address, self.length = 0, _STATUS_AFTER_RESET, 0, 0
        if self.sends:
            self.bus.TVALID.value = 0
        else:
            self.bus.TREADY.value = 0

    @property
    def interrupt(self) -> bool:
        return bool(self.control & self.status & _IRQS)

    def read(self, offset: int) -> int:
        registers = {
            0x00: self.control,
            0x04: self.status,
            0x18: self.address & 0xFFFF_FFFF,
            0x1C: self.address >> 32,
            0x28: self.length,
        }
        return registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == 0x00:
            self.control = value & 0x7001
            if value & _RUN:
                self.status &= ~_HALTED
            else:
                self.status |= _HALTED
        elif offset == 0x04:
            self.status &= ~(value & _IRQS)
        elif offset == 0x18:
            self.address = self.address & ~0xFFFF_FFFF | value
        elif offset == 0x1C:
            self.address = self.address & 0xFFFF_FFFF | value << 32
        elif offset == 0x28:
            self._start(value)

    def _start(self, length: int) -> None:
        if self.status & _HALTED:
            return  # as the real one: no effect
        assert self.task is None or self.task.done(), "the driver started a transfer while one was running"
        assert length < 1 << _LENGTH_BITS, f"the driver asked for {length} bytes, more than the length register holds"
        assert self.address % _BEAT == 0, f"the driver gave address {self.address:#x}, which is not aligned to the bus"
        self.status &= ~_IDLE
        self.length = length
        if length == 0:
            self._fail("DMAIntErr")
            return
        memory = self.dma.memory.find(self.address, length)
        if memory is None:
            self._fail("DMADecErr")
            return
        self.task = cocotb.start_soon(self._send(bytes(memory)) if self.sends else self._receive(memory))

    def _fail(self, error: str) -> None:
        self.status |= ERROR_BITS[error] | _ERROR_IRQ | _HALTED
        self.control &= ~_RUN

    def _finish(self) -> None:
        self.status |= _IDLE | _DONE_IRQ

    async def _meets_fault(self) -> bool:
        """Count a beat; whether the transfer ends here, because a fault was asked for. A stall never comes back."""
        if self.fault is None:
            return False
        kind, beats = self.fault
        if beats:
            self.fault = (kind, beats - 1)
            return False
        self.fault = None
        if kind == "stall":
            await Event().wait()
        self._fail(kind)
        return True

    async def _send(self, data: bytes) -> None:
        bus, clock = self.bus, self.dma.clock
        await RisingEdge(clock)
        for start in range(0, len(data), _BEAT):
            if await self._meets_fault():
                return
            part = data[start : start + _BEAT]
            bus.TDATA.value = int.from_bytes(part, "little")
            bus.TKEEP.value = (1 << len(part)) - 1
            bus.TLAST.value = int(start + _BEAT >= len(data))
            bus.TVALID.value = 1
            await ReadOnly()
            while not bus.TREADY.value:
                await RisingEdge(bus.TREADY)
                await ReadOnly()
            await RisingEdge(clock)
            bus.TVALID.value = 0
        self._finish()

    async def _receive(self, memory: memoryview) -> None:
        bus, clock = self.bus, self.dma.clock
        received, last = bytearray(), False
        await RisingEdge(clock)
        while not last:
            if await self._meets_fault():
                return
            bus.TREADY.value = 1
            await ReadOnly()
            while not bus.TVALID.value:
                await RisingEdge(bus.TVALID)
                await ReadOnly()
            kept = int(bus.TKEEP.value).bit_count()
            received += int(bus.TDATA.value).to_bytes(_BEAT, "little")[:kept]
            last = bool(bus.TLAST.value)
            await RisingEdge(clock)
            bus.TREADY.value = 0
            if len(received) > len(memory):
                self._fail("DMAIntErr")
                return
        memory[: len(received)] = received
        self.length = len(received)
        self._finish()


class AxiDma:
    """The DMA between `send_bus`, into the kernel, and `receive_bus`, out of it."""

    def __init__(self, memory: Memory, clock: Any, send_bus: Any, receive_bus: Any) -> None:
        """Both channels are as after a reset."""
        self.memory, self.clock = memory, clock
        self.send = _Channel(self, send_bus, sends=True)
        self.receive = _Channel(self, receive_bus, sends=False)
        self.array = _Words(self)
        self._resetting: Task[None] | None = None

    def inject(self, direction: Literal["send", "receive"], fault: Fault, after_beats: int) -> None:
        """Make the channel fail once, so many beats from now on."""
        (self.send if direction == "send" else self.receive).fault = (fault, after_beats)

    @property
    def interrupt(self) -> bool:
        """The line `s2mm_introut`."""
        return self.receive.interrupt

    def stop(self) -> None:
        """Reset at once, as loading a bitstream does."""
        self.send.reset()
        self.receive.reset()

    def read(self, offset: int) -> int:
        """What a register reads at this moment."""
        channel, offset = self._decode(offset)
        resetting = self._resetting is not None and not self._resetting.done()
        return channel.read(offset) | (_RESET if resetting and offset == 0 else 0)

    def write(self, offset: int, value: int) -> None:
        """Write a register at this moment."""
        channel, offset = self._decode(offset)
        if offset == 0 and value & _RESET:
            self.stop()
            self._resetting = cocotb.start_soon(self._reset())
        else:
            channel.write(offset, value)

    def _decode(self, offset: int) -> tuple[_Channel, int]:
        return (self.send, offset) if offset < 0x30 else (self.receive, offset - 0x30)

    async def _reset(self) -> None:
        await ClockCycles(self.clock, _RESET_CYCLES)


class _Words:
    """The registers as PYNQ's `MMIO.array` gives them: 32-bit words, each access taking its time on the bus."""

    def __init__(self, dma: AxiDma) -> None:
        self._dma = dma

    def __getitem__(self, index: int) -> int:
        return int(self._read(4 * index))

    def __setitem__(self, index: int, value: int) -> None:
        self._write(4 * index, int(value))

    @resume
    async def _read(self, offset: int) -> int:
        await ClockCycles(self._dma.clock, ACCESS_CYCLES)
        return self._dma.read(offset)

    @resume
    async def _write(self, offset: int, value: int) -> None:
        await ClockCycles(self._dma.clock, ACCESS_CYCLES)
        self._dma.write(offset, value)
