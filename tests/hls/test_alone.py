"""Networks without a cascade around them: vectors in, signed activations, quantised logits. QONNX = csim = RTL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls import qonnx_graph
from edgesight.hls.layers import matrices
from edgesight.sim.rtl.runner import missing_tools
from tests.hls import networks
from tests.hls.qonnx_writer import Writer

Build = Callable[[Writer], str]


def vector(writer: Writer) -> str:
    hidden = writer.relu(writer.node("Add", [writer.dense(writer.pixels(), 16, 8), writer.bias(8, -10)]))
    return writer.dense(hidden, 8, 5)


def flattened_image(writer: Writer) -> str:
    return writer.dense(writer.relu(writer.dense(writer.flatten(writer.pixels()), 24, 8)), 8, 5)


def quantisers_without_relu(writer: Writer) -> str:
    """Signed ones, rounding both ways, with a pooling of signed values; an unsigned one; and one of the logits."""
    features = writer.quant(writer.conv(writer.pixels(), 3, 6, 3), -2, 4, signed=1)
    features = writer.quant(
        writer.conv(writer.pool(features, 2, 1), 6, 6, 3, pads=[1, 0, 0, 1]), -3, 5, 1, mode="FLOOR"
    )
    hidden = writer.quant(writer.dense(writer.flatten(features), 96, 7), -2, 4)
    return writer.quant(writer.dense(hidden, 7, 5), -2, 6, signed=1)


NETWORKS: dict[str, tuple[tuple[int, ...], Build]] = {
    "vector": ((16,), vector),
    "flattened image": ((2, 3, 4), flattened_image),
    "quantisers without ReLU": ((3, 8, 8), quantisers_without_relu),
}


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_qonnx_csim_and_rtl_are_equal(tmp_path: Path, name: str) -> None:
    shape, build = NETWORKS[name]
    writer = Writer(shape, seed=3)
    path = writer.save(tmp_path / "network.onnx", build(writer))
    layers, model = networks.compile_alone(path, tmp_path / "project", cycles=60)
    pixels = networks.images(shape, 40, seed=4)
    wanted = networks.truth(path, pixels)
    assert np.array_equal(qonnx_graph.execute(path, pixels), wanted)
    assert len(np.unique(wanted, axis=0)) > 20, "a network that always says the same proves nothing"
    assert any(layer.fold.cycles > 1 for layer in matrices(layers))
    assert np.array_equal(networks.run_reference(layers, pixels), wanted)
    assert np.array_equal(networks.run_csim(model, pixels), wanted)
    assert not networks.rtl_errors(layers, tmp_path / "rtl", pixels)
