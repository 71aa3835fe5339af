"""One version of a model in replicas: loaded and tried in one or all, then asked wherever Serve sends a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter import engine
from edgesight.host.datacenter.batching import NO_LEVEL, Done, Limits
from edgesight.host.datacenter.blocks import bytes_of
from edgesight.host.datacenter.engine import State
from edgesight.host.datacenter.executors.base import ModelError, first_line
from edgesight.host.datacenter.on_ray.calls import Calls
from edgesight.host.datacenter.on_ray.messages import Call, Described, Given, Packed
from edgesight.host.datacenter.on_ray.place import Place
from edgesight.host.datacenter.on_ray.turns import Turns
from edgesight.host.datacenter.repository import Version, check_same, open_file
from edgesight.host.datacenter.trial import Outputs, Ports, try_on_zeros
from edgesight.host.datacenter.workers import LOAD_WITHIN
from edgesight.host.doors.served import Code, Refused, TensorForm
from edgesight.host.files import read_regular, sha256

_HELD_BYTES = 256  # by a request beside its arrays

logger = logging.getLogger(__name__)


class HostedOnRay:
    """The `engine.Hosted` of replicas."""

    def __init__(self, version: Version, place: Place, limits: Limits, everywhere: bool) -> None:
        """Of a version that was found; `everywhere`: all replicas load it, as each has room for it."""
        self.version = version
        self.name = version.title
        self.state, self.reason = State.LOADING, ""
        self.inputs: Sequence[TensorForm] = ()
        self.outputs: Sequence[TensorForm] = ()
        self.max_batch_size = 0
        self.takes_pictures = False
        self.bytes, self.measured = version.bytes, False
        self.load_s = 0.0
        self.absent = ""  # where it is not in memory a replica loads it, which Serve sees to
        self.calls = Calls(self.name)
        self._place, self._everywhere = place, everywhere
        self._turns = Turns(self.name, place.at_once, limits)
        self._patience = limits.patience
        self._packed: Packed | None = None
        self._describe: Any = None  # Serve's handles of what a replica does
        self._infer: Any = None
        self._most = 0  # rows that go together; 0: as many as the model takes

    @property
    def sha256(self) -> str:
        """As `engine.Hosted` says."""
        return self._packed.sha256 if self._packed is not None else ""

    @property
    def faulty(self) -> bool:
        """As `engine.Hosted` says."""
        return self.calls.failing

    @property
    def waiting(self) -> int:
        """As `engine.Hosted` says."""
        return len(self._turns)

    async def begin(self, beside: engine.Hosted | None = None) -> None:
        """As `engine.Hosted` says; what is there answers meanwhile, in the same replicas."""
        try:
            packed = await asyncio.to_thread(self._pack)
            self._packed = packed
            self._describe, self._infer = (
                self._place.handle.options(method_name=method, multiplexed_model_id=packed.id)
                for method in ("describe", "infer")
            )
            for described in await self._described(packed):
                if described.fault:
                    raise ModelError(f"at {described.where}: {described.fault}; mend it there, or the model")
                self._take(described)
            await try_on_zeros(self.name, self._ports, self._tried)
            check_same(self.version)
        except ModelError as error:
            self._packed = None
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
        except BaseException:
            self._packed = None
            raise
        self.state = State.READY
        logger.info("model %s: loaded in %.2f s, file %s", self.name, self.load_s, packed.sha256[:12])

    async def ask(
        self,
        caller: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        wanted: Sequence[str] = (),
        timeout: float | None = None,
        level: int = NO_LEVEL,
    ) -> Done:
        """As `engine.Hosted` says."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._patience if timeout is None else timeout)
        rows = len(next(iter(inputs.values()))) if self.max_batch_size else 1
        held = sum(bytes_of(array) for array in inputs.values()) + _HELD_BYTES
        async with self._turns.turn(caller, held, rows, until, level) as waited:
            begun = loop.time()
            given = await self._given(inputs, tuple(wanted), rows, until)
            took = loop.time() - begun
        if given.unread:
            raise Refused(Code.INVALID_ARGUMENT, given.unread)
        if given.fault:
            raise Refused(Code.INTERNAL, f"model {self.name} failed: {given.fault}")
        return Done(given.outputs, waited + max(took - sum(given.seconds), 0.0), given.seconds, given.batch)

    def limit_rows(self, rows: int) -> None:
        """As `engine.Hosted` says."""
        self._most = rows

    async def end(self, drain: float) -> None:
        """As `engine.Hosted` says; a replica has it in memory until its place is wanted for another."""
        self.state, self.reason = State.UNLOADING, "it is unloaded"
        await self._turns.close(drain, Refused(Code.UNAVAILABLE, f"model {self.name} is unloaded: ask again", 1.0))
        self._packed = None  # and with it the file's bytes
        self.state, self.reason = State.UNAVAILABLE, "unloaded"

    # ------------------------------------------------------------------------------------------------------- loading

    @property
    def _ports(self) -> Ports:
        return Ports(self.inputs, self.outputs, self.max_batch_size)

    def _pack(self) -> Packed:
        """Put the file where replicas get it: whatever becomes of its name, this version stays what it is."""
        version = self.version
        descriptor = open_file(version)
        if descriptor < 0:
            return Packed.of(version.recipe, version.number, sha256(b""), ())
        try:
            with open(descriptor, "rb"):
                content = read_regular(Path(f"/proc/self/fd/{descriptor}"))
            return Packed.of(version.recipe, version.number, sha256(content), (self._place.put(content),))
        except Exception as error:  # Ray's share no base class with the system's
            raise ModelError(
                f"{version.path} cannot be given to the cluster ({type(error).__name__}: {first_line(error)}): give "
                "its nodes more memory for objects by `ray start --object-store-memory`"
            ) from error

    async def _described(self, packed: Packed) -> list[Described]:
        """By each replica that has loaded it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LOAD_WITHIN
        first: Described = await self.calls.make(lambda: self._describe.remote(packed), until, LOAD_WITHIN)
        if first.fault or not self._everywhere:
            return [first]
        left = max(until - loop.time(), 1.0)
        told = await self._describe.broadcast("describe", packed).results_async(timeout_s=left, return_exceptions=True)
        # One that is lost meanwhile has nothing to say; who takes its place loads the model when it is asked.
        return [first, *(one for one in told if isinstance(one, Described))]

    def _take(self, described: Described) -> None:
        if self.measured and described.ports != self._ports:
            raise ModelError(f"at {described.where} it has other inputs and outputs: install the same libraries there")
        self.inputs, self.outputs = described.ports.inputs, described.ports.outputs
        self.max_batch_size, self.takes_pictures = described.ports.max_batch_size, described.takes_pictures
        self.bytes, self.measured = max(described.bytes, self.bytes), True
        self.load_s = self.calls.load_s = max(described.seconds, self.load_s)

    async def _tried(self, zeros: Outputs, rows: int) -> Outputs:
        until = asyncio.get_running_loop().time() + LOAD_WITHIN  # it may compile
        given = await self._given(zeros, (), rows, until, LOAD_WITHIN)
        if given.fault:
            raise ModelError(given.fault)
        return given.outputs

    # -------------------------------------------------------------------------------------------------------- asking

    async def _given(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        wanted: tuple[str, ...],
        rows: int,
        until: float,
        hangs_s: float | None = None,
    ) -> Given:
        """Of the version that this is; raises Refused."""
        packed = self._packed
        if packed is None:
            raise Refused(Code.UNAVAILABLE, f"model {self.name} is unloaded: ask again", 1.0)
        call = Call(packed.without_file(), inputs, wanted, rows, self._most)
        given: Given = await self.calls.make(lambda: self._infer.remote(call), until, hangs_s, _not_loaded)
        if given.lacks:
            whole = replace(call, model=packed)
            given = await self.calls.make(lambda: self._infer.remote(whole), until, hangs_s, _not_loaded)
        if given.sha256 != packed.sha256:  # nobody must take another version's answer for this one's
            raise Refused(
                Code.INTERNAL,
                f"model {self.name}: replica {given.replica} answered by a file of checksum {given.sha256[:12]}, not "
                f"{packed.sha256[:12]}: report it",
            )
        return given


def _not_loaded(given: Given) -> str:
    """Why the replica has not the model; empty: it has. Another may have, or get it."""
    return "" if given.loaded else f"replica {given.replica} cannot load it ({given.fault})"
