"""Networks as people have them: those of Brevitas' own examples and of MLPerf Tiny, and a few more, as QONNX files.

Weights are drawn, not trained: what is measured is whether all forms of a network answer alike. Batch normalisation
gets the statistics of random inputs, shaken, and activations the scales that Brevitas finds for them. Every scale is a
float, as Brevitas makes it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.export import export_qonnx
from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from brevitas_examples.bnn_pynq.models import model_with_cfg  # type: ignore[import-untyped]
from torch import Tensor, nn

_CALIBRATION = 4, 16  # batches and their size, from which activation scales are found


@dataclass(frozen=True)
class Example:
    """A network and its input: shape without the batch, as PyTorch has it, values from `low` to `high`."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0

    def export(self, path: Path, seed: int = 0) -> None:
        """Draw the network's weights and statistics from `seed` and write it as QONNX."""
        torch.manual_seed(seed)
        network = self.build()
        normalisations = [each for each in network.modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)]
        for normalisation in normalisations:
            normalisation.momentum = None  # statistics are averages over all batches
            nn.init.uniform_(normalisation.weight, 0.5, 1.5)
            nn.init.uniform_(normalisation.bias, -0.5, 0.5)
            with torch.no_grad():
                normalisation.weight[::5] *= -1  # these turn a channel around
        count, size = _CALIBRATION
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            network.train()
            for _ in range(count):
                network(self.low + (self.high - self.low) * torch.rand(size, *self.shape))
            for normalisation in normalisations:
                _shake(normalisation)
            export_qonnx(network.eval(), torch.zeros(1, *self.shape), export_path=str(path), dynamo=False)


def _shake(normalisation: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Take statistics off what the data have, as training leaves them."""
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None  # the statistics are kept
    assert variance is not None
    mean += 0.2 * variance.sqrt() * torch.randn_like(mean)
    variance *= torch.empty_like(variance).uniform_(0.7, 1.4)


class _Weight(Int8WeightPerTensorFloat):  # type: ignore[misc] # Brevitas' injectors carry no types
    """Brevitas' usual weight quantiser."""


def _conv(inputs: int, outputs: int, kernel: Any, bits: int, **more: Any) -> nn.Module:
    """A convolution with a scale for each output channel."""
    more |= {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": bits}
    return qnn.QuantConv2d(inputs, outputs, kernel, bias=False, **more)  # type: ignore[no-any-return]


def _dense(inputs: int, outputs: int, bits: int, bias: bool = False) -> nn.Module:
    """A dense layer with one scale; its bias stays a float."""
    return qnn.QuantLinear(inputs, outputs, bias=bias, weight_quant=_Weight, weight_bit_width=bits)  # type: ignore[no-any-return]


def _relu(bits: int) -> nn.Module:
    return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits)  # type: ignore[no-any-return]


def _input(bits: int = 8) -> nn.Module:
    return qnn.QuantIdentity(bit_width=bits)  # type: ignore[no-any-return]


def _unit(inputs: int, outputs: int, kernel: Any, bits: int, **more: Any) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, kernel, bits, **more), nn.BatchNorm2d(outputs), _relu(bits))


class _ResNet8(nn.Module):
    """MLPerf Tiny's image classification: three stacks of two convolutions, each with a shortcut."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.entry = nn.Sequential(_input(), _unit(3, 16, 3, bits, padding=1))
        self.stacks = nn.ModuleList(_Residual(a, b, s, bits) for a, b, s in ((16, 16, 1), (16, 32, 2), (32, 64, 2)))
        self.exit = nn.Sequential(nn.AvgPool2d(8), _input(), nn.Flatten(), _dense(64, 10, bits, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for stack in self.stacks:
            x = stack(x)
        return self.exit(x)  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Two convolutions and a shortcut; one quantiser for both branches gives the addition equal scales."""

    def __init__(self, inputs: int, outputs: int, stride: int, bits: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _unit(inputs, outputs, 3, bits, padding=1, stride=stride),
            _conv(outputs, outputs, 3, bits, padding=1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity() if stride == 1 else _conv(inputs, outputs, 1, bits, stride=stride)
        self.joint = _input(bits)
        self.relu = _relu(bits)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.joint(self.main(x)) + self.joint(self.shortcut(x)))  # type: ignore[no-any-return]


def _separable(inputs: int, outputs: int, stride: int, bits: int) -> nn.Sequential:
    return nn.Sequential(
        _unit(inputs, inputs, 3, bits, padding=1, stride=stride, groups=inputs), _unit(inputs, outputs, 1, bits)
    )


def _ds_cnn(bits: int) -> nn.Module:
    """MLPerf Tiny's keyword spotting."""
    return nn.Sequential(
        _input(),
        nn.ZeroPad2d((1, 1, 4, 5)),  # TensorFlow's `same` of a 10 x 4 window with stride 2
        _unit(1, 64, (10, 4), bits, stride=2),
        *(_separable(64, 64, 1, bits) for _ in range(4)),
        nn.AvgPool2d((25, 5)),
        _input(),
        nn.Flatten(),
        _dense(64, 12, bits, bias=True),
    )


def _mobilenet(bits: int) -> nn.Module:
    """The head of MobileNet-V1 at width 0.25 and two of its blocks."""
    return nn.Sequential(
        _input(),
        _unit(3, 8, 3, bits, stride=2, padding=1),
        _separable(8, 16, 1, bits),
        _separable(16, 32, 2, bits),
        nn.AdaptiveAvgPool2d(1),
        _input(),
        nn.Flatten(),
        _dense(32, 2, bits, bias=True),
    )


def _autoencoder(bits: int) -> nn.Module:
    """MLPerf Tiny's anomaly detection."""
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers: list[nn.Module] = [_input()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_dense(inputs, outputs, bits), nn.BatchNorm1d(outputs), _relu(bits)]
    return nn.Sequential(*layers, _dense(128, 640, bits, bias=True))


def _lenet(bits: int) -> nn.Module:
    """LeNet-5 with its average poolings."""
    return nn.Sequential(
        _input(),
        _conv(1, 6, 5, bits, padding=2),
        _relu(bits),
        nn.AvgPool2d(2),
        _input(bits),
        _conv(6, 16, 5, bits),
        _relu(bits),
        nn.AvgPool2d(2),
        _input(bits),
        nn.Flatten(),
        *(_dense(400, 120, bits), _relu(bits), _dense(120, 84, bits), _relu(bits), _dense(84, 10, bits, bias=True)),
    )


def _ecg(bits: int) -> nn.Module:
    """A heartbeat of 187 samples, five classes."""

    def unit(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        convolution = qnn.QuantConv1d(
            inputs, outputs, kernel, padding=kernel // 2, bias=False, weight_quant=_Weight, weight_bit_width=bits
        )
        return [convolution, nn.BatchNorm1d(outputs), _relu(bits), nn.MaxPool1d(2)]

    layers = [*unit(1, 16, 7), *unit(16, 32, 5), *unit(32, 32, 3)]
    return nn.Sequential(_input(), *layers, nn.Flatten(), _dense(32 * 23, 5, bits, bias=True))


def _jets(bits: int) -> nn.Module:
    """Jet tagging: 16 features, five classes."""
    sizes = [16, 64, 32, 32]
    layers: list[nn.Module] = [_input()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_dense(inputs, outputs, bits, bias=True), nn.BatchNorm1d(outputs), _relu(bits)]
    return nn.Sequential(*layers, _dense(32, 5, bits, bias=True))


class _EarlyExit(nn.Module):
    """A trunk with a small exit, and a larger part that goes on from the trunk's features."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_input(), _unit(1, 8, 3, bits, padding=1), nn.MaxPool2d(2))
        self.early = nn.Sequential(_unit(8, 8, 3, bits, stride=2), nn.Flatten(), _dense(288, 10, bits, bias=True))
        self.late = nn.Sequential(
            _unit(8, 16, 3, bits, padding=1), nn.MaxPool2d(2), _unit(16, 16, 3, bits),
            nn.Flatten(), _dense(400, 10, bits, bias=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return self.early(features), self.late(features)


def _of_brevitas(name: str) -> nn.Module:
    return model_with_cfg(name, pretrained=False)[0]  # type: ignore[no-any-return]


def _examples() -> list[Example]:
    found = [
        Example(f"{kind}_{bits}", partial(_of_brevitas, f"{kind}_{bits}"), (1, 28, 28))
        for kind in ("tfc", "sfc", "lfc")
        for bits in ("1w1a", "1w2a", "2w2a")
        if (kind, bits) != ("lfc", "2w2a")
    ]
    found += [
        Example(f"cnv_{bits}", partial(_of_brevitas, f"cnv_{bits}"), (3, 32, 32)) for bits in ("1w1a", "1w2a", "2w2a")
    ]
    for bits in (4, 8):
        found += [
            Example(f"resnet8_{bits}", partial(_ResNet8, bits), (3, 32, 32), -1.0),
            Example(f"ds_cnn_{bits}", partial(_ds_cnn, bits), (1, 49, 10), -1.0),
            Example(f"mobilenet_{bits}", partial(_mobilenet, bits), (3, 32, 32), -1.0),
            Example(f"autoencoder_{bits}", partial(_autoencoder, bits), (640,), -1.0),
        ]
    return [
        *found,
        Example("lenet5", partial(_lenet, 4), (1, 28, 28), -1.0),
        Example("ecg", partial(_ecg, 4), (1, 187), -1.0),
        Example("jets", partial(_jets, 6), (16,), -1.0),
        Example("early_exit", partial(_EarlyExit, 4), (1, 28, 28), -1.0),
    ]


EXAMPLES: Mapping[str, Example] = {example.name: example for example in _examples()}
