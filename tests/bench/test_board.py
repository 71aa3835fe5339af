"""The board bench keeps what it found when a simulation breaks off."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import edgesight.sim.pynq
import edgesight.sim.ulx3s
from edgesight.bench import board
from edgesight.host.board_build import BoardBuild, Used
from edgesight.host.fabric.base import Images, Records
from edgesight.host.package import Package
from edgesight.sim.pynq import PynqSimulationError, SimulatedRun
from edgesight.sim.ulx3s import PinSimulationError

IMAGES = 20


@pytest.fixture
def built(digits: Package, tmp_path: Path) -> Package:
    """A copy that holds a build for the open board, as far as the bench looks at it."""
    copy = shutil.copytree(digits.path, tmp_path / "kernel")
    build = BoardBuild(
        board=board.OPEN_BOARD,
        part="LFE5U-85F-6BG381C",
        flow="open",
        bitstream="boards/ulx3s/digits.bit",
        handoff=None,
        device_tree=None,
        pynq_board=None,
        serial=None,
        clock_mhz=100.0,
        fmax_mhz=101.0,
        worst_slack_ns=0.0,
        utilisation={"TRELLIS_COMB": Used(used=20_000, available=83_640)},
        tools={"none": "no tool ran"},
        reports=["boards/ulx3s/seeds.json"],
    )
    files = {build.bitstream: b"none", "boards/ulx3s/seeds.json": b'{"fmax_mhz_by_seed": {"1": 101.0}}'}
    return Package.load(copy, verify=False).add_board(build, files)


def test_a_simulation_that_breaks_off_is_an_unmet_check_and_the_report_is_written(
    built: Package, images: Images, expected: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pins(*_: object) -> Records:
        raise PinSimulationError("no simulator [here]")

    def one_record_short(*_: object, version: str) -> SimulatedRun:
        return SimulatedRun(
            expected[: IMAGES - 1], {}, {}, dry_run_found=True, dry_run_frames=0, interrupts_waited_for=0
        )

    def no_failures(*_: object, version: str) -> dict[str, edgesight.sim.pynq.Failure]:
        raise PynqSimulationError("the program failed")

    monkeypatch.setattr(board, "by_csim", lambda *_: expected[:IMAGES])
    monkeypatch.setattr(edgesight.sim.ulx3s, "answers_at_pins", no_pins)
    monkeypatch.setattr(edgesight.sim.pynq, "answer", one_record_short)
    monkeypatch.setattr(edgesight.sim.pynq, "failures", no_failures)
    said = io.StringIO()
    met = board.bench_board(
        built,
        built,
        {},
        np.ascontiguousarray(images[:IMAGES]),
        board.Counts(pin_images=IMAGES, pynq_images=IMAGES, energy_seeds=1),
        tmp_path,
        Console(file=said, width=200),
    )
    assert not met
    assert "ulx3s, at its pins: no simulator [here]" in said.getvalue()
    report = json.loads((tmp_path / "board.json").read_text())
    assert set(report["broken"]) == {"ulx3s, at its pins", "pynq-z2, PYNQ host", "kv260, PYNQ host"}
    values = {check["name"]: (check["value"], check["met"]) for check in report["checks"]}
    assert values["ulx3s, at its pins: images answered"] == (0, False)
    assert values["ulx3s, at its pins: records unlike csim's"] == (IMAGES, False)
    assert values["pynq-z2, PYNQ host: records unlike csim's"] == (1, False)
    assert values["kv260, PYNQ host: failures survived"] == (0, False)
