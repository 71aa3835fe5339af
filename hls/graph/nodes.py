"""The nodes of a QONNX graph: how messages call them, who makes and takes their tensors, which attributes are read."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Any

from onnx.defs import get_schema, onnx_opset_version

from edgesight.hls.graph.signatures import CHANNELS_LAST, SIGNATURES

QUANTISERS = ("Quant", "BipolarQuant", "Trunc")
OLDEST_OPSET = 7  # of ONNX's own operators: older ones broadcast in another way
_LAST_PERM = [0, 3, 1, 2]  # from channels last
_LONGEST_SHOWN = 120  # characters of a name in a message


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

    def __init__(self, model: Any) -> None:
        """Of an onnx `ModelProto`."""
        self.graph = model.graph
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
        self.last = any(node.domain == CHANNELS_LAST for node in self.graph.node)

    def channels_last(self, tensor: str) -> bool:
        """Whether the input `tensor`, a map, has its channels behind its rows and columns.

        So it is in a graph of channels last, and where it is turned to channels first before anything else.
        """
        stack, seen = [tensor], {tensor}
        while stack and not self.last:
            at = stack.pop()
            for user in self.consumers[at]:
                perm = [list(attribute.ints) for attribute in user.attribute if attribute.name == "perm"]
                if user.op_type == "Transpose" and perm == [_LAST_PERM]:
                    return True
                passes = user.op_type in (*QUANTISERS, "Identity", "Cast") and user.input[0] == at and user.output
                if passes and user.output[0] not in seen:
                    seen.add(user.output[0])
                    stack.append(user.output[0])
        return self.last

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

    def reads(self, node: Any) -> dict[str, int]:
        """The attributes that are read of a node, with their types, as far as the file's opset has them."""
        return of_opset(node.op_type, self.opset, SIGNATURES[node.op_type].attributes)
