"""Measures, on the nodes of a Ray cluster, what a network and what handing its tensors on takes there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.ray_cluster import last_line, nodes
from edgesight.plan.place.pieces import Atoms, CutNetwork
from edgesight.plan.place.problem import Node
from edgesight.plan.profile import PlanError

_CALLS: Final = 40  # for which what one takes is counted
_FIRST_CALLS: Final = 5  # that warm up


class OnNodes:
    """Measures on nodes, all at the same time.

    A node that is held to a share of a core is not held while it is measured: it counts with its processor time over
    that share.
    """

    def __init__(self, library: Any, repeats: int = 15) -> None:
        """Within the cluster that Ray's `library` has joined; the network is run `repeats` times."""
        self._ray, self._repeats = library, repeats

    def atom_ms(self, cut: CutNetwork, named: Sequence[Node]) -> dict[str, list[float]]:
        """By node, what each atom of the network takes there in ms.

        Raises PlanError for a node on which the network does not run.
        """
        atoms, there = self._ray.put(cut.atoms()), nodes(self._ray)
        made = self._ray.remote(_measured)
        tasks = {
            node.name: made.options(**there[node.name].here(), max_retries=0).remote(atoms, self._repeats)
            for node in named
        }
        found = {node.name: self._got(node, tasks[node.name]) for node in named}
        return {node.name: [_held(node, ms) for ms in found[node.name]] for node in named}

    def call_ms(self, named: Sequence[Node], size: int) -> dict[str, float]:
        """By node, what taking a tensor of `size` bytes and giving another one takes there, in ms.

        Raises PlanError for a node that does not answer.
        """
        there, made = nodes(self._ray), self._ray.remote(_Calls)
        actors = {node.name: made.options(**there[node.name].here()).remote() for node in named}
        value = np.zeros(size, np.uint8)
        for place in range(_FIRST_CALLS + _CALLS):
            if place == _FIRST_CALLS:
                begun = {node.name: self._got(node, actors[node.name].processor_s.remote()) for node in named}
            # Each is sent anew, as Ray sends tensors of this size.
            tasks = {node.name: actors[node.name].run.remote(value) for node in named}
            self._ray.wait(list(tasks.values()), num_returns=len(tasks), fetch_local=False)
        ended = {node.name: self._got(node, actors[node.name].processor_s.remote()) for node in named}
        for actor in actors.values():
            self._ray.kill(actor)
        return {node.name: _held(node, 1e3 * (ended[node.name] - begun[node.name]) / _CALLS) for node in named}

    def _got(self, node: Node, task: Any) -> Any:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            raise PlanError(
                f"node {node.name}: the network cannot be timed there ({last_line(error)}): look at Ray's log, or plan "
                "without it"
            ) from error


def _held(node: Node, processor_ms: float) -> float:
    return processor_ms / min(node.cores or 1.0, 1.0)


def _measured(atoms: Atoms, repeats: int) -> list[float]:
    return atoms.measure(repeats)


class _Calls:
    """What a piece does beside its layers."""

    def run(self, tensor: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return tensor.copy()

    def processor_s(self) -> float:
        """Of all threads of its process, of which Ray has some."""
        return time.process_time()
