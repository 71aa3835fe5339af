"""EdgeSight's own commands, run one after the other as a user would.

Words owned here: command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from edgesight.host.errors import EdgeSightError


class CommandError(EdgeSightError):
    """A command did not do its work: says which, and what it said last."""


def run_command(console: Console, *arguments: str, report: Path | None = None) -> str:
    """Run `edgesight` with these `arguments`; returns what it printed and what it said.

    One that has written its `report` has done its work, bars unmet or not. Raises CommandError.
    """
    shown = f"edgesight {' '.join(arguments)}"
    console.print(shown, highlight=False, soft_wrap=True, markup=False)
    status, said = tried_command(*arguments)
    if status != 0 and (report is None or not report.exists()):
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise CommandError(f"`{shown}` ended with status {status}; see what it said last: {last}")
    return said


def tried_command(*arguments: str) -> tuple[int, str]:
    """The status that `edgesight` ends with, and all that it printed and, behind it, said."""
    command = [sys.executable, "-m", "edgesight", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
