"""What runs on a node of the cluster: one piece of a network, as an actor of Ray's."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgesight.host.cluster.deployment import Piece, Tensors
from edgesight.host.limits import Limits, hold_this_process


@dataclass(frozen=True)
class Told:
    """What a runner says of itself.

    Attributes:
        pid: of its process.
        runs: of the piece.
        processor_s: of all threads of its process, of which Ray has some, from its beginning on.
        gave_bytes: of all outputs.
        rss_bytes: that its process took at most.
    """

    pid: int
    runs: int
    processor_s: float
    gave_bytes: int
    rss_bytes: int


class PieceRunner:
    """Runs one piece, as it is, with one thread; what Ray calls comes one after the other."""

    def __init__(self, piece: Piece) -> None:
        """Load it, and be held to the node's limits from now on."""
        import onnxruntime

        if piece.limits != Limits():
            hold_this_process(piece.limits, f"node-{piece.node}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session: Any = onnxruntime.InferenceSession(piece.content, options, providers=["CPUExecutionProvider"])
        self._outputs = list(piece.outputs)
        self._runs, self._gave_bytes = 0, 0

    def run(self, tensors: Tensors) -> Tensors:
        """The piece's outputs for its inputs."""
        outputs = self._session.run(self._outputs, dict(tensors))
        self._runs += 1
        self._gave_bytes += sum(one.nbytes for one in outputs)
        return dict(zip(self._outputs, outputs, strict=True))

    def run_joined(self, names: Sequence[str], *parts: Tensors) -> Tensors:
        """As `run`, for inputs of these `names` of which each is the one tensor of a part."""
        return self.run({name: next(iter(part.values())) for name, part in zip(names, parts, strict=True)})

    def told(self) -> Told:
        """What there is to say."""
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Told(os.getpid(), self._runs, time.process_time(), self._gave_bytes, rss)
