"""The networks, as data: two quantised front-end stages and one floating-point back end.

This module owns the words *layer*, *variant* and *float twin*. A variant is a list of layers and a few bit widths; it
is fitted to an image shape by a fixed rule (`fit`), then built twice: as a float twin with batch normalisation, which
trains fast and is folded, and as a Brevitas network of the same layers, whose every scale is a constant power of two.

What a quantised network computes is therefore integer arithmetic on any machine. With the network's input being
pixel / 256, the input's integers are the pixels themselves, and a layer's sum of products, its bias included, lies on
the grid 2**(input exponent + weight exponent): no layer ever rescales, it only shifts and rounds half to even.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

import brevitas.nn as qnn
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant.fixed_point import (
    Int8BiasPerTensorFixedPointInternalScaling,
    Int8WeightPerTensorFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgesight.host.errors import EdgeSightError

INPUT_BITS: Final = 8
INPUT_EXPONENT: Final = -8
"""Pixels are fed as pixel * 2**-8, on an unsigned 8-bit quantiser of that very scale."""

BIAS_BITS: Final = 16
"""Wide for a bias on its accumulator's grid; one beyond it would saturate alike in training, QONNX and hardware."""


@dataclass(frozen=True)
class Conv:
    """A square convolution with bias, then ReLU.

    `residual` adds the layer's input to its output after the ReLU; only the back end may use it.
    """

    filters: int
    kernel: int = 3
    stride: Literal[1, 2] = 1
    padding: Literal["valid", "same"] = "valid"
    residual: bool = False


@dataclass(frozen=True)
class MaxPool:
    """A square maximum over `size` x `size` pixels, with stride `size`; an odd row or column at the end is dropped."""

    size: int = 2


@dataclass(frozen=True)
class GlobalMaxPool:
    """The maximum over all pixels, a channel; only the back end may use it."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer with bias over all that comes in, then ReLU."""

    units: int


Layer: TypeAlias = Conv | MaxPool | GlobalMaxPool | Dense


@dataclass(frozen=True)
class Variant:
    """One network, before it is fitted to an image shape; a last layer with one output a class is always added.

    Attributes:
        name: the zoo's file stem.
        layers: from the image on.
        weight_bits: signed bits of each weight, sign included; None for a floating-point network.
        activation_bits: unsigned bits behind each ReLU; None for a floating-point network.
        first_weight_bits: where given, the first layer's weight bits instead.
        last_weight_bits: where given, the last layer's weight bits instead.
        dropout: share of the last layer's inputs that training blanks.
        family: the networks that it is trained and shipped with.
        settling: passes of the quantised phase, where the recipe's are too many.
    """

    name: str
    layers: tuple[Layer, ...]
    weight_bits: int | None
    activation_bits: int | None
    first_weight_bits: int | None = None
    last_weight_bits: int | None = None
    dropout: float = 0.0
    # Neither makes it another network, and a checkpoint is found by what is shown.
    family: str = field(default="shipped", repr=False)
    settling: int | None = field(default=None, repr=False)

    @property
    def quantised(self) -> bool:
        """Whether the variant is made for the fabric."""
        return self.weight_bits is not None


# The first convolution pads nothing, so that a folding of one cycle an input pixel exists, and later maps are small.
STAGE0: Final = Variant(
    name="stage0",
    layers=(Conv(16), MaxPool(), Conv(16), MaxPool(), Conv(32)),
    weight_bits=3,
    activation_bits=4,
)
STAGE1: Final = Variant(
    name="stage1",
    layers=(Conv(16), MaxPool(), Conv(32, padding="same"), Conv(32), MaxPool(), Conv(64)),
    weight_bits=4,
    activation_bits=4,
)
BACKEND: Final = Variant(
    name="backend",
    layers=(
        Conv(24, padding="same"),
        Conv(32, padding="same"),
        MaxPool(),
        Conv(64, padding="same"),
        Conv(64, padding="same", residual=True),
        MaxPool(),
        Conv(96, padding="same"),
        Conv(96, padding="same", residual=True),
        GlobalMaxPool(),
    ),
    weight_bits=None,
    activation_bits=None,
    dropout=0.1,
)
VARIANTS: Final[Mapping[str, Variant]] = {variant.name: variant for variant in (STAGE0, STAGE1, BACKEND)}

# A cascade whose last stage gives up nothing for its size: whole bytes, and many times the first one's products. With
# eight bits, the biases of the first layer would be out of reach on the grid of its sums.
STEEP: Final[Mapping[str, Variant]] = {
    variant.name: variant
    for variant in (
        replace(STAGE1, name="stage0", family="steep"),
        Variant(
            name="stage1",
            layers=(
                Conv(32),
                MaxPool(),
                Conv(64, padding="same"),
                Conv(64, padding="same"),
                MaxPool(),
                Conv(96, padding="same"),
                Conv(96),
            ),
            weight_bits=8,
            activation_bits=8,
            first_weight_bits=6,
            family="steep",
            settling=2,
        ),
    )
}
FAMILIES: Final[Mapping[str, Mapping[str, Variant]]] = {"shipped": VARIANTS, "steep": STEEP}


class VariantError(EdgeSightError, ValueError):
    """A variant that cannot be fitted or built; the message names the layer and the remedy."""


@dataclass(frozen=True)
class Placed:
    """A layer of a fitted network.

    Attributes:
        name: `conv1`, `pool1`, `dense1`, ... counted by kind; the last layer is `logits`.
        layer: the layer as fitted, its padding and stride final.
        input_shape: `(H, W, C)`; a dense layer reads it flattened, channel first as `C, H, W`.
        output_shape: `(H, W, C)`; `(1, 1, units)` behind a dense layer.
        relu: False for the last layer alone.
    """

    name: str
    layer: Layer
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    relu: bool

    @property
    def parameters(self) -> int:
        """Weights and biases, batch normalisation folded."""
        height, width, channels = self.input_shape
        match self.layer:
            case Conv(filters=filters, kernel=kernel):
                return filters * (channels * kernel * kernel + 1)
            case Dense(units=units):
                return units * (height * width * channels + 1)
            case _:
                return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates an image, those on padding included."""
        height, width, units = self.output_shape
        return height * width * (self.parameters - units) if self.parameters else 0


# Sides in pixels that the fitting rule compares with.
_SMALLEST_VALID_OUTPUT: Final = 3
_SMALLEST_POOL_OUTPUT: Final = 2
_LARGEST_FULL_RATE_INPUT: Final = 40
_LARGEST_FLATTENED_MAP: Final = 5


def fit(variant: Variant, shape: tuple[int, int, int], classes: int) -> tuple[Placed, ...]:
    """Fit a variant to an image shape.

    The rule, in this order, for the shorter side of a map:
        1. on images over 40 pixels the first convolution takes stride 2, and so keeps the networks' cost near that of
           a 32-pixel image;
        2. a convolution whose unpadded output would be below 3 pixels is padded ("same") instead;
        3. a pooling whose output would be below 2 pixels is left out;
        4. further 2x2 poolings follow the last layer while a map of more than 5 pixels would be flattened.

    Args:
        variant: any variant.
        shape: image `(H, W, C)`, at least 4 x 4.
        classes: outputs of the last layer, at least 2.

    Raises:
        VariantError: the image is too small, or there are too few classes.
    """
    height, width, channels = shape
    if min(height, width) < 4 or channels < 1 or classes < 2:
        raise VariantError(
            f"{variant.name}: image {shape}, {classes} classes; expected at least 4 x 4 x 1 and 2 classes"
        )
    placed: list[Placed] = []
    counts: dict[str, int] = {}

    def place(kind: str, layer: Layer, output: tuple[int, int, int], relu: bool) -> None:
        nonlocal height, width, channels
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}{counts[kind]}" if relu or kind == "pool" else kind
        placed.append(Placed(name, layer, (height, width, channels), output, relu))
        height, width, channels = output

    for layer in variant.layers:
        match layer:
            case Conv():
                if not placed and min(height, width) > _LARGEST_FULL_RATE_INPUT:
                    layer = replace(layer, stride=2)
                if layer.padding == "valid" and _conv_side(layer, min(height, width)) < _SMALLEST_VALID_OUTPUT:
                    layer = replace(layer, padding="same")
                place("conv", layer, (_conv_side(layer, height), _conv_side(layer, width), layer.filters), True)
            case MaxPool(size=size):
                if min(height, width) // size >= _SMALLEST_POOL_OUTPUT:
                    place("pool", layer, (height // size, width // size, channels), False)
            case GlobalMaxPool():
                place("pool", layer, (1, 1, channels), False)
            case Dense(units=units):
                place("dense", layer, (1, 1, units), True)
    while min(height, width) > _LARGEST_FLATTENED_MAP:
        place("pool", MaxPool(), (height // 2, width // 2, channels), False)
    place("logits", Dense(classes), (1, 1, classes), False)
    return tuple(placed)


def _conv_side(layer: Conv, side: int) -> int:
    padded = side + (2 * (layer.kernel // 2) if layer.padding == "same" else 0)
    return (padded - layer.kernel) // layer.stride + 1


def parameter_count(network: tuple[Placed, ...]) -> int:
    """Count weights and biases, batch normalisation folded."""
    return sum(layer.parameters for layer in network)


def mac_count(network: tuple[Placed, ...]) -> int:
    """Count multiply-accumulates an image."""
    return sum(layer.macs for layer in network)


# -------------------------------------------------------------------------------------------------- float twin


class ResidualAdd(nn.Module):
    """Adds what a block computes to what it is given."""

    def __init__(self, block: nn.Module) -> None:
        """Hold the block, which must keep the shape of what it is given."""
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        """Return `images + block(images)`, `[N, C, H, W]` both."""
        total: Tensor = images + self.block(images)
        return total


def build_float(variant: Variant, network: tuple[Placed, ...]) -> nn.Sequential:
    """Build the float twin, with batch normalisation behind every convolution and hidden dense layer.

    Its input is float `[N, C, H, W]`, pixel / 256; its output float logits `[N, classes]`.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for placed in network:
        name, channels = placed.name, placed.input_shape[2]
        match placed.layer:
            case Conv() as conv:
                padding = conv.kernel // 2 if conv.padding == "same" else 0
                block = nn.Sequential(
                    nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride, padding),
                    nn.BatchNorm2d(conv.filters),
                    nn.ReLU(inplace=True),
                )
                parts[name] = ResidualAdd(block) if conv.residual else block
            case MaxPool(size=size):
                parts[name] = nn.MaxPool2d(size)
            case GlobalMaxPool():
                parts[name] = nn.AdaptiveMaxPool2d(1)
            case Dense(units=units):
                if "flatten" not in parts:
                    parts["flatten"] = nn.Flatten()
                dense = nn.Linear(math.prod(placed.input_shape), units)
                if placed.relu:
                    parts[name] = nn.Sequential(dense, nn.BatchNorm1d(units), nn.ReLU(inplace=True))
                else:
                    parts["dropout"] = nn.Dropout(variant.dropout)
                    parts[name] = dense
    return nn.Sequential(parts)


Folded: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""Weight and bias by layer name, batch normalisation folded in: what the float twin and the quantised one share."""


def fold(twin: nn.Sequential) -> Folded:
    """Fold a float twin's batch normalisation into weights and biases.

    Returns:
        For each convolution float32 `[filters, C, kernel, kernel]` and `[filters]`, for each dense layer float32
        `[units, inputs]` and `[units]`.
    """
    folded: Folded = {}
    for name, part in twin.named_children():
        block = part.block if isinstance(part, ResidualAdd) else part
        if isinstance(block, nn.Linear):
            folded[name] = (block.weight.detach().clone(), block.bias.detach().clone())
        elif isinstance(block, nn.Sequential):
            core, norm = block[0], block[1]
            if isinstance(core, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(core.eval(), norm.eval())
                assert fused.bias is not None
                folded[name] = (fused.weight.detach().clone(), fused.bias.detach().clone())
            elif isinstance(core, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                assert norm.running_var is not None
                assert norm.running_mean is not None
                gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
                bias = (core.bias - norm.running_mean) * gain + norm.bias
                folded[name] = ((core.weight * gain[:, None]).detach().clone(), bias.detach().clone())
    return folded


# --------------------------------------------------------------------------------------------------- quantised


@dataclass(frozen=True)
class Exponents:
    """The powers of two of one layer: an integer `k` stands for `k * 2**exponent`.

    Attributes:
        weight: of the layer's weights.
        activation: of what its ReLU gives; None for the last layer, whose accumulator is the answer.
    """

    weight: int
    activation: int | None


def build_quantised(variant: Variant, network: tuple[Placed, ...], exponents: Mapping[str, Exponents]) -> nn.Sequential:
    """Build the Brevitas network with constant power-of-two scales.

    Its input is float `[N, C, H, W]`, pixel / 256; its output float logits `[N, classes]`, the last accumulator, on
    the grid 2**(last activation's exponent + last weight's exponent).

    Args:
        variant: a quantised variant.
        network: the variant fitted to an image shape.
        exponents: one entry for every convolution and dense layer.

    Raises:
        VariantError: a floating-point variant, a layer kind that the fabric lacks, or a layer without exponents.
    """
    if variant.weight_bits is None or variant.activation_bits is None:
        raise VariantError(
            f"{variant.name}: is a floating-point variant; only stage0 and stage1 are quantised; choose one of these"
        )
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["input"] = qnn.QuantIdentity(
        act_quant=Uint8ActPerTensorFixedPoint,
        bit_width=INPUT_BITS,
        scaling_impl_type=ScalingImplType.CONST,
        scaling_init=2.0 ** (INPUT_BITS + INPUT_EXPONENT),
        return_quant_tensor=False,
    )
    weighted = [placed.name for placed in network if isinstance(placed.layer, Conv | Dense)]
    incoming = INPUT_EXPONENT
    for placed in network:
        name, layer = placed.name, placed.layer
        if isinstance(layer, MaxPool):
            parts[name] = nn.MaxPool2d(layer.size)
            continue
        if isinstance(layer, GlobalMaxPool) or (isinstance(layer, Conv) and layer.residual):
            raise VariantError(
                f"{variant.name}: layer {name} ({layer}) has no quantised form; use Conv, MaxPool, Dense"
            )
        if name not in exponents:
            raise VariantError(
                f"{variant.name}: layer {name} has no exponents; found {sorted(exponents)}; give it some"
            )
        at = exponents[name]
        bits = weight_bits(variant, name, weighted)
        keywords = {
            "bias": True,
            "weight_quant": Int8WeightPerTensorFixedPoint,
            "weight_bit_width": bits,
            "weight_scaling_impl_type": ScalingImplType.CONST,
            "weight_scaling_init": 2.0 ** (bits - 1 + at.weight),
            # On the accumulator's grid, so that adding it takes no shift.
            "bias_quant": Int8BiasPerTensorFixedPointInternalScaling,
            "bias_bit_width": BIAS_BITS,
            "bias_scaling_impl_type": ScalingImplType.CONST,
            "bias_scaling_init": 2.0 ** (BIAS_BITS - 1 + incoming + at.weight),
            "return_quant_tensor": False,
        }
        if isinstance(layer, Conv):
            padding = layer.kernel // 2 if layer.padding == "same" else 0
            channels = placed.input_shape[2]
            parts[name] = qnn.QuantConv2d(
                channels, layer.filters, layer.kernel, stride=layer.stride, padding=padding, **keywords
            )
        else:
            if "flatten" not in parts:
                parts["flatten"] = nn.Flatten()
            parts[name] = qnn.QuantLinear(math.prod(placed.input_shape), layer.units, **keywords)
        if placed.relu:
            if at.activation is None:
                raise VariantError(f"{variant.name}: layer {name} lacks its activation's exponent; give it")
            parts[f"{name}_relu"] = qnn.QuantReLU(
                act_quant=Uint8ActPerTensorFixedPoint,
                bit_width=variant.activation_bits,
                scaling_impl_type=ScalingImplType.CONST,
                scaling_init=2.0 ** (variant.activation_bits + at.activation),
                return_quant_tensor=False,
            )
            incoming = at.activation
    return nn.Sequential(parts)


def weight_bits(variant: Variant, name: str, weighted: list[str]) -> int:
    """Return the weight bits of the layer `name` among the names of all layers that have weights.

    Raises:
        VariantError: a floating-point variant.
    """
    if variant.weight_bits is None:
        raise VariantError(
            f"{variant.name}: is a floating-point variant, its weights have no bit width; ask stage0 or stage1"
        )
    if name == weighted[0] and variant.first_weight_bits is not None:
        return variant.first_weight_bits
    if name == weighted[-1] and variant.last_weight_bits is not None:
        return variant.last_weight_bits
    return variant.weight_bits


def load_weights(quantised: nn.Sequential, folded: Folded) -> None:
    """Put weights and biases into a Brevitas network, in place."""
    for name, (weight, bias) in folded.items():
        layer = quantised.get_submodule(name)
        layer.weight.data.copy_(weight)  # type: ignore[operator]  # Brevitas carries no types
        layer.bias.data.copy_(bias)  # type: ignore[operator]


def settled_weights(quantised: nn.Sequential) -> Folded:
    """Read a Brevitas network's weights and biases as its quantisers leave them, exactly on their grids."""
    settled: Folded = {}
    with torch.no_grad():
        for name, layer in quantised.named_children():
            if hasattr(layer, "weight_quant"):
                # Adding zero turns the -0.0 that rounding may leave into 0.0.
                settled[name] = (layer.quant_weight().value.clone() + 0.0, layer.quant_bias().value.clone() + 0.0)  # type: ignore[operator]
    return settled
