"""Tiny ONNX models whose answers are known beforehand, and the repository's folders that they lie in.

One multiplies, one looks a row up and raises where there is none, one counts for as long as it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def scaled(by: float, width: int = 4, batch: int | str = "N", megabytes: int = 0) -> bytes:
    """An ONNX model of `x` float32 [N, width] -> `y` = x * by; with so many MB of weights that do nothing."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Mul", ["x", "by"], ["y" if not megabytes else "z"])]
    weights = [numpy_helper.from_array(np.array([by], np.float32), "by")]
    if megabytes:
        weights.append(numpy_helper.from_array(np.zeros((1, megabytes << 18), np.float32), "much"))
        nodes += [
            helper.make_node("ReduceMax", ["much"], ["most"], keepdims=1, axes=[1]),
            helper.make_node("Add", ["z", "most"], ["y"]),
        ]
    return _saved(
        nodes, weights, [("x", TensorProto.FLOAT, [batch, width])], [("y", TensorProto.FLOAT, [batch, width])]
    )


def gather(rows: int = 8) -> bytes:
    """An ONNX model of `i` int64 [N, 1] -> `y` float32 [N, 1]: it raises for an index beyond its `rows`."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("GatherElements", ["table", "i"], ["y"], axis=0)]
    table = numpy_helper.from_array(np.arange(rows, dtype=np.float32)[:, None], "table")
    return _saved(nodes, [table], [("i", TensorProto.INT64, ["N", 1])], [("y", TensorProto.FLOAT, ["N", 1])])


def texts() -> bytes:
    """An ONNX model of `t` BYTES [N, 2] -> `y` BYTES [N, 2]: the same again."""
    from onnx import TensorProto, helper

    ports = [("N", 2)] * 2
    taken, given = ((name, TensorProto.STRING, list(shape)) for name, shape in zip(("t", "y"), ports, strict=True))
    return _saved([helper.make_node("Identity", ["t"], ["y"])], [], [taken], [given])


def looping() -> bytes:
    """An ONNX model of `n` int64 [] -> `y` int64 []: it counts to n, which takes as long as it takes."""
    from onnx import TensorProto, helper, numpy_helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Add", ["sum", "one"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.INT64, []),
        ],
    )
    nodes = [helper.make_node("Loop", ["n", "true", "zero"], ["y"], body=body)]
    constants = [
        numpy_helper.from_array(np.array(True), "true"),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
        numpy_helper.from_array(np.array(1, np.int64), "one"),
    ]
    return _saved(nodes, constants, [("n", TensorProto.INT64, [])], [("y", TensorProto.INT64, [])])


def _saved(nodes: Sequence[Any], constants: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
    from onnx import helper

    ports = [[helper.make_tensor_value_info(*port) for port in ports] for ports in (inputs, outputs)]
    graph = helper.make_graph(nodes, "tiny", *ports, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def put(folder: Path, name: str, content: bytes, version: int = 1, config: str = "") -> Path:
    """Put a model into the repository `folder`, in place of what is there, by renaming."""
    place = folder / name / str(version)
    place.mkdir(parents=True, exist_ok=True)
    (place / ".new").write_bytes(content)
    (place / ".new").rename(place / "model.onnx")
    if config:
        (folder / name / "config.pbtxt").write_text(config)
    return place / "model.onnx"
