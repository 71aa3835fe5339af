"""A random network as it grows, tensor by tensor: quantisers, weights and the like, and what belongs into the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.coverage.graphs import Graph

_MOST_LANES = 160  # of a window
_SCALE_BITS = 12
_MODES = ("ROUND", "ROUND", "ROUND", "FLOOR", "CEIL", "HALF_UP", "ROUND_TO_ZERO")


def short(scale: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The scale in 12 significant bits, so that doubles hold all sums exactly.

    Where they do not, a sum that is 0 may come out a hair beside it, and the last bit of the truth decides at a
    boundary there. The compiler tells of such networks.
    """
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    return np.asarray(np.ldexp(np.rint(mantissa * 2.0**_SCALE_BITS) / 2.0**_SCALE_BITS, exponent))


@dataclass(frozen=True)
class Layer:
    """A layer of a network for the table of what is covered.

    `bits` are those of its weights; of its quantiser, where it is a function before one; else of what comes in.
    """

    kind: str
    bits: int


@dataclass
class Build:
    """A network as it grows; `tensor` [1, *shape] is what the next block goes on from, quantised unless it says so."""

    rng: np.random.Generator
    bits: int  # of weights and activations of the block at hand
    most: int  # channels of a layer
    graph: Graph
    shape: tuple[int, ...]  # channels, rows and columns; channels and length; or features
    tensor: str = "input"
    now: int = 0  # bits of the tensor; 0 where it is not quantised by one scale
    scale: float = 0.0  # of the tensor
    left: list[str] = field(default_factory=list)  # outputs besides
    layers: list[Layer] = field(default_factory=list)

    @property
    def form(self) -> str:
        """What the tensor is."""
        return {3: "picture", 2: "signal", 1: "vector"}[len(self.shape)]

    @property
    def channels(self) -> int:
        """Of the tensor."""
        return self.shape[0]

    def chance(self, probability: float) -> bool:
        """Whether what has this probability comes about."""
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both counted."""
        return int(self.rng.integers(low, max(low, high), endpoint=True))

    def note(self, kind: str, bits: int | None = None) -> None:
        """The layer belongs into the table: by what comes in, unless its bits are given."""
        self.layers.append(Layer(kind, self.now if bits is None else bits))

    def add(self, kind: str, *more: str, shape: tuple[int, ...] | None = None, **attributes: Any) -> str:
        """A node behind the tensor, which makes one of `shape`."""
        self.tensor = self.graph.node(kind, [self.tensor, *more], **attributes)
        self.shape = self.shape if shape is None else shape
        return self.tensor

    # ---- Quantisers ---------------------------------------------------------------------------------------------

    def enter(self, bits: int) -> None:
        """The input: signed mostly, of any bits; now and then bytes that a first quantiser takes."""
        if bits == 1 and self.chance(0.5):
            self.add("Sub", self.graph.constant(np.float32(0.5)))
            self.quantise(1)
            return
        bits = self.number(2, 8) if bits == 1 or self.chance(0.3) else bits
        self.quantise(bits, signed=self.chance(0.8), scale=2.0 ** -(bits - 1) * 1.1, mode="ROUND")

    def quantise(self, bits: int, signed: bool | None = None, scale: float | None = None, mode: str = "") -> None:
        """Quantise the tensor: unsigned, signed, narrow or to -1 and 1, with a scale that its values fill."""
        signed = self.chance(0.6) if signed is None else signed
        mode = mode or str(self.rng.choice(_MODES))
        if scale is None:
            scale = 2 * self.graph.spread(self.tensor) / 2.0 ** (bits - 1) + 1e-3
        scale = float(short(scale))
        if bits == 1 and signed:
            self.tensor = self.graph.bipolar(self.tensor, scale)
            self.note("bipolar activation", 1)
        else:
            narrow = self.chance(0.3) and bits > 1
            self.tensor = self.graph.quant(self.tensor, bits, scale, signed=signed, narrow=narrow, mode=mode)
        self.now, self.scale = bits, scale

    def at_bits(self, signed: bool | None = None) -> None:
        """Quantise what has not the block's bits, or no one scale."""
        if self.now != self.bits or signed is not None:
            self.quantise(self.bits, signed)

    def on_grid(self) -> None:
        """Quantise what is not."""
        if not self.now:
            self.quantise(self.number(2, 8))

    def weights(self, *sizes: int) -> str:
        """Weights of the block's bits, outputs first."""
        bits = self.bits
        values = self.rng.normal(0, 1, sizes)
        channels = (sizes[0], *([1] * (len(sizes) - 1))) if self.chance(0.4) and bits > 1 else ()
        scale = short(self.rng.uniform(0.5, 1.5, channels) * 2.0 / 2 ** (bits - 1))
        if bits == 1:
            self.note("bipolar weights", 1)
            return self.graph.bipolar(self.graph.constant(values), scale)
        narrow = self.chance(0.5)
        if bits == 2 and narrow:
            self.note("ternary weights", 2)
        return self.graph.quant(self.graph.constant(values), bits, scale, signed=True, narrow=narrow, mode="ROUND")

    def end(self) -> None:
        """Nothing that only a quantiser could take, and a softmax or the largest's place behind a vector at times."""
        choice = self.rng.random()
        if self.form == "vector" and self.tensor not in self.left and choice < 0.2:
            self.add("Softmax", axis=1)
        elif self.form == "vector" and self.tensor not in self.left and choice < 0.3:
            self.add("ArgMax", axis=1)

    # ---- Windows ------------------------------------------------------------------------------------------------

    def window(self, *, side: int = 3, stride: int = 1, dilation: int = 1, pad: bool = False) -> dict[str, list[int]]:
        """Attributes of a window that fits the map, none of which lies in the padding alone.

        `stride` and `dilation` are the most; where they are more than 1, one axis has more than 1 if the map allows.
        """
        kernel, strides, dilations, begins, ends = [], [], [], [], []
        for size in self.shape[1:]:
            reach = min(self.number(2 if dilation > 1 or pad else 1, side), size)
            step = self.number(2, dilation) if dilation > 1 and (reach - 1) * 2 < size else 1
            while (reach - 1) * step >= size:
                step -= 1
            kernel.append(reach)
            dilations.append(max(step, 1))
            strides.append(self.number(2, stride) if stride > 1 else 1)
            widest = min(reach - 1 if step == 1 else 1, size - 1) if pad and reach > 1 else 0
            begins.append(self.number(0, widest))
            ends.append(self.number(0, widest))
        return {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": [*begins, *ends]}

    def sizes(self, window: dict[str, list[int]], ceil: bool = False) -> tuple[int, ...]:
        """Rows and columns of what a window makes."""
        made = []
        rank = len(self.shape) - 1
        for axis, size in enumerate(self.shape[1:]):
            padded = size + window["pads"][axis] + window["pads"][rank + axis]
            rest = padded - (window["kernel_shape"][axis] - 1) * window["dilations"][axis] - 1
            steps = -(-rest // window["strides"][axis]) if ceil else rest // window["strides"][axis]
            # A window that begins behind the map is none.
            if ceil and steps * window["strides"][axis] >= size + window["pads"][axis]:
                steps -= 1
            made.append(steps + 1)
        return tuple(made)

    def same(self) -> dict[str, list[int]]:
        """A window that leaves the map its size."""
        kernel = [3 if size > 2 else 1 for size in self.shape[1:]]
        pads = [each // 2 for each in kernel]
        return {"kernel_shape": kernel, "strides": [1] * len(kernel), "dilations": [1] * len(kernel), "pads": pads * 2}

    def convolve(self, kind: str, window: dict[str, list[int]], outputs: int = 0, groups: int = 1) -> None:
        """A convolution, with a bias now and then; not quantised yet."""
        self.on_grid()
        while prod(window["kernel_shape"]) * self.channels // groups > _MOST_LANES:
            ones, none = [1] * len(window["kernel_shape"]), [0] * len(window["pads"])
            window = {**window, "kernel_shape": ones, "dilations": ones, "pads": none}
        outputs = outputs or self.number(1, self.most)
        self.note(kind, self.bits)
        inputs = [self.weights(outputs, self.channels // groups, *window["kernel_shape"])]
        if self.chance(0.4):
            inputs.append(self.graph.constant(self.rng.normal(0, 1, outputs)))
        self.add("Conv", *inputs, shape=(outputs, *self.sizes(window)), group=groups, **window)
        self.now = 0
