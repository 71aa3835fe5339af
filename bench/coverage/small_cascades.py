"""Two cascades that learn scikit-learn's digits in seconds: three networks, and one network with two exits.

Every scale is a float, as Brevitas makes it, and batch normalisation is exported as it was trained.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from brevitas.quant.fixed_point import Uint8ActPerTensorFixedPoint
from torch import Tensor, nn
from torch.nn import functional

from edgesight.hls.zoo import CARD, EXITS, ROOT
from edgesight.host.pixels import as_input
from edgesight.quant import datasets
from edgesight.quant.export import qonnx_of
from edgesight.quant.splits import DataSet

CLASSES = 10
BITS = 4
_SHAPE = 8, 8, 1
_PASSES, _BATCH = 12, 32
_BACKEND = ROOT / "quant" / "zoo" / "digits" / "backend.onnx"


def write_stages(folder: Path, widths: Sequence[int] = (2, 4, 12)) -> None:
    """Train a network for each of `widths`, its filters, and write them as a zoo folder of as many stages."""
    data = datasets.load("digits")
    folder.mkdir(parents=True, exist_ok=True)
    for index, width in enumerate(widths):
        torch.manual_seed(index)
        _export(_trained(_Alone(width), data), folder / f"stage{index}.onnx")
    _finish(folder, data)


def write_exits(folder: Path, exits: int = 2) -> None:
    """Train a network with so many exits, each behind the features of the one before, and write it as a zoo folder."""
    data = datasets.load("digits")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(exits)
    _export(_trained(_Exits(exits), data), folder / f"{EXITS}.onnx")
    _finish(folder, data)


def _finish(folder: Path, data: DataSet) -> None:
    """The back end that ships with the digits, and as much of a card as compiling needs."""
    shutil.copyfile(_BACKEND, folder / "backend.onnx")
    facts = {"name": "digits", "checksum": data.checksum, "classes": list(data.classes)}
    (folder / CARD).write_text(json.dumps({"schema": 2, "data_set": facts, "networks": {}}) + "\n")


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        qnn.QuantConv2d(
            inputs, outputs, 3, stride=stride, padding=1, bias=False,
            weight_quant=Int8WeightPerChannelFloat, weight_bit_width=BITS,
        ),
        nn.BatchNorm2d(outputs),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=BITS),
    )  # fmt: skip


def _head(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), qnn.QuantLinear(inputs, CLASSES, bias=True, weight_bit_width=BITS))


def _bytes() -> nn.Module:
    """Takes pixel / 256 as it is: every byte is a step."""
    return qnn.QuantIdentity(  # type: ignore[no-any-return]
        act_quant=Uint8ActPerTensorFixedPoint, scaling_impl_type=ScalingImplType.CONST, scaling_init=255 / 256
    )


class _Alone(nn.Module):
    """Gives the logits of a picture, as the only exit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_bytes(), _conv(1, width, 2), _conv(width, width, 2), _head(4 * width))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(x),)


class _Exits(nn.Module):
    """A trunk, and behind each further block of it an exit."""

    def __init__(self, exits: int) -> None:
        super().__init__()
        widths = [2, 3, 8, 12, 16][: exits + 1]
        self.entry = nn.Sequential(_bytes(), _conv(1, widths[0]))
        self.blocks = nn.ModuleList(
            _conv(a, b, 2 if k < 2 else 1) for k, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.heads = nn.ModuleList(_head(width * (16 if k == 0 else 4)) for k, width in enumerate(widths[1:]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, logits = self.entry(x), []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x)
            logits.append(head(x))
        return tuple(logits)


def _trained(network: nn.Module, data: DataSet) -> nn.Module:
    """The network after a few passes over the training split; all exits learn together."""
    images, labels = torch.from_numpy(as_input(data.train.images)), torch.from_numpy(data.train.labels)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    network.train()
    for _ in range(_PASSES):
        for batch in torch.randperm(len(images)).split(_BATCH):  # type: ignore[no-untyped-call]
            loss = sum(functional.cross_entropy(logits, labels[batch]) for logits in network(images[batch]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[union-attr] # there is one exit at least
            optimiser.step()
    return network.eval()


def _export(network: nn.Module, path: Path) -> None:
    path.write_bytes(qonnx_of(network, _SHAPE).SerializeToString(deterministic=True))


def pictures(count: int) -> np.ndarray:
    """So many digits uint8 [N, 8, 8, 1] of those that no network learned; from then on moved and with noise."""
    data = datasets.load("digits")
    held_out = np.concatenate([data.test.images, data.calibration.images])
    rng = np.random.default_rng(0)
    chosen = held_out[np.arange(count) % len(held_out)].astype(np.int64)
    for index in range(len(held_out), count):
        moved = np.roll(chosen[index], rng.integers(-1, 2, 2), axis=(0, 1))
        chosen[index] = np.clip(moved + rng.integers(-24, 25, moved.shape), 0, 255)
    return chosen.astype(np.uint8)
