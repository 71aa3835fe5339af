"""A small kernel package, in a folder of memory where there is one, for the targets that need one.

`tests.host.by_hand` makes a larger one that computes; its images of 28 x 28 would be most of every input here, and what
it imports would be instrumented along.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from edgesight.host.kernel import (
    Calibration,
    ConfidenceCurve,
    Input,
    Kernel,
    Layer,
    LossBucket,
    Stage,
    Target,
    calibration_split,
)
from edgesight.host.package import Package, write_package

_MEMORY = Path("/dev/shm")
CURVE = ConfidenceCurve(margins=[0, 100], confidences=[0.5, 0.9], expected_calibration_error=0.0)
CALIBRATION = Calibration(
    images=100,
    rests_on=calibration_split("none", "0" * 64),
    family_error=0.05,
    loss=0.05,
    backend_sha256="0" * 64,
    buckets=[LossBucket(loss=0.05, images=100, accuracy=0.9, nothing_came=0.0)],
    curves=[CURVE, CURVE],
    targets=[
        Target(
            accuracy=0.8,
            set_index=0,
            confidence=0.8,
            thresholds=[100, 100],
            lower_bound=0.8,
            calibration_accuracies=[0.85],
            calibration_offload=0.3,
            curves=[CURVE, CURVE],
            backend_confidences=[0.9],
        )
    ],
    refused=[],
    resplits=None,
)


def scratch() -> Path:
    """A folder that goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="edgesight-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def small_package(registers: dict[str, int] | None = None) -> Package:
    """A calibrated package of 4 x 4 pixels and two classes, with one file."""
    layer = Layer(
        name="dense",
        kind="dense",
        parameters=1,
        multipliers=1,
        pe=1,
        simd=1,
        reuse_asked=1,
        reuse_built=1,
        weight_bits=1,
        accumulator_bits=8,
        cycles=16,
    )
    stage = Stage(
        name="sum",
        parameters=0,
        multiplications=0,
        outputs=2,
        logit_bits=16,
        logit_scale=1.0,
        layers=[layer],
        bound_cycles=16,
        bound_layer="dense",
    )
    kernel = Kernel(
        schema_version=6,
        name="small",
        build_hash="0badcafe",
        weights_sha256="0" * 64,
        classes=["no", "yes"],
        input=Input(height=4, width=4, channels=1),
        backend_input=None,
        stages=[stage, stage],
        threshold_sets=2,
        frame_slots=2,
        clock_mhz=100.0,
        registers=registers or {},
        dataset="none",
        dataset_sha256="0" * 64,
        tools={},
        calibration=CALIBRATION,
        files={},
    )
    return write_package(scratch() / "package", kernel, {"note.txt": b"nothing"})
