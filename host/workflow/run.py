"""Runs a workflow on the workers of a Ray cluster, as it was planned.

Each station is an actor on its worker. A request goes from operator to operator; where one has several workers, to
those and as often as the plan's flows say. Ray carries what goes from one to another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.cluster.deployment import Tensors
from edgesight.host.cluster.runner import PieceRunner, Told
from edgesight.host.doors.tensors import DATATYPES
from edgesight.host.errors import EdgeSightError
from edgesight.host.ray_cluster import ClusterError, last_line, nodes
from edgesight.host.workflow.execution import Execution, Flow, Operator, Station

LOAD_S: Final = 60.0  # within which a station is loaded
MOST_ON_WAY: Final = 256  # requests; more are refused


class WorkflowError(EdgeSightError):
    """A workflow that cannot be run, or a request that it cannot answer: says why and what to do."""


@dataclass
class Counts:
    """Since the beginning.

    Attributes:
        answered: requests.
        messages: that went from a source (no worker) or worker to a worker, by operator and worker of both.
    """

    answered: int = 0
    messages: Counter[tuple[str, str | None, str, str]] = field(default_factory=Counter)


class Runner:
    """Runs in the loop that makes it, between `start` and `end`."""

    def __init__(self, library: Any, execution: Execution) -> None:
        """Of an `execution` in the cluster that Ray's `library` has joined."""
        self.execution = execution
        self.counts = Counts()
        self._ray = library
        self._actors: dict[tuple[str, str], Any] = {}  # by operator and worker
        self._on_way = 0
        self._routes = _Routes(execution)

    async def start(self) -> None:
        """Load all stations. Raises ClusterError where a worker is not there, WorkflowError where one cannot load."""
        there = await asyncio.to_thread(nodes, self._ray)
        made = self._ray.remote(PieceRunner)
        for station in self.execution.stations:
            node = there.get(station.piece.node)
            if node is None:
                raise ClusterError(
                    f"worker {station.piece.node} is not in the cluster, which has {', '.join(sorted(there))}: begin "
                    f"it by `ray start --labels edgesight-node={station.piece.node}` (one alone, where two have this "
                    "name), or plan without it"
                )
            self._actors[_key(station)] = made.options(**node.here()).remote(station.piece)
        try:
            await asyncio.wait_for(self._said(), LOAD_S)
        except (self._ray.exceptions.RayError, asyncio.TimeoutError) as error:
            await self.end()
            raise WorkflowError(f"a station did not load ({last_line(error)}): look at Ray's log") from error

    async def end(self) -> None:
        """Give everything back."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()

    async def told(self) -> dict[tuple[str, str], Told]:
        """What each station says of itself, by operator and worker. Raises WorkflowError where one is lost."""
        try:
            return await self._said()
        except self._ray.exceptions.RayError as error:
            raise WorkflowError(f"a station is lost ({last_line(error)}): look at Ray's log") from error

    async def _said(self) -> dict[tuple[str, str], Told]:
        said = await asyncio.gather(*(actor.told.remote() for actor in self._actors.values()))
        return dict(zip(self._actors, said, strict=True))

    async def ask(self, inputs: Tensors) -> Tensors:
        """The sink's outputs for what each source brings. Raises WorkflowError."""
        self._check(inputs)
        if self._on_way >= MOST_ON_WAY:
            raise WorkflowError(f"{self._on_way} requests are on their way, the most that may: ask more slowly")
        self._on_way += 1
        try:
            return await self._through(inputs)
        except self._ray.exceptions.RayError as error:
            raise WorkflowError(f"a station failed ({last_line(error)}): ask again, or look at Ray's log") from error
        finally:
            self._on_way -= 1

    async def _through(self, inputs: Tensors) -> Tensors:
        given: dict[str, Any] = {name: {name: value} for name, value in inputs.items()}
        at: dict[str, str | None] = dict.fromkeys(inputs)
        routes = []
        for operator in self.execution.operators:
            worker = self._routes.worker(operator, at)
            at[operator.name] = worker
            parts = [given[name] for name in operator.taken]
            actor = self._actors[operator.name, worker]
            given[operator.name] = actor.run_joined.remote(list(operator.taken.values()), *parts)
            routes += [(name, at[name], operator.name, worker) for name in operator.taken]
        ends = [self.execution.sink, *(self._unread() - {self.execution.sink})]
        found: Tensors = (await asyncio.gather(*(given[name] for name in ends)))[0]
        self.counts.messages.update(routes)
        self.counts.answered += 1
        return found

    def _unread(self) -> set[str]:
        """Operators that nobody takes from."""
        taken = {name for operator in self.execution.operators for name in operator.taken}
        return {operator.name for operator in self.execution.operators} - taken

    def _check(self, inputs: Tensors) -> None:
        sources = self.execution.sources
        if inputs.keys() != sources.keys():
            raise WorkflowError(f"inputs {', '.join(inputs) or 'none'}: give {', '.join(sources)}")
        for name, value in inputs.items():
            form = sources[name]
            if not _fits(value, form.shape):
                raise WorkflowError(f"input {name}: is {list(value.shape)}; give {list(form.shape)}")
            if value.dtype != DATATYPES[form.datatype]:
                raise WorkflowError(f"input {name}: is {value.dtype}; give {DATATYPES[form.datatype]}")


class _Routes:
    """Says which worker is next, so that messages go as the plan's flows say."""

    def __init__(self, execution: Execution) -> None:
        self._planned: dict[tuple[str, str | None, str], dict[str, float]] = {}
        self._sent: Counter[tuple[str, str | None, str, str]] = Counter()
        for flow in execution.flows:
            self._add(flow)

    def _add(self, flow: Flow) -> None:
        of = self._planned.setdefault((flow.source, flow.source_worker, flow.target), {})
        of[flow.target_worker] = of.get(flow.target_worker, 0.0) + flow.rate

    def worker(self, operator: Operator, at: Mapping[str, str | None]) -> str:
        """For a request whose other operators run `at` these workers: the one that lags most behind its flows."""
        edges = [(name, at[name], operator.name) for name in operator.taken]
        able = set.intersection(*(set(self._planned.get(edge, ())) for edge in edges))
        if not able:
            raise WorkflowError(f"operator {operator.name}: no worker has a flow from all that it takes: plan anew")

        def lag(worker: str) -> float:
            behind = 0.0
            for edge in edges:
                flows = self._planned[edge]
                sent = sum(self._sent[(*edge, other)] for other in flows)
                behind += flows[worker] / sum(flows.values()) * (sent + 1) - self._sent[(*edge, worker)]
            return behind

        chosen = max(sorted(able), key=lag)
        for edge in edges:
            self._sent[(*edge, chosen)] += 1
        return chosen


def _key(station: Station) -> tuple[str, str]:
    return station.operator, station.piece.node


def _fits(value: npt.NDArray[np.generic], shape: tuple[int, ...]) -> bool:
    return value.ndim == len(shape) and all(want in (-1, have) for want, have in zip(shape, value.shape, strict=True))
