"""The documentation's examples and its tutorial run as they stand; hls4ml's is run in tests/hls/test_hls4ml_door.py."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SECONDS = 300  # for what takes some ten at most, and a minute more where csim has to be built

pytest.importorskip("sklearn", reason="scikit-learn is not installed: the digits come with the extra `sim`")


def run(*command: str | Path, folder: Path = ROOT, path: Path = Path(sys.executable).parent) -> str:
    """What `command` printed, run with this environment's programs; it must succeed."""
    variables = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, f"{shlex.join(map(str, command))}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def seven(path: Path) -> None:
    """A picture of a seven at `path`."""
    from sklearn.datasets import load_digits

    Image.fromarray(np.rint(load_digits().images[7] * (255 / 16)).astype(np.uint8)).save(path)


def test_a_cascade_is_asked_in_ten_lines() -> None:
    program = EXAMPLES / "ask.py"
    lines = [line for line in program.read_text().splitlines() if line.strip()]
    assert len(lines) <= 10
    assert re.fullmatch(r"It is a 7, says stage[01]; sure to \d+\.\d%\.\n", run(sys.executable, program))


def test_the_readmes_lines_answer(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "bitstreams").symlink_to(ROOT / "bitstreams")
    seven(tmp_path / "seven.png")
    label, confidence, stage = run(sys.executable, "-c", program, folder=tmp_path).split()
    assert (label, stage) == ("7", "stage0")
    assert 0.9 < float(confidence) <= 1


def test_the_notebook_runs_and_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: it comes with the extra `docs`")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: it comes with the extra `docs`")
    notebook = nbformat.read(EXAMPLES / "ask_and_plot.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
    resources = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    right, asked = re.findall(r"\d+", shown[0]["text/plain"])
    assert (int(asked), int(right) >= 190) == (200, True)
    assert ["image/png" in data for data in shown] == [False, True, True]


def test_the_tutorial_runs(tmp_path: Path) -> None:
    """Each command and program of it in order, but `make demo`, with its folder and port replaced."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    text = (ROOT / "docs" / "tutorial.md").read_text()
    text = text.replace("build/tutorial", str(tmp_path / "build" / "tutorial")).replace(
        "127.0.0.1:4433", f"127.0.0.1:{port}"
    )
    text = text.replace("serve bitstreams/digits", f"serve bitstreams/digits --port {port}")
    text = text.replace("enroll door", f"enroll door --address 127.0.0.1:{port}")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
    said: list[str] = []
    with contextlib.ExitStack() as programs:
        for kind, block in blocks:
            if kind == "python":
                run(sys.executable, "-c", block)
                continue
            for command in block.splitlines():
                if command.startswith(("make demo", "export PATH=")):
                    continue
                if command.startswith(("edgesight datacenter serve", "edgesight edge bitstreams")):
                    programs.enter_context(started(command, tmp_path / "log"))
                else:
                    said.append(run("bash", "-c", command))
    assert said[-1].startswith("7, confidence 9")
    assert "by stage0" in said[-1]


@contextlib.contextmanager
def started(command: str, log: Path) -> Iterator[None]:
    """A program that has said on standard output that it serves, stopped at the end."""
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as errors:
        program = subprocess.Popen(
            shlex.split(command), cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert program.stdout is not None
        line = program.stdout.readline()  # ends with the program, whose time the test's own limit bounds
        assert line.startswith(("data centre:", "edge:")), f"{command}\n{line}\n{log.read_text()}"
        yield
    finally:
        program.terminate()
        program.communicate(timeout=SECONDS)
