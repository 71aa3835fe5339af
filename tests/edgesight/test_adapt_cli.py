"""`edgesight adapt serve` and `adapt ask`, as their users run them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesight.host.doors.tokens import make_token
from tests.edgesight.commands import edgesight, fails

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")
SITUATION: dict[str, Any] = {
    "profile": {
        "name": "two sizes",
        "models": [
            {"name": "small", "input_px": 32, "accuracy": 0.6, "latency_ms": {"1": 2.0}, "obtained": "projected"},
            {"name": "large", "input_px": 64, "accuracy": 0.9, "latency_ms": {"1": 4.0}, "obtained": "projected"},
        ],
        "frame_bytes": {"32": 1_000, "64": 4_000},
        "frame_bytes_obtained": "projected",
    },
    "clients": [],
    "gpus": [{"name": "gpu0"}],
}


@pytest.fixture
def situation(tmp_path: Path) -> Path:
    path = tmp_path / "situation.json"
    path.write_text(json.dumps(SITUATION))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@contextlib.contextmanager
def serving(*words: str | Path) -> Iterator[str]:
    """The address of a server's gRPC, meanwhile."""
    command = [sys.executable, "-u", "-m", "edgesight", "adapt", "serve", *map(str, words), "--grpc", "127.0.0.1:0"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line.startswith("adaptation: gRPC at 127.0.0.1:"), line
        yield line.split(" at ")[1].split(",")[0]
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    finally:
        program.kill()
        program.wait()


def asked(address: str, situation: Path, pictures: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    # An SLO that a busy machine can keep.
    needs = ("--slo-ms", "2000", "--rate", "10", "--seconds", "2", "--server", address)
    return edgesight("adapt", "ask", situation, "--pictures", pictures, *needs, *words)


def test_a_camera_is_answered_and_told_which_model_to_use(situation: Path, pictures: Path) -> None:
    with serving(situation, "--declared") as address:
        done = asked(address, situation, pictures, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert sorted(answer["frame"] for answer in answers) == list(range(20))
        last = max(answers, key=lambda answer: int(answer["frame"]))
        assert (last["sized_for"], last["input_px"], last["late"]) == ("large", 64, False)
        assert last["answer"]["executor"] == "declared"
        assert last["answer"]["accuracy"] == 0.9
        assert "20 frames: 0 late" in done.stderr
        for_people = asked(address, situation, pictures)
    assert for_people.returncode == 0, for_people.stderr
    assert "by large (declared)" in for_people.stdout
    assert "20 frames: 0 late" in for_people.stdout


def test_a_token_lets_a_camera_in(situation: Path, pictures: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(make_token(tmp_path / "tokens", "yard") + "\n")
    with serving(situation, "--declared", "--tokens", tmp_path / "tokens") as address:
        assert asked(address, situation, pictures, "--token", token).returncode == 0
        refused = asked(address, situation, pictures)
    assert refused.returncode == 1
    assert "no token was shown" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_what_cannot_be_served_or_asked_ends_with_one_line(situation: Path, pictures: Path, tmp_path: Path) -> None:
    fails("give one of --models FOLDER and --declared", "adapt", "serve", situation)
    fails("give one of --models FOLDER and --declared", "adapt", "serve", situation, "--declared", "--models", tmp_path)
    fails("--method luck: expected one of", "adapt", "serve", situation, "--declared", "--method", "luck")
    fails("absent.json", "adapt", "serve", tmp_path / "absent.json", "--declared")
    fails("is not in the repository", "adapt", "serve", situation, "--models", tmp_path, "--grpc", "127.0.0.1:0")
    asking = ("adapt", "ask", situation, "--slo-ms", "100", "--rate", "10", "--pictures")
    empty = tmp_path / "empty"
    empty.mkdir()
    fails("give a folder", *asking, empty)
    fails("--server", *asking, pictures, "--server", "nowhere")
    fails("127.0.0.1:9", *asking, pictures, "--server", "127.0.0.1:9")
    fails("name a file that holds the token", *asking, pictures, "--token", tmp_path / "absent")
    fails("name the server's authority", *asking, pictures, "--authority", tmp_path / "absent")
