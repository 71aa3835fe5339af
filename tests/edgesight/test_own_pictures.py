"""`edgesight calibrate` on pictures of a site, with a back end that takes them larger than the fabric does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.package import Package
from edgesight.quant import datasets
from tests.edgesight.commands import DIGITS, edgesight, fails, succeeds
from tests.large_digits import FORM, write_package, write_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 darkened test digits of eight classes, 64 x 64."""
    folder = tmp_path_factory.mktemp("pictures") / "corner"
    test = datasets.load("digits", photograph=FORM.shape).test
    chosen = np.flatnonzero(test.labels < 8)[:200]
    dark = np.rint(test.photographs[chosen] * 0.8).astype(np.uint8)
    write_site(folder, test.labels[chosen], dark)
    return folder


def test_thresholds_for_pictures_of_ones_own(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = write_package(tmp_path / "kernel")
    done = edgesight("calibrate", package.path, f"folder:{site}", "--targets", "auto", "--resplits", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert "with 2 times as many about 0." in done.stderr
    made = json.loads(done.stdout)["calibration"]
    assert made == Package.load(package.path).kernel.model_dump(mode="json")["calibration"]
    assert made["images"] == 200
    assert made["rests_on"]["dataset"] == "corner"
    assert made["rests_on"]["split"] == "all"
    assert made["rests_on"]["distribution"] == "those of corner"
    assert 1 <= len(made["targets"]) <= 4
    assert len(made["targets"]) + len(made["refused"]) == 4
    # Enlarged from 8 x 8 pixels, they bear to be sent smaller: that is measured, not supposed.
    assert made["ladder"][0]["divisor"] > 1
    rungs = [(rung["bytes"], rung["accuracy"]) for rung in made["ladder"]]
    assert rungs == sorted(set(rungs), reverse=True)
    # What was measured is kept: other targets are of the same measurement.
    kept = {path: path.stat().st_ino for path in (tmp_path / "cache" / "edgesight" / "observed").iterdir()}
    assert len(kept) == 2
    succeeds("calibrate", package.path, f"folder:{site}", "--targets", "0.5,0.6", "--resplits", "0")
    assert {path: path.stat().st_ino for path in (tmp_path / "cache" / "edgesight" / "observed").iterdir()} == kept
    again = Package.load(package.path).kernel.calibration
    assert again is not None
    assert [rung.model_dump() for rung in again.ladder] == made["ladder"]


def test_what_is_not_of_the_packages_classes_is_refused_by_name(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "corner")
    (tmp_path / "corner" / "7").rename(tmp_path / "corner" / "seven")
    shutil.copytree(DIGITS, tmp_path / "kernel")
    before = (tmp_path / "kernel" / "kernel.json").read_bytes()
    fails(
        "'seven' is none of the package's classes (0, 1, 2,",
        "calibrate",
        tmp_path / "kernel",
        f"folder:{tmp_path / 'corner'}",
        "--targets",
        "0.8",
    )
    assert (tmp_path / "kernel" / "kernel.json").read_bytes() == before


def test_a_folder_named_as_the_data_set_must_be_it(site: Path, tmp_path: Path) -> None:
    """Else a folder that was read with other options would bring pictures that the networks were trained on."""
    os.symlink(site, tmp_path / "other")
    shutil.copytree(site, tmp_path / "digits")
    fails("was trained on data set digits", "calibrate", DIGITS, f"folder:{tmp_path / 'digits'}", "--targets", "0.8")
