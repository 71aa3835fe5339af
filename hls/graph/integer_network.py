"""A QONNX file becomes an integer network: exact, or refused by layer with the reason and a remedy.

The graph is followed along its edges, whatever order its nodes are in. Each tensor on the way is an integer stream and
a function, channel by channel, that makes the tensor's real values of the stream's integers (`flow`, `values`). At a
quantiser that function and the quantiser together are evaluated by the very operations of the truth (`truth`), and
become integer thresholds, or a shift where that is the same (`thresholds`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgesight.hls.dataflow import operators
from edgesight.hls.dataflow.operators import IntegerNetwork, Output, Stream
from edgesight.hls.graph import joins, layers, logits
from edgesight.hls.graph.elementwise import ELEMENTWISE, limits
from edgesight.hls.graph.flow import Flow, Making
from edgesight.hls.graph.layers import MAX_SIDE
from edgesight.hls.graph.layout import AGAIN, Layout
from edgesight.hls.graph.nodes import QUANTISERS, shown
from edgesight.hls.graph.quantisers import quantised
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.source import MAX_CONSTANT, Constant, Refused, Source
from edgesight.hls.graph.tensorwise import axes_of, flattened, squeezed, target_shape, unsqueezed
from edgesight.hls.graph.truth import ordered
from edgesight.hls.graph.values import MAX_STEPS, Leaf, applied
from edgesight.hls.network import CompileError, Shape, refuse

MAX_INPUT_BITS = 16
MAX_ASSUMED_BITS = 32  # of an input that no quantiser takes
_Layer = Callable[[Source, Making, Any, Flow], Flow]
_LAYERS: dict[str, _Layer] = {
    "Conv": layers.conv,
    "Gemm": layers.dense,
    "MatMul": layers.dense,
    "MaxPool": layers.max_pool,
    "AveragePool": layers.average_pool,
    "GlobalAveragePool": layers.average_pool,
    "ReduceMean": layers.reduce_mean,
    "Pad": layers.pad,
    "Resize": layers.upsample,
    "Upsample": layers.upsample,
}
# What numpy and Python raise for attributes that fit no tensor.
_SPOILT = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError)
_ENDS = ("Softmax", "ArgMax", "TopK")


@dataclass(frozen=True)
class Format:
    """Integers that come in: from `low` to `high`, each standing for the real value integer * `scale`."""

    low: int
    high: int
    scale: float


@dataclass(frozen=True)
class _Ended:
    """What the host makes of a flow."""

    flow: Flow
    tensor: str  # of the file, that the network gives: itself, or what an index was dropped of
    softmax: bool = False
    index: bool = False  # nothing computes it: its shape does not count


BYTES = Format(0, 255, 2.0**-8)  # of a picture


def integer_network(
    model: Any, entry: Format | None = None, otherwise: Format | None = None
) -> tuple[IntegerNetwork, list[str]]:
    """The integers that a QONNX model computes, and notes of what the caller should know.

    `model` is a path, an onnx `ModelProto` or a qonnx `ModelWrapper`. The entry's format is that of the quantiser at
    the input, unless `entry` gives another; without either it is `otherwise`, or a picture's bytes, where a quantiser
    comes before the first layer. Raises CompileError with every problem that was found; each names its layer, the
    reason and a remedy.
    """
    if isinstance(model, str | Path):
        try:
            model = onnx.load(str(model))
        except Exception as error:  # onnx and protobuf raise what they like
            found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise CompileError(f"{model}: cannot be read ({found}); give a QONNX file's path") from error
    source = Source(getattr(model, "model", model))
    source.check()
    return _Following(source, entry, otherwise).network()


class _Following:
    """One graph being followed from its input to its outputs."""

    def __init__(self, source: Source, entry: Format | None, otherwise: Format | None) -> None:
        self.source = source
        self.given = entry
        self.otherwise = otherwise
        self.making = Making()
        self.flows: dict[str, Flow] = {}
        self.ended: dict[str, _Ended] = {}  # tensors behind a last Softmax, ArgMax or TopK

    def network(self) -> tuple[IntegerNetwork, list[str]]:
        source = self.source
        if not self._entry():
            refuse(source.problems)
        for node in ordered(source.graph):
            if any(tensor in source.refused for tensor in node.input) or node.output[0] in source.refused:
                source.refused.update(node.output)
                continue
            try:
                self._take(node)
            except Refused as problem:
                source.say(node, problem.reason, problem.remedy)
                source.refused.update(node.output)
            except _SPOILT as error:
                told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                source.say(node, f"what it says does not fit together ({told})", AGAIN)
                source.refused.update(node.output)
        outputs = [self._output(name) for name in source.outputs if name not in source.refused]
        refuse(source.problems)
        found = tuple(each for each in outputs if each is not None)
        return IntegerNetwork(tuple(self.making.operators), found), self.making.notes

    def _entry(self) -> bool:
        problems = self.source.problems
        inputs = [entry for entry in self.source.graph.input if entry.name not in self.source.constants]
        if len(inputs) != 1 or not self.source.outputs:
            names = ", ".join(shown(entry.name) for entry in inputs[:4])
            problems.append(
                f"the network has {len(inputs)} inputs ({names}) and {len(self.source.outputs)} outputs; export it "
                "with one input and at least one output"
            )
            return False
        entry = inputs[0]
        kind = entry.type.tensor_type
        sizes = [shown(dim.dim_param) or dim.dim_value or "?" for dim in kind.shape.dim[:8]]
        dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
        if kind.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
            found = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type else "no tensor"
            problems.append(f"input {entry.name}: its type is {found}; export the network in float32")
            return False
        if not 2 <= len(dims) <= 4 or min(dims[1:], default=0) < 1 or max(dims[2:], default=1) > MAX_SIDE:
            problems.append(
                f"input {entry.name}: shape {sizes} is none of [1, channels, height, width], [1, channels, length] and "
                f"[1, features]; export the network with a batch of 1 and fixed sizes, at most {MAX_SIDE} a side"
            )
            return False
        if dims[0] > 1:  # the rest is told along with it
            problems.append(f"input {entry.name}: shape {sizes} is a batch; export the network with a batch of 1")
        last = len(dims) > 2 and self.source.channels_last(entry.name)
        channels, *spatial = (dims[-1], *dims[1:-1]) if last else dims[1:]
        height, width = ([1, 1, *spatial])[-2:]
        labels = ["", *(["H", "W"][2 - len(spatial) :]), "C"] if last else ["", "C", *(["H", "W"][2 - len(spatial) :])]
        shape = Shape(height, width, channels)
        if height * width * channels > MAX_CONSTANT:
            problems.append(f"input {entry.name}: shape {sizes} is too large; use a smaller one")
            return False
        form, bits = self._format(entry.name), MAX_INPUT_BITS
        if form is None:
            form, bits = self.otherwise, MAX_ASSUMED_BITS
        if form is not None and not (form.low < form.high and form.high - form.low < 1 << bits and form.scale > 0):
            problems.append(
                f"input {entry.name}: integers from {form.low} to {form.high} with scale {form.scale:g}; give "
                f"a format of at most {bits} bits and a positive scale"
            )
            return False
        self.making.assumed = form is None
        form = form or BYTES
        stream = Stream(shape, form.low, form.high)
        self.making.put(operators.entry(self.making.name(entry.name), stream, form.scale))
        low, high = (np.full(channels, bound, np.int64) for bound in (form.low, form.high))
        self.flows[entry.name] = Flow(
            0, stream, low, high, Leaf(np.full(channels, form.scale)), Layout.of(labels, shape)
        )
        return True

    def _format(self, tensor: str) -> Format | None:
        """The entry's format: given, or that of the quantisers that the input goes through; None where nothing says."""
        if self.given is not None:
            return self.given
        self._fold_constants()
        forms = set()
        stack, seen = [tensor], {tensor}
        while stack:
            at = stack.pop()
            if at in self.source.outputs:
                return None
            for user in self.source.consumers[at]:
                if user.op_type in ("Identity", "Flatten", "Transpose", "Dropout", "Reshape", "Squeeze", "Unsqueeze"):
                    if user.input[0] == at and user.output and user.output[0] not in seen:
                        seen.add(user.output[0])
                        stack.append(user.output[0])
                elif user.op_type not in ("Shape", "Size"):
                    forms.add(self._grid(user) if user.op_type == "Quant" and user.input[0] == at else None)
        return forms.pop() if len(forms) == 1 else None

    def _fold_constants(self) -> None:
        """Compute the nodes of constants alone; what cannot be is told where the walk comes to it."""
        for node in self.source.graph.node:
            if node.output and node.output[0] not in self.source.refused and self._constant(node):
                try:
                    self.source.fold(node)
                except (Refused, CompileError):
                    continue

    def _constant(self, node: Any) -> bool:
        return all(not tensor or tensor in self.source.known for tensor in node.input)

    def _grid(self, node: Any) -> Format | None:
        """What a quantiser at the input makes, where an entry does the same: rounds half to even, one scale."""
        try:
            self.source.quantiser_of(node)
            scale, zero, bits = self.source.parameters(node)
        except Refused:
            return None  # told when the walk comes to it
        attributes = self.source.attributes(node)
        mode = attributes.get("rounding_mode", "ROUND").upper()
        if scale.size != 1 or zero.size != 1 or mode not in ("ROUND", "HALF_EVEN") or float(bits.ravel()[0]) < 2:
            return None
        if float(bits.ravel()[0]) > MAX_INPUT_BITS:
            self.source.say(node, f"an input of {int(bits.ravel()[0])} bits", f"use at most {MAX_INPUT_BITS}")
            return None
        low, high = limits(bool(attributes["signed"]), bool(attributes["narrow"]), float(bits.ravel()[0]))
        start = float(zero.ravel()[0])
        if start % 2:
            self.making.note(
                f"{self.source.where(node)}: its zero point {start:g} is odd, so that an input halfway between two "
                "steps rounds to the other one than in the file"
            )
        return Format(int(low - start), int(high - start), float(scale.ravel()[0]))

    def _take(self, node: Any) -> None:
        """One node: what it makes is known from here on."""
        source = self.source
        kind, made = node.op_type, node.output[0]
        if self._constant(node):
            if made not in source.known:
                source.fold(node)
            return
        if any(tensor in self.ended for tensor in node.input):
            self._end(node)
            return
        flows = [self.flows[tensor] for tensor in node.input if tensor in self.flows]
        lost = [tensor for tensor in node.input if tensor and tensor not in self.flows and tensor not in source.known]
        if lost:
            raise Refused(f"it takes tensor {shown(lost[0])}, which nothing makes", "give the file as it was exported")
        if kind in ("Shape", "Size"):
            shape = np.asarray(flows[0].layout.shape, np.int64)
            attributes = source.attributes(node)
            sizes = shape[attributes.get("start", 0) : attributes.get("end")]
            source.known[made] = Constant(sizes if kind == "Shape" else np.asarray(shape.prod()))
            return
        if kind in _ENDS:
            self._end(node)
            return
        self.flows[made] = self._flow(node, flows)

    def _flow(self, node: Any, flows: list[Flow]) -> Flow:
        kind, source = node.op_type, self.source
        if kind == "Concat":
            if len(flows) != len(node.input):
                raise Refused("it joins constants to computed values", "export the network without")
            if len(flows) == 1:
                return flows[0]
            return joins.concat(self.making, source.name(node), flows, int(source.attributes(node).get("axis", 1)))
        if kind in ("Add", "Sub") and len(flows) == 2 and not joins.of_one_stream(flows):
            return joins.add(self.making, source.name(node), flows, (1, 1 if kind == "Add" else -1))
        if kind in QUANTISERS:
            return quantised(source, self.making, node, self._elementwise(node, flows))
        if kind in ELEMENTWISE:
            return self._elementwise(node, flows)
        if node.input[0] not in self.flows:
            raise Refused("constants come where computed values belong", AGAIN)
        if kind in _LAYERS:
            return _LAYERS[kind](source, self.making, node, flows[0])
        return self._shaped(node, flows[0])

    def _elementwise(self, node: Any, flows: list[Flow]) -> Flow:
        """A function of one stream and of constants."""
        source, flow = self.source, flows[0]
        if not joins.of_one_stream(flows):
            raise Refused(f"{node.op_type} of two computed tensors", "use sums and concatenations of branches alone")
        attributes = source.attributes(node)
        if attributes.get("training_mode", 0) or attributes.get("spatial", 1) != 1:
            raise Refused("batch normalisation in training", "export the network in evaluation mode")
        constants = [source.known[tensor].value for tensor in node.input if tensor in source.known]
        flow = replace(flow, layout=flow.layout.of_rank(max(map(np.ndim, constants), default=0)))
        operands: list[Any] = []
        for tensor in node.input:
            if not tensor:
                operands.append(None)
            elif tensor in self.flows:
                operands.append(self.flows[tensor].value)
            else:
                operands.append(self._operand(node, flow, source.known[tensor].value))
        value = applied(node.op_type, attributes, *operands)
        if value.steps > MAX_STEPS:
            raise Refused(f"more than {MAX_STEPS} operations without a quantiser", "quantise in between")
        return replace(flow, value=value)

    def _operand(self, node: Any, flow: Flow, value: Any) -> Any:
        if node.op_type == "BatchNormalization":
            shape = [1] * len(flow.layout.groups)
            shape[-1 if node.domain == CHANNELS_LAST else min(1, len(shape) - 1)] = -1
            value = np.reshape(value, shape)
        found = flow.layout.per_channel(value)
        if not np.isfinite(found).all() and node.op_type != "Clip":
            raise Refused("a constant of it is no finite number", "train the network again")
        return found

    def _shaped(self, node: Any, flow: Flow) -> Flow:
        """An operator that moves no value: another layout of the same stream."""
        source, kind = self.source, node.op_type
        attributes, shape = source.attributes(node), flow.layout.shape
        if kind in ("Identity", "Dropout"):
            if len(node.input) > 2 and node.input[2] and np.any(source.integers(node.input[2])):
                raise Refused("dropout in training", "export the network in evaluation mode")
            return flow
        if kind == "Transpose":
            return replace(flow, layout=flow.layout.transposed(attributes.get("perm", [])))
        given = [None, np.asarray(source.integers(node.input[1]))] if len(node.input) > 1 and node.input[1] else [None]
        try:
            if kind == "Reshape":
                target = target_shape(attributes, shape, source.integers(node.input[1]))
            elif kind == "Flatten":
                target = flattened(attributes, shape)
            elif kind == "Squeeze":
                target = squeezed(shape, axes_of(attributes, given))
            elif kind == "Unsqueeze":
                target = unsqueezed(shape, axes_of(attributes, given) or [])
            elif kind == "Cast" and attributes.get("to") in (TensorProto.FLOAT, TensorProto.DOUBLE):
                return flow
            else:
                raise Refused(f"{kind} of computed values", "export the network without it")
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise Refused(f"{kind} of {shape}: {error}", AGAIN) from error
        if target[:1] != [1]:
            raise Refused(f"{kind} of {shape} to {target} mixes the batch with the rest", "keep the first axis")
        return replace(flow, layout=flow.layout.reshaped(target))

    def _end(self, node: Any) -> None:
        """A softmax or the index of the largest at the end: computed by the host, or dropped."""
        source = self.source
        before = node.input[0]
        behind = Refused("it comes behind what the host computes", "end the network at the logits")
        if before not in self.ended and node.op_type not in _ENDS:
            raise behind
        given = self.ended[before] if before in self.ended else _Ended(self.flows[before], before)
        flow = given.flow
        if node.op_type not in _ENDS:
            if node.op_type not in ("Identity", "Squeeze", "Unsqueeze", "Flatten", "Reshape", "Cast"):
                raise behind
            shaped = given if given.index else replace(given, flow=self._shaped(node, flow), tensor=node.output[0])
            self.ended[node.output[0]] = shaped
            return
        if given.index:
            raise behind
        attributes = source.attributes(node)
        defaults = {"Softmax": -1 if source.opset >= 13 else 1, "ArgMax": 0, "TopK": -1}
        axis = flow.layout.axis(int(attributes.get("axis", defaults[node.op_type])))
        rest = {label for group in flow.layout.groups[axis + 1 :] for label in group}
        if flow.layout.groups[axis] not in ((), ("C",)) or (not flow.layout.groups[axis] and flow.channels > 1):
            raise Refused("it is taken over other axes than channels", "take it over channels")
        if node.op_type == "Softmax":
            if source.opset < 13 and rest:
                raise Refused("a softmax over channels and pixels together", "export it for opset 13 or later")
            if given.softmax:
                raise Refused("a softmax of a softmax", "end the network at the logits")
            self.ended[node.output[0]] = _Ended(flow, node.output[0], softmax=True)
            return
        if node.op_type == "TopK":
            count = source.integers(node.input[1])[:1] if len(node.input) > 1 else [int(attributes.get("k", 0))]
            if count != [1] or attributes.get("largest", 1) != 1:
                raise Refused(f"the {count[0] if count else 0} largest or smallest", "end the network at the logits")
        dropped = f"{source.where(node)}: {node.op_type} is dropped: the network gives what it compares"
        self.making.note(dropped)
        for tensor in node.output:
            if tensor:
                self.ended[tensor] = replace(given, index=True)

    def _output(self, name: str) -> Output | None:
        source = self.source
        producer = source.producers.get(name)
        if name not in self.flows and name not in self.ended:
            source.problems.append(f"output {shown(name)}: nothing computes it from the input; export it without")
            return None
        given = self.ended.get(name) or _Ended(self.flows[name], name)
        try:
            layer = source.name(producer) if producer is not None else shown(name)
            return replace(logits.output(self.making, name, given.flow, layer, given.softmax), tensor=given.tensor)
        except Refused as problem:
            source.problems.append(f"output {shown(name)}: {problem.reason}; {problem.remedy}")
            return None
