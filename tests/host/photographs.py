"""Pictures that a link carries, and their strips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesight.host.link.datagrams import Strip
from edgesight.host.link.strips import cut

Pixels = npt.NDArray[np.uint8]


def picture(shape: tuple[int, int, int], seed: int = 0) -> Pixels:
    """A smooth picture with an edge and a little noise, like a photograph."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    waves = [
        128 + 70 * np.sin(rows / 11 + channel) * np.cos(columns / 17) + 40 * (columns > 40)
        for channel in range(shape[2])
    ]
    return np.clip(np.stack(waves, -1) + generator.normal(0, 3, shape), 0, 255).astype(np.uint8)


def parsed(image: Pixels) -> list[Strip]:
    return [Strip.parse(datagram) for datagram in cut(image, request=7, left_ms=50)]
