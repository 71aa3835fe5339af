"""`edgesight bench watch`: whether falls are found in time, health is left alone, and what is told is true.

What each section found is kept as long as all that it hangs on is the same, so that a stopped run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgesight.bench.kept import ROOT, Found, Kept, fingerprint, with_imports
from edgesight.bench.report import print_checks, write_report
from edgesight.bench.sections import Due, Section, print_skipped, run_sections
from edgesight.bench.service.processors import lacks_two
from edgesight.bench.watch import cost, drift, metrics, page, scraping
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import shipped_folder
from edgesight.host.package import Package
from edgesight.quant import datasets

_FOLDER = "watch"  # of what is kept, below that of the report
_KERNEL = "fashion-mnist"  # shipped, and what its pictures are called
_LOSS = 0.05
# What a result hangs on beside the bench's own code: what the programs do that it runs.
_PROGRAMS = tuple(ROOT / "edgesight" / "cli" / f"{name}.py" for name in ("datacenter", "serve", "doors"))
_PAGE = tuple(sorted((ROOT / "edgesight" / "host" / "doors" / "page").iterdir()))


@dataclass(frozen=True)
class Asked:
    """What there is to measure with; a section whose data is absent is skipped.

    Attributes:
        fashion_mnist: the folder of that data set; None: it is not here.
    """

    fashion_mnist: Path | None = None


def _drift(asked: Asked, folder: Path, console: Console) -> Found:
    package = Package.load(shipped_folder() / _KERNEL)
    data = datasets.load(_KERNEL, asked.fashion_mnist, package.kernel.input.height)
    return drift.measure(drift.Kernel(package, PackageReference(package), data.calibration, data.test, _LOSS), console)


def _cost(asked: Asked, folder: Path, console: Console) -> Found:
    return cost.measure(folder, console)


def _page(asked: Asked, folder: Path, console: Console) -> Found:
    package = Package.load(shipped_folder() / _KERNEL)
    data = datasets.load(_KERNEL, asked.fashion_mnist, package.kernel.input.height)
    return page.measure(package, data.test, folder / "page", console)


def _metrics(asked: Asked, folder: Path, console: Console) -> Found:
    package = Package.load(shipped_folder() / _KERNEL)
    data = datasets.load(_KERNEL, asked.fashion_mnist, package.kernel.input.height)
    return metrics.measure(package, data.test.images, console)


def _no_pictures(asked: Asked) -> str | None:
    return None if asked.fashion_mnist is not None else "Fashion-MNIST is not here: name its folder with --data-dir"


SECTIONS = {
    "drift": Section("falls of agreement and of accuracy, and pictures that stay as they are", _drift, _no_pictures),
    "metrics": Section(
        "every counter against the log of a run with faults, as Prometheus scraped it",
        _metrics,
        lambda asked: scraping.lacks() or _no_pictures(asked),
    ),
    "page": Section("the live page in a browser", _page, lambda asked: _no_pictures(asked) or page.lacks()),
    "cost": Section("an edge with all of it beside one with none", _cost, lambda asked: lacks_two()),
}


def bench_watch(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/watch.json.

    What a section found stays in `out`/watch. One that cannot be done counts as unmet, and the others go on.
    """
    kept = Kept(out / _FOLDER, fingerprint([*with_imports([Path(__file__), *_PROGRAMS]), *_PAGE], repr(asked)))

    def due(name: str) -> Due:
        section = SECTIONS[name]
        return Due(section.title, section.lacks(asked), lambda: kept, lambda: section.run(asked, kept.folder, console))

    results = run_sections({name: due(name) for name in names or SECTIONS}, console)
    write_report(out / "watch.json", {"sections": results.body, "skipped": results.skipped}, results.checks)
    print_skipped(console, results)
    return print_checks(console, results.checks)
