"""A client of adaptation: sizes each frame as it was told and as its link allows, sends one after the other, measures.

One frame leaves at a time; the next one begins when that has arrived, which the door tells at once, before the answer.
What cannot be answered in time is not sent. The sizer is handed in: this side knows no planner.

Words owned here: *camera* (gives frames at a steady rate), *leaving* (the frame that is on the link now).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import numpy.typing as npt

from edgesight.host.adapt import asked
from edgesight.host.adapt.planning import AdaptError, Model, Sizer, Wants
from edgesight.host.doors.served import Parameter

_PINGS: Final = 5
_PLANNED_WITHIN_S, _AGAIN_S = 2.0, 0.25  # a round of the server is made every half second
_TRIES: Final = 3  # of the first frame
_UNKNOWN: Final = 0.3  # share of a frame that is overdue which is taken to be on its way still
Make = Callable[[Model], bytes]  # a frame of the size that a model takes
NewSizer = Callable[[Wants], Sizer]


class ServerError(AdaptError):
    """The server did not answer: says why."""


@dataclass(frozen=True)
class Reply:
    """The server's answer: its parameters and outputs."""

    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, npt.NDArray[Any]]


class Server(Protocol):
    """Who is asked."""

    async def round_trip(self, within: float) -> float:
        """Seconds of the bare way there and back; raises ServerError."""

    async def ask(
        self, content: bytes, parameters: Mapping[str, Parameter], within: float, arrived: Callable[[], None]
    ) -> Reply:
        """The answer to a frame, `within` that many seconds; `arrived` is called once it has. Raises ServerError."""


@dataclass(frozen=True)
class Answered:
    """What became of a frame.

    Attributes:
        sized_for: the model that it was sized for; None: it was not sent, for it could only have been late.
        reply: None where none came.
        late: it came after the SLO, or never.
        took_s: seconds since the frame was taken.
        sent_bytes: 0 where it was not sent.
        fault: why no reply came.
    """

    sized_for: Model | None
    reply: Reply | None
    late: bool
    took_s: float
    sent_bytes: int = 0
    fault: str | None = None

    @property
    def accuracy(self) -> float:
        """As the profile has it, of the frame's size and the model that ran it; 0 where it came late."""
        return 0.0 if self.late or self.reply is None else float(self.reply.parameters[asked.ACCURACY])


@dataclass
class Counts:
    """Since the beginning."""

    frames: int = 0
    late: int = 0  # those that were not sent included
    not_sent: int = 0
    switches: int = 0  # of the model that it is told to use
    accuracy: float = 0.0  # summed


def _nothing() -> None:
    """Nobody wants to know when it arrived."""


@dataclass(eq=False)
class _Waiting:
    content: bytes
    model: Model
    taken: float
    waits: bool  # for another one
    turn: asyncio.Event = field(default_factory=asyncio.Event)  # it leaves now, or never
    begun: float = 0.0  # to leave
    dropped: bool = False


class CameraClient:
    """One client with one camera; runs in the loop that makes it."""

    def __init__(self, name: str, server: Server, new_sizer: NewSizer, *, slo_ms: float, rate: float) -> None:
        """It wants each answer within `slo_ms`, of `rate` frames a second. `open` comes first."""
        self.name, self.counts = name, Counts()
        self.round_trip_s = 0.0
        self.sizer: Sizer | None = None
        self._server, self._new_sizer = server, new_sizer
        self._slo_ms, self._rate = slo_ms, rate
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._leaving: _Waiting | None = None
        self._told: str | None = None

    async def open(self, make: Make, smallest: Model, within: float = 10.0) -> None:
        """Measure the link, by pings and a first frame of the smallest size, and be planned for; raises ServerError.

        Who has no place in the plan by then goes on without one.
        """
        self.round_trip_s = min([await self._server.round_trip(within) for _ in range(_PINGS)])
        content = make(smallest)
        transfer_s = max(await self._first(content, smallest, within) - self.round_trip_s, 1e-4)
        mbps = len(content) * 8e-6 / transfer_s
        self.sizer = self._new_sizer(Wants(self._slo_ms, self._rate, mbps, 1e3 * self.round_trip_s))
        parameters = self._parameters(smallest, mbps)
        until = self._loop.time() + _PLANNED_WITHIN_S
        while self._told is None and self._loop.time() < until:
            with contextlib.suppress(ServerError):
                self._heard(await self._server.ask(content, parameters, self._call_s(self._slo_ms / 1e3), _nothing))
            if self._told is None:
                await asyncio.sleep(_AGAIN_S)

    async def _first(self, content: bytes, smallest: Model, within: float) -> float:
        """Seconds until a first frame has arrived; raises ServerError."""
        parameters = {**self._parameters(smallest, None), asked.GRACE: 1e3 * within}
        fault = ServerError("the server does not tell when a frame has arrived: ask one of `edgesight adapt serve`")
        for _ in range(_TRIES):
            begun, came = self._loop.time(), list[float]()

            def arrived(begun: float = begun, came: list[float] = came) -> None:
                came.append(self._loop.time() - begun)

            try:
                await self._server.ask(content, parameters, within + self._slo_ms / 1e3, arrived)
            except ServerError as error:  # without a plan there is no answer yet
                fault = error
            if came:
                return came[0]
            await asyncio.sleep(_AGAIN_S)  # a refusal may have overtaken the word that it arrived
        raise fault

    @staticmethod
    def _call_s(left_s: float) -> float:
        """How long the call of a frame goes on whose answer is of use for `left_s`."""
        return left_s + asked.GRACE_MS / 1e3

    async def ask(self, make: Make, taken: float | None = None) -> Answered:
        """What becomes of a frame that was taken at that moment of the loop's clock, or now."""
        assert self.sizer is not None  # `open` comes first
        now = self._loop.time()
        taken = now if taken is None else taken
        waiting = float(sum(len(one.content) for one in self._queue))
        sent = sending_ms = 0.0
        if self._leaving is not None:
            size, sending_ms = len(self._leaving.content), 1e3 * (now - self._leaving.begun)
            # Only its arrival is told: until it is due it has left as estimated, and then nobody knows.
            sent = min(sending_ms * self.sizer.mbps * 125.0, size * (1 - _UNKNOWN))
            waiting += size - sent
        model = self.sizer.choose(waiting, sent, sending_ms)
        self.counts.frames += 1
        if model is None:
            return self._count(Answered(None, None, True, self._loop.time() - taken))
        frame = _Waiting(make(model), model, taken, waits=bool(waiting))
        self._queue.append(frame)
        self._leave()
        try:
            await frame.turn.wait()
        except asyncio.CancelledError:
            if frame in self._queue:
                self._queue.remove(frame)
            elif self._leaving is frame:
                self._leaving = None
                self._leave()
            raise
        if frame.dropped:
            return self._count(Answered(None, None, True, self._loop.time() - taken))
        return self._count(await self._send(frame))

    def _leave(self) -> None:
        """Let the next frame leave, if none does; one that could only be late does not."""
        assert self.sizer is not None  # as a frame came
        while self._leaving is None and self._queue:
            frame, now = self._queue.popleft(), self._loop.time()
            arrives = now + len(frame.content) * 8e-6 / self.sizer.mbps + self.round_trip_s
            # An idle link always gets a frame: without one nobody would learn that the link is fast again.
            frame.dropped = frame.waits and arrives > self._ends(frame)
            if not frame.dropped:
                frame.begun, self._leaving = now, frame
            frame.turn.set()

    def _ends(self, frame: _Waiting) -> float:
        return frame.taken + self._slo_ms / 1e3

    async def _send(self, frame: _Waiting) -> Answered:
        assert self.sizer is not None  # as a frame came
        sizer, size = self.sizer, len(frame.content)
        left = self._ends(frame) - self._loop.time()

        def gone(known: bool) -> None:
            if self._leaving is not frame:
                return
            self._leaving = None
            took = max(self._loop.time() - frame.begun - self.round_trip_s, 1e-5)
            # Of one that never arrived it is known that it took as long at least, and nothing where that is not long.
            if known or took > size * 8e-6 / sizer.mbps:
                sizer.acknowledged(size, 1e3 * took)
            self._leave()

        reply, fault = None, None
        try:
            parameters = self._parameters(frame.model, sizer.mbps)
            reply = await self._server.ask(frame.content, parameters, self._call_s(left), partial(gone, True))
        except ServerError as error:
            fault = str(error)
        finally:
            gone(False)
        now = self._loop.time()
        if reply is not None:
            self._heard(reply)
        late = reply is None or now > self._ends(frame)
        return Answered(frame.model, reply, late, now - frame.taken, size, fault)

    def _heard(self, reply: Reply) -> None:
        assert self.sizer is not None  # as it was asked
        told, server_ms = reply.parameters.get(asked.NEXT_MODEL), reply.parameters.get(asked.SERVER_MS, 0.0)
        if not isinstance(told, str) or not isinstance(server_ms, float):
            self.sizer.assign(None, 0.0)
            return
        self.counts.switches += self._told not in (None, told)
        self._told = told
        self.sizer.assign(told, server_ms)

    def _parameters(self, model: Model, mbps: float | None) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {
            asked.CLIENT: self.name,
            asked.SLO_MS: self._slo_ms,
            asked.RATE: self._rate,
            asked.ROUND_TRIP_MS: 1e3 * self.round_trip_s,
            asked.SIZED_FOR: model.name,
            asked.GRACE: asked.GRACE_MS,
        }
        return found if mbps is None else {**found, asked.MBPS: mbps}

    def _count(self, answer: Answered) -> Answered:
        self.counts.late += answer.late
        self.counts.not_sent += answer.sized_for is None
        self.counts.accuracy += answer.accuracy
        return answer
