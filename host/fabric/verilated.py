"""The Verilated fabric: the kernel's own RTL, cycle by cycle, as a shared library without VPI.

It talks to the simulated hardware as a driver would talk to the real one: frames and records on AXI4-Stream, registers
on AXI4-Lite. Words owned here: tap, stamp, simulated cycles.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from host.fabric.base import ALWAYS, NEVER, RECORD, FabricError, Images, Records, check_images
from host.kernel import Package
from host.registers import FRAME_MAGIC, INTERFACE_VERSION, KERNEL_ID, VERSION_MAJOR

_ABI = 1  # of sim/harness.cpp
_STAGES = 2
_BEAT_BYTES = 8
_SLICE_CYCLES = 50_000  # simulated between two looks at the clock, the progress and the keyboard
_COUNTERS = (
    *("status", "faults", "frames", "answered_stage0", "answered_stage1", "offloaded", "errors", "bad_headers"),
    *("input_stall_cycles", "output_stall_cycles"),
)

Beats = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


class _Run(ctypes.Structure):
    """`Run` of sim/harness.cpp."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("keep", ctypes.c_void_p),
        ("last", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("records", ctypes.c_void_p),
        ("expected", ctypes.c_uint64),
        ("logits", ctypes.c_void_p * _STAGES),
        ("stamps", ctypes.c_void_p * _STAGES),
        ("tags", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Interval:
    """How fast one stage is, measured."""

    interval_cycles: int  # from one frame's logits to the next one's, median of the steady state
    latency_cycles: int  # from a frame's first beat to this stage's logits, through an empty kernel
    images: int  # that the interval was measured with


@dataclass(frozen=True)
class _Tapped:
    """What the taps of one run showed."""

    logits: list[npt.NDArray[np.int32]]  # by stage, [N, classes]
    stamps: list[npt.NDArray[np.uint64]]  # by stage, [N]: cycle of the run in which the logits were taken


class VerilatedFabric:
    """`Fabric` on the package's Verilated library. One object is one piece of hardware; it is used by one thread."""

    counts_cycles = True

    def __init__(self, package: Package) -> None:
        """Load the library, reset the kernel, check that it is this package's.

        Raises FabricError when the library is absent, unreadable, or of another build.
        """
        self.package = package
        self.simulated_cycles = 0  # since this object was made
        self.seconds = 0.0  # wall time that simulating them took
        self._handle: int | None = None
        self._library = _load(package)
        first, second = package.kernel.stages
        self._handle = self._library.kernel_open(package.kernel.labels, first.logit_bits, second.logit_bits)
        try:
            self._check_identity()
        except FabricError:
            self.close()
            raise

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table: a margin threshold a stage (unsigned 32 bit).

        Raises FabricError on a row or value that the table cannot hold.
        """
        sets = self.package.kernel.threshold_sets
        if not 0 <= set_index < sets:
            raise FabricError(f"threshold set {set_index} does not exist: the kernel has sets 0 to {sets - 1}")
        if len(thresholds) != _STAGES or not all(ALWAYS <= threshold <= NEVER for threshold in thresholds):
            raise FabricError(f"thresholds {thresholds} of set {set_index}: give {_STAGES} numbers from 0 to {NEVER}")
        for stage, threshold in enumerate(thresholds):
            self.write(f"threshold{stage}", threshold, set_index)

    def thresholds(self, set_index: int) -> list[int]:
        """Read one row of the threshold table back."""
        return [self.read(f"threshold{stage}", set_index) for stage in range(_STAGES)]

    def run(
        self, images: Images, sets: npt.NDArray[np.uint8], *, progress: Callable[[int], None] | None = None
    ) -> Records:
        """Answer images uint8 [N, H, W, C], each under its threshold set [N]; records come in the images' order.

        `progress` is called now and then with the count of records so far. Raises FabricError on a wrong shape, type or
        set, or when no record comes for so long that none will; the kernel is reset then, and its thresholds are lost.
        """
        records, _ = self._run(images, sets, tapped=False, progress=progress)
        return records

    def logits(self, images: Images) -> list[npt.NDArray[np.int32]]:
        """Integer logits int32 [N, classes] of every stage for every image, seen at the stages' outputs."""
        _, tapped = self._run_row([NEVER, ALWAYS], images)
        return tapped.logits

    def measure_intervals(self, images: Images) -> list[Interval]:
        """Measure every stage by itself: all images answered at stage 0, then all forwarded and answered at stage 1.

        Takes at least 8 images, of which the first quarter only fills the kernel. Raises FabricError on fewer.
        """
        if len(images) < 8:
            raise FabricError(f"{len(images)} images are too few to measure an interval: give at least 8")
        intervals = []
        for stage, row in enumerate(([ALWAYS, ALWAYS], [NEVER, ALWAYS])):
            self.reset()
            _, alone = self._run_row(row, images[:1])
            _, many = self._run_row(row, images)
            steady = np.sort(many.stamps[stage])[len(images) // 4 :]
            intervals.append(Interval(int(np.median(np.diff(steady))), int(alone.stamps[stage][0]), len(images)))
        return intervals

    def read(self, name: str, index: int = 0) -> int:
        """Read a register over AXI4-Lite; `index` picks one of a row, such as a threshold set."""
        value = ctypes.c_uint32()
        cycles = self._library.kernel_read(self._open(), self._address(name, index), ctypes.byref(value))
        if cycles < 0:
            raise FabricError(f"register {name} does not answer: reset the fabric; if it stays so, compile again")
        self.simulated_cycles += cycles
        return value.value

    def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register over AXI4-Lite."""
        cycles = self._library.kernel_write(self._open(), self._address(name, index), value)
        if cycles < 0:
            raise FabricError(f"register {name} takes no value: reset the fabric; if it stays so, compile again")
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

    def _address(self, name: str, index: int) -> int:
        try:
            return self.package.kernel.registers[name] + 4 * index
        except KeyError:
            raise FabricError(
                f"kernel {self.package.kernel.name!r} has no register {name!r}: it was made by another version; "
                "compile it again"
            ) from None

    def _check_identity(self) -> None:
        library, expected = self.package.library("verilated"), int(self.package.kernel.build_hash, 16)
        if self.read("id") != KERNEL_ID:
            raise FabricError(f"{library}: id reads {self.read('id'):#010x}, which is no EdgeSight kernel: delete it")
        version = self.read("version")
        if version & VERSION_MAJOR != INTERFACE_VERSION & VERSION_MAJOR:
            raise FabricError(
                f"{self.package.path}: the kernel's registers are of version {version >> 16}, this host knows version "
                f"{INTERFACE_VERSION >> 16}: compile the package again"
            )
        found = self.read("build_hash")
        if found != expected:
            raise FabricError(
                f"{library}: build hash reads {found:08x}, the package has {expected:08x}: delete the library and run "
                f"`edgesight verilate {self.package.path}`"
            )

    def _run_row(self, thresholds: list[int], images: Images) -> tuple[Records, _Tapped]:
        """Run all images, tapped, under one row, lent from the last threshold set and given back."""
        spare = self.package.kernel.threshold_sets - 1
        before = self.thresholds(spare)
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
        check_images(self.package, images)
        _check_sets(sets, len(images), self.package.kernel.threshold_sets)
        count, classes = len(images), self.package.kernel.labels
        data, keep, last = pack_frames(images, sets)
        records = np.zeros(count, RECORD)
        kept = count if tapped else 0
        taps = _Tapped(
            [np.zeros((kept, classes), np.int32) for _ in range(_STAGES)],
            [np.zeros(kept, np.uint64) for _ in range(_STAGES)],
        )
        run = _Run(
            data=data.ctypes.data,
            keep=keep.ctypes.data,
            last=last.ctypes.data,
            beats=data.size,
            records=records.ctypes.data,
            expected=count,
            tags=count,
        )
        if tapped:
            run.logits[:] = [logits.ctypes.data for logits in taps.logits]
            run.stamps[:] = [stamps.ctypes.data for stamps in taps.stamps]
        self._simulate(run, progress)
        ordered = records[np.argsort(records["tag"])]
        if not np.array_equal(ordered["tag"], np.arange(count)):
            self.reset()
            raise FabricError(
                f"{self.package.path}: the kernel did not give each of {count} frames one record; it was reset: "
                "compile the package again, or report this"
            )
        return ordered, taps

    def _simulate(self, run: _Run, progress: Callable[[int], None] | None) -> None:
        """Simulate until all records are there; FabricError if none comes any more."""
        stages = self.package.kernel.stages
        frame = sum(stage.bound_cycles for stage in stages) + self.package.kernel.input.frame_bytes
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
                progress(received // 2)
            if not done and run.cycles - since > patience:
                seen = ", ".join(f"{name} {self.read(name):#x}" for name in _COUNTERS)
                self.reset()
                raise FabricError(
                    f"{self.package.path}: {run.received // 2} of {run.expected} records came, then none for "
                    f"{run.cycles - since} cycles ({run.sent} of {run.beats} beats accepted; {seen}): the kernel hangs "
                    "and was reset; compile the package again, or report this"
                )


def pack_frames(images: Images, sets: npt.NDArray[np.uint8]) -> tuple[Beats, Bytes, Bytes]:
    """Frames of images [N, H, W, C] as the kernel takes them: data, keep and last of every beat.

    A frame is a header beat and its payload's beats; tags count up from 0.
    """
    count = len(images)
    size = math.prod(images.shape[1:])
    flat = images.reshape(count, size)
    words = -(-size // _BEAT_BYTES)
    beats = np.zeros((count, 1 + words), "<u8")
    tags = np.arange(count, dtype=np.uint64)
    beats[:, 0] = np.uint64(FRAME_MAGIC << 48) | sets.astype(np.uint64) << np.uint64(40) | tags
    beats[:, 1:].view(np.uint8)[:, :size] = flat
    keep = np.full((count, 1 + words), 0xFF, np.uint8)
    keep[:, -1] = (1 << (size - _BEAT_BYTES * (words - 1))) - 1
    last = np.zeros((count, 1 + words), np.uint8)
    last[:, -1] = 1
    return beats.reshape(-1), keep.reshape(-1), last.reshape(-1)


def _check_sets(sets: npt.NDArray[np.uint8], count: int, existing: int) -> None:
    if sets.dtype != np.uint8 or sets.shape != (count,) or (count and int(sets.max()) >= existing):
        raise FabricError(
            f"sets are {sets.dtype} {list(sets.shape)}: give one threshold set a image, uint8 [{count}], each below "
            f"{existing}"
        )


def _load(package: Package) -> ctypes.CDLL:
    path = package.library("verilated")
    remedy = f"`edgesight verilate {package.path}`"
    if not path.exists():
        raise FabricError(f"{path} is absent: build it with {remedy}")
    try:
        library = ctypes.CDLL(str(path.resolve()))
        library.kernel_abi.restype = ctypes.c_uint32
        abi = library.kernel_abi()
    except (OSError, AttributeError) as error:
        raise FabricError(f"{path} cannot be loaded ({error}): delete it and build it here with {remedy}") from error
    if abi != _ABI:
        raise FabricError(f"{path} was built by another version: delete it and build it again with {remedy}")
    library.kernel_open.argtypes = [ctypes.c_uint32] * 3
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
