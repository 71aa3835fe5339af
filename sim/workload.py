"""Requests that come when they come, whatever became of those before them: what a service is put under.

Arrivals are open-loop. Where they come in bursts, a process of two states does it: in one they come fast, in the other
seldom, and how long each lasts is exponential (Markov-modulated Poisson). A trace says the moments itself.

Words owned here: workload, arrivals, burst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_at_most

MOST_REQUESTS = 10_000_000
_MOST_TRACE_BYTES = 1 << 28

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class WorkloadError(EdgeSightError, ValueError):
    """Arrivals that cannot be: says what was found and what would be right."""


@dataclass(frozen=True)
class Poisson:
    """Arrivals independent of each other, so many `per_second` on the mean."""

    per_second: float

    def times(self, count: int, chance: np.random.Generator) -> Floats:
        """Seconds of `count` arrivals, rising."""
        _check(self.per_second)
        times: Floats = np.cumsum(chance.exponential(1 / self.per_second, count))
        return times


@dataclass(frozen=True)
class Bursty:
    """Arrivals of a two-state process.

    Attributes:
        per_second: on the mean.
        factor: by which they come faster in a burst than beside it, above 1.
        share: of time that is burst, between 0 and 1.
        burst_s: seconds that a burst lasts on the mean.
    """

    per_second: float
    factor: float = 5.0
    share: float = 0.2
    burst_s: float = 1.0

    def times(self, count: int, chance: np.random.Generator) -> Floats:
        """Seconds of `count` arrivals, rising."""
        _check(self.per_second)
        if not (self.factor > 1.0 and 0.0 < self.share < 1.0 and 0.0 < self.burst_s < math.inf):
            raise WorkloadError(f"{self}: give a factor above 1, a share between 0 and 1, and seconds above 0")
        calm = self.per_second / (1 - self.share + self.share * self.factor)
        calm_s = self.burst_s * (1 - self.share) / self.share
        found: list[Floats] = []
        now, have, burst = 0.0, 0, bool(chance.random() < self.share)
        while have < count:
            lasts = chance.exponential(self.burst_s if burst else calm_s)
            rate = calm * self.factor if burst else calm
            within = np.sort(chance.uniform(now, now + lasts, chance.poisson(rate * lasts)))
            found.append(within)
            now, have, burst = now + lasts, have + within.size, not burst
        return np.concatenate(found)[:count]


@dataclass(frozen=True)
class Timestamps:
    """Arrivals at given moments, as often over as is asked for."""

    seconds: tuple[float, ...]  # rising, from 0 on
    name: str = "timestamps"

    @classmethod
    def read(cls, path: Path) -> Timestamps:
        """Of a file with a moment in seconds a line; raises WorkloadError."""
        try:
            lines = read_at_most(path, _MOST_TRACE_BYTES).decode().split()
            seconds = [float(line) for line in lines]
        except (OSError, ValueError) as error:
            raise WorkloadError(f"{path}: cannot be read as moments ({error}): give seconds, one a line") from error
        if len(seconds) < 2 or not all(map(math.isfinite, seconds)) or sorted(seconds) != seconds:
            raise WorkloadError(f"{path}: give at least two moments, in seconds, rising")
        return cls(tuple(one - seconds[0] for one in seconds), path.name)

    @property
    def per_second(self) -> float:
        """On the mean; raises WorkloadError where all moments are the same."""
        _check(len(self.seconds) / self._length)
        return len(self.seconds) / self._length

    def at_rate(self, per_second: float) -> Timestamps:
        """The same moments closer together or further apart: so many `per_second` on the mean. Raises WorkloadError."""
        _check(per_second)
        factor = self.per_second / per_second
        return Timestamps(tuple(one * factor for one in self.seconds), self.name)

    def times(self, count: int, chance: np.random.Generator) -> Floats:
        """Seconds of `count` arrivals, rising; the trace begins anew a mean gap after its end."""
        one, length = np.array(self.seconds), self._length
        _check(len(one) / length)
        rounds = -(-count // len(one))
        times: Floats = (one[None] + length * np.arange(rounds)[:, None]).ravel()[:count]
        return times

    @property
    def _length(self) -> float:
        """Seconds until the trace begins anew."""
        length = self.seconds[-1] * len(self.seconds) / max(len(self.seconds) - 1, 1)
        if not length > 0.0:
            raise WorkloadError(f"{self.name}: all its moments are the same: give two at least, and some that rise")
        return length


Arrivals = Poisson | Bursty | Timestamps


@dataclass(frozen=True)
class Workload:
    """Requests, in order of arrival.

    Attributes:
        at: seconds of arrival [N].
        picture: which one each carries [N].
        target: which of the targets [N].
        deadline_s: seconds from arrival within which an answer is of use [N].
    """

    at: Floats
    picture: Ints
    target: Ints
    deadline_s: Floats

    def __len__(self) -> int:
        """Requests."""
        return len(self.at)

    def take(self, chosen: Ints) -> Workload:
        """Those at the places `chosen`, rising, at the moments that they have."""
        return Workload(self.at[chosen], self.picture[chosen], self.target[chosen], self.deadline_s[chosen])


def workload(
    arrivals: Arrivals,
    count: int,
    pictures: int,
    *,
    targets: int = 1,
    deadlines_s: Sequence[float] = (0.5,),
    seed: int = 0,
) -> Workload:
    """`count` requests for some of so many `pictures`, each with a target and a deadline by chance.

    They go in rounds of all pictures in some order, of which the last ones are whole. In as many rounds as there are
    targets each picture meets each target once, so that no target has the easier pictures. Raises WorkloadError.
    """
    if pictures < 1 or targets < 1 or not deadlines_s or not all(0.0 < one < math.inf for one in deadlines_s):
        raise WorkloadError("give at least one picture, one target, and one deadline above 0")
    if not 1 <= count <= MOST_REQUESTS:
        raise WorkloadError(f"{count} requests: give 1 to {MOST_REQUESTS}")
    of = {name: np.random.default_rng([seed, place]) for place, name in enumerate(("at", "picture", "target", "due"))}
    rounds = -(-count // pictures)
    picture = np.concatenate([of["picture"].permutation(pictures) for _ in range(rounds)])[-count:].astype(np.int64)
    first = of["target"].permutation(pictures) % targets  # of each picture
    return Workload(
        arrivals.times(count, of["at"]),
        picture,
        (first[picture] + np.repeat(np.arange(rounds), pictures)[-count:]) % targets,
        of["due"].choice(np.array(deadlines_s, np.float64), count),
    )


def _check(per_second: float) -> None:
    if not 0.0 < per_second < math.inf:
        raise WorkloadError(f"{per_second:g} arrivals a second: give more than none")
