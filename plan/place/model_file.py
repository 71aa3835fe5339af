"""A network's file as what is deployed on a cluster: read, measured, planned, and planned anew.

Words owned here: *version* (of a file: what it held when it was read).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgesight.host.cluster.deployment import Deployment
from edgesight.plan.place.pieces import CutNetwork
from edgesight.plan.place.plan import place, replan
from edgesight.plan.place.problem import Cluster, Node, Placement
from edgesight.plan.profile import PlanError

PLANNING_S: Final = 10.0  # at most
# What each atom of a network takes on these nodes, by name, in ms.
Measure = Callable[[CutNetwork, Sequence[Node]], Mapping[str, Sequence[float]]]


class PlannedVersion:
    """One version, whose pieces can be planned for any of a cluster's nodes."""

    def __init__(self, path: Path, cluster: Cluster, nodes: Collection[str], measure: Measure) -> None:
        """Of the file at `path`, measured on `nodes`. Raises PlanError."""
        self._cut, self._cluster = CutNetwork(path), cluster
        known = [node for node in cluster.nodes if node.name in nodes]
        if not known:
            names = ", ".join(node.name for node in cluster.nodes)
            raise PlanError(
                f"cluster {cluster.name}: none of its nodes ({names}) is there: start them, and name them so"
            )
        self._model = self._cut.timed(measure(self._cut, known))
        self._plan: Placement | None = None  # the last one
        self._first: Placement | None = None  # that is taken as it is, where all its nodes are there

    @property
    def version(self) -> str:
        """That tells it from others."""
        return self._cut.model.version

    def plan(self, nodes: Collection[str]) -> Placement:
        """For those of the cluster's nodes that are among these; what lay where before stays, as far as it can.

        Raises PlanError where there is no plan.
        """
        first, self._first = self._first, None
        if first is not None and {piece.node for piece in first.pieces} <= set(nodes):
            return first
        cluster = self._cluster
        for node in self._cluster.nodes:
            if node.name not in nodes and len(cluster.nodes) > 1:
                cluster = cluster.without(node.name)
        if cluster.nodes[0].name not in nodes:
            raise PlanError(f"cluster {cluster.name}: none of its nodes is there: start one")
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
