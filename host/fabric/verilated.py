"""The Verilated fabric: the kernel's own RTL, cycle by cycle, as a shared library without VPI.

It talks to the simulated hardware as a driver would talk to the real one: frames and records on AXI4-Stream, registers
on AXI4-Lite. Words owned here: tap, stamp, simulated cycles.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import (
    ALWAYS,
    NEVER,
    FabricError,
    Images,
    Place,
    Records,
    check_images,
    check_sets,
    record_type,
)
from edgesight.host.fabric.driver import Registers, in_order, pack_frames
from edgesight.host.fabric.loading import SWAP, check_loadable, writes_of
from edgesight.host.libraries import find
from edgesight.host.package import Package
from edgesight.host.registers import MAX_STAGES, WEIGHTS_CONTROL_CANCEL, WEIGHTS_STATUS_BANK

_ABI = 3  # of sim/harness.cpp
_SLICE_CYCLES = 50_000  # simulated between two looks at the clock, the progress and the keyboard


class _Run(ctypes.Structure):
    """`Run` of sim/harness.cpp."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("keep", ctypes.c_void_p),
        ("last", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("records", ctypes.c_void_p),
        ("expected", ctypes.c_uint64),
        ("logits", ctypes.c_void_p * MAX_STAGES),
        ("stamps", ctypes.c_void_p * MAX_STAGES),
        ("tags", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("writes", ctypes.c_void_p),
        ("write_count", ctypes.c_uint64),
        ("write_from", ctypes.c_uint64),
        ("written", ctypes.c_uint64),
        ("write_started", ctypes.c_uint64),
        ("write_ended", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Interval:
    """How fast one stage is, measured."""

    interval_cycles: int  # from one frame's logits to the next one's, median of the steady state
    latency_cycles: int  # from a frame's first beat to this stage's logits, through an empty kernel
    images: int  # that the interval was measured with


@dataclass(frozen=True)
class RollOut:
    """New weights under traffic: what came of the frames, and how long it took."""

    records: Records  # [N] in the order in which they came, `tag` being the image
    load_cycles: int  # from the first register write of the load to the answer of the last, which asks for the swap
    bank: int  # that answered when the last record came


@dataclass(frozen=True)
class _Tapped:
    """What the taps of one run showed."""

    logits: list[npt.NDArray[np.int32]]  # by stage, [N, classes]
    stamps: list[npt.NDArray[np.uint64]]  # by stage, [N]: cycle of the run in which the logits were taken


class VerilatedFabric:
    """`Fabric` on the package's Verilated library. One object is one piece of hardware; it is used by one thread."""

    simulated = True
    place = Place("verilated")

    def __init__(self, package: Package) -> None:
        """Load the library, reset the kernel, check that it is this package's.

        Raises FabricError when the library is absent, unreadable, or of another build.
        """
        self.package = package
        self.simulated_cycles = 0  # since this object was made
        self.seconds = 0.0  # wall time that simulating them took
        self._handle: int | None = None
        self._library = _load(package)
        stages = package.kernel.stages
        widest = max(stage.logit_bits for stage in stages)
        outputs, record_beats = package.kernel.outputs, package.kernel.record_beats
        self._handle = self._library.kernel_open(len(stages), outputs, widest, record_beats)
        self.registers = Registers(package, self._read_word, self._write_word)
        try:
            self.registers.check_identity(
                str(self._library._name), f"remove it and run `edgesight verilate {package.path}`"
            )
        except FabricError:
            self.close()
            raise

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table; FabricError on a row or value that it cannot hold."""
        self.registers.set_thresholds(set_index, thresholds)

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        """Answer by the weights and thresholds of `package`, of the same structure; FabricError, being as before."""
        self.registers.load_weights(package, thresholds)
        self.package = package

    def run(
        self, images: Images, sets: npt.NDArray[np.uint8], *, progress: Callable[[int], None] | None = None
    ) -> Records:
        """Answer images uint8 [N, H, W, C], each under its threshold set [N]; records come in the images' order.

        `progress` is called now and then with the count of records so far. Raises FabricError on a wrong shape, type or
        set, or when no record comes for so long that none will; the kernel is reset then, and its thresholds are lost.
        """
        records, _ = self._run(images, sets, tapped=False, progress=progress)
        return records

    def roll_out(
        self,
        images: Images,
        sets: npt.NDArray[np.uint8],
        package: Package,
        thresholds: Mapping[int, Sequence[int]],
        after: int,
    ) -> RollOut:
        """Answer images without a pause, loading the weights of `package` and swapping them in meanwhile.

        The load begins when `after` records came, and its register writes go on beside frames and records, as processor
        and DMA work beside each other. Raises FabricError as `run` and `load`, and where images end before the load.
        """
        runtime = check_loadable(self.package, package)
        steps = [*writes_of(package, runtime, thresholds), SWAP]
        offsets = package.kernel.registers
        writes = np.array([(offsets[name] + 4 * index, value) for name, value, index in steps], np.uint32)
        run, records, _ = self._framed(images, sets, tapped=False)
        run.writes, run.write_count = writes.ctypes.data, len(writes)
        run.write_from = after * self.package.kernel.record_beats
        self._simulate(run, None)
        if run.written != len(writes):
            self.registers.write("weights_control", WEIGHTS_CONTROL_CANCEL)
            raise FabricError(
                f"{package.path}: {run.written} of {len(writes)} register writes fitted beside {len(images)} images: "
                "give more images"
            )
        status = self.registers.read("weights_status")
        self.package = package
        self.registers = Registers(package, self._read_word, self._write_word)
        bank = int(bool(status & WEIGHTS_STATUS_BANK))
        return RollOut(records, run.write_ended - run.write_started, bank)

    def logits(self, images: Images) -> list[npt.NDArray[np.int32]]:
        """Integer logits int32 [N, classes] of every stage for every image, seen at the stages' outputs."""
        records, tapped = self._run_row([NEVER] * len(self.package.kernel.stages), images)
        return [records["logits"].copy()] if self.package.kernel.logits_in_record else tapped.logits

    def measure_intervals(self, images: Images) -> list[Interval]:
        """Measure every stage by itself: all images answered at stage 0, then all forwarded to stage 1, and so on.

        Takes at least 8 images, of which the first quarter only fills the kernel. Raises FabricError on fewer.
        """
        if len(images) < 8:
            raise FabricError(f"{len(images)} images are too few to measure an interval: give at least 8")
        intervals = []
        stages = len(self.package.kernel.stages)
        for stage in range(stages):
            row = [NEVER] * stage + [ALWAYS] * (stages - stage)
            self.reset()
            _, alone = self._run_row(row, images[:1])
            _, many = self._run_row(row, images)
            steady = np.sort(many.stamps[stage])[len(images) // 4 :]
            intervals.append(Interval(int(np.median(np.diff(steady))), int(alone.stamps[stage][0]), len(images)))
        return intervals

    def _read_word(self, address: int) -> int:
        value = ctypes.c_uint32()
        cycles = self._library.kernel_read(self._open(), address, ctypes.byref(value))
        if cycles < 0:
            raise FabricError(f"register {address:#x} does not answer: reset the fabric; if it stays so, compile again")
        self.simulated_cycles += cycles
        return value.value

    def _write_word(self, address: int, value: int) -> None:
        cycles = self._library.kernel_write(self._open(), address, value)
        if cycles < 0:
            raise FabricError(f"register {address:#x} takes no value: reset the fabric; if it stays so, compile again")
        self.simulated_cycles += cycles

    def reset(self) -> None:
        """Reset the hardware (hard): the threshold table says *never* everywhere, and nothing is under way."""
        self._library.kernel_reset(self._open())

    def close(self) -> None:
        """Release the hardware; calling it twice is harmless."""
        if self._handle is not None:
            self._library.kernel_close(self._handle)
            self._handle = None

    def _open(self) -> int:
        if self._handle is None:
            raise FabricError("the fabric was closed: open another one")
        return self._handle

    def _run_row(self, thresholds: list[int], images: Images) -> tuple[Records, _Tapped]:
        """Run all images, tapped, under one row, lent from the last threshold set and given back."""
        spare = self.package.kernel.threshold_sets - 1
        before = self.registers.thresholds(spare)
        self.set_thresholds(spare, thresholds)
        try:
            return self._run(images, np.full(len(images), spare, np.uint8), tapped=True)
        finally:
            self.set_thresholds(spare, before)

    def _run(
        self,
        images: Images,
        sets: npt.NDArray[np.uint8],
        *,
        tapped: bool,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Records, _Tapped]:
        run, records, taps = self._framed(images, sets, tapped=tapped)
        self._simulate(run, progress)
        ordered = in_order(records, len(images))
        if ordered is None:
            self.reset()
            raise FabricError(
                f"{self.package.path}: the kernel did not give each of {len(images)} frames one record; it was reset: "
                "compile the package again, or report this"
            )
        return ordered, taps

    def _framed(
        self, images: Images, sets: npt.NDArray[np.uint8], *, tapped: bool
    ) -> tuple[_Run, Records, _Tapped]:  # fmt: skip
        """A run of all images, and where it puts what it finds."""
        check_images(self.package, images)
        check_sets(self.package, sets, len(images))
        kernel = self.package.kernel
        count, classes, stages = len(images), kernel.outputs, len(kernel.stages)
        data, keep, last = pack_frames(images, sets)
        records = np.zeros(count, record_type(kernel))
        kept = count if tapped else 0
        taps = _Tapped(
            [np.zeros((kept, classes), np.int32) for _ in range(stages)],
            [np.zeros(kept, np.uint64) for _ in range(stages)],
        )
        run = _Run(
            data=data.ctypes.data,
            keep=keep.ctypes.data,
            last=last.ctypes.data,
            beats=data.size,
            records=records.ctypes.data,
            expected=count,
            tags=kept,
        )
        if tapped:
            if not kernel.logits_in_record:  # a map's do not pass the tap in one beat, and are in the records
                run.logits[:stages] = [logits.ctypes.data for logits in taps.logits]
            run.stamps[:stages] = [stamps.ctypes.data for stamps in taps.stamps]
        run.kept_alive = data, keep, last  # as long as the run points into them
        return run, records, taps

    def _simulate(self, run: _Run, progress: Callable[[int], None] | None) -> None:
        """Simulate until all records are there; FabricError if none comes any more."""
        stages = self.package.kernel.stages
        frame = sum(stage.bound_cycles for stage in stages) + self.package.kernel.input.frame_bytes
        record_beats = self.package.kernel.record_beats
        patience = 16 * frame + 4 * _SLICE_CYCLES  # cycles; far more than the slowest frame between two records needs
        received, since = 0, 0
        done = False
        while not done:
            handle, started, cycles = self._open(), time.perf_counter(), run.cycles
            done = bool(self._library.kernel_run(handle, ctypes.byref(run), _SLICE_CYCLES))
            self.seconds += time.perf_counter() - started
            self.simulated_cycles += run.cycles - cycles
            if run.received != received:
                received, since = run.received, run.cycles
            if progress is not None:
                progress(received // record_beats)
            if not done and run.cycles - since > patience:
                seen = self.registers.state()
                self.reset()
                raise FabricError(
                    f"{self.package.path}: {run.received // record_beats} of {run.expected} records came, then none "
                    f"for {run.cycles - since} cycles ({run.sent} of {run.beats} beats accepted; {seen}): the kernel "
                    "hangs and was reset; compile the package again, or report this"
                )


def _load(package: Package) -> ctypes.CDLL:
    path = find(package, "verilated")
    remedy = f"`edgesight verilate {package.path}`"
    if path is None:
        raise FabricError(
            f"the Verilated library of {package.path} is absent or damaged on this machine: build it by {remedy}"
        )
    try:
        library = ctypes.CDLL(str(path))
        library.kernel_abi.restype = ctypes.c_uint32
        abi = library.kernel_abi()
    except (OSError, AttributeError) as error:
        raise FabricError(f"{path} cannot be loaded ({error}): remove it and build it here by {remedy}") from error
    if abi != _ABI:
        raise FabricError(f"{path} was built by another version: build it again by {remedy}")
    library.kernel_open.argtypes = [ctypes.c_uint32] * 4
    library.kernel_open.restype = ctypes.c_void_p
    library.kernel_close.argtypes = [ctypes.c_void_p]
    library.kernel_close.restype = None
    library.kernel_reset.argtypes = [ctypes.c_void_p]
    library.kernel_reset.restype = None
    library.kernel_read.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)]
    library.kernel_read.restype = ctypes.c_int32
    library.kernel_write.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
    library.kernel_write.restype = ctypes.c_int32
    library.kernel_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Run), ctypes.c_uint64]
    library.kernel_run.restype = ctypes.c_int32
    return library
