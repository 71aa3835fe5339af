"""A QONNX graph followed along its data, from the input to the logits: each layer becomes a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import TensorProto

from edgesight.hls.graph.nodes import CHANNELS_LAST, MAX_EXPONENT, Nodes, shown
from edgesight.hls.graph.parameters import parameter, stored_shape
from edgesight.hls.graph.windows import MAX_SIDE, Geometry, geometry_of
from edgesight.hls.network import MAX_BITS, PIXEL, Format, Reals, Shape, Step, Window


def follow(nodes: Nodes) -> list[Step]:
    """The steps from input to logits; on the way problems are noted, and the first that hides the rest ends it."""
    inputs = [entry for entry in nodes.graph.input if entry.name not in nodes.constants]
    if len(inputs) != 1 or len(nodes.outputs) != 1:
        for what, names in (("input", [entry.name for entry in inputs]), ("output", nodes.outputs)):
            if len(names) != 1:
                nodes.problems.append(
                    f"the network has {len(names)} {what}s ({', '.join(names[:4])}); export it with one {what}"
                )
        return []
    return _Chain(nodes, inputs[0]).steps()


class _Chain:
    """The way of the data through a chain of layers."""

    def __init__(self, nodes: Nodes, entry: Any) -> None:
        self.nodes = nodes
        self.say = nodes.say
        self.entry = entry
        self.done: list[Step] = []
        self.raw: Step | None = None  # the last layer, as long as no quantiser stands behind it
        self.biased = True  # it has a bias or may have none any more
        self.form: Format | None = None  # of the values on the way; None before the input's quantiser
        self.fraction = 0  # of the products of the layer at hand
        self.last = nodes.last  # whether a map's channels come last here
        self.tensor = str(entry.name)  # where the way stands

    def steps(self) -> list[Step]:
        if not self._input():
            return []
        tensor, seen = self.tensor, {self.tensor}
        while tensor != self.nodes.outputs[0]:
            users = self.nodes.consumers[tensor]
            source = self.nodes.producers.get(tensor)
            at = f"layer {self.nodes.name(source)}" if source is not None else f"input {tensor}"
            if len(users) != 1:
                names = ", ".join(self.nodes.name(user) for user in users) or "nothing"
                remedy = "only a chain of layers is supported: rebuild the network without the branch"
                self.nodes.problems.append(f"{at}: its output goes to {names}; {remedy}")
                return self.done
            node = users[0]
            if not node.output or node.output[0] in self.nodes.refused | seen or not self._take(node):
                return self.done
            self.tensor = tensor = node.output[0]
            seen.add(tensor)
        if self.nodes.consumers[tensor]:
            names = ", ".join(self.nodes.name(user) for user in self.nodes.consumers[tensor])
            self.nodes.problems.append(f"output {tensor}: layers follow it ({names}); export the network without them")
        last = self.done[-1] if self.done else None
        if last is None or last.weights is None or last.window is not None or (last.relu and last.output is None):
            self.nodes.problems.append(
                "the network must end in a dense layer that makes the logits"
                + (f", not in {last.name}" if last is not None else "")
                + "; let a dense layer, or one with a signed quantiser behind it, be the last"
            )
        elif last.output is not None and not last.output.signed:
            self.nodes.problems.append(
                f"layer {last.name}: an unsigned quantiser makes the logits; use a signed one, or none"
            )
        return self.done

    def _input(self) -> bool:
        kind = self.entry.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
        sizes = [shown(dim.dim_param) or dim.dim_value or "?" for dim in kind.shape.dim[:8]]
        problems = self.nodes.problems
        if kind.elem_type != TensorProto.FLOAT:
            found = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type else "no tensor"
            problems.append(f"input {self.entry.name}: its type is {found}; export the network in float32")
        if len(dims) not in (2, 4) or min(dims, default=0) < 1 or dims[0] != 1 or max(dims[2:], default=1) > MAX_SIDE:
            problems.append(
                f"input {self.entry.name}: shape {sizes} is none of [1, channels, height, width] and [1, features]; "
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
            node.op_type == "Transpose" and self.nodes.perm(node) == [0, 3, 1, 2]
            for node in self.nodes.graph.node
            if node.input and node.input[0] not in self.nodes.constants
        )

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

    def _weights(self, node: Any) -> tuple[Reals, Format] | None:
        found = parameter(self.nodes, node, node.input[1], "weights")
        # Of weights that are refused the grid is not known: one that every bias lies on keeps this quiet.
        self.fraction = 4 * MAX_EXPONENT
        if found is not None and self.form is not None:
            self.fraction = self.form.fraction + found[1].fraction
        return found

    def _bias(self, node: Any, tensor: str | None, outputs: int) -> Reals:
        """Biases [outputs]; zeros where there are none or where they are refused."""
        none = np.zeros(outputs)
        found = parameter(self.nodes, node, tensor, "biases") if tensor else None
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

    def _quant(self, node: Any) -> bool:
        quantiser = self.nodes.quantiser(node)
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
        perm = self.nodes.perm(node)
        if self.flat or perm != ([0, 3, 1, 2] if self.last else [0, 2, 3, 1]):
            self.say(node, f"a transposition {perm} of activations", "export the network without it")
            return False
        self.last = not self.last
        return True

    def _flatten(self, node: Any) -> bool:
        axis = int(self.nodes.attribute(node, "axis", 1))
        rank = 2 if self.flat else 4
        if axis not in (1, 1 - rank):
            self.say(node, f"Flatten from axis {axis}", "flatten all but the batch (axis 1)")
        return self._flattened(node)

    def _reshape(self, node: Any) -> bool:
        target = self.nodes.constant(node.input[1])
        if target is None:
            self.say(node, "its shape is computed at run time", "export the network with fixed sizes")
            return False
        wanted = [int(size) for size in np.asarray(target).ravel()]
        zeros = int(self.nodes.attribute(node, "allowzero", 0))
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
        if self.flat and self.nodes.for_hls4ml:
            self.say(node, "it flattens what is flat already", "prepare the graph with edgesight.hls.qonnx_graph.load")
        self.flat = True
        return True

    def _conv(self, node: Any) -> bool:
        geometry = self._geometry(node)
        if geometry is None:
            return False
        kernels, strides, pads, shape = geometry
        if strides[0] not in (1, 2) or strides[0] != strides[1]:
            self.say(node, f"stride {strides[0]}x{strides[1]}", "1 and 2 are supported, the same both ways")
        group = int(self.nodes.attribute(node, "group", 1))
        if group != 1:
            self.say(node, f"a grouped convolution ({group} groups)", "use a full convolution")
        found = self._weights(node)
        stored = stored_shape(self.nodes, node.input[1])
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
        self._layer(Step(self.nodes.name(node), node.output[0], self.shape, out, window, weights, bias), biased=True)
        return True

    def _geometry(self, node: Any) -> Geometry | None:
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
        return geometry_of(self.nodes, node, self.shape)

    def _maxpool(self, node: Any) -> bool:
        geometry = self._geometry(node)
        if geometry is None:
            return False
        kernels, strides, pads, shape = geometry
        if any(pads):
            self.say(node, f"max pooling with padding {list(pads)}", "pool without padding")
        if strides[0] != strides[1]:
            self.say(node, f"stride {strides[0]}x{strides[1]}", "use the same both ways")
        if int(self.nodes.attribute(node, "storage_order", 0)) != 0:
            self.say(node, "storage_order is not 0", "export it with storage_order 0")
        step = Step(
            self.nodes.name(node),
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
            value = float(self.nodes.attribute(node, key, 1.0))
            if value != 1.0 and (key == "alpha" or len(node.input) > 2):
                self.say(node, f"{key} {value:g}", f"scale the {'weights' if key == 'alpha' else 'bias'} instead")
        if int(self.nodes.attribute(node, "transA", 0)) != 0:
            self.say(node, "transA is not 0", "export it without")
        transposed = int(self.nodes.attribute(node, "transB", 0))
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
        stored = stored_shape(self.nodes, node.input[1])
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
            self.nodes.name(node), node.output[0], self.shape, out, None, weights, self._bias(node, bias, outputs)
        )
        self._layer(step, biased=bias is not None)
        return True

    def _layer(self, step: Step, biased: bool) -> None:
        self.done.append(step)
        self.raw, self.shape, self.biased = step, step.shape, biased
