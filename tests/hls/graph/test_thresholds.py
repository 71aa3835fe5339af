"""Thresholds and shifts are the function that they stand for, at every integer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.source import Refused
from edgesight.hls.graph.thresholds import Shift, Steps, seen_direction, shift_of, steps_of
from tests.hls.graph.graphs import Graph

CHANNELS = 7


def given(steps: Steps, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    counts = (x[:, :, None] >= steps.thresholds).sum(axis=2)
    return np.asarray(steps.first + steps.step * counts)


def shifted(shift: Shift, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """By exact fractions of powers of two."""
    exact = (x * shift.multiplier + shift.offset) / 2.0**shift.shift
    ways: dict[int, Callable[[Any], Any]] = {0: np.floor, 1: lambda value: np.floor(value + 0.5), 2: np.round}
    rounded = ways[shift.rounding](exact)
    return np.asarray(np.clip(rounded, *shift.limits), np.int64)


@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_thresholds_found_either_way_are_the_function(seed: int, unit: int) -> None:
    generator = np.random.default_rng(seed)
    slope = generator.normal(0, 0.3, CHANNELS) * (generator.random(CHANNELS) > 0.2)
    offset = generator.normal(0, 4, CHANNELS)
    zero = generator.integers(-3, 4, CHANNELS)
    low, high = -generator.integers(0, 60, CHANNELS), generator.integers(1, 60, CHANNELS)

    def counted(x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return np.asarray(np.clip(np.round(x * slope + offset), -5, 6) * unit - zero, np.int64)

    points = np.clip(np.arange(-60, 61)[:, None], low, high)
    for direction in (np.where(slope >= 0, 1, -1), np.zeros(CHANNELS, np.int64)):
        steps = steps_of(counted, low, high, direction, unit)
        assert np.array_equal(given(steps, points), counted(points))
        assert np.all(np.diff(steps.thresholds, axis=1) >= 0)


@pytest.mark.parametrize("rounding", [0, 1, 2])
@pytest.mark.parametrize("bits", [0, 1, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_a_shift_is_found_and_is_the_function(seed: int, bits: int, rounding: Any) -> None:
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1, 1], CHANNELS)
    wanted = Shift(sign, generator.integers(-40, 40, CHANNELS), bits, rounding, (-4, 7))
    low, high = np.full(CHANNELS, -50 << bits), np.full(CHANNELS, 50 << bits)
    steps = steps_of(lambda x: shifted(wanted, x), low, high, sign, 1)
    found = shift_of(steps)
    assert found is not None
    points = np.arange(-50 << bits, (50 << bits) + 1)[:, None] * np.ones(CHANNELS, np.int64)
    assert np.array_equal(shifted(found, points), shifted(wanted, points))
    assert found.rounding in (0, 2)


def test_what_is_no_shift_is_not_taken_for_one() -> None:
    low, high = np.full(CHANNELS, -50), np.full(CHANNELS, 50)
    steps = steps_of(lambda x: np.asarray(np.clip(np.floor(x / 3), -4, 7), np.int64), low, high, low * 0 + 1, 1)
    assert shift_of(steps) is None


def test_what_rises_and_falls_is_refused_by_channel() -> None:
    low, high = np.full(3, -50), np.full(3, 50)
    bent = np.array([0, 1, 0])
    with pytest.raises(Refused, match="channels 1: the function before it both rises and falls"):
        seen_direction(lambda x: x + bent * x * x, low, high)


def test_more_integers_than_can_be_looked_at_are_refused() -> None:
    low, high = np.full(64, -(1 << 30)), np.full(64, 1 << 30)
    with pytest.raises(Refused, match="not known to rise or fall"):
        seen_direction(lambda x: x, low, high)


@pytest.mark.parametrize(("scale", "told"), [(np.float32(0.00859375), True), (np.float32(2.0**-7), False)])
def test_a_sum_of_0_on_a_boundary_is_told_where_doubles_may_miss_it(scale: np.float32, told: bool) -> None:
    """Rounding up, a hair above 0 is a step: where doubles do not hold the products, the order of a sum decides."""
    graph = Graph((4,))
    weights = graph.bipolar_weights((4, 10), 2.998655)
    sums = graph.node("MatMul", [graph.quantise("image", 8, 1, scale, narrow=1), weights])
    quantised = graph.quantise(sums, 2, 1, np.float32(3.0404768), narrow=1, mode="CEIL")
    _, notes = integer_network(graph.graph(quantised))
    assert any("10 sums lie on a rounding boundary" in note for note in notes) == told
