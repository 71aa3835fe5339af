"""How long a hand-written file may be. How many parameters a function may take is ruff's rule, in pyproject.toml."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 500
# Kernels under bitstreams/ are generated.
LEFT_OUT = ("tests", "bitstreams", "build")
NEAR_THE_TOP = 10  # lines within which a file says why it is longer
REASON = re.compile(r"^\s*(#|//+) Over 500 lines: \S")


def too_long(root: Path) -> list[str]:
    """The Python and SystemVerilog files under `root` that are longer than they may be and do not say why."""
    found = []
    for folder, inside, files in os.walk(root):
        top = Path(folder) == root
        inside[:] = [
            name
            for name in inside
            if not (name.startswith(".") or (top and name in LEFT_OUT) or (Path(folder, name) / "pyvenv.cfg").exists())
        ]
        for path in (Path(folder) / name for name in files if name.endswith((".py", ".sv"))):
            lines = path.read_text().splitlines()
            if len(lines) > MOST_LINES and not any(REASON.match(line) for line in lines[:NEAR_THE_TOP]):
                found.append(f"{path.relative_to(root)}: {len(lines)} lines; split it, or say why near its top")
    return sorted(found)


def test_no_hand_written_file_is_longer_without_a_reason() -> None:
    assert too_long(ROOT) == []


@pytest.mark.parametrize(
    ("name", "first", "lines", "seen"),
    [
        ("host/edge.py", '"""An edge."""', 501, True),
        ("hw/rtl/mvu.sv", "/// A unit.", 501, True),
        ("host/edge.py", '"""An edge."""', 500, False),
        ("host/edge.py", "# Over 500 lines: one table, which is read from top to bottom.", 501, False),
        ("hw/rtl/mvu.sv", "// Over 500 lines: one state machine.", 501, False),
        ("host/edge.py", "# Over 500 lines: ", 501, True),
        ("tests/host/test_edge.py", '"""Tests."""', 501, False),
        ("bitstreams/digits/rtl/stage0.sv", "// generated", 501, False),
        ("sim/tests/made.py", "", 501, True),  # only the folders at the top are left out
    ],
)
def test_a_long_file_is_seen(name: str, first: str, lines: int, seen: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([first, *["x = 1"] * (lines - 1)]) + "\n")
    assert [found.split(":")[0] for found in too_long(tmp_path)] == ([name] if seen else [])
