"""The fast reference gives the operators' own integers, by whatever way it computes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.hls.dataflow import operators, reference
from edgesight.hls.dataflow.operators import IntegerNetwork, Output, Stream, Window
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.network import Integers, Shape


def network_of(*made: operators.Operator) -> IntegerNetwork:
    channels = made[-1].output.shape.channels
    return IntegerNetwork(made, (Output("out", len(made) - 1, np.ones(channels), np.zeros(channels), 0.0, False),))


def counted(values: Integers, thresholds: Integers, first: Integers, step: Integers) -> Integers:
    """Threshold by its formula."""
    reached = (values[..., None] >= thresholds).sum(axis=-1)
    return np.asarray(first + step * reached)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_thresholds_in_bins_count_as_the_formula_does(data: st.DataObject) -> None:
    low = data.draw(st.sampled_from([-90_000, -1, 0, 70_000, -(2**33)]))
    high = low + data.draw(st.sampled_from([40_000, 1_000_003]))
    channels, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Beyond both ends, equal ones, neighbours: all may be there.
    thresholds = rng.integers(low - 5, high + 9, (channels, count))
    if count > 3:
        thresholds[:, 1], thresholds[:, 2], thresholds[:, 3] = thresholds[:, 0], thresholds[:, 0] + 1, high + 1
    thresholds.sort(axis=1)
    first, step = rng.integers(-9, 9, channels), rng.integers(-1, 2, channels)
    entry = operators.entry("entry", Stream(Shape(1, 40, channels), low, high), 1.0)
    made = operators.threshold("count", 0, entry.output, thresholds, first, step)
    values = rng.integers(low, high, (3, 1, 40, channels), endpoint=True)
    near = np.clip(thresholds[:, rng.integers(0, count, 20)].T + rng.integers(-1, 2, (20, channels)), low, high)
    values[0, 0, :20], values[1, 0, :2] = near, [[low] * channels, [high] * channels]
    (found,) = Reference(network_of(entry, made)).integers(values)
    assert np.array_equal(found, counted(values, thresholds, first, step))


@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 1))])
def test_a_filter_for_each_channel_sums_its_taps(stride: tuple[int, int], dilation: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    entry = operators.entry("entry", Stream(Shape(9, 8, 5), -8, 7), 1.0)
    window = Window((3, 2), stride, dilation, (1, 0, 2, 1))
    weights = rng.integers(-4, 5, (5, 3, 2, 1))
    layer = operators.matrix("conv", 0, entry.output, window, 5, weights)
    values = rng.integers(-8, 8, (4, 9, 8, 5))
    (found,) = Reference(network_of(entry, layer)).integers(values)
    padded = np.pad(values, ((0, 0), (1, 2), (0, 1), (0, 0)))
    rows, columns = window.positions(entry.output.shape)
    for row, column in np.ndindex(rows, columns):
        top, left = row * stride[0], column * stride[1]
        seen = padded[:, top : top + window.reach[0] : dilation[0], left : left + window.reach[1] : dilation[1]]
        assert np.array_equal(found[:, row, column], (seen * weights[..., 0].transpose(1, 2, 0)).sum(axis=(1, 2)))


def test_a_batch_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    entry = operators.entry("entry", Stream(Shape(4, 4, 2), 0, 15), 1.0)
    layer = operators.matrix("conv", 0, entry.output, Window((3, 3)), 1, rng.integers(-3, 4, (3, 3, 3, 2)))
    values = rng.integers(0, 16, (11, 4, 4, 2))
    (whole,) = Reference(network_of(entry, layer)).integers(values)
    monkeypatch.setattr(reference, "_MAPS_BYTES", 4 * 4 * 4 * 3 * 2)
    parts = Reference(network_of(entry, layer))
    assert np.array_equal(parts.integers(values)[0], whole)
    assert parts.integers(values[:0])[0].shape == (0, 2, 2, 3)
