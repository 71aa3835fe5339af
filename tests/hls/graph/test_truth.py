"""The truth computes what ONNX Runtime and qonnx do, but for their float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from qonnx.custom_op.general.bipolar_quant import binary_quant
from qonnx.custom_op.general.intquant import int_quant
from qonnx.custom_op.general.trunc import trunc_v1, trunc_v2

from edgesight.hls.graph.truth import Truth, apply
from edgesight.hls.network import CompileError
from tests.hls.graph.graphs import Graph
from tests.hls.qonnx_writer import GENERAL

X = (1, 4, 7, 6)
F = np.float32
I = np.int64  # noqa: E741  # as numpy calls it
# Operator, shape of its input, constants behind it, attributes, opset.
CASES: list[tuple[str, tuple[int, ...], list[Any], dict[str, Any], int]] = [
    ("Conv", X, [(4, 4, 3, 2), (4,)], {"pads": [1, 0, 2, 1], "strides": [2, 3], "dilations": [2, 1]}, 13),
    ("Conv", X, [(6, 2, 3, 3)], {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 2]}, 13),
    ("Conv", X, [(4, 1, 2, 2)], {"group": 4, "auto_pad": "SAME_UPPER"}, 13),
    ("Conv", (1, 4, 9), [(3, 4, 3)], {"pads": [2, 0], "dilations": [2]}, 13),
    ("MaxPool", X, [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2], "ceil_mode": 1}, 13),
    ("MaxPool", X, [], {"kernel_shape": [2, 2], "dilations": [2, 3], "strides": [1, 2]}, 13),
    ("MaxPool", X, [], {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, 13),
    ("AveragePool", X, [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}, 13),
    ("AveragePool", X, [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}, 13),
    ("AveragePool", X, [], {"kernel_shape": [2, 2], "strides": [2, 4], "ceil_mode": 1}, 13),
    ("GlobalAveragePool", X, [], {}, 13),
    ("ReduceMean", X, [], {"axes": [1, -1], "keepdims": 0}, 13),
    ("Resize", X, [np.zeros(0, F), np.array([1, 1, 2, 3], F)], {"mode": "nearest"}, 13),
    ("Resize", X, [np.zeros(0, F), np.array([1, 1, 2, 1.5], F)], {"mode": "nearest", "nearest_mode": "ceil"}, 13),
    ("Resize", X, [np.zeros(0, F), np.array([1, 1, 2, 2], F)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 13),
    ("Upsample", X, [np.array([1, 1, 2, 3], F)], {"mode": "nearest"}, 9),
    ("Pad", X, [np.array([0, 1, 2, 0, 0, 0, 1, 3], I), F(0.5)], {}, 13),
    ("Gemm", (1, 8), [(8, 5), (5,)], {"alpha": 0.5, "beta": 2.0}, 13),
    ("Gemm", (1, 8), [(5, 8)], {"transB": 1}, 13),
    ("MatMul", (1, 3, 8), [(8, 5)], {}, 13),
    ("BatchNormalization", X, [(4,), (4,), (4,), np.array([1, 2, 0.5, 3], F)], {"epsilon": 1e-3}, 13),
    ("Softmax", X, [], {"axis": 1}, 13),
    ("Softmax", X, [], {"axis": 1}, 11),
    ("Softmax", X, [], {}, 9),
    ("Sigmoid", X, [], {}, 13),
    ("HardSigmoid", X, [], {"alpha": 0.4}, 13),
    ("LeakyRelu", X, [], {}, 13),
    ("PRelu", X, [(4, 1, 1)], {}, 13),
    ("Clip", X, [F(-0.5), F(0.7)], {}, 13),
    ("Slice", X, [np.array([1, -1], I), np.array([9, -9], I), np.array([1, 3], I), np.array([2, -2], I)], {}, 13),
    ("Squeeze", X, [], {}, 11),
    ("Unsqueeze", X, [np.array([-1, 1], I)], {}, 13),
    ("Reshape", X, [np.array([0, 2, -1, 6], I)], {}, 13),
    ("Flatten", X, [], {"axis": -2}, 13),
    ("Transpose", X, [], {}, 13),
    ("Gather", X, [np.array([[1, 0], [-1, 2]], I)], {"axis": 1}, 13),
    ("Shape", X, [], {"start": 1, "end": -1}, 15),
    ("ArgMax", X, [], {"axis": 1, "select_last_index": 1}, 13),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(CASES)))
def test_an_operator_computes_what_onnx_runtime_does(place: int) -> None:
    kind, shape, behind, attributes, opset = CASES[place]
    generator = np.random.default_rng(place)
    constants = [
        generator.normal(0, 1, each).astype(np.float32) if isinstance(each, tuple) else np.asarray(each)
        for each in behind
    ]
    names = [f"c{index}" for index in range(len(constants))]
    made = TensorProto.INT64 if kind in ("Shape", "ArgMax") else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", made, None)],
        [helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape, each.ravel())
         for name, each in zip(names, constants, strict=True)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    x = generator.normal(0, 1, shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})[0]
    found = Truth(model)(x)[0] if wanted.shape[:1] == (1,) else None
    if found is None:  # axes that swallow the batch
        node = model.graph.node[0]
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        found = apply(node, given, [x.astype(np.float64), *constants], opset)[0]
        assert found.shape == wanted.shape
    assert np.allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)


def quantised(kind: str, values: Any, parameters: list[Any], attributes: dict[str, Any]) -> Any:
    node = helper.make_node(kind, ["x"], ["y"], domain=GENERAL)
    return apply(node, attributes, [values, *(np.asarray(each, np.float64) for each in parameters)], 13)[0]


VALUES = np.concatenate([np.arange(-40, 41) / 8, np.random.default_rng(1).normal(0, 3, 500)])


@pytest.mark.parametrize("mode", ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize(("signed", "narrow", "bits"), [(1, 0, 4), (1, 1, 3), (0, 0, 2), (0, 1, 4), (1, 0, 1)])
@pytest.mark.parametrize(("scale", "zero"), [(0.25, 0.0), (0.3, 3.0)])
def test_quant_is_qonnxs(mode: str, signed: int, narrow: int, bits: int, scale: float, zero: float) -> None:
    given = [np.float64(value) for value in (scale, zero, bits)]
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    wanted = int_quant(VALUES, *given, bool(signed), bool(narrow), mode)
    assert np.array_equal(quantised("Quant", VALUES, given, attributes), wanted)


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_trunc_and_bipolar_quant_are_qonnxs(mode: str) -> None:
    given = [np.float64(value) for value in (0.25, 4.0, 8, 5)]
    wanted = trunc_v1(VALUES, *given, mode)
    assert np.array_equal(quantised("Trunc", VALUES, given, {"rounding_mode": mode}), wanted)
    scale, zero, before, target, bits = (np.float64(value) for value in (0.25, 4.0, 8, 1.0, 4))
    wanted = trunc_v2(VALUES, scale, zero, before, False, True, target, bits, mode)
    attributes = {"rounding_mode": mode, "signed": 1, "narrow": 0}
    assert np.array_equal(quantised("Trunc", VALUES, [scale, zero, before, target, bits], attributes), wanted)
    assert np.array_equal(quantised("BipolarQuant", VALUES, [0.3], {}), binary_quant(VALUES, 0.3))


def test_an_operator_that_has_no_definition_here_is_named() -> None:
    graph = Graph((3, 6, 5))
    with pytest.raises(CompileError, match="layer e: operator Elu is not supported; compile the network"):
        Truth(graph.graph(graph.node("Elu", ["image"], name="e")))(np.zeros((1, 3, 6, 5)))
