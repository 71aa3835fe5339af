"""Layers that are not folded: a graph of additions is exact, and its module answers as the reference does."""

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
    scale,
    threshold,
)
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding
from edgesight.hls.network import Integers, Shape
from edgesight.hls.rtl.adders import Graph
from edgesight.hls.rtl.live_bits import Bit, Counts, LiveBits
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan, signed_bits
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import Traffic, simulate

FRAMES = 30


def nodes_of(graph: Graph, values: Integers) -> list[int]:
    """What the nodes are for inputs."""
    nodes = [*values.tolist(), *graph.constants]
    for one, other in graph.adders:
        second = nodes[other.node] << other.shift
        nodes.append((nodes[one.node] << one.shift) + (-second if other.negative else second))
    return nodes


def computed(graph: Graph, values: Integers) -> list[int]:
    """What the additions make of inputs."""
    nodes = nodes_of(graph, values)
    for node, value in enumerate(nodes):
        assert graph.low[node] <= value <= graph.high[node]
    made = [0 if term is None else nodes[term.node] << term.shift for term in graph.outputs]
    return [-value if term and term.negative else value for value, term in zip(made, graph.outputs, strict=True)]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_additions_are_the_products(bits: int) -> None:
    chance = np.random.default_rng(bits)
    for _ in range(20):
        outputs, inputs = chance.integers(1, 9, 2)
        weights = chance.integers(-(1 << (bits - 1)), 1 << (bits - 1), (outputs, inputs))
        offsets = chance.integers(-9, 9, outputs) * chance.integers(0, 2, outputs)
        graph = Graph(weights, offsets, -8, 7)
        for values in chance.integers(-8, 8, (20, inputs)):
            assert computed(graph, values) == (weights @ values + offsets).tolist()


def live_bits(graph: Graph, taken: Stream) -> LiveBits:
    """Those of a graph whose nodes are all made in stage 0."""
    widths = [signed_bits(low, high) for low, high in zip(graph.low, graph.high, strict=True)]
    return LiveBits(graph, taken, widths, [0] * len(widths))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7), (-4, 3)])
def test_a_bit_that_is_passed_on_or_constant_is_so_for_all_inputs(low: int, high: int) -> None:
    chance = np.random.default_rng(high)
    for _ in range(20):
        weights = chance.integers(-7, 8, (4, 5))
        offsets = chance.integers(-9, 9, 4) * chance.integers(0, 2, 4)
        graph = Graph(weights, offsets, low, high)
        live = live_bits(graph, Stream(Shape(1, 1, 5), low, high))
        frames = [nodes_of(graph, values) for values in chance.integers(low, high + 1, (40, 5))]
        for node in range(len(graph.levels)):
            for at in range(signed_bits(graph.low[node], graph.high[node])):
                bits = {frame[node] >> at & 1 for frame in frames}
                found = live.of(node, at, 0)
                if found is None:
                    assert len(bits) == 1
                else:
                    assert all(frame[node] >> at & 1 == frame[found.node] >> found.at & 1 for frame in frames)


def test_only_what_is_asked_for_is_counted() -> None:
    # x + 4 x: two bits are those of x, two are sums, three have a carry alone.
    graph = Graph(np.array([[5]]), np.zeros(1, np.int64), 0, 15)
    live = live_bits(graph, Stream(Shape(1, 1, 1), 0, 15))
    assert live.of(1, 1, 2) == Bit(0, 1, 2)
    assert live.of(1, 7, 0) is None  # the sign
    assert live.counted([Bit(1, 6, 1), Bit(1, 5, 4)]) == Counts(added=2, carried=3, kept=1, shifted=1)
    assert live.counted([Bit(1, 3, 0)]) == Counts(added=2, carried=0, kept=0, shifted=0)
    assert live.counted([Bit(0, 3, 1), Bit(0, 3, 3)]) == Counts(added=0, carried=0, kept=3, shifted=0)


def test_what_outputs_have_in_common_is_added_once() -> None:
    weights = np.array([[1, 1, 0], [2, 2, 1], [-4, -4, 0], [1, 1, 3]])
    graph = Graph(weights, np.zeros(4, np.int64), 0, 1)
    assert len(graph.adders) == 4  # x + y, 2 (x + y) + z, x + y + 4 z - z


def network(mode: int, shift: int, clip: tuple[int, int]) -> IntegerNetwork:
    """Dense layers behind each other, with a rounding and thresholds between, and an output that is always 0."""
    chance = np.random.default_rng(mode)
    made: list[Operator] = [entry("x", Stream(Shape(1, 1, 7), -8, 7), 1.0)]
    weights = chance.integers(-8, 8, (6, 1, 1, 7))
    weights[2] = 0
    made.append(matrix("one", 0, made[0].output, Window((1, 1)), 1, weights))
    ones = np.ones(6, np.int64)
    made.append(scale("q", 1, made[1].output, ones, chance.integers(-9, 9, 6), shift, mode, clip))  # type: ignore[arg-type]
    made.append(matrix("two", 2, made[2].output, Window((1, 1)), 1, chance.integers(-8, 8, (5, 1, 1, 6))))
    steps = np.sort(chance.integers(-20, 20, (5, 3)), axis=1)
    made.append(threshold("t", 3, made[3].output, steps, 0 * ones[:5], ones[:5]))
    made.append(matrix("three", 4, made[4].output, Window((1, 1)), 1, chance.integers(-8, 8, (4, 1, 1, 5))))
    return IntegerNetwork(tuple(made), (Output("y", 5, np.ones(4), np.zeros(4), 0.0, False),))


def traffic(module: str, net: IntegerNetwork) -> Traffic:
    stream, out = net.entry.output, net.operators[-1].output
    inputs = np.random.default_rng(3).integers(-8, 8, (FRAMES, 1, 1, 7))
    given = Reference(net).integers(inputs)[0].reshape(-1, out.shape.channels)
    return Traffic(module, inputs.reshape(-1, 7), stream.bits, [given], [out.bits])


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_modules_of_additions_answer_as_the_reference(tmp_path: Path) -> None:
    cases = {
        "down": network(0, 2, (0, 15)),
        "half_up": network(1, 3, (-8, 7)),
        "half_even": network(2, 3, (0, 7)),
        "unshifted": network(0, 0, (0, 63)),
        "signed_wide": network(2, 1, (-128, 127)),
    }
    sources: dict[str, str] = {}
    for name, net in cases.items():
        assert all(unit.unrolled for unit in plan(net, Folding(1, {})).values() if unit.multipliers)
        sources |= emit_network(name, net, Folding(1, {})).project()
    assert not any(name.endswith("weights.mem") for name in sources)
    passing = [traffic(name, net) for name, net in cases.items()]
    passed = simulate(tmp_path / "build", sources, passing, frames=FRAMES, seed=2, runs=3)
    assert [run.error for run in passed] == [""] * 15
    assert all(run.interval == 1 for run in passed if run.run == 0)
