"""Writes small QONNX graphs by hand: chains of layers with random integer parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

GENERAL = "qonnx.custom_op.general"


class Writer:
    """A graph in the making. Methods that add a node return the name of the tensor that it makes."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        """Begin with an input `[1, *shape]`, whose pixels are quantised as the kernel takes them by `pixels()`."""
        self.shape = shape
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], domain: str = "", name: str = "", **attributes: Any) -> str:
        made = f"tensor_{len(self.nodes)}"
        called = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [made], name=called, domain=domain, **attributes))
        return made

    def quant(
        self, tensor: str, exponent: float, bits: float, signed: int = 0, narrow: int = 0, mode: str = "ROUND",
        scale: npt.ArrayLike | None = None, zero: float = 0.0, dtype: Any = np.float32,
    ) -> str:  # fmt: skip
        scale = np.asarray(2.0**exponent if scale is None else scale, dtype)
        parameters = [self.constant(value) for value in (scale, dtype(zero), dtype(bits))]
        return self.node(
            "Quant", [tensor, *parameters], GENERAL, signed=signed, narrow=narrow, rounding_mode=mode
        )  # fmt: skip

    def pixels(self) -> str:
        return self.quant("image", -8, 8)

    def integers(self, shape: tuple[int, ...], top: int, exponent: int) -> str:
        values = self.generator.integers(-top, top + 1, shape) * 2.0**exponent
        return self.constant(values.astype(np.float32))

    def weights(self, shape: tuple[int, ...], bits: int = 4, exponent: int = -3) -> str:
        return self.quant(self.integers(shape, 2 ** (bits - 1) - 1, exponent), exponent, bits, 1, 1)

    def bias(self, outputs: int, exponent: int) -> str:
        return self.quant(self.integers((outputs,), 200, exponent), exponent, 16, 1)

    def conv(self, tensor: str, inputs: int, outputs: int, kernel: int, bits: int = 4, **attributes: Any) -> str:
        weights = self.weights((outputs, inputs // attributes.get("group", 1), kernel, kernel), bits)
        given = {"kernel_shape": [kernel] * 2, "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
        wanted = {key: value for key, value in {**given, **attributes}.items() if value is not None}
        return self.node("Conv", [tensor, weights], **wanted)

    def relu(self, tensor: str, exponent: int = -2, bits: float = 4, **more: Any) -> str:
        return self.quant(self.node("Relu", [tensor]), exponent, bits, **more)

    def pool(self, tensor: str, kernel: int = 2, stride: int = 2, **attributes: Any) -> str:
        return self.node("MaxPool", [tensor], kernel_shape=[kernel] * 2, strides=[stride] * 2, **attributes)

    def dense(self, tensor: str, inputs: int, outputs: int, bits: int = 4) -> str:
        return self.node("MatMul", [tensor, self.weights((inputs, outputs), bits)])

    def flatten(self, tensor: str) -> str:
        return self.node("Flatten", [tensor], axis=1)

    def save(self, path: Path, *outputs: str, classes: int = 5) -> Path:
        """Write the graph that ends in the given tensors, of shape [1, classes]."""
        onnx.save(self.model(*outputs, classes=classes), path)
        return path

    def model(self, *outputs: str, classes: int = 5) -> onnx.ModelProto:
        """The graph that ends in the given tensors."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, classes]) for output in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(GENERAL, 1)]
        made = helper.make_model(graph, opset_imports=opsets)
        made.ir_version = 8
        return made
