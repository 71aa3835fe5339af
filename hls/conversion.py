"""A chain of layers as hls4ml itself reads it, which its backend `RTL` then builds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import hls4ml

from edgesight.hls import qonnx_graph
from edgesight.hls.cpp.placement import BACKEND
from edgesight.hls.folding import Folding, largest_reuse
from edgesight.hls.graph.read import read
from edgesight.hls.layers import Hardware
from edgesight.hls.network import CompileError


def convert(graph: Any, module: str, folding: Folding, folder: Path) -> tuple[list[Hardware], Any]:
    """Convert a loaded QONNX graph with hls4ml's RTL backend; returns its hardware layers and the ModelGraph.

    Nothing is written into `folder` yet. Raises CompileError for whatever hls4ml or its RTL backend refuses, `module`
    as a name included.
    """
    with qonnx_graph.calling("converting the network with hls4ml"):
        config = hls4ml.utils.config_from_onnx_model(
            graph, granularity="name", backend=BACKEND, default_precision="fixed<32,16>"
        )
        names = {tensor: node.name for node in graph.graph.node for tensor in node.output}
        multiplying = {names[step.tensor]: step for step in read(graph, for_hls4ml=True) if step.weights is not None}
        unknown = set(folding.reuse) - set(multiplying)
        if unknown:
            raise CompileError(f"{module}: no layer {', '.join(sorted(unknown))}; it has {', '.join(multiplying)}")
        for name, step in multiplying.items():
            assert step.weights is not None
            outputs, beats, lanes = step.weights.shape
            config["LayerName"][name]["ReuseFactor"] = (
                folding.reuse[name]
                if name in folding.reuse
                else largest_reuse(folding.cycles, step.shape.pixels, outputs, lanes, beats)
            )
        model = hls4ml.converters.convert_from_onnx_model(
            graph,
            output_dir=str(folder),
            project_name=module,
            io_type="io_stream",
            backend=BACKEND,
            hls_config=copy.deepcopy(config),  # hls4ml adds its own layer names to it
            namespace=module,
            write_weights_txt=True,  # as C++ initialisers they take the compiler minutes
        )
        return model.rtl_layers, model
