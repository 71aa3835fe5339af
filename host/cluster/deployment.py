"""What is to run where: a network's pieces, each on a node of a cluster, in plain data.

Words owned here: *deployment* (a version of a network, in pieces on nodes), *check* (inputs, and what the network in
one piece gives for them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edgesight.host.doors.served import TensorForm
from edgesight.host.limits import Limits

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """A piece of a network on a node.

    Attributes:
        node: its name.
        content: ONNX, which is run as it is.
        inputs, outputs: tensors.
        limits: of all that runs on that node.
    """

    node: str
    content: bytes
    inputs: Sequence[str]
    outputs: Sequence[str]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Deployment:
    """A version of a network, in pieces.

    Attributes:
        name: of the network.
        version: that tells it from others.
        inputs, outputs: of the whole.
        pieces: in the order of the pipeline.
        checks: inputs, and the outputs that these must give, bit for bit.
        planned_ms: that one answer comes after the other, at best; 0: not known.
    """

    name: str
    version: str
    inputs: Sequence[TensorForm]
    outputs: Sequence[TensorForm]
    pieces: Sequence[Piece]
    checks: Sequence[tuple[Tensors, Tensors]]
    planned_ms: float = 0.0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their names, in the order of the pipeline."""
        return tuple(piece.node for piece in self.pieces)
