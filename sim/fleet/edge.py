"""An edge: its fabric, and its way to the data centre.

It does what `edgesight.host.edge`, `edgesight.host.cascade` and `edgesight.host.link.client` do, with their constants,
the real hedging and the real loss meter. Left out: a second connection beside one that fell silent, since the first one
finds the path again as soon.

Words owned here: look (one run of the fabric on the pictures that wait).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edgesight.host.edge import LOOK_AT_MOST
from edgesight.host.hedge import Hedging
from edgesight.host.link.client import ASK_AGAIN, HARDLY_LOST, MOST_REPAIRED, SOONEST_ASK
from edgesight.host.link.connection import FIRST_BACKOFF, LAST_BACKOFF, PING_EVERY, PROBE_EVERY, WELCOME_WITHIN
from edgesight.host.link.loss import COPIES_AT, copies
from edgesight.host.link.parity import PREFIX, strips_for
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.sim.fleet.asked import Asked
from edgesight.sim.fleet.centre import HEADERS, Server, Session
from edgesight.sim.fleet.clock import Clock, Way
from edgesight.sim.fleet.parts import Outcome, Pictures
from edgesight.sim.fleet.path import Path, Sent

_MOST_OPEN = 128  # requests at once, of an `OffloadClient`
_SILENCE = min(IDLE_TIMEOUT / 2, WELCOME_WITHIN)  # seconds after which nobody seems to be there
_FIRST_PROBE = 0.2  # seconds: RFC 9002's probe timeout at aioquic's first guess of a round trip
_HELLO, _PING, _CANCEL = 1_200, 1, 7  # bytes; what begins a connection fills its packet
_ROUND_TRIPS: Final = 3  # of a handshake: address, certificates, hello and welcome


@dataclass(frozen=True)
class Kept:
    """Requests of all edges, and what becomes of them, by number.

    Attributes:
        at, due_s: seconds of arrival, and from there to the deadline.
        target, picture: which ones.
        leg_s, stage, unsure: what the fabric makes of it.
        took_s, how: to be filled in.
    """

    at: memoryview
    due_s: memoryview
    target: memoryview
    picture: memoryview
    leg_s: memoryview
    unsure: memoryview
    took_s: npt.NDArray[np.float64]
    how: npt.NDArray[np.int8]


class Edge:
    """One edge."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        pictures: Pictures,
        kept: Kept,
        server: Server,
        ways: tuple[Way, Way],
        hedging: Hedging,
        chance: np.random.Generator,
    ) -> None:
        """Its `ways` lead to its `server`, and back."""
        self.connects = 0
        self._name, self._clock, self._pictures, self._kept = name, clock, pictures, kept
        self._server, self._hedging, self._chance = server, hedging, chance
        self._up, self._down = ways
        self._waiting: deque[int] = deque()  # for the fabric
        self._looking = False
        self._early: dict[int, Asked] = {}
        self._session: Session | None = None
        self._open: dict[int, Asked] = {}
        self._slots: deque[Asked] = deque()  # that wait for one
        self._usual_wait = 0.1
        self._trying = 0  # which attempt to connect counts
        self._step = 0
        self._sent_at = 0.0
        self._backoff = FIRST_BACKOFF
        self._pinged = 0.0

    # -------------------------------------------------------------------------------------------------- the fabric

    def arrive(self, now: float, number: int) -> None:
        """A request comes."""
        kept = self._kept
        due = kept.due_s[number]
        if self._hedging.hedge(self._pictures.targets[kept.target[number]], due):
            self._early[number] = self._ask(now, number, now + due, early=True)
        self._waiting.append(number)
        if not self._looking:
            self._look(now)

    def _look(self, now: float) -> None:
        waiting, leg_s = self._waiting, self._kept.leg_s
        if not waiting:
            self._looking = False
            return
        self._looking = True
        batch = [waiting.popleft() for _ in range(min(len(waiting), LOOK_AT_MOST))]
        took = max(leg_s[number] for number in batch) + self._pictures.more_s * (len(batch) - 1)
        self._clock.at(now + took, self._looked, batch)

    def _looked(self, now: float, batch: list[int]) -> None:
        kept = self._kept
        self._look(now)
        for number in batch:
            early, unsure = self._early.pop(number, None), bool(kept.unsure[number])
            looked, due = now - kept.at[number], kept.due_s[number]
            self._hedging.looked(self._pictures.targets[kept.target[number]], looked, unsure, early is not None)
            if early is not None and (not unsure or looked >= due):
                self._cancel(now, early)
            if looked >= due:
                self._answer(now, number, Outcome.DEADLINE)
            elif not unsure:
                self._answer(now, number, Outcome.FABRIC)
            elif early is None:
                self._ask(now, number, kept.at[number] + due, early=False)
            elif early.done:
                self._end(now, early)
            else:
                early.early = False  # whoever waits for it is told at once

    def _answer(self, now: float, number: int, how: Outcome) -> None:
        self._kept.took_s[number] = now - self._kept.at[number]
        self._kept.how[number] = how

    # ------------------------------------------------------------------------------------------------ the data centre

    def _ask(self, now: float, number: int, deadline: float, *, early: bool) -> Asked:
        """Ask the data centre."""
        self._hedging.requested()
        asked = Asked(number, self._kept.picture[number], now, deadline, early)
        if self._session is None:
            self._over(now, asked, Outcome.NO_WAY)
        elif len(self._open) >= _MOST_OPEN:
            self._slots.append(asked)
            self._clock.at(deadline, self._out_of_time, asked)
        else:
            self._open[number] = asked
            self._send(now, asked)
        return asked

    def _out_of_time(self, now: float, asked: Asked) -> None:
        if not asked.done and asked.number not in self._open:
            self._over(now, asked, Outcome.DEADLINE)

    def _send(self, now: float, asked: Asked) -> None:
        """Send a request the first time, or once more."""
        session = self._session
        assert session is not None  # else it would be over
        path = session.path
        left = asked.deadline - now
        if left <= path.least:
            self._over(now, asked, Outcome.DEADLINE)
            return
        reminder = asked.attempt > 0 and asked.arrived > 0
        if not reminder:
            self._form(path, asked)
        again = asked.entire or reminder
        for index in range(1 if reminder else len(asked.sizes)):
            self._packet(now, session, asked, index, again)
        patience = math.inf if asked.attempt else max(SOONEST_ASK, ASK_AGAIN * self._usual_wait)
        self._clock.at(min(now + patience, asked.deadline), self._silence, asked, asked.attempt, patience)

    def _form(self, path: Path, asked: Asked) -> None:
        """In which messages it goes."""
        meter, pictures = path.meter, self._pictures
        asked.came.clear()
        # Such small pictures go entire where hardly a packet gets lost.
        asked.entire = meter.message_loss <= min(MOST_REPAIRED, HARDLY_LOST)
        if asked.entire:
            asked.strips, asked.sizes = 1, (int(pictures.entire[asked.picture]),)
        else:
            strips = pictures.strips
            parity = strips_for(len(strips), meter.path_loss)
            asked.strips, asked.sizes = len(strips), (*strips, *(max(strips) + PREFIX,) * parity)

    def _packet(self, now: float, session: Session, asked: Asked | None, index: int, again: bool) -> None:
        size = HEADERS + (asked.sizes[index] if asked is not None else _PING)
        number = session.path.sent(now, size, asked, index, again)
        attempt, left = (asked.attempt, asked.deadline - now) if asked is not None else (0, 0.0)
        self._up.carry(now, size, self._server.received, None, session, number, asked, index, attempt, left)

    def _sent_again(self, now: float, sent: Sent | None) -> None:
        """The path says that a packet got lost, or asks for a probe (None)."""
        session = self._session
        if session is None:
            return
        if sent is None or sent.asked is None:
            self._packet(now, session, None, 0, again=False)
        elif now < sent.asked.deadline - session.path.least:
            self._packet(now, session, sent.asked, sent.index, sent.again)

    def _silence(self, now: float, asked: Asked, attempt: int, patience: float) -> None:
        """It may be that nothing of a request came back for too long."""
        if asked.done or asked.attempt != attempt:
            return
        going = asked.entire and asked.under_way > 0
        until = min((now if going else asked.last_sent) + patience, asked.deadline)
        if until > now + 1e-9:
            self._clock.at(until, self._silence, asked, attempt, patience)
            return
        asked.first_sent = asked.first_sent or asked.last_sent
        if attempt or now >= asked.deadline - 1e-9:
            self._over(now, asked, Outcome.DEADLINE)
        else:
            asked.attempt = 1
            self._send(now, asked)

    def received(
        self, now: float, session: Session, asked: Asked | None, numbers: tuple[int, ...], delay: float
    ) -> None:
        """Take in a packet of the data centre: what it has got, and a reply, if any."""
        if session is not self._session:
            return
        session.path.acknowledged(now, numbers, delay)
        if asked is not None and not asked.done:
            asked.first_sent = asked.first_sent or asked.last_sent
            self._over(now, asked, Outcome.DATA_CENTRE if asked.answered else Outcome.REFUSED)

    def _over(self, now: float, asked: Asked, how: Outcome) -> None:
        """A request comes to its end, one way or the other."""
        asked.done = True
        if asked.first_sent:
            self._usual_wait += (now - asked.first_sent - self._usual_wait) / 8
        took = now - asked.since
        if how is Outcome.DATA_CENTRE:
            self._hedging.replied(took, asked.wait_s)
        else:
            self._hedging.unanswered(took, asked.deadline - asked.since)
        asked.how = how
        if not asked.early:
            self._end(now, asked)
        self._leave(now, asked)

    def _end(self, now: float, asked: Asked) -> None:
        """Both the fabric and the way to the data centre have come to an end."""
        late = now > asked.deadline + 1e-9
        self._answer(now, asked.number, Outcome.DEADLINE if late else asked.how)

    def _leave(self, now: float, asked: Asked) -> None:
        """Free its slot."""
        if self._open.pop(asked.number, None) is None or self._session is None:
            return
        while self._slots and len(self._open) < _MOST_OPEN:
            following = self._slots.popleft()
            if not following.done:
                self._open[following.number] = following
                self._send(now, following)

    def _cancel(self, now: float, asked: Asked) -> None:
        """Take a request back that the fabric made needless."""
        if asked.done:
            return
        asked.done = True
        session = self._session
        if session is not None and asked.number in self._open:
            for after in COPIES_AT[: copies(session.path.meter.at_most)]:
                self._clock.at(now + after, self._withdraw, session, asked)
        self._leave(now, asked)

    def _withdraw(self, now: float, session: Session, asked: Asked) -> None:
        self._up.carry(now, HEADERS + _CANCEL, self._server.cancel, None, session, asked)

    # ---------------------------------------------------------------------------------------------- the connection

    def connect(self, now: float) -> None:
        """Try to connect."""
        self._trying += 1
        self._step = 0
        self._greet(now, self._trying, 0, 0)
        self._clock.at(now + _SILENCE, self._give_up, self._trying, 0)
        self._clock.at(now + WELCOME_WITHIN, self._give_up, self._trying, _ROUND_TRIPS - 1)

    def _greet(self, now: float, trying: int, step: int, repeats: int) -> None:
        """One more packet of a handshake, again and again until it is answered."""
        if trying != self._trying or step != self._step:
            return
        if not repeats:
            self._sent_at = now
        self._up.carry(now, _HELLO + HEADERS, self._greeted, None, trying, step)
        self._clock.at(now + _FIRST_PROBE * 2.0**repeats, self._greet, trying, step, repeats + 1)

    def _greeted(self, now: float, trying: int, step: int) -> None:
        self._down.carry(now, _HELLO + HEADERS, self._heard, None, trying, step)

    def _heard(self, now: float, trying: int, step: int) -> None:
        if trying != self._trying or step != self._step:
            return
        self._step += 1
        if self._step < _ROUND_TRIPS:
            self._greet(now, trying, self._step, 0)
        else:
            self._connected(now)

    def _give_up(self, now: float, trying: int, step: int) -> None:
        """End an attempt to connect that has come no further than `step`, and pause."""
        if trying != self._trying or self._step > step:
            return
        self._trying += 1
        self._clock.at(now + self._backoff * (0.5 + float(self._chance.random())), self.connect)
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)

    def _connected(self, now: float) -> None:
        self.connects += 1
        self._backoff = FIRST_BACKOFF
        round_trip = now - self._sent_at
        path = Path(self._clock, now, round_trip, self._sent_again)
        self._session = self._server.session(self._name, path, self._down, self.received)
        self._usual_wait = round_trip
        self._pinged = now
        self._clock.at(now + PROBE_EVERY, self._tend, self._session)

    def _tend(self, now: float, session: Session) -> None:
        """Look after the connection."""
        path = session.path
        if not path.heard and now - path.idle_since >= IDLE_TIMEOUT:
            self._lost(now, session)
            return
        if path.silence(now) > PROBE_EVERY + path.smoothed:
            self._packet(now, session, None, 0, again=False)
        if now >= self._pinged + PING_EVERY - 1e-9:
            self._pinged = now
            self._packet(now, session, None, 0, again=False)
        self._clock.at(now + PROBE_EVERY, self._tend, session)

    def _lost(self, now: float, session: Session) -> None:
        """The connection ended: who waits for a reply gets none, and another is tried."""
        session.path.over = True
        self._server.gone(session)
        self._session = None
        for asked in [*self._open.values(), *self._slots]:
            if not asked.done:
                self._over(now, asked, Outcome.NO_WAY)
        self._open.clear()
        self._slots.clear()
        self._clock.at(now + self._backoff * (0.5 + float(self._chance.random())), self.connect)
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)
