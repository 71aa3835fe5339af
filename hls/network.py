"""What a QONNX graph says, read without hls4ml: every operator, input and attribute is taken into account or refused.

`read` walks the graph twice. The first walk takes each node by itself: an operator, an attribute or a value that this
compiler does not know is a problem. The second follows the data from the input to the logits and makes one `Step` of
every convolution, dense layer and max pooling, with the arithmetic that ONNX and QONNX define. All problems are told at
once, by the names that the exporter gave. What hls4ml makes of a graph is held against these steps
(`edgesight.hls.layers`).
"""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import get_schema, onnx_opset_version

from edgesight.host.errors import EdgeSightError
from edgesight.host.pixels import FRACTION_BITS

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
MAX_BITS = 8  # widest weight and activation that the matrix-vector unit takes
MAX_BIAS_BITS = 32
MAX_EXPONENT = 64  # of a scale, either way: float32 would run out of range

SUPPORTED = ("Quant", "Conv", "Relu", "MaxPool", "Flatten", "Reshape", "Gemm", "MatMul", "Add")
CHANNELS_LAST = "qonnx.custom_op.channels_last"
INPUT_LAYOUT = "edgesight.input_layout"  # metadata of a prepared graph in which no node's domain tells its layout
_QUANT_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
OLDEST_OPSET = 7  # of ONNX's own operators: older ones broadcast in another way
MAX_SIDE = 4096  # of a map, padding included: what is made of a file is bounded
_LONGEST_SHOWN = 120  # characters of a name in a message
_TOLD = 20  # problems; a graph that has more of them tells how many

_INT, _FLOAT, _TEXT, _INTS, _TENSOR = 2, 1, 3, 7, 4  # onnx.AttributeProto.AttributeType
# Every attribute that is read, with its type. One that is not here is refused.
ATTRIBUTES: dict[str, dict[str, int]] = {
    "Quant": {"signed": _INT, "narrow": _INT, "rounding_mode": _TEXT},
    "Conv": {
        "kernel_shape": _INTS, "strides": _INTS, "pads": _INTS, "dilations": _INTS, "group": _INT, "auto_pad": _TEXT,
    },
    "MaxPool": {
        "kernel_shape": _INTS, "strides": _INTS, "pads": _INTS, "dilations": _INTS, "ceil_mode": _INT,
        "storage_order": _INT, "auto_pad": _TEXT,
    },
    "Relu": {},
    "Flatten": {"axis": _INT},
    "Reshape": {"allowzero": _INT},
    "Gemm": {"alpha": _FLOAT, "beta": _FLOAT, "transA": _INT, "transB": _INT},
    "MatMul": {},
    "Add": {},
    "Transpose": {"perm": _INTS},
    "Constant": {"value": _TENSOR},
}  # fmt: skip
_HLS4ML_NEEDS = {
    "Quant": ("signed", "narrow", "rounding_mode"),
    "Conv": ("kernel_shape", "strides", "pads", "dilations", "group"),
    "MaxPool": ("kernel_shape", "strides", "pads"),
}
_INPUTS = {
    "Quant": (4, 4), "Conv": (2, 3), "MaxPool": (1, 1), "Relu": (1, 1), "Flatten": (1, 1), "Reshape": (2, 2),
    "Gemm": (2, 3), "MatMul": (2, 2), "Add": (2, 2), "Transpose": (1, 1), "Constant": (0, 0),
}  # fmt: skip
_REMEDIES = {
    "BatchNormalization": "fold it into the layer before it, before quantising",
    "BipolarQuant": "use a quantiser of at least 2 bits",
    "AveragePool": "use max pooling",
    "GlobalAveragePool": "use max pooling and a dense layer",
    "Softmax": "end the network at the logits; the largest stays the largest",
    "Dropout": "export the network in evaluation mode",
    "Identity": "export the network without it",
    "Trunc": "use max pooling",
    "QuantizeLinear": "export as QONNX (Brevitas' export_qonnx), not as QCDQ",
    "DequantizeLinear": "export as QONNX (Brevitas' export_qonnx), not as QCDQ",
    "Clip": "let the quantiser clip; its range does",
}
_ROUNDING = {"FLOOR": 0, "ROUND": 2}  # as mvu.sv counts


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


def read(model: Any, for_hls4ml: bool = False) -> list[Step]:
    """The steps of a QONNX model (a qonnx `ModelWrapper` or an onnx `ModelProto`), channels first or last.

    hls4ml itself needs attributes that ONNX lets a file leave away; they are asked for where it comes next. Raises
    CompileError with every problem that was found; each names its layer, the reason and a remedy.
    """
    walk = _Walk(getattr(model, "model", model), for_hls4ml)
    walk.nodes()
    steps = walk.follow()
    refuse(walk.problems)
    return steps


def _shown(name: str) -> str:
    """A file's name of something, fit for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_SHOWN])


class _Walk:
    """One graph being read: what its tensors are, and the problems found so far."""

    def __init__(self, model: Any, for_hls4ml: bool) -> None:
        self.graph = model.graph
        self.for_hls4ml = for_hls4ml
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        self.functions = {(function.domain, function.name) for function in model.functions}
        self.problems: list[str] = []
        self.refused: set[str] = set()  # what nodes make that are refused whole
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers: dict[str, Any] = {}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in self.graph.node:
            for tensor in node.output:
                if tensor in self.producers or tensor in self.constants:
                    self.problems.append(f"tensor {tensor}: made twice; export the network again")
                self.producers[tensor] = node
            for tensor in filter(None, node.input):
                self.consumers[tensor].append(node)
            if node.op_type == "Constant":
                values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
                self.constants.update(zip(node.output, values, strict=False))
        self.outputs = [output.name for output in self.graph.output]
        self.last = any(node.domain == CHANNELS_LAST for node in self.graph.node) or any(
            entry.key == INPUT_LAYOUT and entry.value == CHANNELS_LAST for entry in model.graph.metadata_props
        )

    # ---- Names -----------------------------------------------------------------------------------------------------

    def name(self, node: Any) -> str:
        """The exporter's name of a node, with the module's where another place tells it."""
        own = _shown(node.name or (node.output[0] if node.output else "") or node.op_type)
        module = _shown(self._module(node))
        return own if not module or module in own else f"{module} ({own})"

    def _module(self, node: Any) -> str:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                try:
                    scopes = [str(scope) for scope in ast.literal_eval(entry.value)]
                except (ValueError, SyntaxError):
                    continue
                return next((scope for scope in reversed(scopes[:-1]) if scope), "")
        if node.op_type not in ("Conv", "Gemm", "MatMul", "BatchNormalization"):
            return ""
        for tensor in node.input[1:]:
            for _ in range(4):  # a parameter, its quantiser, its transposition
                producer = self.producers.get(tensor)
                if producer is None or not producer.input:
                    break
                tensor = producer.input[0]
            for suffix in (".weight", ".bias"):
                if tensor.endswith(suffix):
                    return str(tensor.removesuffix(suffix))
        return ""

    def where(self, node: Any) -> str:
        """How a message calls a node."""
        if node.op_type != "Quant":
            return f"layer {self.name(node)}"
        users = [self.name(self._reader(consumer)) for tensor in node.output for consumer in self.consumers[tensor]]
        source = self.producers.get(node.input[0]) if node.input else None
        behind = f"behind {self.name(source)}, " if source is not None and source.op_type not in ("Constant",) else ""
        return f"quantiser {self.name(node)} ({behind}before {', '.join(users) or 'the output'})"

    def _reader(self, node: Any) -> Any:
        """The layer that a parameter ends in, behind its transposition."""
        after = self.consumers[node.output[0]] if node.op_type == "Transpose" and node.output else []
        return after[0] if after else node

    def say(self, node: Any, reason: str, remedy: str) -> None:
        """Note a problem."""
        self.problems.append(f"{self.where(node)}: {reason}; {remedy}")

    # ---- The first walk: each node by itself -----------------------------------------------------------------------

    def nodes(self) -> None:
        """Check every node by itself: its operator, its attributes, the count of its inputs and outputs."""
        if not OLDEST_OPSET <= self.opset <= onnx_opset_version():
            self.problems.append(
                f"the file is written for opset {self.opset} of ONNX, this compiler reads {OLDEST_OPSET} to "
                f"{onnx_opset_version()}; export it for another"
            )
            self.opset = onnx_opset_version()
        if self.graph.sparse_initializer:
            self.problems.append("the graph holds sparse tensors; export it with dense ones")
        for node in self.graph.node:
            if not self._operator(node):
                self.refused.update(node.output)
                continue
            self._attributes(node)
            inputs = list(node.input)
            while inputs and not inputs[-1]:
                inputs.pop()
            fewest, most = _INPUTS[node.op_type]
            if not fewest <= len(inputs) or len(node.input) > most or not all(inputs):
                self.say(node, f"{len(node.input)} inputs, {fewest} to {most} are read", "export the network again")
                self.refused.update(node.output)
            elif len(node.output) != 1 or not node.output[0]:
                self.say(node, f"{len(node.output)} outputs, where one is read", "export it without the others")
                self.refused.update(node.output)
            elif node.op_type == "Quant":
                self.quantiser(node, told=True)

    def _operator(self, node: Any) -> bool:
        kind, domain = node.op_type, node.domain
        if kind not in ATTRIBUTES:
            remedy = _REMEDIES.get(kind, f"build the network from {', '.join(SUPPORTED)}")
            self.say(node, f"operator {kind} is not supported", remedy)
            return False
        allowed = _QUANT_DOMAINS if kind == "Quant" else ("", "ai.onnx")
        if kind in ("Conv", "MaxPool"):
            allowed = (*allowed, CHANNELS_LAST)
        if domain not in allowed or (domain, kind) in self.functions:
            self.say(node, f"operator {kind} of domain {domain!r} is not ONNX's own", "export it as a standard one")
            return False
        return True

    def _attributes(self, node: Any) -> None:
        known = ATTRIBUTES[node.op_type]
        if node.op_type != "Quant":  # some came with later opsets
            schema = get_schema(node.op_type, self.opset).attributes
            known = {name: kind for name, kind in known.items() if name in schema}
        seen = set()
        for attribute in node.attribute:
            if attribute.name not in known:
                self.say(
                    node,
                    f"attribute {attribute.name} of {node.op_type} is not read by this compiler",
                    f"export it without; it reads {', '.join(known) or 'none'}",
                )
            elif attribute.type != known[attribute.name] or attribute.ref_attr_name:
                self.say(node, f"attribute {attribute.name} has the wrong type", "export the network again")
            elif attribute.name in seen:
                self.say(node, f"attribute {attribute.name} is there twice", "export the network again")
            seen.add(attribute.name)
        missing = [name for name in _HLS4ML_NEEDS.get(node.op_type, ()) if name not in seen]
        if self.for_hls4ml and missing:
            self.say(
                node,
                f"without {', '.join(missing)}, which hls4ml needs",
                "prepare it with edgesight.hls.qonnx_graph.load",
            )

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        """An attribute's value; the default where it is missing or of a wrong type, which the first walk has told."""
        for attribute in node.attribute:
            if attribute.name == name and attribute.type == ATTRIBUTES[node.op_type].get(name):
                value = helper.get_attribute_value(attribute)
                return value.decode(errors="replace") if isinstance(value, bytes) else value
        return default

    def sizes(self, node: Any, name: str, default: list[int], least: int) -> list[int]:
        """A list attribute of the default's length with values of at least `least`; else the default, and a problem."""
        values = [int(value) for value in self.attribute(node, name, default)]
        if len(values) != len(default) or min(values, default=least) < least:
            self.say(node, f"{name} {values} is not {len(default)} numbers of at least {least}", "export it again")
            return default
        return values

    def constant(self, tensor: str) -> Reals | None:
        """A constant's values as stored; None where the tensor is computed."""
        stored = self.constants.get(tensor)
        return None if stored is None else np.asarray(numpy_helper.to_array(stored))

    def quantiser(self, node: Any, told: bool = False) -> Quantiser | None:
        """What a Quant node does, None where that is not exact here; the first walk tells why."""
        problems: list[tuple[str, str]] = []
        parameters = [self.constant(tensor) for tensor in node.input[1:4]]
        if any(value is None for value in parameters):
            problems.append(("its scale, zero point or bit width is computed at run time",
                             "export the network in evaluation mode"))  # fmt: skip
        elif any(
            value.dtype.kind not in "iu" and value.dtype != np.float32 for value in parameters if value is not None
        ):
            problems.append(("its scale, zero point or bit width is not float32", "export the network in float32"))
        scale, zero, bits = (None if value is None else np.asarray(value, np.float64).ravel() for value in parameters)
        fraction = width = 0
        if scale is not None and not problems:
            odd = [value for value in map(float, scale) if value <= 0 or math.frexp(value)[0] != 0.5]
            if odd:
                problems.append((f"float scale {odd[0]:.6g} is no power of two",
                                 "use Brevitas' fixed-point quantisers (...FixedPoint), whose scales are"))  # fmt: skip
            elif scale.size != 1:
                problems.append((f"one scale a channel ({scale.size} scales)", "use one scale a tensor"))
            else:
                fraction = 1 - math.frexp(float(scale[0]))[1]
                if abs(fraction) > MAX_EXPONENT:
                    problems.append((f"scale 2**{-fraction} is out of range",
                                     f"use scales from 2**-{MAX_EXPONENT} to 2**{MAX_EXPONENT}"))  # fmt: skip
        if zero is not None and not np.all(zero == 0):
            problems.append((f"zero point {float(zero[zero != 0][0]):g} is not 0", "use a symmetric quantiser"))
        if bits is not None:
            if bits.size != 1 or not math.isfinite(bits[0]) or bits[0] != round(float(bits[0])) or bits[0] < 1:
                problems.append((f"bit width {', '.join(f'{value:g}' for value in bits[:3])} is no whole number",
                                 "round the learned bit width before the export"))  # fmt: skip
            else:
                width = int(bits[0])
        signed, narrow = (self.attribute(node, key) for key in ("signed", "narrow"))
        for key, value in (("signed", signed), ("narrow", narrow)):
            if value not in (0, 1):
                problems.append((f"attribute {key} is {'missing' if value is None else value}",
                                 "export it as 0 or 1"))  # fmt: skip
        if narrow and not signed:
            problems.append(("a narrow range of an unsigned quantiser", "export it with narrow=0"))
        if signed and width == 1:
            problems.append(("a signed quantiser of 1 bit (bipolar)", "use at least 2 bits"))
        rounding = str(self.attribute(node, "rounding_mode", "ROUND"))
        if rounding not in _ROUNDING:
            problems.append((f"rounding mode {rounding}", f"use {' or '.join(_ROUNDING)}"))
        if told:
            for reason, remedy in problems:
                self.say(node, reason, remedy)
        if problems:
            return None
        return Quantiser(Format(width, fraction, bool(signed)), bool(narrow), _ROUNDING[rounding])

    # ---- The second walk: along the data ---------------------------------------------------------------------------

    def follow(self) -> list[Step]:
        """The steps from input to logits; on the way problems are noted, and the first that hides the rest ends it."""
        inputs = [entry for entry in self.graph.input if entry.name not in self.constants]
        if len(inputs) != 1 or len(self.outputs) != 1:
            for what, names in (("input", [entry.name for entry in inputs]), ("output", self.outputs)):
                if len(names) != 1:
                    self.problems.append(
                        f"the network has {len(names)} {what}s ({', '.join(names[:4])}); export it with one {what}"
                    )
            return []
        return _Path(self, inputs[0]).steps()


class _Path:
    """The way of the data through a chain of layers."""

    def __init__(self, walk: _Walk, entry: Any) -> None:
        self.walk = walk
        self.say = walk.say
        self.entry = entry
        self.done: list[Step] = []
        self.raw: Step | None = None  # the last layer, as long as no quantiser stands behind it
        self.biased = True  # it has a bias or may have none any more
        self.form: Format | None = None  # of the values on the way; None before the input's quantiser
        self.fraction = 0  # of the products of the layer at hand
        self.last = walk.last  # whether a map's channels come last here
        self.tensor = str(entry.name)  # where the way stands

    def steps(self) -> list[Step]:
        if not self._input():
            return []
        tensor, seen = self.tensor, {self.tensor}
        while tensor != self.walk.outputs[0]:
            users = self.walk.consumers[tensor]
            source = self.walk.producers.get(tensor)
            at = f"layer {self.walk.name(source)}" if source is not None else f"input {tensor}"
            if len(users) != 1:
                names = ", ".join(self.walk.name(user) for user in users) or "nothing"
                remedy = "only a chain of layers is supported: rebuild the network without the branch"
                self.walk.problems.append(f"{at}: its output goes to {names}; {remedy}")
                return self.done
            node = users[0]
            if not node.output or node.output[0] in self.walk.refused | seen or not self._take(node):
                return self.done
            self.tensor = tensor = node.output[0]
            seen.add(tensor)
        if self.walk.consumers[tensor]:
            names = ", ".join(self.walk.name(user) for user in self.walk.consumers[tensor])
            self.walk.problems.append(f"output {tensor}: layers follow it ({names}); export the network without them")
        last = self.done[-1] if self.done else None
        if last is None or last.weights is None or last.window is not None or (last.relu and last.output is None):
            self.walk.problems.append(
                "the network must end in a dense layer that makes the logits"
                + (f", not in {last.name}" if last is not None else "")
                + "; let a dense layer, or one with a signed quantiser behind it, be the last"
            )
        elif last.output is not None and not last.output.signed:
            self.walk.problems.append(
                f"layer {last.name}: an unsigned quantiser makes the logits; use a signed one, or none"
            )
        return self.done

    def _input(self) -> bool:
        kind = self.entry.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
        shown = [_shown(dim.dim_param) or dim.dim_value or "?" for dim in kind.shape.dim[:8]]
        problems = self.walk.problems
        if kind.elem_type != TensorProto.FLOAT:
            found = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type else "no tensor"
            problems.append(f"input {self.entry.name}: its type is {found}; export the network in float32")
        if len(dims) not in (2, 4) or min(dims, default=0) < 1 or dims[0] != 1 or max(dims[2:], default=1) > MAX_SIDE:
            problems.append(
                f"input {self.entry.name}: shape {shown} is none of [1, channels, height, width] and [1, features]; "
                f"export the network with a batch of 1 and fixed sizes, at most {MAX_SIDE} a side"
            )
            return False
        if len(dims) == 2:
            self.shape, self.flat = Shape(1, 1, dims[1]), True
        else:
            self.last = self.last or self._turned()
            height, width, channels = dims[1:] if self.last else (*dims[2:], dims[1])
            self.shape, self.flat = Shape(height, width, channels), False
        return True

    def _turned(self) -> bool:
        """Whether the first transposition on the way makes channels first, so that the input has them last."""
        return any(
            node.op_type == "Transpose" and self._perm(node) == [0, 3, 1, 2]
            for node in self.walk.graph.node
            if node.input and node.input[0] not in self.walk.constants
        )

    def _perm(self, node: Any) -> list[int]:
        return [int(axis) for axis in self.walk.attribute(node, "perm", [])]

    def _take(self, node: Any) -> bool:
        """One node; False where what follows cannot be told."""
        if node.op_type != "Add" and (node.input[0] != self.tensor or self.tensor in node.input[1:]):
            self.say(node, "computed values come where constants belong", "let weights and parameters be constants")
            return False
        if self.form is None and node.op_type not in ("Quant", "Transpose", "Flatten", "Reshape"):
            self.say(
                node,
                "the input needs an unsigned 8-bit quantiser with scale 2**-8 (a pixel is its integer), but "
                f"{node.op_type} follows it",
                "quantise the input first",
            )
            self.form = PIXEL
        if self.raw is not None and node.op_type not in ("Quant", "Relu", "Add"):
            self.say(
                node,
                f"no quantiser lies between layer {self.raw.name} and this one",
                "put a quantised ReLU between them",
            )
            self.raw = None
        return bool(getattr(self, f"_{node.op_type.lower()}")(node))

    # ---- Parameters ------------------------------------------------------------------------------------------------

    def _parameter(self, node: Any, tensor: str, role: str, turns: int = 4) -> tuple[Reals, Format] | None:
        """Quantised values of a weight or bias tensor; None, and a problem, where they are not both."""
        producer = self.walk.producers.get(tensor)
        if tensor in self.walk.refused:
            return None  # told by the first walk
        if producer is not None and producer.op_type == "Transpose" and turns:
            found = self._parameter(node, producer.input[0], role, turns - 1)
            if found is None:
                return None
            values, form = found
            axes = self._perm(producer) or list(range(values.ndim))[::-1]
            if sorted(axes) != list(range(values.ndim)):
                self.say(producer, f"perm {axes} is no order of axes", "export the network again")
                return None
            return values.transpose(axes), form
        if producer is None or producer.op_type != "Quant":
            if self.walk.constant(tensor) is None:
                self.say(node, f"its {role} are computed at run time", "let them be constants behind a quantiser")
            else:
                kind = "weight" if role == "weights" else "bias"
                self.say(
                    node,
                    f"{role} are floating point",
                    f"give the layer a {kind} quantiser with a power-of-two scale",
                )
            return None
        stored, quantiser = self.walk.constant(producer.input[0]), self.walk.quantiser(producer)
        if stored is None:
            self.say(producer, f"the {role} that it quantises are computed at run time", "let them be constants")
            return None
        if stored.dtype != np.float32:
            self.say(producer, f"the {role} that it quantises are {stored.dtype}", "export the network in float32")
            return None
        if not np.isfinite(stored).all():
            self.say(producer, f"the {role} that it quantises are not all finite numbers", "train the network again")
            return None
        if quantiser is None:
            return None  # told by the first walk
        limit = MAX_BITS if role == "weights" else MAX_BIAS_BITS
        if quantiser.format.bits > limit:
            self.say(producer, f"{role} of {quantiser.format.bits} bits", f"use at most {limit}")
            return None
        if role == "weights" and not quantiser.format.signed:
            self.say(producer, "unsigned weights are not supported", "use a signed weight quantiser")
            return None
        return quantiser(np.asarray(stored, np.float64)), quantiser.format

    def _weights(self, node: Any) -> tuple[Reals, Format] | None:
        found = self._parameter(node, node.input[1], "weights")
        # Of weights that are refused the grid is not known: one that every bias lies on keeps this quiet.
        self.fraction = 4 * MAX_EXPONENT
        if found is not None and self.form is not None:
            self.fraction = self.form.fraction + found[1].fraction
        return found

    def _bias(self, node: Any, tensor: str | None, outputs: int) -> Reals:
        """Biases [outputs]; zeros where there are none or where they are refused."""
        none = np.zeros(outputs)
        found = self._parameter(node, tensor, "biases") if tensor else None
        if found is None:
            return none
        values, _ = found
        steps = values * 2.0**self.fraction
        if np.any(steps != np.round(steps)):
            self.say(
                node,
                f"the bias is finer than the 2**-{self.fraction} of the products",
                "give it the scale of input times weight",
            )
            return none
        if values.shape not in ((outputs,), (1, outputs)):
            self.say(node, f"biases of shape {list(values.shape)}", f"give one bias for each of the {outputs} outputs")
            return none
        return values.reshape(outputs)

    # ---- Layers ----------------------------------------------------------------------------------------------------

    def _quant(self, node: Any) -> bool:
        quantiser = self.walk.quantiser(node)
        if self.form is None:
            self.form = PIXEL
            if quantiser is not None and (quantiser.format != PIXEL or quantiser.narrow):
                form = quantiser.format
                self.say(
                    node,
                    "the input needs an unsigned 8-bit quantiser with scale 2**-8 (a pixel is its integer), but "
                    f"{'a signed' if form.signed else 'an unsigned'} one of {form.bits} bits with scale "
                    f"2**{-form.fraction} follows it",
                    "quantise pixels / 256 to 8 bits",
                )
            return True
        if self.raw is None:
            self.say(node, "a quantiser must stand behind a convolution or dense layer", "export it without")
            return True
        if quantiser is not None:
            form = quantiser.format
            if form.bits > MAX_BITS:
                self.say(node, f"activations of {form.bits} bits", f"use at most {MAX_BITS}")
            if quantiser.narrow:
                self.say(node, "a narrow range of activations", "export it with narrow=0 (narrow_range=False)")
            if self.raw.relu and form.signed:
                self.say(node, "a ReLU needs an unsigned quantiser, not a signed one", "use an unsigned one")
            self.raw.output, self.raw.rounding = form, quantiser.rounding
            self.form = form
        self.raw = None
        return True

    def _relu(self, node: Any) -> bool:
        if self.raw is None or self.raw.relu:
            self.say(node, "a ReLU must follow a convolution or dense layer", "export the network without it")
        else:
            self.raw.relu, self.biased = True, True
        return True

    def _add(self, node: Any) -> bool:
        others = [tensor for tensor in node.input if tensor != self.tensor]
        if self.raw is None or self.raw.bias is None or self.biased:
            self.say(
                node,
                "an addition is supported as the bias of the dense layer before it only",
                "give the layer its own bias",
            )
            return True
        self.biased = True
        self.raw.bias = self._bias(node, others[0], self.raw.shape.channels)
        return True

    def _transpose(self, node: Any) -> bool:
        perm = self._perm(node)
        if self.flat or perm != ([0, 3, 1, 2] if self.last else [0, 2, 3, 1]):
            self.say(node, f"a transposition {perm} of activations", "export the network without it")
            return False
        self.last = not self.last
        return True

    def _flatten(self, node: Any) -> bool:
        axis = int(self.walk.attribute(node, "axis", 1))
        rank = 2 if self.flat else 4
        if axis not in (1, 1 - rank):
            self.say(node, f"Flatten from axis {axis}", "flatten all but the batch (axis 1)")
        return self._flattened(node)

    def _reshape(self, node: Any) -> bool:
        target = self.walk.constant(node.input[1])
        if target is None:
            self.say(node, "its shape is computed at run time", "export the network with fixed sizes")
            return False
        wanted = [int(size) for size in np.asarray(target).ravel()]
        zeros = int(self.walk.attribute(node, "allowzero", 0))
        features = self.shape.pixels * self.shape.channels
        if self.flat:
            dims = [1, features]
        elif self.last:
            dims = [1, self.shape.height, self.shape.width, self.shape.channels]
        else:
            dims = [1, self.shape.channels, self.shape.height, self.shape.width]
        sizes = [dims[i] if size == 0 and not zeros and i < len(dims) else size for i, size in enumerate(wanted)]
        if sizes.count(-1) == 1:
            known = math.prod(size for size in sizes if size != -1)
            sizes = [features // known if size == -1 and known > 0 else size for size in sizes]
        if sizes != [1, features]:
            self.say(node, f"a reshape to {wanted} that is no flatten of all but the batch", "use Flatten")
            return False
        return self._flattened(node)

    def _flattened(self, node: Any) -> bool:
        if self.flat and self.walk.for_hls4ml:
            self.say(node, "it flattens what is flat already", "prepare the graph with edgesight.hls.qonnx_graph.load")
        self.flat = True
        return True

    def _conv(self, node: Any) -> bool:
        geometry = self._window(node)
        if geometry is None:
            return False
        kernels, strides, pads, shape = geometry
        if strides[0] not in (1, 2) or strides[0] != strides[1]:
            self.say(node, f"stride {strides[0]}x{strides[1]}", "1 and 2 are supported, the same both ways")
        group = int(self.walk.attribute(node, "group", 1))
        if group != 1:
            self.say(node, f"a grouped convolution ({group} groups)", "use a full convolution")
        found = self._weights(node)
        stored = self._stored_shape(node.input[1])
        if stored is None or len(stored) != 4:
            if stored is not None:
                self.say(node, f"weights of shape {list(stored)}", "use a two-dimensional convolution")
            return False
        if node.domain == CHANNELS_LAST:
            stored = (stored[0], stored[3], stored[1], stored[2])
        outputs = stored[0]
        if tuple(kernels) != tuple(stored[2:]) or stored[1] * max(group, 1) != self.shape.channels or group < 1:
            self.say(
                node,
                f"weights {list(stored)} don't fit kernel {kernels} and {self.shape.channels} channels",
                "export the network again",
            )
            return False
        out = Shape(*shape, outputs)
        weights = np.zeros((outputs, 1, 0))
        if found is not None and group == 1:
            values = found[0] if node.domain == CHANNELS_LAST else found[0].transpose(0, 2, 3, 1)
            weights = values.reshape(outputs, 1, -1)
        bias = self._bias(node, node.input[2] if len(node.input) > 2 else None, outputs)
        window = Window(kernels[0], strides[0], pads)
        self._layer(Step(self.walk.name(node), node.output[0], self.shape, out, window, weights, bias), biased=True)
        return True

    def _stored_shape(self, tensor: str, turns: int = 4) -> tuple[int, ...] | None:
        """The shape of a parameter whatever its quantiser is."""
        for _ in range(turns):
            stored = self.walk.constants.get(tensor)
            if stored is not None:
                return tuple(stored.dims)
            producer = self.walk.producers.get(tensor)
            if producer is None or not producer.input:
                return None
            if producer.op_type == "Transpose":
                inner = self._stored_shape(producer.input[0], turns - 1)
                axes = self._perm(producer)
                if inner is None or (axes and sorted(axes) != list(range(len(inner)))):
                    return None
                return tuple(inner[axis] for axis in axes) if axes else inner[::-1]
            tensor = producer.input[0]
        return None

    def _window(self, node: Any) -> tuple[list[int], list[int], tuple[int, int, int, int], tuple[int, int]] | None:
        """Kernel, strides, pads and output size of a convolution or pooling, as ONNX defines them."""
        if self.flat:
            self.say(node, f"{node.op_type} of a flat vector", "give it a feature map")
            return None
        if (node.domain == CHANNELS_LAST) != self.last:
            self.say(
                node,
                "its channels do not lie where its input has them",
                "prepare the graph with edgesight.hls.qonnx_graph.load",
            )
            return None
        stored = self._stored_shape(node.input[1]) if node.op_type == "Conv" else None
        default = [1, 1]
        if stored is not None and len(stored) == 4:
            default = list(stored[1:3] if node.domain == CHANNELS_LAST else stored[2:])
        elif self.walk.attribute(node, "kernel_shape") is None:
            self.say(node, "kernel_shape is missing", "export the network again")
            return None
        kernels = self.walk.sizes(node, "kernel_shape", default, 1)
        strides = self.walk.sizes(node, "strides", [1, 1], 1)
        dilations = self.walk.sizes(node, "dilations", [1, 1], 1)
        size = (self.shape.height, self.shape.width)
        reach = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(kernels, dilations, strict=True)]
        automatic = str(self.walk.attribute(node, "auto_pad", "NOTSET"))
        pads = self.walk.sizes(node, "pads", [0, 0, 0, 0], 0)
        if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            self.say(node, f"auto_pad {automatic}", "use NOTSET with pads")
        elif automatic != "NOTSET":
            if self.walk.attribute(node, "pads") is not None:
                self.say(node, f"auto_pad {automatic} beside pads {pads}", "give one of both")
            elif self.last and node.domain == CHANNELS_LAST and automatic != "VALID":
                self.say(node, f"auto_pad {automatic} is not read by hls4ml", "give the pads as numbers")
            pads = automatic_pads(automatic, size, reach, strides)
        if dilations != [1, 1]:
            what = "dilated max pooling" if node.op_type == "MaxPool" else "a dilated convolution"
            self.say(node, f"{what} (dilations {dilations})", "use dilation 1")
        if kernels[0] != kernels[1]:
            self.say(node, f"kernel {kernels[0]}x{kernels[1]} is not square", "use a square one")
        if max(size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]) > MAX_SIDE:
            self.say(node, f"a padded map of more than {MAX_SIDE} rows or columns", "use a smaller one")
            return None
        grown = [size[0] + pads[0] + pads[2] - reach[0], size[1] + pads[1] + pads[3] - reach[1]]
        if min(grown) < 0:
            self.say(node, f"its window {reach[0]}x{reach[1]} is larger than the padded map", "use a smaller kernel")
            return None
        out = [grown[0] // strides[0] + 1, grown[1] // strides[1] + 1]
        if node.op_type == "MaxPool":
            ceil = int(self.walk.attribute(node, "ceil_mode", 0))
            # A last window that would begin behind the map and its padding does not count.
            up = [-(-grown[i] // strides[i]) + 1 for i in (0, 1)]
            up = [n - 1 if (n - 1) * strides[i] >= size[i] + pads[i] else n for i, n in enumerate(up)]
            if ceil and up != out:
                self.say(node, f"ceil_mode {ceil} with windows that hang over the map's edge", "use ceil_mode 0")
                out = up
        return kernels, strides, (pads[0], pads[1], pads[2], pads[3]), (out[0], out[1])

    def _maxpool(self, node: Any) -> bool:
        geometry = self._window(node)
        if geometry is None:
            return False
        kernels, strides, pads, shape = geometry
        if any(pads):
            self.say(node, f"max pooling with padding {list(pads)}", "pool without padding")
        if strides[0] != strides[1]:
            self.say(node, f"stride {strides[0]}x{strides[1]}", "use the same both ways")
        if int(self.walk.attribute(node, "storage_order", 0)) != 0:
            self.say(node, "storage_order is not 0", "export it with storage_order 0")
        step = Step(
            self.walk.name(node),
            node.output[0],
            self.shape,
            Shape(*shape, self.shape.channels),
            Window(kernels[0], strides[0], pads),
            None,
            None,
            self.form,
        )
        self.done.append(step)
        self.shape = step.shape
        return True

    def _gemm(self, node: Any) -> bool:
        for key in ("alpha", "beta"):
            value = float(self.walk.attribute(node, key, 1.0))
            if value != 1.0 and (key == "alpha" or len(node.input) > 2):
                self.say(node, f"{key} {value:g}", f"scale the {'weights' if key == 'alpha' else 'bias'} instead")
        if int(self.walk.attribute(node, "transA", 0)) != 0:
            self.say(node, "transA is not 0", "export it without")
        transposed = int(self.walk.attribute(node, "transB", 0))
        if transposed not in (0, 1):
            self.say(node, f"transB {transposed}", "export it as 0 or 1")
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        return self._dense(node, bool(transposed), bias)

    def _matmul(self, node: Any) -> bool:
        return self._dense(node, False, None)

    def _dense(self, node: Any, transposed: bool, bias: str | None) -> bool:
        if not self.flat:
            self.say(node, f"{node.op_type} of a feature map", "flatten the map first")
            return False
        found = self._weights(node)
        stored = self._stored_shape(node.input[1])
        features = self.shape.pixels * self.shape.channels
        if stored is None:
            return False
        if len(stored) != 2 or stored[1 if transposed else 0] != features:
            self.say(node, f"weights of shape {list(stored)} for {features} features", "export the network again")
            return False
        outputs = stored[0 if transposed else 1]
        weights = np.zeros((outputs, self.shape.pixels, 0))
        if found is not None:
            values = found[0] if transposed else found[0].T
            if self.last:
                weights = values.reshape(outputs, self.shape.pixels, self.shape.channels)
            else:  # a map that was flattened with its channels first
                weights = values.reshape(outputs, self.shape.channels, self.shape.pixels).transpose(0, 2, 1)
        out = Shape(1, 1, outputs)
        step = Step(
            self.walk.name(node), node.output[0], self.shape, out, None, weights, self._bias(node, bias, outputs)
        )
        self._layer(step, biased=bias is not None)
        return True

    def _layer(self, step: Step, biased: bool) -> None:
        self.done.append(step)
        self.raw, self.shape, self.biased = step, step.shape, biased


def automatic_pads(mode: str, size: tuple[int, int], reach: list[int], strides: list[int]) -> list[int]:
    """Top, left, bottom and right padding of ONNX's `auto_pad`."""
    if mode == "VALID":
        return [0, 0, 0, 0]
    begins, ends = [], []
    for length, kernel, stride in zip(size, reach, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins + ends
