"""`edgesight bench serve`: modeless service under load, beside what people use today.

What each section found is kept as long as all that it hangs on is the same, so that a stopped run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.kept import ROOT, Kept, fingerprint, with_imports
from edgesight.bench.made import made
from edgesight.bench.report import print_checks, write_report
from edgesight.bench.sections import Due, Section, print_skipped, run_sections
from edgesight.bench.serve import data, energy, fleet, grid, workloads
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.links import TRACE, links_of
from edgesight.bench.serve.page import draw, page
from edgesight.bench.serve.profiles import gpu_profile
from edgesight.bench.serve.real import cells
from edgesight.hls.zoo import shipped_folder
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.files import read_regular, sha256, write_atomically
from edgesight.sim.link.options import EmulationError
from edgesight.sim.workload import Timestamps, WorkloadError

_FOLDER = "serve"  # of what is kept, below that of the report
_MOST_BYTES = 1 << 26  # of a file of arrivals: more moments than a workload has requests
# What a result hangs on beside its section's own code: what the edge, link and service do.
_HOST = tuple(sorted((ROOT / "host").rglob("*.py")))


def _grid(name: str) -> Section[Asked]:
    title = f"all systems at all loads, links and targets, simulated: {name}"
    return Section(title, partial(grid.section, name), partial(data.lacks, name))


SECTIONS = {f"grid-{name}": _grid(name) for name in data.GRIDS}
SECTIONS["workloads"] = Section(
    "bursts, traces, and several applications at once, simulated",
    workloads.section,
    partial(data.lacks, "fashion-mnist"),
)
SECTIONS["fleet"] = Section(
    "a fleet of 1,000 edges, a region of which is cut off, simulated",
    fleet.section,
    partial(data.lacks, "fashion-mnist"),
)
SECTIONS["energy"] = Section("energy an image of board, radio and back end, projected", energy.section, energy.lacks)
SECTIONS["real"] = Section(
    "six cells between real processes, and the simulator against them", cells.section, cells.lacks
)


def _shipped() -> list[bytes]:
    """What the kernel packages that are served say of all their files."""
    return [(shipped_folder() / name / "kernel.json").read_bytes() for name in ("digits", "fashion-mnist")]


def _files_of(asked: Asked) -> list[str]:
    """Checksums of the small files that were named, each of which is looked at. Raises as `bench_serve`.

    Another file in the same place is another. Of photographs, signs and zoos the place alone counts.
    """
    found = []
    if asked.traces is not None:
        if not (asked.traces / f"{TRACE}.up").is_file():
            raise EmulationError(
                f"{asked.traces}: holds no {TRACE}.up: name the folder that has it, or leave --traces out"
            )
        links_of(asked.traces)
        found += [sha256((asked.traces / f"{TRACE}.{way}").read_bytes()) for way in ("up", "down")]
    if asked.gpu is not None:
        gpu_profile(asked.gpu, MAX_BATCH)
        found.append(sha256(asked.gpu.read_bytes()))
    if asked.arrivals is None:
        return found
    try:
        content = read_regular(asked.arrivals, _MOST_BYTES)
    except OSError as error:
        raise WorkloadError(f"{asked.arrivals}: {error.strerror}: name a file of moments, one a line") from error
    assert Timestamps.read(asked.arrivals).per_second > 0.0  # else it has raised
    return [*found, sha256(content)]


def _strict(value: Any) -> Any:
    """The same as JSON knows it: it has no infinity, and no word for what is no number; both become null."""
    if isinstance(value, dict):
        return {name: _strict(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def bench_serve(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/serve.json,
    serve.md and serve.png.

    What a section found stays in `out`/serve. One that cannot be done counts as unmet, and the others go on. Raises
    WorkloadError, EmulationError or ProfileError, before any section runs, where a file that is named is no such thing.
    """
    folder = out / _FOLDER
    facts = [repr(asked), *_files_of(asked), *map(sha256, _shipped())]

    def due(name: str) -> Due:
        section = SECTIONS[name]

        def kept() -> Kept:
            return Kept(folder, fingerprint([*with_imports([section.module]), *_HOST], *facts))

        return Due(section.title, section.lacks(asked), kept, lambda: section.run(asked, folder, console))

    results = run_sections({name: due(name) for name in names or SECTIONS}, console)
    checks = [*results.checks, *grid.headline([body for body in results.body.values() if "better" in body])]
    report = {"made": made("edgesight bench serve"), "sections": results.body, "skipped": results.skipped}
    write_report(out / "serve.json", _strict(report), checks)
    write_atomically(out / "serve.md", page(report, checks).encode())
    draw(report, out / "serve.png")
    print_skipped(console, results)
    return print_checks(console, checks)
