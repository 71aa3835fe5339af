"""By which command, when and on what a report was made."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any


def made(command: str) -> dict[str, Any]:
    """As reports have it, now and here."""
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def told(made: dict[str, Any]) -> str:
    """The same as a sentence's end: `on DATE (2 cores, ...)`."""
    return f"on {made['date']} ({made['cores']} cores, {made['machine']}, Python {made['python']})"
