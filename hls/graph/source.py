"""A QONNX graph as the compiler reads it: its nodes in order, each checked by itself, its constants computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper
from onnx.defs import SchemaError, get_schema

from edgesight.hls.graph import truth
from edgesight.hls.graph.elementwise import ROUNDINGS, Array, limits
from edgesight.hls.graph.mapwise import pads_of, scales_of_resize
from edgesight.hls.graph.nodes import QUANTISERS, Nodes
from edgesight.hls.graph.shapewise import SHAPEWISE, elements
from edgesight.hls.graph.signatures import REMEDIES, SIGNATURES
from edgesight.hls.network import CompileError, Reals

MAX_CONSTANT = 1 << 27  # elements that one node may compute before the network runs
MAX_CONSTANTS = 1 << 28  # and all of them
_TOLERANCE = 1e-9  # of a weight, in steps of its scale
# What a constant may pass through; any other operator on constants alone is refused.
_MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Slice", "Gather")
_BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", *QUANTISERS)
_FOLDED = (*_MOVES, *_BROADCAST, *SHAPEWISE, "Constant", "Cast", "Concat", "Shape", "Neg", "Sqrt", "Relu", "Clip")


class Refused(Exception):
    """A node that cannot be taken: why, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        """The reason and the remedy, each without a full stop."""
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


class Constant:
    """A tensor that is known before the network runs, and the scale of each element where a quantiser made it.

    `held`: the least and the largest integer that this quantiser's type holds, in steps of the scale.
    """

    def __init__(self, value: Array, scale: Reals | None = None, held: tuple[int, int] | None = None) -> None:
        """Of double values or integers; `scale` is of the same shape."""
        self.value, self.scale, self.held = value, scale, held


class Source(Nodes):
    """One graph being compiled: what its tensors are, and the problems found so far."""

    def __init__(self, model: Any) -> None:
        """Of an onnx `ModelProto`."""
        super().__init__(model)
        self.known: dict[str, Constant] = {}
        self._computed = 0  # elements
        for tensor in self.graph.initializer:
            try:
                value = truth.doubles(numpy_helper.to_array(tensor))
                if value.dtype.kind not in "fib":
                    raise TypeError(f"it holds {value.dtype}")
                self.known[tensor.name] = Constant(value)
            except Exception as error:  # whatever onnx raises for a spoilt tensor
                found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                self.problems.append(f"tensor {tensor.name}: cannot be read ({found}); export the network again")

    def attributes(self, node: Any) -> dict[str, Any]:
        """A node's attributes by name."""
        return truth.attributes_of(node)

    def check(self) -> None:
        """Check every node by itself: its operator, its attributes, the count of its inputs and outputs."""
        self.check_file()
        used = {tensor for node in self.graph.node for tensor in node.input} | set(self.outputs)
        for node in self.graph.node:
            problem = self._of_no_signature(node)
            if problem is None:
                self.check_attributes(node)
                problem = self._ends(node, used)
            if problem is not None:
                self.say(node, *problem)
                self.refused.update(node.output)

    def _of_no_signature(self, node: Any) -> tuple[str, str] | None:
        kind, domain = node.op_type, node.domain
        if kind not in SIGNATURES:
            known = ", ".join(sorted(SIGNATURES.keys() - SHAPEWISE.keys()))
            remedy = REMEDIES.get(kind, f"build the network from {known}")
            return f"operator {kind} is not supported", remedy
        if domain not in SIGNATURES[kind].domains or (domain, kind) in self.functions:
            return f"operator {kind} of domain {domain!r} is not read here", "export it as a standard one"
        if kind not in QUANTISERS:
            try:
                deprecated = get_schema(kind, self.opset).deprecated
            except SchemaError:
                deprecated = True
            if deprecated:
                return f"opset {self.opset} of ONNX has no operator {kind}", "export the network again"
        return None

    def _ends(self, node: Any, used: set[str]) -> tuple[str, str] | None:
        signature = SIGNATURES[node.op_type]
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        fewest, most = signature.inputs
        holes = [place for place, tensor in enumerate(inputs) if not tensor and place not in signature.holes]
        if not fewest <= len(inputs) <= most or holes:
            return f"{len(inputs)} inputs, {fewest} to {most} are read", "export the network again"
        if not node.output or not node.output[0]:
            return "it has no output", "export the network again"
        further = [tensor for tensor in node.output[1:] if tensor and tensor in used]
        if node.op_type != "TopK" and (len(node.output) > signature.outputs or further):
            return f"{len(node.output)} outputs, where one is read", "export it without the others"
        return None

    def fold(self, node: Any) -> None:
        """Compute a node of constants alone. Raises Refused where that is not possible or too large."""
        if node.op_type not in _FOLDED:
            raise Refused(f"{node.op_type} of constants alone", "let the exporter fold constants")
        inputs = [self.known[tensor] if tensor else None for tensor in node.input]
        values = [None if each is None else each.value for each in inputs]
        self._bounded(node, values)
        made = self._made(node, values)
        if node.op_type in QUANTISERS:
            self.quantiser_of(node)
            scale = values[4] if len(values) == 6 else values[1]
            scales: Reals | None = np.broadcast_to(np.asarray(scale, np.float64), made.shape)
            held = self.held(node)
        else:
            scales = self._scales(node, inputs, values, made)
            held = next((each.held for each in inputs if each is not None and each.held is not None), None)
        self.known[node.output[0]] = Constant(made, scales, held if node.op_type != "Concat" else None)

    def held(self, node: Any) -> tuple[int, int] | None:
        """The least and the largest integer that a quantiser's type holds, zero point and all; None where none says."""
        if node.op_type == "BipolarQuant":
            return -1, 1
        if node.op_type != "Quant":
            return None
        _, zero, bits = self.parameters(node)
        attributes, width = self.attributes(node), float(bits.ravel()[0])
        if attributes["signed"] and width == 1:
            return -1, 1
        low, high = limits(bool(attributes["signed"]), bool(attributes["narrow"]), width)
        return int(low - zero.max()), int(high - zero.min())

    def _bounded(self, node: Any, values: list[Any]) -> None:
        sizes = [np.size(value) for value in values if value is not None]
        if node.op_type == "Gather":
            sizes = [np.size(values[0]) * max(np.size(values[1]), 1)]
        elif node.op_type in (*_BROADCAST, *SHAPEWISE):
            try:
                sizes = [elements(node.op_type, values)]
            except (ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
                raise Refused(f"it cannot be computed ({error})", "export the network again") from None
        if sum(sizes) > MAX_CONSTANT:
            raise Refused(f"a constant of more than {MAX_CONSTANT} elements", "use a smaller network")
        self._computed += sum(sizes)
        if self._computed > MAX_CONSTANTS:
            raise Refused(f"constants of more than {MAX_CONSTANTS} elements in all", "use a smaller network")

    def _made(self, node: Any, values: list[Any]) -> Array:
        try:
            with np.errstate(all="ignore"):
                return truth.apply(node, self.attributes(node), values, self.opset)[0]
        except CompileError:
            raise
        except Exception as error:  # attributes that fit no input: numpy says which
            found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise Refused(f"it cannot be computed ({found})", "export the network again") from error

    def _scales(self, node: Any, inputs: list[Any], values: list[Any], made: Array) -> Reals | None:
        if node.op_type in _MOVES and inputs[0].scale is not None:
            return self._made(node, [np.asarray(inputs[0].scale), *values[1:]])
        if node.op_type == "Concat" and all(each.scale is not None for each in inputs):
            return self._made(node, [np.asarray(each.scale) for each in inputs])
        if node.op_type in ("Mul", "Div"):  # a factor behind the quantiser
            scaled = [place for place, each in enumerate(inputs) if each.scale is not None]
            if len(scaled) == 1 and (node.op_type == "Mul" or scaled == [0]):
                other = [inputs[place].scale if place in scaled else value for place, value in enumerate(values)]
                return np.broadcast_to(np.abs(self._made(node, other)), made.shape)
        return None

    def quantiser_of(self, node: Any) -> None:
        """Check what a quantiser's attributes and parameters are. Raises Refused."""
        attributes = self.attributes(node)
        parameters = self.parameters(node)
        for key in ("signed", "narrow") if node.op_type == "Quant" or len(parameters) == 5 else ():
            if attributes.get(key, None if node.op_type == "Quant" else 0) not in (0, 1):
                raise Refused(f"attribute {key} is {attributes.get(key, 'missing')}", "export it as 0 or 1")
        if node.op_type == "Trunc" and len(parameters) == 4 and {"signed", "narrow"} & attributes.keys():
            raise Refused("a Trunc of five inputs is neither signed nor narrow", "export it with all six inputs")
        if attributes.get("rounding_mode", "ROUND").upper() not in ROUNDINGS:
            raise Refused(f"rounding mode {attributes['rounding_mode']}", f"use one of {', '.join(ROUNDINGS)}")
        scales = [parameters[0]] + ([parameters[3]] if len(parameters) == 5 else [])
        if any(not np.isfinite(scale).all() or np.min(scale, initial=1) <= 0 for scale in scales):
            raise Refused("its scale is not positive", "train the network again")
        if node.op_type == "BipolarQuant":
            return
        if np.any(parameters[1] != np.round(parameters[1])) or not np.isfinite(parameters[1]).all():
            raise Refused("its zero point is no whole number", "use a symmetric quantiser")
        for bits in (parameters[2], parameters[-1]):
            if bits.size != 1 or not np.isfinite(bits).all() or np.any(bits != np.round(bits)) or not 1 <= bits <= 32:
                shown = ", ".join(f"{float(value):g}" for value in np.ravel(bits)[:3])
                raise Refused(f"bit width {shown} is no whole number from 1 to 32", "round the learned bit width")

    def parameters(self, node: Any) -> list[Array]:
        """The constants behind a node's first input, as doubles. Raises Refused where one is computed."""
        found = [self.known.get(tensor) for tensor in node.input[1:]]
        if any(each is None for each in found):
            raise Refused("a parameter is computed at run time", "export the network in evaluation mode")
        return [np.asarray(each.value, np.float64) for each in found if each is not None]

    def pads(self, node: Any, rank: int) -> list[tuple[int, int]]:
        """What a Pad adds before and behind each axis of a tensor. Raises Refused where it is not zeros."""
        attributes = self.attributes(node)
        given = [None, *(None if not tensor else self._integers(tensor) for tensor in node.input[1:])]
        value = given[2] if len(given) > 2 and given[2] is not None else np.asarray(attributes.get("value", 0.0))
        if attributes.get("mode", "constant") != "constant" or np.any(value != 0):
            raise Refused("it pads with other values than 0", "pad with zeros")
        return pads_of(attributes, given, rank)

    def resized(self, node: Any, shape: list[int]) -> tuple[list[float], list[int], list[Array | None]]:
        """Factors, target sizes and inputs of a Resize or Upsample of a tensor of `shape`."""
        given: list[Array | None] = [None if not tensor else self._integers(tensor) for tensor in node.input[1:]]
        if not given:
            given = [np.asarray(self.attributes(node).get("scales", []))]
        scales, targets = scales_of_resize(given, shape)
        return scales, targets, given

    def _integers(self, tensor: str) -> Array:
        found = self.known.get(tensor)
        if found is None:
            raise Refused("a parameter is computed at run time", "export the network with fixed sizes")
        return found.value

    def integers(self, tensor: str) -> list[int]:
        """A constant's values as integers. Raises Refused where it is computed."""
        return [int(value) for value in np.ravel(self._integers(tensor))]
