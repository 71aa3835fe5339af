"""Frames of many clients behind the doors: queued by deadline, batched, answered with what the client should use next.

A round of the planner, every half second and whenever somebody new has come, says which model each client uses and each
GPU runs. Rounds are made in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Final

from edgesight.host.adapt import asked
from edgesight.host.adapt.clients import Client, Clients
from edgesight.host.adapt.lanes import Executor, Frame, Lane, Late, Ran
from edgesight.host.adapt.planning import Model, Planner
from edgesight.host.datacenter.batching import Done
from edgesight.host.datacenter.counts import Counts
from edgesight.host.datacenter.executors.base import DATATYPES
from edgesight.host.doors.served import (
    Caller,
    Code,
    IndexEntry,
    ModelMetadata,
    ModelStatistics,
    Parameter,
    Parameters,
    Refused,
    Request,
    Response,
    Tensor,
    TensorForm,
    own_version,
)
from edgesight.host.doors.tensors import BYTES, invalid, shown
from edgesight.host.errors import EdgeSightError
from edgesight.host.measures import Measure, gauge, plain
from edgesight.host.recent import Seen

INTERVAL_S: Final = 0.5  # between rounds
_SOONEST_S: Final = 0.1  # between rounds where somebody new has come
MOST_FRAME: Final = 4 << 20  # bytes
MOST_BYTES: Final = 256 << 20  # of all frames that wait
_VERSION: Final = "1"
_PLATFORM: Final = "edgesight_adapt"

logger = logging.getLogger(__name__)


class Adapting:
    """What a door needs (`edgesight.host.doors.served.Served`); works between `start` and `end`."""

    name = "edgesight"
    extensions: Sequence[str] = ("statistics",)

    def __init__(self, planner: Planner, executor: Executor) -> None:
        """Runs in the loop that makes it."""
        self.version = own_version()
        self.clients = Clients()
        self.rounds = self.dropped = 0
        self.round_s = 0.0  # that the last round took
        self._planner, self._executor = planner, executor
        self._models = {model.name: model for model in planner.models}
        self._lanes = {gpu: Lane(gpu, self._models, executor) for gpu in planner.gpus}
        self._loop = asyncio.get_running_loop()
        self._counts = Counts()
        self._ran: Counter[str] = Counter()  # frames, by model
        self._bytes = 0
        self._taking = False
        self._new = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load, and take frames. Raises AdaptError."""
        await self._executor.start()
        for gpu, work in self._planner.first.items():
            self._lanes[gpu].plan(work)
        self._tasks = [self._loop.create_task(self._guarded(work)) for work in (self._plan(), *self._run())]
        self._taking = True

    def _run(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [lane.run() for lane in self._lanes.values()]

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What works for ever; a fault of ours is told of, and nothing more is taken."""
        try:
            await work
        except Exception:
            logger.exception("adaptation has a fault and takes no more frames")
            self._taking = False

    def close_to_new(self) -> None:
        """Take no more frames."""
        self._taking = False

    async def end(self) -> None:
        """Give everything back."""
        self.close_to_new()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._executor.end()

    async def __aenter__(self) -> Adapting:
        """Started."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ended."""
        await self.end()

    # --------------------------------------------------------------------------------------------------------- rounds

    async def _plan(self) -> None:
        while True:
            # No `wait_for`: before Python 3.12 it may lose the cancellation by which this ends.
            usual = self._loop.call_later(INTERVAL_S - _SOONEST_S, self._new.set)
            try:
                await self._new.wait()
            finally:
                usual.cancel()
            self._new.clear()
            await asyncio.sleep(_SOONEST_S)
            gone = self.clients.forget_silent(self._loop.time())
            if self.clients or gone:
                await self._round()

    async def _round(self) -> None:
        wants, now = self.clients.wants(), self._loop.time()
        began = time.perf_counter()
        try:
            made = await asyncio.to_thread(self._planner.round, now, wants)
        except EdgeSightError as error:  # the plan that there is holds
            logger.error("no new plan could be made: %s", error)
            return
        except Exception:  # a fault of ours, by which nobody is to stop others' answers
            logger.exception("no new plan could be made")
            return
        self.rounds, self.round_s = self.rounds + 1, time.perf_counter() - began
        for gpu, work in made.work.items():
            self._lanes[gpu].plan(work)
        for client in self.clients:
            client.place = made.places.get(client.name)

    # ------------------------------------------------------------------------------------------------------- inference

    async def infer(self, request: Request, caller: Caller) -> Response:
        """As `Served` says. The parameters of request and answer are those of `edgesight.host.adapt.asked`."""
        begun = time.perf_counter()
        if not self._taking:
            raise Refused(Code.UNAVAILABLE, "adaptation starts or ends: ask again", 1.0)
        self.metadata(request.model, request.version)
        said = asked.read(request.parameters, self._models)
        content = _picture(request)
        now = self._loop.time()
        client, changed = self.clients.met(caller.name, said, now)
        if changed:
            self._new.set()
        remaining = said.slo_s if request.timeout is None else min(request.timeout - said.grace_s, said.slo_s)
        way_back = client.wants.round_trip_ms / 2e3 if client is not None else 0.0
        finish = now + remaining - way_back - self._planner.overhead_ms / 2e3
        try:
            ran = await self._ask(client, content, finish)
        except Refused as error:
            self.dropped += isinstance(error, Late)
            self._counts.failed(time.perf_counter() - begun)
            raise
        seconds = time.perf_counter() - begun
        took = 1e-3 * ran.model.latency_ms[ran.batch - 1]
        self._counts.succeeded(Done({}, max(seconds - took, 0.0), (0.0, took, 0.0), ran.batch), 1, seconds)
        self._ran[ran.model.name] += 1
        return self._response(request, client, self._models[said.sized_for], ran)

    async def _ask(self, client: Client | None, content: bytes, finish: float) -> Ran:
        size = len(content)
        if self._bytes + size > MOST_BYTES:
            raise Refused(Code.RESOURCE_EXHAUSTED, f"frames of {self._bytes} bytes wait: ask again", 0.1)
        lane = self._lane(client)
        served = client is not None and client.place is not None
        frame = Frame(content, finish, served, self._loop.create_future())
        self._bytes += size
        if client is not None:
            client.waiting += 1
        try:
            return await lane.ask(frame)
        finally:
            self._bytes -= size
            if client is not None:
                client.waiting -= 1

    def _lane(self, client: Client | None) -> Lane:
        """Its client's; of who is not served the one that has least to do."""
        if client is not None and client.place is not None:
            return self._lanes[client.place.gpu]
        lane = min(self._lanes.values(), key=lambda one: (one.model is None, len(one)))
        if lane.model is None:
            raise Refused(Code.UNAVAILABLE, f"there is no plan yet: ask again, and say {asked.MBPS}", INTERVAL_S)
        return lane

    def _response(self, request: Request, client: Client | None, sized_for: Model, ran: Ran) -> Response:
        told: dict[str, Parameter] = {
            asked.RAN: ran.model.name,
            asked.ACCURACY: min(sized_for.accuracy, ran.model.accuracy),
            asked.BATCH: ran.batch,
            asked.EXECUTOR: self._executor.name,
        }
        if client is not None and client.place is not None:
            following, lane = self._models[client.place.model], self._lanes[client.place.gpu]
            told[asked.NEXT_MODEL], told[asked.NEXT_SIDE] = following.name, following.input_px
            told[asked.SERVER_MS] = lane.server_ms
        outputs = [Tensor(name, DATATYPES[array.dtype], array) for name, array in ran.outputs.items()]
        return Response(request.model, _VERSION, outputs, request.id, told)

    # --------------------------------------------------------------------------------------------------------- looking

    def live(self) -> bool:
        """As `Served` says."""
        return True

    def ready(self) -> bool:
        """As `Served` says."""
        return self._taking

    def model_ready(self, name: str, version: str) -> bool:
        """As `Served` says."""
        return self._taking and name == asked.APPLICATION and version in ("", _VERSION)

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """As `Served` says."""
        if name != asked.APPLICATION or version not in ("", _VERSION):
            raise Refused(Code.NOT_FOUND, f"there is no model {shown(name)} here: ask for {asked.APPLICATION}")
        taken = (TensorForm(asked.PICTURE, BYTES, (1,)),)
        return ModelMetadata(name, (_VERSION,), _PLATFORM, taken, (), parameters={asked.EXECUTOR: self._executor.name})

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """As `Served` says."""
        if name:
            self.metadata(name, version)
        return [self._counts.told(asked.APPLICATION, _VERSION)]

    def measures(self) -> Sequence[Measure]:
        """As `Served` says."""
        lanes = self._lanes.values()
        served = sum(client.place is not None for client in self.clients)
        return (
            gauge("adapt_clients", "Clients that are planned for.", len(self.clients)),
            gauge("adapt_served", "Clients that have a place in the plan.", served),
            plain("adapt_rounds", "Rounds of the planner.", self.rounds),
            gauge("adapt_round_seconds", "Time of the last round.", self.round_s),
            plain("adapt_dropped", "Frames that were dropped, since they would have been late.", self.dropped),
            plain("adapt_switches", "Changes of a GPU's model.", sum(lane.switches for lane in lanes)),
            Measure("adapt_waiting", "Frames that wait.", "gauge", ("gpu",), {(one.gpu,): len(one) for one in lanes}),
            Measure("adapt_frames", "Frames that were answered.", "counter", ("model",),
                    {(name,): count for name, count in self._ran.items()}),
        )  # fmt: skip

    def recent(self) -> Sequence[Seen]:
        """As `Served` says: frames are not shown."""
        return ()

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        """As `Served` says."""
        state = "READY" if self._taking else "UNAVAILABLE"
        return [] if ready and not self._taking else [IndexEntry(asked.APPLICATION, _VERSION, state)]

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says: none is loaded by hand."""
        raise _planned()

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """As `Served` says: none is unloaded by hand."""
        raise _planned()


def _planned() -> Refused:
    return Refused(Code.UNIMPLEMENTED, "which models are loaded is planned here: give the profile other ones")


def _picture(request: Request) -> bytes:
    tensor, *more = request.inputs
    if more or tensor.name != asked.PICTURE or tensor.datatype != BYTES or tensor.values.size != 1:
        raise invalid(f"input {asked.PICTURE} goes alone and is BYTES, of one element: send it so")
    content = tensor.values.ravel()[0]
    if not 0 < len(content) <= MOST_FRAME:
        raise invalid(f"a frame has {len(content)} bytes: send 1 to {MOST_FRAME}")
    return bytes(content)
