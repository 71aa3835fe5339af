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

from edgesight.hls.folding import Fold, choose_fold
from edgesight.hls.network import (
    MAX_BITS,
    PIXEL,
    CompileError,
    Format,
    Integers,
    Shape,
    Step,
    Window,
    refuse,
)


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

MAX_SUM_BITS = 25  # float32, in which QONNX is executed, adds integers exactly up to 2**24
_NO_PADS = (0, 0, 0, 0)
_ROUNDING = {"TRN": 0, "RND": 1, "RND_CONV": 2}


def extract(model: Any) -> list[Hardware]:
    """Hardware layers of an hls4ml ModelGraph, in order.

    Raises CompileError naming the layer that cannot be built exactly and why.
    """
    nodes = iter(model.get_layers())
    first = next(nodes)
    if first.class_name not in ("Input", "InputLayer"):
        raise CompileError(f"layer {first.name}: the network must begin with its input; export it so")
    shape = _map(first)
    layers: list[Hardware] = []
    form: Format | None = None  # of the values that come in; None until the input's quantiser
    pads = _NO_PADS
    turned = False  # a flattened map has its channels first
    raw = False  # the last layer is a matrix without a quantiser behind it so far
    for node in nodes:
        kind = node.class_name
        if kind == "Transpose" and not layers:
            turned = list(node.get_attr("perm")) == [2, 0, 1]
            if turned or 1 in (shape.pixels, shape.channels):
                continue
        if form is None:
            if kind != "Activation" or _format(node) != PIXEL:
                raise CompileError(
                    f"layer {first.name}: the input needs an unsigned 8-bit quantiser with scale 2**-8 (a pixel is its "
                    f"integer), but {kind} {_type(node)} follows it; add one"
                )
            form = PIXEL
            continue
        if raw and kind != "Activation":
            raise CompileError(
                f"layer {layers[-1].name}: no quantiser follows it, but layer {node.name} does; put a quantised ReLU "
                "between them"
            )
        if turned and kind not in ("Reshape", "Dense"):
            raise CompileError(f"layer {node.name}: a transposition stands before it; flatten the map behind it")
        if kind == "ZeroPadding2D":
            pads = _pads(node)
        elif kind in ("Conv2D", "PointwiseConv2D"):
            layers.append(_convolution(model, node, shape, form, pads))
            pads = _NO_PADS
        elif kind == "Dense":
            layers.append(_dense(model, node, shape, form, turned))
            turned = False
        elif kind == "Activation":
            if not raw:
                raise CompileError(
                    f"layer {node.name}: an activation stands alone; put it behind a convolution or dense layer"
                )
            layers[-1] = _quantised(layers[-1], node)
        elif kind in ("Pooling2D", "MaxPooling2D"):
            layers.append(_pool(node, shape, form))
        elif kind == "Reshape":
            if len(node.get_output_variable().shape) != 1 or _map(node).channels != shape.pixels * shape.channels:
                raise CompileError(
                    f"layer {node.name}: only flattening is supported, not a reshape to {_map(node)}; use Flatten"
                )
        else:
            raise CompileError(f"layer {node.name}: {kind} is not supported by the RTL backend; leave it out")
        if layers:
            last = layers[-1]
            raw = isinstance(last, Matrix) and not last.saturate
            shape, form = last.shape, last.output_format if isinstance(last, Matrix) else last.format
    if not layers or not isinstance(layers[-1], Matrix) or layers[-1].window is not None:
        raise CompileError("the network must end in a dense layer that makes the logits; add one")
    return layers


def compare(layers: list[Hardware], steps: list[Step]) -> None:
    """Refuse hardware layers that differ from what the QONNX graph says: shapes, windows, types, weights or order.

    Raises CompileError naming the layers, with what differs in each.
    """
    if len(layers) != len(steps):
        names = f"{', '.join(layer.name for layer in layers)} instead of {', '.join(step.name for step in steps)}"
        raise CompileError(f"hls4ml makes {len(layers)} layers of {len(steps)} ({names}); please report the network")
    problems = []
    for layer, step in zip(layers, steps, strict=True):
        for what, found, wanted in _differences(layer, step):
            problems.append(
                f"layer {step.name}: hls4ml makes it ({layer.name}) with {what} {found}, but the network has {wanted}; "
                "leave the configuration's Precision at 'auto', and prepare the graph with "
                "edgesight.hls.qonnx_graph.load"
            )
    refuse(problems)


def _differences(layer: Hardware, step: Step) -> Iterator[tuple[str, object, object]]:
    for what in ("source", "shape", "window"):
        if getattr(layer, what) != getattr(step, what):
            yield what, getattr(layer, what), getattr(step, what)
    if isinstance(layer, Pool) != (step.weights is None):
        yield "kind", type(layer).__name__, "another"
    elif isinstance(layer, Pool):
        if layer.format != step.output:
            yield "type", layer.format, step.output
    else:
        found = layer.output_format if layer.saturate else None
        if found != step.output:
            yield "quantiser", found or "none", step.output or "none"
        elif found is not None and layer.rounding != step.rounding:
            yield "rounding", layer.rounding, step.rounding
        for what, values, form, wanted in (
            ("weights", layer.weights, layer.weight_format, step.weights),
            ("biases", layer.bias, layer.bias_format, step.bias),
        ):
            if not np.array_equal(values * 2.0**-form.fraction, np.asarray(wanted)):
                yield what, "of other values", "its own"


def _map(node: Any) -> Shape:
    """The shape of a node's output; a flat vector is one pixel."""
    sizes = [int(size) for size in node.get_output_variable().shape]
    if len(sizes) not in (1, 3):
        raise CompileError(
            f"layer {node.name}: a map of shape {sizes}; images and flat vectors are supported; use one of these"
        )
    return Shape(*sizes) if len(sizes) == 3 else Shape(1, 1, sizes[0])


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
                           "square; use a square one")  # fmt: skip
    if attributes["stride_height"] != attributes["stride_width"] or attributes["stride_width"] not in (1, 2):
        raise CompileError(f"layer {node.name}: stride {attributes['stride_height']}x{attributes['stride_width']}; "
                           "1 and 2 are supported; use one of these")  # fmt: skip
    if max(int(node.get_attr(key) or 1) for key in ("dilation_height", "dilation_width")) != 1:
        raise CompileError(f"layer {node.name}: dilated convolutions are not supported; use dilation 1")
    values, weight_format = _weight(node, "weight")
    if node.get_attr("_weights_transposed"):  # hls4ml's Resource strategy stores filters first
        values = values.transpose(1, 2, 3, 0)
    kernel, _, channels, outputs = values.shape
    if channels != source.channels:
        raise CompileError(f"layer {node.name}: grouped convolutions are not supported; use one group")
    top, left, bottom, right = (a + b for a, b in zip(pads, _pads(node), strict=True))
    window = Window(kernel, attributes["stride_width"], (top, left, bottom, right))
    weights = _integers(node, "weights", values, weight_format).reshape(-1, 1, outputs).transpose(2, 1, 0)
    return _matrix(model, node, source, _map(node), window, weights, weight_format, form)


def _dense(model: Any, node: Any, source: Shape, form: Format, turned: bool) -> Matrix:
    values, weight_format = _weight(node, "weight")
    if node.get_attr("_weights_transposed"):
        values = values.T
    outputs = values.shape[-1]
    weights = _integers(node, "weights", values, weight_format)
    if turned:
        weights = weights.reshape(source.channels, source.pixels, outputs).transpose(2, 1, 0)
    else:
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
            raise CompileError(
                f"layer {node.name}: {what} of {found.bits} bits; up to {MAX_BITS} are supported; use fewer"
            )
    if not weight_format.signed:
        raise CompileError(f"layer {node.name}: unsigned weights are not supported; use a signed weight quantiser")
    values, bias_format = _weight(node, "bias")
    bias = _integers(node, "biases", values, bias_format)
    fraction = form.fraction + weight_format.fraction
    finer = max(bias_format.fraction - fraction, 0) if bias.any() else 0
    if (bias % (1 << min(finer, 62))).any():
        raise CompileError(
            f"layer {node.name}: the bias has {bias_format.fraction} fraction bits, finer than the {fraction} of the "
            "products; give it the scale of input times weight"
        )
    bias = bias >> finer
    # Only as many bits as the values need, on the products' own grid where all are zero.
    bias_format = Format(
        max(int(value).bit_length() for value in (bias.min(), ~bias.min(), bias.max())) + 1,
        bias_format.fraction - finer if bias.any() else fraction,
        True,
    )
    coarser = fraction - bias_format.fraction
    reach = bias_format.bits + coarser
    if reach <= MAX_SUM_BITS:  # a longer shift might not fit
        low, high = _worst_case(weights, bias << coarser, form)
        accumulator = Format(max(int(low).bit_length(), int(high).bit_length()) + 1, fraction, True)
        reach = accumulator.bits
    if reach > MAX_SUM_BITS:
        raise CompileError(
            f"layer {node.name}: its sums reach 2**{reach - 1} steps of its products, beyond the "
            f"2**{MAX_SUM_BITS - 1} to which QONNX's float32 is exact; use fewer bits, or smaller biases"
        )
    types = [("accumulator", node.get_attr("accum_t").precision)]
    quantiser = _type(node)
    # hls4ml makes a quantiser right behind a layer its result type, which then saturates; any other one does not.
    if _mode(quantiser.saturation_mode) == "WRAP":
        types.append(("result", quantiser))
    for what, precision in types:
        held = Format(int(precision.width), int(precision.fractional), bool(precision.signed))
        spare = held.fraction - fraction
        if spare < 0 or low << spare < held.low or high << spare > held.high:
            raise CompileError(
                f"layer {node.name}: {what} type {precision} cannot hold the worst case "
                f"[{low}, {high}] * 2**-{fraction}; let hls4ml infer it ('auto') or widen it"
            )
    reuse = int(model.config.get_reuse_factor(node))
    layer = Matrix(
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
    return layer if len(types) > 1 else _requantised(layer, node)


def _worst_case(weights: Integers, bias: Integers, form: Format) -> tuple[int, int]:
    """Bounds of every partial sum, in whatever order it is built: the negative and positive terms taken apart."""
    flat = weights.reshape(len(weights), -1)
    terms_low = np.minimum(flat * form.low, flat * form.high).sum(1) + np.minimum(bias, 0)
    terms_high = np.maximum(flat * form.low, flat * form.high).sum(1) + np.maximum(bias, 0)
    return int(terms_low.min()), int(terms_high.max())


def _quantised(layer: Hardware, node: Any) -> Matrix:
    """A layer with the activation behind it."""
    assert isinstance(layer, Matrix)  # extract() calls this right behind a matrix only
    activation = str(node.get_attr("activation")).lower()
    if activation not in ("relu", "linear"):
        raise CompileError(f"layer {node.name}: activation {activation} is not supported; use a quantised ReLU")
    if activation == "relu" and _format(node).signed:
        raise CompileError(f"layer {node.name}: use an unsigned quantiser for a ReLU, not {_type(node)}")
    return _requantised(layer, node)


def _requantised(layer: Matrix, node: Any) -> Matrix:
    """A layer whose sums are rounded and fitted into a node's type."""
    precision, form = _type(node), _format(node)
    if form.bits > MAX_BITS:
        raise CompileError(
            f"layer {node.name}: no quantiser of at most {MAX_BITS} bits behind it (type {precision}); "
            "use a quantised activation"
        )
    saturation, rounding = _mode(precision.saturation_mode), _mode(precision.rounding_mode)
    if rounding not in _ROUNDING or saturation not in ("SAT", "WRAP"):
        raise CompileError(
            f"layer {node.name}: rounding {rounding} with {saturation} is not supported; use a quantiser with rounding "
            "mode ROUND or FLOOR and without a narrow range"
        )
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
        raise CompileError(f"layer {node.name}: use max pooling that is square and without padding")
    window = Window(size.pop(), stride.pop(), _NO_PADS)
    return Pool(node.name, source, _map(node), window, form)


def matrices(layers: list[Hardware]) -> Iterator[Matrix]:
    """The layers that multiply."""
    return (layer for layer in layers if isinstance(layer, Matrix))
