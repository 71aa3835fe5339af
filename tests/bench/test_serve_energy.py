"""Energy an image: the arithmetic of its terms by hand, what systems take, and what is told."""

from __future__ import annotations

import dataclasses

import pytest
from rich.console import Console

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.serve import energy, energy_sources
from edgesight.bench.serve.energy import CHANGES, RATIO, Did, Subject, Use, cell_of, needed_interval_s
from edgesight.bench.serve.energy_sources import BOARDS, DEVICE, LTE, WIFI, Board, Radio
from edgesight.bench.serve.grid import LOADS
from edgesight.bench.serve.links import links_of
from edgesight.bench.serve.systems import DATA_CENTRE, EDGE, HEDGED, SELECTING, TWO_STAGE, System
from edgesight.host.datacenter.executors.base import Recipe
from edgesight.host.datacenter.executors.onnx_runtime import OnnxExecutor
from edgesight.host.power.projection import PUBLISHED
from edgesight.host.power.readings import PowerError, Reading
from edgesight.plan.place.graph import read_onnx
from tests.bench.served_digits import LATENCY_S, served_digits

BOARD = Board("by hand", 2.0, 3.0, "here")
RADIO = Radio("by hand", 0.5, 1e-6, "here")
EVERYTHING = Use(interval_s=0.01, fabric_s=0.0, sent_bytes=1_000.0, ran=1.0)
OURS = Use(interval_s=0.01, fabric_s=0.002, sent_bytes=100.0, ran=0.1)


@pytest.fixture(scope="module")
def subject() -> Subject:
    served = served_digits((0.0,))
    return Subject(served.material, served.goals[0], 1e-3)


def test_terms_are_power_times_time_and_joules_times_counts() -> None:
    terms = energy.energy(OURS, BOARD, RADIO, 0.03)
    assert dataclasses.asdict(terms) == pytest.approx(
        {"board_idle": 0.02, "fabric": 0.002, "radio_base": 0.005, "radio_bits": 0.0008, "back_end": 0.003}
    )
    assert terms.total == pytest.approx(0.0308)


def test_a_system_that_sends_nothing_has_no_radio() -> None:
    terms = energy.energy(Use(0.01, 0.002, 0.0, 0.0), BOARD, RADIO, 0.03)
    assert (terms.radio_base, terms.radio_bits, terms.back_end) == (0.0, 0.0, 0.0)


def test_at_the_needed_interval_the_ratio_is_what_is_asked_for() -> None:
    longest = needed_interval_s(EVERYTHING, OURS, BOARD, RADIO, 0.03)
    assert longest > 0.0
    theirs, ours = (
        energy.energy(dataclasses.replace(one, interval_s=longest), BOARD, RADIO, 0.03).total
        for one in (EVERYTHING, OURS)
    )
    assert theirs / ours == pytest.approx(RATIO)


def test_where_ours_takes_too_much_no_interval_is_short_enough() -> None:
    assert needed_interval_s(EVERYTHING, EVERYTHING, BOARD, RADIO, 0.03) == 0.0


def test_a_cell_tells_the_median_seed_and_each_term_at_half_and_double() -> None:
    def did(by: float) -> dict[System, Did]:
        uses = {DATA_CENTRE: EVERYTHING, HEDGED: OURS}
        return {
            system: Did(dataclasses.replace(use, sent_bytes=by * use.sent_bytes), 0.9, -0.01)
            for system, use in uses.items()
        }

    cell = cell_of(0.6, "no loss", BOARD, RADIO, [did(by) for by in (1.0, 0.5, 3.0)], 0.03)
    theirs, ours = (energy.energy(use, BOARD, RADIO, 0.03).total for use in (EVERYTHING, OURS))
    assert [row.microjoules for row in cell.rows] == pytest.approx([1e6 * theirs, 1e6 * ours])
    assert cell.rows[1].of_which.total == pytest.approx(cell.rows[1].microjoules)
    assert cell.ratio == pytest.approx(theirs / ours)
    assert set(cell.sensitivity) == {f"{term} x {by:g}" for term in ("board", "radio", "back end") for by in CHANGES}
    for by in CHANGES:
        theirs, ours = (energy.energy(use, BOARD, RADIO, by * 0.03).total for use in (EVERYTHING, OURS))
        assert cell.sensitivity[f"back end x {by:g}"] == pytest.approx(theirs / ours)
    assert cell.sensitivity["board x 2"] < cell.ratio < cell.sensitivity["board x 0.5"]  # all idle alike
    assert all(row.reaches for row in cell.rows)
    assert cell.requests_per_second == pytest.approx(100.0)


def test_little_energy_counts_only_at_the_accuracy_that_was_asked_for() -> None:
    def cell(short: float) -> energy.EnergyCell:
        did = {DATA_CENTRE: Did(EVERYTHING, 0.95, 0.0), HEDGED: Did(OURS, 0.9, short)}
        return cell_of(0.6, "no loss", BOARD, RADIO, [did], 0.03)

    assert energy.counted_ratio(cell(0.0)) == cell(0.0).ratio > 1.0
    assert cell(0.01).ratio > 1.0
    assert energy.counted_ratio(cell(0.01)) == 0.0


def test_what_is_quoted_has_a_source_and_adds_up() -> None:
    for one in (*BOARDS, WIFI, LTE, DEVICE):
        assert len(one.source) > 40
    least, largest = min(one.watts for one in PUBLISHED), max(one.watts for one in PUBLISHED)
    assert (BOARDS[0].idle_watts, BOARDS[0].active_watts) == (least, largest)
    assert DEVICE.joules_an_operation == pytest.approx(2219.577 / 353_232 / 4.09e9)
    assert all(board.idle_watts < board.active_watts for board in BOARDS)


def test_the_back_end_is_projected_by_its_operations(subject: Subject) -> None:
    package = subject.material.package
    operations = sum(layer.operations for layer in read_onnx(package.path / "datacenter.onnx").layers)
    found = energy.back_end_joules(package)
    assert operations > 1e5
    assert found.obtained == "projected"
    assert found.joules == pytest.approx(operations * DEVICE.joules_an_operation)
    assert energy_sources.DEVICE.name in found.source


def test_each_system_takes_what_it_does(subject: Subject) -> None:
    links = links_of(None)
    found = energy.run([subject], {"no loss": links["no loss"]}, Console(quiet=True), requests=300, seeds=[0])
    cells = found.body["data"]["digits"]["cells"]
    assert [(cell["load"], cell["board"]) for cell in cells] == [
        (load, board.name) for load in LOADS for board in BOARDS
    ]
    for cell in cells:
        rows = {row["system"]: row for row in cell["rows"]}
        assert list(rows) == [system.name for system in energy.SYSTEMS]
        edge, centre = rows[EDGE.name], rows[DATA_CENTRE.name]
        assert (edge["use"]["sent_bytes"], edge["use"]["ran"]) == (0.0, 0.0)
        assert edge["use"]["fabric_s"] == pytest.approx(LATENCY_S[1] - LATENCY_S[0])
        assert centre["use"]["ran"] == pytest.approx(1.0, abs=0.05)
        assert 0.0 <= centre["use"]["fabric_s"] < LATENCY_S[1]
        for name in (TWO_STAGE.name, HEDGED.name):
            assert 0.0 < rows[name]["use"]["ran"] < centre["use"]["ran"]
            assert rows[name]["use"]["sent_bytes"] < centre["use"]["sent_bytes"]
            assert LATENCY_S[0] <= rows[name]["use"]["fabric_s"] <= LATENCY_S[1]
        assert rows[SELECTING.name]["microjoules"] > 0.0
        assert cell["ratio"] == pytest.approx(centre["microjoules"] / rows[HEDGED.name]["microjoules"])
    (check,) = found.checks
    assert (check.obtained, check.bar, check.at_most) == ("projected", RATIO, False)
    assert "projected" in check.name
    assert check.value == next(cell["ratio"] for cell in cells if cell["load"] == energy.LOAD)
    assert len(found.body["left_out"]) == len(energy.LEFT_OUT)


def test_a_gpu_that_is_not_here_is_named(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(index: int) -> None:
        raise PowerError(f"GPU {index} cannot be opened: check `nvidia-smi`")

    monkeypatch.setattr(energy, "NvmlSensor", none)
    with pytest.raises(PowerError, match="check `nvidia-smi`"):
        energy.measured_joules(subject.material.package, subject.material.photographs)


def test_a_gpu_that_is_here_is_measured(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop over a stand-in for the GPU: ONNX Runtime on the processor, and a sensor that says 100 W."""

    class Sensor:
        name, update_seconds = "made up", 0.01

        def __init__(self, index: int) -> None:
            self.read_before = False

        def read(self) -> Reading | None:
            return Reading(0.0, 100.0, 0.01)

    def on_the_processor(recipe: Recipe, content: bytes) -> OnnxExecutor:
        return executor(dataclasses.replace(recipe, options={}), content)

    executor = OnnxExecutor
    monkeypatch.setattr(energy, "NvmlSensor", Sensor)
    monkeypatch.setattr(energy, "OnnxExecutor", on_the_processor)
    monkeypatch.setattr(energy, "_GPU_S", 0.2)
    found = energy.measured_joules(subject.material.package, subject.material.photographs)
    assert found.obtained == "measured"
    assert found.joules > 0.0
    assert "made up" in found.source
