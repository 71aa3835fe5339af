"""An integer network as hls4ml's ModelGraph, whose C++ g++ compiles and Python calls."""

from __future__ import annotations

from pathlib import Path

from hls4ml.model import ModelGraph

from edgesight.hls.cpp.placement import BACKEND, Route
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.folding import Folding

UNROLLED = Folding(1, {})


def model_graph(
    network: IntegerNetwork, name: str, folder: Path, folding: Folding = UNROLLED, *, rtl: bool = False
) -> ModelGraph:
    """hls4ml's model of `network`, written to `folder` by its `write()` and `compile()`; its top function is `name`.

    `predict()` takes real values and gives those of the outputs, as `reference.Reference` does. Every layer's types are
    integers that hold the stream's bounds. With `rtl`, the network's module of that name is written, too. Raises
    NotStated where hls4ml has no layer for an operator.
    """
    config = {
        "OutputDir": str(folder),
        "ProjectName": name,
        "Backend": BACKEND,
        "IOType": "io_stream",
        "Part": "",
        "ClockPeriod": 10,
        "HLSConfig": {"Model": {"Precision": "ap_int<32>", "ReuseFactor": 1}},
        "WriterConfig": {"Namespace": name, "WriteWeightsTxt": True, "WriteTar": False, "TBOutputStream": "both"},
        "Route": Route(network, folding, rtl),
    }
    return ModelGraph.from_layer_list(config, [{"class_name": "InputLayer", "name": "entry", "input_shape": [1]}])
