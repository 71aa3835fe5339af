"""The commands of splits, from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import edgesight.cli.plan.profile  # registers the commands
import edgesight.cli.plan.split  # noqa: F401 # registers the commands
from edgesight.cli.plan import group
from edgesight.plan.profile import PlanError, read
from edgesight.plan.split.bandwidth import SeriesPlan
from edgesight.plan.split.plan import SplitPlan, SplitProfile
from edgesight.sim.rtl.runner import ROOT

PROFILE = str(ROOT / "bench" / "plan" / "split_resnet18.json")
LINK = ("--mbps", "15", "--round-trip-ms", "20")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def test_a_plan_is_printed_written_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written, drawn = tmp_path / "plan.json", tmp_path / "plan.png"
    result = run("split", PROFILE, "--deadline-ms", "200", *LINK, "--out", str(written), "--picture", str(drawn))
    assert result.exit_code == 0, result.output
    plan = read(written, SplitPlan)
    assert plan.choice is not None
    assert plan.choice.exit in result.output
    assert drawn.read_bytes()[:4] == b"\x89PNG"


def test_no_plan_exits_with_1_and_still_writes_why(tmp_path: Path) -> None:
    written = tmp_path / "plan.json"
    result = run("split", PROFILE, "--deadline-ms", "90", "--mbps", "1", "--out", str(written))
    assert result.exit_code == 1
    assert "nothing meets 90 ms" in " ".join(result.output.split())
    assert json.loads(written.read_bytes())["nearest"]["exit"] == "exit1"


def test_a_series_is_followed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    series, written, drawn = tmp_path / "series.txt", tmp_path / "plan.json", tmp_path / "plan.png"
    series.write_text("30\n" * 10 + "0\n" * 5)
    files = ("--series", str(series), "--out", str(written), "--picture", str(drawn))
    result = run("split", PROFILE, "--deadline-ms", "200", *files)
    assert result.exit_code == 0, result.output
    steps = read(written, SeriesPlan).steps
    assert (steps[8].exit, steps[-1].exit) == ("exit4", "exit1")
    assert drawn.read_bytes()[:4] == b"\x89PNG"


def test_with_fall_back_no_request_of_a_series_goes_without_an_answer(tmp_path: Path) -> None:
    series = tmp_path / "series.txt"
    series.write_text("12\n8\n15\n4\n" * 10)
    for options, expected in (((), False), (("--fall-back",), True)):
        result = run("split", PROFILE, "--deadline-ms", "200", "--series", str(series), *options)
        assert result.exit_code == 0, result.output
        assert ("on time: 0.0 %" in result.output or "on time: 0.0%" in result.output) == expected


def test_networks_are_measured_and_joined(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = str(ROOT / "quant" / "zoo" / "digits" / "stage0.onnx")
    for device in ("pi", "gpu"):
        result = run("profile", network, "--device", device, "--out", str(tmp_path / device), "--repeats", "2")
        assert result.exit_code == 0, result.output
    joined = tmp_path / "profile.json"
    both = (str(tmp_path / "pi"), str(tmp_path / "gpu"), "--out", str(joined))
    result = run("profile-join", *both, "--accuracy", "linear=0.9", "--device-factor", "20")
    assert result.exit_code == 0, result.output
    assert read(joined, SplitProfile).obtained == {"pi": "projected", "gpu": "measured"}
    assert run("split", str(joined), "--deadline-ms", "50", *LINK).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--deadline-ms", "200"), "--mbps"),
        (("--deadline-ms", "-1", *LINK), "latency_ms"),
        (("--deadline-ms", "200", "--mbps", "0"), "mbps"),
        (("--deadline-ms", "200", *LINK, "--accuracy", "2"), "accuracy"),
        (("--deadline-ms", "200", *LINK, "--method", "best"), "--method best"),
        (("--deadline-ms", "200", *LINK, "--exit", "exit1"), "--cut"),
        (("--deadline-ms", "200", *LINK, "--exit", "exit9", "--cut", "0"), "exit1, exit2, exit3, exit4"),
        (("--deadline-ms", "200", "--series", "/absent", "--cut", "1", "--exit", "exit1"), "--series"),
        (("--deadline-ms", "200", "--series", "/absent"), "/absent"),
        (("--deadline-ms", "200", *LINK, "--fall-back"), "--series"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple[str, ...], reason: str) -> None:
    result = run("split", PROFILE, *arguments)
    assert isinstance(result.exception, PlanError)
    assert reason in str(result.exception)
