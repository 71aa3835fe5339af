"""The frame of the service's bench: sections are run, told of, kept, and run again where they have to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.sections import Section
from edgesight.bench.service import bench
from edgesight.bench.service.asked import Asked, Figure, told
from edgesight.bench.service.bench import bench_service
from edgesight.host.errors import EdgeSightError

QUIET = Console(quiet=True)


class Counting:
    """A section that counts how often it is run."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.runs = value, 0

    def __call__(self, asked: Asked, folder: Path, console: Console) -> Found:
        self.runs += 1
        assert folder.is_dir()
        figure = Figure("peer", 2.0, "ms", "measured")
        check = Check("ours", self.value, 1.5, True, "ms", "measured")
        return Found({"told": told(figure), "skipped": {"other": "it is not here"}}, (check,))


def report_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "service.json").read_text())
    return found


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    section = Counting()
    monkeypatch.setattr(bench, "SECTIONS", {"one": Section("A section", section)})
    return section


def test_what_was_found_is_kept_and_measured_again_where_it_is_told(counting: Counting, tmp_path: Path) -> None:
    assert bench_service(tmp_path, QUIET, Asked())
    assert bench_service(tmp_path, QUIET, Asked())
    assert counting.runs == 1
    bench_service(tmp_path, QUIET, Asked(), again=True)
    bench_service(tmp_path, QUIET, Asked(peers=False))
    assert counting.runs == 3
    assert report_of(tmp_path)["skipped"] == {"one: other": "it is not here"}
    assert [check["met"] for check in report_of(tmp_path)["checks"]] == [True]


def test_a_missed_bar_and_figures_without_one_are_told(counting: Counting, tmp_path: Path) -> None:
    counting.value = 1.6
    console = Console(record=True, width=120, quiet=False, file=(tmp_path / "said").open("w"))
    assert not bench_service(tmp_path, console, Asked())
    said = console.export_text()
    assert "UNMET" in said
    assert "skipped: one: other: it is not here" in said
    assert "peer" in said.split("Told without a bar")[1]


def test_a_section_that_fails_counts_as_unmet_and_the_others_go_on(
    counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(asked: Asked, folder: Path, console: Console) -> Found:
        raise EdgeSightError("it is broken: mend it")

    sections = {"bad": Section("", fails), "absent": Section("", fails, lambda asked: "no data"), **bench.SECTIONS}
    monkeypatch.setattr(bench, "SECTIONS", sections)
    assert not bench_service(tmp_path, QUIET, Asked())
    report = report_of(tmp_path)
    assert report["sections"]["bad"] == {"failed": "it is broken: mend it"}
    assert report["skipped"]["absent"] == "no data"
    assert [(check["name"], check["met"]) for check in report["checks"]] == [("bad: done", False), ("ours", True)]
