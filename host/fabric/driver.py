"""What every driver of the kernel's hardware does alike: name registers, check identity, pack frames.

Words owned here: register access by name, frame packing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import ALWAYS, NEVER, FabricError, Images, Records, check_kernel
from edgesight.host.fabric.loading import Table, check_loadable, load
from edgesight.host.package import Package
from edgesight.host.registers import FRAME_MAGIC, HEADER, INTERFACE_VERSION, KERNEL_ID, VERSION_MAJOR

BEAT_BYTES = 8
_COUNTERS = ("offloaded", "errors", "bad_headers", "input_stall_cycles", "output_stall_cycles")

Beats = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


class Registers:
    """The kernel's registers by name, over whatever bus `read_word` and `write_word` know (byte address, 32 bits)."""

    def __init__(
        self, package: Package, read_word: Callable[[int], int], write_word: Callable[[int, int], None]
    ) -> None:
        """Nothing is read or written yet. Raises FabricError where no fabric runs such a package."""
        check_kernel(package)
        self._package = package
        self._read_word = read_word
        self._write_word = write_word

    def read(self, name: str, index: int = 0) -> int:
        """Read a register; `index` picks one of a row, such as a threshold set."""
        return self._read_word(self._address(name, index))

    def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register."""
        self._write_word(self._address(name, index), value)

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table: a margin threshold a stage (unsigned 32 bit).

        Raises FabricError on a row or value that the table cannot hold.
        """
        self._check_row(set_index, thresholds)
        for stage, threshold in enumerate(thresholds):
            self.write(f"threshold{stage}", threshold, set_index)

    def _check_row(self, set_index: int, thresholds: Sequence[int]) -> None:
        sets, stages = self._package.kernel.threshold_sets, len(self._package.kernel.stages)
        if not 0 <= set_index < sets:
            raise FabricError(
                f"threshold set {set_index} does not exist: the kernel has sets 0 to {sets - 1}; choose one of these"
            )
        if len(thresholds) != stages or not all(ALWAYS <= threshold <= NEVER for threshold in thresholds):
            raise FabricError(
                f"thresholds {list(thresholds)} of set {set_index}: give {stages} numbers from 0 to {NEVER}"
            )

    def thresholds(self, set_index: int) -> list[int]:
        """Read one row of the threshold table back."""
        return [self.read(f"threshold{stage}", set_index) for stage in range(len(self._package.kernel.stages))]

    def load_weights(self, package: Package, table: Table) -> None:
        """Answer by the weights and the thresholds of `package` from the next frame on; `table`: by row.

        It is then the package of these registers. Raises FabricError where it is of another structure, where a row
        cannot be held, or where the hardware does not take it: then everything is as before.
        """
        runtime = check_loadable(self._package, package)
        for row, thresholds in table.items():
            self._check_row(row, thresholds)
        load(self.read, self.write, package, runtime, table)
        self._package = package

    def check_identity(self, place: str, remedy: str, *, loads: bool = True) -> None:
        """Raise FabricError unless the hardware at `place` is this package's kernel.

        Where it takes weights at run time and has others, those of the package are loaded, if the bus `loads` any.
        `remedy` says how the right kernel gets there.
        """
        found = self.read("id")
        if found != KERNEL_ID:
            raise FabricError(f"{place}: id reads {found:#010x}, which is no EdgeSight kernel: {remedy}")
        version = self.read("version")
        if version & VERSION_MAJOR != INTERFACE_VERSION & VERSION_MAJOR:
            raise FabricError(
                f"{place}: the kernel's registers are of version {version >> 16}, this host knows version "
                f"{INTERFACE_VERSION >> 16}: compile the package again"
            )
        found, expected = self.read("build_hash"), self._package.kernel.build_hash
        if found != int(expected, 16):
            raise FabricError(f"{place}: build hash reads {found:08x}, the package has {expected}: {remedy}")
        found, expected = self.read("weights_hash"), self._package.kernel.weights_sha256[:8]
        if found == int(expected, 16):
            return
        if self._package.kernel.runtime_weights is None or not loads:
            raise FabricError(f"{place}: weights' hash reads {found:08x}, the package has {expected}: {remedy}")
        self.load_weights(self._package, {})

    def state(self) -> str:
        """Status, faults and counters in one line, for messages."""
        answered = [f"answered_stage{stage}" for stage in range(len(self._package.kernel.stages))]
        names = ["status", "faults", "frames", *answered, *_COUNTERS]
        return ", ".join(f"{name} {self.read(name):#x}" for name in names)

    def _address(self, name: str, index: int) -> int:
        try:
            return self._package.kernel.registers[name] + 4 * index
        except KeyError:
            raise FabricError(
                f"kernel {self._package.kernel.name!r} has no register {name!r}: it was made by another version; "
                "compile it again"
            ) from None


def pack_frames(images: Images, sets: npt.NDArray[np.uint8]) -> tuple[Beats, Bytes, Bytes]:
    """Frames of images [N, H, W, C] as the kernel takes them: data, keep and last of every beat.

    A value of two bytes goes lower byte first. A frame is a header beat and its payload's beats; tags count up from 0.
    """
    count = len(images)
    size = math.prod(images.shape[1:]) * images.itemsize
    little = images.astype(images.dtype.newbyteorder("<"), copy=False)
    flat = np.ascontiguousarray(little.reshape(count, size // images.itemsize)).view(np.uint8)
    words = -(-size // BEAT_BYTES)
    beats = np.zeros((count, 1 + words), "<u8")
    tags = np.arange(count, dtype=np.uint64)
    at = {name: np.uint64(low) for name, (low, _) in HEADER.items()}
    magic = np.uint64(FRAME_MAGIC) << at["magic"]
    beats[:, 0] = magic | sets.astype(np.uint64) << at["set"] | tags << at["tag"]
    beats[:, 1:].view(np.uint8)[:, :size] = flat
    keep = np.full((count, 1 + words), 0xFF, np.uint8)
    keep[:, -1] = (1 << (size - BEAT_BYTES * (words - 1))) - 1
    last = np.zeros((count, 1 + words), np.uint8)
    last[:, -1] = 1
    return beats.reshape(-1), keep.reshape(-1), last.reshape(-1)


def in_order(records: Records, count: int) -> Records | None:
    """Records [count] by tag, or None unless every tag from 0 on is there once."""
    ordered = records[np.argsort(records["tag"], kind="stable")]
    return ordered if np.array_equal(ordered["tag"], np.arange(count)) else None
