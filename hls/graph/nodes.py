"""The nodes of a QONNX graph, each taken by itself: an operator, attribute or value that is not known is a problem."""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from onnx.defs import get_schema, onnx_opset_version

from edgesight.hls.network import Format, Quantiser, Reals

MAX_EXPONENT = 64  # of a scale, either way: float32 would run out of range
SUPPORTED = ("Quant", "Conv", "Relu", "MaxPool", "Flatten", "Reshape", "Gemm", "MatMul", "Add")
CHANNELS_LAST = "qonnx.custom_op.channels_last"
INPUT_LAYOUT = "edgesight.input_layout"  # metadata of a prepared graph in which no node's domain tells its layout
_QUANT_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
QUANTISERS = ("Quant", "BipolarQuant", "Trunc")
OLDEST_OPSET = 7  # of ONNX's own operators: older ones broadcast in another way
_LONGEST_SHOWN = 120  # characters of a name in a message

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


def shown(name: str) -> str:
    """A file's name of something, fit for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_SHOWN])


def of_opset(kind: str, opset: int, known: dict[str, int]) -> dict[str, int]:
    """Those of the `known` attributes that an operator has in a version of ONNX: some came with later ones."""
    if kind in QUANTISERS:
        return known
    schema = get_schema(kind, opset).attributes
    return {name: type_of for name, type_of in known.items() if name in schema}


class Nodes:
    """One graph being read: what its tensors are, and the problems found so far."""

    def __init__(self, model: Any, for_hls4ml: bool) -> None:
        """Of an onnx `ModelProto`; `for_hls4ml`: as hls4ml needs it."""
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

    def name(self, node: Any) -> str:
        """The exporter's name of a node, with the module's where another place tells it."""
        own = shown(node.name or (node.output[0] if node.output else "") or node.op_type)
        module = shown(self._module(node))
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
        if node.op_type not in QUANTISERS:
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

    def check_file(self) -> None:
        """Check what holds for the graph as a whole."""
        if not OLDEST_OPSET <= self.opset <= onnx_opset_version():
            self.problems.append(
                f"the file is written for opset {self.opset} of ONNX, this compiler reads {OLDEST_OPSET} to "
                f"{onnx_opset_version()}; export it for another"
            )
            self.opset = onnx_opset_version()
        if self.graph.sparse_initializer:
            self.problems.append("the graph holds sparse tensors; export it with dense ones")

    def check(self) -> None:
        """Check every node by itself: its operator, its attributes, the count of its inputs and outputs."""
        self.check_file()
        for node in self.graph.node:
            if not self._operator(node):
                self.refused.update(node.output)
                continue
            self.check_attributes(node)
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

    def check_attributes(self, node: Any) -> None:
        """Note the attributes of a node that are not read, or not as they are."""
        known = self.reads(node)
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

    def reads(self, node: Any) -> dict[str, int]:
        """The attributes that are read of a node, with their types, as far as the file's opset has them."""
        return of_opset(node.op_type, self.opset, ATTRIBUTES[node.op_type])

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

    def perm(self, node: Any) -> list[int]:
        """The order of axes that a Transpose gives; empty where it gives none, which reverses them."""
        return [int(axis) for axis in self.attribute(node, "perm", [])]

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
