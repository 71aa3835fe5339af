"""`edgesight audit`: what it tells and refuses, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgesight.cli.app import app
from edgesight.host.audits import Auditing, Audits
from edgesight.host.package import Package
from tests.host.by_hand import package, stage1_answer, watched

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an edge whose every audit disagrees: 30 of them."""
    made = Audits(Auditing(tmp_path / "audits", 1.0), watched(), [f"class {number}" for number in range(4)])
    for number in range(30):
        made.take(np.full((28, 28, 1), number, np.uint8), stage1_answer(), watched(), 2, True)
    made.keep()
    return tmp_path / "audits"


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", watched())


def test_status_tells_the_alarm_and_ends_with_1(folder: Path) -> None:
    said = RUNNER.invoke(app, ["audit", "status", str(folder)])
    assert said.exit_code == 1
    assert "target 0.9 may not hold any more: fabric and back end agree on 0 of" in said.output
    told = json.loads(RUNNER.invoke(app, ["audit", "status", str(folder), "--json"]).stdout)
    assert told["agreement"]["0.9"]["watch"]["count"] == 30
    assert told["agreement"]["0.9"]["alarm"]["examples"]
    assert told["agreement"]["0.8"]["alarm"] is None


def test_audits_are_listed_the_oldest_first_and_labelled(folder: Path, made: Package) -> None:
    listed = json.loads(RUNNER.invoke(app, ["audit", "list", str(folder), "--most", "3", "--json"]).stdout)
    assert [one["class_name"] for one in listed] == ["class 1"] * 3
    assert sorted(one["at"] for one in listed) == [one["at"] for one in listed]
    assert all(Path(one["picture"]).is_file() for one in listed)
    assert listed[0]["id"] in RUNNER.invoke(app, ["audit", "list", str(folder)]).output
    first = ["audit", "label", str(folder), listed[0]["id"], "class 1", "--package", str(made.path)]
    assert RUNNER.invoke(app, first).exit_code == 0
    assert (folder / "labelled" / "class 1" / f"{listed[0]['id']}.png").is_file()
    again = RUNNER.invoke(app, first)
    assert again.exit_code != 0
    codes = []
    for one in json.loads(RUNNER.invoke(app, ["audit", "list", str(folder), "--most", "99", "--json"]).stdout):
        words = ["audit", "label", str(folder), one["id"], "class 3", "--package", str(made.path)]
        codes.append(RUNNER.invoke(app, words).exit_code)
    assert codes.count(1) == 1  # the alarm of accuracy, which comes once
    told = json.loads(RUNNER.invoke(app, ["audit", "status", str(folder), "--json"]).stdout)
    assert told["accuracy"]["0.9"]["watch"]["count"] == 30


@pytest.mark.parametrize("command", [["status"], ["list"], ["label", "1", "class 1", "--package", "x"]])
def test_a_folder_without_audits_is_told(tmp_path: Path, made: Package, command: list[str]) -> None:
    words = [str(made.path) if word == "x" else word for word in command]
    said = RUNNER.invoke(app, ["audit", words[0], str(tmp_path), *words[1:]])
    assert said.exit_code != 0
    assert "holds no audits" in str(said.exception)
