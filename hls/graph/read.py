"""What a QONNX graph says, read without hls4ml: every operator, input and attribute is taken into account or refused.

`read` goes through the graph twice. First it takes each node by itself (`nodes`): an operator, an attribute or a value
that this compiler does not know is a problem. Then it follows the data from the input to the logits (`chain`) and makes
one `Step` of every convolution, dense layer and max pooling, with the arithmetic that ONNX and QONNX define. All
problems are told at once, by the names that the exporter gave.
"""

from __future__ import annotations

from typing import Any

from edgesight.hls.graph.chain import follow
from edgesight.hls.graph.nodes import Nodes
from edgesight.hls.network import Step, refuse


def read(model: Any, for_hls4ml: bool = False) -> list[Step]:
    """The steps of a QONNX model (a qonnx `ModelWrapper` or an onnx `ModelProto`), channels first or last.

    hls4ml itself needs attributes that ONNX lets a file leave away; they are asked for where it comes next. Raises
    CompileError with every problem that was found; each names its layer, the reason and a remedy.
    """
    nodes = Nodes(getattr(model, "model", model), for_hls4ml)
    nodes.check()
    steps = follow(nodes)
    refuse(nodes.problems)
    return steps
