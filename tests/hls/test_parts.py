"""Pixels that go from unit to unit in parts: who repeats them, and that answers and intervals are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Operator,
    Output,
    Stream,
    Window,
    entry,
    matrix,
    threshold,
)
from edgesight.hls.folding import Folding
from edgesight.hls.network import Shape
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan, slowest
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate
from tests.hls.networks import integer_traffic

FRAMES = 6
POINT = Window((1, 1))


def network(size: int, groups: int = 1) -> IntegerNetwork:
    """Three pointwise layers on a map of `size` x `size`, the second in groups, with quantisers between."""
    chance = np.random.default_rng(size)
    made: list[Operator] = [entry("x", Stream(Shape(size, size, 32), 0, 15), 1.0)]
    for name, outputs, of in (("one", 64, 1), ("two", 48, groups), ("three", 10, 1)):
        source = made[-1].output
        values = chance.integers(-2, 1, (outputs, 1, 1, source.shape.channels // of), endpoint=True)
        made.append(matrix(name, len(made) - 1, source, POINT, of, values))
        if name != "three":
            steps = np.sort(chance.integers(-20, 20, (outputs, 3)), axis=1)
            ones = np.ones(outputs, np.int64)
            made.append(threshold(f"{name} q", len(made) - 1, made[-1].output, steps, 0 * ones, ones))
    return IntegerNetwork(tuple(made), (Output("y", len(made) - 1, np.ones(10), np.zeros(10), 0.0, False),))


def test_who_takes_wide_pixels_in_parts_repeats_them() -> None:
    folding = Folding(9 * 256, {})
    whole, parts = (
        {unit.name: unit.replays for unit in plan(network(3), folding, beat).values() if unit.multipliers}
        for beat in (None, 4)
    )
    assert whole == {"one": False, "two": True, "three": True}  # a pixel that comes whole is read in place
    assert parts == {"one": True, "two": True, "three": True}


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_answers_and_intervals_are_those_of_whole_pixels(tmp_path: Path) -> None:
    cases = {
        "dense": (network(1), 300, None),
        "in_parts": (network(1), 300, 4),
        "map": (network(3), 9 * 256, 8),
        "groups": (network(3, 4), 9 * 96, None),
    }
    emitted = {name: emit_network(name, net, Folding(cycles, {}), beat) for name, (net, cycles, beat) in cases.items()}
    sources = {file: text for each in emitted.values() for file, text in each.project().items()}
    passing = [integer_traffic(name, net, FRAMES, beat) for name, (net, _, beat) in cases.items()]
    passed = simulate(tmp_path / "build", sources, passing, frames=FRAMES, seed=2, runs=4)
    assert [run.error for run in passed] == [""] * 16
    for name, (net, _, _) in cases.items():
        interval = next(run.interval for run in passed if run.module == name and run.run == 0)
        assert interval <= 1.02 * slowest(net, emitted[name].units)[0], name
