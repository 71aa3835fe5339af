"""A cascade by command line alone: the commands run one after the other, and what they report is held against bars."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edgesight.bench.commands import CommandError
from edgesight.bench.coverage import by_command
from edgesight.bench.coverage.by_command import Asked, Found, checks_of
from edgesight.quant import datasets
from edgesight.sim.rtl.runner import ROOT, missing_tools

SIGNS = Path(__file__).resolve().parents[3] / "shared" / "data" / "gtsrb32.zip"
GOOD = Found("signs", 100, 0.98, 0.975, 0.975, 0.25, 2000, {"stage0 logits csim=rtl": 0}, 1.0)


def test_a_missed_bar_is_told_by_name() -> None:
    assert all(check.met for check in checks_of(GOOD))
    bad = replace(GOOD, back_end=0.9799, accuracy=0.9749, sent=0.2501, mismatches={"stage0 logits csim=rtl": 1})
    assert not any(check.met for check in checks_of(bad))


def test_a_command_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(CommandError, match=r"`edgesight compile \S+ .*` ended with status 1; see what it said last"):
        by_command.by_command(Asked(tmp_path, "digits"), tmp_path / "work", Console(quiet=True))


@pytest.mark.skipif(bool(missing_tools()), reason="verilator, g++, make or perl not found")
def test_the_commands_of_a_small_cascade_report_what_the_bars_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_command, "IMAGES", 20)
    monkeypatch.setattr(by_command, "TARGET", 0.9)
    monkeypatch.setattr(by_command, "_TARGETS", "0.9")
    found = by_command.by_command(Asked(ROOT / "quant" / "zoo" / "digits", "digits"), tmp_path, Console(quiet=True))
    assert (found.name, found.test_images, found.compared) == ("digits", 359, 20)
    assert found.back_end > 0.98
    assert found.accuracy > 0.9
    assert 0 <= found.sent <= 1
    assert set(found.mismatches.values()) == {0}


def test_tracks_of_signs_stay_in_one_split() -> None:
    """GTSRB at its official counts: near copies of a training image must not be what thresholds are chosen on."""
    if not SIGNS.is_file():
        pytest.skip(f"needs {SIGNS}")
    data = datasets.load(f"folder:{SIGNS}", say=lambda line: None)
    assert len(data.classes) == 43
    assert len(data.train) + len(data.calibration) == 39_209
    assert len(data.test) == 12_630
    splits_of = defaultdict(set)
    for name, split in (("train", data.train), ("calibration", data.calibration)):
        for label, path in zip(split.labels, split.ids, strict=True):
            splits_of[int(label), Path(path).name.rpartition("_")[0]].add(name)
    assert len(splits_of) == 1_307
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert sum("calibration" in splits for splits in splits_of.values()) >= len(splits_of) // 10
