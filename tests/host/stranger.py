"""A back end as a stranger brings it: float NCHW, with mean and deviation, of 1,000 classes of which some are named.

Logit `NAMED[c]` is minus the mean of the normalised values in the c-th quarter of the columns; all others are larger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.kernel import BackEndInput
from tests.host.by_hand import CLASSES

SIDE, LOGITS = 224, 1_000
NAMED = [907, 3, 500, 41]
FORM = BackEndInput(
    height=SIDE,
    width=SIDE,
    channels=3,
    layout="NCHW",
    element="float32",
    mean=[124.0, 116.0, 104.0],
    deviation=[58.0, 57.0, 56.0],
    outputs=NAMED,
)


def save_stranger(path: Path, batch: int | str = "N", names: tuple[str, ...] = ("scores",), fails_on: int = 0) -> Path:
    """The model, that takes `batch` pictures at once and has outputs called so, which are all the same."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3 * CLASSES, LOGITS), np.float32)
    for quarter, logit in enumerate(NAMED):
        weights[quarter::CLASSES, logit] = -1 / 3
    others = np.full(LOGITS, 1e6, np.float32)
    others[NAMED] = 0.0
    quarter_of_columns: dict[str, Any] = {"kernel_shape": [SIDE, SIDE // CLASSES], "strides": [1, SIDE // CLASSES]}
    flat = helper.make_node("Flatten", ["pooled"], ["flat"], axis=1)
    if fails_on:  # a count of pictures that was baked in while exporting
        flat = helper.make_node("Reshape", ["pooled", "shape"], ["flat"])
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], **quarter_of_columns),
        flat,
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        *(helper.make_node("Add", ["sums", "others"], [name]) for name in names),
    ]
    graph = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, LOGITS]) for name in names],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(others, "others"),
            numpy_helper.from_array(np.array([fails_on, 3 * CLASSES], np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def logits_of(photographs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Of the named classes, [N, CLASSES], of photographs [N, SIDE, SIDE, 3]."""
    normalised = (photographs - np.array(FORM.mean)) / np.array(FORM.deviation)
    quarters = normalised.reshape(len(photographs), SIDE, CLASSES, SIDE // CLASSES, 3)
    return np.asarray(-quarters.mean(axis=(1, 3, 4)), np.float64)


def clear_photographs(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Photographs of four quarters, whose colours differ so much that neither JPEG nor enlarging changes the class."""
    generator = np.random.default_rng(seed)
    levels = generator.permuted(np.tile([40, 100, 160, 220], (count, 1)), axis=1)
    across = np.repeat(levels, SIDE // CLASSES, axis=1)[:, None, :, None]
    noise = generator.integers(-20, 21, (count, SIDE, SIDE, 3))
    return (across + noise).astype(np.uint8)
