"""QONNX files for hls4ml: read, checked for what can be exact, and given in a form that it passes on whole."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model

from edgesight.hls.graph.integer_network import BYTES, integer_network
from edgesight.hls.network import CompileError as CompileError
from edgesight.host.pixels import as_input


def load(path: str | Path) -> onnx.ModelProto:
    """Read a QONNX file, check it and return it as hls4ml takes it, whatever layers it has; these keep their names.

    Raises CompileError naming the file and all that cannot be compiled: each node, the reason and what to do.
    """
    from edgesight.hls.cpp.handlers import for_hls4ml  # with hls4ml, which nothing else here needs

    path = Path(path)
    _check_file(path)
    with calling("reading the file", path, remedy="not a readable ONNX file; export it again"):
        model = onnx.load(str(path))
    if len(model.graph.node) == 0:
        raise CompileError(f"{path}: holds no nodes; the file is truncated or empty: export it again")
    try:
        with calling("reading the graph"):
            # What comes in where no quantiser says it, hls4ml's configuration does; any will do to check the rest.
            integer_network(model, otherwise=BYTES)
    except CompileError as error:
        raise CompileError(f"{path}: {error}") from error
    with calling("preparing the graph for hls4ml", path):
        return for_hls4ml(model)


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
