"""The data centre behind the doors: many models of a repository, run by an engine.

A model is ready once it was loaded; while its memory is lent to others it still is, and the next request that has the
time brings it back. A newer version is loaded and tried beside the older, and gone over to once it works. Encoded
pictures (input `picture`, BYTES) are taken of a model that has a package's form of them.

Words owned here: data centre.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from edgesight.host.datacenter.batching import Done
from edgesight.host.datacenter.counts import Counts
from edgesight.host.datacenter.engine import Engine, Hosted, State
from edgesight.host.datacenter.executors.base import PICTURE, ModelError
from edgesight.host.datacenter.quotas import Quotas
from edgesight.host.datacenter.repository import Repository, Settings, Version, settings_from_json
from edgesight.host.datacenter.tensors import (
    are_for_device,
    arrays_of,
    check_wanted,
    decoded,
    level_of,
    pictures_of,
    response_of,
    said_of,
    size_of,
)
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
    own_version,
)
from edgesight.host.doors.tensors import invalid
from edgesight.host.kernel import BackEndInput
from edgesight.host.measures import Measure
from edgesight.host.recent import Recent, Seen

_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "pytorch": "pytorch_libtorch", "triton": "triton"}
_DRAIN_S = 30.0  # for requests of what is replaced or unloaded
# Requests whose pictures are decoded or wait for that, of all callers, in equal parts; and those of which headers alone
# are read, since their model's worker decodes.
_DECODING_MOST, _READING_MOST = 64, 512
_DECODE_AGAIN_S = 0.1  # seconds

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Served:
    """A model that was asked to be loaded."""

    versions: dict[str, Hosted] = field(default_factory=dict)  # oldest first
    counts: dict[str, Counts] = field(default_factory=dict)
    fault: str = ""  # of the last try to load it
    loading: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class DataCentre:
    """What a door needs (`edgesight.host.doors.served.Served`) over a repository; works between `start` and `drain`."""

    name = "edgesight"
    extensions: Sequence[str] = ("classification", "model_configuration", "model_repository", "statistics")

    def __init__(self, repository: Repository, engine: Engine, quotas: Quotas | None = None) -> None:
        """Models of `repository`, run by `engine`; runs in the loop that makes it."""
        self.version = own_version()
        self.engine = engine
        self.seen = Recent()
        self._repository = repository
        self._quotas = quotas or Quotas()
        self._loop = asyncio.get_running_loop()
        self._served: dict[str, _Served] = {}
        self._pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 1), "decode")
        self._decoding: Counter[str] = Counter()  # requests, by caller
        self._taking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.link: Callable[[], Sequence[Measure]] = tuple  # what the link to edges counts, where there is one

    async def start(self, names: Sequence[str] | None = None) -> None:
        """Load the models `names`, all that are there without; one that cannot be loaded is told of and left."""
        self._keep(self.engine.run())
        for name in self._names() if names is None else names:
            try:
                await self._load(name, None)
            except Refused as error:
                logger.error("%s", error)
        self._taking = True

    def close_to_new(self) -> None:
        """Be ready no more, and take no more requests."""
        self._taking = False

    async def drain(self, seconds: float = _DRAIN_S) -> None:
        """Take no more requests, answer those that wait within `seconds`, and end all models."""
        self.close_to_new()
        hosted = [one for served in self._served.values() for one in served.versions.values()]
        await asyncio.gather(*(one.end(seconds) for one in hosted))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> DataCentre:
        """Itself, as it is: `start` says which models."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain."""
        await self.drain()

    # --------------------------------------------------------------------------------------------------------- looking

    def live(self) -> bool:
        """As `Served` says."""
        return True

    def ready(self) -> bool:
        """As `Served` says."""
        return self._taking

    def model_ready(self, name: str, version: str) -> bool:
        """As `Served` says."""
        served = self._served.get(name)
        versions = list(served.versions.values()) if served is not None else []
        if version:
            versions = [one for one in versions if one.version.number == version]
        return bool(versions) and self._answers(versions[-1])

    def _answers(self, hosted: Hosted) -> bool:
        return self._taking and hosted.state is State.READY and not hosted.faulty

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """As `Served` says."""
        hosted = self._hosted(name, version)
        settings = hosted.version.settings
        parameters: dict[str, bool | int | float | str] = {
            "memory_bytes": hosted.bytes,
            "memory_is_measured": hosted.measured,
            "load_seconds": hosted.load_s,
        }
        if hosted.version.form is not None:
            parameters["picture_input"] = PICTURE
        return ModelMetadata(
            name,
            list(self._served[name].versions),
            settings.platform or _PLATFORMS[hosted.version.recipe.kind],
            hosted.inputs,
            hosted.outputs,
            hosted.max_batch_size,
            hosted.version.labels,
            parameters,
        )

    def sha256(self, name: str) -> str:
        """Checksum of the file that a model was loaded of; raises Refused."""
        return self._hosted(name, "").sha256

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """As `Served` says."""
        if name:
            number = self._hosted(name, version).version.number
            numbers = [number] if version else list(self._served[name].versions)
            return [self._served[name].counts[number].told(name, number) for number in numbers]
        return [
            served.counts[number].told(one, number)
            for one, served in sorted(self._served.items())
            for number in served.versions
        ]

    def measures(self) -> Sequence[Measure]:
        """As `Served` says."""
        hosted = {
            (name, number): one for name, served in self._served.items() for number, one in served.versions.items()
        }

        def of_each(name: str, told: str, value: Callable[[Hosted], float]) -> Measure:
            return Measure(name, told, "gauge", ("model", "version"), {key: value(one) for key, one in hosted.items()})

        return (
            *self.engine.measures(hosted),
            of_each("model_ready", "Whether requests are taken.", self._answers),
            of_each("model_memory_bytes", "Memory that it takes when it is there.", lambda one: one.bytes),
            of_each("model_load_seconds", "Time of its last load.", lambda one: one.load_s),
            of_each("waiting", "Requests that wait for the model.", lambda one: one.waiting),
            *self.link(),
        )

    def recent(self) -> Sequence[Seen]:
        """As `Served` says: of encoded pictures, and of those of edges."""
        return self.seen.all()

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        """As `Served` says."""
        entries = []
        running = (name for name, served in self._served.items() if served.versions or served.loading)
        for name in sorted({*self._names(), *running}):
            served = self._served.get(name, _Served())
            for number, hosted in served.versions.items():
                state, reason = hosted.state.value, hosted.reason or served.fault
                if hosted.faulty:
                    state = State.UNAVAILABLE.value
                elif hosted.state is State.READY:
                    reason = reason or hosted.absent
                entries.append(IndexEntry(name, number, state, reason))
            if not served.versions:
                now = State.LOADING if served.loading else State.UNAVAILABLE
                entries.append(
                    IndexEntry(name, "", now.value, served.fault or ("" if served.loading else "not loaded"))
                )
        return [entry for entry in entries if entry.state == State.READY.value] if ready else entries

    # ----------------------------------------------------------------------------------------------- loading, unloading

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says; of the parameters, `config` (JSON) replaces the model's config.pbtxt."""
        self._check_taking()
        settings = None
        for parameter, value in parameters.items():
            if parameter == "config":
                try:
                    settings = settings_from_json(name, str(value))
                except ModelError as error:
                    raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
            else:
                raise Refused(
                    Code.UNIMPLEMENTED, f"load has no parameter {parameter!r} here: put files into the repository"
                )
        await self._load(name, settings)
        logger.info("model %s: loaded, as %s asked", name, caller.name)

    def limit_rows(self, name: str, rows: int) -> None:
        """Let at most `rows` rows of a model that takes batches go together from now on; raises Refused."""
        hosted = self._hosted(name, "")
        if not 1 <= rows <= hosted.max_batch_size:
            raise invalid(f"model {name} takes 1 to {hosted.max_batch_size} rows at once, not {rows}: state so many")
        hosted.limit_rows(rows)

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says."""
        served = self._served.get(name)
        if served is None or not (served.versions or served.loading):
            raise Refused(Code.NOT_FOUND, f"model {name!r} is not loaded: look at the repository's index")
        async with served.lock:
            going, served.versions = served.versions, {}
            served.counts, served.fault = {}, ""
            await asyncio.gather(*(one.end(_DRAIN_S) for one in going.values()))
        logger.info("model %s: unloaded, as %s asked", name, caller.name)

    async def _load(self, name: str, settings: Settings | None) -> None:
        """Load what the repository has of a model, in the place of what was loaded of it before."""
        try:
            versions = await asyncio.to_thread(self._repository.versions, name, settings)
        except ModelError as error:
            if name not in self._names():
                raise Refused(Code.NOT_FOUND, str(error)) from error
            self._served.setdefault(name, _Served()).fault = str(error)
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
        except OSError as error:
            raise Refused(Code.INTERNAL, f"the repository cannot be read ({error})") from error
        served = self._served.setdefault(name, _Served())
        async with served.lock:
            served.loading = True
            try:
                await self._replace(served, versions)
                served.fault = ""
            except Refused as error:
                served.fault = str(error)
                raise
            finally:
                served.loading = False

    async def _replace(self, served: _Served, versions: Sequence[Version]) -> None:
        """Load those of `versions` that are new beside the old ones, and go over to them once all work."""
        old, new = served.versions, dict[str, Hosted]()
        try:
            for version in versions:
                known = old.get(version.number)
                if known is not None and known.version == version and not known.reason:
                    new[version.number] = known
                    continue
                beside = known or next((one for number, one in old.items() if number not in new), None)
                try:
                    hosted = self.engine.host(version)
                except ModelError as error:
                    raise Refused(Code.INVALID_ARGUMENT, str(error)) from error
                await hosted.begin(beside)
                new[version.number] = hosted
        except BaseException:
            for hosted in new.values():
                if hosted not in old.values():
                    self._keep(hosted.end(0.0))
            for hosted in old.values():
                self.engine.stays(hosted)
            raise
        served.versions = new
        served.counts = {
            number: served.counts.get(number, Counts()) if hosted is old.get(number) else Counts()
            for number, hosted in new.items()
        }
        for hosted in old.values():
            if hosted not in new.values():
                self._keep(hosted.end(_DRAIN_S))

    # ------------------------------------------------------------------------------------------------------- inference

    async def infer(self, request: Request, caller: Caller) -> Response:
        """As `Served` says."""
        self._check_taking()
        hosted = self._hosted(request.model, request.version)
        counts, begun = self._served[request.model].counts[hosted.version.number], time.perf_counter()
        try:
            done, rows = await self._answer(hosted, request, caller)
            response = response_of(request, hosted, done.outputs)
        except Refused:
            counts.failed(time.perf_counter() - begun)
            raise
        seconds = time.perf_counter() - begun
        counts.succeeded(done, rows, seconds)
        if request.inputs[0].name == PICTURE and request.inputs[0].datatype == "BYTES":
            told = partial(said_of, hosted, done.outputs, seconds, caller.name)
            self.seen.add(request.model, request.inputs[0].values.ravel()[0], told)
        return response

    async def run(
        self, name: str, caller: str, inputs: Mapping[str, npt.NDArray[Any]], wanted: Sequence[str]
    ) -> tuple[str, Mapping[str, npt.NDArray[Any]]]:
        """Checksum of a model's file, and the outputs `wanted` of contiguous inputs that are as it takes them.

        For who stands behind no door and has no quota. Raises Refused.
        """
        hosted = self._hosted(name, "")
        counts, begun = self._served[name].counts[hosted.version.number], time.perf_counter()
        try:
            done = await hosted.ask(caller, inputs, wanted)
        except Refused:
            counts.failed(time.perf_counter() - begun)
            raise
        rows = len(next(iter(inputs.values()))) if hosted.max_batch_size else 1
        counts.succeeded(done, rows, time.perf_counter() - begun)
        return hosted.sha256, done.outputs

    async def _answer(self, hosted: Hosted, request: Request, caller: Caller) -> tuple[Done, int]:
        now = self._loop.time()
        self._quotas.spend(caller.name, size_of(request), now)
        wanted = check_wanted(request, hosted)
        level = level_of(request, hosted.version.settings.level)
        form = hosted.version.form
        if form is not None and any(tensor.name == PICTURE for tensor in request.inputs):
            inputs = await self._pictures(hosted, form, request, caller)
        else:
            inputs = arrays_of(request, hosted)
        left = None if request.timeout is None else request.timeout - (self._loop.time() - now)
        done = await hosted.ask(caller.name, inputs, wanted, left, level)
        return done, len(next(iter(inputs.values()))) if hosted.max_batch_size else 1

    async def _pictures(
        self, hosted: Hosted, form: BackEndInput, request: Request, caller: Caller
    ) -> dict[str, npt.NDArray[Any]]:
        """What the worker takes of a request's encoded pictures."""
        files = pictures_of(request, hosted)
        if hosted.takes_pictures and await self._in_pool(caller, _READING_MOST, lambda: are_for_device(files)):
            return {PICTURE: request.inputs[0].values.reshape(-1)}
        tensor = await self._in_pool(caller, _DECODING_MOST, lambda: decoded(files, form, hosted.inputs[0]))
        return arrays_of(replace(request, inputs=[tensor]), hosted)

    async def _in_pool(self, caller: Caller, most: int, work: Callable[[], T]) -> T:
        """What `work` on a caller's pictures gives; raises Refused where `most` of all callers' are in work."""
        others = len(self._decoding.keys() - {caller.name})
        if self._decoding[caller.name] >= max(most // (others + 1), 1):
            raise Refused(Code.RESOURCE_EXHAUSTED, "your pictures wait to be decoded: ask again later", _DECODE_AGAIN_S)
        self._decoding[caller.name] += 1
        try:
            return await self._loop.run_in_executor(self._pool, work)
        finally:
            self._decoding[caller.name] -= 1
            if not self._decoding[caller.name]:
                del self._decoding[caller.name]

    def _hosted(self, name: str, version: str) -> Hosted:
        served = self._served.get(name)
        if served is None or not served.versions:
            if served is not None and served.loading:
                raise Refused(Code.UNAVAILABLE, f"model {name} is loaded just now: ask again", 1.0)
            why = f" ({served.fault})" if served is not None and served.fault else ""
            raise Refused(Code.NOT_FOUND, f"model {name!r} is not loaded{why}: look at the repository's index")
        if not version:
            return served.versions[next(reversed(served.versions))]
        if version not in served.versions:
            raise Refused(
                Code.NOT_FOUND,
                f"model {name} has no version {version!r} loaded: ask for {', '.join(served.versions)}, or for none",
            )
        return served.versions[version]

    def _names(self) -> list[str]:
        """Of models in the repository."""
        try:
            return self._repository.names()
        except OSError as error:
            raise Refused(Code.INTERNAL, f"the repository cannot be read ({error})") from error

    def _check_taking(self) -> None:
        if not self._taking:
            raise Refused(Code.UNAVAILABLE, "the data centre starts or ends: ask again, or another", 1.0)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on beside."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
