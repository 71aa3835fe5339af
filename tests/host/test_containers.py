"""The container files, as far as they can be tried without an engine that builds them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "host" / "containers").glob("*.Containerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")
PORT = "127.0.0.1:8080"  # at which the files ask for health


def instructions(file: Path) -> dict[str, str]:
    """The last of each kind, its lines joined."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return dict(line.split(" ", 1) for line in text.splitlines() if line)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_container_file_is_clean_and_starts_what_there_is(file: Path) -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed: extra `dev`")
    linted = subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True, timeout=60, check=False)
    assert linted.returncode == 0, linted.stdout
    found = instructions(file)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras = re.search(r'"\$1\[([a-z,]+)\]"', found["RUN"])
    assert extras is not None
    assert set(extras[1].split(",")) <= set(known)
    assert found["USER"] == "10001"
    # An engine makes a new volume root's where the image has no folder, and then nothing can be kept in it.
    kept = re.search(r"they lie in (/home/\S+), a volume", file.read_text())
    assert kept is None or f"install --directory --owner edgesight --mode 700 {kept[1]}" in found["RUN"]
    program, *words = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
    assert program == "edgesight"
    command = [sys.executable, "-m", "edgesight", *words]
    helped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "--health" in helped.stdout


def test_what_a_container_asks_for_health_tells_life_from_death(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="starlette is not installed: extra `oip`")
    (asked,) = {instructions(file)["HEALTHCHECK"].partition("CMD ")[2] for file in FILES}
    (tmp_path / "models").mkdir()
    opened = ["--repository", str(tmp_path / "models"), "--http", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    serving = [sys.executable, "-u", "-m", "edgesight", "datacenter", "serve", *opened]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        at = re.search(r"health at (\S+:\d+)", line)
        assert at is not None, line
        asking = [sys.executable, *json.loads(asked.replace(PORT, at[1]))[1:]]
        assert PORT in asked, shlex.join(asking)
        assert subprocess.run(asking, timeout=60, check=False).returncode == 0
        process.terminate()
        wait_until(lambda: process.poll() is not None, 60)
        done = subprocess.run(asking, capture_output=True, timeout=60, check=False)
        assert done.returncode != 0
