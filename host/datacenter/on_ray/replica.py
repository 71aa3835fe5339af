"""A replica: it holds models, joins what comes for one of them into batches, and answers.

Serve keeps the models that were asked last (`serve.multiplexed`), and makes batches of requests for one model
(`serve.batch`). Those of Serve would go as soon as they come, or each wait for a time that is the same idle and busy.
So that time is set by what goes on: none while nothing is run, else what a run usually takes.

Words owned here: loaded.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors import Executor, ModelError, Recipe, make
from edgesight.host.datacenter.executors.base import PICTURE, first_line
from edgesight.host.datacenter.on_ray.messages import Call, Described, Given, Packed
from edgesight.host.datacenter.on_ray.settings import HANGS_S, JOINED, Settings
from edgesight.host.datacenter.trial import Ports
from edgesight.host.datacenter.worker import rss
from edgesight.host.doors.served import own_version
from edgesight.host.files import sha256

_FETCH_S = 60.0  # for a model's file to come from the door
_AT_ONCE = 2  # batches: one may wait for its model's load
_SMOOTHED = 4  # runs over which their time is smoothed
_WAIT_MOST = 0.1  # seconds that a request waits for others, at most
_FAULT_CHARACTERS = 500  # of what a model says of itself
_wanted: contextvars.ContextVar[Packed] = contextvars.ContextVar("wanted")  # what the load that is asked for is of


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory."""

    packed: Packed
    executor: Executor
    bytes: int
    seconds: float
    free: asyncio.Lock = field(default_factory=asyncio.Lock)  # an executor runs from one thread at a time

    @property
    def ports(self) -> Ports:
        """As its executor tells."""
        return Ports(self.executor.inputs, self.executor.outputs, self.executor.max_batch_size)


class _Lacks(ModelError):
    """A model that is to be loaded, and its file was left out."""


class Replica:
    """What Serve makes as many of as are wanted."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """With fields of `Settings`; in Serve alone."""
        import ray
        from ray import serve

        self._settings = Settings.model_validate(settings)
        self._name = serve.get_replica_context().replica_id.unique_id
        self._where, self._node = ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id()
        # Those that Serve keeps, as long as it does.
        self._there: weakref.WeakValueDictionary[str, Loaded] = weakref.WeakValueDictionary()
        self._runs: dict[int, float] = {}  # that go on: when they began
        self._usual = 0.0  # seconds of a run

        # Serve tells functions from methods by looking for their names in their first argument.
        async def load_packed(model_id: str) -> Loaded:
            loaded = await asyncio.to_thread(_load, _wanted.get())
            self._there[model_id] = loaded
            return loaded

        async def run_joined(calls: list[Call]) -> list[Given]:
            return await self._together(calls)

        self._model = serve.multiplexed(load_packed, max_num_models_per_replica=self._settings.models)
        self._joined = serve.batch(
            run_joined, max_batch_size=JOINED, batch_wait_timeout_s=0.0, max_concurrent_batches=_AT_ONCE
        )

    async def told(self) -> dict[str, Any]:
        """What it was built with, EdgeSight's version, and which process it is of which of Ray's nodes."""
        return {
            "settings": self._settings.model_dump(),
            "version": own_version(),
            "process": os.getpid(),
            "node": self._node,
        }

    async def describe(self, packed: Packed) -> Described:
        """Load the model, if it is not, and tell of it."""
        try:
            loaded = await self._loaded(packed)
        except ModelError as error:
            return Described(Ports((), (), 0), fault=str(error), where=self._where)
        executor = loaded.executor
        pictures = executor.run_pictures is not None
        return Described(loaded.ports, pictures, loaded.bytes, loaded.seconds, where=self._where)

    async def infer(self, call: Call) -> Given:
        """Answer, together with others."""
        if call.model.of_file and not call.model.content and call.model.id not in self._there:
            return Given(call.model.sha256, self._name, lacks=True)
        given: Given = await self._joined(call)
        return given

    def check_health(self) -> None:
        """Raise where a model hangs: Serve asks this."""
        since = min(self._runs.values(), default=None)
        if since is not None and time.monotonic() - since > HANGS_S:
            raise RuntimeError(f"a model has run for more than {HANGS_S:g} s")

    async def _loaded(self, packed: Packed) -> Loaded:
        """Raises ModelError."""
        _wanted.set(packed)
        try:
            loaded: Loaded = await self._model(packed.id)
        except ModelError:
            raise
        except Exception as error:  # Ray's, of the file that does not come; and what a library raises
            told = f"model {packed.id} cannot be loaded ({type(error).__name__}: {first_line(error)})"
            raise ModelError(f"{told}: look at the replica's log") from error
        return loaded

    async def _together(self, calls: Sequence[Call]) -> list[Given]:
        """All of one model, as Serve sees to."""
        # With its file, should it have had to go since.
        packed, key = max((call.model for call in calls), key=lambda one: len(one.content)), id(calls)
        try:
            loaded = await self._loaded(packed)
        except _Lacks:
            return [Given(packed.sha256, self._name, lacks=True)] * len(calls)
        except ModelError as error:
            fault = str(error)[:_FAULT_CHARACTERS]
            return [Given(packed.sha256, self._name, fault=fault, loaded=False)] * len(calls)
        given: dict[int, Given] = {}
        for part in parts(calls, loaded.executor.max_batch_size):
            async with loaded.free:
                begun = self._runs[key] = time.monotonic()
                self._joined.set_batch_wait_timeout_s(min(self._usual, _WAIT_MOST))
                try:
                    came = await asyncio.to_thread(answers, loaded, [calls[at] for at in part])
                finally:
                    del self._runs[key]
                    if not self._runs:
                        self._joined.set_batch_wait_timeout_s(0.0)
            self._usual += (time.monotonic() - begun - self._usual) / _SMOOTHED
            given.update(zip(part, came, strict=True))
        return [replace(given[at], replica=self._name) for at in range(len(calls))]


def parts(calls: Sequence[Call], most: int) -> Iterator[list[int]]:
    """Places of those that go together: of the same shapes, and of at most `most` rows; 0: each alone."""
    left = list(range(len(calls)))
    while left:
        first = calls[left[0]]
        bound = min((one for one in (most, first.most) if one), default=1)
        taken, rows = [left[0]], first.rows
        for at in left[1:]:
            fits = most > 0 and rows + calls[at].rows <= bound and _shapes(calls[at]) == _shapes(first)
            if fits:
                taken.append(at)
                rows += calls[at].rows
        yield taken
        left = [at for at in left if at not in taken]


def answers(loaded: Loaded, calls: Sequence[Call]) -> list[Given]:
    """What the model gives to calls that go together; what one of them fails on costs the others nothing."""
    try:
        return _run(loaded, calls)
    except Exception as error:  # whatever a model raises
        if len(calls) > 1:
            return [given for call in calls for given in answers(loaded, [call])]
        told = first_line(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        return [Given(loaded.packed.sha256, "", fault=told[:_FAULT_CHARACTERS])]


def _run(loaded: Loaded, calls: Sequence[Call]) -> list[Given]:
    begun = time.perf_counter()
    executor, sizes = loaded.executor, [call.rows for call in calls]
    # What Ray brings cannot be written to, which some libraries want to be able to.
    inputs = {name: _one([call.inputs[name] for call in calls]) for name in calls[0].inputs}
    wanted: list[str] = []
    if all(call.wanted for call in calls):
        wanted = sorted({name for call in calls for name in call.wanted})
    at_model = time.perf_counter()
    unread: dict[int, str] = {}
    if executor.run_pictures is not None and PICTURE in inputs and inputs[PICTURE].dtype == object:
        outputs, unread = executor.run_pictures(list(inputs[PICTURE].ravel()), wanted)
    else:
        outputs = executor.run(inputs, wanted)
    ended = time.perf_counter()
    rows = sum(sizes)
    loaded.ports.check(outputs, rows)
    seconds = (at_model - begun, ended - at_model)
    found, begin = [], 0
    for call in calls:
        end = begin + call.rows
        own = {name: array for name, array in outputs.items() if not call.wanted or name in call.wanted}
        if loaded.executor.max_batch_size:
            own = {name: array[begin:end] for name, array in own.items()}
        fault = next((f"picture {row - begin} {unread[row]}" for row in range(begin, end) if row in unread), "")
        took = (*seconds, time.perf_counter() - ended)
        found.append(Given(loaded.packed.sha256, "", {} if fault else own, took, rows, fault))
        begin = end
    return found


def _one(parts_: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts_) if len(parts_) > 1 else np.require(parts_[0], requirements=["C", "W"])


def _shapes(call: Call) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape[1:]) for name, array in sorted(call.inputs.items())]


def _load(packed: Packed) -> Loaded:
    """In a thread; raises ModelError, or what Ray does where the file does not come."""
    import ray

    if packed.of_file and not packed.content:
        raise _Lacks(f"model {packed.id} had to make room: send its file")
    begun, before = time.monotonic(), rss()
    content = ray.get(packed.content[0], timeout=_FETCH_S) if packed.content else b""
    if sha256(content) != packed.sha256:
        raise ModelError(f"the file of {packed.id} came with checksum {sha256(content)[:12]}: load the model again")
    executor = make(Recipe.parse(packed.recipe), content)
    return Loaded(packed.without_file(), executor, max(rss() - before, len(content)), time.monotonic() - begun)
