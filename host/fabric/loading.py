"""New weights for hardware that runs: from a package of its structure into the bank that nobody reads, then into use.

The kernel computes the checksum of what came, and changes weights and threshold table between two frames. Until then
the weights before answer, and they go on if anything fails. Words owned here: load, image, new table.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from edgesight.host.fabric.base import FabricError
from edgesight.host.kernel import RuntimeWeights
from edgesight.host.package import Package
from edgesight.host.registers import (
    WEIGHTS_CONTROL_BEGIN,
    WEIGHTS_CONTROL_CANCEL,
    WEIGHTS_CONTROL_SWAP,
    WEIGHTS_STATUS_READY,
    WEIGHTS_STATUS_SWAPPING,
)

Table = Mapping[int, Sequence[int]]  # thresholds, one a stage, by row of the threshold table
_SWAP_S = 2.0  # that records of accepted frames may take to be fetched
Read = Callable[[str], int]
Write = Callable[[str, int, int], None]


def check_loadable(running: Package, wanted: Package) -> RuntimeWeights:
    """What `wanted` has to load; FabricError unless hardware of package `running` can take it."""
    found, runs = wanted.kernel, running.kernel
    if found.runtime_weights is None or runs.runtime_weights is None:
        fixed = wanted if found.runtime_weights is None else running
        raise FabricError(
            f"{fixed.path}: its weights are part of the hardware: compile it with --runtime-weights, and make its "
            "bitstream once more"
        )
    if found.build_hash != runs.build_hash:
        raise FabricError(
            f"{wanted.path}: is of another structure ({found.build_hash}) than the hardware ({runs.build_hash}): "
            f"compile the network by `edgesight compile NETWORK --onto {running.path} --out NEW`, which says "
            "what differs"
        )
    return found.runtime_weights


def image_of(package: Package, runtime: RuntimeWeights) -> list[int]:
    """The words to be loaded; FabricError where the file is not what the package says of it."""
    content = package.read(runtime.file)
    if len(content) != 4 * runtime.words or zlib.crc32(content) != runtime.crc32:
        raise FabricError(
            f"{package.path / runtime.file}: has {len(content)} bytes and CRC {zlib.crc32(content):08x}, the package "
            f"says {4 * runtime.words} and {runtime.crc32:08x}: compile the package again"
        )
    return [int(word) for word in np.frombuffer(content, "<u4")]


def writes_of(package: Package, runtime: RuntimeWeights, table: Table) -> Iterator[tuple[str, int, int]]:
    """The register writes of a load up to the swap: name, value, and place in a row of registers."""
    words = image_of(package, runtime)
    yield "weights_control", WEIGHTS_CONTROL_BEGIN, 0
    yield "weights_crc", runtime.crc32, 0
    yield "weights_new_hash", int(package.kernel.weights_sha256[:8], 16), 0
    for row, thresholds in table.items():
        for stage, threshold in enumerate(thresholds):
            yield f"threshold{stage}", threshold, row
    for word in words:
        yield "weights_data", word, 0


SWAP = "weights_control", WEIGHTS_CONTROL_SWAP, 0


def load(read: Read, write: Write, package: Package, runtime: RuntimeWeights, table: Table) -> None:
    """Load the weights of `package` and swap them in, with `table` as the new threshold table.

    Rows that it has not say *never*. Raises FabricError where the hardware does not take them; then the weights before
    go on, with their table.
    """
    stated = read("weights_words")
    if stated != runtime.words:
        raise FabricError(
            f"{package.path}: its image has {runtime.words} words, the hardware takes {stated}: the hardware is of "
            "another build; load the bitstream of the package that it was compiled onto"
        )
    try:
        for name, value, index in writes_of(package, runtime, table):
            write(name, value, index)
        status = read("weights_status")
        if not status & WEIGHTS_STATUS_READY:
            raise FabricError(
                f"{package.path}: {read('weights_taken')} of {runtime.words} words came, with another checksum than "
                f"was sent (status {status:#x}): the weights before go on; load them again"
            )
    except BaseException:
        write("weights_control", WEIGHTS_CONTROL_CANCEL, 0)
        raise
    write(*SWAP)
    deadline = time.monotonic() + _SWAP_S
    while read("weights_status") & WEIGHTS_STATUS_SWAPPING:
        if time.monotonic() > deadline:
            raise FabricError(
                f"{package.path}: the weights are loaded and not swapped in, since records of frames before were not "
                "fetched: fetch them, or open the fabric again"
            )
    found, expected = read("weights_hash"), package.kernel.weights_sha256[:8]
    if found != int(expected, 16):
        raise FabricError(
            f"{package.path}: weights' hash reads {found:08x} after the swap, not {expected}: open the fabric again"
        )
