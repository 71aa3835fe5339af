"""What a cascade multiplies for an image, against the same networks each run from the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.fabric.base import STAGE_MASK
from edgesight.host.kernel import Kernel


@dataclass(frozen=True)
class Multiplications:
    """Products of a weight that an image takes, on average: of the cascade, and were all its networks from the pixels.

    The two are the same unless a stage goes on from features.
    """

    an_image: float
    from_pixels: float


def multiplications(kernel: Kernel, answered_by: npt.NDArray[Any]) -> Multiplications:
    """The average over images, given the field `stage` of their records: who answered, after all stages before it."""
    reached = [float(np.mean((answered_by & STAGE_MASK) >= stage)) for stage in range(len(kernel.stages))]
    own = [stage.multiplications for stage in kernel.stages]
    before = [stage.trunk.multiplications if stage.trunk is not None else 0 for stage in kernel.stages]
    return Multiplications(
        an_image=float(np.dot(reached, own)), from_pixels=float(np.dot(reached, np.add(own, before)))
    )
