"""The network that splits are tried on: ResNet-18 for 224 x 224 pixels, with an exit behind each of its four groups.

Its weights are random, which its times don't depend on. The accuracies of its exits are quoted from memory, as those
that Zhang et al., "Be Your Own Teacher" (ICCV 2019, arXiv 1905.08094), report for such a network on ImageNet: nobody
has found that paper's table to check them against, and none is measured here.

`bench/plan/split_resnet18.json` is the profile of it that the bench uses, made on one machine by
`python -m edgesight.bench.plan.split_resnet18 bench/plan/split_resnet18.json`, before layers' times were scaled to
the run in one piece: they add up to about 1.5 times what the network takes whole.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgesight.plan.profile import write
from edgesight.plan.split.join import join
from edgesight.plan.split.measure import measure_onnx
from edgesight.plan.split.plan import SplitProfile

PROFILE: Final = Path(__file__).with_suffix(".json")
ACCURACIES: Final = {
    "exit1": 0.4126,
    "exit2": 0.5194,
    "exit3": 0.6229,
    "exit4": 0.6984,
}  # quoted from memory: top-1 on ImageNet
FROM_MEMORY: Final = "from memory, unchecked"  # behind `accuracies quoted`
DEVICE_FACTOR: Final = 10.0  # how much slower than the measured core the device is taken to be
ANSWER_BYTES: Final = 16  # a label and its confidence, not the logits

_GROUPS: Final = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride
_CLASSES: Final = 1000


def write_network(path: Path) -> None:
    """Write the network as ONNX: input `image` float32 [1, 3, 224, 224], outputs `exit1` to `exit4` [1, 1000]."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []

    def weight(name: str, *shape: int) -> str:
        values = rng.normal(0, 0.05, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def node(kind: str, name: str, inputs: list[str], **options: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **options))
        return name

    def convolution(name: str, value: str, near: int, far: int, size: int, stride: int = 1, group: int = 1) -> str:
        inputs = [value, weight(f"{name}.w", far, near // group, size, size), weight(f"{name}.b", far)]
        return node("Conv", name, inputs, strides=[stride] * 2, pads=[size // 2] * 4, group=group)

    value = node("Relu", "stem_relu", [convolution("stem", "image", 3, 64, 7, 2)])
    value = node("MaxPool", "stem_pool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for group, (filters, first_stride) in enumerate(_GROUPS, 1):
        for block, stride in ((1, first_stride), (2, 1)):
            name = f"group{group}.block{block}"
            inner = node("Relu", f"{name}.relu1", [convolution(f"{name}.conv1", value, channels, filters, 3, stride)])
            outer = convolution(f"{name}.conv2", inner, filters, filters, 3)
            if (channels, stride) != (filters, 1):
                value = convolution(f"{name}.shortcut", value, channels, filters, 1, stride)
            value = node("Relu", f"{name}.relu2", [node("Add", f"{name}.add", [outer, value])])
            channels = filters
        # An early exit brings its maps down to the last group's size by separable convolutions, then classifies.
        head, width = value, filters
        for step in range(len(_GROUPS) - group):
            name = f"exit{group}.step{step + 1}"
            head = node("Relu", f"{name}.relu1", [convolution(f"{name}.depth", head, width, width, 3, 2, group=width)])
            head = node("Relu", f"{name}.relu2", [convolution(f"{name}.point", head, width, 2 * width, 1)])
            width *= 2
        head = node("Flatten", f"exit{group}.flat", [node("GlobalAveragePool", f"exit{group}.pool", [head])])
        inputs = [head, weight(f"exit{group}.w", width, _CLASSES), weight(f"exit{group}.b", _CLASSES)]
        nodes.append(helper.make_node("Gemm", inputs, [f"exit{group}"], name=f"exit{group}.classes"))
    graph = helper.make_graph(
        nodes,
        "resnet18-exits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _CLASSES]) for name in ACCURACIES],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


def measure(repeats: int = 25) -> SplitProfile:
    """The profile of the network on this machine: one core as the data centre, ten times slower as the device.

    The input is counted as bytes, as a camera gives it, and tensors at a cut as 8-bit integers.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18-exits.onnx"
        write_network(path)
        datacenter = measure_onnx(path, "datacenter", repeats=repeats, input_bits=8, tensor_bits=8)
    device = datacenter.model_copy(update={"device": datacenter.device.model_copy(update={"name": "device"})})
    joined = join(device, datacenter, ACCURACIES, "quoted", device_factor=DEVICE_FACTOR, answer_bytes=ANSWER_BYTES)
    return joined.model_copy(update={"origin": f"{joined.origin} {FROM_MEMORY}"})


if __name__ == "__main__":
    write(Path(sys.argv[1]), measure())
