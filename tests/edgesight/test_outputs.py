"""One rule for every output that a user names, and one for `--json`: no command, old or new, goes without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from edgesight.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DIGITS, ZOO = ROOT / "bitstreams" / "digits", ROOT / "quant" / "zoo" / "digits"
# Options that name what a command writes.
OUTPUTS = {"--out", "--picture", "--report"}
# For each command with such an option, and by option: the command line up to it; `+` for a folder, `-` for a file, and
# what in the folder is in the way.
SPLIT = ("plan", "split", "absent.json", "--deadline-ms", "9", "--mbps", "1")
ADAPT = ("plan", "adapt", "absent.json")
REPLAY = ("plan", "adapt-replay", "absent.json", "--trace", "absent.txt")
PLACE = ("plan", "place", "absent.json", "absent.json")
WORKFLOW = ("plan", "workflow", "absent.json")
WRITES: dict[tuple[str, str], tuple[tuple[str | Path, ...], str | None]] = {
    ("train", "--out"): (("train", "digits"), "thesis.txt"),
    ("compile", "--out"): (("compile", ZOO, "--no-csim"), "thesis.txt"),
    ("pack", "--out"): (("pack", DIGITS), "thesis.txt"),
    ("bench coverage", "--out"): (("bench", "coverage"), "coverage.json"),
    ("bench folding", "--out"): (("bench", "folding"), "folding.json"),
    ("bench emulator", "--out"): (("bench", "emulator"), "emulator.json"),
    ("bench fairness", "--out"): (("bench", "fairness"), "fairness.json"),
    ("bench gpu", "--out"): (("bench", "gpu"), "gpu.json"),
    ("bench hostile", "--out"): (("bench", "hostile"), "hostile.json"),
    ("bench link", "--out"): (("bench", "link"), "link.json"),
    ("bench photograph", "--out"): (("bench", "photograph"), "photograph.json"),
    ("bench plan", "--out"): (("bench", "plan"), "plan.json"),
    ("bench prove", "--out"): (("bench", "prove"), "prove.json"),
    ("bench prove-mutants", "--out"): (("bench", "prove-mutants"), "prove-mutants.json"),
    ("bench serve", "--out"): (("bench", "serve"), "serve.json"),
    ("bench service", "--out"): (("bench", "service"), "service.json"),
    ("bench cluster", "--out"): (("bench", "cluster"), "cluster.json"),
    ("bench watch", "--out"): (("bench", "watch"), "watch.json"),
    ("bench board", "--out"): (("bench", "board", ZOO), "board.json"),
    ("verify", "--out"): (("verify", DIGITS, "digits", "--zoo", ZOO), "report.json"),
    ("demo", "--out"): (("demo", "--dataset", "digits"), "report.json"),
    ("board bitstream", "--out"): (("board", "bitstream", DIGITS, "--board", "pynq-z2"), "pynq-z2/digits/thesis.txt"),
    ("board report", "--out"): (("board", "report", DIGITS, "--board", "pynq-z2"), None),
    ("link emulate", "--report"): (("link", "emulate", "--up", "rate=1"), None),
    ("link relay", "--report"): (("link", "relay", "127.0.0.1:9", "--up", "rate=1"), None),
    ("plan split", "--out"): (SPLIT, None),
    ("plan split", "--picture"): (SPLIT, None),
    ("plan profile", "--out"): (("plan", "profile", "absent.onnx", "--device", "d"), None),
    ("plan profile-join", "--out"): (("plan", "profile-join", "a.json", "b.json", "--accuracy", "e=0.5"), None),
    ("plan pieces", "--out"): (("plan", "pieces", "absent.onnx", "absent.json", "--deadline-ms", "9"), "thesis.txt"),
    ("plan adapt", "--out"): (ADAPT, None),
    ("plan adapt", "--picture"): (ADAPT, None),
    ("plan adapt-replay", "--out"): (REPLAY, None),
    ("plan adapt-replay", "--picture"): (REPLAY, None),
    ("plan place", "--out"): (PLACE, None),
    ("plan place", "--picture"): (PLACE, None),
    ("plan workflow", "--out"): (WORKFLOW, None),
    ("plan workflow", "--picture"): (WORKFLOW, None),
}
# They run until they are told to stop, or run others: what they print is their log.
WITHOUT_JSON = {"adapt serve", "cluster deploy", "datacenter serve", "edge", "link emulate", "link relay"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def edgesight(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgesight", *map(str, arguments)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=120, check=False)


def test_every_command_that_writes_is_in_the_table() -> None:
    found = {
        (name, option)
        for name, command in COMMANDS.items()
        for parameter in command.params
        for option in parameter.opts
        if option in OUTPUTS
    }
    assert found == set(WRITES)


def test_no_option_takes_a_path_to_write_under_another_name() -> None:
    """An option whose help speaks of a file or folder that is made is one of `OUTPUTS`."""
    for name, command in COMMANDS.items():
        for parameter in command.params:
            words = (getattr(parameter, "help", None) or "").lower()
            if words.startswith(
                ("file for", "folder for", "json to write", "file to write", "kernel package to write")
            ):
                assert OUTPUTS & set(parameter.opts), (name, parameter.opts)


@pytest.mark.parametrize("command", WRITES, ids=" ".join)
def test_what_a_command_did_not_make_is_refused_and_stays(command: tuple[str, str], tmp_path: Path) -> None:
    arguments, inside = WRITES[command]
    place = tmp_path / "place.json"
    victim = place / inside if inside else place
    victim.parent.mkdir(parents=True, exist_ok=True)
    victim.write_text("important")
    done = edgesight(*arguments, command[1], place, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "place.json" in done.stderr
    assert any(word in done.stderr for word in ("exists and is no", "holds something that no build left")), done.stderr
    assert victim.read_text() == "important"
    assert len(done.stderr.strip().splitlines()) == 1


REPORTS = [command for command, (_, inside) in WRITES.items() if (inside or "").endswith(".json")]


@pytest.mark.parametrize("command", REPORTS, ids=" ".join)
def test_no_report_goes_among_others_files(command: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("important")
    (tmp_path / "thesis" / "data.json").write_text('{"mine": 1}')
    done = edgesight(*WRITES[command][0], command[1], "thesis", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "thesis: exists and is no folder of reports (it holds data.json, and no report" in done.stderr
    assert sorted(path.name for path in (tmp_path / "thesis").iterdir()) == ["data.json", "thesis.txt"]
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", WRITES, ids=" ".join)
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_refused(command: tuple[str, str], tmp_path: Path) -> None:
    arguments, inside = WRITES[command]
    place = tmp_path / "place.json"
    if inside:
        place.write_text("a file")
    else:
        place.mkdir()
    done = edgesight(*arguments, command[1], place, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert place.read_text() == "a file" if inside else not any(place.iterdir())


def test_every_command_prints_json_where_it_prints_a_result() -> None:
    without = {name for name, command in COMMANDS.items() if not any("--json" in p.opts for p in command.params)}
    assert without == WITHOUT_JSON
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if "--json" in parameter.opts:
                assert parameter.is_flag, f"{name}: --json takes no value"


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "absent"),
        ("show", "absent", "--no-such-option"),
        ("show",),
        ("no-such-command",),
        ("board", "selftest", "absent"),
        ("train", "mnist"),
        ("compile", "absent", "--out", "kernel"),
        ("plan", "split", "absent.json", "--deadline-ms", "1", "--mbps", "1"),
        ("query", "absent.png", "--accuracy", "0.9", "--deadline-ms", "5"),
    ],
    ids=" ".join,
)
def test_an_error_is_json_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = edgesight(*arguments, "--json", cwd=tmp_path)
    assert done.returncode in (1, 2)
    said = json.loads(done.stdout)
    assert said["error"]
    assert set(said) <= {"picture", "error"}  # `query` says of which picture
    assert "Traceback" not in done.stderr


def test_a_result_is_json_alone_and_utf8_whatever_the_terminal_knows(tmp_path: Path) -> None:
    shown = edgesight("show", DIGITS, "--json", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert json.loads(shown.stdout)["name"] == "digits"
    listed = edgesight("board", "list", "--json", cwd=tmp_path)
    assert len(json.loads(listed.stdout)) >= 4


def test_a_terminal_without_our_letters_costs_no_answer(tmp_path: Path) -> None:
    done = edgesight("show", DIGITS, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "Checked: the checksum of kernel.json" in done.stdout


NUMBERS = [
    ("calibrate", DIGITS, "digits", "--targets", "1.5"),
    ("calibrate", DIGITS, "digits", "--targets", "-1"),
    ("calibrate", DIGITS, "digits", "--targets", "0.9,nan"),
    ("calibrate", DIGITS, "digits", "--targets", "0.9", "--loss", "1.5"),
    ("calibrate", DIGITS, "digits", "--targets", "0.9", "--resplits", "-1"),
    ("train", "digits", "--seeds", "0"),
    ("train", "digits", "--variant", "stage2"),
    ("train", "digits", "--size", "2"),
    ("train", "mnist"),
    ("train", "folder:absent"),
    ("demo", "--images", "0"),
    ("demo", "--loss", "1"),
    ("verify", DIGITS, "digits", "--zoo", ZOO, "--images", "0"),
    ("board", "throughput", DIGITS, "--images", "0"),
    ("compile", ZOO, "--out", "kernel", "--cycles", "0,5"),
    ("board", "bitstream", DIGITS, "--board", "ulx3s", "--seeds", "0"),
    ("datacenter", "serve", DIGITS, "--keys", "keys", "--threads", "0"),
    ("datacenter", "serve", DIGITS, "--keys", "keys", "--threads", "-1"),
    ("datacenter", "serve", DIGITS, "--keys", "keys", "--port", "70000"),
    ("edge", DIGITS, "--hedge-budget", "-0.5"),
    ("edge", DIGITS, "--accuracy", "1.5"),
    ("edge", DIGITS, "--http", "127.0.0.1:70000"),
    ("keys", "token", "camera", "--tokens", "tokens.json", "--days", "0"),
    ("query", "a.png", "--accuracy", "90", "--deadline-ms", "5"),
    ("query", "a.png", "--accuracy", "0.9", "--deadline-ms", "0"),
    ("plan", "profile", "a.onnx", "--device", "d", "--out", "o.json", "--threads", "0"),
]


@pytest.mark.parametrize("arguments", NUMBERS, ids=lambda words: " ".join(str(word) for word in words[-2:]))
def test_a_number_out_of_range_is_refused_before_anything_is_loaded(
    arguments: tuple[str | Path, ...], tmp_path: Path
) -> None:
    # A package that is looked for, and torch or scikit-learn imported, would say so instead.
    blocked = tmp_path / "blocked"
    for name in ("torch", "sklearn", "hls4ml", "onnxruntime"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text("raise RuntimeError('was imported')")
    done = edgesight(*arguments, cwd=tmp_path, PYTHONPATH=f"{blocked}{os.pathsep}{ROOT}")
    assert done.returncode in (1, 2), done.stdout
    assert "was imported" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_percentage_is_understood_as_a_slip(tmp_path: Path) -> None:
    done = edgesight("calibrate", DIGITS, "digits", "--targets", "0.9,93", cwd=tmp_path)
    assert done.returncode == 1
    assert "93 is no share of right answers (0.93?): give numbers between 0 and 1, both excluded" in done.stderr
