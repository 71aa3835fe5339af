"""Enrolling an edge by commands: make keys, serve, print a token, use it, list, revoke."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "bitstreams" / "digits"
WITHIN = 60.0  # seconds for a process to start


def edgesight(*arguments: str | Path, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgesight", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=said, capture_output=True, text=True, timeout=WITHIN, check=False)


def succeeds(*arguments: str | Path, said: str = "") -> str:
    done = edgesight(*arguments, said=said)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def fails(message: str, *arguments: str | Path, said: str = "") -> None:
    done = edgesight(*arguments, said=said)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in " ".join(done.stderr.split())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    made = edgesight("keys", "make", tmp_path / "keys")
    assert (made.returncode, made.stdout.strip()) == (0, str(tmp_path / "keys"))
    assert made.stderr.startswith("next: `edgesight datacenter PACKAGE --keys ")
    assert f"`edgesight datacenter enroll NAME --keys {tmp_path / 'keys'}`" in made.stderr
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
    invite = ("datacenter", "enroll", "door", "--keys", keys, "--address", f"127.0.0.1:{port}")
    token = succeeds(*invite)
    edge_keys = tmp_path / "edge-keys"
    fails("every user of this machine can read a token", "edge", "--enroll", token, "--keys", edge_keys)
    said = succeeds("edge", "--enroll", "-", "--keys", edge_keys, said=token + "\n")
    assert said == f"edge door: enrolled, keys in {edge_keys}"
    assert [path.name for path in edge_keys.iterdir()] == ["edge.pem"]
    fails("the token was used already", "edge", "--enroll", "-", "--keys", tmp_path / "more", said=token)
    assert succeeds("datacenter", "edges", "--keys", keys).startswith("door: may talk until ")
    fails("an edge 'door' may already talk to this data centre", *invite)
    (tmp_path / "token").write_text(succeeds(*invite, "--replace"))
    succeeds("edge", "--enroll", tmp_path / "token", "--keys", tmp_path / "new")
    assert succeeds("datacenter", "revoke", "door", "--keys", keys) == "door: revoked"
    assert succeeds("datacenter", "edges", "--keys", keys).startswith("door: revoked on ")
    lines = succeeds("datacenter", "edges", "--all", "--keys", keys).splitlines()
    assert [line.partition(": ")[2] for line in lines[2:]] == [
        "a token was made",
        "enrolled from 127.0.0.1",
        "a token was made, to replace the edge of this name",
        "enrolled from 127.0.0.1, in the place of the former one",
        "revoked",
    ]
    assert all(line.startswith("door: revoked on ") and ", given on " in line for line in lines[:2])
    fails("nobody called 'door' may talk to this data centre", "datacenter", "revoke", "door", "--keys", keys)


def test_a_data_centre_logs_who_got_a_certificate_and_when(keys: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgesight", "datacenter", str(DIGITS), "--keys", str(keys), "--port", "0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        with process:
            assert process.stdout is not None
            port = process.stdout.readline().rsplit(":", 1)[1].strip()
            token = succeeds("datacenter", "enroll", "door", "--keys", keys, "--address", f"127.0.0.1:{port}")
            succeeds("edge", "--enroll", "-", "--keys", tmp_path / "edge-keys", said=token)
            process.terminate()
            assert process.wait(WITHIN) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    time_and_level = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO "
    assert [line for line in lines if re.fullmatch(time_and_level + "edge 'door' was enrolled from 127.0.0.1", line)]


def test_faults_of_enrolling_are_named(keys: Path, tmp_path: Path) -> None:
    fails("expected HOST:PORT", "datacenter", "enroll", "door", "--keys", keys, "--address", "here")
    for address in ("[]:1", ":1", "h:0", "h:" + "9" * 5_000, "h:65536"):
        fails("expected HOST:PORT", "datacenter", "enroll", "door", "--keys", keys, "--address", address)
    for address in ("h" * 5_000 + ":1", "h\udcff:1"):  # the second one is a byte that is no character
        fails("no host can be called 'h", "datacenter", "enroll", "door", "--keys", keys, "--address", address)
    fails("an edge cannot be called", "datacenter", "revoke", "z\udcff", "--keys", keys)
    fails("--enroll without --keys", "edge", "--enroll", "abc")
    fails("this is no whole token", "edge", "--enroll", "-", "--keys", tmp_path / "edge-keys", said="abc")
    fails("abc cannot be read (No such file or directory)", "edge", "--enroll", "abc", "--keys", tmp_path / "edge-keys")
    fails("no kernel package is given", "edge")
    fails("edge.pem cannot be read", "edge", DIGITS, "--fabric", "csim", "--keys", keys, "--datacenter", "127.0.0.1:9")


def test_an_address_in_brackets_is_listened_at(keys: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    command = [sys.executable, "-m", "edgesight", "datacenter", str(DIGITS), "--keys", str(keys), "--port", "0"]
    with subprocess.Popen([*command, "--host", "[::1]"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
    assert re.search(r" on \[::1\]:\d+$", said.strip())


def test_a_time_that_is_none_is_said_by_the_list_of_edges(keys: Path) -> None:
    with contextlib.closing(sqlite3.connect(keys / "edges.db", isolation_level=None)) as index:
        index.execute("INSERT INTO certificates VALUES ('1', 'door', 1.0, 'soon', NULL)")
    fails("edges.db cannot be used (malformed", "datacenter", "edges", "--keys", keys)
