"""The shipped networks keep to their folding bounds at three foldings, one of them a cycle an input pixel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import missing_tools

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_intervals_keep_to_their_bounds_at_three_foldings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgesight", "bench", "folding", "quant/zoo/fashion-mnist", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "folding.json").read_text())
    assert len({entry["folding"] for entry in report["measured"]}) == 3
    assert all(entry["interval_cycles"] <= 1.10 * entry["bound_cycles"] for entry in report["measured"])
    fastest = min(entry["interval_cycles"] for entry in report["measured"] if entry["stage"] == "stage0")
    assert fastest <= 28 * 28
