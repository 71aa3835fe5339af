"""Commands of who trains, compiles and calibrates."""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesight.cli import ending
from edgesight.cli.data import data_folder, data_set
from edgesight.cli.options import (
    DataDir,
    DataSetName,
    Grouping,
    Groups,
    Json,
    PackagePath,
    Size,
    SkipDamaged,
    reading,
    warn,
)
from edgesight.cli.show import load, show_package
from edgesight.hls.zoo import (
    ROOT,
    SHIPPED,
    calibrated_as,
    check_same_networks,
    compile_zoo,
    foldings_of,
    out_of_reach,
    shipped,
)

if TYPE_CHECKING:
    from edgesight.host.kernel import Calibration
    from edgesight.host.package import Package
    from edgesight.quant.splits import DataSet

_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")  # a positive number of at most nine digits


class Variants(str, Enum):
    """What `train` may train."""

    stage0 = "stage0"
    stage1 = "stage1"
    backend = "backend"
    all = "all"


def train(
    dataset: DataSetName,
    variant: Annotated[Variants, typer.Option(help="Which of them.")] = Variants.all,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Seeds to train; seed 0 is shipped, all are in the model card.")
    ] = 3,
    out: Annotated[Path | None, typer.Option(help="Zoo folder; default quant/zoo/DATASET.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the passes, for a look.")] = False,
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Train the cascade's networks and the back end: float first, then quantised. Resumes where it was stopped.

    Checkpoints go into ~/.cache/edgesight/training (or $XDG_CACHE_HOME/edgesight/training), a folder a data set, so
    that neither other data nor other settings replace them; remove them there when you need them no more.
    """
    from edgesight.quant.datasets import check_name

    if out is not None:
        from edgesight.hls.zoo import ZOO

        ZOO.check_folder(out)
    check_name(dataset)  # before torch, which takes seconds, and before a download
    from edgesight.hls.zoo import read_card, warnings
    from edgesight.host.cache import cache_folder

    checkpoints = cache_folder() / "training"
    with ending.shown(json_), ending.nothing_to_clean_up():  # but for the epoch that is under way
        from edgesight.quant.learn import Course
        from edgesight.quant.train import train_all

        report = train_all(
            dataset,
            variant.value,
            seeds,
            out,
            data_folder(dataset, data_dir),
            size,
            reading(groups, skip_damaged),
            Course(checkpoints, quick),
        )
    warn(warnings(report.folder, read_card(report.folder)))
    if json_:
        found = dataclasses.asdict(report)
        ending.print_json(json.loads(json.dumps(found, default=str)))


def compile_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    out: Annotated[Path, typer.Option(help="Kernel package to write.")],
    cycles: Annotated[
        str, typer.Option(help="Cycles a frame that each layer of stage 0 and of stage 1 may take.")
    ] = "1500,10000",
    reuse: Annotated[
        list[str] | None, typer.Option(help="hls4ml ReuseFactor of one layer: STAGE.LAYER=N; may be repeated.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Take over the calibration of this package, of the same networks.")
    ] = None,
    csim: Annotated[bool, typer.Option("--csim/--no-csim", help="Build hls4ml's C++ library as well.")] = True,
    json_: Json = False,
) -> None:
    """Compile two QONNX networks to a kernel package: RTL, csim, known answers. Needs no vendor tool."""
    from edgesight.hls.zoo import check_files, read_card, warnings
    from edgesight.host.package import PACKAGE, load_kernel

    # What is wrong is said before hls4ml is loaded, let alone the work begun.
    budgets = _budgets(cycles)
    factors: dict[str, dict[str, int]] = {"stage0": {}, "stage1": {}}
    for entry in reuse or []:
        place, _, factor = entry.partition("=")
        stage, _, layer = place.partition(".")
        if stage not in factors or not layer or not _COUNT.fullmatch(factor):
            raise ending.ArgumentError(f"--reuse {entry}: expected STAGE.LAYER=N, such as stage0.Conv_1=12")
        factors[stage][layer] = int(factor)
    PACKAGE.check_folder(out)
    card = read_card(zoo)
    check_files(zoo, card)
    warn(warnings(zoo, card))
    before = load_kernel(calibration) if calibration is not None else None  # `out` may be that very package
    if before is not None:
        check_same_networks(zoo, before)
    from edgesight.hls.csim import build_library

    foldings = foldings_of(budgets, factors)
    package = compile_zoo(zoo, out, foldings)
    warn(out_of_reach(package, foldings))
    if before is not None:
        package = calibrated_as(package, before)
    if csim:
        build_library(package)
    show_package(package, json_)


def show(package: PackagePath, json_: Json = False) -> None:
    """Check a kernel package and show what it holds."""
    show_package(load(package), json_)


def verilate(package: PackagePath, json_: Json = False) -> None:
    """Build the Verilated library of a kernel package: the same RTL, cycle-accurate, as fast native code."""
    from edgesight.sim.verilate import build_library

    library = build_library(load(package))
    if json_:
        ending.print_json({"library": str(library)})
    else:
        print(library)


def csim(package: PackagePath, json_: Json = False) -> None:
    """Build hls4ml's own C++ of a kernel package as a library for this machine: bit-exact and fast, without cycles."""
    from edgesight.hls.csim import build_library

    library = build_library(load(package))
    if json_:
        ending.print_json({"library": str(library)})
    else:
        print(library)


def calibrate(
    package: PackagePath,
    dataset: DataSetName,
    targets: Annotated[str, typer.Option(help="Accuracy targets to offer, comma separated.")],
    loss: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Highest packet loss that the targets are to hold under.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits and of the lost packets.")] = 0,
    resplits: Annotated[int, typer.Option(min=0, help="Re-splits on which the promise is checked; 0 for none.")] = 200,
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Set the thresholds that keep each accuracy target with 95 % confidence, family-wise, and refuse what can't be.

    They hold on links that lose up to --loss of their packets; the back end is measured at higher losses, too.

    Uses the data set's calibration split; the check by re-splits pools it with the test split.
    """
    from edgesight.host.calibrate import CalibrationError, advice, parse_targets

    wanted = parse_targets(targets)  # before anything is measured
    opened = load(package)
    data = data_set(dataset, data_dir, size, opened, reading(groups, skip_damaged))
    made = _calibration(opened, data, wanted, loss, seed, resplits)
    said = advice(made)
    if not made.targets:
        raise CalibrationError(" ".join(["no target can be offered, and nothing was changed.", *said]))
    opened = opened.replace(calibration=made.model_dump())
    show_package(opened, json_)
    warn(said)


def kernels(
    names: Annotated[list[str] | None, typer.Argument(help="Shipped packages to make; default all.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep-calibration", help="Only compile: networks, back end and link are as they were.")
    ] = False,
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Compile and calibrate the shipped kernel packages anew, as bitstreams/shipped.toml says."""
    from edgesight.hls.compile import Folding
    from edgesight.hls.qonnx_graph import CompileError
    from edgesight.host.package import load_kernel

    recipes = shipped()
    made = []
    for name in names or list(recipes):
        if name not in recipes:
            raise CompileError(f"no shipped kernel is called {name!r}: {SHIPPED / 'shipped.toml'} has {list(recipes)}")
        recipe = recipes[name]
        before = load_kernel(SHIPPED / name) if keep else None
        package = compile_zoo(
            ROOT / "quant" / "zoo" / name, SHIPPED / name, [Folding(budget, {}) for budget in recipe["cycles"]]
        )
        if before is not None:
            package = calibrated_as(package, before)
        else:
            data = data_set(name, data_dir if name == "fashion-mnist" else None, None, package)
            package = _calibrate(package, data, recipe["targets"], recipe["loss"], 0, 200)
        made.append(package)
        if not json_:
            show_package(package, False)
    if json_:
        ending.print_json({package.kernel.name: package.kernel.model_dump(mode="json") for package in made})


def _budgets(cycles: str) -> list[int]:
    """Budgets of cycles of both stages, comma separated."""
    budgets = cycles.split(",")
    if len(budgets) != 2 or not all(_COUNT.fullmatch(budget) for budget in budgets):
        raise ending.ArgumentError(f"--cycles {cycles}: give two numbers, for stage 0 and stage 1, such as 1500,10000")
    return [int(budget) for budget in budgets]


def _calibrate(package: Package, data: DataSet, targets: list[float], loss: float, seed: int, resplits: int) -> Package:
    """The package with its calibration, see `_calibration`."""
    return package.replace(calibration=_calibration(package, data, targets, loss, seed, resplits).model_dump())


def _calibration(
    package: Package, data: DataSet, targets: list[float], loss: float, seed: int, resplits: int
) -> Calibration:
    """Calibrate on the data's calibration split; check by re-splits of it together with the test split."""
    from edgesight.hls.csim import build_library
    from edgesight.host.calibrate import LOSSES, CalibrationError, calibrate, resplit_check
    from edgesight.host.datacenter.models import OnnxModel
    from edgesight.sim.observe import observe_once

    if not 0.0 <= loss < 1.0:
        raise CalibrationError(f"packet loss {loss:g}: expected a share, from 0 to below 1")
    losses = sorted({*LOSSES, loss})
    build_library(package)
    package.read("datacenter.onnx")  # says so where the package has none
    model = OnnxModel(package.path / "datacenter.onnx")
    split, test = data.calibration, data.test
    observed = observe_once(package, model, split.images, split.labels, losses, seed)
    calibration = calibrate(observed, targets, loss=loss, backend_sha256=model.sha256, seed=seed)
    if not resplits or not calibration.targets:
        return calibration
    held_out = observe_once(package, model, test.images, test.labels, losses, seed + 1)
    check = resplit_check(observed.joined(held_out), targets, loss=loss, count=resplits, seed=seed)
    return calibration.model_copy(update={"resplits": check})
