"""Units that take and give pixels unevenly: no multiplier waits for them, at the tightest folding."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix, Operator, Output, Stream, Window, entry, matrix
from edgesight.hls.folding import Fold, Folding
from edgesight.hls.network import Shape
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import slowest, timing
from edgesight.hls.rtl.windows import turn_cycles, walked_cycles
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate
from tests.hls.networks import integer_traffic

FRAMES = 4
HALVED = Window((3, 3), (2, 2), pads=(1, 1, 1, 1))
EVERY_OTHER = Window((1, 1), (2, 2))
WITHIN = Window((5, 5), pads=(2, 2, 2, 2))
POOL = Window((2, 2), (2, 2))
needs_simulation = pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")


def layer(name: str, source: Operator, place: int, window: Window, outputs: int, groups: int = 1) -> Matrix:
    chance = np.random.default_rng(outputs)
    shape = (outputs, *window.kernel, source.output.shape.channels // groups)
    return matrix(name, place, source.output, window, groups, chance.integers(-1, 1, shape, endpoint=True))


def network(*operators: Operator, outputs: tuple[int, ...] = (-1,)) -> IntegerNetwork:
    def output(place: int) -> Output:
        count = operators[place].output.shape.channels
        return Output(operators[place].name, place % len(operators), np.ones(count), np.zeros(count), 0.0, False)

    return IntegerNetwork(operators, tuple(output(place) for place in outputs))


def strided() -> IntegerNetwork:
    """Windows of every other row of the entry's pixels."""
    first = entry("x", Stream(Shape(16, 16, 3), 0, 7), 1.0)
    return network(first, layer("one", first, 0, HALVED, 8))


def forked() -> IntegerNetwork:
    """A layer that takes its pixels in the odd rows, and one that takes them in the even ones."""
    first = entry("x", Stream(Shape(16, 16, 4), 0, 7), 1.0)
    one = layer("one", first, 0, Window((3, 3), pads=(1, 1, 1, 1)), 4)
    return network(first, one, layer("two", one, 1, HALVED, 8), layer("three", one, 1, EVERY_OTHER, 64), outputs=(2, 3))


def bursting() -> IntegerNetwork:
    """A layer that walks its padding while it gives nothing, before a pooling that takes its time."""
    first = entry("x", Stream(Shape(16, 16, 1), 0, 7), 1.0)
    one = layer("one", first, 0, WITHIN, 6)
    return network(first, one, layer("two", one, 1, POOL, 6, groups=6))


def intervals(nets: dict[str, EmittedNetwork], of: dict[str, IntegerNetwork], folder: Path) -> dict[str, float]:
    """Over the bound, by module."""
    sources = {file: text for each in nets.values() for file, text in each.project().items()}
    passing = [integer_traffic(name, net, FRAMES) for name, net in of.items()]
    passed = simulate(folder / "build", sources, passing, frames=FRAMES, seed=2, runs=1)
    assert [run.error for run in passed] == [""] * len(of)
    return {run.module: run.interval / slowest(of[run.module], nets[run.module].units)[0] for run in passed}


@needs_simulation
def test_no_layer_waits_for_windows_that_come_unevenly(tmp_path: Path) -> None:
    of = {"strided": strided(), "forked": forked(), "bursting": bursting()}
    cycles = {"strided": 17 * 17, "forked": 64 * 36, "bursting": 20 * 20}
    nets = {name: emit_network(name, net, Folding(cycles[name], {})) for name, net in of.items()}
    over = intervals(nets, of, tmp_path)
    assert max(over.values()) <= 1.02, over


@needs_simulation
@pytest.mark.parametrize("make", [forked, bursting])
def test_with_buffers_of_a_row_they_would(make: object, tmp_path: Path) -> None:
    assert callable(make)
    net = make()
    emitted = emit_network("dut", net, Folding(64 * 36 if make is forked else 20 * 20, {}))
    project = emitted.project()
    shallow = re.sub(r"(stream_fifo .*)\.Depth\(\d+\)", r"\1.Depth(2)", project["dut.sv"])
    assert shallow != project["dut.sv"]
    passed = simulate(
        tmp_path / "build",
        {**project, "dut.sv": shallow},
        [integer_traffic("dut", net, FRAMES)],
        frames=FRAMES,
        seed=2,
        runs=1,
    )
    assert passed[0].error == ""
    assert passed[0].interval / slowest(net, emitted.units)[0] > 1.05


@pytest.mark.parametrize("window", [HALVED, EVERY_OTHER, WITHIN, POOL, Window((3, 2), (1, 3), (2, 1), (0, 1, 2, 0))])
@pytest.mark.parametrize("cycles", [1, 2, 5, 40])
def test_registers_walk_on_while_a_window_is_kept(window: Window, cycles: int) -> None:
    """Cycle by cycle: a window stays for so many, and positions that complete none are walked meanwhile."""
    shape = Shape(9, 7, 1)
    rows, columns = (
        [at * stride + reach - 1 for at in range(count)]
        for count, stride, reach in zip(window.positions(shape), window.stride, window.reach, strict=True)
    )
    height = max(rows[-1] + 1, window.pads[0] + shape.height)
    width = max(columns[-1] + 1, window.pads[1] + shape.width)
    ends: list[int] = []
    kept = clock = 0
    for _ in range(3):
        for position in range(height * width):
            completes = position // width in rows and position % width in columns
            if completes:
                clock = max(clock, kept)  # the register is not free before
                kept = clock + cycles
            clock += 1
            if completes and (position // width, position % width) == (rows[-1], columns[-1]):
                ends.append(kept)
    assert ends[2] - ends[1] == walked_cycles(window, shape, cycles)
    assert turn_cycles(window, shape, 1 << 20) == 0


def test_registers_that_hold_up_pixels_make_way_for_a_memory_or_a_faster_fold() -> None:
    source = Stream(Shape(16, 16, 4), 0, 7)
    of = layer("one", entry("x", source, 1.0), 0, HALVED, 8)
    slow = Fold(2, 4, 4 * 9)
    memory, cycles, steady = timing(of, source, slow, 64 * 36)
    assert memory is not None
    assert cycles == steady == 64 * 36
    memory, cycles, steady = timing(of, source, Fold(2, 36, 4), 0)
    assert (memory, cycles) == (None, 17 * 17)
    assert steady > cycles
    units = emit_network("dut", strided(), Folding(17 * 17, {})).units
    assert units[0].steady_cycles == 17 * 17
    assert units[0].reuse_built == 2  # where 4 would do, if no pixel waited
