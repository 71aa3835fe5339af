"""What the card tells of a network's size: its layers, weights, bit widths and multiplications.

Words owned here: facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from brevitas.quant_tensor import QuantTensor
from torch import nn

from edgesight.quant.answers import infer_exits


@dataclass(frozen=True)
class Facts:
    """What the card tells of a network, for one image shape and number of classes.

    Attributes:
        parameters: weights and biases.
        macs: multiply-accumulates an image, with all of its exits; None where nobody counted them.
        layers: a description of each layer, for JSON.
        weight_bits: of its weights: a number, `2 to 8` where they differ, None for floating point.
        activation_bits: the same of its activations.
        source: sha256 of the user's file that it is from; None of a shipped one.
    """

    parameters: int
    macs: int | None
    layers: list[dict[str, Any]]
    weight_bits: int | str | None
    activation_bits: int | str | None
    source: str | None = None


def facts_of(module: nn.Module, shape: tuple[int, int, int], source: str) -> Facts:
    """Count what a Brevitas network of any making does while a picture `(H, W, C)` goes through."""
    layers: list[dict[str, Any]] = []
    counted: set[nn.Module] = set()  # one that is used twice has its weights once
    parameters = macs = 0

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, _: Any, output: Any) -> None:
            nonlocal parameters, macs
            values = plain(output)
            layers.append({"name": name, "kind": type(layer).__name__, "output_shape": list(values.shape[1:])})
            if isinstance(layer, QuantWeightBiasInputOutputLayer):
                weight = layer.weight
                if layer not in counted:
                    parameters += weight.numel() + (0 if layer.bias is None else layer.bias.numel())
                    counted.add(layer)
                # Each weight meets each place of the map that it is slid over; of a dense layer there is one.
                macs += weight.numel() * (values[0, 0].numel() if values.dim() > 2 else 1)
                layers[-1]["weight_bits"] = _bits(layer.weight_quant)
            elif isinstance(layer, QuantNonLinearActLayer):
                layers[-1]["activation_bits"] = _bits(layer.act_quant)

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in _named_layers(module)]
    try:
        infer_exits(module.eval(), np.zeros((1, *shape), np.uint8))
    finally:
        for handle in handles:
            handle.remove()
    ranges = [_range([one[key] for one in layers if key in one]) for key in ("weight_bits", "activation_bits")]
    return Facts(parameters, macs, layers, ranges[0], ranges[1], source)


def plain(values: Any) -> Any:
    """What a layer gives, as a tensor where it is one of Brevitas'."""
    return values.value if isinstance(values, QuantTensor) else values


def _named_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers as a user knows them: Brevitas' whole, torch's leaves."""
    if isinstance(module, QuantWeightBiasInputOutputLayer | QuantNonLinearActLayer):
        yield "", module
        return
    children = list(module.named_children())
    if not children:
        yield "", module
    for name, child in children:
        for below, layer in _named_layers(child):
            yield f"{name}.{below}" if below else name, layer


def _bits(quantiser: Any) -> int | None:
    width = quantiser.bit_width() if quantiser.is_quant_enabled else None
    return None if width is None else int(width)


def _range(bits: list[int | None]) -> int | str | None:
    known = sorted({one for one in bits if one is not None})
    if not known:
        return None
    return known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"
