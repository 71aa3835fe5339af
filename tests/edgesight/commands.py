"""`edgesight` as its users start it, and what it must say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "bitstreams" / "digits"
ZOO = ROOT / "quant" / "zoo" / "digits"


def edgesight(*arguments: str | Path, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgesight", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def succeeds(*arguments: str | Path, cwd: Path = ROOT) -> str:
    done = edgesight(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def fails(message: str, *arguments: str | Path, cwd: Path = ROOT) -> None:
    done = edgesight(*arguments, cwd=cwd)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in said
    assert message in said, said
