"""Maps reach the truth in the file's own layout, also where their sizes do not tell it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesight.hls.compile import Folding, Network, compile_alone
from edgesight.hls.dataflow.reference import Reference, real_values
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.maps import real_outputs
from edgesight.hls.network import CompileError
from tests.hls.graph.graphs import Graph, integers_of


@pytest.mark.parametrize(("shape", "turned"), [((3, 4, 3), False), ((3, 4, 3), True), ((3, 3, 3), False)])
def test_a_map_that_is_as_wide_as_it_has_channels_comes_as_the_file_says(shape: tuple[int, ...], turned: bool) -> None:
    graph = Graph(shape)
    tensor = graph.quantise("image", 8, 0, np.float32(1 / 256))
    if turned:
        tensor = graph.node("Transpose", [tensor], perm=[0, 3, 1, 2])
    made = graph.float_conv(tensor, (4, 3, 3, 3), pads=[1, 1, 1, 1])
    model = graph.graph(made)
    network, _ = integer_network(model)
    stream = network.entry.output.shape
    assert (stream.height, stream.width, stream.channels) == ((3, 4, 3) if turned else (*shape[1:], 3))
    inputs = integers_of(network, 5)
    (wanted,) = real_outputs(model, np.asarray(inputs * network.entry.scale, np.float64), network.ends)
    found = real_values(network.outputs[0], Reference(network).integers(inputs)[0])
    assert np.abs(found - wanted).max() <= network.outputs[0].error + 1e-9
    assert len(np.unique(wanted)) > 50


OUTPUTS = {
    "map": lambda graph, made: made,
    "turned": lambda graph, made: graph.node("Transpose", [made], perm=[0, 2, 3, 1]),
    "on its side": lambda graph, made: graph.node("Transpose", [made], perm=[0, 1, 3, 2]),
    "flattened": lambda graph, made: graph.node("Flatten", [graph.node("Transpose", [made], perm=[0, 2, 3, 1])]),
}


@pytest.mark.parametrize("end", OUTPUTS)
def test_an_output_in_any_layout_is_compiled(end: str, tmp_path: Path) -> None:
    graph = Graph((3, 4, 5))
    made = graph.float_conv(graph.quantise("image", 8, 0, np.float32(1 / 256)), (4, 3, 3, 3), pads=[1, 1, 1, 1])
    onnx.save(graph.graph(OUTPUTS[end](graph, made)), tmp_path / "net.onnx")
    package = compile_alone("net", Network("stage0", tmp_path / "net.onnx", Folding(1000, {})), tmp_path / "kernel")
    assert package.kernel.outputs == 80


def test_a_flattened_map_with_channels_first_is_refused(tmp_path: Path) -> None:
    graph = Graph((3, 4, 5))
    made = graph.float_conv(graph.quantise("image", 8, 0, np.float32(1 / 256)), (4, 3, 3, 3), pads=[1, 1, 1, 1])
    onnx.save(graph.graph(graph.node("Flatten", [made])), tmp_path / "net.onnx")
    with pytest.raises(CompileError, match=r"output tensor_\d+: it is a flattened map .*; give the map itself"):
        compile_alone("net", Network("stage0", tmp_path / "net.onnx", Folding(1000, {})), tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()
