"""Measures, on the nodes of a Ray cluster, what a network and what handing its tensors on takes there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from edgesight.host.limits import held
from edgesight.host.ray_cluster import last_line, nodes
from edgesight.plan.place.pieces import Atoms, CutNetwork
from edgesight.plan.place.problem import Node
from edgesight.plan.profile import PlanError

_CALLS: Final = 60  # for which what one takes is counted
_FIRST_CALLS: Final = 10  # that warm up
_AT_ONCE: Final = 3  # so that another waits while one is taken

Found = TypeVar("Found")


class OnNodes:
    """Measures on nodes, all at the same time. What measures is held to a node's cores, and to nothing else."""

    def __init__(self, library: Any, repeats: int = 15) -> None:
        """Within the cluster that Ray's `library` has joined; the network is run `repeats` times."""
        self._ray, self._repeats = library, repeats

    def atom_ms(self, cut: CutNetwork, named: Sequence[Node]) -> dict[str, list[float]]:
        """By node, what each atom of the network takes there in ms.

        Raises PlanError for a node on which the network does not run.
        """
        atoms, made = self._ray.put(cut.atoms()), self._ray.remote(_measured)

        def one(node: Node) -> list[float]:
            task = made.options(**self._here(node), max_retries=0)
            found: list[float] = self._ray.get(task.remote(atoms, self._repeats, _share(node)))
            return found

        return self._on_each(named, one)

    def call_ms(self, named: Sequence[Node], size: int) -> dict[str, float]:
        """By node, what taking a tensor of `size` bytes and giving another one takes there, in ms.

        Raises PlanError for a node that does not answer.
        """
        made, value = self._ray.remote(_Calls), np.zeros(size, np.uint8)

        def one(node: Node) -> float:
            actor = made.options(**self._here(node)).remote()
            try:
                return self._call_ms(actor, value, _share(node))
            finally:
                self._ray.kill(actor)

        return self._on_each(named, one)

    def _call_ms(self, actor: Any, value: npt.NDArray[np.uint8], cores: float | None) -> float:
        def calls(count: int) -> None:
            waiting: list[Any] = []
            for _ in range(count):
                waiting.append(actor.run.remote(value))  # sent anew each time, as Ray sends tensors of this size
                if len(waiting) >= _AT_ONCE:
                    _, waiting = self._ray.wait(waiting, fetch_local=False)
            self._ray.wait(waiting, num_returns=len(waiting), fetch_local=False)

        calls(_FIRST_CALLS)
        self._ray.get(actor.begin.remote(cores))
        calls(_CALLS)
        return 1e3 * float(self._ray.get(actor.end.remote())) / _CALLS

    def _here(self, node: Node) -> dict[str, Any]:
        """Ray's options of what runs there; raises PlanError where it was lost meanwhile."""
        found = nodes(self._ray).get(node.name)
        if found is None:
            raise PlanError(f"node {node.name}: was lost before the network was timed there: load it again")
        return found.here()

    def _on_each(self, named: Sequence[Node], measure: Callable[[Node], Found]) -> dict[str, Found]:
        def one(node: Node) -> Found:
            try:
                return measure(node)
            except self._ray.exceptions.RayError as error:
                raise PlanError(
                    f"node {node.name}: the network cannot be timed there ({last_line(error)}): look at Ray's log, or "
                    "plan without it"
                ) from error

        with ThreadPoolExecutor(len(named)) as threads:
            return dict(zip((node.name for node in named), threads.map(one, named), strict=True))


def _share(node: Node) -> float | None:
    """Of the one core that a piece can use."""
    return None if node.cores is None or node.cores >= 1 else node.cores


def _measured(atoms: Atoms, repeats: int, cores: float | None) -> list[float]:
    return atoms.measure(repeats, cores)


class _Calls:
    """What a piece does beside its layers."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._cores: float | None = None
        self._begun = 0.0

    def run(self, tensor: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return tensor.copy()

    def begin(self, cores: float | None) -> None:
        """Count from now on, held to so many cores."""
        if cores is not None:
            self._stack.enter_context(held(cores))
        self._cores = cores
        self._begun = self._now()

    def end(self) -> float:
        """Seconds since then: by the clock where it is held, else of the processor, which others cannot lengthen."""
        took = self._now() - self._begun
        self._stack.close()
        return took

    def _now(self) -> float:
        return time.process_time() if self._cores is None else time.monotonic()
