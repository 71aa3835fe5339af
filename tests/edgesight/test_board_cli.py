"""The boards' commands: what runs without a board runs, and what does not says what it lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.cli.board import projected_energy
from edgesight.hls.csim import build_library
from edgesight.host.files import sha256
from edgesight.host.package import Package
from edgesight.host.power.readings import PowerError
from edgesight.sim import verilate
from tests.edgesight.commands import DIGITS, edgesight, fails, succeeds


@pytest.fixture(scope="module", autouse=True)
def csim() -> None:
    build_library(Package.load(DIGITS))


def test_the_self_test_passes_and_says_so_in_json() -> None:
    report = json.loads(succeeds("board", "selftest", DIGITS, "--fabric", "csim", "--json"))
    assert report["passed"]
    assert report["records"] == report["images"] * len(report["rows"])


def test_a_fabric_that_answers_otherwise_fails_the_self_test(tmp_path: Path) -> None:
    shutil.copytree(DIGITS, tmp_path / "digits")
    package = Package.load(tmp_path / "digits")
    vectors = dict(np.load(DIGITS / "vectors.npz"))
    vectors["stage0"][:, 0] += 1_000  # so says whoever damages both the vectors and their checksum
    with (package.path / "vectors.npz").open("wb") as file:
        np.savez(file, **vectors)
    package.replace(files={**package.kernel.files, "vectors.npz": sha256((package.path / "vectors.npz").read_bytes())})
    done = edgesight("board", "selftest", package.path, "--fabric", "csim")
    assert (done.returncode, done.stdout.startswith("FAILED: ")) == (1, True), done.stdout + done.stderr


def test_without_a_board_the_remedy_is_said() -> None:
    fails("this needs a PYNQ board, and here is none", "board", "selftest", DIGITS, "--fabric", "pynq")
    fails("this needs a PYNQ board, and here is none", "board", "throughput", DIGITS)


def test_a_sensor_that_is_not_there_is_named() -> None:
    fails("no sensor is called nosuchchip", "board", "power", DIGITS, "--sensor", "hwmon:nosuchchip")


def test_power_under_a_target_wants_real_images(tmp_path: Path) -> None:
    fails("--accuracy needs --images", "board", "power", DIGITS, "--accuracy", "0.95")


def test_a_projection_is_called_one_and_names_its_sources() -> None:
    found = json.loads(succeeds("board", "projected-energy", DIGITS, "--board", "pynq-z2", "--json"))
    for stage in ("stage0", "stage1"):
        joules = found[stage]["joules_per_image"]
        assert joules["obtained"] == "projected"
        assert joules["low"] <= joules["value"] <= joules["high"]
        assert found[stage]["sources"]
    assert found["stage0"]["cycles_per_image"] < found["stage1"]["cycles_per_image"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"watts": 5.0}, "and its source"),
        ({"watts": -1.0, "source": "me"}, "give more than 0"),
        ({"source": "me"}, "give --watts, too"),
        ({"board": "kv260"}, "no published power is known for board kv260"),
    ],
)
def test_a_power_that_is_unknown_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    def build(package: Package) -> None:
        raise AssertionError("was built")

    monkeypatch.setattr(verilate, "build_library", build)
    with pytest.raises(PowerError, match=message):
        projected_energy(DIGITS, **options)


def test_a_report_refuses_a_self_test_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("[1]")
    arguments = ("board", "report", DIGITS, "--board", "ulx3s", "--selftest", tmp_path / "test.json")
    fails("is no self-test's JSON, which is an object", *arguments, "--out", tmp_path / "report.json")
    without_end = ("board", "report", DIGITS, "--board", "ulx3s", "--selftest", "/dev/zero")
    fails("cannot be read (it is larger than 1048576 bytes", *without_end, "--out", tmp_path / "report.json")
    fails("a report's name ends in .json", *arguments, "--out", tmp_path / "report.txt")


def test_the_help_of_throughput_says_what_is_measured() -> None:
    assert "every image goes through all stages" in " ".join(succeeds("board", "throughput", "--help").split())
