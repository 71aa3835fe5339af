"""Enrolling an edge by commands: make keys, serve, print a token, use it, list, revoke."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "bitstreams" / "digits"
WITHIN = 60.0  # seconds for a process to start


def edgesight(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgesight", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=False)


def succeeds(*arguments: str | Path) -> str:
    done = edgesight(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def fails(message: str, *arguments: str | Path) -> None:
    done = edgesight(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in " ".join(done.stderr.split())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert succeeds("keys", "make", tmp_path / "keys") == str(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def port(keys: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "edgesight", "datacenter", str(DIGITS), "--keys", str(keys), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], WITHIN)[0], "the data centre said nothing"
            yield int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.terminate()


def test_an_edge_is_enrolled_listed_and_revoked(keys: Path, port: int, tmp_path: Path) -> None:
    token = succeeds("datacenter", "enroll", "door", "--keys", keys, "--address", f"127.0.0.1:{port}")
    edge_keys = tmp_path / "edge-keys"
    said = succeeds("edge", "--enroll", token, "--keys", edge_keys)
    assert said == f"edge door: enrolled, keys in {edge_keys}"
    assert [path.name for path in edge_keys.iterdir()] == ["edge.pem"]
    fails("the token was used already", "edge", "--enroll", token, "--keys", tmp_path / "more")
    assert succeeds("datacenter", "edges", "--keys", keys).startswith("door: may talk until ")
    assert succeeds("datacenter", "revoke", "door", "--keys", keys) == "edge door: revoked"
    assert succeeds("datacenter", "edges", "--keys", keys).startswith("door: revoked on ")
    fails("no edge 'door' may talk to this data centre", "datacenter", "revoke", "door", "--keys", keys)


def test_faults_of_enrolling_are_named(keys: Path, tmp_path: Path) -> None:
    fails("expected HOST:PORT", "datacenter", "enroll", "door", "--keys", keys, "--address", "here")
    fails("--enroll without --keys", "edge", "--enroll", "abc")
    fails("this is no whole token", "edge", "--enroll", "abc", "--keys", tmp_path / "edge-keys")
    fails("no kernel package is given", "edge")
    fails("edge.pem cannot be read", "edge", DIGITS, "--fabric", "csim", "--keys", keys, "--datacenter", "127.0.0.1:9")
