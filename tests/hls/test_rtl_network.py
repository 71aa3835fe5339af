"""An integer network becomes SystemVerilog: folds, thresholds, depths of joins, and the same integers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Matrix,
    Operator,
    Output,
    Scale,
    Stream,
    Threshold,
    Window,
    add,
    concat,
    entry,
    matrix,
    max_pool,
    threshold,
    upsample,
)
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Fold, Folding, choose_fold, largest_reuse, smallest_pe
from edgesight.hls.network import CompileError, Integers, Shape
from edgesight.hls.rtl.joins import join_depths, source_pixels
from edgesight.hls.rtl.memories import trees
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan, slowest
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import Traffic, simulate

SAME = Window((3, 3), pads=(1, 1, 1, 1))
FOLDING = Folding(300, {})


def network(*operators: Operator, outputs: tuple[int, ...] | None = None) -> IntegerNetwork:
    places = outputs or (len(operators) - 1,)
    named = []
    for place in places:
        channels = operators[place].output.shape.channels
        named.append(Output(f"out{place}", place, np.ones(channels), np.zeros(channels), 0.0, False))
    return IntegerNetwork(operators, tuple(named))


def weights(*sizes: int) -> Integers:
    return np.random.default_rng(sum(sizes)).integers(-4, 3, sizes, endpoint=True)


def residual(times: int = 1) -> IntegerNetwork:
    """Two convolutions, whose sums are added to what they began with; with so many times the channels."""
    first = entry("x", Stream(Shape(5, 6, 2 * times), 0, 7), 1.0)
    one = matrix("one", 0, first.output, SAME, 1, weights(3 * times, 3, 3, 2 * times))
    two = matrix("two", 1, one.output, SAME, 1, weights(2 * times, 3, 3, 3 * times))
    return network(first, one, two, add("sum", (2, 0), (two.output, first.output)))


def quantised() -> tuple[Matrix, Scale]:
    source = Stream(Shape(4, 4, 2), 0, 15)
    sums = matrix("conv", 0, source, SAME, 1, weights(4, 3, 3, 2))
    offset = np.array([3, -5, 0, 9])
    return sums, Scale("q", (1,), Stream(sums.output.shape, 0, 15), np.ones(4, np.int64), offset, 3, 2)


def test_a_scale_of_ones_is_the_matrix_own_rounding() -> None:
    sums, scale = quantised()
    first = entry("x", Stream(Shape(4, 4, 2), 0, 15), 1.0)
    units = plan(network(first, sums, scale), FOLDING)
    assert set(units) == {1}
    assert units[1].fused == 2
    assert "rescale" not in emit_network("n", network(first, sums, scale), FOLDING).sources["n.sv"]


@pytest.mark.parametrize(
    "change",
    [
        {"multiplier": np.array([1, 1, 2, 1])},
        {"output": Stream(Shape(4, 4, 4), -7, 7)},  # its type holds -8, too
        {"output": Stream(Shape(4, 4, 4), 0, 12)},
    ],
)
def test_any_other_scale_is_a_unit_of_its_own(change: dict[str, object]) -> None:
    sums, scale = quantised()
    first = entry("x", Stream(Shape(4, 4, 2), 0, 15), 1.0)
    units = plan(network(first, sums, replace(scale, **change)), FOLDING)  # type: ignore[arg-type] # fields by name
    assert units[1].fused is None
    assert units[2].kind == "scale"


def test_a_sum_that_rounds_up_past_the_clip_is_a_unit_of_its_own() -> None:
    first = entry("x", Stream(Shape(1, 1, 1), 0, 23), 1.0)
    sums = matrix("one", 0, first.output, Window((1, 1)), 1, np.ones((1, 1, 1, 1), np.int64))
    # 23 / 8 becomes 3, which two bits hold.
    scale = Scale("q", (1,), Stream(sums.output.shape, 0, 2), np.ones(1, np.int64), np.zeros(1, np.int64), 3, 2)
    assert plan(network(first, sums, scale), FOLDING)[1].fused is None


def test_sums_that_are_an_output_besides_are_not_rounded_away() -> None:
    sums, scale = quantised()
    first = entry("x", Stream(Shape(4, 4, 2), 0, 15), 1.0)
    assert plan(network(first, sums, scale, outputs=(1, 2)), FOLDING)[1].fused is None


def test_groups_fold_within_a_block_or_over_whole_ones() -> None:
    # Depthwise: 8 outputs, each from 9 lanes of its own.
    assert choose_fold(1, 8, 9, 1, blocks=8) == Fold(8, 9, 1)
    assert choose_fold(72, 8, 9, 1, blocks=8) == Fold(1, 1, 72)
    # 3 outputs a block: two side by side would mix blocks.
    assert {choose_fold(reuse, 6, 4, 1, blocks=2).pe for reuse in range(1, 25)} == {1, 3, 6}
    assert largest_reuse(100, 10, 8, 9, 1, 8) == 9
    assert [smallest_pe(cycles, 10, 12) for cycles in (1, 10, 20, 59, 60, 1000)] == [12, 12, 6, 3, 2, 1]


def test_the_bound_counts_multiplications_that_there_are() -> None:
    first = entry("x", Stream(Shape(6, 6, 8), 0, 15), 1.0)
    depthwise = matrix("depthwise", 0, first.output, SAME, 8, weights(8, 3, 3, 1))
    units = plan(network(first, depthwise), Folding(10**6, {}))
    assert units[1].cycles == 36 * 8 * 9
    assert slowest(network(first, depthwise), list(units.values())) == (36 * 72, "depthwise")
    parallel = plan(network(first, depthwise), Folding(1, {}))
    assert (parallel[1].cycles, parallel[1].multipliers) == (8 * 8, 72)  # as many as the padded map has pixels


def test_a_reuse_factor_reaches_its_layer_and_no_other() -> None:
    units = plan(residual(), Folding(1, {"two": 9}))
    assert (units[1].reuse_built, units[2].reuse_built) == (1, 9)
    with pytest.raises(CompileError, match="no layer three to give a reuse factor to; name one of one, two"):
        plan(residual(), Folding(1, {"three": 9}))


def test_what_the_hardware_cannot_compute_is_refused_by_name() -> None:
    first = entry("x", Stream(Shape(2, 2, 1), 0, 15), 1.0)
    lonely = max_pool("pool", 0, first.output, Window((2, 2), pads=(2, 0, 0, 0)))
    with pytest.raises(CompileError, match="layer pool: a window of its pooling lies in the padding alone; pad less"):
        emit_network("n", network(first, lonely), FOLDING)
    left = matrix("left", 0, first.output, Window((1, 1)), 1, weights(1, 1, 1, 1))
    with pytest.raises(CompileError, match="layer left: nothing takes what it makes; remove it"):
        emit_network("n", network(first, left, upsample("up", 0, first.output, (2, 2))), FOLDING)
    stream = Stream(first.output.shape, 0, 15)
    wide = Scale("wide", (0,), stream, np.array([1 << 58]), np.array([0]), 58, 0)
    with pytest.raises(CompileError, match=r"layer wide: its numbers reach \d+ bits"):
        emit_network("n", network(first, wide), FOLDING)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 255])
def test_trees_find_the_count_of_thresholds_for_every_value(count: int) -> None:
    rng = np.random.default_rng(count)
    source = Stream(Shape(1, 1, 3), -40, 50)
    drawn = np.sort(rng.integers(-60, 70, (3, count)), axis=1)
    step, first = np.array([1, -1, 2]), np.array([0, 300, -1])
    operator = threshold("t", 0, source, drawn, first, step)
    tree = trees(operator, source)
    assert tree.levels <= max(count.bit_length(), 1)
    inputs = np.repeat(np.arange(-40, 51), 3).reshape(-1, 1, 1, 3)
    expected = Reference(network(entry("x", source, 1.0), operator)).integers(inputs)[0].reshape(-1, 3)
    for channel in range(3):
        memories = [tree.words(level, channel, 3)[:, 0] for level in range(tree.levels)]
        for value, out in zip(range(-40, 51), expected[:, channel], strict=True):
            path = 0
            for memory in memories:
                path = 2 * path + int(value >= memory[path])
            assert tree.first[channel] + step[channel] * path == out


def test_copies_of_a_row_come_once_the_row_is_whole() -> None:
    up = upsample("up", 0, Stream(Shape(2, 3, 1), 0, 7), (2, 2))
    row = [1, 1, 2, 2, 3, 3]
    assert source_pixels(up, Shape(2, 3, 1)).tolist() == [*row, *[3] * 6, *(3 + pixel for pixel in row), *[6] * 6]


def test_depths_of_joins_are_the_lead_of_the_faster_path() -> None:
    shape = Shape(5, 6, 2)
    # A 3 x 3 window with a pad of 1 waits for a row and two pixels.
    first = entry("x", Stream(shape, 0, 7), 1.0)
    one = matrix("one", 0, first.output, SAME, 1, weights(2, 3, 3, 2))
    assert join_depths(network(first, one, add("sum", (1, 0), (one.output, first.output)))) == {2: [1, 8]}
    assert join_depths(residual()) == {3: [1, 15]}
    # The join's own pixels are counted, not the fork's: every second row and column.
    half = Window((1, 1), (2, 2))
    small = matrix("small", 0, first.output, half, 1, weights(2, 1, 1, 2))
    large = matrix("large", 0, first.output, Window((3, 3), (2, 2), pads=(1, 1, 1, 1)), 1, weights(2, 3, 3, 2))
    joined = concat("both", (1, 2), (small.output, large.output))
    assert join_depths(network(first, small, large, joined)) == {3: [3, 0]}


def with_depths(text: str, depth: int) -> str:
    """The module with other depths of the buffers before the residual's join."""
    changed, count = re.subn(r"\.Depth\(\d+\)\) u_s_way1_q ", f".Depth({depth})) u_s_way1_q ", text)
    assert count == 1
    return changed


def traffic(module: str, net: IntegerNetwork, frames: int) -> Traffic:
    stream = net.entry.output
    shape = (frames, stream.shape.height, stream.shape.width, stream.shape.channels)
    inputs = np.random.default_rng(3).integers(stream.low, stream.high, shape, endpoint=True)
    outputs = [net.operators[output.source].output for output in net.outputs]
    given = Reference(net).integers(inputs)
    return Traffic(
        module,
        inputs.reshape(-1, stream.shape.channels),
        stream.bits,
        [values.reshape(-1, values.shape[-1]) for values in given],
        [output.bits for output in outputs],
    )


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
@pytest.mark.parametrize(("times", "folding"), [(1, FOLDING), (8, Folding(7000, {}))], ids=["registers", "memories"])
def test_computed_depths_suffice_under_any_stalls_and_smaller_ones_do_not(
    times: int, folding: Folding, tmp_path: Path
) -> None:
    net = residual(times)
    assert [unit.memory is not None for unit in plan(net, folding).values()] == [times > 1, times > 1, False]
    lead = join_depths(net)[3][1]
    sources: dict[str, str] = {}
    # The buffer's output register and the fork hold a pixel each; both are in the lead already.
    depths = {"full": None, "least": lead - 2, "below": lead - 3, "wrong": None}
    for name, depth in depths.items():
        for file, text in emit_network(name, net, folding).project().items():
            sources[file] = with_depths(text, depth) if file == f"{name}.sv" and depth is not None else text
    passing = [traffic(name, net, 3) for name in depths]
    passing[3].given[0][50, 1] ^= 1  # what differs in one bit is seen
    passed = simulate(tmp_path / "build", sources, passing, frames=3, seed=11, runs=10)
    errors = {name: [run.error for run in passed if run.module == name] for name in depths}
    assert errors["full"] == errors["least"] == [""] * 10
    assert all(error.startswith("stands still") for error in errors["below"])
    assert all(error == "a wrong beat: beat 50 of output 0" for error in errors["wrong"])
    full = next(run for run in passed if run.module == "full")
    units = emit_network("full", net, folding).units
    assert slowest(net, units)[0] <= full.interval <= 1.1 * slowest(net, units)[0]


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
@pytest.mark.parametrize(
    ("cycles", "buffer", "rows", "row"),
    [(2900, "Depth", 74, 16), (7200, "Pixels", 154, 85)],
    ids=["registers and a FIFO", "memory"],
)
def test_a_window_without_padding_keeps_its_multipliers_busy(
    cycles: int, buffer: str, rows: int, row: int, tmp_path: Path
) -> None:
    """While it ends a frame, the next one's first four rows gather before it; alone, and behind a fork."""
    first = entry("x", Stream(Shape(16, 16, 2), 0, 7), 1.0)
    one = matrix("one", 0, first.output, SAME, 1, weights(2, 3, 3, 2))
    narrow = Window((5, 5))
    two = matrix("two", 1, one.output, narrow, 1, weights(2, 5, 5, 2))
    line = network(first, one, two)
    forked = network(first, one, two, matrix("three", 1, one.output, narrow, 1, weights(1, 5, 5, 2)), outputs=(2, 3))
    emitted = {name: emit_network(name, net, Folding(cycles, {})) for name, net in (("line", line), ("forked", forked))}
    sources = {file: text for one in emitted.values() for file, text in one.project().items()}
    # A row, as before windows with padding, is too little.
    found = re.findall(rf"{buffer}\((\d+)\)", sources["line.sv"])
    assert str(rows) in found
    fewer = sources["line.sv"].replace(f"{buffer}({rows})", f"{buffer}({row})")
    sources["row.sv"] = fewer.replace("module line", "module row")
    passing = [traffic("line", line, 4), traffic("forked", forked, 4), traffic("row", line, 4)]
    passed = simulate(tmp_path / "build", sources, passing, frames=4, seed=2, runs=1)
    assert [run.error for run in passed] == [""] * 3
    bound = slowest(line, emitted["line"].units)[0]
    over = {run.module: run.interval / bound for run in passed}
    assert over["line"] <= 1.02
    assert over["forked"] <= 1.02
    assert over["row"] > 1.1


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_a_path_that_waits_for_a_whole_map_stops_none_that_goes_by(tmp_path: Path) -> None:
    """As in a U-Net: what is pooled to few pixels and enlarged again meets what it came from."""
    first = entry("x", Stream(Shape(8, 8, 2), 0, 7), 1.0)
    one = matrix("one", 0, first.output, SAME, 1, weights(3, 3, 3, 2))
    pooled = max_pool("pooled", 1, one.output, Window((4, 4), (4, 4)))
    deep = matrix("deep", 2, pooled.output, SAME, 1, weights(3, 3, 3, 3))
    large = upsample("large", 3, deep.output, (4, 4))
    net = network(first, one, pooled, deep, large, concat("both", (4, 1), (large.output, one.output)))
    # The first window waits for the last of the pooled pixels, and all of `one` is made by then.
    assert join_depths(net)[5][1] == 64
    project = emit_network("unet", net, FOLDING).project()
    passed = simulate(tmp_path / "build", project, [traffic("unet", net, 3)], frames=3, seed=11, runs=6)
    assert [run.error for run in passed] == [""] * 6


def test_a_module_with_several_outputs_has_a_port_for_each() -> None:
    net = residual()
    text = emit_network("n", network(*net.operators, outputs=(1, 3)), FOLDING).sources["n.sv"]
    assert re.findall(r"output logic (m\d?_valid_o)", text) == ["m0_valid_o", "m1_valid_o"]
    assert re.findall(r"output logic (m\d?_valid_o)", emit_network("n", net, FOLDING).sources["n.sv"]) == ["m_valid_o"]


def test_thresholds_fold_with_the_layer_before_them() -> None:
    first = entry("x", Stream(Shape(4, 4, 3), 0, 15), 1.0)
    conv = matrix("conv", 0, first.output, SAME, 1, weights(6, 3, 3, 3))
    cuts = np.sort(np.random.default_rng(1).integers(-90, 90, (6, 7)), axis=1)
    quantiser: Threshold = threshold("q", 1, conv.output, cuts, np.zeros(6, np.int64), np.ones(6, np.int64))
    for cycles, pe in ((16 * 7, 1), (16 * 3, 3)):  # windows come unevenly on so small a map
        units = plan(network(first, conv, quantiser), Folding(cycles, {}))
        assert (units[2].pe, units[2].cycles) == (pe, 16 * 6 // pe)
        assert units[2].cycles <= units[1].cycles
