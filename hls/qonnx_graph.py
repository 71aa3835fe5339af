"""QONNX files: read, checked for what can be exact, and brought into the form that hls4ml reads.

What cannot be exact is refused here, by node name, before anything is written.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model

SUPPORTED = ("Quant", "Conv", "Relu", "MaxPool", "Flatten", "Reshape", "Gemm", "MatMul", "Add")


class CompileError(ValueError):
    """A network that cannot be compiled exactly: names the layer, what was found and what to do."""


def load(path: Path) -> Any:
    """Read a QONNX file, check it and return it channels-last as a qonnx `ModelWrapper`.

    Raises CompileError naming the file and node for a file that is no ONNX, an operator outside `SUPPORTED`, a scale
    that is no power of two, a zero point, or weights or biases that no quantiser feeds.
    """
    try:
        model = ModelWrapper(str(path))
    except (OSError, DecodeError, ValidationError) as error:
        raise CompileError(f"{path}: not a readable ONNX file ({error}); export it again") from error
    if len(model.graph.node) == 0:
        raise CompileError(f"{path}: holds no nodes; the file is truncated or empty: export it again")
    for problem in _problems(model):
        raise CompileError(f"{path}: {problem}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # qonnx warns of Gemm versions that it then handles
        model = cleanup_model(model)
        _give_gemm_a_bias(model)
        model = model.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
        model = model.transform(GemmToMatMul())
        return cleanup_model(model)


def execute(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits [N, classes] of QONNX's own execution for images uint8 [N, H, W, C]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # In one batch, since QONNX computes every weight's quantiser anew on each execution.
        model = cleanup_model(ModelWrapper(str(path))).transform(ChangeBatchSize(len(images))).transform(InferShapes())
        pixels = (images.astype(np.float32) / np.float32(256)).transpose(0, 3, 1, 2)
        logits = execute_onnx(model, {model.graph.input[0].name: pixels})[model.graph.output[0].name]
    return np.asarray(logits, np.float32)


def _problems(model: Any) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type == "Quant":
            yield from _quantiser_problems(model, node)
        elif node.op_type == "BatchNormalization":
            yield f"layer {node.name or node.op_type}: batch normalisation is not exact here; fold it before quantising"
        elif node.op_type == "Constant":
            continue
        elif node.op_type not in SUPPORTED:
            yield (
                f"layer {node.name or node.op_type}: operator {node.op_type} is not supported; "
                f"this compiler knows {', '.join(SUPPORTED)}"
            )
        elif node.op_type in ("Conv", "Gemm", "MatMul"):
            for role, tensor in zip(("weights", "bias"), node.input[1:], strict=False):
                producer = model.find_producer(tensor)
                if producer is None or producer.op_type not in ("Quant", "Transpose"):
                    yield (
                        f"layer {node.name or node.op_type}: {role} are floating point; give the layer a "
                        f"{'weight' if role == 'weights' else 'bias'} quantiser with a power-of-two scale"
                    )


def _quantiser_problems(model: Any, node: Any) -> Iterator[str]:
    layers = [consumer.name or consumer.op_type for consumer in model.find_consumers(node.output[0]) or []]
    where = f"quantiser {node.name or 'Quant'} (before {', '.join(layers) or 'the output'})"
    scale = _constant(model, node.input[1])
    zero = _constant(model, node.input[2])
    if scale is None or zero is None:
        yield f"{where}: its scale is computed at run time; export the network in evaluation mode"
    elif any(value <= 0 or math.frexp(value)[0] != 0.5 for value in map(float, scale.ravel())):
        yield (
            f"{where}: float scale {float(scale.ravel()[0]):.6g} is no power of two; "
            "use Brevitas' fixed-point quantisers (...FixedPoint), whose scales are"
        )
    elif scale.size != 1:
        yield f"{where}: one scale a channel ({scale.size} scales); use one scale a tensor"
    elif np.any(zero != 0):
        yield f"{where}: zero point {float(zero.ravel()[0]):g} is not 0; use a symmetric quantiser"


def _constant(model: Any, tensor: str) -> npt.NDArray[np.float64] | None:
    value = model.get_initializer(tensor)
    if value is None:
        producer = model.find_producer(tensor)
        if producer is None or producer.op_type != "Constant":
            return None
        from onnx.numpy_helper import to_array

        value = to_array(producer.attribute[0].t)
    return np.asarray(value, dtype=np.float64)


def _give_gemm_a_bias(model: Any) -> None:
    """GemmToMatMul reads a third input of every Gemm."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 2:
            name = f"{node.output[0]}_zero_bias"
            model.set_initializer(name, np.zeros(model.get_tensor_shape(node.output[0])[-1], np.float32))
            node.input.append(name)
