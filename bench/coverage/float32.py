"""The network as people run it, in single precision by ONNX Runtime, beside the truth in double precision.

A value that lies next to a quantiser's boundary may fall on its other side when sums are rounded to 24 bits. Where it
does is found at the first quantiser that differs; all that differs behind it follows from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgesight.hls.graph.elementwise import limits
from edgesight.hls.graph.nodes import QUANTISERS
from edgesight.hls.graph.truth import Truth, attributes_of, opset_of, ordered
from edgesight.hls.network import Reals

_OPSET = 13  # the first with all that a quantiser is written in; older files are converted
_ROUND = ("ROUND", "HALF_EVEN")  # as ONNX's Round does


@dataclass(frozen=True)
class Boundary:
    """A quantiser where single precision comes out on the other side of a boundary.

    `distance`: how far from it the largest of these `values` lies in double precision, in steps of the quantiser.
    """

    layer: str
    values: int
    distance: float


@dataclass(frozen=True)
class Float32:
    """How a network in single precision compares with the truth.

    `top1`: inputs whose class differs; `inputs`: those in which any value differs; `skipped`: why it was not run.
    """

    inputs: int = 0
    top1: int = 0
    boundaries: tuple[Boundary, ...] = ()
    skipped: str = ""


def float32(model: onnx.ModelProto, values: npt.NDArray[Any]) -> Float32:
    """Run a QONNX file for `values` [N, ...] in the file's own layout, in both precisions.

    Raises CompileError for a file that the truth cannot compute.
    """
    try:
        session, quantisers = _session(model)
    except _Skip as reason:
        return Float32(skipped=str(reason))
    truth, entry = Truth(model), session.get_inputs()[0].name
    tensors = [node.output[0] for node in quantisers]
    outputs = [output.name for output in model.graph.output]
    differ: dict[str, list[Reals]] = {}
    touched = top1 = 0
    for value in np.asarray(values, np.float64)[:, None]:
        wanted = truth.tensors(value)
        found = dict(
            zip([*tensors, *outputs], session.run([*tensors, *outputs], {entry: value.astype(np.float32)}), strict=True)
        )
        top1 += any(found[name].argmax() != wanted[name].argmax() for name in outputs)
        for node in quantisers:
            distances = _beyond(
                node, [wanted[tensor] for tensor in node.input], wanted[node.output[0]], found[node.output[0]]
            )
            if distances.size:
                differ.setdefault(node.name or node.output[0], []).append(distances)
                touched += 1
                break
    boundaries = tuple(
        Boundary(name, sum(each.size for each in found), max(float(each.max()) for each in found))
        for name, found in differ.items()
    )
    return Float32(touched, top1, boundaries)


class _Skip(Exception):
    """A file that ONNX Runtime cannot be given."""


def _session(model: onnx.ModelProto) -> tuple[onnxruntime.InferenceSession, list[Any]]:
    """The model in ONNX's own operators, made ready, and its quantisers in an order that they are computed in."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    if opset_of(plain) < _OPSET:
        known = {entry.domain for entry in plain.opset_import}
        domains = {node.domain for node in plain.graph.node} - known - {"ai.onnx"}
        plain.opset_import.extend(helper.make_opsetid(domain, 1) for domain in sorted(domains))
        try:
            plain = onnx.version_converter.convert_version(plain, _OPSET)
        except Exception as error:  # onnx raises what it likes
            raise _Skip(f"onnx cannot convert it to opset {_OPSET} ({' '.join(str(error).split())[:200]})") from error
    quantisers = [node for node in ordered(model.graph) if node.op_type in QUANTISERS]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    stored |= {
        node.output[0]: numpy_helper.to_array(attributes_of(node)["value"])
        for node in model.graph.node
        if node.op_type == "Constant" and "value" in attributes_of(node)
    }
    nodes: list[Any] = []
    for node in plain.graph.node:
        if node.op_type in QUANTISERS:
            nodes += _written_out(node, stored)
        elif node.domain in ("", "ai.onnx"):
            nodes.append(node)
        else:
            raise _Skip(f"{node.op_type} of {node.domain} is no operator of ONNX")
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    there = {output.name for output in plain.graph.output}
    plain.graph.output.extend(
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        for node in quantisers
        if node.output[0] not in there
    )
    del plain.opset_import[:]
    plain.opset_import.append(helper.make_opsetid("", max(opset_of(model), _OPSET)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors: its warnings are of how old files are written
    try:
        session = onnxruntime.InferenceSession(plain.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises what it likes
        raise _Skip(f"ONNX Runtime refuses it ({' '.join(str(error).split())[:200]})") from error
    return session, quantisers


def _written_out(node: Any, stored: dict[str, Any]) -> list[Any]:
    """A quantiser in ONNX's own operators, as QONNX defines it, in single precision."""
    attributes, made = attributes_of(node), node.output[0]

    def step(kind: str, *inputs: str, at: str) -> Any:
        return helper.make_node(kind, inputs, [at])

    def constant(value: float, at: str) -> Any:
        return helper.make_node("Constant", [], [at], value=numpy_helper.from_array(np.float32(value)))

    a, b, c, d = (f"{made}/{place}" for place in "abcd")
    if node.op_type == "BipolarQuant":
        return [
            constant(0, a), constant(-1, b), constant(1, c), step("Less", node.input[0], a, at=d),
            step("Where", d, b, c, at=f"{made}/e"), step("Mul", f"{made}/e", node.input[1], at=made),
        ]  # fmt: skip
    x, scale, zero, bits = node.input[:4]
    if node.op_type != "Quant" or bits not in stored or attributes.get("rounding_mode", "ROUND").upper() not in _ROUND:
        raise _Skip(f"{node.name or made}: a {node.op_type} that ONNX has no operators for")
    wide = float(np.ravel(stored[bits])[0])
    if attributes["signed"] and wide == 1:
        raise _Skip(f"{node.name or made}: one signed bit")
    low, high = limits(bool(attributes["signed"]), bool(attributes["narrow"]), wide)
    as_float = f"{made}/zero"  # some files have it as an integer
    return [
        helper.make_node("Cast", [zero], [as_float], to=TensorProto.FLOAT), constant(low, a), constant(high, b),
        step("Div", x, scale, at=c), step("Add", c, as_float, at=d),
        step("Clip", d, a, b, at=f"{made}/e"), step("Round", f"{made}/e", at=f"{made}/f"),
        step("Sub", f"{made}/f", as_float, at=f"{made}/g"), step("Mul", f"{made}/g", scale, at=made),
    ]  # fmt: skip


def _beyond(node: Any, inputs: list[Any], wanted: Reals, found: npt.NDArray[Any]) -> Reals:
    """The distances to the next boundary, in steps, of the values that a quantiser takes to another integer."""
    value, scale = np.broadcast_arrays(np.asarray(inputs[0], np.float64), inputs[1])
    differs = np.rint(found / scale) != np.rint(wanted / scale)
    steps = value[differs] / scale[differs]
    if node.op_type == "BipolarQuant":
        return np.asarray(np.abs(steps))
    steps = steps + np.broadcast_to(inputs[2], value.shape)[differs]
    return np.asarray(np.abs(steps - np.floor(steps) - 0.5))
