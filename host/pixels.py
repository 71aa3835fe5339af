"""What a network sees of a picture's bytes. Training, compiling and the back end hold to it alike.

How a picture becomes bytes is in `edgesight.host.pictures`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

FRACTION_BITS: Final = 8
STEPS: Final = 2**FRACTION_BITS
"""A network sees byte / STEPS: exact in binary, so that a layer's input integers are the bytes themselves."""


def as_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Images uint8 `[N, H, W, C]` as networks take them: float32 `[N, C, H, W]`, byte / STEPS."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(STEPS)
