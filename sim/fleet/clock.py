"""The simulation's clock, and ways that packets go by it.

Words owned here: way (links that a packet crosses one after the other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgesight.sim.link.model import Direction, Schedule

Call = Callable[..., None]  # gets the time, and what was given beside it


class Clock:
    """Calls things at their times."""

    def __init__(self) -> None:
        """At time 0, with nothing to do."""
        self.events = 0
        self._due: Schedule[tuple[Call, tuple[Any, ...]]] = Schedule()

    def at(self, time: float, call: Call, *what: Any) -> None:
        """Call `call` at `time`."""
        self._due.add(time, (call, what))

    def run(self, until: float) -> None:
        """Do all that is due up to `until`."""
        due = self._due
        while due.next_time <= until:
            time, (call, what) = due.pop()
            self.events += 1
            call(time, *what)


class Way:
    """From one end to the other over links in turn."""

    def __init__(self, clock: Clock, links: Sequence[Direction]) -> None:
        """Over `links`."""
        self._clock, self._links = clock, links

    def carry(self, now: float, size: int, there: Call, lost: Call | None, *what: Any) -> None:
        """Take a packet of `size` bytes at `now`: calls `there` when it arrives, or `lost`, if that is told."""
        self._hop(now, 0, size, there, lost, what)

    def _hop(self, now: float, place: int, size: int, there: Call, lost: Call | None, what: tuple[Any, ...]) -> None:
        at = self._links[place].offer(now, size)
        if at is None:
            if lost is not None:
                lost(now)
        elif place + 1 == len(self._links):
            self._clock.at(at, there, *what)
        else:
            self._clock.at(at, self._hop, place + 1, size, there, lost, what)
