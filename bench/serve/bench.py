"""`edgesight bench serve`: modeless service under load, beside what people use today.

What each section found is kept as long as all that it hangs on is the same, so that a stopped run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from edgesight.bench.kept import ROOT, Found, Kept, fingerprint, with_imports
from edgesight.bench.link.cases import DELAY_S, QUEUE, RATE
from edgesight.bench.report import print_checks, write_report
from edgesight.bench.sections import Due, print_skipped, run_sections
from edgesight.bench.serve import grid, real
from edgesight.bench.serve.material import back_end, latencies, material, profile_of
from edgesight.bench.serve.systems import goals_of
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import shipped_folder
from edgesight.host.calibrate import LOSSES
from edgesight.host.link.quality import ladder_of
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, LinkOptions, MahimahiTrace, Rate
from edgesight.sim.observe import observe_once
from edgesight.sim.verilate import build_library

_FOLDER = "serve"  # of what is kept, below that of the report
_KERNEL = "fashion-mnist"  # shipped, and what its pictures are called
_LOSS: Final = 0.05
_TRACE: Final = "TMobile-LTE-short"
_PICTURES: Final = 4_000  # of the test split, at most
_COPIED: Final = 1 << 26  # bytes by which the bandwidth of memory is measured
# What a result hangs on beside the bench's own code: what its edge, link and service do.
_HOST = tuple(sorted((ROOT / "host").rglob("*.py")))


@dataclass(frozen=True)
class Asked:
    """What there is to measure with; a section whose data is absent is skipped.

    Attributes:
        fashion_mnist: the folder of that data set; None: it is not here.
        traces: a folder with the LTE trace; None: its cells are left out, which is told.
        folder: where a section keeps parts of what it found.
    """

    fashion_mnist: Path | None = None
    traces: Path | None = None
    folder: Path = field(default=Path("build/bench/serve"), repr=False)


@dataclass(frozen=True)
class Section:
    """A part of the bench.

    Attributes:
        title: for people.
        run: measures, with what is worth saying said on the way.
        lacks: why it cannot, where what it needs is not here.
    """

    title: str
    run: Callable[[Asked, Console], Found]
    lacks: Callable[[Asked], str | None]


def links_of(traces: Path | None) -> dict[str, tuple[LinkOptions, LinkOptions]]:
    """The links of the grid, by name: up and down. Raises EmulationError for a trace that is damaged."""

    def options(rate: Rate, loss: float = 0.0) -> LinkOptions:
        return LinkOptions(rate, DELAY_S, loss=loss, queue=BandwidthDelayProducts(QUEUE))

    steady = ConstantRate(RATE * 1e6)
    found = {
        "no loss": (options(steady), options(steady)),
        f"{_LOSS:.0%} loss": (options(steady, _LOSS), options(steady, _LOSS)),
    }
    if traces is not None and (traces / f"{_TRACE}.up").is_file():
        up, down = (options(MahimahiTrace.read(traces / f"{_TRACE}.{way}")) for way in ("up", "down"))
        found["LTE"] = up, down
    return found


def memory_bandwidth() -> float:
    """Bytes a second at which this machine copies: a selecting server loads a variant no faster, and a board slower."""
    source = np.ones(_COPIED, np.uint8)
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        source.copy()
        times.append(time.perf_counter() - begin)
    return _COPIED / float(np.median(times))


def _fashion_mnist(asked: Asked, console: Console) -> Found:
    package = Package.load(shipped_folder() / _KERNEL)
    calibration = package.kernel.calibration
    assert calibration is not None  # as it is shipped
    data = datasets.load(_KERNEL, asked.fashion_mnist, package.kernel.input.height)
    build_library(package)
    model = back_end(package)
    observed = observe_once(
        package,
        model,
        PackageReference(package),
        data.calibration,
        sorted({*LOSSES, _LOSS}),
        0,
        ladder_of(calibration.ladder),
        package.kernel.dataset_sha256,
    )
    curves, goals = goals_of(
        observed,
        grid.BELOWS,
        loss=_LOSS,
        backend_sha256=model.sha256,
        rests_on=calibration.rests_on,
        ladder=calibration.ladder,
    )
    test = data.test.take(np.arange(min(_PICTURES, len(data.test))))
    profile = profile_of(model, test.photographs[np.arange(16)])
    served = material(_KERNEL, package, curves, test, latencies(package, test.images), profile)
    networks = {package.kernel.network_of(stage)[0] for stage in range(len(package.kernel.stages))}
    load_s = max((package.path / name).stat().st_size for name in networks) / memory_bandwidth()
    links = links_of(asked.traces)
    found = grid.run(served, goals, links, console, load_s=load_s)
    if "LTE" in links:
        return found
    return Found({**found.body, "skipped": {"LTE": f"name the folder with {_TRACE}.up by --traces"}}, found.checks)


def _no_pictures(asked: Asked) -> str | None:
    return None if asked.fashion_mnist is not None else "Fashion-MNIST is not here: name its folder with --data-dir"


def _real(asked: Asked, console: Console) -> Found:
    assert asked.fashion_mnist is not None  # else the section is skipped
    setting, differing = real.prepared(asked.fashion_mnist, links_of(asked.traces), memory_bandwidth())
    return real.measure(setting, differing, asked.folder / "real", console)


def _nothing_real(asked: Asked) -> str | None:
    return _no_pictures(asked) or real.lacking()


SECTIONS = {
    "grid-fashion-mnist": Section(
        "all systems at all loads, links and targets, simulated", _fashion_mnist, _no_pictures
    ),
    "real": Section("six cells between real processes, and the simulator against them", _real, _nothing_real),
}


def bench_serve(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/serve.json.

    What a section found stays in `out`/serve. One that cannot be done counts as unmet, and the others go on.
    """
    asked = replace(asked, folder=out / _FOLDER)
    kept = Kept(out / _FOLDER, fingerprint([*with_imports([Path(__file__)]), *_HOST], repr(asked)))

    def due(name: str) -> Due:
        section = SECTIONS[name]
        return Due(section.title, section.lacks(asked), lambda: kept, lambda: section.run(asked, console))

    results = run_sections({name: due(name) for name in names or SECTIONS}, console)
    write_report(out / "serve.json", {"sections": results.body, "skipped": results.skipped}, results.checks)
    print_skipped(console, results)
    return print_checks(console, results.checks)
