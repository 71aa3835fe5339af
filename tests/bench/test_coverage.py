"""Random networks are drawn alike from a seed and have every kind of layer; their hardware equals the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.coverage import simulate
from edgesight.bench.coverage.random_networks import BITS, KINDS, Drawn, draw
from edgesight.hls.dataflow.operators import Matrix
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.rtl.runner import missing_tools

ROUND = len(KINDS) * len(BITS)  # networks that begin with each kind in each precision


def same(one: Drawn, other: Drawn) -> bool:
    text = [emit_network("n", each.network, each.folding).sources for each in (one, other)]
    return text[0] == text[1]


def test_a_seed_and_a_number_draw_the_same_network_again() -> None:
    assert same(draw(3, 17), draw(3, 17))
    assert not same(draw(3, 17), draw(4, 17))
    assert not same(draw(3, 17), draw(3, 18))


def test_fewer_blocks_are_the_same_network_s_beginning() -> None:
    whole = next(each for each in (draw(5, index) for index in range(50)) if each.blocks > 2)
    first = draw(5, whole.index, 1)
    assert (first.blocks, first.folding) == (1, whole.folding)
    for one, other in zip(first.network.operators, whole.network.operators, strict=False):
        assert (one.name, one.sources, one.output) == (other.name, other.sources, other.output)


def test_a_round_of_draws_has_every_kind_in_every_precision() -> None:
    found: dict[str, set[int]] = {}
    strides, dilated, padded = set(), False, False
    for index in range(ROUND):
        drawn = draw(1, index)
        for operator in drawn.network.operators:
            if isinstance(operator, Matrix):
                strides |= set(operator.window.stride)
                dilated |= max(operator.window.dilation) > 1
                padded |= len(set(operator.window.pads)) > 1
        for layer in simulate.layers_of(drawn.network):
            found.setdefault(layer.kind, set()).add(layer.weight_bits or layer.input_bits)
    kinds = {"conv", "conv1d", "pointwise", "depthwise", "grouped", "dense", "average", "max_pool", "upsample", "add"}
    assert set(found) == kinds | {"concat", "threshold", "scale"}
    for kind in ("conv", "conv1d", "pointwise", "depthwise", "grouped", "dense"):
        assert found[kind] >= {1, 2, 4, 8}, kind
    assert strides == {1, 2, 3, 4}
    assert dilated
    assert padded


def test_the_reference_keeps_what_every_stream_says_of_itself() -> None:
    for index in range(0, ROUND, 3):
        network = draw(2, index).network
        stream = network.entry.output
        shape = (3, stream.shape.height, stream.shape.width, stream.shape.channels)
        inputs = np.random.default_rng(index).integers(stream.low, stream.high, shape, endpoint=True)
        for place, values in Reference(network).streams(inputs).items():
            said = network.operators[place].output
            assert values.shape[1:] == (said.shape.height, said.shape.width, said.shape.channels)
            assert said.low <= values.min()
            assert values.max() <= said.high


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_random_networks_are_exact_under_random_stalls(tmp_path: Path) -> None:
    results = simulate.run_random(12, 1, tmp_path)
    assert [result.error for result in results] == [""] * 12
    assert all(result.runs == simulate.RUNS and result.interval > 0 for result in results)
    assert len({layer.kind for result in results for layer in result.layers}) > 8


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_a_wrong_network_is_seen_shrunk_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = next(index for index in range(50) if draw(9, index).blocks == 2)

    def with_a_fault(name: str, network: object, folding: object) -> object:
        emitted = emit_network(name, network, folding)  # type: ignore[arg-type] # passed on
        module = emitted.sources[f"{name}.sv"].replace("_data_o = ", "_data_o = 1 ^ ")
        return replace(emitted, sources={**emitted.sources, f"{name}.sv": module})

    monkeypatch.setattr(simulate, "emit_network", with_a_fault)
    monkeypatch.setattr(simulate, "draw", lambda seed, number, blocks=None: draw(seed, index, blocks))
    (result,) = simulate.run_random(1, 9, tmp_path)
    assert (result.index, result.blocks) == (index, 1)
    assert "a wrong beat: beat 0 of output 0" in result.error
    assert (tmp_path / f"failed-9-{index}.json").is_file()
