"""What an NVIDIA GPU gives, where there is one: what `edgesight bench gpu` measures, in its at most eight minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.gpu.bench import REPORT, bench_gpu
from edgesight.bench.gpu.device import lacking
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Asked, Figure, told


def lacks(asked: Asked) -> str | None:
    """Why there is no GPU to measure on."""
    return lacking()


def measure(asked: Asked, folder: Path, console: Console, device: str = "cuda") -> Found:
    """Batched throughput, P99 and energy a request on the `device`, recorded with its name."""
    bench_gpu(folder, console, device)
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    del report["skipped"]
    checks = [Check(**{key: value for key, value in one.items() if key != "met"}) for one in report.pop("checks")]
    figures = []
    for cell in report["measured"]:
        name = f"{report['device']}: {cell['executor']}, {cell['input']}, batches of {cell['rows_at_most']}"
        figures.append(Figure(f"{name}: throughput", cell["requests_per_second"], "requests/s", "measured"))
        figures.append(Figure(f"{name}: P99", cell["p99_ms"], "ms", "measured"))
        if cell["joules_per_request"] is not None:
            figures.append(Figure(f"{name}: energy", cell["joules_per_request"], "J a request", "measured"))
    return Found(report | {"told": told(*figures)}, tuple(checks))
