"""Networks of one's own as stages of a cascade, trained by the command line, which needs the extra `build`.

A network a stage: `edgesight train DATASET --out zoo --stage0 my_networks.py:small --stage1 my_networks.py:large`.
One network whose exits are the stages: `edgesight train DATASET --out zoo --exits my_networks.py:Trunk`.
"""

import brevitas.nn as qnn
from brevitas.quant import Int8WeightPerChannelFloat
from torch import nn


def block(inputs: int, outputs: int, bits: int) -> list[nn.Module]:
    """A convolution whose weights have a scale a filter, batch normalisation, and a ReLU of few bits."""
    weights = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": bits}
    return [
        qnn.QuantConv2d(inputs, outputs, 3, padding=1, bias=False, **weights),
        nn.BatchNorm2d(outputs),
        qnn.QuantReLU(bit_width=bits, return_quant_tensor=True),
    ]


def answer(features: int, classes: int) -> list[nn.Module]:
    """The layer that gives logits."""
    return [nn.Flatten(), qnn.QuantLinear(features, classes, bias=True, weight_bit_width=4)]


def small(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One convolution."""
    height, width, channels = shape
    return nn.Sequential(
        *block(channels, 8, bits=2), nn.MaxPool2d(2), *answer(8 * (height // 2) * (width // 2), classes)
    )


def large(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two convolutions of more filters and bits."""
    height, width, channels = shape
    return nn.Sequential(
        *block(channels, 16, bits=4),
        nn.MaxPool2d(2),
        *block(16, 32, bits=4),
        *answer(32 * (height // 2) * (width // 2), classes),
    )


def large_float(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The float twin of `large`, which is trained first: the same parameters by name, without quantisers."""
    height, width, channels = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 2) * (width // 2), classes),
    )


class Trunk(nn.Module):
    """A trunk with two exits: the later one goes on from the features that the earlier one answers by."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        """Build it for pictures `(height, width, channels)`."""
        super().__init__()
        height, width, channels = shape
        places = (height // 2) * (width // 2)
        self.trunk = nn.Sequential(*block(channels, 8, bits=4), nn.MaxPool2d(2))
        self.early = nn.Sequential(*answer(8 * places, classes))
        self.late = nn.Sequential(*block(8, 32, bits=4), *answer(32 * places, classes))

    def forward(self, image):  # type: ignore[no-untyped-def]  # Brevitas' tensors are not torch's
        """Logits of each exit, the earliest first."""
        features = self.trunk(image)
        return self.early(features), self.late(features)
