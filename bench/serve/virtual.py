"""A cell's requests in virtual time: the very edge, link and service, and peers, over the link's own arithmetic.

Simulated are the link, the fabric's time (cycles at the package's clock) and the back end's (drawn from its profile).
All else, what is sent when, what is lost and repaired, who waits for whom, is what the real programs do. Their own
computing takes no time.

Requests come when they come: nobody's answer is waited for, and the time to answer counts from the arrival that the
workload has, so that who stands still cannot hide what waits meanwhile.

Words owned here: outcomes (of a cell's requests), fallback.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from edgesight.bench.link.peers import ordered, quic, tcp
from edgesight.bench.link.peers.back_end import BackEnd
from edgesight.bench.link.workload import Ask, Unanswered
from edgesight.bench.serve.links import Links
from edgesight.bench.serve.material import Material, TimedModel
from edgesight.bench.serve.replay import Host, Replayed
from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.models import Classifier
from edgesight.host.datacenter.service import Service
from edgesight.host.edge import Edge, EdgeFull
from edgesight.host.fabric.base import Fabric, Images, Records
from edgesight.host.hedge import BUDGET, Hedging
from edgesight.host.images import Picture
from edgesight.host.kernel import Target
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import Status
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import NoAnswer, Offload, Offloaded
from edgesight.host.link.quality import ladder_of
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import Server
from edgesight.host.package import Package
from edgesight.sim.link.model import directions
from edgesight.sim.link.options import EmulationError
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.link.virtual import VirtualLoop
from edgesight.sim.workload import Workload

WARM_UP: Final = 500
"""Requests that open windows and fill estimates, and do not count."""
BEGIN_S: Final = 5.0
"""Virtual time at which a workload begins: all ways are open by then, however long each took, so that whoever is held
against another meets the link's trace at the same place."""
NOBODY: Final = -1  # as the stage that answered
_LEAD_S = 1.0  # from the connection to the first request, at least
_AT_ONCE_S = 1e-3  # after the deadline: a fallback is there
_CONNECT_S = 30.0
PORT: Final = 4433
_HOST = "192.0.2.2"

Known = dict[bytes, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcomes:
    """What became of the requests that count, in order of arrival.

    Attributes:
        label: that was answered, in time or by the fallback [N].
        took_s: from arrival; where a fallback answers it is the deadline, or when that came at last [N].
        late: no answer was there by the deadline [N].
        stage: who answered [N]; the number of stages means the data centre, `NOBODY` that the edge took no more.
        bytes: that the edge sent, those that were lost included.
        busy_s: of the back end.
        ran: pictures that the back end ran.
    """

    label: Ints
    took_s: Floats
    late: npt.NDArray[np.bool_]
    stage: Ints
    bytes: int
    busy_s: float
    ran: int


class TimedFabric:
    """Says of each picture what the material has, and takes the simulated time."""

    simulated = False  # its time goes by, on whatever clock

    def __init__(self, material: Material, takes: Callable[[float], None], stages: int) -> None:
        """Of the first so many stages of the material's kernel; `takes` lets so many seconds go by."""
        self.package: Package = material.package
        self._material, self._takes, self._stages = material, takes, stages
        self._places = {image.tobytes(): place for place, image in enumerate(material.images)}
        self._rows: dict[int, Records] = {}

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """What it says of each picture from now on."""
        self._rows[set_index] = self._material.records(thresholds[: self._stages])

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Records [N] of images uint8 [N, H, W, C]."""
        places = [self._places[image.tobytes()] for image in images]
        found = np.array([self._rows[row][place] for row, place in zip(sets.tolist(), places, strict=True)])
        self._takes(self._seconds(found))
        return found

    def _seconds(self, found: Records) -> float:
        """Of a run, in which one picture follows another as soon as it can."""
        clock = self.package.kernel.clock_mhz * 1e6
        bound = max(stage.bound_cycles for stage in self.package.kernel.stages)
        return (float(found["cycles"].max()) + bound * (len(found) - 1)) / clock

    def close(self) -> None:
        """Nothing is held."""


class Streams:
    """Offloads over a reliable transport: an answer comes whole, or not in time."""

    def __init__(self, ask: Ask) -> None:
        """By a peer's way of asking."""
        self._ask = ask

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        """As `Offload` has it."""
        try:
            label = await self._ask(image, within)
        except Unanswered as error:
            raise NoAnswer(str(error)) from error
        return Offloaded(0, Status.ANSWERED, label, 0, 0, 0)


class Slowed:
    """A way that takes so much longer: what computers at its ends do beside it."""

    def __init__(self, offload: Offload, more_s: float) -> None:
        """By `more_s` seconds."""
        self._offload, self._more_s = offload, more_s

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        """As `Offload` has it."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within
        reply = await self._offload.offload(image, within, accuracy, trace)
        await asyncio.sleep(min(self._more_s, ends - loop.time()))
        if loop.time() >= ends:
            raise NoAnswer("the answer came after the deadline: give it more time")
        return reply


Serving = Callable[[BackEnd, Path, str, int], AbstractAsyncContextManager[None]]
Asking = Callable[[Path, str, int], AbstractAsyncContextManager[Ask]]


@dataclass(frozen=True)
class Way:
    """To the data centre and back: its two ends, each for as long as the context lasts.

    Attributes:
        serves: a model at a host and port, with the data centre's keys.
        asks: there, with the edge's keys.
    """

    serves: Callable[[Classifier, Path, str, int], AbstractAsyncContextManager[None]]
    asks: Callable[[Material, Path, str, int], AbstractAsyncContextManager[Offload]]


@contextlib.asynccontextmanager
async def _serving_ours(model: Classifier, keys: Path, host: str, port: int) -> AsyncIterator[None]:
    service = Service(model)
    with contextlib.closing(Authority(keys)) as authority:
        configuration = authority.configuration(IDLE_TIMEOUT)
        server = Server(configuration, authority, service.served, service.received, service.gone)
        await server.listen(host, port)
        work = asyncio.get_running_loop().create_task(service.run())
        try:
            yield
        finally:
            server.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


@contextlib.asynccontextmanager
async def _asking_ours(material: Material, keys: Path, host: str, port: int) -> AsyncIterator[Offload]:
    ladder = ladder_of(material.calibration.ladder)
    client = OffloadClient(host, port, client_keys(keys, IDLE_TIMEOUT), ladder=ladder)
    try:
        await client.wait_connected(_CONNECT_S)
        yield client
    finally:
        await client.close()


def _over(serving: Serving, asking: Asking) -> Way:
    """By a peer's two ends."""

    @contextlib.asynccontextmanager
    async def serves(model: Classifier, keys: Path, host: str, port: int) -> AsyncIterator[None]:
        back_end = BackEnd(model)
        async with serving(back_end, keys, host, port):
            work = asyncio.get_running_loop().create_task(back_end.run())
            try:
                yield
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def asks(material: Material, keys: Path, host: str, port: int) -> AsyncIterator[Offload]:
        async with asking(keys, host, port) as ask:
            yield Streams(ask)

    return Way(serves, asks)


our_link: Final = Way(_serving_ours, _asking_ours)
"""The data centre's service behind the lossy link."""
quic_streams: Final = _over(quic.serving, quic.asking)
"""A reliable QUIC stream a request."""
one_stream: Final = _over(ordered.serving, ordered.asking)
"""One ordered stream for all requests, as a connection of gRPC has."""
grpc: Final = _over(tcp.serving, tcp.asking)
"""gRPC's messages on one connection of TCP, as Linux sends it."""


@contextlib.asynccontextmanager
async def opened(
    way: Way, material: Material, model: TimedModel, trust: Trust, port: int = PORT
) -> AsyncIterator[Offload]:
    """Both ends of a `way` in virtual time, the back end being the `model`."""
    async with way.serves(model, trust.datacenter, _HOST, port), way.asks(material, trust.edge, _HOST, port) as offload:
        if asyncio.get_running_loop().time() > BEGIN_S - _LEAD_S:
            raise EmulationError(
                "a way took so long to open that its requests would meet another part of the link's trace: try a trace "
                "that carries something from its beginning"
            )
        yield offload


Answered = tuple[int, float, bool, int]  # label, seconds, late, stage
Asks = Callable[[int, float], Awaitable[tuple[int, bool, int]]]  # request, seconds left: label, late, stage


def run_edge(  # noqa: PLR0913 - all that a cell is
    material: Material,
    targets: Sequence[Target],
    workload: Workload,
    links: Links,
    way: Way,
    known: Known,
    stages: int,
    *,
    hedged: bool = False,
    seed: int = 0,
    warm_up: int = WARM_UP,
    replayed: Replayed | None = None,
) -> Outcomes:
    """Requests at an edge, as `at_edge` has it; it offloads by some `way`."""

    async def answers(loop: VirtualLoop, offload: Offload) -> list[Answered]:
        return await at_edge(loop, offload, material, targets, workload, stages, hedged=hedged, host=Host.of(replayed))

    return _run(material, links, way, known, answers, seed, warm_up, replayed)


async def at_edge(
    loop: VirtualLoop,
    offload: Offload,
    material: Material,
    targets: Sequence[Target],
    workload: Workload,
    stages: int,
    *,
    hedged: bool = False,
    host: Host | None = None,
) -> list[Answered]:
    """Requests at an edge, each under that one of the `targets` which the workload says.

    Of the fabric's stages the first so many are there.
    """
    fabric = TimedFabric(material, loop.takes, stages)
    async with asking_edge(fabric, material, targets, workload, offload, hedged=hedged) as ask:
        return await arrive(workload, ask, host or Host())


@contextlib.asynccontextmanager
async def asking_edge(
    fabric: Fabric,
    material: Material,
    targets: Sequence[Target],
    workload: Workload,
    offload: Offload | None,
    *,
    hedged: bool,
) -> AsyncIterator[Asks]:
    """How an edge on that `fabric` is asked, for as long as the context lasts."""
    there = len(material.labels)
    calibration = material.calibration.model_copy(update={"targets": list(targets)})
    cascade = Cascade(fabric, calibration, offload, hedging=Hedging(BUDGET) if hedged else None)
    try:
        async with Edge(cascade) as edge:

            async def ask(number: int, left: float) -> tuple[int, bool, int]:
                index = int(workload.picture[number])
                picture = Picture(material.images[index], (), _photograph(material, index))
                try:
                    answer = await edge.ask(picture, targets[int(workload.target[number])], left)
                except EdgeFull:
                    return 0, True, NOBODY
                return answer.label, answer.degraded, _stage(answer, there)

            yield ask
    finally:
        cascade.close()


def run_data_centre(
    material: Material,
    workload: Workload,
    links: Links,
    way: Way,
    known: Known,
    *,
    seed: int = 0,
    warm_up: int = WARM_UP,
    replayed: Replayed | None = None,
) -> Outcomes:
    """All requests at the data centre, over some `way`."""

    def answers(loop: VirtualLoop, offload: Offload) -> Awaitable[list[Answered]]:
        return arrive(workload, ask_data_centre(material, workload, offload), Host.of(replayed))

    return _run(material, links, way, known, answers, seed, warm_up, replayed)


def ask_data_centre(material: Material, workload: Workload, offload: Offload) -> Asks:
    """How a request of the `workload` is asked there; the last stage's answer stands in for one that does not come."""
    stages = len(material.labels)

    async def ask(number: int, left: float) -> tuple[int, bool, int]:
        index = int(workload.picture[number])
        photograph = _photograph(material, index)
        try:
            reply = await offload.offload(photograph if photograph is not None else material.images[index], left, 1.0)
        except NoAnswer:
            return int(material.labels[-1][index]), True, stages - 1
        return reply.label, False, stages

    return ask


def _run(
    material: Material,
    links: Links,
    way: Way,
    known: Known,
    answers: Callable[[VirtualLoop, Offload], Awaitable[list[Answered]]],
    seed: int,
    warm_up: int,
    replayed: Replayed | None,
) -> Outcomes:
    async def main(loop: VirtualLoop, trust: Trust) -> tuple[list[Answered], TimedModel]:
        model = TimedModel(material, loop, seed, known, replayed=replayed)
        async with opened(way, material, model, trust) as offload:
            return await answers(loop, offload if replayed is None else Slowed(offload, replayed.away_s)), model

    (found, model), sent = virtually(links, seed, main)
    return outcomes_of(found[warm_up:], sent, model.busy_s, model.ran)


def virtually(links: Links, seed: int, main: Callable[[VirtualLoop, Trust], Coroutine[Any, Any, T]]) -> tuple[T, int]:
    """What `main` returns in virtual time over these `links`, and the bytes that the edge sent."""
    loop = VirtualLoop(*directions(*links, seed), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        trust = make_trust(Path(folder))
        try:
            asyncio.set_event_loop(loop)
            found = loop.run_until_complete(main(loop, trust))
            for task in asyncio.all_tasks(loop):
                task.cancel()  # what nobody waits for any more
            loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    return found, loop.up.counts.offered_bytes


def outcomes_of(found: Sequence[Answered], sent: int, busy_s: float, ran: int) -> Outcomes:
    """Of requests in order of arrival."""
    label, took, late, stage = map(np.array, zip(*found, strict=True))
    return Outcomes(label, took, late, stage, sent, busy_s, ran)


async def arrive(workload: Workload, ask: Asks, host: Host) -> list[Answered]:
    """Ask as the workload has it, whatever becomes of what was asked before: label, seconds, late, stage of each."""
    loop = asyncio.get_running_loop()
    begin = host.begin if host.begin is not None else max(BEGIN_S, loop.time() + _LEAD_S)

    async def one(number: int) -> Answered:
        due = float(workload.deadline_s[number])
        arrived = begin + float(workload.at[number])
        await asyncio.sleep(arrived - loop.time())
        if (takes := host.takes()) > 0.0:
            await asyncio.sleep(takes)
        label, late, stage = await ask(number, max(arrived + due - loop.time(), 0.0))
        took = loop.time() - arrived
        late = late or took > due  # a fabric that stands still answers late, and sure of itself
        return label, due if late and took <= due + _AT_ONCE_S else took, late, stage

    return list(await asyncio.gather(*map(one, range(len(workload)))))


def _photograph(material: Material, index: int) -> npt.NDArray[np.uint8] | None:
    larger = material.photographs.shape[1:] != material.images.shape[1:]
    return material.photographs[index] if larger else None


def _stage(answer: Answer, stages: int) -> int:
    return stages if answer.stage == "datacenter" else int(answer.stage.removeprefix("stage"))
