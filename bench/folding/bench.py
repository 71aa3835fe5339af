"""`edgesight bench folding`: folded networks beside their bound, and what they take beside others' hardware.

What each section found is kept as long as all that it hangs on is the same, and within a section what was found of each
layer and network, so that a stopped run goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgesight.bench.folding import (
    beside_da4ml,
    beside_finn,
    cascade,
    cnv,
    cost,
    interval,
    set_folding,
    weights,
    window,
)
from edgesight.bench.folding.asked import Asked
from edgesight.bench.kept import ROOT, Kept, fingerprint, with_imports
from edgesight.bench.made import made
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.bench.sections import Due, Section, print_skipped, run_sections

_SECONDS = 4500  # of a run from nothing
_FOLDER = "folding"  # of what is kept, below that of the report


SECTIONS = {
    "finn": Section(
        "layers beside FINN's hardware, by cells and in simulation",
        beside_finn.section,
        beside_finn.lacks,
    ),
    "interval": Section(
        "the interval of whole networks over their bound, at three foldings",
        interval.section,
        interval.lacks,
    ),
    "cnv": Section("whole CNV networks at FINN's foldings", cnv.section, cnv.lacks),
    "window": Section("what the window of a wide layer takes", window.section, window.lacks),
    "weights": Section(
        "weights at run time: their price, and a second network under traffic",
        weights.section,
        weights.lacks,
    ),
    "cost": Section("the cost model against Yosys", cost.section, cost.lacks),
    "set_folding": Section(
        "the solver's foldings beside those of FINN's own rule",
        set_folding.section,
        set_folding.lacks,
    ),
    "cascade": Section(
        "a cascade folded by its exit rates beside its last stage alone",
        cascade.section,
        cascade.lacks,
    ),
    "da4ml": Section(
        "unrolled and folded networks beside da4ml's",
        beside_da4ml.section,
        beside_da4ml.lacks,
    ),
}


def bench_folding(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/folding.json.

    What was found stays in `out`/folding. A section that cannot be done counts as unmet, and the others go on.
    """
    began = time.monotonic()
    folder = out / _FOLDER

    def due(name: str) -> Due:
        section = SECTIONS[name]

        def kept() -> Kept:
            code = with_imports([section.module])
            rtl = (ROOT / "hw" / "rtl").glob("*.sv")
            peers = (Path(__file__).parent / "peers").glob("*.py")
            return Kept(folder, fingerprint([*code, *rtl, *peers, ROOT / "sim" / "streams.cpp"], _given(asked)))

        return Due(section.title, section.lacks(asked), kept, lambda: section.run(asked, folder / name, console))

    results = run_sections({name: due(name) for name in names or SECTIONS}, console)
    # Only what this run did itself: what was kept of an earlier one took its time then.
    checks = [*results.checks, Check("time", time.monotonic() - began, _SECONDS, True, "s", "measured")]
    body = {**made("edgesight bench folding"), "sections": results.body, "skipped": results.skipped}
    write_report(out / "folding.json", body, checks)
    print_skipped(console, results)
    return print_checks(console, checks)


def _given(asked: Asked) -> str:
    """What was asked, with the contents of the files that it names."""
    folders = [*asked.zoos, *([asked.trained] if asked.trained is not None else [])]
    files = [file for folder in folders for file in sorted(folder.glob("*.onnx"))]
    return repr([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])
