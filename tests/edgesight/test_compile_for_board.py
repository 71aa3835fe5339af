"""`edgesight compile --board`: folded for a rate, refused beyond what fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgesight.cli.aims import LEAST_SHARE, AimAsked
from edgesight.host.calibrate import calibrate
from tests.edgesight.commands import ZOO, fails, succeeds
from tests.host.drawn import LOSS, SAMPLE, SHA, draw

CLOCK = 100e6  # of the PYNQ-Z2


def bounds(told: str) -> list[int]:
    """The interval's bound of each stage."""
    return [stage["bound_cycles"] for stage in json.loads(told)["stages"]]


def test_a_cascade_is_folded_for_a_rate_by_its_exit_rates(tmp_path: Path) -> None:
    common = ("compile", ZOO, "--board", "pynq-z2", "--fps", "40000", "--no-csim", "--json")
    both = bounds(succeeds(*common, "--out", tmp_path / "both"))
    seldom = bounds(succeeds(*common, "--exit-rates", "1,0.1", "--out", tmp_path / "seldom"))
    assert max(both) <= CLOCK / 40_000
    report = json.loads((tmp_path / "both" / "folding.json").read_text())
    rows = [row for stage in report["stages"] for row in stage]
    assert report["EstimatedResources"]["LUT"] == sum(row["predicted"]["luts"] for row in rows) > 0
    assert max(row["interval_cycles"] for row in rows) == max(both)
    assert (tmp_path / "both" / "folding.svg").read_text().count("<rect") == 1 + 5 * len(rows)
    assert "checked" in succeeds("show", tmp_path / "both").lower()
    assert seldom[0] <= CLOCK / 40_000 < seldom[1] <= CLOCK / 4_000


def test_exit_rates_are_those_of_a_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    observed = draw(5_000, seed=2)
    made = calibrate(observed, (0.85, 0.9), loss=LOSS, backend_sha256=SHA, rests_on=SAMPLE)
    asked = AimAsked("pynq-z2", 1000.0, None, (), None)
    reached = [target.calibration_reached for target in made.targets]
    assert None not in reached
    rates = asked.of_stages(ZOO, 2, made).exit_rates
    assert rates == (1.0, max(shares[1] for shares in reached if shares))
    assert LEAST_SHARE < rates[1] < 1
    assert replace(asked, exit_rates=(1.0, 0.5)).of_stages(ZOO, 2, made).exit_rates == (1.0, 0.5)
    nobody = [target.model_copy(update={"calibration_reached": [1.0, 0.0]}) for target in made.targets]
    assert asked.of_stages(ZOO, 2, made.model_copy(update={"targets": nobody})).exit_rates == (1.0, LEAST_SHARE)
    assert capsys.readouterr().err == ""
    before = [target.model_copy(update={"calibration_reached": None}) for target in made.targets]
    assert asked.of_stages(ZOO, 2, made.model_copy(update={"targets": before})).exit_rates == (1.0, 1.0)
    assert "calibrate again" in capsys.readouterr().err


def test_a_network_alone_is_folded_as_fast_as_its_look_up_tables_allow(tmp_path: Path) -> None:
    common = ("compile", ZOO / "stage0.onnx", "--board", "pynq-z2", "--no-csim", "--json")
    [fast] = bounds(succeeds(*common, "--out", tmp_path / "fast"))
    [small] = bounds(succeeds(*common, "--max-luts", "5000", "--out", tmp_path / "small"))
    assert fast < small


def test_a_reuse_factor_stays_within_a_solved_folding(tmp_path: Path) -> None:
    path = ZOO / "stage0.onnx"
    told = json.loads(
        succeeds(
            "compile", path, "--board", "kv260", "--no-csim", "--json", "--reuse", "conv1=9", "--out", tmp_path / "k"
        )
    )
    assert told["stages"][0]["layers"][0]["reuse_built"] == 9


def test_a_rate_out_of_reach_is_refused_with_the_best_one(tmp_path: Path) -> None:
    fails(
        "the most that fits is",
        *("compile", ZOO, "--board", "pynq-z2", "--fps", "1e7", "--out", tmp_path / "kernel"),
    )


@pytest.mark.parametrize(
    ("why", "asked"),
    [
        ("give --board, too", ("--fps", "100")),
        ("leave one of them out", ("--board", "pynq-z2", "--cycles", "100,1000")),
        (
            "use --cycles, or a board with a Zynq",
            (
                "--board",
                "ulx3s",
            ),
        ),
        ("give the share of the images", ("--board", "pynq-z2", "--exit-rates", "0.5,1")),
        ("has 2 stages", ("--board", "pynq-z2", "--exit-rates", "1,0.5,0.2")),
        ("give a power of two from 4 to 256", ("--cycles", "1000,1000", "--frame-slots", "12")),
        ("no board is called", ("--board", "mine")),
        ("--frame-slots 0: give a power of two", ("--frame-slots", "0")),
        ("give a power of two from 4 to 256", ("--board", "pynq-z2", "--frame-slots", "1" + 400 * "0")),
    ],
)
def test_options_that_do_not_fit_together_are_refused(why: str, asked: tuple[str, ...], tmp_path: Path) -> None:
    fails(why, "compile", ZOO, "--out", tmp_path / "kernel", *asked)
