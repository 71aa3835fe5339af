"""Whether a share of successes still lies above its bound, asked after every single observation.

A calibration shows that a share (of edge answers that the back end agrees with, or of right answers) lies above a
bound. What is observed later tells against that bound by an *e-process*: a bettor who starts with 1 stakes on failures
at odds that are fair, or worse, for as long as the share lies at the bound or above. Whatever the bettor sees and
whenever anybody looks, the wealth then ever reaches 1 / level with a probability of at most the level (Ville's
inequality). So an alarm at that wealth is wrong at most so often, though it is looked for after every observation.

The bettor splits the wealth over how far the share may have fallen, and over when: a part of it is kept back at every
moment for a fall that begins only then. So a fall is found soon that comes after a long time of health, and the sum
over all beginnings stays an e-process. Since when is told by the beginning whose bets won most (Page's CUSUM).

Sources: e-processes and Ville's inequality: Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe
anytime-valid inference", arXiv 2210.01948; a deployed model's risk followed so: Podkopaev and Ramdas, "Tracking the
risk of a deployed model", arXiv 2110.06177; mixtures over beginnings: Shin, Ramdas and Rinaldo, "E-detectors",
arXiv 2203.03532 (theirs begin anew and bound how often alarms come; here the shares of all beginnings sum to one, which
bounds the probability of any); CUSUM: Page, Biometrika 41 (1954).

This is numpy's and the standard library's alone: it runs on boards.

Words owned here: watch, wealth, fall.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

# How far the share may have fallen: by so much of the logarithm of its odds. Near falls are the hard ones.
_FALLS: Final = np.geomspace(0.08, 2.5, 12)

_Counted = Annotated[int, Field(ge=0)]


class Fall(BaseModel):
    """What gave the alarm, as near as can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    since: _Counted  # the observation, counted from 1, with which it began
    since_at: float  # when that was
    until: _Counted  # the observation with which the alarm came
    until_at: float
    successes: _Counted  # of those from `since` until then


class WatchState(BaseModel):
    """What a watch has seen, as it is kept over a restart."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    bound: Annotated[float, Field(gt=0.0, lt=1.0)]
    level: Annotated[float, Field(gt=0.0, lt=1.0)]
    count: _Counted = 0  # observations
    successes: _Counted = 0  # of them
    staked: list[Annotated[float, Field(ge=0.0)]] = [0.0] * len(_FALLS)  # wealth, by fall
    won: list[Annotated[float, Field(ge=0.0)]] = [0.0] * len(_FALLS)  # by fall, since it may have begun: a logarithm
    begun: list[_Counted] = [0] * len(_FALLS)  # by fall: observations before it may have begun
    before: list[_Counted] = [0] * len(_FALLS)  # by fall: successes among these
    begun_at: list[float] = [0.0] * len(_FALLS)  # by fall: when it may have begun
    fall: Fall | None = None  # that gave the alarm

    @model_validator(mode="after")
    def _fit(self) -> WatchState:
        beyond = any(place > self.count for place in self.begun) or any(one > self.successes for one in self.before)
        if self.successes > self.count or beyond:
            raise ValueError("more was counted than was observed")
        lists = (self.staked, self.won, self.begun, self.before, self.begun_at)
        if any(len(one) != len(_FALLS) for one in lists):
            raise ValueError(f"expected {len(_FALLS)} falls")
        return self


class Watch:
    """Follows one share whose bound is known."""

    def __init__(self, bound: float, level: float, state: WatchState | None = None) -> None:
        """Anew, or from a `state` of the same bound and level; another's is not taken over.

        `level` is the probability of an alarm at any time while the share lies at the `bound` or above; both lie
        between 0 and 1.
        """
        if state is None or (state.bound, state.level) != (bound, level):
            state = WatchState(bound=bound, level=level)
        self.bound, self.level = bound, level
        self.count, self.successes = state.count, state.successes
        self.fall = state.fall
        self._staked, self._won = np.array(state.staked), np.array(state.won)
        self._begun, self._before = np.array(state.begun, np.int64), np.array(state.before, np.int64)
        self._begun_at = np.array(state.begun_at)
        odds = bound / (1.0 - bound) * np.exp(-_FALLS)
        fallen = odds / (1.0 + odds)
        # Fair where the share is the bound; where it lies higher, the bettor loses on the mean.
        self._gains = (1.0 - fallen) / (1.0 - bound), fallen / bound
        self._logs: tuple[npt.NDArray[Any], ...] = tuple(np.log(gain) for gain in self._gains)

    def observe(self, success: bool, at: float = 0.0) -> bool:
        """Take one observation, made `at` a time in seconds; returns whether it gives the alarm.

        That comes once: thereafter nothing is staked.
        """
        anew = self._won <= 0.0
        self._begun[anew], self._before[anew], self._begun_at[anew] = self.count, self.successes, at
        self.successes += success
        self.count += 1
        if self.fall is not None:
            return False
        fresh = (_kept_back(self.count - 1) - _kept_back(self.count)) / len(_FALLS)
        self._staked = (self._staked + fresh) * self._gains[success]
        self._won = np.maximum(self._won, 0.0) + self._logs[success]
        if self.wealth < 1.0 / self.level:
            return False
        most = int(self._won.argmax())
        self.fall = Fall(
            since=int(self._begun[most]) + 1,
            since_at=float(self._begun_at[most]),
            until=self.count,
            until_at=at,
            successes=self.successes - int(self._before[most]),
        )
        return True

    @property
    def wealth(self) -> float:
        """What the bettor has, all in all; it begins at 1."""
        return float(self._staked.sum()) + _kept_back(self.count)

    def state(self) -> WatchState:
        """What it has seen."""
        return WatchState(
            bound=self.bound,
            level=self.level,
            count=self.count,
            successes=self.successes,
            staked=self._staked.tolist(),
            won=np.maximum(self._won, 0.0).tolist(),
            begun=self._begun.tolist(),
            before=self._before.tolist(),
            begun_at=self._begun_at.tolist(),
            fall=self.fall,
        )


def _kept_back(count: int) -> float:
    """The share of the first wealth that is kept back after so many observations: 1 at first, never 0.

    It falls so slowly that much is left to stake on a fall that begins after many thousand observations.
    """
    return 1.0 / (1.0 + math.log1p(count))
