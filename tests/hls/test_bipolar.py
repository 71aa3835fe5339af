"""Streams of 1 and -1: which of them go as bits, and that hardware of agreeing bits answers as the reference does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: extra `build`")

from edgesight.bench.coverage.simulate import inputs_of, traffic_of
from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Operator,
    Output,
    Stream,
    Threshold,
    Window,
    add,
    entry,
    matrix,
    max_pool,
    threshold,
)
from edgesight.hls.folding import Folding
from edgesight.hls.network import Integers, Shape
from edgesight.hls.rtl.bipolar import Coding
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate

SEED = 8
WHOLE = Window((3, 3))
SAME = Window((3, 3), pads=(1, 1, 1, 1))


def signs(chance: np.random.Generator, *shape: int) -> Integers:
    """1 and -1 as they fall."""
    return 2 * chance.integers(0, 2, shape) - 1


def bipolar(name: str, place: int, source: Stream, chance: np.random.Generator) -> Threshold:
    """A quantiser to 1 and -1, with channels that rise, that fall and that never turn."""
    channels = source.shape.channels
    steps = chance.integers(-3, 4, (channels, 1))
    steps[0] = source.low
    first = signs(chance, channels)
    return threshold(name, place, source, steps, first, -2 * first)


def network() -> IntegerNetwork:
    """Products of all kinds behind streams of 1 and -1."""
    chance = np.random.default_rng(SEED)
    made: list[Operator] = [entry("x", Stream(Shape(8, 8, 3), -8, 7), 1.0)]

    def then(operator: Operator) -> Stream:
        made.append(operator)
        return operator.output

    at = then(matrix("first", 0, made[0].output, SAME, 1, signs(chance, 6, 3, 3, 3)))
    at = then(bipolar("bits", 1, at, chance))
    at = then(matrix("agreeing", 2, at, WHOLE, 1, signs(chance, 8, 3, 3, 6)))
    at = then(bipolar("more", 3, at, chance))
    pooled = then(max_pool("pool", 4, at, Window((2, 2), (1, 1))))
    at = then(matrix("in groups", 5, pooled, Window((1, 1)), 2, signs(chance, 8, 1, 1, 4)))
    at = then(bipolar("again", 6, at, chance))
    padded = then(matrix("padded", 7, at, SAME, 1, signs(chance, 8, 3, 3, 8)))
    both = then(add("both", (8, 5), (padded, pooled)))
    at = then(bipolar("last bits", 9, both, chance))
    at = then(matrix("dense", 10, at, Window((5, 5)), 1, signs(chance, 4, 5, 5, 8)))
    at = then(bipolar("end", 11, at, chance))
    then(matrix("sums", 12, at, Window((1, 1)), 1, signs(chance, 4, 1, 1, 4)))
    outputs = [Output(f"y{place}", place, np.ones(4), np.zeros(4), 0.0, False) for place in (12, 13)]
    return IntegerNetwork(tuple(made), tuple(outputs))


def test_streams_of_1_and_minus_1_go_as_bits_to_those_who_count_them() -> None:
    net = network()
    names = [operator.name for operator in net.operators]
    coding = Coding(net)
    assert {names[place] for place in coding.coded} == {"bits", "more", "pool", "again", "last bits", "end"}
    # Padding is 0, which no bit stands for, and of sums the numbers are wanted.
    assert {names[place] for place in coding.agreeing} == {"agreeing", "in groups", "dense"}
    bits = {unit.name: unit.weight_bits for unit in plan(net, Folding(1, {})).values() if unit.multipliers}
    assert bits == {"first": 2, "agreeing": 1, "in groups": 1, "padded": 2, "dense": 1, "sums": 2}


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_answers_equal_the_reference_at_any_folding(tmp_path: Path) -> None:
    net = network()
    emitted = {name: emit_network(name, net, Folding(cycles, {})) for name, cycles in (("wide", 64), ("narrow", 6000))}
    sources = {file: text for each in emitted.values() for file, text in each.project().items()}
    passing = [traffic_of(each, net, inputs_of(net, 4, [SEED])) for each in emitted.values()]
    passed = simulate(tmp_path / "build", sources, passing, frames=4, seed=SEED, runs=6)
    assert [run.error for run in passed] == [""] * 12
