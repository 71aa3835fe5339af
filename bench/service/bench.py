"""`edgesight bench service`: the data centre's doors under load, beside other servers, asked by strangers, and killed.

What each section found is kept as long as all that it hangs on is the same, so that a stopped run goes on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.kept import ROOT, Found, Kept, fingerprint, with_imports
from edgesight.bench.report import PlainTable, print_checks, write_report
from edgesight.bench.sections import Due, Section, print_skipped, run_sections
from edgesight.bench.service import clients, fairness, fuzz, gpu, latency, life, saturation, zipf
from edgesight.bench.service.asked import Asked
from edgesight.bench.service.processors import lacks_two

_FOLDER = "service"  # of what is made, below that of the report
# What a section's result hangs on beside its own code: what the programs do that it runs.
_PROGRAMS = tuple(ROOT / "edgesight" / "cli" / f"{name}.py" for name in ("datacenter", "serve", "doors"))


def _no_two_cores(asked: Asked) -> str | None:
    return lacks_two()


def _without(*modules: str) -> str | None:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)}: not installed: pip install 'edgesight[build,datacenter,dev,oip]'" if absent else None


def _no_models(asked: Asked) -> str | None:
    return _without("onnx", "onnxruntime", "tritonclient")


def _no_clients(asked: Asked) -> str | None:
    return _without("onnxruntime", "tritonclient", "geventhttpclient")


def _no_fuzzers(asked: Asked) -> str | None:
    return _without("onnx", "onnxruntime", "tritonclient", "hypothesis", "schemathesis")


SECTIONS = {
    "latency": Section("what asking costs beside the model, one request in flight", latency.measure, _no_two_cores),
    "saturation": Section("the executor's own throughput, through the door", saturation.measure, _no_two_cores),
    "zipf": Section("five models in memory for two", zipf.measure),
    "fairness": Section("one client that asks too much, and the others", fairness.measure),
    "clients": Section("clients that people have, as they are", clients.measure, _no_clients),
    "fuzz": Section("both doors under requests that nobody would send", fuzz.measure, _no_fuzzers),
    "life": Section("kills, ends under load, bad files, a full disk", life.measure, _no_models),
    "gpu": Section("batches, waits and energy on a GPU", gpu.measure, gpu.lacks),
}


def bench_service(out: Path, console: Console, asked: Asked, names: Sequence[str] = (), *, again: bool = False) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/service.json.

    What a section found stays in `out`/service, and is not measured another time unless `again`. One that cannot be
    done counts as unmet, and the others go on.
    """
    results = run_sections({name: _due(name, asked, out, console) for name in names or SECTIONS}, console, again=again)
    write_report(out / "service.json", {"sections": results.body, "skipped": results.skipped}, results.checks)
    _print_told(console, results.body)
    print_skipped(console, results)
    return print_checks(console, results.checks)


def _due(name: str, asked: Asked, out: Path, console: Console) -> Due:
    """The section of that name, as it is asked for."""
    section, folder = SECTIONS[name], out.resolve() / _FOLDER  # programs are started elsewhere, too

    def kept() -> Kept:
        return Kept(folder, fingerprint(with_imports([section.module, *_PROGRAMS]), repr(asked)))

    def measure() -> Found:
        place = folder / name
        place.mkdir(exist_ok=True)
        return section.run(asked, place, console)

    return Due(section.title, section.lacks(asked), kept, measure)


def _print_told(console: Console, body: Mapping[str, Any]) -> None:
    """What sections tell without a bar."""
    table = PlainTable(
        "Told without a bar", ("figure", "value", "unit", "obtained"), words=("figure", "unit", "obtained")
    )
    rows = [row for found in body.values() for row in found.get("told", ())]
    for row in rows:
        table.add_row(row["name"], f"{row['value']:.6g}", row["unit"], row["obtained"])
    if rows:
        console.print(table)
