"""What a network is to this compiler: a chain of steps, each with the arithmetic that ONNX and QONNX define.

A step is a convolution, a dense layer or a max pooling. `edgesight.hls.graph` makes them of a QONNX graph; what hls4ml
makes of the same graph is held against them (`edgesight.hls.layers`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.pixels import FRACTION_BITS

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
MAX_BITS = 8  # widest weight and activation that the matrix-vector unit takes
MAX_BIAS_BITS = 32
_TOLD = 20  # problems; a graph that has more of them tells how many


class CompileError(EdgeSightError, ValueError):
    """A network that cannot be compiled exactly: names the layer, what was found and what to do."""


def refuse(problems: Iterable[str], subject: str = "") -> None:
    """Raise CompileError with all the problems that there are, on a line each where there are several."""
    found = list(dict.fromkeys(problems))
    if not found:
        return
    start = f"{subject}: " if subject else ""
    if len(found) == 1:
        raise CompileError(start + found[0])
    told = "".join(f"\n- {problem}" for problem in found[:_TOLD])
    rest = f"\n- and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    raise CompileError(f"{start}{len(found)} problems:{told}{rest}")


@dataclass(frozen=True)
class Format:
    """A fixed-point type: the value is integer * 2**-fraction."""

    bits: int
    fraction: int
    signed: bool

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


PIXEL = Format(8, FRACTION_BITS, False)  # a byte of a picture


@dataclass(frozen=True)
class Shape:
    """A feature map; a flat vector is one pixel."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Pixels of the map."""
        return self.height * self.width

    def __str__(self) -> str:
        """As height x width x channels."""
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window; pads are top, left, bottom, right."""

    kernel: int
    stride: int
    pads: tuple[int, int, int, int]


@dataclass
class Step:
    """A convolution or dense layer with its bias and the quantiser behind it, or a max pooling (without weights).

    Weights and biases are the quantised values, `weights[output, beat, lane]` as in `edgesight.hls.layers.Matrix`:
    the lanes of a
    convolution are its window's rows, columns and channels, a dense layer has a beat for each pixel of the map.
    """

    name: str
    tensor: str  # what its node makes
    source: Shape
    shape: Shape
    window: Window | None  # None for a dense layer
    weights: Reals | None
    bias: Reals | None
    output: Format | None = None  # None for logits as they are
    rounding: int = 0
    relu: bool = False


@dataclass(frozen=True)
class Quantiser:
    """What a Quant node does: its format, the smallest integer where it is narrow, and how it rounds."""

    format: Format
    narrow: bool
    rounding: int

    def __call__(self, values: Reals) -> Reals:
        """Quantised values, as QONNX defines them: clipped, then rounded."""
        low = self.format.low + (1 if self.narrow and self.format.signed else 0)
        clipped = np.clip(values * 2.0**self.format.fraction, low, self.format.high)
        return np.asarray((np.round if self.rounding else np.floor)(clipped) * 2.0**-self.format.fraction)
