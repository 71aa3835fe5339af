"""A request that goes to the data centre: what both ends know of it.

Words owned here: asked (a request on its way to the data centre and back).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from edgesight.sim.fleet.parts import Outcome


class There(enum.Enum):
    """How far a request is at the data centre."""

    NOT_YET = enum.auto()
    ASSEMBLING = enum.auto()
    READY = enum.auto()  # it waits for the model, or is with it
    SETTLED = enum.auto()
    CANCELLED = enum.auto()


@dataclass(eq=False, slots=True)
class Asked:
    """A request; times are the clock's.

    Attributes:
        number: of the request.
        picture: which one.
        since: when it was asked.
        deadline: until when its answer is of use.
        early: it went before the fabric answered.
        done: the edge waits for it no more.
        how: what became of it.
        attempt: how often it was sent once more.
        entire: it is of use only when all of it has come.
        strips: that are enough.
        sizes: bytes of its messages.
        under_way: messages of which nothing was heard.
        arrived: messages that are known to have arrived.
        first_sent: when it had been sent the first time.
        last_sent: when something of it was sent last.
        there: how far it is.
        came: strips that are there.
        due: the deadline as the data centre knows it.
        order: of coming.
        timer: which of its timers counts.
        settled_attempt: the attempt that the reply went to last.
        answered: what the reply says.
        wait_s: that a new request would have, as the reply says.
    """

    number: int
    picture: int
    since: float
    deadline: float
    early: bool
    done: bool = False
    how: Outcome = Outcome.NONE
    attempt: int = 0
    entire: bool = False
    strips: int = 1
    sizes: tuple[int, ...] = ()
    under_way: int = 0
    arrived: int = 0
    first_sent: float = 0.0
    last_sent: float = 0.0
    there: There = There.NOT_YET
    came: set[int] = field(default_factory=set)
    due: float = 0.0
    order: int = 0
    timer: int = 0
    settled_attempt: int = 0
    answered: bool = False
    wait_s: float = 0.0
