"""Adaptation in simulated time: clients send frames over links that follow traces, GPUs batch them, answers go back.

Discrete events. The rules:

- A camera takes a frame every 1/rate s, from a random moment on. The client sizes it (`Sender.choose`) or drops it.
  Frames wait in the client and leave one after another at the trace's rate; one that can't be answered in time any more
  when its turn comes is dropped there. A round trip adds its halves to frames and answers. The first estimate of a
  link is what it carries when the client registers.
- At the server a frame joins the queue of its client's GPU. An idle GPU takes those with the earliest deadlines, at
  most the plan's batch and no more than leave the first of them in time, and runs them as long as the profile says.
  A frame that would be late even if it were run alone at once is dropped. Clients that the plan does not serve go
  last, where there is least to do.
- A GPU changes its model between batches, once the new one is loaded. A frame counts with the accuracy of its own size
  or of the model that ran it, whichever is less.
- A request is missed when its answer comes after the SLO or never: every dropped frame is a miss.

With `Scheduling.served` two rules are those of `edgesight.host.adapt.lanes`: a frame that would be late is run by a
faster model that the GPU holds, where there is one and nobody else becomes late by it; and a client counts on what the
last frames took at the server, but for the slowest of them.

Words owned here: *told* (a run in which the scheduler and the clients are told the bandwidth to come: no bound, since
the same scheduler may use it badly), *missed*.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from edgesight.host.adapt.lanes import FEWEST, RECENT, SHARE
from edgesight.plan.adapt.data import Client, Gpu, Model, ModelProfile
from edgesight.plan.adapt.plan import Method
from edgesight.plan.adapt.scheduler import INTERVAL_MS, MARGIN, Scheduler, Sender


class Capacity:
    """What a link carries: a rate for each second, repeated, from a moment of the trace on."""

    def __init__(self, mbps: Sequence[float], offset_s: float = 0.0) -> None:
        """`mbps`: Mbit/s by second."""
        self._rates = [max(rate, 1e-6) * 125.0 for rate in mbps]  # bytes a ms
        self._sums = [0.0, *itertools.accumulate(rate * 1e3 for rate in self._rates)]
        self._offset_ms = offset_s * 1e3
        self._round_ms = len(self._rates) * 1e3

    def carried(self, now_ms: float) -> float:
        """Bytes that could pass until `now_ms`, since the trace began."""
        rounds, rest = divmod(now_ms + self._offset_ms, self._round_ms)
        second = int(rest // 1e3)
        return rounds * self._sums[-1] + self._sums[second] + (rest - second * 1e3) * self._rates[second]

    def done_ms(self, start_ms: float, size: float) -> float:
        """When `size` bytes have passed that begin at `start_ms`."""
        rounds, rest = divmod(self.carried(start_ms) + size, self._sums[-1])
        second = min(bisect.bisect_right(self._sums, rest) - 1, len(self._rates) - 1)
        return (
            rounds * self._round_ms + second * 1e3 + (rest - self._sums[second]) / self._rates[second] - self._offset_ms
        )

    def least_mbps(self, start_ms: float, end_ms: float) -> float:
        """The lowest rate from one moment to another, in Mbit/s."""
        first = int((start_ms + self._offset_ms) // 1e3)
        last = int((end_ms + self._offset_ms) // 1e3)
        return min(self._rates[second % len(self._rates)] for second in range(first, last + 1)) / 125.0


@dataclass
class Outcome:
    """What a run came to."""

    requests: int = 0
    missed: int = 0  # those dropped included
    dropped_by_client: int = 0
    dropped_by_server: int = 0
    accuracy: float = 0.0  # summed over the requests that were answered in time
    latencies_ms: list[float] = field(default_factory=list)  # of answered requests
    switches: int = 0  # of a client's model
    round_seconds: list[float] = field(default_factory=list)  # that each round of the scheduler took, measured

    @property
    def in_time(self) -> float:
        """Share of requests that were answered within their SLO."""
        return 1 - self.missed / self.requests if self.requests else 1.0

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy per request, missed ones counted as 0."""
        return self.accuracy / self.requests if self.requests else 0.0


@dataclass
class _Frame:
    client: _Camera
    taken_ms: float
    size: int
    accuracy: float
    served: bool = True  # its client has a place in the plan
    mbps: float = 0.0  # estimated when it left
    left_ms: float = 0.0
    arrived_ms: float = 0.0

    @property
    def deadline_ms(self) -> float:
        return self.taken_ms + self.client.facts.latency_ms

    @property
    def finish_ms(self) -> float:
        """When the server must be done with it."""
        return self.deadline_ms - self.client.round_trip_ms / 2


@dataclass
class _Camera:
    facts: Client
    capacity: Capacity
    sender: Sender
    round_trip_ms: float
    queue: deque[_Frame] = field(default_factory=deque)
    leaving: _Frame | None = None
    gpu: str | None = None
    planned: Model | None = None  # what the scheduler wants it to use
    planned_ms: float = 0.0  # of that model's batch
    told: Model | None = None  # what it was told to use


@dataclass
class _Server:
    name: str
    queue: list[_Frame] = field(default_factory=list)
    busy: bool = False
    model: Model | None = None
    batch: int = 1
    next: tuple[float, Model, int] | None = None  # from when on, what
    held: tuple[str, ...] = ()  # networks
    took_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # of the last frames


def most_in_time(
    profile: ModelProfile,
    clients: Sequence[tuple[Client, Capacity]],
    seconds: float,
    *,
    overhead_ms: float = 0.0,
    seed: int = 0,
) -> float:
    """Share of requests that no scheduler, whatever it knows, has in time: each link carries the smallest frames alone.

    An upper bound: every frame has the fewest bytes, and a GPU of its own that runs the fastest model at once. Frames
    of one client have the same size and deadlines in their order, so to send them in order, but for those that would
    be late, is the most that its link allows (any other choice can be exchanged for this one, frame by frame).
    """
    size = float(min(profile.frame_bytes[model.input_px] for model in profile.models))
    fastest = min(min(model.latency_ms.values()) for model in profile.models)
    chance = random.Random(seed)
    requests = sent = 0
    for client, capacity in clients:
        interval = 1e3 / client.rate
        slack = client.latency_ms - client.link.round_trip_ms - overhead_ms - fastest
        first, free, number = chance.random() * interval, 0.0, 0
        while (taken := first + number * interval) < seconds * 1e3:
            number += 1
            done = capacity.done_ms(max(taken, free), size)
            if done <= taken + slack + 1e-6:
                free, sent = done, sent + 1
        requests += number
    return sent / requests if requests else 1.0


@dataclass(frozen=True)
class Scheduling:
    """How the clients of a run are scheduled; see `edgesight.plan.adapt.scheduler.Scheduler`.

    A scheduler that is told needs no margin. `served`: by the rules of the server.
    """

    method: Method = "pairwise"
    told: bool = False
    margin: float = MARGIN
    load_limit: float | None = None
    served: bool = False


OURS = Scheduling()


class Simulation:
    """One run: clients with their links, a scheduler, GPUs."""

    def __init__(
        self,
        profile: ModelProfile,
        gpus: Sequence[Gpu],
        clients: Sequence[tuple[Client, Capacity]],
        scheduling: Scheduling = OURS,
        *,
        overhead_ms: float = 0.0,
        seed: int = 0,
    ) -> None:
        """`clients`: each with its link, whose bandwidth counts for nothing but its round trip does.

        `seed` is that of the moments at which cameras begin.
        """
        self._profile, self._told, self._overhead_ms = profile, scheduling.told, overhead_ms
        self._served = scheduling.served
        self._models = {model.name: model for model in profile.models}
        self._latency = {model.name: [0.0, *itertools.accumulate(_filled(model), max)] for model in profile.models}
        self._scheduler = Scheduler(
            profile,
            gpus,
            method=scheduling.method,
            margin=0.0 if scheduling.told else scheduling.margin,
            load_limit=scheduling.load_limit,
            overhead_ms=overhead_ms,
        )
        self._servers = {gpu.name: _Server(gpu.name) for gpu in gpus}
        self._cameras: list[_Camera] = []
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._ticket = itertools.count()
        self.outcome = Outcome()
        for given, capacity in clients:
            link = given.link.model_copy(update={"mbps": capacity.least_mbps(0, 0)})
            client = given.model_copy(update={"link": link})
            self._scheduler.register(client)
            sender = Sender(client, profile, overhead_ms=overhead_ms)
            self._cameras.append(_Camera(client, capacity, sender, link.round_trip_ms))

    def run(self, seconds: float) -> Outcome:
        """Simulate as long, and until the last answer."""
        end_ms = seconds * 1e3

        def round_(now: float) -> None:
            self._round(now)
            if now + INTERVAL_MS < end_ms:
                self._at(now + INTERVAL_MS, round_)

        round_(0.0)
        for camera in self._cameras:
            self._tell(camera)
            interval = 1e3 / camera.facts.rate
            self._take(camera, self._random.random() * interval, interval, end_ms)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return self.outcome

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._ticket), event))

    # The client.

    def _take(self, camera: _Camera, when: float, interval: float, end_ms: float) -> None:
        if when < end_ms:
            self._at(when, partial(self._taken, camera, interval, end_ms))

    def _taken(self, camera: _Camera, interval: float, end_ms: float, now: float) -> None:
        self._take(camera, now + interval, interval, end_ms)
        self.outcome.requests += 1
        waiting = float(sum(frame.size for frame in camera.queue))
        sent = sending_ms = 0.0
        if camera.leaving is not None:
            sending_ms = now - camera.leaving.left_ms
            sent = camera.capacity.carried(now) - camera.capacity.carried(camera.leaving.left_ms)
            waiting += max(0.0, camera.leaving.size - sent)
        known = self._told
        model = self._known(camera, now, waiting) if known else camera.sender.choose(waiting, sent, sending_ms)
        if model is None:
            self.outcome.missed += 1
            self.outcome.dropped_by_client += 1
            return
        size = self._profile.frame_bytes[model.input_px]
        camera.queue.append(_Frame(camera, now, size, model.accuracy))
        self._leave(camera, now)

    def _known(self, camera: _Camera, now: float, waiting: float) -> Model | None:
        """What a client that is told sends: the most accurate up to the assigned that arrives in time, or nothing."""
        sender = camera.sender
        least_ms = self._latency[sender.smallest.name][1]
        tried = [(model, sender.server_ms) for model in sender.offered]
        for model, server_ms in [*tried, (sender.smallest, least_ms)]:
            done = camera.capacity.done_ms(now, waiting + self._profile.frame_bytes[model.input_px])
            if done - now + server_ms + self._overhead_ms + camera.round_trip_ms <= camera.facts.latency_ms:
                return model
        return None

    def _leave(self, camera: _Camera, now: float) -> None:
        """Begin to send the next frame, if none is leaving."""
        while camera.leaving is None and camera.queue:
            frame = camera.queue.popleft()
            done = now + frame.size * 8e-3 / camera.sender.mbps + camera.round_trip_ms
            if not self._told and frame.taken_ms != now and done > frame.deadline_ms:
                self.outcome.missed += 1
                self.outcome.dropped_by_client += 1
                continue
            frame.left_ms, frame.mbps = now, camera.sender.mbps
            camera.leaving = frame
            self._at(camera.capacity.done_ms(now, frame.size), partial(self._sent, frame))

    def _sent(self, frame: _Frame, now: float) -> None:
        camera = frame.client
        camera.leaving = None
        self._leave(camera, now)
        self._at(now + camera.round_trip_ms / 2 + self._overhead_ms, partial(self._arrived, frame))
        # The acknowledgement is back a round trip after the last byte left.
        self._at(now + camera.round_trip_ms, lambda _: camera.sender.acknowledged(frame.size, now - frame.left_ms))

    # The server.

    def _arrived(self, frame: _Frame, now: float) -> None:
        camera = frame.client
        if not self._told:
            self._scheduler.report(camera.facts.name, frame.mbps)
        if camera.gpu is None:
            frame.served = False
            server = min(self._servers.values(), key=lambda server: (server.model is None, len(server.queue)))
            if server.model is None:
                self._refused(frame, now)
                return
        else:
            server = self._servers[camera.gpu]
        frame.arrived_ms = now
        server.queue.append(frame)
        self._work(server, now)

    def _refused(self, frame: _Frame, now: float) -> None:
        self.outcome.missed += 1
        self.outcome.dropped_by_server += 1
        self._at(now + frame.client.round_trip_ms / 2, lambda _: self._hears(frame.client))

    def _work(self, server: _Server, now: float) -> None:
        if server.busy:
            return
        if server.next is not None and now >= server.next[0]:
            _, server.model, server.batch = server.next
            server.next = None
        if server.model is None or not server.queue:
            return
        latency = self._latency[server.model.name]
        server.queue.sort(key=lambda frame: (not frame.served, frame.finish_ms))
        waiting = [frame for frame in server.queue if now + latency[1] <= frame.finish_ms]
        first = waiting[0].finish_ms - latency[1] if waiting else math.inf
        saved: tuple[Model, _Frame] | None = None
        for frame in server.queue:
            if now + latency[1] <= frame.finish_ms:
                continue
            model = self._faster(server, min(frame.finish_ms, first) - now)
            if model is None:
                self._refused(frame, now)
            elif saved is None:
                saved = model, frame
            else:
                waiting.append(frame)
        if saved is not None:
            model, frame = saved
            server.queue, server.busy = waiting, True
            self._at(now + self._latency[model.name][1], partial(self._worked, server, model, [frame]))
            return
        count = min(server.batch, len(waiting))
        while count > 1 and now + latency[count] > waiting[0].finish_ms:
            count -= 1
        batch, server.queue = waiting[:count], waiting[count:]
        if batch:
            server.busy = True
            model = server.model
            self._at(now + latency[count], partial(self._worked, server, model, batch))

    def _faster(self, server: _Server, by_ms: float) -> Model | None:
        """The most accurate model that the GPU holds and that runs one frame within that time."""
        if not self._served:
            return None
        held = [model for model in self._profile.models if model.weights in server.held]
        able = [model for model in held if self._latency[model.name][1] <= by_ms]
        return max(able, key=lambda model: model.accuracy, default=None)

    def _worked(self, server: _Server, model: Model, batch: list[_Frame], now: float) -> None:
        server.busy = False
        for frame in batch:
            server.took_ms.append(now - frame.arrived_ms)
            accuracy = min(frame.accuracy, model.accuracy)
            back = now + frame.client.round_trip_ms / 2
            self._at(back, partial(self._answered, frame, accuracy))
        self._work(server, now)

    def _answered(self, frame: _Frame, accuracy: float, now: float) -> None:
        outcome = self.outcome
        outcome.latencies_ms.append(now - frame.taken_ms)
        if now > frame.deadline_ms + 1e-6:
            outcome.missed += 1
        else:
            outcome.accuracy += accuracy
        self._hears(frame.client)

    def _hears(self, camera: _Camera) -> None:
        """Every answer carries the model to use next."""
        if camera.planned is not camera.told:
            self.outcome.switches += 1
            self._tell(camera)
        elif self._served:
            self._tell(camera)

    # The scheduler.

    def _round(self, now: float) -> None:
        if self._told:
            for camera in self._cameras:
                self._scheduler.report(camera.facts.name, camera.capacity.least_mbps(now, now + INTERVAL_MS))
        before = self._scheduler.plan
        plan = self._scheduler.round(now)
        self.outcome.round_seconds.append(self._scheduler.took_s)
        if plan is before:
            return
        for gpu in plan.gpus:
            server = self._servers[gpu.gpu]
            if gpu.model is not None:
                ready = self._scheduler.ready_ms[gpu.gpu]
                server.next = (ready, self._models[gpu.model], gpu.batch)
                server.held = gpu.resident
                self._at(ready, partial(self._work, server))
        placed = {entry.client: entry for entry in plan.clients}
        batch_ms = {gpu.gpu: gpu.latency_ms for gpu in plan.gpus}
        for camera in self._cameras:
            entry = placed.get(camera.facts.name)
            camera.gpu = entry.gpu if entry else None
            camera.planned = self._models[entry.model] if entry else None
            camera.planned_ms = batch_ms[entry.gpu] if entry else 0.0

    def _tell(self, camera: _Camera) -> None:
        camera.told = camera.planned
        server_ms = 2 * camera.planned_ms
        if self._served and camera.gpu is not None and len(took := self._servers[camera.gpu].took_ms) >= FEWEST:
            server_ms = sorted(took)[math.ceil(SHARE * len(took)) - 1]
        camera.sender.assign(camera.planned, server_ms)


def _filled(model: Model) -> list[float]:
    """Latency by batch size from 1 on; a size that the profile lacks runs as the next larger one."""
    return [
        min(latency for size, latency in model.latency_ms.items() if size >= count)
        for count in range(1, max(model.latency_ms) + 1)
    ]
