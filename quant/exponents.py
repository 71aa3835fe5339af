"""The powers of two that weights and activations are rounded to, chosen from a folded network and some images."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgesight.quant import variants
from edgesight.quant.answers import as_input
from edgesight.quant.variants import Conv, Dense, Exponents, Folded, MaxPool, Placed, Variant


def _integers(values: Tensor, exponent: int, least: int, greatest: int) -> Tensor:
    return torch.clamp(torch.round(values * 2.0**-exponent), least, greatest)


def _best_exponent(values: Tensor, least: int, greatest: int) -> int:
    """Return the power of two whose grid of integers `least` to `greatest` leaves the smallest squared error."""
    highest = float(values.abs().max())
    if highest == 0.0:
        return 0
    widest = math.ceil(math.log2(highest / greatest))

    def error(exponent: int) -> float:
        kept = _integers(values, exponent, least, greatest) * 2.0**exponent
        return float((kept - values).square().mean())

    return min(range(widest, widest - 4, -1), key=error)


def choose_exponents(
    variant: Variant, network: tuple[Placed, ...], folded: Folded, images: NDArray[np.uint8]
) -> dict[str, Exponents]:
    """Choose every layer's powers of two by least squared error, from the image on, over quantised inputs.

    Args:
        variant: a quantised variant.
        network: the variant fitted.
        folded: the float twin's weights and biases.
        images: some train images, uint8 `[N, H, W, C]`.
    """
    assert variant.activation_bits is not None
    weighted = [placed.name for placed in network if isinstance(placed.layer, Conv | Dense)]
    greatest_activation = 2**variant.activation_bits - 1
    exponents: dict[str, Exponents] = {}
    values = as_input(torch.from_numpy(images.copy()))
    with torch.inference_mode():
        for placed in network:
            name, layer = placed.name, placed.layer
            if isinstance(layer, MaxPool):
                values = functional.max_pool2d(values, layer.size)
                continue
            weight, bias = folded[name]
            greatest = 2 ** (variants.weight_bits(variant, name, weighted) - 1) - 1
            chosen = _best_exponent(weight, -greatest, greatest)
            kept = _integers(weight, chosen, -greatest, greatest) * 2.0**chosen
            if isinstance(layer, Conv):
                padding = layer.kernel // 2 if layer.padding == "same" else 0
                values = functional.conv2d(values, kept, bias, layer.stride, padding)
            else:
                values = functional.linear(values.flatten(1), kept, bias)
            if not placed.relu:
                exponents[name] = Exponents(chosen, None)
                continue
            values = values.relu()
            activation = _best_exponent(values, 0, greatest_activation)
            values = _integers(values, activation, 0, greatest_activation) * 2.0**activation
            exponents[name] = Exponents(chosen, activation)
    return exponents
