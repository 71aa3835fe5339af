"""Cascades in all forms, on 2,000 images and in the demo: three networks, and a trunk with two exits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgesight.bench.coverage import small_cascades
from edgesight.bench.demo import run_demo
from edgesight.bench.report import Check
from edgesight.bench.verify import load, references_of, verify
from edgesight.hls.csim import build_library as build_csim
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import compile_zoo, foldings_of
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.sim.observe import calibration_of
from edgesight.sim.verilate import build_library as build_verilated

IMAGES = 2_000
DEMO_IMAGES = 200
FEWER = 0.999  # share of the multiplications from the pixels that a trunk's cascade takes at most
_TARGETS = [0.9, 0.93]
_LOSS = 0.05
_SEVERAL, _TRUNK = "three stages", "a trunk with two exits"
_CASCADES: dict[str, tuple[Callable[[Path], None], list[int]]] = {
    _SEVERAL: (small_cascades.write_stages, [100, 200, 400]),
    _TRUNK: (small_cascades.write_exits, [300, 600]),
}


@dataclass(frozen=True)
class Compared:
    """How a cascade did: images that differ, by pair of forms; multiplications by accuracy target; the demo."""

    name: str
    images: int
    mismatches: dict[str, int]
    multiplications: list[dict[str, float]]
    demo_met: bool

    @property
    def saved(self) -> float:
        """Multiplications over those of the same networks from the pixels, over all targets."""
        an_image, from_pixels = (sum(row[key] for row in self.multiplications) for key in ("an_image", "from_pixels"))
        return an_image / from_pixels


def compare_cascades(folder: Path, console: Console) -> list[Compared]:
    """Train, compile, calibrate, compare and ask each cascade; what is made lies in `folder`, which is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    return [_compare(name, folder / name.replace(" ", "-"), console) for name in _CASCADES]


def checks_of(found: list[Compared]) -> list[Check]:
    """The cascades held against what is promised of them."""
    checks = []
    for each in found:
        wrong = sum(each.mismatches.values())
        checks.append(Check(f"{each.name}: images that differ", wrong, 0, True, f"of {each.images}", "simulated"))
        checks.append(Check(f"{each.name}: demo met", float(each.demo_met), 1, False, "yes or no", "measured"))
        if each.name == _TRUNK:
            name = f"{each.name}: multiplications over those from the pixels"
            checks.append(Check(name, each.saved, FEWER, True, "ratio", "simulated"))
    return checks


def _compare(name: str, folder: Path, console: Console) -> Compared:
    write, cycles = _CASCADES[name]
    write(folder / "zoo")
    package = compile_zoo(folder / "zoo", folder / "kernel", foldings_of(cycles))
    build_csim(package)
    build_verilated(package)
    data = datasets.load("digits")
    made = calibration_of(
        package, PackageReference(package), data.calibration, data.test, _TARGETS, loss=_LOSS, resplits=0
    )
    package = Package.load(package.replace(calibration=made.model_dump()).path)
    images = small_cascades.pictures(IMAGES)
    verify(package, images, references_of(package, None), folder / "verify", console)
    report = load(folder / "verify")[0]
    by_target = report["multiplications"][-len(made.targets) :]
    note = f"Data: digits, test split; {name}."
    met = run_demo(package, data.test, DEMO_IMAGES, _LOSS, folder / "demo", note, console, shipped=False)
    return Compared(name, report["images"], report["mismatches"], by_target, met)
