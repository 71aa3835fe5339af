"""Small ONNX models made on the spot, in a repository's folders: each as costly to load and to run as it is wanted.

Their weights are of one seed; what a model answers does not matter here, only that it has to be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WIDTH = 4  # values of a row that `working` takes
_CHANNELS, _SIDE = 32, 64  # of the pictures that `working` computes on
_OPSET, _IR = 17, 9


def put(repository: Path, name: str, content: bytes, max_batch: int = 8) -> None:
    """Lay a model's file into a repository, with the configuration that a Triton server would need of it."""
    place = repository / name / "1"
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(content)
    (repository / name / "config.pbtxt").write_text(f'backend: "onnxruntime"\nmax_batch_size: {max_batch}\n')


def light(shape: Sequence[int], dtype: npt.DTypeLike, name: str = "x") -> bytes:
    """A model of input `name` [N, *shape] -> `y` float32 [N, 10]: one matrix, so that it costs next to nothing."""
    graph = _Graph()
    flat = graph.add("Flatten", graph.add("Cast", name, to=1))
    graph.add("MatMul", flat, graph.weight(int(np.prod(shape)), 10), output="y")
    return graph.saved((name, dtype, ["N", *shape]), ["N", 10])


def working(layers: int, megabytes: int = 0) -> bytes:
    """A model of `x` float32 [N, 4] -> `y` float32 [N, 32]: so many convolutions of a picture that it makes of a row.

    Each is 38 million multiplications, for one row as for each of many; so a batch costs what its rows do. It carries
    so many MB of weights that are read, and change nothing.
    """
    graph = _Graph()
    value = graph.add("Reshape", "x", graph.constant(np.array([-1, WIDTH, 1, 1])))
    value = graph.add("Conv", value, graph.weight(_CHANNELS, WIDTH, 1, 1))
    scales = graph.constant(np.array([1, 1, _SIDE, _SIDE], np.float32))
    value = graph.add("Resize", value, "", scales, mode="nearest")
    for _ in range(layers):
        value = graph.add("Conv", value, graph.weight(_CHANNELS, _CHANNELS, 3, 3), pads=[1, 1, 1, 1])
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value), output="" if megabytes else "y")
    if megabytes:
        ballast = graph.constant(
            np.zeros((megabytes << 18) // _CHANNELS * _CHANNELS, np.float32).reshape(_CHANNELS, -1)
        )
        graph.add("Add", value, graph.add("ReduceMax", ballast, axes=[1], keepdims=0), output="y")
    return graph.saved(("x", np.float32, ["N", WIDTH]), ["N", _CHANNELS])


class _Graph:
    """Nodes and constants, as they are added."""

    def __init__(self) -> None:
        self._chance = np.random.default_rng(0)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Its name."""
        from onnx import numpy_helper

        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, *shape: int) -> str:
        """Random weights that keep the size of values about as it is."""
        deviation = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant((self._chance.standard_normal(shape) * deviation).astype(np.float32))

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of a new node's output."""
        from onnx import helper

        output = output or f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def saved(self, taken: tuple[str, npt.DTypeLike, Sequence[int | str]], given: Sequence[int | str]) -> bytes:
        """The model as a file: `taken` is its input's name, type and shape, `given` the shape of `y`."""
        from onnx import TensorProto, helper

        name, dtype, shape = taken
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = helper.make_graph(
            self._nodes,
            "bench",
            [helper.make_tensor_value_info(name, kind, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, given)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        content: bytes = model.SerializeToString()
        return content
