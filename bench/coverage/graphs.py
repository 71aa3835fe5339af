"""Writes QONNX graphs node by node, with float scales as exporters write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import Reals

_GENERAL = "qonnx.custom_op.general"
_OPSET, _IR = 13, 8
_SAMPLES = 6  # inputs by which scales are found


@dataclass
class Graph:
    """A graph in the making with one input [1, *shape]; methods that add a node return its tensor's name."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    samples: Reals = field(init=False)  # [N, *shape]

    def __post_init__(self) -> None:
        """Draw what scales are found from."""
        self.samples = self.rng.uniform(-1, 1, (_SAMPLES, *self.shape))

    def constant(self, value: npt.ArrayLike) -> str:
        """A constant of the value's own type; floats in single precision."""
        array = np.asarray(value)
        name = f"constant_{len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
        return name

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """A node with one output."""
        made = f"tensor_{len(self.nodes)}"
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], name=name, domain=domain, **attributes))
        return made

    def quant(self, tensor: str, bits: int, scale: npt.ArrayLike, *, signed: bool, narrow: bool, mode: str) -> str:
        """A Quant node without a zero point."""
        parts = [self.constant(np.asarray(value, np.float32)) for value in (scale, 0.0, bits)]
        attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": mode}
        return self.node("Quant", [tensor, *parts], _GENERAL, **attributes)

    def bipolar(self, tensor: str, scale: npt.ArrayLike) -> str:
        """A BipolarQuant node."""
        return self.node("BipolarQuant", [tensor, self.constant(np.asarray(scale, np.float32))], _GENERAL)

    def trunc(self, tensor: str, scale: float, bits: tuple[int, int], mode: str) -> str:
        """A Trunc node from so many bits to so many."""
        parts = [self.constant(np.float32(value)) for value in (scale, 0, *bits)]
        return self.node("Trunc", [tensor, *parts], _GENERAL, rounding_mode=mode)

    def spread(self, tensor: str) -> float:
        """How far the tensor's values reach from 0, in the root of the mean square, for a few inputs."""
        values = Truth(self.model([tensor]))(self.samples)[0]
        return float(np.sqrt(np.mean(values**2))) or 1.0

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The graph that ends in these tensors."""
        made = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_GENERAL, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=_IR)
