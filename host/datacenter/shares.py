"""What one edge, or one caller, may take of the data centre, so that none of them can take it from the others.

An edge is its name: more connections get it no more. Work is shared by the time that it takes. Whose share has had
least so far goes first, and within a share the request whose deadline is nearest. One that was idle begins where the
others are: it has saved nothing up.

The loop that receives and replies cannot choose what it receives. While several edges are active, what one of them
sends beyond its part of the loop's time is dropped unread. Time is told by what a message costs on this machine, and
that is measured.

Words owned here: share, budget, effort (what a message costs, one; a reply costs more).
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

# Of the loop's processor time: what active edges share, and seconds that each may take at once, for several images.
LOOP_SHARE, _LOOP_BURST = 0.6, 0.2
_EFFORT_S = 200e-6  # seconds of an effort, before they are measured
_MEASURE_EVERY = 0.25  # seconds
_ENOUGH = 50  # efforts that tell what one costs
_ACTIVE = 1.0  # seconds for which an edge that sent something counts as active
REPLY_EFFORTS = 3  # of a reply, in its copies
REFUSALS_A_SECOND, _REFUSALS_AT_ONCE = 32.0, 128.0  # replies without an answer: a flood of requests is no flood of them
_LINES_A_SECOND = 1 / 60  # of the log

T = TypeVar("T")


class Budget:
    """At most `burst` of something at once, and `rate` a second of it in the long run: a token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        """Full."""
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def left(self, now: float, among: int = 1) -> float:
        """What may be spent at `now`, seconds of any clock; less than nothing where more was.

        The rate of the time since it was asked is shared `among` so many.
        """
        self._left = min(self._left + self._rate / among * max(now - self._at, 0.0), self._burst)
        self._at = now
        return self._left

    def spend(self, amount: float) -> None:
        """Spend `amount`, be it there or not: what something costs is often known afterwards."""
        self._left -= amount

    def take(self, now: float) -> bool:
        """Spend one, if it is there."""
        if self.left(now) < 1.0:
            return False
        self._left -= 1.0
        return True


class Line(Generic[T]):
    """What waits: by level, the lower ones first, and within a level the nearest deadline first."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: list[tuple[int, float, int, T]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """All of it, in its order."""
        return (entry[3] for entry in self._waiting)

    def add(self, deadline: float, number: int, item: T, level: int = 0) -> None:
        """Let `item` wait; `number` is its own, and says which of two with one deadline goes first."""
        bisect.insort(self._waiting, (level, deadline, number, item), key=_place)

    def remove(self, deadline: float, number: int, level: int = 0) -> None:
        """Take what was added so out, if it still waits."""
        at = bisect.bisect_left(self._waiting, (level, deadline, number), key=_place)
        if at < len(self._waiting) and self._waiting[at][2] == number:
            del self._waiting[at]

    def first(self) -> T:
        """Take out what goes first."""
        return self._waiting.pop(0)[3]

    def next(self) -> T:
        """What goes first; it stays."""
        return self._waiting[0][3]

    def last(self) -> T:
        """What goes last; it stays."""
        return self._waiting[-1][3]


def _place(entry: tuple[int, float, int, object]) -> tuple[int, float, int]:
    return entry[:3]


def _one(item: object) -> int:
    return 1


def _any(item: object) -> bool:
    return True


@dataclass
class Share(Generic[T]):
    """One edge's."""

    name: str
    clients: int = 0  # connections
    used: float = 0.0  # seconds of decoding and of the model
    bytes: int = 0  # of its requests' strips
    seen: float = float("-inf")  # when it sent something
    waiting: Line[T] = field(default_factory=Line)  # to be decoded
    decoded: Line[T] = field(default_factory=Line)  # to be answered
    loop: Budget = field(default_factory=lambda: Budget(LOOP_SHARE, _LOOP_BURST))
    refusals: Budget = field(default_factory=lambda: Budget(REFUSALS_A_SECOND, _REFUSALS_AT_ONCE))
    lines: Budget = field(default_factory=lambda: Budget(_LINES_A_SECOND, 1.0))

    @property
    def queued(self) -> int:
        """Requests that wait for the model."""
        return len(self.waiting) + len(self.decoded)


class Effort:
    """What the loop's thread does for a message: measured by its processor time, which includes all that QUIC costs."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        """Nothing is measured yet; `clock` tells the processor time of the thread that calls, in seconds."""
        self._clock = clock
        self.seconds = _EFFORT_S  # an effort's
        self.active = 1  # edges
        self._count = 0
        self._next, self._processor = 0.0, 0.0

    def make(self, efforts: int) -> float:
        """Seconds that so many efforts take, which are made now."""
        self._count += efforts
        return efforts * self.seconds

    def measure(self, now: float, shares: Iterable[Share[Any]]) -> None:
        """Look at the clock, now and then; in the loop's thread."""
        if now < self._next:
            return
        processor = self._clock()
        if self._next and self._count >= _ENOUGH:
            self.seconds += ((processor - self._processor) / self._count - self.seconds) / 4
        if self._count >= _ENOUGH or not self._next:
            self._processor, self._count = processor, 0
        self._next = now + _MEASURE_EVERY
        self.active = max(sum(now - share.seen < _ACTIVE for share in shares), 1)


class Shares(Generic[T]):
    """All edges'. Those of edges that went away are kept, so that coming back gives none a new budget.

    Only enrolled edges have one, so their count is the authority's.
    """

    def __init__(self) -> None:
        """Of none."""
        self._shares: dict[str, Share[T]] = {}
        self._clock = 0.0  # `used` of whoever went last

    def of(self, name: str) -> Share[T]:
        """The share of edge `name`."""
        if name not in self._shares:
            self._shares[name] = Share(name)
        return self._shares[name]

    def __iter__(self) -> Iterator[Share[T]]:
        """In the order of the edges' first coming."""
        return iter(self._shares.values())

    @property
    def connected(self) -> int:
        """Edges that are there."""
        return sum(share.clients > 0 for share in self)

    def wait(self, share: Share[T], deadline: float, number: int, item: T, level: int = 0) -> None:
        """Let `item` of `share` wait to be decoded."""
        if not share.queued:
            share.used = max(share.used, self._clock)
        share.waiting.add(deadline, number, item, level)

    def forget(self, most: int) -> None:
        """Keep about `most` shares, of those that anybody can have: one that has nothing here loses nothing by it."""
        if len(self._shares) > most:
            for share in list(self):
                if not (share.queued or share.bytes or share.clients) and share.used <= self._clock:
                    del self._shares[share.name]

    def take(
        self,
        line: Callable[[Share[T]], Line[T]],
        room: Callable[[Share[T]], int],
        most: int,
        size: Callable[[T], int] = _one,
        fits: Callable[[T], bool] = _any,
    ) -> list[T]:
        """At most `most` of what waits in each share's `line`, at most `room` of a share, one of each in turn.

        An item counts as its `size`; the first is taken whatever that is. A share whose next item does not fit to those
        that were taken waits.
        """
        turn = sorted((share for share in self if len(line(share))), key=lambda share: share.used)
        if turn:
            self._clock = max(self._clock, turn[0].used)
        taken: list[T] = []
        of_each = filled = 0
        while turn:
            going = []
            for share in turn:
                if not len(line(share)) or room(share) <= of_each or filled >= most:
                    continue
                item = line(share).next()
                if taken and not (filled + size(item) <= most and fits(item)):
                    continue
                taken.append(line(share).first())
                filled += size(item)
                going.append(share)
            turn = going
            of_each += 1
        return taken
