"""Splits for a link whose bandwidth moves: what the link will carry next, and what to choose for that.

Two forms. The authors' (Edgent's journal version, arXiv 1910.05316): a configuration map, made in advance, holds the
best exit and cut for each of some bandwidth states; Bayesian online change-point detection (Adams and MacKay, arXiv
0710.3742) says what the bandwidth has been since it last changed, and the nearest state's entry is taken. And ours: the
detector's whole predictive distribution is used, and the exit and cut are those with the highest expected accuracy when
late answers count nothing: accuracy times the probability to be on time.

Words owned here: *run* (observations since the last change), *state* (a bandwidth that the map has an entry for),
*stall* (an observation in which nothing, or next to nothing, came through).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import (
    SECONDS,
    Link,
    Name,
    NotNegative,
    Plain,
    PlanError,
    Positive,
    Share,
    Slo,
    read_trace,
)
from edgesight.plan.split.plan import Choice, Choices, deadline_of

_Floats = npt.NDArray[np.float64]

LEAST_MBPS = 0.01  # slower observations are counted as this: a stall is a stall
# In equal ratios, and fixed: a map that is made in advance cannot know what the link will show.
STATES_MBPS: Final = tuple(float(mbps) for mbps in np.geomspace(0.1, 100.0, 40))
_PLANNING = 0.9  # share of the time that a series' choices may take
_STEPS = 1024  # of the tables of Student's distribution; linear between them


class ChangePoints:
    """Bayesian online change-point detection on the logarithm of bandwidth (Adams and MacKay 2007).

    Within a run the logarithm is normal with unknown mean and variance (normal-gamma prior), so that predictions are
    Student's; a change comes with the same probability before each observation. Two additions make it fit for a link
    that is watched for long: runs longer than `longest` are one hypothesis, which forgets its oldest observations; and
    what a run begins with is what the link has shown so far, not a constant.
    """

    def __init__(
        self,
        *,
        mean_run: float = 20.0,
        longest: int = 60,
        spread: float = 1.0,
        within: float = 0.02,
    ) -> None:
        """No observation yet.

        `mean_run`: observations between changes, on average. `spread`: standard deviation, in e-folds, of bandwidth
        over the whole life of a link, as believed before the first observations. `within`: share of the life's variance
        that a run is believed to have before it has shown its own. Raises PlanError for what makes no sense.
        """
        for name, value, least in (("mean_run", mean_run, 1.0), ("longest", longest, 2), ("spread", spread, 1e-6)):
            if not least <= value < math.inf:
                raise PlanError(f"change points: field {name}: is {value:g}, but has to be at least {least:g}")
        if not 0.0 < within < 1.0:
            raise PlanError(f"change points: field within: is {within:g}, but has to lie between 0 and 1")
        self._hazard = 1.0 / mean_run
        self._longest = longest
        self._spread = spread
        self._within = within
        self._alpha = 1.5  # of the prior: as much belief as three observations of the variance
        self._weights = np.ones(1)  # of runs of length 0, 1, ..., longest
        self._counts = np.zeros(1)
        self._means = np.zeros(1)
        self._squares = np.zeros(1)  # sums of squared deviations from the mean
        self._seen = 0
        self._life_mean = 0.0
        self._life_squares = 0.0
        self._student = _StudentTables(2 * self._alpha, longest)
        self._refresh()

    @property
    def seen(self) -> int:
        """Observations so far."""
        return self._seen

    def observe(self, mbps: float) -> None:
        """Take one observed bandwidth in Mbit/s into account, 0 included; PlanError for what is no bandwidth."""
        if not 0.0 <= mbps < math.inf:
            raise PlanError(f"bandwidth series: {mbps} is no bandwidth in Mbit/s; give 0 or more")
        value = math.log(max(mbps, LEAST_MBPS))
        if not self._seen:
            self._life_mean = value
            self._refresh()
        # Probability of the observation under each run, then growth by one or a change (their algorithm 1).
        joint = self._weights * self._student.density((value - self._centres) / self._scales) / self._scales
        change = self._hazard * joint.sum()
        weights = np.concatenate(([change], (1.0 - self._hazard) * joint))
        deviations = value - self._means
        counts = self._counts + 1.0
        means = self._means + deviations / counts
        squares = self._squares + deviations * (value - means)
        self._counts = np.concatenate(([0.0], counts))
        self._means = np.concatenate(([0.0], means))
        self._squares = np.concatenate(([0.0], squares))
        if len(weights) > self._longest + 1:
            self._merge_longest(weights)
            weights = weights[:-1]
        self._weights = weights / weights.sum()
        self._seen += 1
        deviation = value - self._life_mean
        self._life_mean += deviation / self._seen
        self._life_squares += deviation * (value - self._life_mean)
        self._refresh()

    def probability_above(self, mbps: _Floats) -> _Floats:
        """Probability [n] that the next observation is at least each of `mbps` [n], a change before it included.

        Before the first observation nothing is known: 1 where no bandwidth is needed, else 0.
        """
        if not self._seen:
            return (np.asarray(mbps) <= 0.0).astype(np.float64)
        with np.errstate(divide="ignore"):
            values = np.log(np.asarray(mbps, np.float64))
        ahead = (1.0 - self._hazard) * self._weights
        ahead[0] += self._hazard
        return np.clip(
            ahead @ self._student.below((self._centres[:, None] - values[None, :]) / self._scales[:, None]), 0.0, 1.0
        )

    def run_lengths(self) -> _Floats:
        """Probability [longest + 1] that the current run has each length; the last entry holds longer ones, too."""
        lengths = np.zeros(self._longest + 1)
        lengths[: len(self._weights)] = self._weights
        return lengths

    def run_mbps(self) -> float:
        """Geometric mean of bandwidth over the most probable run that has an observation; 0 before the first."""
        if not self._seen:
            return 0.0
        return float(math.exp(self._means[1 + int(self._weights[1:].argmax())]))

    def _merge_longest(self, weights: _Floats) -> None:
        """Join the two longest runs: the older one's sums remain, cut down to as many observations as are kept."""
        weights[-2] += weights[-1]
        forget = self._longest / self._counts[-1]
        self._counts[-2] = self._longest
        self._means[-2] = self._means[-1]
        self._squares[-2] = self._squares[-1] * forget
        self._counts, self._means, self._squares = (part[:-1] for part in (self._counts, self._means, self._squares))

    def _refresh(self) -> None:
        """Centre and scale of what each run predicts, from its sums and the prior (Murphy 2007, section 3)."""
        # The life's variance, with the stated belief counting as ten observations.
        life = (10.0 * self._spread**2 + self._life_squares) / (10.0 + self._seen)
        kappa = self._within / (1.0 - self._within)  # so that a run that has shown nothing predicts the life's spread
        beta = self._alpha * self._within * life
        kappas = kappa + self._counts
        alphas = self._alpha + self._counts / 2
        offsets = self._means - self._life_mean
        self._centres = self._life_mean + self._counts * offsets / kappas
        betas = beta + self._squares / 2 + kappa * self._counts * offsets**2 / (2 * kappas)
        self._scales = np.sqrt(betas * (kappas + 1) / (alphas * kappas))


class _StudentTables:
    """Student's distributions of freedom + 0, 1, ..., longest degrees: row i of a table is for a run of i observations.

    The tables are over u = z / sqrt(freedom + z^2), between -1 and 1, where the density is (1 - u^2)^(freedom / 2 - 1).
    """

    def __init__(self, freedom: float, longest: int) -> None:
        self._freedom = freedom + np.arange(longest + 1)
        grid = np.linspace(-1.0, 1.0, _STEPS + 1)
        middle = (grid[:-1] + grid[1:]) / 2
        area = (1.0 - middle**2) ** (self._freedom[:, None] / 2 - 1)
        self._below = np.concatenate((np.zeros((longest + 1, 1)), np.cumsum(area, axis=1)), axis=1)
        self._below /= self._below[:, -1:]
        self._factors = np.array(
            [
                math.exp(math.lgamma((f + 1) / 2) - math.lgamma(f / 2)) / math.sqrt(math.pi * f)
                for f in map(float, self._freedom)
            ]
        )

    def density(self, z: _Floats) -> _Floats:
        """Density [runs] at z [runs], one for each run."""
        freedom = self._freedom[: len(z)]
        return np.asarray(self._factors[: len(z)] * (1 + z**2 / freedom) ** (-(freedom + 1) / 2))

    def below(self, z: _Floats) -> _Floats:
        """Probability [runs, n] of less than z [runs, n]; z may be infinite."""
        z = np.clip(z, -1e6, 1e6)
        freedom = self._freedom[: len(z), None]
        place = (z / np.sqrt(freedom + z**2) + 1.0) * (_STEPS / 2)
        step = np.minimum(place.astype(np.int64), _STEPS - 1)
        rows = np.arange(len(z))[:, None]
        low, high = self._below[rows, step], self._below[rows, step + 1]
        return np.asarray(low + (high - low) * (place - step))


class State(Plain):
    """An entry of the configuration map."""

    mbps: Positive
    choice: Choice | None  # None where nothing meets the needs at this bandwidth


class ConfigurationMap(Plain):
    """The best exit and cut for each of some bandwidth states, made in advance (Edgent's journal version)."""

    profile: str
    deadline_ms: Positive
    round_trip_ms: NotNegative
    accuracy_needed: Share | None = None
    states: list[State]  # by rising bandwidth

    @classmethod
    def of(cls, choices: Choices, slo: Slo, round_trip_ms: float, states: Sequence[float]) -> ConfigurationMap:
        """The map of the bandwidths `states`, in Mbit/s; PlanError where there are none, or one is no bandwidth."""
        if not states or not all(0.0 < mbps < math.inf for mbps in states):
            raise PlanError("configuration map: field states: give at least one bandwidth, all above 0 Mbit/s")
        deadline = deadline_of(slo)
        entries = []
        for mbps in sorted(states):
            link = Link(mbps=mbps, round_trip_ms=round_trip_ms)
            found = choices.best(link, deadline, slo.accuracy)
            entries.append(State(mbps=mbps, choice=None if found is None else choices.choice(found, link)))
        return cls(
            profile=choices.profile.name,
            deadline_ms=deadline,
            round_trip_ms=round_trip_ms,
            accuracy_needed=slo.accuracy,
            states=entries,
        )

    def at(self, mbps: float) -> State:
        """The state nearest to `mbps`, by ratio."""
        value = math.log(max(mbps, LEAST_MBPS))
        return min(self.states, key=lambda state: abs(math.log(state.mbps) - value))


class MovingSplit:
    """Chooses exit and cut, request after request, on a link that moves; takes observed bandwidths in between."""

    def __init__(
        self,
        choices: Choices,
        slo: Slo,
        round_trip_ms: float,
        changes: ChangePoints | None = None,
        *,
        fall_back: bool = False,
    ) -> None:
        """For requests with the needs `slo`; before the first observation only what needs no link is chosen.

        With `fall_back` the device goes on computing while it waits, and answers by itself where the link is too slow
        (`Choices.fallbacks`): no answer is late then, at the price of the device's energy.
        """
        self.changes = changes or ChangePoints()
        needed = choices.mbps_needed(deadline_of(slo), round_trip_ms)
        enough = choices.accuracy >= (slo.accuracy or 0.0)
        none = np.full(len(needed), -1, np.int64)
        self._fallbacks = choices.fallbacks(deadline_of(slo)) if fall_back else none
        if slo.accuracy is not None:
            self._fallbacks = np.where(choices.accuracy[self._fallbacks] >= slo.accuracy, self._fallbacks, -1)
        # Of choices of one accuracy and one fallback, the one that needs least bandwidth is on time most often.
        best: dict[tuple[float, int], int] = {}
        for index in np.lexsort((np.arange(len(needed)), needed)):
            if enough[index] and np.isfinite(needed[index]):
                best.setdefault((-float(choices.accuracy[index]), int(self._fallbacks[index])), int(index))
        self._candidates = np.array([best[kind] for kind in sorted(best)], np.int64)
        self._needed = needed[self._candidates]
        self._accuracy = choices.accuracy[self._candidates]
        fallbacks = self._fallbacks[self._candidates]
        self._otherwise = np.where(fallbacks < 0, 0.0, choices.accuracy[fallbacks])

    @property
    def candidates(self) -> list[int]:
        """Indices of all that may ever be chosen; what they fall back on is not among them."""
        return [int(index) for index in self._candidates]

    def observe(self, mbps: float) -> None:
        """Take one observed bandwidth into account: bytes that came through, over the time that they took."""
        self.changes.observe(mbps)

    def choose(self) -> tuple[int | None, float]:
        """Index into the choices, and its probability to be on time; None where nothing can be on time at all."""
        if not len(self._candidates):
            return None, 0.0
        on_time = np.where(self._needed <= 0.0, 1.0, self.changes.probability_above(self._needed))
        expected = self._accuracy * on_time + self._otherwise * (1.0 - on_time)
        best = int(np.where(on_time > 0.0, expected, 0.0).argmax())  # what can't be on time is not worth sending
        if on_time[best] <= 0.0:
            return None, 0.0
        return int(self._candidates[best]), float(on_time[best])

    def fallback(self, index: int) -> int:
        """Index of what the device answers with when the choice at `index` is late; -1: nothing."""
        return int(self._fallbacks[index])


class Step(Plain):
    """What was observed, and what is chosen for the request after it."""

    observed_mbps: NotNegative
    run_mbps: Positive  # what the bandwidth has been since it last changed
    run_length: Annotated[int, Field(strict=True, ge=0)]  # the most probable one, in observations
    exit: Name | None  # None where nothing can be on time at all
    cut: Annotated[int, Field(strict=True, ge=0)] | None
    layers: Annotated[int, Field(strict=True, ge=0)] | None  # of the exit, in all
    accuracy: Share | None
    on_time: Share  # probability
    fallback: Name | None  # exit that the device answers with by itself when that is late
    mapped_exit: Name | None  # what the configuration map says instead
    mapped_cut: Annotated[int, Field(strict=True, ge=0)] | None


class SeriesPlan(Plain):
    """Choices along a bandwidth series, each made from what had been observed before it."""

    planner: Literal["split"] = "split"
    method: Literal["change-point"] = "change-point"
    profile: Name
    deadline_ms: Positive
    round_trip_ms: NotNegative
    accuracy_needed: Share | None
    obtained: Obtained = "projected"
    map: ConfigurationMap
    steps: list[Step]
    left_out: Annotated[int, Field(strict=True, ge=0)] = 0  # observations at the end that there was no time for


def read_series(path: Path) -> list[float]:
    """Bandwidths in Mbit/s, one a second, from a trace; PlanError naming file and line where none is."""
    return list(read_trace(path).by_second)


def follow(
    choices: Choices,
    slo: Slo,
    round_trip_ms: float,
    series: Sequence[float],
    *,
    fall_back: bool = False,
    seconds: float = SECONDS,
) -> SeriesPlan:
    """Choose along `series` (Mbit/s), as `MovingSplit` does, with the configuration map's entries beside it.

    After `seconds` the observations that are left are not looked at: `SeriesPlan.left_out` says how many.
    """
    until = time.monotonic() + _PLANNING * seconds
    moving = MovingSplit(choices, slo, round_trip_ms, fall_back=fall_back)
    table = ConfigurationMap.of(choices, slo, round_trip_ms, STATES_MBPS)
    steps: list[Step] = []
    for mbps in series:
        if time.monotonic() >= until and steps:
            break
        moving.observe(mbps)
        index, on_time = moving.choose()
        chosen = None if index is None else choices.profile.exits[int(choices.exits[index])]
        fallback = -1 if index is None else moving.fallback(index)
        mapped = table.at(moving.changes.run_mbps()).choice
        steps.append(
            Step(
                observed_mbps=mbps,
                run_mbps=moving.changes.run_mbps(),
                run_length=int(moving.changes.run_lengths().argmax()),
                exit=None if chosen is None else chosen.name,
                cut=None if index is None else int(choices.cuts[index]),
                layers=None if chosen is None else len(choices.profile.chain(chosen)),
                accuracy=None if chosen is None else chosen.accuracy,
                on_time=on_time,
                fallback=None if fallback < 0 else choices.profile.exits[int(choices.exits[fallback])].name,
                mapped_exit=None if mapped is None else mapped.exit,
                mapped_cut=None if mapped is None else mapped.cut,
            )
        )
    return SeriesPlan(
        profile=choices.profile.name,
        deadline_ms=deadline_of(slo),
        round_trip_ms=round_trip_ms,
        accuracy_needed=slo.accuracy,
        map=table,
        steps=steps,
        left_out=len(series) - len(steps),
    )
