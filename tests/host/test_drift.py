"""A fall is found, health gives no alarm, and the wealth of a bettor is an e-process whatever the share."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgesight.host.drift import Watch, WatchState

LEVEL = 0.03


def watched(share: float, bound: float, count: int, seed: int, after: int = 0, healthy: float = 1.0) -> Watch:
    """A watch over `after` observations with a `healthy` share of successes, then up to `count` with `share`."""
    watch, generator = Watch(bound, LEVEL), np.random.default_rng(seed)
    for success in itertools.chain(generator.random(after) < healthy, generator.random(count) < share):
        if watch.observe(bool(success)):
            break
    return watch


def test_the_wealth_is_fair_at_the_bound_and_shrinks_above_it() -> None:
    """Its mean over everything that may be observed, by enumeration; Ville's inequality needs no more."""
    for share, bound in ((0.8, 0.8), (0.9, 0.8), (1.0, 0.8), (0.5, 0.5)):
        means = [0.0] * 9
        for seen in itertools.product((True, False), repeat=8):
            watch = Watch(bound, 1e-9)
            for count, success in enumerate(seen, 1):
                watch.observe(success)
                later = len(seen) - count
                chance = math.prod(share if one else 1 - share for one in seen[:count])
                means[count] += chance * watch.wealth / 2**later
        assert means[1:] == (pytest.approx([1.0] * 8) if share == bound else sorted(means[1:], reverse=True))
        assert max(means) <= 1 + 1e-9


def test_health_gives_an_alarm_at_most_as_often_as_the_level_says() -> None:
    runs = 200
    alarms = sum(watched(0.95, 0.95, 3_000, seed).fall is not None for seed in range(runs))
    assert alarms <= LEVEL * runs + 3 * math.sqrt(LEVEL * (1 - LEVEL) * runs)


@pytest.mark.parametrize("after", [0, 2_000])
def test_a_fall_is_found_and_its_beginning_too(after: int) -> None:
    found = [watched(0.91, 0.95, 2_000, seed, after, healthy=0.96).fall for seed in range(30)]
    falls = [fall for fall in found if fall is not None and fall.until > after]
    assert len(falls) >= 27
    assert abs(float(np.median([fall.since for fall in falls])) - after) < 250
    shares = [fall.successes / (fall.until - fall.since + 1) for fall in falls]
    assert 0.86 < float(np.median(shares)) < 0.93


def test_a_kept_watch_goes_on_where_it_was() -> None:
    seen = np.random.default_rng(5).random(900) < 0.85
    whole = Watch(0.9, LEVEL)
    whole_alarms = [whole.observe(bool(one)) for one in seen]
    assert sum(whole_alarms) == 1
    first = Watch(0.9, LEVEL)
    for one in seen[:100]:
        first.observe(bool(one))
    second = Watch(0.9, LEVEL, WatchState.model_validate_json(first.state().model_dump_json()))
    assert [second.observe(bool(one)) for one in seen[100:]] == whole_alarms[100:]
    assert second.state() == whole.state()


def test_another_bounds_state_is_not_taken_over() -> None:
    former = watched(0.5, 0.9, 50, 0)
    assert Watch(0.8, LEVEL, former.state()).count == 0
    assert Watch(0.9, LEVEL / 2, former.state()).count == 0


@pytest.mark.parametrize(
    "change",
    [
        {"bound": 1.0},
        {"level": 0.0},
        {"count": 3},
        {"successes": -1},
        {"staked": [0.1]},
        {"won": [-1.0] * 12},
        {"begun": [10**9] * 12},
        {"begun_at": []},
        {"fall": {"since": 1}},
        {"staked": [float("nan")] * 12},
        {"more": 1},
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, object]) -> None:
    whole = watched(0.5, 0.9, 20, 1).state().model_dump()
    with pytest.raises(ValidationError):
        WatchState.model_validate(whole | change)


@given(st.lists(st.booleans(), max_size=300), st.floats(0.01, 0.99), st.floats(1e-6, 0.5))
def test_whatever_is_observed_the_numbers_stay_numbers(seen: list[bool], bound: float, level: float) -> None:
    watch = Watch(bound, level)
    alarms = [watch.observe(one) for one in seen]
    state = watch.state()
    assert (state.count, state.successes) == (len(seen), sum(seen))
    assert sum(alarms) == (state.fall is not None)
    assert math.isfinite(watch.wealth)
    if state.fall is not None:
        assert 1 <= state.fall.since <= state.fall.until <= state.count
        assert state.fall.successes == sum(seen[state.fall.since - 1 : state.fall.until])
    assert WatchState.model_validate_json(state.model_dump_json()) == state
