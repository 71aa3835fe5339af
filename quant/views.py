"""How the pretrained network is fine-tuned, and what its frozen blocks make of photographs, a view at a time.

Words owned here: view (a photograph as it is, or a part of it in another light), fine-tuning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edgesight.quant import efficientnet
from edgesight.quant.backends import keep
from edgesight.quant.efficientnet import EfficientNetLite0
from edgesight.quant.export import write_atomically
from edgesight.quant.recipe import TrainingError
from edgesight.quant.splits import DataSet, Photographs

BATCH: Final = 16
"""Photographs that go through the trunk at once: more do not fit a core's cache."""

SEED: Final = 1_000_003
"""Of views, which are the same whatever the training's seed."""


@dataclass(frozen=True)
class FineTuning:
    """How the network is fine-tuned.

    Attributes:
        block: the first block that is trained; those before it stay as they are.
        views: of each photograph, the first as it is.
        least: share of a photograph's area that another view shows at least.
        stretch: its sides are changed against each other by up to this factor.
        light: brightness and contrast of other views are each multiplied by up to e**light, or divided by it.
        mirror: whether half of the other views are mirror images.
        penalty: on the squared weights of the head, while it alone is fitted.
        epochs: passes of the last blocks over the photographs, each in one of its views.
        batch: photographs a step.
        rate: the one-cycle schedule's highest learning rate.
        warm_up: share of all steps that the rate rises for, before it falls along a cosine to nothing.
        decay: weight decay.
        smoothing: label smoothing.
    """

    block: int = 11
    views: int = 5
    least: float = 0.5
    stretch: float = 4 / 3
    light: float = 0.3
    mirror: bool = False
    penalty: float = 3e-3
    epochs: int = 10
    batch: int = 32
    rate: float = 3e-4
    warm_up: float = 0.1
    decay: float = 1e-2
    smoothing: float = 0.1


_SEEN: Final = 12_500
"""Photographs and views of them that the first blocks are to see; of a large set each is seen once."""


_LEARNT: Final = 25_000
"""Photographs that the last blocks are to learn from, over all epochs."""


def tuning_for(data: DataSet, quick: bool, epochs: int | None = None) -> FineTuning:
    """How the network is fine-tuned to `data`; `quick` takes a fifth of the passes."""
    usual, count = FineTuning(), len(data.train)
    views = max(1, min(usual.views, _SEEN // count))
    passes = epochs or max(2, min(usual.epochs, math.ceil(_LEARNT / count)))
    if quick:
        views, passes = max(1, views // 5), max(1, passes // 5)
    batch = max(2, min(usual.batch, count // 8))
    return dataclasses.replace(usual, views=views, epochs=passes, batch=batch, mirror=data.mirrored)


@dataclass(frozen=True)
class View:
    """The files of what was made of a view of every train photograph.

    Attributes:
        below: what goes into the first block that is trained, bfloat16 as int16 `[N, H, W, C]`.
        trunk: what the whole pretrained trunk makes of it, float32 `[N, 1280]`.
    """

    below: Path
    trunk: Path

    def complete(self, count: int) -> bool:
        """Whether both are there, of so many photographs."""
        try:
            return len(self.values()) == len(np.load(self.trunk, mmap_mode="r")) == count
        except (OSError, ValueError, EOFError):
            return False

    def values(self) -> NDArray[np.int16]:
        """What lies in `below`, read as it is wanted."""
        found: NDArray[np.int16] = np.load(self.below, mmap_mode="r")
        return found

    def write(self, write: Callable[[Path], object], trunk: NDArray[np.float32]) -> None:
        """Let `write` fill `below`, and `trunk` with it; TrainingError where there is no room."""
        try:
            write_atomically(self.below, write)
        except OSError as error:
            raise TrainingError(
                f"{self.below}: cannot be written ({error.strerror or error}): make room or free the way; the same "
                "command then goes on from there"
            ) from error
        keep(self.trunk, trunk)


@dataclass(frozen=True)
class Frozen:
    """The pretrained network, looking at photographs."""

    network: EfficientNetLite0
    photographs: Photographs
    tuning: FineTuning

    def seen(self, rows: NDArray[np.int64], view: int) -> tuple[Tensor, Tensor]:
        """What it makes of a view of the photographs at `rows` `[n]`.

        Returns:
            What goes into the first block that is trained, bfloat16 `[n, H, W, C]`, and the trunk's values `[n, 1280]`.
        """
        photographs = self.photographs[rows].copy()
        if view:
            photographs = viewed(photographs, rows, view, self.tuning)
        pictures = efficientnet.as_input(torch.from_numpy(photographs))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            values = self.network.below(pictures, self.tuning.block)
            features = self.network.features(values, self.tuning.block)
        return values.bfloat16().permute(0, 2, 3, 1).contiguous(), features.float()


def viewed(pictures: NDArray[np.uint8], rows: NDArray[np.int64], view: int, tuning: FineTuning) -> NDArray[np.uint8]:
    """A part of each of `[n, H, W, 3]`, enlarged and in another light, drawn by the picture's row and the view."""
    made = np.empty_like(pictures)
    extents = np.array([pictures.shape[2], pictures.shape[1]])
    for at, row in enumerate(rows):
        drawn = np.random.default_rng((SEED, view, int(row))).random(7)
        area = tuning.least + (1 - tuning.least) * drawn[0]
        stretch = tuning.stretch ** (2 * drawn[1] - 1)
        size = np.minimum(1.0, np.sqrt([area * stretch, area / stretch])) * extents
        corner = drawn[2:4] * (extents - size)
        box = (*corner, *(corner + size))
        part = Image.fromarray(pictures[at]).resize(
            (int(extents[0]), int(extents[1])), Image.Resampling.BILINEAR, box=box
        )
        contrast, brightness = np.exp((2 * drawn[4:6] - 1) * tuning.light)
        values = np.asarray(part, np.float32)[:, :: -1 if tuning.mirror and drawn[6] < 0.5 else 1]
        mean = values.mean()
        made[at] = np.clip(((values - mean) * contrast + mean) * brightness, 0, 255)
    return made
