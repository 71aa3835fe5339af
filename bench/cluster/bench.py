"""`edgesight bench cluster`: the plans, executed, and held against what else could have been done.

What each section found is kept as long as all that it hangs on is the same, so that a stopped run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgesight.bench.cluster import edgent, jellybean, jellyfish, replicas, seifer, sizing
from edgesight.bench.cluster.asked import Asked
from edgesight.bench.kept import ROOT, Kept, fingerprint, with_imports
from edgesight.bench.report import print_checks, write_report
from edgesight.bench.sections import Due, Section, print_skipped, run_sections
from edgesight.host.files import write_atomically

_FOLDER = "cluster"  # of what is kept, below that of the report
# What a result hangs on beside its section's own code: what the programs do that it runs.
_PROGRAMS = tuple(sorted((ROOT / "host").rglob("*.py")))


SECTIONS = {
    "replicas": Section(
        "the data centre on three nodes, as one is lost and as a version goes over",
        replicas.section,
        replicas.lacks,
    ),
    "edgent": Section(
        "a network with exits, cut anew as a link moves, beside cuts that stay",
        edgent.section,
        edgent.lacks,
    ),
    "jellyfish": Section(
        "eight clients over links that move, sizes and models planned as they go, beside models that stay",
        jellyfish.section,
        jellyfish.lacks,
    ),
    "seifer": Section(
        "a network in pieces on four nodes, beside one node, and as a node is lost",
        seifer.section,
        seifer.lacks,
    ),
    "jellybean": Section(
        "a workflow of two branches on planned workers",
        jellybean.section,
        jellybean.lacks,
    ),
}


def bench_cluster(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/cluster.json,
    and of the section `replicas` `out`/sizing.md.

    What a section found stays in `out`/cluster. One that cannot be done counts as unmet, and the others go on.
    """
    folder = out / _FOLDER

    def due(name: str) -> Due:
        section = SECTIONS[name]

        def kept() -> Kept:
            code = with_imports([section.module])
            return Kept(folder, fingerprint([*code, *_PROGRAMS], repr(asked)))

        return Due(section.title, section.lacks(asked), kept, lambda: section.run(asked, folder / name, console))

    results = run_sections({name: due(name) for name in names or SECTIONS}, console)
    write_report(out / "cluster.json", {"sections": results.body, "skipped": results.skipped}, results.checks)
    measured = results.body.get("replicas", {})
    if "costs" in measured:
        write_atomically(out / "sizing.md", sizing.page(measured).encode())
    print_skipped(console, results)
    return print_checks(console, results.checks)
