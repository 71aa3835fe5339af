"""What a real run took, said again in virtual time: each run of the model, and the computers at both ends.

In virtual time computing takes none. A real edge has a computer that each request has to be turned to, one after the
other. How long that takes is measured in one cell, and stated to the simulator in the others.

Words owned here: replayed, host (the computer at the edge's end), turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Replayed:
    """What is known of a real run.

    Attributes:
        runs: seconds of the model's runs, by batch size, in their order.
        turn_s: seconds that the edge's computer takes for a request, to draw from; none: no time.
        there_s: seconds beside the model that a request takes at the data centre, and the edge for what it sends there.
        begin: seconds from the link's beginning to the workload's; None: as soon as there is a connection.
        seed: of what is drawn.
    """

    runs: Mapping[int, Sequence[float]] = field(default_factory=dict)
    turn_s: Sequence[float] = ()
    there_s: float = 0.0
    begin: float | None = None
    seed: int = 0


class Host:
    """The edge's computer, of one core for what it serves."""

    def __init__(self, turn_s: Sequence[float] = (), begin: float | None = None, seed: int = 0) -> None:
        """As of `Replayed`; by default it takes no time of its own: it is a real one, or is left out."""
        self.begin = begin
        self._turn_s = tuple(turn_s)
        self._chance = np.random.default_rng([seed, 13])
        self._free = 0.0

    @classmethod
    def of(cls, replayed: Replayed | None) -> Host:
        """The one that is `replayed`."""
        return cls() if replayed is None else cls(replayed.turn_s, replayed.begin, replayed.seed)

    @property
    def takes_time(self) -> bool:
        """Whether it has any of its own."""
        return bool(self._turn_s)

    def ready(self, arrived: float) -> float:
        """When it has done for a request that comes then what it has to do; by order of their coming."""
        if not self.takes_time:
            return arrived
        self._free = max(self._free, arrived) + self._turn_s[int(self._chance.integers(len(self._turn_s)))]
        return self._free

    async def turn(self) -> None:
        """Wait until it is ready for a request that came now."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(self.ready(now) - now)
