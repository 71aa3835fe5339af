"""What of a workflow is to run where, in plain data.

Words owned here: *operator* (a step, of which one variant is run), *station* (an operator on one worker), *source*
(where requests come from), *sink* (the operator whose outputs are the answer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesight.host.cluster.deployment import Piece
from edgesight.host.doors.served import TensorForm


@dataclass(frozen=True)
class Station:
    """An operator on a worker: the piece that runs there, whose node is the worker."""

    operator: str
    piece: Piece


@dataclass(frozen=True)
class Operator:
    """A step.

    Attributes:
        name: its name.
        variant: that is run.
        taken: by source or operator before it, the input that takes what that gives.
    """

    name: str
    variant: str
    taken: Mapping[str, str]


@dataclass(frozen=True)
class Flow:
    """Messages a second from a source (no worker) or an operator's worker to one of another operator."""

    source: str
    target: str
    source_worker: str | None
    target_worker: str
    rate: float


@dataclass(frozen=True)
class Execution:
    """A plan of a workflow, ready to run.

    Attributes:
        sources: what a request has of each, without the batch where it is left open.
        operators: each behind all that it takes from.
        stations: as many as operators have workers.
        flows: as planned.
        sink: the operator that answers.
    """

    sources: Mapping[str, TensorForm]
    operators: Sequence[Operator]
    stations: Sequence[Station]
    flows: Sequence[Flow]
    sink: str
