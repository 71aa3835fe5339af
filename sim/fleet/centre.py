"""A server of the data centre: requests in assembly, the line before the model, batches, and replies.

It does what `edgesight.host.datacenter.service` does, with that room's own shares, durations and constants; decoding
takes no time, and a run of the model what was sampled for its size.

Words owned here: session (a connection, as the data centre has it).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

import numpy as np

from edgesight.host.datacenter.durations import Durations
from edgesight.host.datacenter.service import (
    BEGIN_BEFORE,
    FEWEST_READY,
    MAX_ASSEMBLING,
    MAX_BATCH,
    MAX_READY,
    OVERTAKEN_AFTER,
    SILENT_AFTER,
    SILENT_ROUND_TRIPS,
)
from edgesight.host.datacenter.shares import Share, Shares
from edgesight.host.link.loss import COPIES_AT, LossMeter, copies
from edgesight.sim.fleet.asked import Asked, There
from edgesight.sim.fleet.clock import Call, Clock, Way
from edgesight.sim.fleet.parts import Runs
from edgesight.sim.fleet.path import Path

HEADERS: Final = 28 + 48  # bytes of IPv4 and UDP, and about those of a QUIC packet that are not its datagram's
_REPLY = 18  # bytes of a reply, which is a datagram
_ACK_AFTER = 0.001  # seconds after which a packet is acknowledged where nothing else goes
_KEPT = 256  # numbers of packets that an acknowledgement says, at most


@dataclass(eq=False)
class Session:
    """One edge's.

    Attributes:
        path: the edge's end, whose round trips count for both.
        share: the edge's part of the data centre.
        down: the way to the edge.
        receive: the edge's, for what arrives there.
        meter: of what gets lost on the way down.
        received: numbers of packets that came, and that the edge does not know of.
        received_at: when the last one came.
        owes: an acknowledgement is due.
        assembling: requests in assembly.
    """

    path: Path
    share: Share[Ready]
    down: Way
    receive: Call
    meter: LossMeter = field(default_factory=LossMeter)
    received: list[int] = field(default_factory=list)
    received_at: float = 0.0
    owes: bool = False
    assembling: int = 0


@dataclass(eq=False)
class Ready:
    """A request that waits for the model."""

    session: Session
    asked: Asked


class Server:
    """One server with one model."""

    def __init__(self, clock: Clock, model: Runs, chance: np.random.Generator) -> None:
        """`chance` decides which of the measured times a run takes."""
        self.batches = [0] * MAX_BATCH
        self.busy_s = 0.0
        self._clock, self._model, self._chance = clock, model, chance
        self._shares: Shares[Ready] = Shares()
        self._usual = Durations(0.0)
        self._order = itertools.count()
        self._idle = True

    def session(self, name: str, path: Path, down: Way, receive: Call) -> Session:
        """Let an edge in."""
        session = Session(path, self._shares.of(name), down, receive)
        session.share.clients += 1
        return session

    def gone(self, session: Session) -> None:
        """Forget a session."""
        session.share.clients -= 1

    def received(
        self, now: float, session: Session, number: int, asked: Asked | None, index: int, attempt: int, left: float
    ) -> None:
        """Take in a packet, and the strip in it, if any, of a request that had `left` seconds when it was sent."""
        session.received.append(number)
        del session.received[:-_KEPT]
        session.received_at = now
        if not session.owes:
            session.owes = True
            self._clock.at(now + _ACK_AFTER, self._acknowledge, session)
        if asked is not None:
            self._take(now, session, asked, index, attempt, left)

    def cancel(self, now: float, session: Session, asked: Asked) -> None:
        """Stop the work on a request."""
        if asked.there is There.ASSEMBLING:
            session.assembling -= 1
        elif asked.there is There.READY:
            session.share.waiting.remove(asked.due, asked.order)
        if asked.there is not There.SETTLED:
            asked.there = There.CANCELLED

    # ------------------------------------------------------------------------------------------------- in assembly

    def _take(self, now: float, session: Session, asked: Asked, index: int, attempt: int, left: float) -> None:
        if asked.there is There.SETTLED and attempt > asked.settled_attempt:  # asked again: all copies got lost
            asked.settled_attempt = attempt
            self._copies(now, session, asked)
        if asked.there is There.NOT_YET:
            asked.due = now + left
            if not self._room(session):
                self._settle(now, session, asked, answered=False)
                return
            asked.there = There.ASSEMBLING
            session.assembling += 1
        if asked.there is not There.ASSEMBLING or index in asked.came:
            return
        asked.came.add(index)
        asked.timer += 1
        if len(asked.came) >= asked.strips:
            self._assembled(now, session, asked, asked.timer)
            return
        silent = max(SILENT_AFTER, SILENT_ROUND_TRIPS * session.path.smoothed)
        overtaken = max(asked.came) == len(asked.sizes) - 1
        latest = asked.due - self._usual.decode_s - self._usual.model_s - session.path.least - BEGIN_BEFORE
        at = latest if asked.entire else min(now + (OVERTAKEN_AFTER if overtaken else silent), latest)
        self._clock.at(max(at, now), self._assembled, session, asked, asked.timer)

    def _room(self, session: Session) -> bool:
        most = max(MAX_READY // max(self._shares.connected, 1), FEWEST_READY)
        return session.assembling < MAX_ASSEMBLING and session.share.queued < most

    def _assembled(self, now: float, session: Session, asked: Asked, timer: int) -> None:
        """What has come of a request is all that is waited for."""
        if asked.there is not There.ASSEMBLING or timer != asked.timer:
            return
        session.assembling -= 1
        if asked.entire and len(asked.came) < asked.strips:
            self._usual.doubt(asked.due - session.path.least, now)
            self._settle(now, session, asked, answered=False)
            return
        asked.there, asked.order = There.READY, next(self._order)
        self._shares.wait(session.share, asked.due, asked.order, Ready(session, asked))
        if self._idle:
            self._work(now)

    # --------------------------------------------------------------------------------------------------- the model

    def _work(self, now: float) -> None:
        """Run the model on what waits, if anything does."""
        self._idle = False
        while taken := self._shares.take(_waiting, lambda share: MAX_BATCH, self._usual.batch(MAX_BATCH)):
            self._usual.decoded(0.0)
            batch = [ready for ready in taken if self._timely(now, ready)]
            if batch:
                took = self._model.sample(len(batch), self._chance)
                self.busy_s += took
                self.batches[len(batch) - 1] += 1
                self._clock.at(now + took, self._answered, batch, took)
                return
        self._idle = True

    def _timely(self, now: float, ready: Ready) -> bool:
        """Whether it can still be in time; else it is refused."""
        latest = ready.asked.due - ready.session.path.least
        if latest - self._usual.model_s <= now:
            self._usual.doubt(latest, now)
        if latest - self._usual.model_s > now:
            return True
        self._settle(now, ready.session, ready.asked, answered=False)
        return False

    def _answered(self, now: float, batch: list[Ready], took: float) -> None:
        for ready in batch:
            ready.session.share.used += took / len(batch)
        self._usual.answered(len(batch), took, now)
        for ready in batch:
            if ready.asked.there is There.READY:  # else it was cancelled meanwhile
                self._settle(now, ready.session, ready.asked, answered=True)
        self._work(now)

    # ------------------------------------------------------------------------------------------------------ replies

    def _settle(self, now: float, session: Session, asked: Asked, *, answered: bool) -> None:
        """Say what became of a request."""
        own = session.share.queued
        ahead = sum(min(share.queued, own) for share in self._shares) if own else 0
        asked.there, asked.answered, asked.settled_attempt = There.SETTLED, answered, asked.attempt
        asked.wait_s = math.ceil(ahead / MAX_BATCH * self._usual.model_s * 1e3) / 1e3
        self._copies(now, session, asked)

    def _copies(self, now: float, session: Session, asked: Asked) -> None:
        count = copies(session.meter.at_most)
        self._down(now, session, asked, _REPLY)
        for after in COPIES_AT[1:count]:
            self._clock.at(now + after, self._down, session, asked, _REPLY)

    def _acknowledge(self, now: float, session: Session) -> None:
        if session.owes:
            self._down(now, session, None, 0)

    def _down(self, now: float, session: Session, asked: Asked | None, size: int) -> None:
        """Send a packet, which says what came so far."""
        session.owes = False
        numbers, delay = tuple(session.received), now - session.received_at
        counted = session.meter if size else None  # what is not acknowledged tells nothing
        lost = None if counted is None else lambda at: counted.add(1, 1)
        session.down.carry(now, size + HEADERS, self._arrived, lost, session, asked, numbers, delay)

    def _arrived(
        self, now: float, session: Session, asked: Asked | None, numbers: tuple[int, ...], delay: float
    ) -> None:
        if asked is not None:
            session.meter.add(1, 0)
        known = set(numbers)
        session.received = [number for number in session.received if number not in known]
        session.receive(now, session, asked, numbers, delay)


_waiting = attrgetter("waiting")  # line of a share
