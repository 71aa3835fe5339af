"""The fabric interface: frames in, one result record a frame out.

Words owned here: record, margin, always and never thresholds, error code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgesight.host import registers
from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import ALWAYS as ALWAYS
from edgesight.host.kernel import Kernel
from edgesight.host.package import Package

# What every record begins with: 16 bytes, little-endian. `cycles` are 0 where the fabric counts none.
RECORD = np.dtype([(name, f"<u{bits // 8}") for name, (_, bits) in registers.RECORD.items()])
OFFLOAD = registers.RECORD_STAGE_OFFLOAD
STAGE_MASK = registers.RECORD_STAGE_INDEX
NEVER = registers.THRESHOLD_NEVER

Images = npt.NDArray[np.uint8]  # [N, H, W, C]; of a network alone also of the other elements that its input has
Records = npt.NDArray[np.void]  # [N] of `record_type`


class FabricError(EdgeSightError):
    """The fabric cannot be opened or did not answer: says what was seen and what to do."""


def record_type(kernel: Kernel) -> np.dtype[np.void]:
    """One record as the kernel sends it: RECORD, and behind it, where it says them, `logits` int32 [outputs]."""
    if not kernel.logits_in_record:
        return RECORD
    assert RECORD.names is not None
    layout: Any = {
        "names": [*RECORD.names, "logits"],
        "formats": [*(RECORD[name] for name in RECORD.names), ("<i4", (kernel.outputs,))],
        "offsets": [*(RECORD.fields[name][1] for name in RECORD.names), RECORD.itemsize],  # type: ignore[index]
        "itemsize": 8 * kernel.record_beats,
    }
    kind: np.dtype[np.void] = np.dtype(layout)
    return kind


class Fabric(Protocol):
    """Runs a kernel package's cascade. The host above cannot tell which maker it has."""

    package: Package
    simulated: bool  # its time is its records' cycles at the package's clock, not the time that `run` takes

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table: a margin threshold a stage (unsigned 32 bit)."""

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Answer images uint8 [N, H, W, C], each under its threshold set [N]; records come in the images' order.

        A network alone takes the elements that its input has, and its records carry `logits`. Raises FabricError on a
        wrong shape or type, or when the hardware does not answer in time.
        """

    def close(self) -> None:
        """Release the hardware; calling it twice is harmless."""


@dataclass(frozen=True)
class Place:
    """Where answers come from, as far as the fabric itself knows."""

    fabric: str  # kind of its maker: pynq, serial, verilated or csim
    board: str | None = None  # as `edgesight board list` names it
    clock_mhz: float | None = None  # read back from the board
    pynq: str | None = None  # version of PYNQ


@runtime_checkable
class Placed(Protocol):
    """A fabric that knows where it is; those that stand in for one in a test need not."""

    @property
    def place(self) -> Place:
        """Where its answers come from."""


@runtime_checkable
class DryFabric(Fabric, Protocol):
    """A fabric whose host program can go through a run without the hardware."""

    def dry_run(self, images: Images, sets: npt.NDArray[np.uint8], records: Records, seconds: float) -> Records:
        """Do all that the host does in `run`, but send nothing: `records` [N] are found as if they came.

        They come at an even pace, so that the whole takes `seconds`, as the run took that they are from. It shows what
        the host program alone draws. Raises FabricError as `run`.
        """


@runtime_checkable
class Loadable(Fabric, Protocol):
    """A fabric that takes other weights while it is open, where its package's are loaded at run time."""

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        """Answer by the weights of `package` from the next run on, with these rows as the whole threshold table.

        It must be of the structure of the package that is open; it is then `package`. Raises FabricError, the weights
        before going on, where it is not, or where the fabric does not take them.
        """


class TransparentFabric(Fabric, Protocol):
    """A fabric that can be looked into, as no board can."""

    simulated_cycles: int  # since it was opened; 0 where nothing is simulated cycle by cycle

    def logits(self, images: Images) -> list[npt.NDArray[np.int32]]:
        """Integer logits [N, classes] of every stage for every image."""


def check_kernel(package: Package) -> None:
    """Raise FabricError where the package's schema states what no fabric of this version does."""
    kernel = package.kernel
    far = [s.name for at, s in enumerate(kernel.stages) if s.trunk is not None and s.trunk.stage != at - 1]
    if far:
        raise FabricError(
            f"{package.path}: kernel {kernel.name!r} cannot be run by this version of EdgeSight: {far[0]} begins at "
            "the features of a stage that is not the one before, which alone are handed on; use the version that made "
            "it, or compile it again with this one"
        )


def check_images(package: Package, images: Images) -> None:
    """Raise FabricError unless `images` is [N, H, W, C] of the package's input shape and element, uint8 of pictures."""
    taken = package.kernel.input
    if images.dtype != np.dtype(taken.element) or images.ndim != 4 or images.shape[1:] != taken.shape:
        raise FabricError(
            f"images are {images.dtype} {list(images.shape)}, but kernel {package.kernel.name!r} takes {taken.element} "
            f"[N, {taken.height}, {taken.width}, {taken.channels}]: resize or convert them first"
        )
    low, high = (-(1 << taken.bits - 1), (1 << taken.bits - 1) - 1) if taken.signed else (0, (1 << taken.bits) - 1)
    if taken.bits not in (8, 16) and images.size and (int(images.min()) < low or int(images.max()) > high):
        raise FabricError(
            f"images hold values from {int(images.min())} to {int(images.max())}, but kernel {package.kernel.name!r} "
            f"takes {low} to {high}: convert them first"
        )


def check_sets(package: Package, sets: npt.NDArray[np.uint8], count: int) -> None:
    """Raise FabricError unless `sets` is uint8 [count], each one of the package's threshold sets."""
    existing = package.kernel.threshold_sets
    if sets.dtype != np.uint8 or sets.shape != (count,) or (count and int(sets.max()) >= existing):
        raise FabricError(
            f"sets are {sets.dtype} {list(sets.shape)}: give one threshold set a image, uint8 [{count}], each below "
            f"{existing}"
        )
