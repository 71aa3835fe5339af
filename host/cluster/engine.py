"""A network in pieces on a cluster as an engine of the data centre: what stands before it knows nothing of pieces.

A version is tried beside the one that answers: its pieces are loaded on their nodes, and must give, bit for bit, what
the network gives in one piece. Only then it takes over, and what the older one has in work it ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy.typing as npt

from edgesight.host.cluster.deployment import Deployment
from edgesight.host.cluster.pipeline import Pipeline, PipelineError
from edgesight.host.datacenter import engine
from edgesight.host.datacenter.batching import NO_LEVEL, Done, Limits
from edgesight.host.datacenter.engine import State
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.on_ray.turns import Turns
from edgesight.host.datacenter.repository import Version, check_same
from edgesight.host.doors.served import Code, Refused, TensorForm
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_regular, sha256
from edgesight.host.measures import Kind, Measure
from edgesight.host.ray_cluster import last_line, nodes

_AT_ONCE: Final = 32  # requests that are with a pipeline, which has room for fewer and lets the others wait in line
_AGAIN_S: Final = 1.0

logger = logging.getLogger(__name__)


class Planned(Protocol):
    """A version of the network, which can be planned for any nodes."""

    def deployment(self, nodes: Collection[str]) -> Deployment:
        """For those nodes; raises EdgeSightError."""


Read = Callable[[Path, Collection[str]], Planned]  # the network in a file, for these nodes; raises EdgeSightError


class InPieces:
    """The `Engine` of a cluster whose nodes have a piece each; runs in the loop that makes it."""

    def __init__(self, library: Any, read: Read, limits: Limits | None = None) -> None:
        """In the cluster that Ray's `library` has joined; of what waits for each version, `limits`."""
        self._ray, self._read = library, read
        self._limits = limits or Limits()

    def host(self, version: Version) -> HostedInPieces:
        """As `Engine` says."""
        return HostedInPieces(version, self._ray, self._read, self._limits)

    async def run(self) -> None:
        """As `Engine` says: each version looks after its own nodes."""
        await asyncio.Event().wait()

    def stays(self, hosted: engine.Hosted) -> None:
        """As `Engine` says: none had to go for another."""

    def measures(self, hosted: Mapping[tuple[str, str], engine.Hosted]) -> Sequence[Measure]:
        """As `Engine` says."""
        running = {
            key: one.pipeline
            for key, one in hosted.items()
            if isinstance(one, HostedInPieces) and one.pipeline is not None
        }

        def of_each(name: str, told: str, kind: Kind, value: Callable[[Pipeline], float]) -> Measure:
            return Measure(name, told, kind, ("model", "version"), {key: value(one) for key, one in running.items()})

        return (
            of_each("model_pieces", "Pieces that it runs in.", "gauge", lambda one: len(one.deployment.pieces)),
            of_each("model_mended", "Plans without what was lost.", "counter", lambda one: one.counts.mended),
            of_each("model_calls_lost", "Runs that were lost with a node, and made again.", "counter",
                    lambda one: one.counts.repeated),
            of_each("model_pieces_moved", "Pieces that were loaded after the beginning.", "counter",
                    lambda one: one.counts.moved),
        )  # fmt: skip


class HostedInPieces:
    """The `engine.Hosted` of a pipeline."""

    def __init__(self, version: Version, library: Any, read: Read, limits: Limits) -> None:
        """Of a version that was found."""
        self.version = version
        self.name = version.title
        self.state, self.reason = State.LOADING, ""
        self.inputs: Sequence[TensorForm] = ()
        self.outputs: Sequence[TensorForm] = ()
        self.max_batch_size = 0  # what is planned is one request after the other
        self.takes_pictures = False
        self.bytes, self.measured = version.bytes, False
        self.load_s = 0.0
        self.absent = ""
        self.sha256 = ""
        self.pipeline: Pipeline | None = None
        self._ray, self._read = library, read
        self._patience = limits.patience
        self._turns = Turns(self.name, _AT_ONCE, limits)

    @property
    def faulty(self) -> bool:
        """As `engine.Hosted` says."""
        return self.pipeline is not None and not self.pipeline.working

    @property
    def waiting(self) -> int:
        """As `engine.Hosted` says."""
        return len(self._turns)

    async def begin(self, beside: engine.Hosted | None = None) -> None:
        """As `engine.Hosted` says."""
        begun = time.monotonic()
        path = self.version.path
        try:
            if path is None:
                raise ModelError(f"model {self.name}: has no file, of which pieces could be cut: give model.onnx")
            self.sha256 = sha256(await asyncio.to_thread(read_regular, path))
            there = sorted(await asyncio.to_thread(nodes, self._ray))
            planned = await asyncio.to_thread(self._read, path, there)
            deployment = await asyncio.to_thread(planned.deployment, there)
            check_same(self.version)
            pipeline = Pipeline(self._ray, deployment, planned.deployment)
            await pipeline.start()
        except (EdgeSightError, OSError) as error:
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
        except Exception as error:  # of a file that is odd, whatever reads it may raise anything
            logger.exception("model %s: cannot be loaded", self.name)
            told = f"model {self.name} cannot be loaded ({type(error).__name__}: {last_line(error)}): give another file"
            raise Refused(Code.INTERNAL, told) from error
        self.pipeline, self.state = pipeline, State.READY
        self.inputs, self.outputs = deployment.inputs, deployment.outputs
        self.load_s = time.monotonic() - begun
        where = ", ".join(deployment.nodes)
        logger.info("model %s: loaded in %.2f s, in pieces on %s", self.name, self.load_s, where)

    async def ask(
        self,
        caller: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        wanted: Sequence[str] = (),
        timeout: float | None = None,
        level: int = NO_LEVEL,
    ) -> Done:
        """As `engine.Hosted` says."""
        assert self.pipeline is not None  # as it was begun
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._patience if timeout is None else timeout)
        held = sum(array.nbytes for array in inputs.values())
        async with self._turns.turn(caller, held, 1, until, level) as waited:
            begun = loop.time()
            try:
                outputs = await asyncio.wait_for(self.pipeline.ask(inputs), until - begun)
            except PipelineError as error:
                raise Refused(Code.UNAVAILABLE, str(error), _AGAIN_S) from error
            except asyncio.TimeoutError as error:
                told = f"model {self.name} gave no answer in time: give it more, or ask later"
                raise Refused(Code.DEADLINE_EXCEEDED, told, _AGAIN_S) from error
            took = loop.time() - begun
        return Done({name: outputs[name] for name in wanted or outputs}, waited, (0.0, took, 0.0), 1)

    def limit_rows(self, rows: int) -> None:
        """As `engine.Hosted` says: of one that takes no batches nobody asks it."""

    async def end(self, drain: float) -> None:
        """As `engine.Hosted` says."""
        self.state, self.reason = State.UNLOADING, "it is unloaded"
        await self._turns.close(drain, Refused(Code.UNAVAILABLE, f"model {self.name} is unloaded: ask again", 1.0))
        if self.pipeline is not None:
            await self.pipeline.end()
        self.state, self.reason = State.UNAVAILABLE, "unloaded"
