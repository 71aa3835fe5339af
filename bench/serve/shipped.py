"""A shipped kernel package, made ready to be served: its material, goals, and the bytes of its variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgesight.bench.serve.material import Material, back_end, latencies, material, profile_of
from edgesight.bench.serve.systems import Goal, goals_of
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import shipped_folder
from edgesight.host.calibrate import LOSSES
from edgesight.host.link.quality import ladder_of
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.sim.observe import observe_once
from edgesight.sim.verilate import build_library

_PICTURES: Final = 4_000  # of the test split, at most
_PROFILED: Final = 16  # pictures that the back end's times are measured with


@dataclass(frozen=True)
class Prepared:
    """What is served, and asked for.

    Attributes:
        material: of the test split.
        goals: of all the accuracies that are asked for.
        variant_bytes: that each stage alone takes in the device's memory: those of its network's file.
    """

    material: Material
    goals: list[Goal]
    variant_bytes: tuple[int, ...]


def prepared(name: str, folder: Path | None, belows: Sequence[float], loss: float) -> Prepared:
    """The shipped package of data set `name`, read from `folder`; a data set that comes with a library needs none.

    Raises DataSetError, KernelError, CalibrationError or BuildError.
    """
    package = Package.load(shipped_folder() / name)
    kernel = package.kernel
    calibration = kernel.calibration
    assert calibration is not None  # as it is shipped
    data = datasets.load(name, folder, kernel.input.height)
    build_library(package)
    model = back_end(package)
    observed = observe_once(
        package,
        model,
        PackageReference(package),
        data.calibration,
        sorted({*LOSSES, loss}),
        0,
        ladder_of(calibration.ladder),
        kernel.dataset_sha256,
    )
    curves, goals = goals_of(
        observed,
        belows,
        loss=loss,
        backend_sha256=model.sha256,
        rests_on=calibration.rests_on,
        ladder=calibration.ladder,
    )
    test = data.test.take(np.arange(min(_PICTURES, len(data.test))))
    profile = profile_of(model, test.photographs[np.arange(_PROFILED)])
    served = material(name, package, curves, test, latencies(package, test.images), profile)
    networks = [kernel.network_of(stage)[0] for stage in range(len(kernel.stages))]
    return Prepared(served, goals, tuple((package.path / network).stat().st_size for network in networks))
