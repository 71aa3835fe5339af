"""Running a network as it is: pictures go in, logits come out, of each exit where it has several.

Words owned here: exit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesight.host.pixels import STEPS

_BATCH: Final = 500


def as_input(images: Tensor) -> Tensor:
    """Bring uint8 `[N, H, W, C]` to what networks take: float32 `[N, C, H, W]`, exactly pixel / 256."""
    return images.permute(0, 3, 1, 2).float() / STEPS


def exits_of(output: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The logits `[N, classes]` of each exit in what a network gives; a network without exits has one, its end."""
    return tuple(output) if isinstance(output, tuple | list) else (output,)  # type: ignore[return-value]  # a Tensor is no Sequence to mypy alone


def infer_exits(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a network as it is (call `eval` first) on uint8 `[N, H, W, C]`; return float32 `[exits, N, classes]`."""
    answers: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            # A copy, since torch warns of arrays that may not be written.
            part = torch.from_numpy(images[start : start + _BATCH].copy())
            answers.append(torch.stack(exits_of(network(as_input(part)))).float())
    return torch.cat(answers, 1).numpy()


def infer(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As `infer_exits`, of a network without exits: float32 logits `[N, classes]`."""
    logits: NDArray[np.float32]
    (logits,) = infer_exits(network, images)
    return logits
