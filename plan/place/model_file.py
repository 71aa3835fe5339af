"""A network's file as what is deployed on a cluster: read, measured, planned, and planned anew.

Words owned here: *version* (of a file: what it held when it was read).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from edgesight.host.cluster.deployment import Deployment
from edgesight.plan.place.graph import Model
from edgesight.plan.place.pieces import CutNetwork
from edgesight.plan.place.plan import place, replan
from edgesight.plan.place.problem import Cluster, Node, Placement
from edgesight.plan.profile import PlanError

PLANNING_S: Final = 10.0  # at most


class Meter(Protocol):
    """Measures on a cluster's nodes; raises PlanError."""

    def atom_ms(self, cut: CutNetwork, named: Sequence[Node]) -> Mapping[str, Sequence[float]]:
        """By node, what each atom of a network takes."""

    def call_ms(self, named: Sequence[Node], size: int) -> Mapping[str, float]:
        """By node, what taking and giving tensors of `size` bytes takes."""


def measured(cut: CutNetwork, cluster: Cluster, nodes: Collection[str], meter: Meter) -> tuple[Model, Cluster]:
    """The network, and the cluster, with the times that it takes on those `nodes` that are the cluster's.

    What a node takes beside the layers (`call_ms`) hangs on the size of what is handed on: it is measured for what
    crosses the cuts of the plan that leaves it out. Where the cluster states it, it stays. Raises PlanError.
    """
    there = cluster.among(nodes)
    model = cut.timed(meter.atom_ms(cut, there.nodes))
    crossing = [piece.transfer_bytes for piece in place(model, there, seconds=PLANNING_S).pieces[:-1]]
    unstated = [node for node in there.nodes if not node.call_ms]
    if not crossing or not unstated:
        return model, cluster
    call_ms = meter.call_ms(unstated, sum(crossing) // len(crossing))
    timed = [
        node.model_copy(update={"call_ms": call_ms[node.name]}) if node.name in call_ms else node
        for node in cluster.nodes
    ]
    return model, cluster.model_copy(update={"nodes": tuple(timed)})


class PlannedVersion:
    """One version, whose pieces can be planned for any of a cluster's nodes."""

    def __init__(self, path: Path, cluster: Cluster, nodes: Collection[str], meter: Meter) -> None:
        """Of the file at `path`, measured on `nodes`. Raises PlanError."""
        self._cut = CutNetwork(path)
        self._model, self._cluster = measured(self._cut, cluster, nodes, meter)
        self._plan: Placement | None = None  # the last one
        self._first: Placement | None = None  # that is taken as it is, where all its nodes are there

    def plan(self, nodes: Collection[str]) -> Placement:
        """For those of the cluster's nodes that are among these; what lay where before stays, as far as it can.

        Raises PlanError where there is no plan.
        """
        first, self._first = self._first, None
        if first is not None and {piece.node for piece in first.pieces} <= set(nodes):
            return first
        cluster = self._cluster.among(nodes)
        previous = self._plan
        made = (
            place(self._model, cluster, seconds=PLANNING_S)
            if previous is None
            else replan(self._model, cluster, previous, seconds=PLANNING_S)
        )
        if not made.feasible:
            raise PlanError(
                f"network {self._model.name}: no plan for {', '.join(sorted(nodes))} ({made.reason}): add nodes"
            )
        self._plan = made
        return made

    def deployment(self, nodes: Collection[str]) -> Deployment:
        """As `plan`, ready to run."""
        return self._cut.deployment(self.plan(nodes), self._cluster)

    def begin_with(self, plan: Placement) -> None:
        """Take a plan that was made before. Raises PlanError where it is of something else."""
        self._cut.deployment(plan, self._cluster)
        self._plan = self._first = plan
