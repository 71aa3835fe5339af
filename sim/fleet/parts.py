"""What a fleet is made of, as plain values, and what became of its requests.

Words owned here: fleet, region (edges that share a link), outcome.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import Target
from edgesight.sim.link.options import LinkOptions

MOST_EDGES, MOST_SERVERS, MOST_SECONDS = 10_000, 64, 3_600.0
MOST_REQUESTS = 5_000_000

Floats = npt.NDArray[np.float64]
Links = tuple[LinkOptions, LinkOptions]  # up, down


class FleetError(EdgeSightError, ValueError):
    """A fleet that cannot be simulated: says what was found and what would be right."""


class Runs(Protocol):
    """How long a server's model takes."""

    def sample(self, batch: int, chance: np.random.Generator) -> float:
        """Seconds of one run of so many pictures."""


@dataclass(frozen=True)
class Pictures:
    """What the fabric makes of each picture, and what it takes to send it.

    Attributes:
        targets: that requests are asked under.
        leg_s: seconds that the fabric takes [targets, pictures].
        more_s: seconds that each further picture of one look takes.
        stage: that answers [targets, pictures].
        unsure: whether the picture is to be offloaded [targets, pictures].
        entire: bytes of the message in which it travels where nothing gets lost [pictures].
        strips: bytes of each message in which it travels else.
    """

    targets: Sequence[Target]
    leg_s: Floats
    more_s: float
    stage: npt.NDArray[np.int8]
    unsure: npt.NDArray[np.bool_]
    entire: npt.NDArray[np.int64]
    strips: Sequence[int]


@dataclass(frozen=True)
class Region:
    """So many edges, each behind links of its own, and all of them behind one that they `share`, if there is any.

    The moments of a link's outages are counted from the first request.
    """

    edges: int
    links: Links
    shared: Links | None = None


@dataclass(frozen=True)
class Fleet:
    """Edges in regions, and the data centre's servers, each with a GPU and a queue; edges are dealt out to them."""

    regions: tuple[Region, ...]
    servers: int

    def __post_init__(self) -> None:
        """Raise FleetError where it is none."""
        if not (1 <= self.edges <= MOST_EDGES and min(one.edges for one in self.regions) >= 1):
            raise FleetError(f"{self.edges} edges: give 1 to {MOST_EDGES}, and at least one in each region")
        if not 1 <= self.servers <= MOST_SERVERS:
            raise FleetError(f"{self.servers} servers: give 1 to {MOST_SERVERS}")

    @property
    def edges(self) -> int:
        """In all regions."""
        return sum(one.edges for one in self.regions)

    def region_of(self) -> npt.NDArray[np.int64]:
        """The region of each edge [edges]."""
        return np.repeat(np.arange(len(self.regions)), [one.edges for one in self.regions])


class Outcome(enum.IntEnum):
    """What became of a request."""

    NONE = 0  # nothing yet
    FABRIC = 1  # the fabric was sure
    DATA_CENTRE = 2
    NO_WAY = 3  # fallback: there was no connection, or it ended
    DEADLINE = 4  # fallback: nothing came in time
    REFUSED = 5  # fallback: the data centre gave no answer


@dataclass(frozen=True)
class Outcomes:
    """What became of all requests, in order of arrival.

    Attributes:
        at: seconds of arrival [N].
        edge: which one [N].
        due_s: seconds from arrival until the deadline [N].
        took_s: seconds from arrival until there was an answer, NaN where there never was one [N].
        how: an `Outcome` [N].
        batches: of each size that servers ran, from 1 on.
        busy_s: seconds that each server's model was at work.
        connects: of edges to the data centre.
        events: that were simulated.
    """

    at: Floats
    edge: npt.NDArray[np.int32]
    due_s: Floats
    took_s: Floats
    how: npt.NDArray[np.int8]
    batches: tuple[int, ...]
    busy_s: tuple[float, ...]
    connects: int
    events: int

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Answered in time by a sure fabric or by the data centre [N]."""
        return np.isin(self.how, (Outcome.FABRIC, Outcome.DATA_CENTRE))

    @property
    def unanswered(self) -> int:
        """Requests without any answer by their deadline."""
        return int((~(self.took_s <= self.due_s + 1e-9)).sum())

    @property
    def counted_s(self) -> Floats:
        """Seconds as a grid counts them: the deadline where the fallback answered [N]."""
        return np.where(self.good, self.took_s, self.due_s)

    @property
    def digest(self) -> str:
        """SHA-256 over what became of each request."""
        found = hashlib.sha256()
        for one in (self.at, self.edge, self.took_s, self.how):
            found.update(np.ascontiguousarray(one).tobytes())
        return found.hexdigest()


def check_requests(count: int, seconds: float) -> None:
    """Raise FleetError where there are too many requests, or over too long."""
    if not (1 <= count <= MOST_REQUESTS and math.isfinite(seconds) and seconds <= MOST_SECONDS):
        raise FleetError(f"{count} requests in {seconds:g} s: give 1 to {MOST_REQUESTS} in at most {MOST_SECONDS:g} s")
