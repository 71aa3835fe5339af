"""Single layers as networks have them, with the folding that each is compared at, and integers to fill them with.

Words owned here: layer (a convolution or dense layer with the thresholds behind it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Matrix,
    Operator,
    Output,
    Stream,
    Threshold,
    Window,
    entry,
    matrix,
    scale,
    threshold,
)
from edgesight.hls.network import Integers, Shape

NAME = "layer"  # of the only matrix in a layer's network
_SEED = 3


@dataclass(frozen=True)
class Layer:
    """A square convolution with the thresholds behind it; a dense layer is one on a map of one pixel.

    Inputs are unsigned integers of `in_bits`, weights signed ones of `weight_bits` without the lowest. A layer of 0
    `out_bits` has no thresholds: it gives its sums. One that is `rounded` shifts and clips them instead.
    """

    size: int  # rows and columns of the map
    channels: int
    outputs: int
    kernel: int
    stride: int
    pad: int
    in_bits: int
    weight_bits: int
    out_bits: int
    pe: int
    simd: int
    rounded: bool = False

    @property
    def beat(self) -> int:
        """Channels of a pixel that come at a time."""
        return min(self.simd, self.channels)

    @property
    def lanes(self) -> int:
        """Inputs of an output."""
        return self.kernel * self.kernel * self.channels

    @property
    def positions(self) -> int:
        """Output pixels of a frame."""
        side = (self.size + 2 * self.pad - self.kernel) // self.stride + 1
        return side * side

    @property
    def reuse(self) -> int:
        """Cycles that an output pixel takes."""
        return self.outputs // self.pe * (self.lanes // self.simd)

    @property
    def cycles(self) -> int:
        """Cycles that the products of a frame take."""
        return self.positions * self.reuse

    @property
    def title(self) -> str:
        """In words."""
        if self.size == self.kernel == 1:
            return f"dense {self.channels} to {self.outputs}"
        by = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.kernel} x {self.kernel}, {self.channels} to {self.outputs}, on {self.size}{by}"


def _cnv(*foldings: tuple[int, int]) -> dict[str, Layer]:
    """CNV with weights and activations of 2 bits; (PE, SIMD) by layer."""
    shapes = [
        ("conv1", 32, 3, 64, 3, 8, 2), ("conv2", 30, 64, 64, 3, 2, 2), ("conv3", 14, 64, 128, 3, 2, 2),
        ("conv4", 12, 128, 128, 3, 2, 2), ("conv5", 5, 128, 256, 3, 2, 2), ("conv6", 3, 256, 256, 3, 2, 2),
        ("dense1", 1, 256, 512, 1, 2, 2), ("dense2", 1, 512, 512, 1, 2, 2), ("dense3", 1, 512, 10, 1, 2, 0),
    ]  # fmt: skip
    return {
        name: Layer(size, channels, outputs, kernel, 1, 0, in_bits, 2, out_bits, *fold)
        for (name, size, channels, outputs, kernel, in_bits, out_bits), fold in zip(shapes, foldings, strict=True)
    }


def _resnet8() -> dict[str, Layer]:
    """MLPerf Tiny's ResNet-8 with weights and activations of 4 bits, each layer within the budget of CNV's small one.

    What comes out of both branches of a shortcut is quantised to 4 bits, too.
    """
    shapes = [
        ("entry", 32, 3, 16, 3, 1, 8, 4, (2, 3)),
        ("stack1", 32, 16, 16, 3, 1, 4, 4, (4, 8)),
        ("stack2a", 32, 16, 32, 3, 2, 4, 4, (4, 4)), ("stack2b", 16, 32, 32, 3, 1, 4, 4, (4, 8)),
        ("stack2s", 32, 16, 32, 1, 2, 4, 4, (1, 2)),
        ("stack3a", 16, 32, 64, 3, 2, 4, 4, (4, 4)), ("stack3b", 8, 64, 64, 3, 1, 4, 4, (4, 8)),
        ("stack3s", 16, 32, 64, 1, 2, 4, 4, (1, 2)),
        ("dense", 1, 64, 10, 1, 1, 4, 0, (1, 1)),
    ]  # fmt: skip
    return {
        name: Layer(size, channels, outputs, kernel, stride, kernel // 2, in_bits, 4, out_bits, *fold)
        for name, size, channels, outputs, kernel, stride, in_bits, out_bits, fold in shapes
    }


# FINN's own two foldings of CNV; the interval is 115,200 and 32,768 cycles a frame.
CNV_SMALL = _cnv((8, 3), (16, 16), (8, 16), (8, 16), (4, 8), (1, 8), (1, 2), (2, 2), (5, 1))
CNV_LARGE = _cnv((16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1))
RESNET8 = _resnet8()
# How often a network has a layer, where more than once.
TIMES: Mapping[str, int] = {"stack1": 2}


def network_of(layer: Layer) -> IntegerNetwork:
    """The layer as a network of its own, with weights and thresholds that a seed draws.

    Weights are spread evenly; thresholds lie where sums of such weights mostly are, so that all of them count.
    """
    chance = np.random.default_rng([_SEED, layer.lanes, layer.outputs])
    source = Stream(Shape(layer.size, layer.size, layer.channels), 0, (1 << layer.in_bits) - 1)
    most = (1 << (layer.weight_bits - 1)) - 1
    weights = chance.integers(-most, most, (layer.outputs, layer.kernel, layer.kernel, layer.channels), endpoint=True)
    pads = (layer.pad,) * 4
    window = Window((layer.kernel, layer.kernel), (layer.stride, layer.stride), (1, 1), pads)
    sums = matrix(NAME, 0, source, window, 1, weights)
    operators: list[Operator] = [entry("input", source, 1.0), sums]
    spread = float(np.sqrt((weights**2).sum(axis=(1, 2, 3)).mean())) * source.high / 3
    ones = np.ones(layer.outputs, np.int64)
    if layer.rounded:
        shift = max(int(spread).bit_length() + 2 - layer.out_bits, 0)
        most = (1 << layer.out_bits) - 1
        operators.append(scale("quantiser", 1, sums.output, ones, 0 * ones, shift, 0, (0, most)))
    elif layer.out_bits:
        count = (1 << layer.out_bits) - 1
        steps = chance.normal(0, spread, (layer.outputs, count)).round().astype(np.int64)
        steps = np.sort(steps, axis=1) + np.arange(count) - count // 2  # ascending, none twice
        operators.append(threshold("quantiser", 1, sums.output, steps, 0 * ones, ones))
    last = operators[-1].output.shape.channels
    output = Output("output", len(operators) - 1, np.ones(last), np.zeros(last), 0.0, False)
    return IntegerNetwork(tuple(operators), (output,))


def parts_of(network: IntegerNetwork) -> tuple[Matrix, Threshold | None]:
    """The products and the thresholds of a layer's network."""
    sums, *rest = network.operators[1:]
    assert isinstance(sums, Matrix)  # as `network_of` has it
    last = rest[0] if rest else None
    assert last is None or isinstance(last, Threshold)
    return sums, last


def words(weights: Integers, pe: int, simd: int) -> Integers:
    """Weights [outputs, lanes] in the order in which FINN's unit takes them: [words, pe * simd]."""
    outputs, lanes = weights.shape
    by_fold = weights.reshape(outputs // pe, pe, lanes // simd, simd).transpose(0, 2, 1, 3)
    return by_fold.reshape(-1, pe * simd)
