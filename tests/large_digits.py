"""The shipped digits kernel with a back end that takes photographs of 64 x 64 pixels, and folders of such."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesight.host.files import sha256
from edgesight.host.kernel import BackEndInput
from edgesight.host.package import Package, load_kernel
from edgesight.quant import datasets

ROOT = Path(__file__).resolve().parents[1]
SIDE, BLOCKS = 64, 16
FORM = BackEndInput(
    height=SIDE,
    width=SIDE,
    channels=1,
    layout="NCHW",
    element="float32",
    mean=[128.0],
    deviation=[64.0],
)


def write_package(folder: Path) -> Package:
    """The kernel as it is shipped, but for its back end, and not calibrated."""
    shutil.copytree(ROOT / "bitstreams" / "digits", folder)
    made = load_kernel(folder)
    save_back_end(folder / "datacenter.onnx")
    files = {**made.files, "datacenter.onnx": sha256((folder / "datacenter.onnx").read_bytes())}
    Package(folder, made).replace(files=files, backend_input=FORM.model_dump(), calibration=None, novelty=None)
    return Package.load(folder)


def save_back_end(path: Path) -> None:
    """Least squares on the means of 16 x 16 blocks, of 4 x 4 pixels each."""
    from onnx import TensorProto, helper, numpy_helper

    train = datasets.load("digits", photograph=FORM.shape).train
    photographs = (train.photographs[np.arange(len(train))].astype(np.float32) - FORM.mean[0]) / FORM.deviation[0]
    blocks = photographs.reshape(len(train), BLOCKS, SIDE // BLOCKS, BLOCKS, SIDE // BLOCKS).mean(axis=(2, 4))
    inputs = np.hstack([blocks.reshape(len(train), -1), np.ones((len(train), 1))])
    wanted = 10.0 * np.eye(10)[train.labels]
    solved = np.linalg.solve(inputs.T @ inputs + 30.0 * np.eye(inputs.shape[1]), inputs.T @ wanted)
    size = [SIDE // BLOCKS] * 2
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=size, strides=size),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Add", ["sums", "others"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        [
            numpy_helper.from_array(solved[:-1].astype(np.float32), "weights"),
            numpy_helper.from_array(solved[-1].astype(np.float32), "others"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def write_site(folder: Path, labels: npt.NDArray[np.int64], photographs: npt.NDArray[np.uint8]) -> None:
    """Photographs [N, H, W, 1] as files in subfolders of their classes, called p0, p1, ..."""
    for index, (label, photograph) in enumerate(zip(labels, photographs, strict=True)):
        below = folder / str(label)
        below.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[..., 0]).save(below / f"p{index}.png")
