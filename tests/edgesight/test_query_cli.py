"""`edgesight query` as a user types it: many pictures, one answer or one reason for each, and JSON always."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesight.hls.csim import build_library
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT

SEED = 7
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an edge that answers alone, on csim, with the shipped digits."""
    digits = ROOT / "bitstreams" / "digits"
    build_library(Package.load(digits))
    at = tmp_path_factory.mktemp("edge") / "edge.sock"
    command = [sys.executable, "-u", "-m", "edgesight", "edge", str(digits), "--fabric", "csim", "--socket", str(at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as edge:
        assert edge.stdout is not None
        assert select.select([edge.stdout], [], [], DEADLINE_S)[0]
        assert edge.stdout.readline().startswith("edge: digits")
        yield at
        edge.terminate()


def ask(socket: Path, *arguments: object, given: bytes | None = None, cwd: Path | None = None) -> tuple[int, str, str]:
    options = ["--accuracy", "0.95", "--deadline-ms", "1000", "--socket", str(socket)]
    command = [sys.executable, "-m", "edgesight", "query", *options, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, timeout=DEADLINE_S, cwd=cwd, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(SEED)
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png", "-dash.png"):
        Image.fromarray(generator.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / name)
    Image.fromarray(generator.integers(0, 256, (5, 5), np.uint8)).save(tmp_path / "small.png")
    return tmp_path


def test_a_folder_gives_one_line_of_json_a_picture_and_tells_of_those_that_fail(socket: Path, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    status, out, err = ask(socket, "--json", folder)
    lines = {Path(line["picture"]).name: line for line in map(json.loads, out.splitlines())}
    assert status == 1
    assert [line.split(": ")[0] for line in err.splitlines()] == ["error", "warning"]
    assert list(lines) == ["-dash.png", "a.png", "broken.png", "small.png", "b.png"]
    assert "is no picture that is read" in lines["broken.png"]["error"]
    for name in ("-dash.png", "a.png", "small.png", "b.png"):
        assert lines[name]["class_name"] in "0123456789"
    assert lines["a.png"]["warnings"] == []
    assert "is 5 x 5 pixels, fewer than the 8 x 8" in lines["small.png"]["warnings"][0]


def test_several_pictures_and_standard_input_are_answered(socket: Path, folder: Path) -> None:
    content = (folder / "a.png").read_bytes()
    status, out, err = ask(socket, "-", folder / "small.png", "--", "-dash.png", given=content, cwd=folder)
    assert status == 0, err
    assert out.count("confidence") == 3
    assert "warning:" in err
    assert "small.png is 5 x 5 pixels" in err
    status, out, _ = ask(socket, "./-dash.png", cwd=folder)
    assert (status, out.count("confidence")) == (0, 1)


@pytest.mark.parametrize("source", ["/dev/zero", "sparse", "none.png", "empty"])
def test_what_is_no_picture_is_refused_at_once_in_json_too(socket: Path, tmp_path: Path, source: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / "empty").mkdir()
    status, out, told = ask(socket, "--json", tmp_path / source)
    assert status == 1
    assert set(json.loads(out)) == {"picture", "error"}
    status, out, err = ask(socket, tmp_path / source)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert told == err


def test_a_name_of_any_bytes_is_asked(socket: Path, folder: Path) -> None:
    odd = os.fsencode(folder) + b"/bad\xff.png"
    Path(os.fsdecode(odd)).write_bytes((folder / "a.png").read_bytes())
    command = [sys.executable, "-m", "edgesight", "query", "--accuracy", "0.95", "--deadline-ms", "1000", "--socket"]
    command.append(str(socket))
    for options in ([], ["--json"]):
        done = subprocess.run(
            [*map(os.fsencode, [*command, *options]), odd], capture_output=True, timeout=DEADLINE_S, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["class_name"] in "0123456789"
    Path(os.fsdecode(odd)).write_bytes(b"no picture")
    done = subprocess.run([*map(os.fsencode, command), odd], capture_output=True, check=False)
    assert b"bad" in done.stderr
    assert b"is no picture that is read" in done.stderr
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shutil.copy(folder / "a.png", folder / "ä.png")
    named = [*map(os.fsencode, command), os.fsencode(folder) + "/ä.png".encode()]
    done = subprocess.run(named, capture_output=True, env=ascii_only, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_wrong_command_line_is_one_line_of_json_too(folder: Path) -> None:
    status, out, _ = ask(folder / "none.sock", "--json", folder / "a.png", "--colour")
    (line,) = out.splitlines()
    assert status == 2
    assert "--colour" in json.loads(line)["error"]


def test_without_an_edge_json_says_so_once(tmp_path: Path, folder: Path) -> None:
    status, out, err = ask(tmp_path / "none.sock", "--json", folder)
    (line,) = out.splitlines()
    assert (status, len(err.splitlines())) == (1, 1)
    assert "no edge listens" in json.loads(line)["error"]


def test_a_bomb_is_told_by_its_size(socket: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    status, _, err = ask(socket, "-", given=buffer.getvalue())
    assert (status, err) == (1, "error: - is 12000 x 12000 pixels, at most 67108864 are read: make it smaller\n")
