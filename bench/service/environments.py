"""Programs of others, each in an environment of its own below the bench's folder, as pip installs them.

Words owned here: environment.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgesight.host.errors import EdgeSightError

_WITHIN_S = 900.0
_MADE = "made"  # names the file that says what an environment holds


class NotInstalled(EdgeSightError):
    """What cannot be installed here: says why."""


def environment(folder: Path, *packages: str) -> Path:
    """Python of a virtual environment in `folder` that holds those packages; made once. Raises NotInstalled."""
    python = folder / "bin" / "python"
    if not _is_made(folder, packages):
        _run([sys.executable, "-m", "venv", "--clear", folder])
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        _tell(folder, packages)
    return python


def unpacked(folder: Path, *packages: str, only: Sequence[str] = ()) -> Path:
    """A folder that holds those packages without what they need; `only`: of which platforms. Raises NotInstalled."""
    if not _is_made(folder, packages):
        chosen = [word for platform in only for word in ("--platform", platform)]
        more = ["--only-binary=:all:", *chosen] if chosen else []
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
        _run([*pip, "--no-deps", "--target", folder, *more, *packages])
        _tell(folder, packages)
    return folder


def _is_made(folder: Path, packages: Sequence[str]) -> bool:
    try:
        return (folder / _MADE).read_text().split() == list(packages)
    except OSError:
        return False


def _tell(folder: Path, packages: Sequence[str]) -> None:
    (folder / _MADE).write_text("\n".join(packages))


def _run(command: Sequence[object]) -> None:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{words[-1]} cannot be installed ({error}): see whether pip reaches its index") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise NotInstalled(f"{words[-1]} cannot be installed ({said}): see whether pip reaches its index")
