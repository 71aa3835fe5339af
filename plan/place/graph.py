"""A network as a graph of layers, from JSON or from ONNX, and where it can be cut in two.

A cut sends one layer's output and nothing else. That needs a layer which every path from the model's input to its
answer passes: alone at its longest-path depth, bypassed by no path (Parthasarathy and Krishnamachari, arXiv
2210.12219).

Words owned here: *layer* (a node of the graph), *input* (the name by which layers read the model's own input), *cut*
(the layer after which the network is cut), *atom* (the layers between two neighbouring cuts, never parted).
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from edgesight.host.files import sha256
from edgesight.plan.profile import MOST_BYTES, Bytes, Name, NotNegative, Plain, PlanError, checked, read

INPUT = "input"
# What shape inference does not know, and what it is to the shape: the quantisers of QONNX change no shape.
_QUANTISERS = ("Quant", "BipolarQuant", "Trunc", "IntQuant", "FloatQuant")
# Constants of up to so many elements may say a shape.
_SHAPE_ELEMENTS = 1024
# Where the weight is among the inputs of what multiplies and accumulates.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"Gemm": (0, 1), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
# Their operations do not follow from shapes alone, or hide in a graph of their own.
_UNCOUNTED = ("If", "Loop", "Scan", "LSTM", "GRU", "RNN", "Einsum", "DeformConv")


class Layer(Plain):
    """One layer: what it reads, what it weighs, what it costs."""

    name: Name
    inputs: Annotated[tuple[Name, ...], Field(min_length=1)]  # names of layers, or "input" for the model's own
    output_bytes: Bytes  # on the wire, where the network is cut after it
    parameter_bytes: Bytes = 0
    operations: Annotated[float, Field(strict=True, ge=0, le=1e18)] = 0.0  # multiply-accumulates for one input
    # On nodes that it was measured for; elsewhere it takes its operations over the node's speed.
    ms: dict[Name, NotNegative] = Field(default_factory=dict)
    working_bytes: Bytes = 0  # memory for activations while it runs: what it reads, writes, and what waits for others
    weights_sha256: str | None = None  # of its parameters, where they are known


class Model(Plain):
    """A network as a graph of layers without a circle."""

    name: Name
    version: Name = "1"
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    outputs: tuple[Name, ...] = ()  # layers that give the answer, beside those that nobody reads

    @model_validator(mode="after")
    def _is_a_graph(self) -> Model:
        names: set[str] = set()
        for place, layer in enumerate(self.layers):
            if layer.name == INPUT:
                raise ValueError(f"layers.{place}.name: '{INPUT}' stands for the model's own input; call it otherwise")
            if layer.name in names:
                raise ValueError(f"layers.{place}.name: '{layer.name}' is taken by a layer before it; names are unique")
            names.add(layer.name)
        for place, layer in enumerate(self.layers):
            for read_ in layer.inputs:
                if read_ != INPUT and read_ not in names:
                    raise ValueError(f"layers.{place}.inputs: '{layer.name}' reads '{read_}', which is no layer")
        for place, output in enumerate(self.outputs):
            if output not in names:
                raise ValueError(f"outputs.{place}: '{output}' is no layer")
        ordered = {layer.name for layer in self.ordered}
        if ordered < names:
            left = sorted(names - ordered)
            raise ValueError(f"layers: {', '.join(left[:3])} stand in or behind a circle; a layer reads earlier ones")
        parameters = sum(layer.parameter_bytes for layer in self.layers)
        if parameters + max(layer.working_bytes for layer in self.layers) >= MOST_BYTES:
            raise ValueError(f"layers: their bytes together are {MOST_BYTES:,} or more, which no float counts exactly")
        return self

    @property
    def readers(self) -> dict[str, list[str]]:
        """Who reads each layer's output, and the input."""
        found: dict[str, list[str]] = {INPUT: [], **{layer.name: [] for layer in self.layers}}
        for layer in self.layers:
            for source in dict.fromkeys(layer.inputs):
                found[source].append(layer.name)
        return found

    @property
    def ordered(self) -> tuple[Layer, ...]:
        """The layers, each behind all that it reads; layers in a circle are left out."""
        by_name = {layer.name: layer for layer in self.layers}
        waits = {layer.name: len(set(layer.inputs)) for layer in self.layers}
        readers, ready, order = self.readers, deque([INPUT]), []
        while ready:
            for reader in readers[ready.popleft()]:
                waits[reader] -= 1
                if waits[reader] == 0:
                    order.append(by_name[reader])
                    ready.append(reader)
        return tuple(order)

    @property
    def answers(self) -> set[str]:
        """Layers whose output leaves the model."""
        unread = {name for name, readers in self.readers.items() if not readers and name != INPUT}
        return unread | frozenset(self.outputs)

    @property
    def atoms(self) -> tuple[tuple[Layer, ...], ...]:
        """The layers between neighbouring cuts, in order; the last of each atom but the last is a cut.

        In an order in which each layer stands behind all that it reads, a layer is a cut when every edge from it or
        before it to behind it begins at it: the input and the answer count as ends of edges.
        """
        ordered, readers, answers = self.ordered, self.readers, self.answers
        place = {layer.name: index for index, layer in enumerate(ordered)}
        end = len(ordered)
        reach = max(place[reader] for reader in readers[INPUT])  # the last place that an edge so far leads to
        atoms, begun = [], 0
        for index, layer in enumerate(ordered[:-1]):
            if reach <= index:
                atoms.append(ordered[begun : index + 1])
                begun = index + 1
            # An answer leads behind all layers.
            reach = end if layer.name in answers else max(reach, *(place[reader] for reader in readers[layer.name]))
        atoms.append(ordered[begun:])
        return tuple(atoms)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Layers after which the network can be cut, from the input on."""
        return tuple(atom[-1].name for atom in self.atoms[:-1])

    def held(self, layer: Layer) -> str:
        """What says that two layers' parameters are the same: their checksum, else name and size in this version."""
        return layer.weights_sha256 or f"{self.name} {self.version}: {layer.name}, {layer.parameter_bytes} bytes"


def working_bytes(
    edges: Sequence[tuple[str, Sequence[str]]], tensor_bytes: Mapping[str, int], answers: Iterable[str] = ()
) -> dict[str, int]:
    """Bytes of activations that live while each layer runs, with each tensor freed after its last reader.

    `edges` are layers with what they read, each behind all that it reads; `tensor_bytes` are those of their outputs and
    of the input in memory; `answers` live to the end.
    """
    last: dict[str, int] = {name: index for index, (name, _) in enumerate(edges)}
    for index, (_, inputs) in enumerate(edges):
        for source in inputs:
            last[source] = index
    for name in answers:
        last[name] = len(edges)
    live = {INPUT: tensor_bytes.get(INPUT, 0)}
    needed: dict[str, int] = {}
    for index, (name, _) in enumerate(edges):
        live[name] = tensor_bytes[name]
        needed[name] = sum(live.values())
        live = {tensor: size for tensor, size in live.items() if last.get(tensor, -1) > index}
    return needed


def read_model(path: Path, bytes_per_element: float | None = None) -> Model:
    """The network in `path`: ONNX, or a `Model` as JSON; raises PlanError naming file, field or layer, and reason."""
    if path.suffix == ".json":
        if bytes_per_element is not None:
            raise PlanError(
                f"{path}: says the bytes of its tensors itself; bytes per element are for ONNX files; leave them out"
            )
        return read(path, Model)
    return read_onnx(path, bytes_per_element)


def read_onnx(path: Path, bytes_per_element: float | None = None) -> Model:
    """The layers of an ONNX file, with shapes by ONNX shape inference. Weights may be left out of the file.

    A symbolic batch is taken as 1. Nodes that depend on constants and shapes alone are no layers: the parameters among
    what they read are counted where their result is read. Operations are multiply-accumulates of convolutions and
    matrix products; other nodes count none. `bytes_per_element` is the size on the wire, for tensors that are sent
    compressed or wider; without it each is sent as it lies in memory.

    The version is the first 12 hexadecimal digits of the file's SHA-256. Parameters have a checksum where their values
    are in the file or, as external data, beside it. Raises PlanError naming the file, the node and the reason.
    """
    if bytes_per_element is not None and not 0 < bytes_per_element < MOST_BYTES:
        raise PlanError(f"{path}: bytes per element: {bytes_per_element:g} is no size; give one above 0")
    graph, shapes = _shaped(path)
    parameters = {tensor.name: tensor for tensor in graph.initializer}
    kept, producer = _kept(path, graph, shapes)
    produced = {name: [tensor for tensor in node.output if tensor] for node, name, *_ in kept}

    answered = {value.name for value in graph.output}
    read_tensors = {tensor for node, *_ in kept for tensor in node.input} | answered
    memory: dict[str, int] = {}
    wire: dict[str, int] = {}
    memory[INPUT] = sum(_bytes(name, shapes, path) for name, layer in producer.items() if layer == INPUT)
    for _, name, _, _ in kept:
        used = [tensor for tensor in produced[name] if tensor in read_tensors] or produced[name][:1]
        memory[name] = sum(_bytes(tensor, shapes, path) for tensor in used)
        wire[name] = memory[name] if bytes_per_element is None else math.ceil(
            bytes_per_element * sum(math.prod(shapes[tensor][0]) for tensor in used)
        )  # fmt: skip
    outputs = tuple(name for _, name, _, _ in kept if answered & set(produced[name]))
    needed = working_bytes([(name, sources) for _, name, sources, _ in kept], memory, outputs)
    layers = [
        {
            "name": name,
            "inputs": sources,
            "output_bytes": wire[name],
            "parameter_bytes": sum(_parameter_bytes(parameters[weight]) for weight in weights),
            "operations": _operations(node, shapes, path),
            "working_bytes": needed[name],
            "weights_sha256": _checksum([parameters[weight] for weight in weights], path.parent),
        }
        for node, name, sources, weights in kept
    ]
    content = {"name": path.stem, "version": sha256(path.read_bytes())[:12], "layers": layers, "outputs": outputs}
    return checked(content, Model, str(path))


def producers(path: Path) -> dict[str, str]:
    """By tensor of an ONNX file: the layer that makes it, as `read_onnx` calls it; raises as that does."""
    return _kept(path, *_shaped(path))[1]


# A node, its layer's name, the layers that it reads, its parameters.
_Node = tuple[Any, str, list[str], list[str]]


def _kept(path: Path, graph: Any, shapes: Mapping[str, tuple[list[int], int]]) -> tuple[list[_Node], dict[str, str]]:
    """The nodes that are layers, in their order; and by tensor the layer that makes it."""
    parameters = {tensor.name for tensor in graph.initializer}
    # What each tensor that depends on no input is made of: names of initialisers.
    constant: dict[str, frozenset[str]] = {name: frozenset([name]) for name in parameters}
    producer = {value.name: INPUT for value in graph.input if value.name not in parameters}
    kept: list[_Node] = []
    names: set[str] = {INPUT}
    for index, node in enumerate(graph.node):
        if node.op_type in _UNCOUNTED:
            raise PlanError(
                f"{_where(path, index, node)}: operator {node.op_type} hides its operations; give the model as JSON"
            )
        data = [name for name in node.input if name and name not in constant]
        if not data or (node.op_type in ("Shape", "Size") and data[0] in shapes):
            made_of = frozenset().union(*(constant[name] for name in node.input if name in constant))
            constant.update({name: made_of for name in node.output if name})
            continue
        name = _unused(node.name or node.output[0] or f"{node.op_type}_{index}", names)
        sources = list(dict.fromkeys(producer[tensor] for tensor in data))
        weights = sorted(frozenset().union(*(constant[tensor] for tensor in node.input if tensor in constant)))
        producer.update({tensor: name for tensor in node.output if tensor})
        kept.append((node, name, sources, weights))
    if not kept:
        raise PlanError(f"{path}: no node depends on the model's input; export it again")
    return kept, producer


def _shaped(path: Path) -> tuple[Any, dict[str, tuple[list[int], int]]]:
    """The file's graph, and each tensor's dimensions and bytes per element."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise PlanError(
            f"{path}: cannot be read ({error.strerror or error}): name an ONNX file, or a model as JSON"
        ) from error
    except DecodeError as error:
        raise PlanError(
            f"{path}: is no ONNX file ({error}): give an ONNX file, or name a model as JSON .json"
        ) from error
    if not model.graph.node:
        raise PlanError(f"{path}: graph.node: is empty; the file is truncated, or no ONNX: export it again")
    given = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in given:
            continue
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.HasField("dim_value"):
                continue
            if axis > 0:
                raise PlanError(
                    f"{path}: graph.input {value.name}: dimension {axis} is symbolic "
                    f"({dimension.dim_param or 'unnamed'}); export it with a fixed one"
                )
            dimension.Clear()
            dimension.dim_value = 1
    known = given | {value.name for value in model.graph.input}
    for index, node in enumerate(model.graph.node):
        for name in node.input:
            if name and name not in known:
                raise PlanError(
                    f"{_where(path, index, node)}: reads '{name}', which nothing before it makes; export it again"
                )
        known.update(node.output)
    # Shapes inferred anew, since the batch may have changed, and without weights, which may be too large to copy.
    plain = onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        graph=onnx.GraphProto(
            name=model.graph.name, node=model.graph.node, input=model.graph.input, output=model.graph.output
        ),
    )
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SHAPE_ELEMENTS and not tensor.external_data:
            plain.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            plain.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in plain.graph.node:
        if node.op_type in _QUANTISERS:
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    for output in plain.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(plain, check_type=False, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise PlanError(f"{path}: shape inference fails ({error}); export it again") from error
    shapes: dict[str, tuple[list[int], int]] = {
        tensor.name: (list(tensor.dims), _element_bytes(tensor.data_type)) for tensor in model.graph.initializer
    }
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        dimensions = [dimension.dim_value for dimension in kind.shape.dim if dimension.HasField("dim_value")]
        if kind.HasField("shape") and len(dimensions) == len(kind.shape.dim):
            shapes[value.name] = (dimensions, _element_bytes(kind.elem_type))
    return model.graph, shapes


def _where(path: Path, index: int, node: Any) -> str:
    return f"{path}: node {node.name or f'{index} ({node.op_type})'}"


def _element_bytes(kind: int) -> int:
    """Bytes of an element of an ONNX type; 1 for those packed below a byte, and for text."""
    import onnx

    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except (KeyError, TypeError):
        return 1


def _bytes(tensor: str, shapes: Mapping[str, tuple[list[int], int]], path: Path) -> int:
    if tensor not in shapes:
        raise PlanError(
            f"{path}: tensor {tensor}: shape inference gives it no fixed shape; export with fixed shapes, "
            "or give the model as JSON"
        )
    dimensions, size = shapes[tensor]
    return math.prod(dimensions) * size


def _parameter_bytes(tensor: Any) -> int:
    return int(math.prod(tensor.dims)) * _element_bytes(tensor.data_type)


def _checksum(tensors: Sequence[Any], folder: Path) -> str | None:
    """SHA-256 of parameters; None where there are none, or values are neither in the file nor beside it in `folder`."""
    import onnx

    if not tensors:
        return None
    digest = hashlib.sha256()
    for tensor in tensors:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        for field in ("name", "doc_string", "data_location", "external_data"):  # two files may say these otherwise
            copy.ClearField(field)
        if tensor.external_data or onnx.external_data_helper.uses_external_data(tensor):
            copy.external_data.extend(tensor.external_data)
            try:
                onnx.external_data_helper.load_external_data_for_tensor(copy, str(folder))
            except (OSError, ValueError, onnx.checker.ValidationError):
                return None
            copy.ClearField("external_data")
        raw = copy.raw_data
        copy.ClearField("raw_data")  # by itself, since protobuf writes no message of more than 2 GB
        empty = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type)
        if len(raw) + copy.ByteSize() - empty.ByteSize() < _parameter_bytes(tensor):
            return None
        digest.update(copy.SerializeToString(deterministic=True))
        digest.update(raw)
    return digest.hexdigest()


def _operations(node: Any, shapes: Mapping[str, tuple[list[int], int]], path: Path) -> float:
    """Multiply-accumulates of one node."""

    def shape(tensor: str) -> list[int]:
        _bytes(tensor, shapes, path)
        return shapes[tensor][0]

    if node.op_type in _CONVOLUTIONS:
        weight = shape(node.input[_CONVOLUTIONS[node.op_type]])  # outputs, inputs of a group, kernel
        return float(math.prod(shape(node.output[0])) * math.prod(weight[1:]))
    if node.op_type == "ConvTranspose":
        weight = shape(node.input[1])  # inputs, outputs of a group, kernel
        return float(math.prod(shape(node.input[0])) * math.prod(weight[1:]))
    if node.op_type in _PRODUCTS:
        first = shape(node.input[_PRODUCTS[node.op_type][0]])
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return float(math.prod(shape(node.output[0])) * first[0 if transposed else -1])
    return 0.0


def _unused(name: str, names: set[str]) -> str:
    """`name`, with a number behind it where it is taken; taken from now on."""
    found, number = name[:190], 2
    while found in names:
        found, number = f"{name[:190]}.{number}", number + 1
    names.add(found)
    return found
