"""QONNX files: read, checked for what can be exact, and brought into the form that hls4ml reads.

What cannot be exact is refused here, by node name, before anything is written.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model

from edgesight.hls.graph.nodes import CHANNELS_LAST, INPUT_LAYOUT
from edgesight.hls.graph.read import read
from edgesight.hls.network import CompileError as CompileError
from edgesight.hls.network import Step
from edgesight.host.pixels import as_input


def load(path: str | Path) -> Any:
    """Read a QONNX file, check it and return it channels-last as a qonnx `ModelWrapper`, as hls4ml takes it.

    Raises CompileError naming the file and all that cannot be compiled: each node, the reason and what to do.
    """
    path = Path(path)
    _check_file(path)
    with calling("reading the file", path, remedy="not a readable ONNX file; export it again"):
        model = ModelWrapper(str(path))
    if len(model.graph.node) == 0:
        raise CompileError(f"{path}: holds no nodes; the file is truncated or empty: export it again")
    for entry in [entry for entry in model.graph.metadata_props if entry.key == INPUT_LAYOUT]:
        model.graph.metadata_props.remove(entry)
    try:
        with calling("reading the graph"):
            steps = read(model)
    except CompileError as error:
        raise CompileError(f"{path}: {error}") from error
    with calling("preparing the graph for hls4ml", path):
        _complete(model, steps)
        _rename(model)
        model = cleanup_model(model)
        _drop_idle_reshapes(model)
        _give_gemm_a_bias(model)
        model = model.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
        _absorb_input_transpose(model)
        model = model.transform(GemmToMatMul())
        model = cleanup_model(model)
        model.set_metadata_prop(INPUT_LAYOUT, CHANNELS_LAST)
        prepared = read(model)
    _same(path, steps, prepared)
    return model


def execute(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits [N, classes] of QONNX's own execution for images uint8 [N, H, W, C], or vectors [N, 1, 1, F]."""
    _check_file(path)
    with calling("executing the network", path):
        # In one batch, since QONNX computes every weight's quantiser anew on each execution.
        model = ModelWrapper(str(path))
        _rename(model)
        model = cleanup_model(model)
        source = model.graph.input[0].name
        flat = len(model.get_tensor_shape(source)) == 2
        model = model.transform(ChangeBatchSize(len(images))).transform(InferShapes())
        pixels = as_input(images)
        logits = execute_onnx(model, {source: pixels.reshape(len(images), -1) if flat else pixels})
        return np.asarray(logits[model.graph.output[0].name], np.float32)


def _check_file(path: Path) -> None:
    """Raise CompileError where no file is: qonnx takes that for a fault of the file's."""
    if not path.is_file():
        raise CompileError(f"{path}: {'is no file' if path.exists() else 'no such file'}; give a QONNX file's path")


@contextlib.contextmanager
def calling(doing: str, path: Path | None = None, remedy: str = "") -> Iterator[None]:
    """Call a library: what it prints and warns of is dropped, what it raises becomes a CompileError with its cause."""
    start = f"{path}: " if path is not None else ""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except CompileError:
        raise
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        advice = remedy or "the compiler took the network for one that it knows; please report it with the file"
        raise CompileError(f"{start}{doing} failed ({found}); {advice}") from error


def _same(path: Path, read_first: list[Step], prepared: list[Step]) -> None:
    """Refuse a graph that its preparation changed."""
    if len(read_first) != len(prepared):
        raise CompileError(f"{path}: {len(read_first)} layers became {len(prepared)} for hls4ml; please report it")
    for ours, theirs in zip(read_first, prepared, strict=True):
        for what in ("source", "shape", "window", "output", "rounding", "weights", "bias"):
            if not np.array_equal(getattr(ours, what), getattr(theirs, what)):
                raise CompileError(
                    f"{path}: layer {ours.name}: its {what} changed as the graph was prepared for hls4ml; please "
                    "report it with the file"
                )


def _complete(model: Any, steps: list[Step]) -> None:
    """Write out the attributes that ONNX lets a file leave away, for qonnx and hls4ml; drop what nothing reads."""
    outputs = {output.name for output in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if not any(tensor in outputs or model.find_consumers(tensor) for tensor in node.output):
            model.graph.node.remove(node)
    windows = {step.tensor: step.window for step in steps}
    for node in model.graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()
        if node.op_type == "Quant" and not any(attribute.name == "rounding_mode" for attribute in node.attribute):
            node.attribute.append(helper.make_attribute("rounding_mode", "ROUND"))
        if node.op_type == "Gemm":  # without a bias, the check took any beta
            for attribute in node.attribute:
                attribute.f = 1.0 if attribute.name == "beta" else attribute.f
        window = windows.get(node.output[0])
        if window is None:
            continue
        complete = {
            "kernel_shape": [window.kernel] * 2,
            "strides": [window.stride] * 2,
            "dilations": [1, 1],
            "pads": list(window.pads),
            "auto_pad": "NOTSET",
            **({"group": 1} if node.op_type == "Conv" else {"ceil_mode": 0, "storage_order": 0}),
        }
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(key, value) for key, value in complete.items())


def _rename(model: Any) -> None:
    """Give all tensors names that qonnx does not make itself: it mixes up a file's own `tensor_7` and its seventh.

    And write ONNX's own domain in the one way that qonnx knows.
    """
    graph = model.graph
    for entry in (*model.model.opset_import, *graph.node):
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    names: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"edgesight{len(names)}")

    for named in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        named.name = renamed(named.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = renamed(annotation.tensor_name)
    for node in graph.node:
        node.input[:] = [renamed(tensor) for tensor in node.input]
        node.output[:] = [renamed(tensor) for tensor in node.output]


def _drop_idle_reshapes(model: Any) -> None:
    """Take out what flattens a flat vector: hls4ml stumbles over it."""
    for node in list(model.graph.node):
        if node.op_type not in ("Flatten", "Reshape"):
            continue
        if model.get_tensor_shape(node.input[0]) == model.get_tensor_shape(node.output[0]):
            for user in model.find_consumers(node.output[0]) or []:
                user.input[:] = [node.input[0] if tensor == node.output[0] else tensor for tensor in user.input]
            model.graph.node.remove(node)


def _absorb_input_transpose(model: Any) -> None:
    """A flattened image: instead of putting the channels first again, reorder the rows of the first dense layer."""
    turns = [node for node in model.graph.node if node.op_type == "Transpose"]
    if len(turns) != 1 or turns[0].input[0] != model.graph.input[0].name:
        return
    turn = turns[0]
    height, width, channels = model.get_tensor_shape(turn.input[0])[1:]
    tensor = turn.output[0]
    on_the_way = []
    while (users := model.find_consumers(tensor)) and users[0].op_type not in ("MatMul", "Gemm"):
        on_the_way.append(users[0])
        tensor = users[0].output[0]
    if not users:
        return
    weights = users[0].input[1]
    turned = users[0].op_type == "Gemm" and any(a.name == "transB" and a.i for a in users[0].attribute)
    producer = model.find_producer(weights)
    if producer is None or producer.op_type != "Quant":
        return
    stored = model.get_initializer(producer.input[0])
    rows = stored.T if turned else stored
    rows = rows.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(rows.shape)
    model.set_initializer(producer.input[0], np.ascontiguousarray(rows.T if turned else rows))
    for user in model.find_consumers(turn.output[0]):
        user.input[0] = turn.input[0]
    model.graph.node.remove(turn)
    for node in on_the_way:
        if node.op_type == "Quant":
            model.set_tensor_shape(node.output[0], [1, height, width, channels])


def _give_gemm_a_bias(model: Any) -> None:
    """GemmToMatMul reads a third input of every Gemm."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 2:
            name = f"{node.output[0]}_zero_bias"
            model.set_initializer(name, np.zeros(model.get_tensor_shape(node.output[0])[-1], np.float32))
            node.input.append(name)
