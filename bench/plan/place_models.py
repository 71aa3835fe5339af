"""Published image classifiers as graphs of layers: shapes, parameters and operations, no weights.

Each is built from its paper's table of layers, for 1,000 classes and 224 x 224 pixels: VGG16 (Simonyan and
Zisserman, arXiv 1409.1556, table 1, column D), ResNet-50 (He et al., arXiv 1512.03385, table 1; stride 2 in the 3 x 3
convolution, as is usual today) and MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2). A normalisation counts two
parameters a channel and is one layer with its convolution, as is an activation: no cut between them sends fewer bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edgesight.plan.place.graph import INPUT, Layer, Model, working_bytes

PUBLISHED_WIRE = 8 / 1.44  # bytes an element: doubles, compressed (arXiv 2210.12219)
_PARAMETER_BYTES = 4
_SIDE, _COLOURS, _CLASSES = 224, 3, 1000


class _Builder:
    """Layers one after the other, with their shapes."""

    def __init__(self) -> None:
        self.edges: list[tuple[str, tuple[str, ...]]] = []
        self.shape: dict[str, tuple[int, int]] = {INPUT: (_COLOURS, _SIDE)}  # channels, side
        self.parameters: dict[str, int] = {}
        self.operations: dict[str, int] = {}

    def _add(self, name: str, reads: tuple[str, ...], shape: tuple[int, int], parameters: int, operations: int) -> str:
        self.edges.append((name, reads))
        self.shape[name], self.parameters[name], self.operations[name] = shape, parameters, operations
        return name

    def convolve(
        self, name: str, source: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, norm: bool = True
    ) -> str:
        """A convolution that keeps the side but for its stride, with normalisation or with a bias."""
        inputs, side = self.shape[source]
        side = -(-side // stride)
        weights = outputs * inputs // groups * kernel**2
        return self._add(name, (source,), (outputs, side), weights + (2 if norm else 1) * outputs, weights * side**2)

    def pool(self, name: str, source: str, side: int) -> str:
        return self._add(name, (source,), (self.shape[source][0], side), 0, 0)

    def add(self, name: str, first: str, second: str) -> str:
        return self._add(name, (first, second), self.shape[first], 0, 0)

    def dense(self, name: str, source: str, outputs: int) -> str:
        channels, side = self.shape[source]
        inputs = channels * side**2
        return self._add(name, (source,), (outputs, 1), inputs * outputs + outputs, inputs * outputs)

    def model(self, name: str, bytes_per_element: float) -> Model:
        elements = {layer: channels * side**2 for layer, (channels, side) in self.shape.items()}
        needed = working_bytes(self.edges, {layer: _PARAMETER_BYTES * count for layer, count in elements.items()})
        return Model(
            name=name,
            layers=tuple(
                Layer(
                    name=layer,
                    inputs=reads,
                    output_bytes=math.ceil(elements[layer] * bytes_per_element),
                    parameter_bytes=_PARAMETER_BYTES * self.parameters[layer],
                    operations=self.operations[layer],
                    working_bytes=needed[layer],
                )
                for layer, reads in self.edges
            ),
        )


def vgg16(bytes_per_element: float = PUBLISHED_WIRE) -> Model:
    """VGG16: 138,357,544 parameters."""
    net, last, side = _Builder(), INPUT, _SIDE
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for index in range(1, depth + 1):
            last = net.convolve(f"conv{block}_{index}", last, width, 3, norm=False)
        side //= 2
        last = net.pool(f"pool{block}", last, side)
    for index, width in enumerate((4096, 4096, _CLASSES), start=6):
        last = net.dense(f"fc{index}", last, width)
    return net.model("VGG16", bytes_per_element)


def resnet50(bytes_per_element: float = PUBLISHED_WIRE) -> Model:
    """ResNet-50: 25,557,032 parameters."""
    net = _Builder()
    last = net.pool("pool1", net.convolve("conv1", INPUT, 64, 7, 2), 56)
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=2):
        for block in range(1, depth + 1):
            name, stride = f"conv{stage}_{block}", 2 if stage > 2 and block == 1 else 1
            shortcut = last if block > 1 else net.convolve(f"{name}_shortcut", last, 4 * width, 1, stride)
            inner = net.convolve(f"{name}_a", last, width, 1)
            inner = net.convolve(f"{name}_b", inner, width, 3, stride)
            inner = net.convolve(f"{name}_c", inner, 4 * width, 1)
            last = net.add(f"{name}_add", inner, shortcut)
    net.dense("fc", net.pool("pool5", last, 1), _CLASSES)
    return net.model("ResNet-50", bytes_per_element)


def mobilenet_v2(bytes_per_element: float = PUBLISHED_WIRE) -> Model:
    """MobileNetV2 of width 1: 3,504,872 parameters."""
    net = _Builder()
    last, block = net.convolve("conv1", INPUT, 32, 3, 2), 0
    for expansion, width, depth, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for index in range(depth):
            block += 1
            stride, begun, name = first_stride if index == 0 else 1, last, f"block{block}"
            hidden = expansion * net.shape[last][0]
            if expansion > 1:
                last = net.convolve(f"{name}_expand", last, hidden, 1)
            last = net.convolve(f"{name}_depthwise", last, hidden, 3, stride, groups=hidden)
            last = net.convolve(f"{name}_project", last, width, 1)
            if net.shape[begun] == net.shape[last]:
                last = net.add(f"{name}_add", last, begun)
    last = net.pool("pool", net.convolve("conv2", last, 1280, 1), 1)
    net.dense("fc", last, _CLASSES)
    return net.model("MobileNetV2", bytes_per_element)


MODELS: dict[str, Callable[[], Model]] = {"VGG16": vgg16, "ResNet-50": resnet50, "MobileNetV2": mobilenet_v2}
