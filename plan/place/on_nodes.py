"""Times a network on the nodes of a Ray cluster, as its pieces will run there: within the node's limits.

Words owned here: *call* (what a piece takes beside its layers: taking its inputs, and handing its outputs on).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgesight.host.limits import Limits, hold_this_process
from edgesight.host.ray_cluster import nodes
from edgesight.plan.place.pieces import Atoms, CutNetwork
from edgesight.plan.place.problem import Node
from edgesight.plan.profile import PlanError

_CALLS: Final = 150  # for what one takes
_ON_THE_WAY: Final = 4  # calls, so that the node never waits for one


@dataclass(frozen=True)
class Timed:
    """What a node takes: each atom, and a call, in ms."""

    atom_ms: Sequence[float]
    call_ms: float


def timed_on(library: Any, cut: CutNetwork, names: Sequence[Node], repeats: int = 15) -> dict[str, Timed]:
    """By node, what the network takes there; all nodes at the same time, as they will run.

    `library` is Ray's, within the cluster. Raises PlanError for a node on which it does not run.
    """
    there = nodes(library)
    atoms = library.put(cut.atoms())
    handed = np.zeros(cut.handed_bytes, np.uint8)
    made = library.remote(_Timer)
    timers = {
        node.name: made.options(**there[node.name].here()).remote(node.name, Limits(node.cores, node.memory_bytes))
        for node in names
    }
    try:
        measuring = {name: timer.measure.remote(atoms, repeats) for name, timer in timers.items()}
        found = {}
        for name, timer in timers.items():
            try:
                atom_ms = library.get(measuring[name])
                _calls(library, timer, handed, _CALLS // 5)
                found[name] = Timed(atom_ms, _calls(library, timer, handed, _CALLS))
            except library.exceptions.RayError as error:
                why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise PlanError(
                    f"node {name}: the network cannot be timed there ({why}): give the node more memory, or look at "
                    "Ray's log"
                ) from error
    finally:
        for timer in timers.values():
            library.kill(timer)
    return found


def _calls(library: Any, timer: Any, handed: Any, count: int) -> float:
    """Milliseconds of a call, of so many, where there is always another."""
    begun = time.perf_counter()
    waiting: deque[Any] = deque()
    for _ in range(count):
        if len(waiting) == _ON_THE_WAY:
            library.get(waiting.popleft())
        waiting.append(timer.hand_on.remote({"x": handed}))
    library.get(list(waiting))
    return 1e3 * (time.perf_counter() - begun) / count


class _Timer:
    """An actor on the node."""

    def __init__(self, node: str, limits: Limits) -> None:
        """Held as the node's pieces are."""
        if limits != Limits():
            hold_this_process(limits, f"node-{node}")

    def measure(self, atoms: Atoms, repeats: int) -> list[float]:
        """As `Atoms.measure`."""
        return atoms.measure(repeats)

    def hand_on(self, tensors: Any) -> Any:
        """As a piece that computes nothing: what it gives is its own."""
        return {name: value.copy() for name, value in tensors.items()}
