"""What the fits of both detectors of strange pictures share: how their networks are trained and written for numpy, and
how the parts of a score are scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesight.host.detector import Shape
from edgesight.quant.splits import DataSet, Photographs

PART: Final = 24
"""Photographs that are made at a time."""
_SMALLEST = 4  # pixels: no convolution follows once the sides are no longer than that
_WARM_UP = 0.25  # share of the steps
_HELD_SHARE, _LEAST_HELD = 0.1, 50
_MOST_SHIFT = 1 / 16  # of a photograph's side

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def trunk(shape: Shape, widths: Sequence[int]) -> tuple[nn.Sequential, Shape]:
    """Convolutions for pictures of a `shape` (H, W, C) with so many outputs each, and the shape of what they give."""
    height, width, channels = shape
    layers: list[nn.Module] = []
    for outputs in widths:
        if layers and max(height, width) <= _SMALLEST:
            break
        layers += [nn.Conv2d(channels, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        height, width, channels = (height + 1) // 2, (width + 1) // 2, outputs
    return nn.Sequential(*layers), (height, width, channels)


def train(
    network: nn.Module,
    loss: Callable[[], Tensor],
    steps: int,
    told: Callable[[float], None],
    rate: float,
    decay: float,
) -> None:
    """Lower the `loss` that each call gives for another batch; `told` is called with the share of steps done."""
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=_WARM_UP)
    network.train()
    for step in range(steps):
        found = loss()
        optimiser.zero_grad()
        found.backward()  # type: ignore[no-untyped-call] # torch leaves Tensor.backward untyped
        optimiser.step()
        rates.step()
        told((step + 1) / steps)
    network.eval()


def convolutions_of(layers: nn.Sequential) -> tuple[tuple[Floats, Floats], ...]:
    """The weights and biases of a `trunk`, as a detector has them."""
    each = list(layers)
    return tuple(
        folded(each[index].weight.permute(2, 3, 1, 0).flatten(0, 2), each[index].bias, each[index + 1])  # type: ignore[operator, arg-type]
        for index in range(0, len(each), 3)
    )


def folded(weights: Tensor, bias: Tensor, normal: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Floats, Floats]:
    """Weights [inputs, outputs] and biases [outputs] with the normalisation that follows in them."""
    assert normal.running_var is not None
    assert normal.running_mean is not None
    factor = normal.weight / torch.sqrt(normal.running_var + normal.eps)
    return array(weights * factor), array((bias - normal.running_mean) * factor + normal.bias)


def array(values: Tensor) -> Floats:
    """`values` as numpy has them."""
    return np.ascontiguousarray(values.detach().numpy(), np.float32)


def as_input(pictures: Pixels) -> Tensor:
    """`pictures` uint8 [N, H, W, C] from -1 to 1: [N, C, H, W]."""
    scaled = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return torch.from_numpy(scaled).contiguous(memory_format=torch.channels_last)


def varied(pictures: Pixels, data: DataSet, generator: np.random.Generator) -> Pixels:
    """As they are, but half of all batches mirrored where that keeps the class, and photographs a little shifted."""
    if data.mirrored and generator.random() < 0.5:
        pictures = pictures[:, :, ::-1]
    if not data.photographs:
        return pictures
    height, width = pictures.shape[1:3]
    most = max(1, round(max(height, width) * _MOST_SHIFT))
    y, x = generator.integers(0, 2 * most + 1, 2)
    around = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), "reflect")
    return around[:, y : y + height, x : x + width]


def held_back(count: int) -> int:
    """How many of so many pictures nothing is learnt from: the parts of a score are scaled by these."""
    return max(min(_LEAST_HELD, count // 2), round(_HELD_SHARE * count))


def scale_of(parts: Floats) -> Floats:
    """[parts, 2]: median, and distance of the 99th percentile from it, of held-back pictures' `parts` [N, parts]."""
    middle, outer = np.quantile(parts, (0.5, 0.99), axis=0)
    return np.stack([middle, np.maximum(outer - middle, 1e-3)], axis=1).astype(np.float32)


def form_of(pictures: Photographs) -> Shape:
    """Of each picture: (H, W, C)."""
    height, width, channels = pictures.shape[1:]
    return height, width, channels


def in_parts(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Few at a time, since photographs are made on demand."""
    return [indices[start : start + PART] for start in range(0, len(indices), PART)]
