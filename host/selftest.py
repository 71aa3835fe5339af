"""Known-answer self-test of a kernel on any fabric: the package's own vectors, bit for bit.

Words owned here: vectors (images with the integer logits that each stage must give), expected record.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import (
    ALWAYS,
    NEVER,
    OFFLOAD,
    RECORD,
    STAGE_MASK,
    Fabric,
    Images,
    Placed,
    Records,
)
from edgesight.host.fabric.csim import Logits, below, decide
from edgesight.host.kernel import KernelError
from edgesight.host.package import Package

VECTORS = "vectors.npz"
_FIELDS = ("error", "stage", "label", "margin")  # tags are the run's own, cycles the fabric's


@dataclass(frozen=True)
class SelfTestReport:
    """What the self-test found."""

    kernel: str
    build_hash: str
    images: int  # vectors of the package
    rows: list[list[int]]  # rows of thresholds that every image was run under
    records: int  # compared: images x rows
    mismatches: int  # records of which any field differs
    first_mismatch: str | None  # in words
    # Where it ran, as far as the fabric knows.
    fabric: str | None = None  # pynq, serial, verilated or csim
    board: str | None = None  # as `edgesight board list` names it
    clock_mhz: float | None = None  # read back from the board
    pynq: str | None = None  # version of PYNQ

    @property
    def passed(self) -> bool:
        """Whether every record came out as the package says."""
        return self.mismatches == 0


def selftest(fabric: Fabric, package: Package) -> SelfTestReport:
    """Run the package's vectors through `fabric` by every way through the cascade and under its calibrated thresholds.

    Rows of all kinds are mixed in one run, so that answers overtake one another. The threshold table is overwritten;
    afterwards it holds the calibration's rows. Raises KernelError if the package has no usable vectors, FabricError if
    the fabric does not answer.
    """
    images, logits = _vectors(package)
    calibration = package.kernel.calibration
    targets = calibration.targets if calibration is not None else []
    ways = ways_through(len(package.kernel.stages))
    rows = [list(row) for row in dict.fromkeys(map(tuple, [*ways, *(target.thresholds for target in targets)]))]
    place = fabric.place if isinstance(fabric, Placed) else None
    mismatches, first = 0, None
    existing = package.kernel.threshold_sets
    try:
        for start in range(0, len(rows), existing):
            group = rows[start : start + existing]
            for index, row in enumerate(group):
                fabric.set_thresholds(index, row)
            image = np.repeat(np.arange(len(images)), len(group))
            sets = np.tile(np.arange(len(group), dtype=np.uint8), len(images))
            found = fabric.run(images[image], sets)
            expected = expected_records([stage[image] for stage in logits], np.array(group, np.uint32)[sets])
            differ = [found[field] != expected[field] for field in _FIELDS]
            if package.kernel.logits_in_record:
                differ.append(np.any(found["logits"] != logits[0][image], axis=1))
            wrong = np.flatnonzero(np.any(differ, axis=0))
            mismatches += len(wrong)
            if first is None and len(wrong):
                at = int(wrong[0])
                first = (
                    f"image {image[at]} of {VECTORS} under thresholds {group[sets[at]]}: expected "
                    f"{_in_words(expected[at])}, found {_in_words(found[at])}"
                )
    finally:
        for target in targets:
            fabric.set_thresholds(target.set_index, target.thresholds)
    return SelfTestReport(
        kernel=package.kernel.name,
        build_hash=package.kernel.build_hash,
        images=len(images),
        rows=rows,
        records=len(images) * len(rows),
        mismatches=mismatches,
        first_mismatch=first,
        **(dataclasses.asdict(place) if place is not None else {}),
    )


def ways_through(stages: int) -> list[list[int]]:
    """Rows of thresholds for every way through the cascade: answered by each stage in turn, then sure nowhere."""
    return [[ALWAYS if at == stage else NEVER for at in range(stages)] for stage in range(stages + 1)]


def expected_records(logits: list[Logits], thresholds: npt.NDArray[np.uint32]) -> Records:
    """Records [N] that integer logits [N, classes] of each stage make under thresholds [N, stages].

    Tags and cycles are 0. The hardware's rule: a stage answers if its margin reaches its threshold; the last one marks
    what it is unsure of.
    """
    records = np.zeros(len(thresholds), RECORD)
    unsure = np.ones(len(thresholds), np.bool_)
    for stage, values in enumerate(logits):
        labels, margins = decide(values)
        records["label"] = np.where(unsure, labels, records["label"])
        records["margin"] = np.where(unsure, margins, records["margin"])
        records["stage"] = np.where(unsure, stage, records["stage"])
        unsure &= below(margins, thresholds[:, stage])
    records["stage"] |= np.where(unsure, OFFLOAD, 0).astype(np.uint8)
    return records


def _vectors(package: Package) -> tuple[Images, list[Logits]]:
    """Images [N, H, W, C] and the logits [N, classes] that each stage must give for them."""
    kernel = package.kernel
    try:
        with np.load(io.BytesIO(package.read(VECTORS))) as file:
            images = file["images"]
            logits = [file[stage.name] for stage in kernel.stages]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise KernelError(f"{package.path / VECTORS}: cannot be used ({error}); compile the package again") from error
    shapes = [values.shape for values in logits]
    if images.shape[1:] != kernel.input.shape or shapes != [(len(images), kernel.outputs)] * len(logits):
        raise KernelError(
            f"{package.path / VECTORS}: images {list(images.shape)} with logits {shapes} do not fit kernel "
            f"{kernel.name!r}; compile the package again"
        )
    return images, logits


def _in_words(record: np.void) -> str:
    if record["error"]:
        return f"error {record['error']}"
    sure = "unsure" if record["stage"] & OFFLOAD else "answered"
    return f"label {record['label']} with margin {record['margin']}, {sure} at stage {record['stage'] & STAGE_MASK}"
