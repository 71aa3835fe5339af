"""Random networks are drawn alike from a seed and have every kind of layer; their hardware equals the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgesight.bench.coverage import bench, simulate
from edgesight.bench.coverage.bench import coverage_table, folding_table, table_page
from edgesight.bench.coverage.random_blocks import KINDS
from edgesight.bench.coverage.random_networks import BITS, NO_MEANING, draw
from edgesight.bench.coverage.simulate import Result
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.signatures import SIGNATURES
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.rtl.runner import ROOT, missing_tools

ROUND = len(KINDS) * len(BITS)  # networks that begin with each kind in each precision
# Operators of constants alone, and those that stand for others in older exports or change nothing.
NOT_DRAWN = {
    *("Size", "NonZero", "Floor", "Ceil", "Expand", "Tile", "Equal", "Range", "Where", "Min", "Max", "Mod", "Slice"),
    *("ConstantOfShape", "Constant", "Cast", "Dropout", "Identity", "Upsample", "TopK"),
    *("Div", "Pow", "Neg", "Sqrt"),
}


def test_a_seed_and_a_number_draw_the_same_network_again() -> None:
    first = draw(3, 17).model.SerializeToString()
    assert draw(3, 17).model.SerializeToString() == first
    assert draw(4, 17).model.SerializeToString() != first
    assert draw(3, 18).model.SerializeToString() != first


def test_fewer_blocks_are_the_same_network_s_beginning() -> None:
    whole = next(each for each in (draw(5, index) for index in range(50)) if each.blocks > 2)
    first = draw(5, whole.index, 1)
    assert (first.blocks, first.folding) == (1, whole.folding)
    assert whole.layers[: len(first.layers)] == first.layers


def test_fewer_channels_are_drawn_where_fewer_are_asked_for() -> None:
    for index in range(20):
        for constant in draw(6, index, channels=2).model.graph.initializer:
            assert max(constant.dims, default=1) <= 400


def test_networks_are_counted_by_folding_where_they_are_exact() -> None:
    results = [replace(each, cycles=200) for each in exact_results(3)]
    assert folding_table(results)[results[0].layers[0].kind][200] > 0
    assert sum(sum(row.values()) for row in folding_table([replace(results[0], error="wrong")]).values()) == 0


def exact_results(count: int) -> list[Result]:
    return [Result(1, index, 1, 1, 1, draw(1, index).layers, 3, 5, error="", csim=False) for index in range(count)]


def test_a_round_of_draws_fills_the_whole_table_and_has_every_operator() -> None:
    table = coverage_table(exact_results(ROUND))
    assert all(count != 0 for row in table.values() for count in row.values())
    assert set(table) == set(KINDS)
    assert {kind for kind, row in table.items() if any(isinstance(count, str) for count in row.values())} == {
        *NO_MEANING
    }
    seen = {node.op_type for index in range(ROUND) for node in draw(1, index).model.graph.node}
    assert seen | NOT_DRAWN == set(SIGNATURES)


def test_what_was_not_drawn_or_differed_is_an_empty_entry() -> None:
    results = [replace(each, error="wrong") for each in exact_results(8)]
    table = coverage_table(results)
    assert all(count == 0 or isinstance(count, str) for row in table.values() for count in row.values())
    assert "| bipolar weights | 0 | -1 and 1 are one bit |" in table_page(table, folding_table(results), 8, 1)


def test_results_depend_on_the_compiler_and_not_on_what_reports_them() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in bench.sources()}
    assert {"hls/graph/thresholds.py", "hls/cpp/layers.py", "hw/rtl/mvu.sv", "sim/streams.cpp"} <= names
    assert not {"bench/coverage/bench.py", "hls/vivado.py", "hw/rtl/cascade.sv"} & names


def test_the_reference_keeps_what_every_stream_says_of_itself() -> None:
    for index in range(0, ROUND, 3):
        network, _ = integer_network(draw(2, index).model)
        inputs = simulate.inputs_of(network, 3, [index])
        for place, values in Reference(network).streams(inputs).items():
            said = network.operators[place].output
            assert values.shape[1:] == (said.shape.height, said.shape.width, said.shape.channels)
            assert said.low <= values.min()
            assert values.max() <= said.high


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_random_networks_are_exact_under_random_stalls(tmp_path: Path) -> None:
    results = simulate.run_random(range(12), 1, tmp_path)
    assert [result.error for result in results] == [""] * 12
    assert all(result.runs == simulate.RUNS and result.interval > 0 for result in results)
    assert sum(result.csim for result in results) == 2


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_a_wrong_network_is_seen_shrunk_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = next(index for index in range(50) if draw(9, index).blocks == 2)

    def with_a_fault(name: str, network: object, folding: object) -> object:
        emitted = emit_network(name, network, folding)  # type: ignore[arg-type] # passed on
        module = emitted.sources[f"{name}.sv"].replace("_data_o = ", "_data_o = 1 ^ ")
        return replace(emitted, sources={**emitted.sources, f"{name}.sv": module})

    monkeypatch.setattr(simulate, "emit_network", with_a_fault)
    monkeypatch.setattr(simulate, "draw", lambda seed, number, *fewer: draw(seed, index, *fewer))
    (result,) = simulate.run_random(range(1), 9, tmp_path)
    assert (result.index, result.blocks, result.channels) == (index, 1, 2)
    assert "a wrong beat: beat 0 of output 0" in result.error
    assert (tmp_path / f"failed-9-{index}.json").is_file()
    assert (tmp_path / f"failed-9-{index}.onnx").is_file()
