"""The AXI DMA of a PYNQ board, driven by its registers in simple mode (AMD PG021, "Direct Register Mode").

PYNQ's own channel objects wait without an end and cost ten register accesses a transfer; this driver takes three,
waits for nothing but a reset, with a time-out, and says in words what the status register says.
Words owned here: channel, transfer, status (of the DMA), still (a DMA by which nothing moves).
"""

from __future__ import annotations

import math
import time
from typing import Any

from edgesight.host.fabric.base import FabricError

# Byte offsets of a channel's registers; the receiving channel's lie _S2MM behind the sending one's.
_CONTROL, _STATUS, _ADDRESS, _ADDRESS_HIGH, _LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
_S2MM = 0x30
_RUN, _RESET, _DONE_IRQ_ENABLE, _ERROR_IRQ_ENABLE = 1 << 0, 1 << 2, 1 << 12, 1 << 14
_IDLE = 1 << 1
_IRQS = 1 << 12 | 1 << 13 | 1 << 14  # write 1 to clear
_SCATTER_GATHER = 1 << 3
_HALTED = 1 << 0
_ERRORS = 0x770
_FAULT = _ERRORS | _HALTED
# PG021, tables of MM2S_DMASR and S2MM_DMASR: bit, its name there, and what it means where it is no plain state.
_BITS = (
    (0, "Halted", ""),
    (1, "Idle", ""),
    (3, "SGIncld", "built with scatter-gather"),
    (4, "DMAIntErr", "internal error: a packet longer than its buffer, or a transfer of length 0"),
    (5, "DMASlvErr", "slave error: the memory port refused an access"),
    (6, "DMADecErr", "decode error: no memory answers at the address"),
    (8, "SGIntErr", "scatter-gather internal error"),
    (9, "SGSlvErr", "scatter-gather slave error"),
    (10, "SGDecErr", "scatter-gather decode error"),
    (12, "IOC_Irq", ""),
    (13, "Dly_Irq", ""),
    (14, "Err_Irq", ""),
)
_RELOAD = "its memory port or clock hangs; open the fabric again, which loads the bitstream anew, or restart the board"
_RESET_S = 1.0  # far more than the handful of bursts that a reset waits for


class Channel:
    """One direction of the DMA: `MM2S` reads memory and sends frames, `S2MM` receives records and writes memory."""

    def __init__(self, words: Any, name: str) -> None:
        """`words` is the DMA's register file as 32-bit words; nothing is read or written yet."""
        base = _S2MM if name == "S2MM" else 0
        self.name = name
        self._words = words
        self._control = (base + _CONTROL) // 4
        self._status = (base + _STATUS) // 4
        self._address = (base + _ADDRESS) // 4
        self._address_high = (base + _ADDRESS_HIGH) // 4
        self._length = (base + _LENGTH) // 4
        self._high: int | None = None  # what the upper half of the address was last set to
        self._started = False  # a transfer was started since the reset: before, the DMA does not say idle

    def run(self, interrupt: bool) -> None:
        """Let the channel take transfers, with its interrupt on completion and error where asked."""
        enables = _DONE_IRQ_ENABLE | _ERROR_IRQ_ENABLE if interrupt else 0
        self._words[self._control] = _RUN | enables
        self._high, self._started = None, False

    def transfer(self, address: int, length: int) -> None:
        """Start a transfer of `length` bytes at physical `address`; the one before must be done."""
        if self._high != address >> 32:
            self._high = address >> 32
            self._words[self._address_high] = self._high
        self._words[self._address] = address & 0xFFFF_FFFF
        self._words[self._length] = length
        self._started = True

    def done(self) -> bool:
        """Whether the last transfer is done; FabricError, naming the bits, if the DMA stopped with an error."""
        status = int(self._words[self._status])
        if status & _FAULT:
            raise FabricError(f"the DMA stopped: {self.status()}")
        return bool(status & _IDLE) or not self._started

    def left(self) -> float:
        """Seconds until the last transfer is done, where that is known; else infinite."""
        return math.inf

    def halted(self) -> bool:
        """Whether the channel takes no transfers; it takes a moment to leave this state."""
        return bool(int(self._words[self._status]) & _HALTED)

    def transferred(self) -> int:
        """Bytes of the last transfer that is done."""
        return int(self._words[self._length])

    def clear_interrupt(self) -> None:
        """Take the interrupt line back; the DMA holds it until then."""
        self._words[self._status] = _IRQS

    def status(self) -> str:
        """The status register in words, for messages."""
        status = int(self._words[self._status])
        bits = [f"{name} ({meaning})" if meaning else name for bit, name, meaning in _BITS if status >> bit & 1]
        if not status & (_HALTED | _IDLE):
            bits.insert(0, "busy")
        return f"{self.name}_DMASR {status:#010x} = {', '.join(bits)}"


class Dma:
    """Both channels of an AXI DMA."""

    def __init__(self, words: Any) -> None:
        """`words` is the register file as 32-bit words, such as the `array` of a PYNQ `MMIO`."""
        self.send = Channel(words, "MM2S")
        self.receive = Channel(words, "S2MM")
        self._words = words

    def check_simple(self, place: str) -> None:
        """Raise FabricError if the DMA was built with scatter-gather."""
        if int(self._words[_STATUS // 4]) & _SCATTER_GATHER:
            raise FabricError(
                f"{place}: its DMA was built with scatter-gather, this host drives simple mode: make the bitstream "
                "again with `make bitstream`"
            )

    def start(self, interrupt: bool) -> None:
        """Reset both channels and let them run; the receiving one with its interrupt where asked.

        Raises FabricError if it does not come up.
        """
        self.stop()
        self.send.run(interrupt=False)
        self.receive.run(interrupt)
        deadline = time.monotonic() + _RESET_S
        while self.send.halted() or self.receive.halted():
            if time.monotonic() > deadline:
                raise FabricError(f"the DMA does not start ({self.status()}): {_RELOAD}")

    def stop(self) -> None:
        """Reset both channels (one resets the other), whatever they were doing; FabricError if that does not end."""
        self._words[_CONTROL // 4] = _RESET
        deadline = time.monotonic() + _RESET_S
        while int(self._words[_CONTROL // 4]) & _RESET:
            if time.monotonic() > deadline:
                raise FabricError(f"the DMA does not come out of reset ({self.status()}): {_RELOAD}")

    def check(self) -> None:
        """Raise FabricError, naming the bits, if a channel stopped with an error."""
        self.send.done()
        self.receive.done()

    def status(self) -> str:
        """Both status registers in words, for messages."""
        return f"{self.send.status()}; {self.receive.status()}"


class _StillChannel(Channel):
    """A channel whose transfers move nothing, and are done when they are due; looked at as often as the real one."""

    def __init__(self, words: Any, name: str) -> None:
        super().__init__(words, name)
        self.due = 0.0  # of the last transfer, on the monotonic clock
        self._bytes = 0

    def transfer(self, address: int, length: int) -> None:
        """Start nothing; whoever made this channel says when it is done."""
        self._bytes = length

    def done(self) -> bool:
        """Whether the last transfer is due; the register is read, as it is where something moves."""
        return super().done() and self.left() <= 0.0

    def left(self) -> float:
        """Seconds until it is due."""
        return self.due - time.monotonic()

    def transferred(self) -> int:
        """Bytes of the last transfer."""
        return self._bytes


class _StillSender(_StillChannel):
    """Sends nothing, frame after frame at an even pace."""

    def __init__(self, words: Any, period_s: float) -> None:
        super().__init__(words, "MM2S")
        self.begun = 0.0
        self._period_s, self._frames = period_s, 0

    def begin(self) -> None:
        """The first frame of a batch comes next."""
        self.begun, self._frames = time.monotonic(), 0

    def transfer(self, address: int, length: int) -> None:
        """Start nothing; a frame's turn ends a period after that of the one before, however late this is called."""
        super().transfer(address, length)
        self._frames += 1
        self.due = self.begun + self._frames * self._period_s


class _StillReceiver(_StillChannel):
    """Receives nothing, batch after batch."""

    def __init__(self, words: Any, sender: _StillSender, record_bytes: int, period_s: float) -> None:
        super().__init__(words, "S2MM")
        self._sender, self._record_s = sender, period_s / record_bytes

    def transfer(self, address: int, length: int) -> None:
        """Start nothing; the batch is done when the turn of its last frame ends."""
        super().transfer(address, length)
        self._sender.begin()
        self.due = self._sender.begun + length * self._record_s


class StillDma(Dma):
    """In place of a DMA: nothing moves, and every transfer is done when one that moves would be.

    A batch's frames go in `period_s` after each other, and its records are there with the last of them. A transfer
    writes no register, where a real one writes three.
    """

    def __init__(self, words: Any, record_bytes: int, period_s: float) -> None:
        """`words` is the real DMA's register file: it is looked at, and started when the fabric is reset."""
        super().__init__(words)
        self.send = sender = _StillSender(words, period_s)
        self.receive = _StillReceiver(words, sender, record_bytes, period_s)
