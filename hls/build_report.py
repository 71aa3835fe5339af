"""The report that `build()` of a model of hls4ml left behind; read without the tools that make it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgesight.hls.network import CompileError

REPORT = "rtl_report.json"


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The report of the last `build()` of the model that was written to `folder`, as `build()` returned it.

    Raises CompileError where none is.
    """
    path = Path(folder) / REPORT
    try:
        report = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CompileError(f"{path}: no such file; build() the model first") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CompileError(f"{path}: no report of a build ({error}); build() the model again") from error
    if not isinstance(report, dict):
        raise CompileError(f"{path}: no report of a build; build() the model again")
    return report
