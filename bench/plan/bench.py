"""All planners' benches in one run, held against their bars."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import edgesight.bench.plan.adapt
import edgesight.bench.plan.place
import edgesight.bench.plan.split
import edgesight.bench.plan.workflow
from edgesight.bench.report import Check, print_checks, write_report


def bench_plan(out: Path, console: Console, *, traces: Path | None = None, published: Path | None = None) -> bool:
    """Run every planner's bench; writes `out`/plan.json and a picture a planner, returns whether every bar is met.

    `traces`: folder of capacity traces of moving links; `published`: directory of JellyBean's visual question
    answering. What needs one that is not given is skipped, and the report says so.
    """
    sections: dict[str, Callable[[], tuple[list[Check], dict[str, Any]]]] = {
        "split": lambda: edgesight.bench.plan.split.bench(out / "plan", console, trace_folder=traces),
        "adapt": lambda: edgesight.bench.plan.adapt.bench(out / "plan", console, traces),
        "workflow": lambda: edgesight.bench.plan.workflow.bench(out / "plan", console, published),
        "place": lambda: edgesight.bench.plan.place.bench(out / "plan", console),
    }
    (out / "plan").mkdir(parents=True, exist_ok=True)
    checks: list[Check] = []
    body: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "machine": platform.machine()}}
    for name, run in sections.items():
        console.rule(name)
        begin = time.perf_counter()
        found, described = run()
        checks += found
        body[name] = {"seconds": round(time.perf_counter() - begin, 1), **described}
    write_report(out / "plan.json", body, checks)
    return print_checks(console, checks)
