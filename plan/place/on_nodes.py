"""Times a network on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgesight.host.ray_cluster import last_line, nodes
from edgesight.plan.place.pieces import Atoms, CutNetwork
from edgesight.plan.place.problem import Node
from edgesight.plan.profile import PlanError


def timed_on(library: Any, cut: CutNetwork, names: Sequence[Node], repeats: int = 15) -> dict[str, list[float]]:
    """By node, what each atom of the network takes there in ms; all nodes are timed at the same time.

    A node that is held to a share of a core takes its processor time over that share. `library` is Ray's, within the
    cluster. Raises PlanError for a node on which the network does not run.
    """
    there = nodes(library)
    atoms = library.put(cut.atoms())
    made = library.remote(_measured)
    tasks = {node.name: made.options(**there[node.name].here(), max_retries=0).remote(atoms, repeats) for node in names}
    found = {}
    for node in names:
        try:
            atom_ms = library.get(tasks[node.name])
        except library.exceptions.RayError as error:
            raise PlanError(
                f"node {node.name}: the network cannot be timed there ({last_line(error)}): look at Ray's log, or plan "
                "without it"
            ) from error
        found[node.name] = [ms / min(node.cores or 1.0, 1.0) for ms in atom_ms]
    return found


def _measured(atoms: Atoms, repeats: int) -> list[float]:
    return atoms.measure(repeats)
