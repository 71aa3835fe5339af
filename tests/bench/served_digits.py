"""The shipped digits as a bench of systems under load serves them, with times that are made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgesight.bench.serve.material import Material, Profile, back_end, material
from edgesight.bench.serve.systems import Goal, goals_of
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import shipped_folder
from edgesight.host.calibrate import LOSSES
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.sim.observe import observe

LATENCY_S = (1e-4, 4e-4)  # of each stage
PROFILE = Profile(tuple((2e-3 + 1e-3 * size,) * 3 for size in range(8)))
_LOSS = 0.05


@dataclasses.dataclass(frozen=True)
class Served:
    """What is served, and the goals that are asked of it."""

    material: Material
    goals: list[Goal]


def served_digits(belows: Sequence[float], profile: Profile = PROFILE, pictures: int | None = None) -> Served:
    """Goals so far below the back end; of the test split the first so many `pictures`, or all."""
    package = Package.load(shipped_folder() / "digits")
    calibration = package.kernel.calibration
    assert calibration is not None
    data = datasets.load("digits", None, package.kernel.input.height)
    model, stages = back_end(package), PackageReference(package)
    split = data.calibration
    observed = observe(model, stages(split.images), split.photographs, split.labels, sorted({*LOSSES, _LOSS}), 0)
    curves, goals = goals_of(
        observed,
        belows,
        alone=observed.backend[0],
        loss=_LOSS,
        backend_sha256=model.sha256,
        rests_on=calibration.rests_on,
        ladder=calibration.ladder,
    )
    test = data.test.take(np.arange(pictures or len(data.test)))
    return Served(material("digits", package, curves, test, LATENCY_S, profile), goals)
