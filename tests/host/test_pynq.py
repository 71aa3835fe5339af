"""What the board's host code says before and when something is wrong, shown on a stand-in that never runs a kernel.

That it answers, and what a real DMA does, is shown against the kernel itself in tests/sim/test_pynq.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.board_build import BoardBuild
from edgesight.host.fabric import pynq
from edgesight.host.fabric.base import OFFLOAD, FabricError, Place
from edgesight.host.fabric.dma import Channel, Dma
from edgesight.host.fabric.makers import open_fabric
from edgesight.host.fabric.pynq import PynqFabric
from edgesight.host.overlay import install
from edgesight.host.package import Package
from edgesight.host.registers import FRAME_MAGIC, INTERFACE_VERSION, KERNEL_ID, OFFSETS
from edgesight.sim.pynq.handoff import BOARDS, handoff
from tests.host.by_hand import package as kernel_by_hand

SEED = 7
BITSTREAM, HANDOFF = "boards/pynq-z2/by-hand.bit", "boards/pynq-z2/by-hand.hwh"
Z2 = BOARDS["pynq-z2"]


class _DmaWords(dict[int, int]):
    """Registers of a DMA that is running, idle, and out of reset at once."""

    def __missing__(self, index: int) -> int:
        return 0x0001_0002 if index in (0x04 // 4, 0x34 // 4) else 0

    def __setitem__(self, index: int, value: int) -> None:
        if index != 0:  # the control register, whose reset ends at once
            super().__setitem__(index, value)


class _Mirror(_DmaWords):
    """A DMA with a kernel behind it that answers every frame with its first pixel, the last frame of a batch first.

    A frame must stay what it is from the start of its transfer until the DMA is asked whether it is done.
    """

    def __init__(self, board: _Board) -> None:
        super().__init__()
        self._board = board
        self.patience = 0  # how often it is asked in vain whether the records are there
        self._made: list[tuple[int, int]] = []
        self._started: Any = None  # the frame of the transfer under way
        self.sets: list[int] = []
        self.resets = 0
        self.interrupt_after: int | None = None  # frames, after which Ctrl-C is pressed
        self.stage, self.error = 0, 0  # of every record

    def __setitem__(self, index: int, value: int) -> None:
        super().__setitem__(index, value)
        if index == 0 and value == 0x4:
            self.resets += 1
            self._made.clear()
        if index == 0x28 // 4 and self.interrupt_after == len(self._made):
            self.interrupt_after = None
            raise KeyboardInterrupt
        if index in (0x28 // 4, 0x58 // 4):
            super().__setitem__(index - 0x24 // 4, 0x0001_0000)  # busy
        if index == 0x28 // 4:
            self._started = self._frame().copy()

    def __getitem__(self, index: int) -> int:
        if index == 0x04 // 4 and super().__getitem__(index) == 0x0001_0000:
            frame = self._frame()
            assert np.array_equal(frame, self._started)
            header = int(frame[0])
            assert header >> 48 == FRAME_MAGIC
            self.sets.append(header >> 40 & 0xFF)
            self._made.append((header & 0xFFFF_FFFF, int(frame[1]) & 0xFF))
            super().__setitem__(index, 0x0001_0002)
        if index == 0x34 // 4 and self._made and self.patience:
            self.patience -= 1
            return 0x0001_0000
        if index == 0x34 // 4 and len(self._made) * 16 == super().__getitem__(0x58 // 4) > 0:
            records = self._board.buffers[1]
            records["tag"][: len(self._made)], records["label"][: len(self._made)] = zip(*self._made[::-1], strict=True)
            records["stage"], records["error"] = self.stage, self.error
            self._made.clear()
            super().__setitem__(index, 0x0001_0002)
        return super().__getitem__(index)

    def _frame(self) -> Any:
        frames = self._board.buffers[0]
        at = (self[0x18 // 4] - frames.physical_address) // frames[0, 0].nbytes
        return frames.reshape(-1, frames.shape[-1])[at]


class _Clocks:
    """PYNQ's clocks: one that reads `reads` until it is set, and then `becomes`."""

    def __init__(self, reads: float, becomes: float | None = None) -> None:
        self.reads, self.becomes = reads, becomes
        self.set: list[float] = []
        self.refusal: Exception | None = None

    @property
    def fclk0_mhz(self) -> float:
        return self.becomes if self.set and self.becomes is not None else self.reads

    @fclk0_mhz.setter
    def fclk0_mhz(self, mhz: float) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.set.append(mhz)


class _Board:
    """A stand-in for PYNQ: what it knows can be changed before it is opened."""

    def __init__(self, package: Package) -> None:
        registers = package.kernel.registers
        self.words = {
            registers["id"]: KERNEL_ID,
            registers["version"]: INTERFACE_VERSION,
            registers["build_hash"]: int(package.kernel.build_hash, 16),
            registers["weights_hash"]: int(package.kernel.weights_sha256[:8], 16),
        }
        self.dma_words = _DmaWords()
        self.buffers: list[Any] = []  # frames, records
        self.parameters = {"c_sg_length_width": "26", "c_addr_width": "32"}
        self.names = ["dma", "kernel"]
        self.clocks = _Clocks(100.0)
        self.cacheable: list[Any] = []  # what was asked for, by buffer
        self.memory_at = 0x1000_0000
        self.interrupt_pins: dict[str, Any] = {}
        self.loads: Callable[[], None] = lambda: None
        self.loaded: Callable[[], None] = lambda: None  # after which `blocks` may be changed
        self.accessed = False
        self.module = types.ModuleType("pynq")
        vars(self.module).update(
            __version__="3.1.2",
            Overlay=self.overlay,
            MMIO=self.mmio,
            Clocks=self.clocks,
            allocate=self.allocate,
        )

    def overlay(self, bitstream: str) -> Any:
        self.loads()
        places = (Z2.dma_at, 0x1_0000), (Z2.kernel_at, 0x1000)
        self.blocks = {
            name: {"phys_addr": at, "addr_range": size, "parameters": self.parameters}
            for name, (at, size) in zip(self.names, places, strict=True)
        }
        self.loaded()
        return types.SimpleNamespace(ip_dict=self.blocks, interrupt_pins=self.interrupt_pins)

    def mmio(self, base: int, length: int) -> Any:
        self.accessed = True
        if base == Z2.dma_at:
            return types.SimpleNamespace(array=self.dma_words)
        return types.SimpleNamespace(
            read=lambda offset: self.words.get(offset, 0),
            write=lambda offset, value: self.words.__setitem__(offset, value if offset >= 0x18 else 0),
        )

    def allocate(self, shape: tuple[int, ...], dtype: Any, **more: Any) -> Any:
        self.cacheable.append(more)
        buffer = np.zeros(shape, dtype).view(_Buffer)
        buffer.physical_address = self.memory_at
        self.buffers.append(buffer)
        return buffer


class _Buffer(npt.NDArray[Any]):
    physical_address: int

    def flush(self) -> None:
        """Nothing is cached."""

    def invalidate(self) -> None:
        """Nothing is cached."""


def _build(**fields: Any) -> BoardBuild:
    return BoardBuild(
        **{
            **{"board": "pynq-z2", "part": "xc7z020clg400-1", "flow": "vivado", "bitstream": BITSTREAM},
            **{"handoff": HANDOFF, "device_tree": None, "pynq_board": "Pynq-Z2", "serial": None},
            **{"clock_mhz": 100.0, "fmax_mhz": 100.0, "worst_slack_ns": 0.0, "utilisation": {}, "tools": {}},
            **{"reports": [], **fields},
        }
    )


@pytest.fixture
def package(tmp_path: Path) -> Package:
    bare = kernel_by_hand(tmp_path / "kernel", None).replace(registers=OFFSETS)
    return bare.add_board(_build(), {BITSTREAM: b"none", HANDOFF: handoff(Z2, 100.0)})


@pytest.fixture
def board(package: Package, monkeypatch: pytest.MonkeyPatch) -> _Board:
    """A PYNQ-Z2 on which everything is as it should be."""
    board = _Board(package)
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    monkeypatch.setenv("XILINX_XRT", "/usr")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(sys.modules, "pynq", board.module)
    return board


def test_the_fabric_opens_by_its_name_where_all_is_well(package: Package, board: _Board) -> None:
    fabric = open_fabric(package, "pynq")
    assert isinstance(fabric, PynqFabric)
    assert not fabric.simulated
    assert (fabric.board, fabric.pynq_version, fabric.clock_mhz) == ("Pynq-Z2", "3.1.2", 100.0)
    assert not fabric.interrupts
    fabric.close()
    fabric.close()
    with pytest.raises(FabricError, match="was closed"):
        fabric.run(np.zeros((1, *package.kernel.input.shape), np.uint8), np.zeros(1, np.uint8))


def test_a_dry_run_sends_nothing_and_finds_the_records_in_the_time_that_a_run_takes(
    package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.dma_words = mirror = _Mirror(board)
    fabric = PynqFabric(package)
    images = np.random.default_rng(SEED).integers(0, 256, (40, *package.kernel.input.shape), np.uint8)
    sets = np.zeros(len(images), np.uint8)
    records = fabric.run(images, sets)
    moved, resets = len(mirror.sets), mirror.resets
    looks, done = list[str](), Channel.done

    def looked(channel: Channel) -> bool:
        looks.append(channel.name)
        return done(channel)

    monkeypatch.setattr(Channel, "done", looked)
    began = time.monotonic()
    found = fabric.dry_run(images, sets, records, 0.2)
    took = time.monotonic() - began
    assert 0.19 <= took < 0.4
    assert np.array_equal(found, records)
    assert (len(mirror.sets), mirror.resets) == (moved, resets)
    assert len(looks) > 2 * len(images)  # the real registers
    assert fabric.legs.pack_s > 0.0
    assert np.array_equal(fabric.run(images, sets), records)  # and then the fabric answers again
    assert len(mirror.sets) == 2 * moved
    with pytest.raises(FabricError, match="39 records for 40 images: give one each"):
        fabric.dry_run(images, sets, records[:39], 0.2)


def test_elsewhere_than_on_a_board_it_names_the_other_fabrics(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOARD", raising=False)
    with pytest.raises(FabricError, match=r"needs a PYNQ board.*boardname\.sh.*csim or verilated"):
        open_fabric(package, "pynq")
    for alone in (PynqFabric, install):  # of which commands have no other fabric
        with pytest.raises(FabricError, match=r"needs a PYNQ board.*boardname\.sh") as told:
            alone(package)
        assert "csim" not in str(told.value)


def test_a_lost_xrt_environment_is_named(package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XILINX_XRT")
    with pytest.raises(FabricError, match=r"XILINX_XRT is not set.*xrt_setup\.sh"):
        PynqFabric(package)


def test_without_root_it_says_so(package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FabricError, match=r"needs root.*sudo -i"):
        PynqFabric(package)


def test_without_pynq_it_says_where_that_is(package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(FabricError, match=r"PYNQ cannot be imported.*pynq_venv\.sh"):
        PynqFabric(package)


@pytest.mark.parametrize("version", ["2.7.0", "3.0.0", "4.1.0", "unknown"])
def test_a_pynq_that_this_was_not_written_for_is_refused(package: Package, board: _Board, version: str) -> None:
    vars(board.module)["__version__"] = version
    with pytest.raises(FabricError, match=rf"PYNQ {version} is not among those.*3\.0\.1 to 4\.0"):
        PynqFabric(package)


@pytest.mark.parametrize("version", ["3.0.1", "3.1.0", "3.1.2"])
def test_a_pynq_for_the_board_is_taken(package: Package, board: _Board, version: str) -> None:
    vars(board.module)["__version__"] = version
    PynqFabric(package).close()


def test_a_pynq_that_dropped_the_board_is_refused(package: Package, board: _Board) -> None:
    vars(board.module)["__version__"] = "4.0.0"
    with pytest.raises(FabricError, match=r"PYNQ 4\.0\.0 no longer knows Pynq-Z2: .*PYNQ 3\.1"):
        PynqFabric(package)


def test_a_package_without_any_bitstream_is_refused(tmp_path: Path, board: _Board) -> None:
    with pytest.raises(FabricError, match=r"no bitstream for this board, Pynq-Z2 \(built: none\)"):
        PynqFabric(kernel_by_hand(tmp_path / "bare", None))


def test_a_handoff_of_another_name_is_refused(package: Package, board: _Board) -> None:
    other = package.add_board(_build(handoff="boards/pynq-z2/system.hwh"), {BITSTREAM: b"none"})
    with pytest.raises(FabricError, match=r"field boards\.pynq-z2\.handoff is 'boards/pynq-z2/system\.hwh'"):
        PynqFabric(other)


@pytest.mark.parametrize("name", [BITSTREAM, HANDOFF])
def test_a_missing_file_is_named(package: Package, board: _Board, name: str) -> None:
    (package.path / name).unlink()
    with pytest.raises(FabricError, match=rf"{name}: is missing.*copy the whole package"):
        PynqFabric(package)


def test_what_pynq_says_of_a_bitstream_is_passed_on(package: Package, board: _Board) -> None:
    def refuse() -> None:
        raise ValueError("no such part")

    board.loads = refuse
    with pytest.raises(FabricError, match=r"cannot load it \(ValueError: no such part\).*make bitstream BOARD=pynq-z2"):
        PynqFabric(package)


def test_a_design_of_somebody_else_is_refused_by_its_blocks(package: Package, board: _Board) -> None:
    board.names = ["dma", "filter"]
    with pytest.raises(FabricError, match=r"has no block 'kernel' \(it has dma, filter\)"):
        PynqFabric(package)


def test_the_kernel_is_found_where_pynq_appends_the_interface(package: Package, board: _Board) -> None:
    board.names = ["dma/S_AXI_LITE", "kernel/S_AXI"]
    PynqFabric(package).close()


@pytest.mark.parametrize("reads", [149.9985, 66.666, 125.0])
def test_a_clock_that_is_off_is_set(
    package: Package, board: _Board, recwarn: pytest.WarningsRecorder, reads: float
) -> None:
    """PYNQ up to 3.1.2 leaves the source that the boot firmware chose: divisors for another one give another clock."""
    board.clocks.reads, board.clocks.becomes = reads, 99.999
    fabric = PynqFabric(package)
    assert fabric.clock_mhz == 99.999
    assert board.clocks.set == [100.0]
    assert not recwarn.list


def test_a_clock_beyond_timing_that_cannot_be_set_is_refused(package: Package, board: _Board) -> None:
    board.clocks.reads = 125.0
    with pytest.raises(FabricError, match=r"at 125 MHz, its timing was met at 100 MHz, and PYNQ 3\.1\.2 cannot set it"):
        PynqFabric(package)
    assert not board.accessed  # a kernel beyond its timing may answer anything
    board.clocks.refusal = ValueError("no divider")
    with pytest.raises(FabricError, match=r"cannot set it to that \(ValueError: no divider\)"):
        PynqFabric(package)


def test_a_slower_clock_that_cannot_be_set_is_warned_of_and_recorded(package: Package, board: _Board) -> None:
    board.clocks.reads = 50.0
    with pytest.warns(UserWarning, match=r"the clock is not what you think.*50 MHz.*100 MHz"):
        fabric = PynqFabric(package)
    assert fabric.clock_mhz == 50.0


def test_a_dividers_rounding_is_no_other_clock(
    package: Package, board: _Board, recwarn: pytest.WarningsRecorder
) -> None:
    board.clocks.reads = 99.999001  # what a ZCU104 says of its 100 MHz
    assert PynqFabric(package).clock_mhz == 99.999001
    assert not board.clocks.set
    assert not recwarn.list


@pytest.mark.parametrize(("name", "field"), [("dma", "phys_addr"), ("kernel", "phys_addr"), ("dma", "addr_range")])
def test_a_design_that_pynq_remembers_is_found_out_before_it_is_touched(
    package: Package, board: _Board, name: str, field: str
) -> None:
    board.loaded = lambda: board.blocks[name].update({field: 0x2000})
    with pytest.raises(FabricError, match=rf"of block '{name}', PYNQ says .*PYNQ remembers another design; restart"):
        PynqFabric(package)
    assert not board.accessed


def test_a_handoff_that_is_none_is_named(package: Package, board: _Board) -> None:
    text = (package.path / HANDOFF).read_text()
    (package.path / HANDOFF).write_text(text.replace('BASEVALUE="0x', 'BASEVALUE="here'))
    with pytest.raises(FabricError, match=rf"{HANDOFF}: is no handoff of Vivado's"):
        PynqFabric(package)


def test_the_dmas_memory_goes_through_the_processors_caches(package: Package, board: _Board) -> None:
    PynqFabric(package)
    assert board.cacheable == [{"cacheable": 1}, {"cacheable": 1}]


def test_a_dma_with_scatter_gather_is_refused(package: Package, board: _Board) -> None:
    board.dma_words[0x04 // 4] = 0x0001_0008
    with pytest.raises(FabricError, match="scatter-gather"):
        PynqFabric(package)


def test_a_dma_whose_transfers_are_too_short_is_refused(package: Package, board: _Board) -> None:
    board.parameters["c_sg_length_width"] = "14"  # what Vivado takes unless told
    with pytest.raises(FabricError, match=r"at most 16383 bytes at once"):
        PynqFabric(package)


def test_memory_beyond_the_dmas_reach_is_refused(package: Package, board: _Board) -> None:
    board.memory_at = 0xFFFF_FF00
    with pytest.raises(FabricError, match=r"the DMA of this bitstream reaches 0x100000000"):
        PynqFabric(package)


def test_a_dma_that_stays_in_reset_does_not_hang_the_host(package: Package, board: _Board) -> None:
    dict.__setitem__(board.dma_words, 0, 0x4)
    with pytest.raises(FabricError, match=r"does not come out of reset.*restart the board"):
        PynqFabric(package)


def test_no_images_are_no_transfer(package: Package, board: _Board) -> None:
    fabric = PynqFabric(package)
    assert len(fabric.run(np.zeros((0, *package.kernel.input.shape), np.uint8), np.zeros(0, np.uint8))) == 0
    with pytest.raises(FabricError, match="needs images"):
        fabric.throughput_test(np.zeros((0, *package.kernel.input.shape), np.uint8))


def test_many_images_go_in_by_pieces_and_batches_and_come_back_in_order(package: Package, board: _Board) -> None:
    mirror = board.dma_words = _Mirror(board)
    count = 4096 + 100  # a whole batch, and one that does not fill its last piece
    generator = np.random.default_rng(SEED)
    images = generator.integers(0, 256, (count, *package.kernel.input.shape), np.uint8)
    sets = generator.integers(0, package.kernel.threshold_sets, count).astype(np.uint8)
    fabric = PynqFabric(package)
    for _ in range(2):
        mirror.sets.clear()
        records = fabric.run(images, sets)
        assert records["tag"].tolist() == list(range(count))
        assert records["label"].tolist() == images[:, 0, 0, 0].tolist()
        assert mirror.sets == sets.tolist()


class _Interrupt:
    """One that is lost: it never comes."""

    waits = 0

    def __init__(self, name: str) -> None:
        assert name == "dma/s2mm_introut"

    async def wait(self) -> None:
        _Interrupt.waits += 1
        await asyncio.Event().wait()


def test_a_lost_interrupt_delays_the_answer_and_does_not_lose_it(package: Package, board: _Board) -> None:
    mirror = board.dma_words = _Mirror(board)
    board.interrupt_pins = {"dma/s2mm_introut": {}}
    vars(board.module)["Interrupt"] = _Interrupt
    fabric = PynqFabric(package)
    assert fabric.interrupts
    mirror.patience = 210  # more than the host looks before it waits
    before = _Interrupt.waits
    images = np.full((3, *package.kernel.input.shape), 9, np.uint8)
    assert fabric.run(images, np.zeros(3, np.uint8))["label"].tolist() == [9, 9, 9]
    assert _Interrupt.waits > before
    fabric.close()


@pytest.mark.parametrize(
    "error", [ValueError("no UIO device"), KeyError("no UIO device"), AttributeError("no UIO device")]
)
def test_without_a_driver_for_the_interrupt_the_dma_is_looked_at(
    package: Package, board: _Board, error: Exception
) -> None:
    def refuse(name: str) -> None:
        raise error

    board.dma_words = _Mirror(board)
    board.interrupt_pins = {"dma/s2mm_introut": {}}
    vars(board.module)["Interrupt"] = refuse
    with pytest.warns(UserWarning, match=r"interrupts are not used.*no UIO device"):
        fabric = PynqFabric(package)
    assert not fabric.interrupts
    assert len(fabric.run(np.zeros((2, *package.kernel.input.shape), np.uint8), np.zeros(2, np.uint8))) == 2


def test_an_interrupt_that_cannot_be_waited_for_is_dropped_and_the_run_goes_on(package: Package, board: _Board) -> None:
    class Foreign(_Interrupt):
        async def wait(self) -> None:
            raise RuntimeError("attached to a different loop")

    mirror = board.dma_words = _Mirror(board)
    board.interrupt_pins = {"dma/s2mm_introut": {}}
    vars(board.module)["Interrupt"] = Foreign
    fabric = PynqFabric(package)
    mirror.patience = 210  # more than the host looks before it waits
    images, sets = np.full((3, *package.kernel.input.shape), 9, np.uint8), np.zeros(3, np.uint8)
    with pytest.warns(UserWarning, match=r"interrupts are not used.*RuntimeError: attached to a different loop"):
        assert fabric.run(images, sets)["label"].tolist() == [9, 9, 9]
    assert not fabric.interrupts
    assert fabric.run(images, sets)["label"].tolist() == [9, 9, 9]
    fabric.close()


def test_buffers_of_a_dma_that_does_not_stop_are_kept(
    package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(pynq, "_WRITTEN_STILL", kept)
    board.interrupt_pins = {"dma/s2mm_introut": {}}
    vars(board.module)["Interrupt"] = _Interrupt
    loops = _loops(monkeypatch)
    fabric = PynqFabric(package)
    dict.__setitem__(board.dma_words, 0, 0x4)  # stays in reset
    with pytest.raises(FabricError, match=r"does not come out of reset.*may be written to still: restart the board"):
        fabric.close()
    fabric.close()
    assert len(kept) == 1
    assert kept[0].frames is board.buffers[0]
    assert kept[0].records is board.buffers[1]
    assert [loop.is_closed() for loop in loops] == [True]


def test_buffers_of_a_dma_that_stops_are_given_back(
    package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(pynq, "_WRITTEN_STILL", kept)
    PynqFabric(package).close()
    assert not kept


@pytest.mark.parametrize("late", ["memory", "reset"])
def test_a_fabric_that_does_not_open_leaves_no_event_loop(
    package: Package, board: _Board, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    board.interrupt_pins = {"dma/s2mm_introut": {}}
    vars(board.module)["Interrupt"] = _Interrupt
    loops = _loops(monkeypatch)
    if late == "memory":
        board.memory_at = 0xFFFF_FF00
    else:
        dict.__setitem__(board.dma_words, 0, 0x4)
    with pytest.raises(FabricError):
        PynqFabric(package)
    assert [loop.is_closed() for loop in loops] == [True]


def _loops(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.AbstractEventLoop]:
    """Every event loop that is made from now on."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def remember() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", remember)
    return made


def test_a_throughput_says_what_the_images_went_through(package: Package, board: _Board) -> None:
    mirror = board.dma_words = _Mirror(board)
    mirror.stage = OFFLOAD | 1  # what a kernel without thresholds makes
    images = np.zeros((5, *package.kernel.input.shape), np.uint8)
    fabric = PynqFabric(package)
    assert fabric.throughput_test(images).subject == "every image through all stages: no threshold is set"
    fabric.set_thresholds(0, [0, 0])
    assert fabric.throughput_test(images).subject == "every image through all stages"
    mirror.stage = 0
    assert fabric.throughput_test(images).subject.startswith("images answered early where a stage is sure: 5 by ")


def test_a_throughput_of_errors_is_none(package: Package, board: _Board) -> None:
    mirror = board.dma_words = _Mirror(board)
    mirror.error = 4
    with pytest.raises(FabricError, match=r"5 of 5 images were answered with an error, image 0 with SET"):
        PynqFabric(package).throughput_test(np.zeros((5, *package.kernel.input.shape), np.uint8))


def test_a_self_tests_report_says_where_it_ran(package: Package, board: _Board) -> None:
    assert PynqFabric(package).place == Place("pynq", "pynq-z2", 100.0, "3.1.2")


def test_after_an_interrupted_run_the_next_one_starts_afresh(package: Package, board: _Board) -> None:
    mirror = board.dma_words = _Mirror(board)
    fabric = PynqFabric(package)
    images = np.full((40, *package.kernel.input.shape), 5, np.uint8)
    sets = np.zeros(40, np.uint8)
    mirror.interrupt_after = 7
    with pytest.raises(KeyboardInterrupt):
        fabric.run(images, sets)
    assert fabric.run(images, sets)["label"].tolist() == [5] * 40
    assert mirror.resets == 2  # when it was opened, and before the run after the interrupted one


def test_images_of_another_shape_are_refused_before_anything_is_sent(package: Package, board: _Board) -> None:
    with pytest.raises(FabricError, match="resize or convert"):
        PynqFabric(package).run(np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.uint8))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0001_0000, "busy"),
        (0x0001_0002, "Idle"),
        (0x0001_1002, "Idle, IOC_Irq"),
        (0x0001_4011, "Halted, DMAIntErr (internal error: a packet longer than its buffer, or a transfer of length 0)"),
        (0x0000_4021, "Halted, DMASlvErr (slave error: the memory port refused an access), Err_Irq"),
        (0x0000_4041, "Halted, DMADecErr (decode error: no memory answers at the address), Err_Irq"),
        (0x0000_0709, "SGIncld (built with scatter-gather), SGIntErr"),
    ],
)
def test_the_dmas_status_is_said_in_words(status: int, words: str) -> None:
    registers = _DmaWords({0x04 // 4: status, 0x34 // 4: status})
    dma = Dma(registers)
    assert dma.send.status().startswith(f"MM2S_DMASR {status:#010x} = ")
    assert words in dma.send.status()
    assert f"S2MM_DMASR {status:#010x} = " in dma.receive.status()
    if status & 0x771:
        with pytest.raises(FabricError, match="the DMA stopped: S2MM_DMASR"):
            dma.receive.done()


def test_a_transfer_is_not_done_before_the_dma_is_idle() -> None:
    registers = _DmaWords({0x34 // 4: 0x0001_0000})
    receive = Dma(registers).receive
    assert receive.done()  # none was started
    receive.transfer(0x1_2345_6780, 16)
    assert registers[0x30 // 4 + 0x18 // 4] == 0x2345_6780
    assert registers[0x30 // 4 + 0x1C // 4] == 0x1
    assert registers[0x30 // 4 + 0x28 // 4] == 16
    assert not receive.done()
    registers[0x34 // 4] = 0x0001_0002
    assert receive.done()
