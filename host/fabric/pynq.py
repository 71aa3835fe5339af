"""The board under PYNQ: frames and records by DMA, registers by memory-mapped AXI4-Lite.

How frames get in: the kernel wants TLAST at the end of every frame, and a DMA in simple mode gives it at the end of
every transfer, so each frame is one transfer. Frames are packed in pieces into two halves of one buffer: while the
first frames of a piece go in, the next piece is packed. As many frames are under way as the kernel has slots; it holds
the next one back by itself. All records of a batch come back by one transfer, armed before the first frame.

Words owned here: batch (what one receiving transfer takes), piece (what is packed at once), legs (pack, copy, run,
unpack). PYNQ is imported only when a fabric is opened; 3.0.1, 3.1 and 4.0 are written to by what they have in common.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import (
    STAGE_MASK,
    FabricError,
    Images,
    Place,
    Records,
    check_images,
    check_sets,
    record_type,
)
from edgesight.host.fabric.dma import Channel, Dma, StillDma
from edgesight.host.fabric.driver import BEAT_BYTES, Registers, in_order, pack_frames
from edgesight.host.fabric.pynq_board import bitstream_of, block_of, board_name, build_for, check_addresses, import_pynq
from edgesight.host.package import Package
from edgesight.host.registers import CONTROL_SOFT_RESET, STATUS_DRAINING, Error

# Names in every board's block design.
DMA, KERNEL = "dma", "kernel"
_DONE_INTERRUPT = f"{DMA}/s2mm_introut"

_BATCH = 4096  # frames of one receiving transfer: 64 KiB of records
_PIECE = 32  # frames packed at once: enough to spread numpy's cost, few enough that the kernel's slots bridge it
_PIECE_BYTES = 1 << 20  # of large frames fewer are packed at once: contiguous memory is scarce
_CLOCK_TOLERANCE = 0.01  # the dividers of a processing system hit a clock to within this
_SPIN = 200  # looks at the DMA before the processor is given away: most transfers take less
_NAP_S = 50e-6
_INTERRUPT_SLICE_S = 0.02  # at the latest after this the DMA is looked at again, should an interrupt be lost
_DRAIN_S = 1.0


@dataclass
class Legs:
    """Seconds of one run by what they went into; together they are the run's whole time on the host."""

    pack_s: float = 0.0  # images to frames
    copy_s: float = 0.0  # frames into, records out of the DMA's memory, caches included
    run_s: float = 0.0  # driving the DMA and waiting for it; frames are packed meanwhile, which counts as packing
    unpack_s: float = 0.0  # records into the images' order
    total_s: float = 0.0


@dataclass(frozen=True)
class Throughput:
    """How fast a board answered, by the host's clock and, kept apart, by the fabric's own counters."""

    subject: str  # what the images went through, in words
    images: int
    images_per_second: float  # by the host's clock, all legs together
    legs: Legs
    interrupts: bool  # waited for by interrupt, not by looking alone
    clock_mhz: float  # read back from the board
    interval_cycles: list[int]  # by stage: between its last two logits; 0 before there were two
    latency_cycles: list[float | None]  # by stage that answered: median from header to record; None if none did
    input_stall_cycles: int  # a frame's beat waited for the kernel: large where the kernel is the bound, not the host
    output_stall_cycles: int  # a record's beat waited for the DMA


@dataclass
class _Memory:
    """Buffers that the DMA reaches, and where they are."""

    frames: Any  # uint64 [2, piece, beats]
    records: Any  # [batch]
    frames_at: int = field(init=False)
    records_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.frames_at = int(self.frames.physical_address)
        self.records_at = int(self.records.physical_address)


# Buffers of fabrics whose DMA did not stop: it may write to them still, so they are never given back to the system.
_WRITTEN_STILL: list[_Memory] = []


class PynqFabric:
    """`Fabric` on a board that PYNQ runs on. One object is the board's whole logic; it is used by one thread."""

    simulated = False

    def __init__(self, package: Package, *, timeout_s: float = 2.0) -> None:
        """Load the package's bitstream for this board and check that what answers is this package's kernel.

        `timeout_s`: how long nothing may move before a run is given up. Raises FabricError, with the remedy, when PYNQ,
        its environment, the board or the package's files are not what is needed.
        """
        self.package = package
        self.timeout_s = timeout_s  # may be changed between runs
        self.board = board_name()
        self.build = build_for(package, self.board)
        bitstream = bitstream_of(package, self.build)
        pynq = import_pynq(self.board)
        self.pynq_version = str(pynq.__version__)
        try:
            self._overlay = pynq.Overlay(str(bitstream.resolve()))
        except Exception as error:  # PYNQ raises whatever its parts raise
            raise FabricError(
                f"{bitstream}: PYNQ {self.pynq_version} cannot load it ({type(error).__name__}: {error}): make it for "
                f"this board with `make bitstream BOARD={self.build.board}` and copy the package again"
            ) from error
        dma = block_of(self._overlay, DMA, bitstream)
        kernel = block_of(self._overlay, KERNEL, bitstream)
        # Before the first access: where nothing answers a Zynq UltraScale+ hangs, and beyond its timing a kernel may
        # answer anything.
        check_addresses({DMA: dma, KERNEL: kernel}, bitstream.with_suffix(".hwh"))
        self.clock_mhz = self._set_clock(pynq)
        words = pynq.MMIO(kernel["phys_addr"], kernel["addr_range"])
        # PYNQ takes Python's own integers and no others.
        self.registers = Registers(package, words.read, lambda address, value: words.write(address, int(value)))
        self.registers.check_identity(
            str(bitstream), "the bitstream and the package are of different builds: copy both again from one build"
        )
        self._dma_words = pynq.MMIO(dma["phys_addr"], dma["addr_range"]).array
        self._dma = Dma(self._dma_words)
        self._dma.check_simple(str(bitstream))
        self._frame_bytes = BEAT_BYTES + package.kernel.input.frame_bytes
        self._record = record_type(package.kernel)
        self.legs = Legs()  # of the last run
        self._sent = 0  # frames of the batch under way
        self._after_s = 0.0  # what the host did of the last batch once its records were there
        self._thresholds_set = False  # loading the bitstream cleared the table
        self._usable = False
        self._interrupt, self._loop = _interrupt(pynq, self._overlay)
        try:
            self._memory: _Memory | None = self._allocate(pynq, dma)
            self.reset()
        except BaseException:
            self._close_loop()  # nobody gets this object, so nobody can
            raise

    @property
    def interrupts(self) -> bool:
        """Whether the end of a batch is waited for by interrupt; by looking alone where the design has none."""
        return self._interrupt is not None

    @property
    def place(self) -> Place:
        """This board."""
        return Place("pynq", self.build.board, self.clock_mhz, self.pynq_version)

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table; FabricError on a row or value that it cannot hold."""
        self._thresholds_set = True
        self.registers.set_thresholds(set_index, thresholds)

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        """Answer by the weights and thresholds of `package`, of the same structure; FabricError, being as before."""
        self.registers.load_weights(package, thresholds)
        self.package, self._thresholds_set = package, bool(thresholds)

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Answer images uint8 [N, H, W, C], each under its threshold set [N]; records come in the images' order.

        Raises FabricError on a wrong shape, type or set, when the DMA stops with an error, and when nothing moves for
        the time-out; DMA and kernel are reset then, so that the next run finds them fresh. Thresholds stay.
        """
        started = time.perf_counter()
        check_images(self.package, images)
        check_sets(self.package, sets, len(images))
        memory = self._open()
        if not self._usable:
            self.reset()
        self.legs = Legs()
        records = np.empty(len(images), self._record)
        self._usable = False  # until all is back: an interrupted run leaves frames on their way
        for start in range(0, len(images), _BATCH):
            batch = slice(start, start + _BATCH)
            try:
                records[batch] = self._run_batch(memory, images[batch], sets[batch])
            except FabricError as error:
                raise FabricError(self._explain(error, len(images[batch]))) from error
            records["tag"][batch] += start
        self._usable = True
        self.legs.total_s = time.perf_counter() - started
        self.legs.run_s = self.legs.total_s - self.legs.pack_s - self.legs.copy_s - self.legs.unpack_s
        return records

    def dry_run(self, images: Images, sets: npt.NDArray[np.uint8], records: Records, seconds: float) -> Records:
        """As `edgesight.host.fabric.base.DryFabric` has it; the kernel is told how long the batch is, and no more."""
        memory, count = self._open(), len(records)
        if count != len(images) or count > _BATCH:
            raise FabricError(f"{count} records for {len(images)} images: give one each, at most {_BATCH} at once")
        memory.records[:count] = records
        memory.records["tag"][:count] = np.arange(count)
        memory.records.flush()  # or they are lost when the caches are invalidated
        moving = self._dma
        self._dma = StillDma(
            self._dma_words, self._record.itemsize, max(0.0, seconds - self._after_s) / max(1, len(images))
        )
        try:
            return self.run(images, sets)
        finally:
            self._dma = moving

    def throughput_test(self, images: Images, sets: npt.NDArray[np.uint8] | None = None) -> Throughput:
        """Answer images uint8 [N, H, W, C] once to warm up and once timed, under `sets` [N] (default: set 0 for all).

        Without thresholds every image goes through all stages; `subject` says what they went through. Raises what `run`
        raises; FabricError if there are no images, or if a record carries an error.
        """
        if not len(images):
            raise FabricError("a throughput test needs images: give at least one, better some hundred")
        if sets is None:
            sets = np.zeros(len(images), np.uint8)
        self._check_answered(self.run(images, sets))
        before = self._stalls()
        records = self.run(images, sets)
        self._check_answered(records)
        stalls = [(after - first) & 0xFFFF_FFFF for after, first in zip(self._stalls(), before, strict=True)]
        latencies = [
            records["cycles"][(records["error"] == 0) & (records["stage"] & STAGE_MASK == stage)]
            for stage in range(len(self.package.kernel.stages))
        ]
        return Throughput(
            subject=self._subject(records),
            images=len(images),
            images_per_second=len(images) / self.legs.total_s,
            legs=self.legs,
            interrupts=self.interrupts,
            clock_mhz=self.clock_mhz,
            interval_cycles=[self.registers.read(f"interval{stage}") for stage in range(len(latencies))],
            latency_cycles=[float(np.median(cycles)) if len(cycles) else None for cycles in latencies],
            input_stall_cycles=stalls[0],
            output_stall_cycles=stalls[1],
        )

    def reset(self) -> None:
        """Reset DMA and kernel, whatever they were doing; thresholds stay. Raises FabricError if that does not end."""
        self._usable = False
        self._dma.start(self.interrupts)  # first, so that it pushes no more
        # Asked twice, the kernel drops what nobody takes any more instead of waiting for it.
        self.registers.write("control", CONTROL_SOFT_RESET)
        self.registers.write("control", CONTROL_SOFT_RESET)
        deadline = time.monotonic() + _DRAIN_S
        while self.registers.read("status") & STATUS_DRAINING:
            if time.monotonic() > deadline:
                raise FabricError(
                    f"{self.package.path}: the kernel does not come out of its reset ({self.registers.state()}): its "
                    "clock hangs; open the fabric again, which loads the bitstream anew"
                )
        self.registers.write("faults", self.registers.read("faults"))
        self._usable = True

    def close(self) -> None:
        """Stop the DMA and give its memory back; calling it twice is harmless.

        Raises FabricError if the DMA does not stop: then the memory stays taken, since the DMA may write to it still.
        """
        if self._memory is None:
            return
        memory, self._memory = self._memory, None
        try:
            self._dma.stop()  # before it loses its memory
        except BaseException as error:
            _WRITTEN_STILL.append(memory)
            if not isinstance(error, FabricError):
                raise
            raise FabricError(
                f"{self.package.path} on {self.board}: {error}; until this program ends it keeps the DMA's memory, "
                "which may be written to still: restart the board"
            ) from error
        finally:
            self._close_loop()

    def _close_loop(self) -> None:
        if self._loop is not None:
            self._loop.close()

    def _open(self) -> _Memory:
        if self._memory is None:
            raise FabricError("the fabric was closed: open another one")
        return self._memory

    def _allocate(self, pynq: Any, dma: dict[str, Any]) -> _Memory:
        """Buffers of the DMA, no larger than what one of its transfers takes."""
        longest = (1 << int(dma.get("parameters", {}).get("c_sg_length_width", 26))) - 1
        if longest < max(self._frame_bytes, _BATCH * self._record.itemsize):
            raise FabricError(
                f"{self.package.path}: the DMA of this bitstream moves at most {longest} bytes at once, a frame has "
                f"{self._frame_bytes} and a batch of records {_BATCH * self._record.itemsize}: make the bitstream "
                f"again with `make bitstream BOARD={self.build.board}`"
            )
        beats = -(-self._frame_bytes // BEAT_BYTES)
        piece = max(1, min(_PIECE, _PIECE_BYTES // (beats * BEAT_BYTES)))
        try:
            # Through the processor's caches, which are flushed and invalidated around each transfer; without, reading
            # records back goes to memory word by word.
            frames = pynq.allocate(shape=(2, piece, beats), dtype=np.uint64, cacheable=1)
            records = pynq.allocate(shape=(_BATCH,), dtype=self._record, cacheable=1)
        except Exception as error:  # PYNQ raises whatever XRT raises
            raise FabricError(
                f"PYNQ cannot allocate {2 * piece * beats * BEAT_BYTES + _BATCH * self._record.itemsize} bytes of "
                f"contiguous memory ({error}): close other programs that use the board, or restart it"
            ) from error
        memory = _Memory(frames, records)
        reach = 1 << int(dma.get("parameters", {}).get("c_addr_width", 32))
        if max(memory.frames_at + frames.nbytes, memory.records_at + records.nbytes) > reach:
            raise FabricError(
                f"PYNQ allocated memory at {memory.frames_at:#x} and {memory.records_at:#x}, the DMA of this bitstream "
                f"reaches {reach:#x}: restart the board, so that lower memory is free"
            )
        return memory

    def _set_clock(self, pynq: Any) -> float:
        """The kernel's clock as the board says it, in MHz, set once if it is another than timing was met at.

        FabricError if it stays faster.
        """
        declared = self.build.clock_mhz
        found = float(pynq.Clocks.fclk0_mhz)
        if abs(found / declared - 1.0) > _CLOCK_TOLERANCE:
            # Loading a bitstream sets the dividers that Vivado planned, up to PYNQ 3.1.2 on whatever source the boot
            # firmware left; setting the clock finds dividers for the source that there is.
            refused = ""
            try:
                pynq.Clocks.fclk0_mhz = declared
            except Exception as error:  # PYNQ raises whatever its parts raise
                refused = f" ({type(error).__name__}: {error})"
            found = float(pynq.Clocks.fclk0_mhz)
            remedy = f"PYNQ {self.pynq_version} cannot set it to that{refused}"
        if found > declared * (1 + _CLOCK_TOLERANCE):
            raise FabricError(
                f"{self.package.path}: the board clocks the kernel at {found:g} MHz, its timing was met at "
                f"{declared:g} MHz, and {remedy}: answers could be wrong; restart the board, and let nothing else set "
                "the clock (pynq.Clocks.fclk0_mhz)"
            )
        if found < declared * (1 - _CLOCK_TOLERANCE):
            warnings.warn(
                f"the clock is not what you think: the board clocks the kernel at {found:g} MHz, the package says "
                f"{declared:g} MHz, and {remedy}; answers are right, but slower by as much",
                stacklevel=3,
            )
        return found

    def _run_batch(self, memory: _Memory, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Records [N] of one batch, by tag; tags count up from 0."""
        count, piece = len(images), memory.frames.shape[1]
        stride = memory.frames.shape[2] * BEAT_BYTES
        send, receive = self._dma.send, self._dma.receive
        self._sent = 0
        self.registers.write("batch", count)
        if self.interrupts:
            receive.clear_interrupt()
        receive.transfer(memory.records_at, count * self._record.itemsize)
        self._pack(memory, images, sets, 0)
        for number, start in enumerate(range(0, count, piece)):
            address = memory.frames_at + number % 2 * piece * stride
            for index in range(min(piece, count - start)):
                self._wait(send)
                send.transfer(address + index * stride, self._frame_bytes)
                self._sent += 1
                if index == 0:
                    # The other half is free: the frame just started is this half's, and those before it are through.
                    self._pack(memory, images, sets, start + piece)
        self._wait(send)
        self._wait(receive)
        received = receive.transferred()
        if received != count * self._record.itemsize:
            raise FabricError(f"{received} bytes of records came, {count * self._record.itemsize} were due")
        copying = time.perf_counter()
        memory.records.invalidate()
        records = np.array(memory.records[:count])
        unpacking = time.perf_counter()
        ordered = in_order(records, count)
        self.legs.copy_s += unpacking - copying
        self.legs.unpack_s += time.perf_counter() - unpacking
        self._after_s = time.perf_counter() - copying
        if ordered is None:
            raise FabricError(f"the kernel did not give each of {count} frames one record")
        return ordered

    def _pack(self, memory: _Memory, images: Images, sets: npt.NDArray[np.uint8], start: int) -> None:
        """Pack the piece from image `start` on, if there is one, into its half of the buffer."""
        piece = memory.frames.shape[1]
        taken = slice(start, start + piece)
        count = len(images[taken])
        if not count:
            return
        packing = time.perf_counter()
        beats = pack_frames(images[taken], sets[taken])[0].reshape(count, -1)
        beats[:, 0] += np.uint64(start)  # tags, bits 31:0, count through the batch
        copying = time.perf_counter()
        half = memory.frames[start // piece % 2]
        half[:count] = beats
        half.flush()
        self.legs.pack_s += copying - packing
        self.legs.copy_s += time.perf_counter() - copying

    def _wait(self, channel: Channel) -> None:
        """Wait until the channel's last transfer is done; FabricError if it stops or nothing moves for the time-out."""
        for _ in range(_SPIN):
            if channel.done():
                return
        deadline = time.monotonic() + self.timeout_s
        while not channel.done():
            self._dma.check()  # a receiving channel that stopped holds the sending one up, and the other way round
            left = deadline - time.monotonic()
            if left <= 0:
                raise FabricError(f"nothing moved for {self.timeout_s:g} s")
            if channel is self._dma.receive and self._interrupt is not None:
                self._sleep_until_interrupt(max(0.0, min(left, _INTERRUPT_SLICE_S, channel.left())))
            else:
                time.sleep(_NAP_S)

    def _sleep_until_interrupt(self, seconds: float) -> None:
        interrupt, loop = self._interrupt, self._loop
        assert interrupt is not None
        assert loop is not None

        async def wait() -> None:
            await asyncio.wait_for(interrupt.wait(), seconds)

        try:
            loop.run_until_complete(wait())
        except asyncio.TimeoutError:
            return
        except Exception as error:  # PYNQ and its loop raise whatever their parts raise
            self._interrupt = None
            _warn_of_interrupts(error, stacklevel=6)

    def _explain(self, error: FabricError, frames: int) -> str:
        """What is to be said of a failed batch of `frames`; resets DMA and kernel."""
        seen = f"{self._sent} of {frames} frames sent; {self._dma.status()}; kernel: {self.registers.state()}"
        try:
            self.reset()
            after = "DMA and kernel were reset: ask again; if it comes back, run `edgesight board selftest`"
        except FabricError as fault:
            after = f"they could not be reset: {fault}"
        return f"{self.package.path} on {self.board}: {error} ({seen}); {after}"

    def _check_answered(self, records: Records) -> None:
        """FabricError if a record is no answer: how fast those come says nothing."""
        wrong = np.flatnonzero(records["error"])
        if len(wrong):
            code = int(records["error"][wrong[0]])
            name = Error(code).name if code in set(Error) else f"{code}, which this host does not know"
            raise FabricError(
                f"{self.package.path} on {self.board}: {len(wrong)} of {len(records)} images were answered with an "
                f"error, image {int(wrong[0])} with {name}: run `edgesight board selftest`"
            )

    def _subject(self, records: Records) -> str:
        """What the images of these records went through, in words."""
        stages = records["stage"] & STAGE_MASK
        names = [stage.name for stage in self.package.kernel.stages]
        if (stages == len(names) - 1).all():
            return "every image through all stages" + ("" if self._thresholds_set else ": no threshold is set")
        counts = ", ".join(f"{int((stages == at).sum())} by {name}" for at, name in enumerate(names))
        return f"images answered early where a stage is sure: {counts}"

    def _stalls(self) -> list[int]:
        return [self.registers.read("input_stall_cycles"), self.registers.read("output_stall_cycles")]


def _interrupt(pynq: Any, overlay: Any) -> tuple[Any, asyncio.AbstractEventLoop | None]:
    """The interrupt of the receiving channel and the loop that it lives in, or nothing where the design has none."""
    if _DONE_INTERRUPT not in getattr(overlay, "interrupt_pins", {}):
        return None, None
    loop = asyncio.new_event_loop()

    async def make() -> Any:
        return pynq.Interrupt(_DONE_INTERRUPT)  # binds to the loop that runs

    try:
        return loop.run_until_complete(make()), loop
    except Exception as error:  # PYNQ lets out what its look-ups raise: KeyError where it knows no controller
        loop.close()
        _warn_of_interrupts(error, stacklevel=5)
        return None, None


def _warn_of_interrupts(error: Exception, stacklevel: int) -> None:
    said = f"{type(error).__name__}: {error}"
    warnings.warn(f"interrupts are not used, the DMA is looked at instead: {said}", stacklevel=stacklevel)
