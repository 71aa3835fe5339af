"""What the emitter needs of an hls4ml graph: hardware layers with integer weights, exact types and folds.

One hardware layer is a convolution or dense layer together with the activation quantiser behind it, or a max pooling.
Everything that the hardware cannot compute exactly is refused here by layer name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hls.folding import Fold, choose_fold
from hls.qonnx_graph import CompileError

Integers = npt.NDArray[np.int64]
MAX_BITS = 8  # widest weight and activation that the matrix-vector unit takes


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


@dataclass(frozen=True)
class Shape:
    """A feature map."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Pixels of the map."""
        return self.height * self.width


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window; pads are top, left, bottom, right."""

    kernel: int
    stride: int
    pads: tuple[int, int, int, int]


@dataclass(frozen=True)
class Pool:
    """Max pooling."""

    name: str
    source: Shape
    shape: Shape
    window: Window
    format: Format

    @property
    def cycles(self) -> int:
        """Lower bound of the interval: one input pixel a cycle."""
        return self.source.pixels


@dataclass(frozen=True)
class Matrix:
    """A convolution or dense layer, its bias and the quantiser behind it.

    `weights[o, b, l]` multiplies lane `l` of beat `b`; a convolution has one beat (its window), a dense layer behind a
    map has one beat a pixel.
    """

    name: str
    source: Shape
    shape: Shape
    window: Window | None  # None for a dense layer
    weights: Integers  # [outputs, beats, lanes]
    bias: Integers  # [outputs], on the grid of `bias_format`
    weight_format: Format
    bias_format: Format
    input_format: Format
    accumulator: Format
    output_format: Format
    rounding: int  # 0 floor, 1 half up, 2 half to even
    saturate: bool
    reuse_asked: int
    fold: Fold

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights.size + self.bias.size

    @property
    def cycles(self) -> int:
        """Lower bound of the interval, padding counted as built: a step of the padded grid is a cycle."""
        if self.window is None:
            return max(self.fold.cycles, self.source.pixels)
        top, left, bottom, right = self.window.pads
        steps = (self.source.height + top + bottom) * (self.source.width + left + right)
        return max(self.shape.pixels * self.fold.cycles, steps)


Hardware = Matrix | Pool

_NO_PADS = (0, 0, 0, 0)
_ROUNDING = {"TRN": 0, "RND": 1, "RND_CONV": 2}


def extract(model: Any) -> list[Hardware]:
    """Hardware layers of an hls4ml ModelGraph, in order.

    Raises CompileError naming the layer that cannot be built exactly and why.
    """
    nodes = iter(model.get_layers())
    first, quantiser = next(nodes), next(nodes, None)
    if first.class_name not in ("Input", "InputLayer"):
        raise CompileError(f"layer {first.name}: the network must begin with its input")
    shape = Shape(*_map(first))
    if quantiser is None or quantiser.class_name != "Activation" or _format(quantiser) != Format(8, 8, False):
        found = "nothing" if quantiser is None else f"{quantiser.class_name} {_type(quantiser)}"
        raise CompileError(
            f"layer {first.name}: the input needs an unsigned 8-bit quantiser with scale 2**-8 (a pixel is its "
            f"integer), but {found} follows it"
        )
    layers: list[Hardware] = []
    form, pads = Format(8, 8, False), _NO_PADS
    raw = False  # the last layer is a matrix without a quantiser behind it so far
    for node in nodes:
        kind = node.class_name
        if raw and kind != "Activation":
            raise CompileError(
                f"layer {layers[-1].name}: no quantiser follows it, but layer {node.name} does; put a quantised ReLU "
                "between them"
            )
        if kind == "ZeroPadding2D":
            pads = _pads(node)
        elif kind in ("Conv2D", "PointwiseConv2D"):
            layers.append(_convolution(model, node, shape, form, pads))
            pads, raw, shape = _NO_PADS, True, layers[-1].shape
        elif kind == "Dense":
            layers.append(_dense(model, node, shape, form))
            raw, shape = True, layers[-1].shape
        elif kind == "Activation":
            if not raw:
                raise CompileError(f"layer {node.name}: an activation must follow a convolution or dense layer")
            layers[-1] = quantised = _quantised(layers[-1], node)
            raw, form = False, quantised.output_format
        elif kind in ("Pooling2D", "MaxPooling2D"):
            layers.append(_pool(node, shape, form))
            shape = layers[-1].shape
        elif kind == "Reshape":
            if int(np.prod(_map(node))) != shape.pixels * shape.channels:
                raise CompileError(f"layer {node.name}: only flattening is supported, not a reshape to {_map(node)}")
        else:
            raise CompileError(f"layer {node.name}: {kind} is not supported by the RTL backend")
    if not layers or not isinstance(layers[-1], Matrix) or layers[-1].window is not None:
        raise CompileError("the network must end in a dense layer that makes the logits")
    return layers


def _map(node: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in node.get_output_variable().shape)


def _pads(node: Any) -> tuple[int, int, int, int]:
    """Zeros added at top, left, bottom and right."""
    top, left, bottom, right = (int(node.get_attr(f"pad_{side}") or 0) for side in ("top", "left", "bottom", "right"))
    return top, left, bottom, right


def _type(node: Any) -> Any:
    return node.get_output_variable().type.precision


def _format(node: Any) -> Format:
    precision = _type(node)
    return Format(int(precision.width), int(precision.fractional), bool(precision.signed))


def _weight(node: Any, name: str) -> tuple[npt.NDArray[np.float64], Format]:
    weight = node.weights[name]
    precision = weight.type.precision
    return np.asarray(weight.data, np.float64), Format(
        int(precision.width), int(precision.fractional), bool(precision.signed)
    )


def _integers(node: Any, name: str, values: npt.NDArray[np.float64], form: Format) -> Integers:
    scaled = values * 2.0**form.fraction
    integers = np.rint(scaled).astype(np.int64)
    if np.any(integers != scaled) or integers.min(initial=0) < form.low or integers.max(initial=0) > form.high:
        raise CompileError(f"layer {node.name}: {name} do not lie on the grid of their type; quantise them")
    return integers


def _convolution(model: Any, node: Any, source: Shape, form: Format, pads: tuple[int, ...]) -> Matrix:
    attributes = {key: int(node.get_attr(key) or 0) for key in ("filt_height", "filt_width", "stride_height",
        "stride_width")}  # fmt: skip
    if attributes["filt_height"] != attributes["filt_width"]:
        raise CompileError(f"layer {node.name}: kernel {attributes['filt_height']}x{attributes['filt_width']} is not "
                           "square")  # fmt: skip
    if attributes["stride_height"] != attributes["stride_width"] or attributes["stride_width"] not in (1, 2):
        raise CompileError(f"layer {node.name}: stride {attributes['stride_height']}x{attributes['stride_width']}; "
                           "1 and 2 are supported")  # fmt: skip
    if max(int(node.get_attr(key) or 1) for key in ("dilation_height", "dilation_width")) != 1:
        raise CompileError(f"layer {node.name}: dilated convolutions are not supported")
    values, weight_format = _weight(node, "weight")
    if node.get_attr("_weights_transposed"):  # hls4ml's Resource strategy stores filters first
        values = values.transpose(1, 2, 3, 0)
    kernel, _, channels, outputs = values.shape
    if channels != source.channels:
        raise CompileError(f"layer {node.name}: grouped convolutions are not supported")
    top, left, bottom, right = (a + b for a, b in zip(pads, _pads(node), strict=True))
    window = Window(kernel, attributes["stride_width"], (top, left, bottom, right))
    weights = _integers(node, "weights", values, weight_format).reshape(-1, 1, outputs).transpose(2, 1, 0)
    return _matrix(model, node, source, Shape(*_map(node)), window, weights, weight_format, form)


def _dense(model: Any, node: Any, source: Shape, form: Format) -> Matrix:
    values, weight_format = _weight(node, "weight")
    if node.get_attr("_weights_transposed"):
        values = values.T
    outputs = values.shape[-1]
    weights = _integers(node, "weights", values, weight_format)
    weights = weights.reshape(source.pixels, source.channels, outputs).transpose(2, 0, 1)
    return _matrix(model, node, source, Shape(1, 1, outputs), None, weights, weight_format, form)


def _matrix(
    model: Any,
    node: Any,
    source: Shape,
    shape: Shape,
    window: Window | None,
    weights: Integers,
    weight_format: Format,
    form: Format,
) -> Matrix:
    outputs, beats, lanes = weights.shape
    for what, found in (("weights", weight_format), ("inputs", form)):
        if found.bits > MAX_BITS:
            raise CompileError(f"layer {node.name}: {what} of {found.bits} bits; up to {MAX_BITS} are supported")
    if not weight_format.signed:
        raise CompileError(f"layer {node.name}: unsigned weights are not supported; use a signed weight quantiser")
    values, bias_format = _weight(node, "bias")
    bias = _integers(node, "biases", values, bias_format)
    fraction = form.fraction + weight_format.fraction
    if bias.any() and bias_format.fraction > fraction:
        raise CompileError(
            f"layer {node.name}: the bias has {bias_format.fraction} fraction bits, finer than the {fraction} of the "
            "products; give it the scale of input times weight"
        )
    # Only as many bits as the values need, on the products' own grid where all are zero.
    bias_format = Format(
        max(int(value).bit_length() for value in (bias.min(), ~bias.min(), bias.max())) + 1,
        bias_format.fraction if bias.any() else fraction,
        True,
    )
    low, high = _worst_case(weights, bias << (fraction - bias_format.fraction), form)
    accumulator = Format(max(int(low).bit_length(), int(high).bit_length()) + 1, fraction, True)
    for what, precision in (("result", _type(node)), ("accumulator", node.get_attr("accum_t").precision)):
        held = Format(int(precision.width), int(precision.fractional), bool(precision.signed))
        spare = held.fraction - fraction
        if spare < 0 or low << spare < held.low or high << spare > held.high:
            raise CompileError(
                f"layer {node.name}: {what} type {precision} cannot hold the worst case "
                f"[{low}, {high}] * 2**-{fraction}; let hls4ml infer it ('auto') or widen it"
            )
    reuse = int(model.config.get_reuse_factor(node))
    return Matrix(
        name=node.name,
        source=source,
        shape=shape,
        window=window,
        weights=weights,
        bias=bias,
        weight_format=weight_format,
        bias_format=bias_format,
        input_format=form,
        accumulator=accumulator,
        output_format=accumulator,
        rounding=0,
        saturate=False,
        reuse_asked=reuse,
        fold=choose_fold(reuse, outputs, lanes, beats),
    )


def _worst_case(weights: Integers, bias: Integers, form: Format) -> tuple[int, int]:
    """Bounds of every partial sum, in whatever order it is built: the negative and positive terms taken apart."""
    flat = weights.reshape(len(weights), -1)
    terms_low = np.minimum(flat * form.low, flat * form.high).sum(1) + np.minimum(bias, 0)
    terms_high = np.maximum(flat * form.low, flat * form.high).sum(1) + np.maximum(bias, 0)
    return int(terms_low.min()), int(terms_high.max())


def _quantised(layer: Hardware, node: Any) -> Matrix:
    assert isinstance(layer, Matrix)  # extract() calls this right behind a matrix only
    activation = str(node.get_attr("activation")).lower()
    precision, form = _type(node), _format(node)
    if activation not in ("relu", "linear"):
        raise CompileError(f"layer {node.name}: activation {activation} is not supported; use a quantised ReLU")
    if form.bits > MAX_BITS:
        raise CompileError(
            f"layer {node.name}: no quantiser of at most {MAX_BITS} bits behind it (type {precision}); "
            "use a quantised activation"
        )
    if activation == "relu" and form.signed:
        raise CompileError(f"layer {node.name}: a ReLU needs an unsigned quantiser, not {precision}")
    saturation, rounding = _mode(precision.saturation_mode), _mode(precision.rounding_mode)
    if rounding not in _ROUNDING or saturation not in ("SAT", "WRAP"):
        raise CompileError(f"layer {node.name}: rounding {rounding} with {saturation} is not supported")
    if saturation == "WRAP" and not _fits(layer, form):
        raise CompileError(f"layer {node.name}: its quantiser wraps around; use a saturating one")
    return replace(layer, output_format=form, rounding=_ROUNDING[rounding], saturate=True)


def _mode(mode: Any) -> str:
    return str(mode).rsplit(".", maxsplit=1)[-1].removeprefix("AP_")


def _fits(layer: Matrix, form: Format) -> bool:
    spare = form.fraction - layer.accumulator.fraction
    return spare >= 0 and form.low <= layer.accumulator.low << spare and layer.accumulator.high << spare <= form.high


def _pool(node: Any, source: Shape, form: Format) -> Pool:
    if str(node.get_attr("pool_op")).lower() != "max":
        raise CompileError(f"layer {node.name}: {node.get_attr('pool_op')} pooling is not supported; use max pooling")
    size = {int(node.get_attr(key)) for key in ("pool_height", "pool_width")}
    stride = {int(node.get_attr(key)) for key in ("stride_height", "stride_width")}
    if len(size) != 1 or len(stride) != 1 or any(_pads(node)):
        raise CompileError(f"layer {node.name}: max pooling must be square and without padding")
    window = Window(size.pop(), stride.pop(), _NO_PADS)
    return Pool(node.name, source, Shape(*_map(node)), window, form)


def matrices(layers: list[Hardware]) -> Iterator[Matrix]:
    """The layers that multiply."""
    return (layer for layer in layers if isinstance(layer, Matrix))
