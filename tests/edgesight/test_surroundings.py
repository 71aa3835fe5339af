"""What surrounds a command: signals, other installs' settings, paths with spaces, processors without our letters."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgesight.cli.ending import by_interrupt
from edgesight.sim.rtl.runner import missing_tools, tool_version, tools_on_path
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
STUCK = """
import time
from edgesight.cli.ending import end, watch_interrupts
watch_interrupts()
try:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(60)  # which takes too long
except KeyboardInterrupt:
    end()
"""
WORKING = """
import sys
import numpy as np
from edgesight.cli.ending import end, watch_interrupts
from edgesight.host.package import Package
from edgesight.sim.verilate import build_library
from edgesight.sim.workers import Workers

if __name__ == "__main__":
    watch_interrupts()
    package = Package.load(sys.argv[1])
    build_library(package)
    images = np.zeros((20_000, 8, 8, 1), np.uint8)
    try:
        print("ready", flush=True)  # from here on it may be interrupted
        with Workers(package, "verilated") as workers:
            workers.records(images, [[0, 0]], np.zeros(len(images), np.uint8), "RTL")
    except KeyboardInterrupt:
        end()
"""


def started(program: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """A program in a group of its own, as a shell starts one, once it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str], seconds: float) -> str:
    """What it says on standard error until it ends, which must be within `seconds`, by status 130."""
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 130
    return said


def gone(group: int) -> bool:
    """Whether nothing of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_what_cannot_clean_up_in_seconds_with_one_line(tmp_path: Path, times: int) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    process = started(tmp_path / "stuck.py")
    assert process.stdout is not None
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "cleaning up\n"
    if times == 2:  # not before: two signals at once are one
        os.killpg(process.pid, signal.SIGINT)
    assert ended(process, 10).split() == ["stopped"]


@pytest.mark.skipif(bool(missing_tools()), reason=f"not found: {', '.join(missing_tools())}")
@pytest.mark.parametrize("pause", [0.0, 0.3, 2.0])
def test_two_ctrl_c_end_a_simulation_on_several_processes(tmp_path: Path, pause: float) -> None:
    (tmp_path / "working.py").write_text(WORKING)
    process = started(tmp_path / "working.py", ROOT / "bitstreams" / "digits")
    time.sleep(pause)  # sleeps: the moment at which it is interrupted, while they start or work
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)  # sleeps: how soon a hand presses again
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    said = ended(process, 15)
    assert said.split()[-1] == "stopped"
    assert "Traceback" not in said
    wait_until(lambda: gone(process.pid), 5.0)


@pytest.mark.parametrize("command", [("show", "bitstreams/digits"), ("train", "digits", "--quick", "--out", "OUT")])
def test_ctrl_c_is_one_line_at_any_moment(command: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever is going on: Python starts, torch is imported, networks are trained."""
    words = [str(tmp_path / "zoo") if word == "OUT" else word for word in command]
    for seconds in (1.0, 4.0) if command[0] == "train" else (0.5,):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgesight", *words],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        time.sleep(seconds)  # sleeps: the moment at which it is interrupted
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 10
        assert process.returncode in (0, 130, -signal.SIGINT)  # over before; ours; before our first line
        if process.returncode == 130:
            assert "Traceback" not in said
            assert said.split()[-1] == "stopped"


def test_what_typer_makes_of_ctrl_c_is_known_for_it() -> None:
    def made(first: type[BaseException]) -> BaseException:
        try:
            try:
                raise first
            except first as error:
                raise RuntimeError("abort") from error
        except RuntimeError:
            try:
                sys.exit(1)
            except SystemExit as error:
                return error

    assert by_interrupt(made(KeyboardInterrupt))
    assert not by_interrupt(made(ValueError))


@pytest.mark.skipif(bool(missing_tools(("verilator",))), reason="verilator is not found")
def test_another_installs_settings_do_not_reach_what_we_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with tools_on_path():
        expected = tool_version("verilator")
    assert expected
    for name in ("VERILATOR_ROOT", "VERILATOR_BIN", "PYTHONHOME", "PYTHONPATH"):
        monkeypatch.setenv(name, "/opt/another-install")
    with tools_on_path():
        assert tool_version("verilator") == expected
    assert os.environ["VERILATOR_ROOT"] == "/opt/another-install"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not found")
def test_a_checkout_path_with_a_space_is_refused_by_name_at_once(tmp_path: Path) -> None:
    for name, status in (("no-space", 0), ("a space", 2)):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(ROOT / "Makefile", folder)
        done = subprocess.run(["make", "-n", "clean"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert ("has a space in it" in done.stderr) == (status == 2)
        assert ("a space" in done.stderr) == (status == 2)
