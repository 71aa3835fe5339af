"""The cost model covers all that a network can be made of, and says where it guesses."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls import rtl
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import BY_MODULE
from edgesight.hls.cost.model import CostModel, cost_model
from edgesight.hls.cost.report import as_json, cost_rows
from edgesight.hls.dataflow.operators import IntegerNetwork, Output, Stream, Window, concat, entry, matrix
from edgesight.hls.dataflow.runtime import hardware_of
from edgesight.hls.folding import Choice, Folding, Runtime
from edgesight.hls.library import library_modules
from edgesight.hls.network import Shape
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.parts import ADDITIONS, Part


def pointwise(declared: tuple[int, int] | None = None) -> IntegerNetwork:
    """Two layers by pixels, the second of what the first gives; with `declared`, their weights may be loaded."""
    source = Stream(Shape(4, 4, 8), 0, 15)
    weights = np.arange(128).reshape(16, 1, 1, 8) % 7 - 3
    first = replace(matrix("first", 0, source, Window((1, 1)), 1, weights), declared=declared)
    weights = np.arange(64).reshape(4, 1, 1, 16) % 5 - 2
    second = replace(matrix("second", 1, first.output, Window((1, 1)), 1, weights), declared=declared)
    output = Output("output", 2, np.ones(4), np.zeros(4), 0.0, False)
    return IntegerNetwork((entry("input", source, 1.0), first, second), (output,))


def named() -> set[str]:
    """The library's modules that the emitters of networks name."""
    texts = [path.read_text() for path in Path(str(rtl.__file__)).parent.glob("*.py")]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return words & set(library_modules())


def test_every_module_that_a_network_can_have_has_a_formula() -> None:
    assert {"mvu", "replay_buffer", "stream_split", "stream_gather", "runtime_memory", "group_pipeline"} <= named()
    assert named() | {ADDITIONS} == set(BY_MODULE)


def test_what_is_loaded_at_run_time_is_predicted_and_said_to_be_rough() -> None:
    network = hardware_of(pointwise((-8, 7)), Runtime())
    folding = Folding(512, {}, Runtime())
    rows = cost_rows(network, folding, cost_model())
    modules = {part.module for part in emit_network("network", network, folding).parts}
    assert "runtime_memory" in modules
    assert "weight_memory" not in modules
    assert [row.rough for row in rows if row.multipliers] == [True, True]
    assert all(row.predicted.luts > 0 for row in rows if row.multipliers)
    assert as_json([rows])["stages"][0][0]["rough"] is True


def test_fixed_weights_are_fitted_to_and_a_part_of_a_pixel_is_replayed() -> None:
    network = pointwise()
    folding = Folding(512, {}, choices={"first": Choice(1, 8, "distributed", "logic"), "second": Choice(2, 1)})
    modules = {part.module for part in emit_network("network", network, folding).parts}
    assert {"weight_memory", "replay_buffer", "mvu"} <= modules
    assert not any(row.rough for row in cost_rows(network, folding, cost_model()))


def test_a_layer_that_is_not_folded_is_additions_unless_a_choice_names_what_multiplies() -> None:
    network = pointwise()
    alone = emit_network("network", network, Folding(16, {}))
    assert ADDITIONS in {part.module for part in alone.parts}
    chosen = {"first": Choice(16, 8, "distributed", "logic"), "second": Choice(4, 16, "distributed", "logic")}
    assert ADDITIONS not in {
        part.module for part in emit_network("network", network, Folding(16, {}, choices=chosen)).parts
    }
    assert all(cost_model().part(part).luts >= 0 for part in alone.parts)


def test_a_module_that_nothing_was_fitted_to_is_rough() -> None:
    source = Stream(Shape(4, 4, 8), 0, 15)
    joined = concat("join", (0, 0), (source, source))
    output = Output("output", 1, np.ones(16), np.zeros(16), 0.0, False)
    network = IntegerNetwork((entry("input", source, 1.0), joined), (output,))
    known = cost_model()
    assert not any(row.rough for row in cost_rows(network, Folding(16, {}), known))
    without = {module: prices for module, prices in known.prices.items() if module != "stream_concat"}
    [row] = cost_rows(network, Folding(16, {}), CostModel(without, known.products, known.largest))
    assert row.rough


@pytest.mark.parametrize(
    ("words", "bits", "block"),
    [(64, 128, False), (65, 24, False), (65, 28, True), (80, 36, True), (80, 48, False), (128, 24, True),
     (128, 20, False), (129, 12, False), (129, 16, True), (256, 8, False), (256, 12, True), (512, 4, False),
     (512, 8, True), (1024, 4, True)],
)  # fmt: skip
def test_a_fifo_lies_where_yosys_puts_it(words: int, bits: int, block: bool) -> None:
    part = Part(1, "stream_fifo", "u_fifo", {"Width": bits, "Depth": words})
    assert bool(cost_model().part(part).half_blocks) == block


def test_what_is_given_once_is_no_memory() -> None:
    part = Part(1, "replay_buffer", "u_replay", {"Width": 34, "Words": 2, "Turns": 1})
    assert cost_model().part(part) == Cells(0, 0, 0, 0)
