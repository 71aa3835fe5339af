"""A network over a cluster behind the doors of the Open Inference Protocol; a newer version takes over as it answers.

A version is tried beside the one that answers: its pieces are loaded on their nodes, and must give, bit for bit, what
the network gives in one piece. Only then it takes over, and what the older one has in work it ends. A request is
answered by one version alone, which the answer names.

Words owned here: *newest* (what reads the network's file and plans it).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

from edgesight.host.cluster.deployment import Deployment, Tensors
from edgesight.host.cluster.pipeline import Pipeline, PipelineError
from edgesight.host.datacenter.batching import Done
from edgesight.host.datacenter.counts import Counts
from edgesight.host.doors.served import (
    Caller,
    Code,
    IndexEntry,
    ModelMetadata,
    ModelStatistics,
    Parameters,
    Refused,
    Request,
    Response,
    Tensor,
    Wanted,
    own_version,
    shape_of,
)
from edgesight.host.doors.tensors import invalid
from edgesight.host.errors import EdgeSightError
from edgesight.host.measures import Measure, gauge, plain
from edgesight.host.ray_cluster import nodes
from edgesight.host.recent import Seen

LOOK_S: Final = 1.0  # between looks whether there is a newer version
_WAITING: Final = 256  # requests, of all callers, in equal parts
_BYTES: Final = 256 << 20  # of their inputs
_DRAIN_S: Final = 30.0
_AGAIN_S: Final = 1.0

logger = logging.getLogger(__name__)


class Version(Protocol):
    """A version of the network, whose pieces can be planned for any nodes."""

    @property
    def version(self) -> str:
        """That tells it from others."""

    def deployment(self, nodes: Collection[str]) -> Deployment:
        """For those nodes; raises EdgeSightError."""


class Newest(Protocol):
    """Where versions come from."""

    name: str

    def changed(self) -> bool:
        """Whether there may be a newer one than was read last."""

    def read(self, nodes: Collection[str]) -> Version:
        """The newest, planned with what these nodes take; raises EdgeSightError."""


class ClusterModel:
    """What a door needs (`edgesight.host.doors.served.Served`) over one network; works between `start` and `drain`."""

    name = "edgesight"
    extensions: Sequence[str] = ("model_repository", "statistics")

    def __init__(self, library: Any, newest: Newest) -> None:
        """In the cluster that Ray's `library` has joined; runs in the loop that makes it."""
        self.version = own_version()
        self._ray, self._newest = library, newest
        self._pipeline: Pipeline | None = None
        self._counts = Counts()
        self._waiting: Counter[str] = Counter()  # requests, by caller
        self._taking = False
        self._fault = ""  # of the last version that was tried
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load the newest version, and look for newer ones from now on. Raises EdgeSightError where it does not run."""
        await self._go_over()
        self._taking = True
        self._keep(self._watch())

    async def drain(self) -> None:
        """Take no more requests, answer those that wait for at most some seconds, and end."""
        self._taking = False
        ends = time.monotonic() + _DRAIN_S
        while self._waiting.total() and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipeline is not None:
            await self._pipeline.end()

    # --------------------------------------------------------------------------------------------------------- looking

    def live(self) -> bool:
        """As `Served` says."""
        return True

    def ready(self) -> bool:
        """As `Served` says."""
        return self._taking and self._pipeline is not None

    def model_ready(self, name: str, version: str) -> bool:
        """As `Served` says."""
        return self.ready() and name == self._newest.name and version in ("", self._running().deployment.version)

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """As `Served` says; its parameters say which node has which piece."""
        deployment = self._asked(name, version).deployment
        parameters = {f"piece_{number}": piece.node for number, piece in enumerate(deployment.pieces)}
        return ModelMetadata(
            name,
            [deployment.version],
            "onnxruntime_onnx",
            deployment.inputs,
            deployment.outputs,
            parameters={**parameters, "planned_ms_between_answers": deployment.planned_ms},
        )

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """As `Served` says."""
        running = self._asked(name or self._newest.name, version).deployment
        return [self._counts.told(self._newest.name, running.version)]

    def measures(self) -> Sequence[Measure]:
        """As `Served` says."""
        if self._pipeline is None:
            return ()
        counts = self._pipeline.counts
        return (
            gauge("cluster_pieces", "Pieces of the network.", len(self._pipeline.deployment.pieces)),
            plain("cluster_mended", "Plans that did without what was lost, of this version.", counts.mended),
            plain("cluster_repeated", "Runs that were lost and asked for again, of this version.", counts.repeated),
            plain("cluster_moved", "Pieces that were loaded after the beginning, of this version.", counts.moved),
        )

    def recent(self) -> Sequence[Seen]:
        """As `Served` says: none are kept."""
        return ()

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        """As `Served` says."""
        if self._pipeline is None:
            return [] if ready else [IndexEntry(self._newest.name, "", "UNAVAILABLE", self._fault)]
        state = "READY" if self._taking else "UNLOADING"
        return [IndexEntry(self._newest.name, self._running().deployment.version, state, self._fault)]

    # ----------------------------------------------------------------------------------------------- a newer version

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says: read the file, and go over to what it holds; where that fails all stays as it is."""
        if name != self._newest.name:
            raise Refused(Code.NOT_FOUND, f"model {name!r} is not here: ask for {self._newest.name}")
        if parameters:
            raise Refused(Code.UNIMPLEMENTED, f"load has no parameter {next(iter(parameters))!r} here: leave it out")
        try:
            await self._go_over()
        except EdgeSightError as error:
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
        logger.info("network %s: loaded, as %s asked", name, caller.name)

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says: a cluster has one network, and ends with it."""
        raise Refused(Code.UNIMPLEMENTED, f"{self._newest.name} is all that this cluster has: end its program instead")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(self._newest.changed):
                try:
                    await self._go_over()
                except EdgeSightError as error:
                    logger.error("network %s: stays as it is (%s)", self._newest.name, error)

    async def _go_over(self) -> None:
        """Run the newest version in the place of the one that runs; raises EdgeSightError, and all stays as it is."""
        async with self._changing:
            try:
                there = await asyncio.to_thread(nodes, self._ray)
                version = await asyncio.to_thread(self._newest.read, sorted(there))
                if self._pipeline is not None and version.version == self._pipeline.deployment.version:
                    self._fault = ""
                    return
                deployment = await asyncio.to_thread(version.deployment, sorted(there))
                pipeline = Pipeline(self._ray, deployment, version.deployment)
                await pipeline.start()
            except EdgeSightError as error:
                self._fault = str(error)
                raise
            before, self._pipeline, self._fault = self._pipeline, pipeline, ""
            self._counts = Counts()
            where = ", ".join(deployment.nodes)
            logger.info("network %s: version %s runs on %s", deployment.name, deployment.version, where)
            if before is not None:
                self._keep(before.end_when_idle(_DRAIN_S))

    # ------------------------------------------------------------------------------------------------------ inference

    async def infer(self, request: Request, caller: Caller) -> Response:
        """As `Served` says."""
        if not self._taking:
            raise Refused(Code.UNAVAILABLE, "the cluster starts or ends: ask again", _AGAIN_S)
        pipeline, counts = self._asked(request.model, request.version), self._counts
        deployment = pipeline.deployment
        inputs, wanted = _inputs_of(request, deployment), _wanted_of(request, deployment)
        self._check_room(caller, sum(one.nbytes for one in inputs.values()))
        begun = time.perf_counter()
        self._waiting[caller.name] += 1
        try:
            outputs = await asyncio.wait_for(pipeline.ask(inputs), request.timeout)
        except (PipelineError, asyncio.TimeoutError) as error:
            counts.failed(time.perf_counter() - begun)
            if isinstance(error, PipelineError):
                raise Refused(Code.UNAVAILABLE, str(error), _AGAIN_S) from error
            raise Refused(
                Code.DEADLINE_EXCEEDED,
                f"no answer in {request.timeout:.3g} s: give it more time, or ask later",
                _AGAIN_S,
            ) from error
        finally:
            self._waiting[caller.name] -= 1
            if not self._waiting[caller.name]:
                del self._waiting[caller.name]
        took = time.perf_counter() - begun
        counts.succeeded(Done(outputs, 0.0, (0.0, took, 0.0), 1), 1, took)
        forms = {port.name: port.datatype for port in deployment.outputs}
        tensors = [Tensor(name, forms[name], outputs[name]) for name in wanted]
        return Response(request.model, deployment.version, tensors, request.id)

    def _running(self) -> Pipeline:
        if self._pipeline is None:
            raise Refused(Code.UNAVAILABLE, f"network {self._newest.name} does not run yet: ask again", _AGAIN_S)
        return self._pipeline

    def _asked(self, name: str, version: str) -> Pipeline:
        if name != self._newest.name:
            raise Refused(Code.NOT_FOUND, f"model {name!r} is not here: ask for {self._newest.name}")
        pipeline = self._running()
        if version not in ("", pipeline.deployment.version):
            raise Refused(
                Code.NOT_FOUND, f"version {version!r} does not run: ask for {pipeline.deployment.version}, or for none"
            )
        return pipeline

    def _check_room(self, caller: Caller, held: int) -> None:
        """Raise Refused where the caller has as many requests waiting as it may."""
        others = len(self._waiting.keys() - {caller.name})
        most = max(min(_WAITING, _BYTES // max(held, 1)) // (others + 1), 1)
        if self._waiting[caller.name] >= most:
            raise Refused(
                Code.RESOURCE_EXHAUSTED, f"{most} requests of yours wait, the most that may: ask again later", _AGAIN_S
            )

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _inputs_of(request: Request, deployment: Deployment) -> Tensors:
    """The inputs; raises Refused where they are not exactly what the network takes."""
    known = {port.name: port for port in deployment.inputs}
    found = {}
    for tensor in request.inputs:
        port = known.get(tensor.name)
        if port is None or tensor.name in found:
            raise invalid(f"input {tensor.name!r}: send {', '.join(known)}, each once")
        if tensor.datatype != port.datatype or shape_of(tensor) != port.shape:
            raise invalid(
                f"input {tensor.name!r} is {tensor.datatype} {list(shape_of(tensor))}: {request.model} takes "
                f"{port.datatype} {list(port.shape)}"
            )
        found[tensor.name] = tensor.values
    absent = [name for name in known if name not in found]
    if absent:
        raise invalid(f"model {request.model} also takes input {absent[0]!r}: send it")
    return found


def _wanted_of(request: Request, deployment: Deployment) -> list[str]:
    known = [port.name for port in deployment.outputs]
    wanted: Sequence[Wanted] = request.outputs or [Wanted(name) for name in known]
    for one in wanted:
        if one.name not in known or one.classes:
            raise invalid(f"output {one.name!r}: ask for the tensors {', '.join(known)}")
    return list(dict.fromkeys(one.name for one in wanted))
