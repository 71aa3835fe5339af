"""A PYNQ board whose logic is the simulated kernel: what the host program imports as `pynq`.

cocotbpynq brings registers and the bridge between a blocking program and the simulation; pynqmetadata, with which PYNQ
itself reads handoffs, brings `ip_dict` and `interrupt_pins`. Added here is what neither has: a DMA with registers
(dma.py), interrupts, clocks, a version, loading a second bitstream, and boards of the Zynq UltraScale+ family.
Words owned here: simulated board's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import cocotb
import cocotbpynq.overlay  # type: ignore[import-untyped] # it carries no types
from cocotb.task import resume
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser

from edgesight.host.fabric.pynq import DMA
from edgesight.sim.pynq.dma import AxiDma, Memory
from edgesight.sim.pynq.handoff import BOARDS

ZYNQ_7000 = "processing_system7"  # what cocotbpynq knows
PROCESSING_SYSTEMS = (ZYNQ_7000, "zynq_ultra_ps_e")
_LOOK_CYCLES = 64  # between two looks at the interrupt line


class Board:
    """The simulated board of one simulator test; `environment` makes it the one that the host program runs on."""

    def __init__(self, pynq_board: str, version: str) -> None:
        """`pynq_board` as the variable BOARD says it, and the version of PYNQ on its card. Nothing is loaded."""
        self.pynq_board = pynq_board
        self.memory = Memory()
        self.dma: AxiDma | None = None
        self.clock_mhz = 0.0  # of the design loaded, as the board says it
        self.interrupts_waited_for = 0
        self._dma_at: int | None = None
        self._dut: Any = None
        self.module = types.ModuleType("pynq")
        vars(self.module).update(
            __version__=version,
            Overlay=self._make_overlay,
            MMIO=self._make_mmio,
            Interrupt=lambda name: _Interrupt(self, name),
            Clocks=_Clocks(self),
            allocate=self.memory.allocate,
        )

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Let `import pynq` find this board, and the process look like root on it."""
        variables = {"BOARD": self.pynq_board, "XILINX_XRT": "/usr", "HWH_LOCATION_DIR": "/"}
        with (
            mock.patch.dict(sys.modules, {"pynq": self.module}),
            mock.patch.dict(os.environ, variables),
            mock.patch.object(os, "geteuid", return_value=0),
        ):
            yield

    def _make_overlay(self, bitfile_name: str) -> Any:
        """`pynq.Overlay`: load a design, whereupon the logic has lost whatever it held."""
        if not Path(bitfile_name).is_file():
            raise OSError(f"Bitstream file {bitfile_name} does not exist.")  # as PYNQ does
        with (
            mock.patch.object(ElementTree, "parse", _parse),
            mock.patch.object(cocotbpynq.overlay, "CocotbPynqDut", self._load),
        ):
            overlay = cocotbpynq.overlay.Overlay(bitfile_name)
        parsed = RuntimeMetadataParser(Metadata(input=str(Path(bitfile_name).with_suffix(".hwh"))))
        overlay.ip_dict, overlay.interrupt_pins = parsed.ip_dict, parsed.interrupt_pins
        # As PYNQ does: the handoff's divisors, on the PLL that the boot firmware left.
        source = next(board.clock_source_mhz for board in BOARDS.values() if board.pynq_board == self.pynq_board)
        self.clock_mhz = source / parsed.clock_dict[0]["divisor0"] / parsed.clock_dict[0]["divisor1"]
        if self.dma is not None:
            self.dma.stop()
        buses = self._dut.bus_interfaces
        self.dma = AxiDma(self.memory, self._dut.clk, buses["S_AXIS"], buses["M_AXIS"])
        self._dma_at = overlay.ip_dict[DMA]["phys_addr"]
        return overlay

    def _load(self, top: Any, module: Any, reset: bool, skip_modtype_check: bool = False) -> Any:
        """cocotbpynq's device, made once: it starts a clock, of which there must be one; afterwards it is reset."""
        if self._dut is None:
            self._dut = _Dut(top, module, reset, skip_modtype_check)
        else:
            cocotb.start_soon(self._dut.reset_dut(3, 1))
        return self._dut

    def _make_mmio(self, base_addr: int, length: int = 4) -> Any:
        """`pynq.MMIO`: the DMA's registers, or the kernel's by cocotbpynq."""
        if base_addr == self._dma_at:
            return self.dma
        return _Registers(base_addr, length)

    @resume
    async def pass_cycles(self, cycles: int) -> None:
        """Let the logic's clock run on."""
        await ClockCycles(self._dut.clk, cycles)


class _Dut(cocotbpynq.CocotbPynqDut):  # type: ignore[misc] # it carries no types
    """cocotbpynq's device, whose reset looks for a clock called `clk` and no other."""

    async def reset_dut(self, reset_cycles: int, waiting_cycles: int) -> None:
        """Hold the reset for some cycles, then wait for some."""
        self.done_reset.clear()
        self.rst.value = int(not self.rst_active_low)
        await ClockCycles(self.clk, reset_cycles)
        self.rst.value = int(self.rst_active_low)
        await ClockCycles(self.clk, waiting_cycles)
        self.done_reset.set()


class _Registers(cocotbpynq.MMIO):  # type: ignore[misc] # it carries no types
    """cocotbpynq's registers, whose write waits for the address to be taken before it offers the data.

    AXI forbids a manager to wait so (A3.3.1), and a register file may wait for both; the kernel's does.
    """

    def __init__(self, base_addr: int, length: int) -> None:
        """Registers of `length` bytes at `base_addr`; the check of the range is one byte too strict."""
        super().__init__(base_addr, length - 4)

    async def single_write_axi_lite(self, offset: int, data: int) -> None:
        """Write one word: address and data offered together, then the response taken."""
        bus, clock = self.cpbus, self.cpdut.clk
        bus.AWADDR.value, bus.WDATA.value, bus.WSTRB.value = offset, data, 0xF
        waiting = [(bus.AWVALID, bus.AWREADY), (bus.WVALID, bus.WREADY)]
        for valid, _ in waiting:
            valid.value = 1
        bus.BREADY.value = 1
        answered = False
        while waiting or not answered:
            await ReadOnly()
            taken = [valid for valid, ready in waiting if ready.value]
            answered = answered or bool(bus.BVALID.value)
            assert not bus.BVALID.value or bus.BRESP.value == 0, f"a write to {offset:#x} was refused"
            await RisingEdge(clock)
            waiting = [pair for pair in waiting if pair[0] not in taken]
            for valid in taken:
                valid.value = 0
        bus.BREADY.value = 0


class _Clocks:
    """`pynq.Clocks`."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @property
    def fclk0_mhz(self) -> float:
        """The first clock of the logic."""
        return self._board.clock_mhz

    @fclk0_mhz.setter
    def fclk0_mhz(self, mhz: float) -> None:
        self._board.clock_mhz = mhz


class _Interrupt:
    """`pynq.Interrupt`: its line rises by itself, so that waiting lets simulated time pass."""

    def __init__(self, board: Board, name: str) -> None:
        self._board, self._name = board, name

    async def wait(self) -> None:
        """Wait for the line to be high."""
        self._board.interrupts_waited_for += 1
        while self._board.dma is None or not self._board.dma.interrupt:
            self._board.pass_cycles(_LOOK_CYCLES)
            await asyncio.sleep(0)


_parse_file = ElementTree.parse


def _parse(source: str) -> ElementTree.ElementTree[Any]:
    """A handoff as cocotbpynq reads it: it looks for its memory map in a `processing_system7` and nowhere else."""
    tree = _parse_file(source)
    for module in tree.iter("MODULE"):
        if module.get("MODTYPE") in PROCESSING_SYSTEMS:
            module.set("MODTYPE", ZYNQ_7000)
    return tree
