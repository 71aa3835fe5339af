"""Writes QONNX graphs of any operator by hand, and holds the integer network of one against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference, real_values
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.graph.truth import Truth
from tests.hls.qonnx_writer import GENERAL, Writer

INPUTS = 200


class Graph(Writer):
    """A graph in the making, with float scales as exporters write them."""

    def floats(self, shape: tuple[int, ...], spread: float = 1.0, least: float | None = None) -> str:
        values = self.generator.normal(0, spread, shape)
        if least is not None:
            values = least + np.abs(values)
        return self.constant(values.astype(np.float32))

    def scales(self, shape: tuple[int, ...] = (), about: float = 0.1) -> npt.NDArray[Any]:
        return np.asarray(self.generator.uniform(0.5, 1.5, shape) * about, np.float32)

    def quantise(self, tensor: str, bits: float, signed: int = 1, scale: Any = None, **more: Any) -> str:
        scale = self.scales() if scale is None else scale
        return self.quant(tensor, 0, bits, signed, scale=scale, **more)

    def fitting(self, tensor: str, bits: int, signed: int = 1, **more: Any) -> str:
        """Quantised with a scale that the tensor's values fill for inputs from -1 to 1."""
        inputs = self.generator.uniform(-1, 1, (6, *self.shape))
        values = Truth(self.graph(tensor))(inputs)[0]
        return self.quantise(tensor, bits, signed, np.float32(2 * values.std() / 2.0 ** (bits - 1) + 1e-3), **more)

    def float_weights(self, shape: tuple[int, ...], bits: int = 4, channels: bool = False, axis: int = 0) -> str:
        sizes = tuple(size if channels and place == axis else 1 for place, size in enumerate(shape))
        scale = self.scales(sizes if channels else ())
        top = 2.0 ** (bits - 1)
        values = np.asarray(self.generator.uniform(-top, top, shape) * scale, np.float32)
        return self.quantise(self.constant(values), bits, 1, scale, narrow=1)

    def bipolar(self, tensor: str, scale: Any = 1.0) -> str:
        return self.node("BipolarQuant", [tensor, self.constant(np.asarray(scale, np.float32))], GENERAL)

    def bipolar_weights(self, shape: tuple[int, ...], scale: Any = 1.0) -> str:
        return self.bipolar(self.floats(shape), scale)

    def norm(self, tensor: str, channels: int, spread: float = 1.0) -> str:
        parts = [self.floats((channels,)), self.floats((channels,)), self.floats((channels,), spread)]
        variance = self.floats((channels,), spread, 0.1)
        return self.node("BatchNormalization", [tensor, *parts, variance], epsilon=1e-5)

    def float_conv(self, tensor: str, shape: tuple[int, ...], bits: int = 4, bias: bool = False, **more: Any) -> str:
        channels = bool(more.pop("channels", False))
        inputs = [tensor, self.float_weights(shape, bits, channels)]
        return self.node("Conv", [*inputs, self.floats((shape[0],))] if bias else inputs, **more)

    def graph(self, *outputs: str, opset: int = 13) -> onnx.ModelProto:
        made = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(GENERAL, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=8)


def as_maps(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Outputs of the truth [N, C], [N, C, L] or [N, C, H, W] as maps [N, H, W, C] of a `shape`."""
    height, width, channels = shape
    return values.reshape(len(values), channels, height, width).transpose(0, 2, 3, 1)


def integers_of(network: IntegerNetwork, count: int = INPUTS, seed: int = 0) -> npt.NDArray[np.int64]:
    """Random integers of the entry's whole range."""
    stream = network.entry.output
    shape = (count, stream.shape.height, stream.shape.width, stream.shape.channels)
    return np.random.default_rng(seed).integers(stream.low, stream.high + 1, shape)


def exact(
    model: onnx.ModelProto, entry: Format | None = None, count: int = INPUTS, last: bool = False
) -> tuple[IntegerNetwork, list[str]]:
    """The network of a model, whose outputs are those of the truth for `count` random inputs.

    Integers are equal where the network says that it is exact; elsewhere values are as near as it says. The largest
    channel is the same.
    """
    network, notes = integer_network(model, entry)
    inputs = integers_of(network, count)
    reference = Reference(network)
    found = reference.integers(inputs)
    for place, stream in reference.streams(inputs).items():
        bounds = network.operators[place].output
        assert bounds.low <= stream.min() <= stream.max() <= bounds.high, network.operators[place].name
    values = inputs * network.entry.scale
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    given = values if last else values.transpose(0, 3, 1, 2)
    truths = Truth(model)(given.reshape(count, *sizes))
    for output, integers, truth in zip(network.outputs, found, truths, strict=True):
        shape = network.operators[output.source].output.shape
        wanted = as_maps(truth, (shape.height, shape.width, shape.channels)) if not last else truth.reshape(
            count, shape.height, shape.width, shape.channels
        )  # fmt: skip
        made = real_values(output, integers)
        error = output.error + 1e-9 * np.abs(wanted).max()
        assert np.abs(made - wanted).max() <= error
        if not output.error and not output.softmax:
            steps = (wanted - output.offset) / output.scale
            assert np.array_equal(np.rint(steps), integers)
        if shape.channels > 1 and not output.softmax:
            assert np.array_equal(made.argmax(-1), integers.argmax(-1))
            near = np.sort(wanted, axis=-1)
            clear = near[..., -1] - near[..., -2] > 2 * error
            assert np.array_equal(made.argmax(-1)[clear], wanted.argmax(-1)[clear])
            assert clear.any()
        assert len(np.unique(integers.reshape(count, -1), axis=0)) >= min(count // 4, 50), "outputs hardly vary"
    return network, notes
