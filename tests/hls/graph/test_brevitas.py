"""Networks as Brevitas exports them, float scales and batch normalisation included: integers = truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import onnx
import pytest
import torch
from brevitas.export import export_qonnx
from brevitas.quant.scaled_int import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    TruncTo8bit,
    Uint8ActPerTensorFloat,
)
from brevitas.quant.ternary import SignedTernaryWeightPerTensorConst
from brevitas_examples.bnn_pynq.models import model_with_cfg  # type: ignore[import-untyped]
from torch import nn

from edgesight.hls.dataflow.operators import Add, IntegerNetwork, Matrix, Threshold
from tests.hls.graph.graphs import exact

SEED = 5


def exported(
    network: nn.Module, shape: tuple[int, ...], folder: Path, calibrate: bool = True, **options: Any
) -> onnx.ModelProto:
    """The network's QONNX file, scales found on random data, with batch statistics far from their defaults."""
    torch.manual_seed(SEED)
    if calibrate:
        network.train()
        with torch.no_grad():
            for _ in range(3):
                network(torch.randn(8, *shape))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            norm: Any = module
            with torch.no_grad():
                size = norm.running_mean.shape
                norm.running_mean += torch.randn(size) * 0.3
                norm.running_var *= torch.rand(size) + 0.5
                norm.weight.copy_(torch.randn(size).sign() * (torch.rand(size) + 0.7))
                norm.bias.copy_(torch.randn(size) * 0.3)
    network.eval()
    path = folder / "network.onnx"
    export_qonnx(network, args=torch.randn(1, *shape), export_path=str(path), **options)
    return onnx.load(path)


class Residual(nn.Module):
    """Per-channel scales, padding on one side, a shared quantiser for a sum, depthwise, truncated average, bias."""

    def __init__(self) -> None:
        super().__init__()
        weights: dict[str, Any] = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4, "bias": False}
        self.entry = qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=6)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.first = qnn.QuantConv2d(3, 6, 3, stride=2, **weights)
        self.norm = nn.BatchNorm2d(6)
        self.shared = qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=5)
        self.branch = qnn.QuantConv2d(6, 6, 3, padding=1, groups=6, **weights)
        self.slope = nn.PReLU(6)
        self.act = qnn.QuantReLU(Uint8ActPerTensorFloat, bit_width=4, return_quant_tensor=True)
        self.pool = qnn.TruncAvgPool2d(2, trunc_quant=TruncTo8bit, bit_width=4)
        weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4}
        self.last = qnn.QuantLinear(6 * 2 * 2, 5, bias=True, **weights)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.shared(self.norm(self.first(self.pad(self.entry(x)))))
        x = self.act(x + self.shared(self.slope(self.branch(x))))
        logits: torch.Tensor = self.last(self.pool(x).flatten(1))
        return logits


class Signal(nn.Module):
    """One dimension, ternary weights, and the functions that quantisers stand behind."""

    def __init__(self) -> None:
        super().__init__()
        quantiser = {"act_quant": Int8ActPerTensorFloat, "bit_width": 4}
        self.layers = nn.ModuleList([qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=6)])
        for act in (
            qnn.QuantTanh(**quantiser),
            nn.Sequential(nn.LeakyReLU(0.2), qnn.QuantIdentity(**quantiser)),
            qnn.QuantHardTanh(min_val=-1.0, max_val=1.0, **quantiser),
            qnn.QuantSigmoid(Uint8ActPerTensorFloat, bit_width=3),
        ):
            conv = qnn.QuantConv1d(
                4, 4, 3, padding=1, bias=False, weight_quant=SignedTernaryWeightPerTensorConst, scaling_const=0.17
            )
            self.layers.extend([conv, nn.BatchNorm1d(4), act])
        self.pool = nn.AvgPool1d(2)
        self.last = qnn.QuantConv1d(4, 6, 3, bias=True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=3)

    def forward(self, x: torch.Tensor) -> Any:
        for layer in self.layers:
            x = layer(x)
        logits: torch.Tensor = self.last(self.pool(x))
        return logits


def kinds(network: IntegerNetwork) -> list[type]:
    return [type(operator) for operator in network.operators]


def test_a_residual_network_is_exact(tmp_path: Path) -> None:
    network, _ = exact(exported(Residual(), (3, 8, 8), tmp_path))
    assert Add in kinds(network)
    assert network.outputs[0].error < network.outputs[0].scale[0]


def test_a_signals_network_is_exact(tmp_path: Path) -> None:
    network, _ = exact(exported(Signal(), (4, 20), tmp_path))
    first = network.operators[1]
    assert isinstance(first, Matrix)
    assert {int(value) for value in first.weights.ravel()} == {-1, 0, 1}


@pytest.mark.parametrize(("name", "count"), [("tfc_1w1a", 200), ("tfc_2w2a", 200), ("cnv_1w1a", 2)])
def test_an_example_of_brevitas_is_exact_as_exported(name: str, count: int, tmp_path: Path) -> None:
    torch.manual_seed(SEED)
    model, _ = model_with_cfg(name, pretrained=False)
    for module in model.modules():  # statistics that let values through both ways
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            norm: Any = module
            norm.running_var.mul_(100)
    shape = (3, 32, 32) if name.startswith("cnv") else (1, 28, 28)
    network, notes = exact(exported(model, shape, tmp_path, calibrate=False), count=count)
    assert any("taken as bytes" in note for note in notes)
    assert kinds(network).count(Matrix) == (9 if name.startswith("cnv") else 4)
    assert Threshold in kinds(network)
    assert network.outputs[0].error == 0


class Shaped(nn.Module):
    """What stands between a quantised convolution's activation and a quantiser, or a dense layer of its features."""

    def __init__(self, moved: Callable[[torch.Tensor], torch.Tensor], features: int = 0) -> None:
        super().__init__()
        weights: dict[str, Any] = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4, "bias": False}
        self.entry = qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=6)
        self.conv = qnn.QuantConv2d(3, 4, 3, padding=1, **weights)
        self.act = qnn.QuantReLU(Uint8ActPerTensorFloat, bit_width=4)
        self.moved = moved
        self.last = qnn.QuantLinear(features, 5, **weights) if features else qnn.QuantIdentity(Int8ActPerTensorFloat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.moved(self.act(self.conv(self.entry(x)))))
        return made


SHAPED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], int]] = {
    "zero padding": (nn.ZeroPad2d((0, 1, 2, 1)), 0),
    "padding that is computed": (lambda x: nn.functional.pad(x, (0, 1 + x.shape[3] % 2, 0, x.shape[2] // 3)), 0),
    "upsampling": (nn.Upsample(scale_factor=2), 0),
    "upsampling to a size": (lambda x: nn.functional.interpolate(x, size=(x.shape[2] * 2, x.shape[3] * 3)), 0),
    "a view of all": (lambda x: x.view(x.size(0), x.numel() // x.size(0)), 4 * 6 * 6),
    "a shape that is computed": (lambda x: x.reshape(x.shape[0], x.shape[1] * 36 // 2 * 2), 4 * 6 * 6),
    "adaptive pooling": (lambda x: nn.functional.adaptive_avg_pool2d(x, 2).flatten(1), 4 * 2 * 2),
    "constants expanded": (lambda x: x * torch.full((1, 1, 1, 1), 0.3).expand(1, x.shape[1], 1, 1), 0),
}


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", SHAPED)
def test_what_pytorchs_exporters_make_of_shapes_is_exact(name: str, dynamo: bool, tmp_path: Path) -> None:
    model = exported(Shaped(*SHAPED[name]), (3, 6, 6), tmp_path, dynamo=dynamo)
    exact(model, count=40)
