"""What a real run took, said again in virtual time: each run of the model, and the computers at both ends.

In virtual time computing takes none. What the computers of both ends take beside fabric, link and model is measured in
some cells, and stated to the simulator in others (`edgesight.bench.serve.real.validation`).

Words owned here: replayed, host (the computer at the edge's end).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Replayed:
    """What is known of a real run.

    Attributes:
        runs: seconds of the model's runs, by batch size, in their order.
        here_s: seconds that the edge's computer takes for a request, to draw from; none: no time.
        away_s: seconds that both ends take for a request which goes to the data centre, beside all else.
        begin: seconds from the link's beginning to the workload's; None: as soon as there is a connection.
        seed: of what is drawn.
    """

    runs: Mapping[int, Sequence[float]] = field(default_factory=dict)
    here_s: Sequence[float] = ()
    away_s: float = 0.0
    begin: float | None = None
    seed: int = 0


class Host:
    """The edge's computer."""

    def __init__(self, here_s: Sequence[float] = (), begin: float | None = None, seed: int = 0) -> None:
        """As of `Replayed`; by default it takes no time of its own: it is a real one, or is left out."""
        self.begin = begin
        self._here_s = tuple(here_s)
        self._chance = np.random.default_rng([seed, 13])

    @classmethod
    def of(cls, replayed: Replayed | None) -> Host:
        """The one that is `replayed`."""
        return cls() if replayed is None else cls(replayed.here_s, replayed.begin, replayed.seed)

    def takes(self) -> float:
        """Seconds, for a request that comes now."""
        return self._here_s[int(self._chance.integers(len(self._here_s)))] if self._here_s else 0.0
