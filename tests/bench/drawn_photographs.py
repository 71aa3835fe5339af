"""Photographs that are drawn, of classes that only a picture large enough tells apart, and back ends for them.

`sun` shows a red disc, which a thumbnail shows, too. `rows` and `columns` are blue, with fine stripes one way or the
other, of which nothing is left in a thumbnail of a quarter of the size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE, THUMBNAIL = 64, 16
CLASSES = ("columns", "rows", "sun")
_STEP = 4  # pixels of a stripe and the gap behind it
_MEAN, _DEVIATION = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


def draw(folder: Path, seed: int = 0, **counts: int) -> Path:
    """A folder of JPEG files: in `train` and `test`, as many of each class as `counts` say."""
    generator = np.random.default_rng(seed)
    for part, count in counts.items():
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                # Letters alone at the end: figures there would tell of groups of pictures.
                path = folder / part / name / f"{number}x.jpg"
                Image.fromarray(_picture(name, generator)).save(path, quality=95, subsampling=0)
    return folder


def _picture(name: str, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    down, across = np.mgrid[0:SIDE, 0:SIDE]
    noise = generator.normal(0, 12, (SIDE, SIDE, 1))
    shade = generator.uniform(-20, 20)
    if name == "sun":
        y, x = generator.uniform(SIDE / 3, 2 * SIDE / 3, 2)
        inside = np.hypot(down - y, across - x)[..., None] < generator.uniform(SIDE / 5, SIDE / 3)
        values = np.where(inside, [220.0, 60.0, 40.0], [90.0, 90.0, 90.0])
    else:
        place = (down if name == "rows" else across) + int(generator.integers(_STEP))
        stripes = np.where(place % _STEP < _STEP // 2, 30.0, -30.0)[..., None]
        values = np.array([70.0, 90.0, 150.0]) + stripes
    return np.clip(values + noise + shade, 0, 255).astype(np.uint8)


def save_back_end(folder: Path, name: str, side: int) -> tuple[str, ...]:
    """The words of `train` that name a back end for pictures of that side: ONNX in float NCHW, and what it takes.

    Its logits are how steeply brightness changes from pixel to pixel, along rows and along columns, and how much red is
    more than blue.
    """
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, 3, 2, 2), np.float32)
    scale = np.array(_DEVIATION, np.float32) / 50  # normalised values back in equal steps
    weights[0, :, 0, 0], weights[0, :, 0, 1] = scale, -scale
    weights[1, :, 0, 0], weights[1, :, 1, 0] = scale, -scale
    weights[2, 0, 0, 0], weights[2, 2, 0, 0] = 12 * scale[0], -12 * scale[2]
    bias = np.array([0.0, 0.0, 12 * (_MEAN[0] - _MEAN[2]) / 50], np.float32)
    nodes = [
        helper.make_node("Conv", ["pixel_values", "weights", "bias"], ["seen"], kernel_shape=[2, 2]),
        helper.make_node("Relu", ["seen"], ["steep"]),
        helper.make_node("GlobalAveragePool", ["steep"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stripes",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    stated: dict[str, Any] = {
        "height": side,
        "width": side,
        "channels": 3,
        "layout": "NCHW",
        "element": "float32",
        "mean": _MEAN,
        "deviation": _DEVIATION,
    }
    lines = [f"{field} = {json.dumps(value)}" for field, value in stated.items()]
    (folder / f"{name}.toml").write_text("\n".join(lines) + "\n")
    return "--backend", str(folder / f"{name}.onnx"), "--backend-input", str(folder / f"{name}.toml")
