"""Commands of who trains, compiles and calibrates."""

from __future__ import annotations

import dataclasses
import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesight.cli import ending
from edgesight.cli.data import FETCHED, sample_of
from edgesight.cli.ending import ArgumentError
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
from edgesight.hls.zoo import Earlier, calibrated_as, shipped

if TYPE_CHECKING:
    from edgesight.cli.data import Sampled
    from edgesight.host.accuracy_targets import Targets
    from edgesight.host.kernel import Calibration
    from edgesight.host.novelty import NoveltyTest
    from edgesight.host.package import Package
    from edgesight.quant.backends import BackEnd
    from edgesight.quant.networks import Network


def _stage(place: str, what: str) -> typer.models.OptionInfo:
    """The option that names a stage's network."""
    option: typer.models.OptionInfo = typer.Option(
        metavar="FILE.py:CALLABLE", help=f"Network of your own as {place}: {what}"
    )
    return option


class Variants(str, Enum):
    """What `train` may train."""

    stage0 = "stage0"
    stage1 = "stage1"
    stage2 = "stage2"
    stage3 = "stage3"
    exits = "exits"
    backend = "backend"
    all = "all"


def train(  # noqa: PLR0913 - a command's options are its surface
    dataset: DataSetName,
    stage0: Annotated[
        str | None,
        _stage(
            "stage 0",
            "CALLABLE(shape, classes) returns a torch.nn.Module of Brevitas layers. Or `shipped`, or `steep`, a pair "
            "whose last stage is far the slower one. The stages named are the whole cascade; default: the two shipped "
            "ones.",
        ),
    ] = None,
    stage1: Annotated[str | None, _stage("stage 1", "as --stage0.")] = None,
    stage2: Annotated[str | None, _stage("stage 2", "as --stage0.")] = None,
    stage3: Annotated[str | None, _stage("stage 3", "as --stage0.")] = None,
    exits: Annotated[
        str | None,
        _stage("all stages", "it returns a tuple of 2 to 4 logits, and each of these exits is a stage of the cascade."),
    ] = None,
    variant: Annotated[Variants, typer.Option(help="Train only this network.")] = Variants.all,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Seeds to train; seed 0 is shipped, all are in the model card.")
    ] = 3,
    backend: Annotated[
        str,
        typer.Option(
            metavar="shipped|efficientnet-lite0|FILE.onnx",
            help="The data centre's model: `shipped`, a small one that takes what the fabric takes; "
            "`efficientnet-lite0`, pretrained and fine-tuned to the photographs; or an ONNX classifier of your own, "
            "which is taken as it is.",
        ),
    ] = "shipped",
    backend_input: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Of an ONNX classifier of your own: what it takes of a picture."),
    ] = None,
    backend_size: Annotated[
        int | None,
        typer.Option(
            help="Of efficientnet-lite0: side in pixels of the picture that it gets, enlarged to 224 inside it; "
            "default 224.",
        ),
    ] = None,
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
    from edgesight.quant.datasets import check_name, folder_of

    if out is not None:
        from edgesight.hls.zoo import ZOO

        ZOO.check_folder(out)
    check_name(dataset)  # before torch, which takes seconds, and before a download
    said = {"stage0": stage0, "stage1": stage1, "stage2": stage2, "stage3": stage3, "exits": exits}
    there = [name for name, network in said.items() if network] or ["stage0", "stage1"]
    if variant.value not in (*there, "backend", "all"):
        raise ArgumentError(
            f"--variant {variant.value}: is not among the networks; give all, backend or {' or '.join(there)}, or name "
            f"it by --{variant.value} FILE.py:CALLABLE"
        )
    _check_backend(backend, backend_input, backend_size)
    from edgesight.hls.zoo import read_card, warnings
    from edgesight.host.cache import cache_folder

    checkpoints = cache_folder() / "training"
    with ending.shown(json_), ending.nothing_to_clean_up():  # but for the epoch that is under way
        from edgesight.quant.backends import Wanted
        from edgesight.quant.learn import Course
        from edgesight.quant.own import named
        from edgesight.quant.train import train_all

        stages = named([stage0, stage1, stage2, stage3], exits)
        report = train_all(
            dataset,
            Wanted(tuple(stages), variant.value, _backend(backend, backend_input, backend_size)),
            seeds,
            out,
            folder_of(dataset, data_dir, FETCHED),
            size,
            reading(groups, skip_damaged),
            Course(checkpoints, quick),
        )
    warn(warnings(report.folder, read_card(report.folder)))
    if json_:
        found = dataclasses.asdict(report)
        ending.print_json(json.loads(json.dumps(found, default=str)))


_PRETRAINED = "efficientnet-lite0"


def _check_backend(said: str, statement: Path | None, size: int | None) -> None:
    """ArgumentError where `--backend` and its like do not fit together; before torch, which takes seconds.

    BackEndError, too, where the statement cannot be used.
    """
    own = said.endswith(".onnx")
    if said not in ("shipped", _PRETRAINED) and not own:
        raise ArgumentError(f"--backend {said}: is none; give shipped, {_PRETRAINED} or an ONNX file, FILE.onnx")
    if own and statement is None:
        raise ArgumentError(f"--backend {said}: say by --backend-input FILE.toml what it takes of a picture")
    if not own and statement is not None:
        raise ArgumentError(f"--backend-input {statement}: belongs to a --backend FILE.onnx; leave it out")
    if said != _PRETRAINED and size is not None:
        raise ArgumentError(f"--backend-size {size}: belongs to --backend {_PRETRAINED}; leave it out")
    if statement is not None:
        from edgesight.host.files import from_home
        from edgesight.quant.statement import read_statement

        read_statement(from_home(str(statement)))


def _backend(said: str, statement: Path | None, size: int | None) -> Network | BackEnd:
    """The data centre's model that `--backend` and its like name."""
    from edgesight.quant import finetune, foreign
    from edgesight.quant.networks import SHIPPED

    if statement is not None:
        return foreign.load(Path(said), statement)
    if said == _PRETRAINED:
        return finetune.FineTuned() if size is None else finetune.FineTuned(size)
    return SHIPPED["backend"]


_FEWEST_IMAGES = 3  # to calibrate on


def show(package: PackagePath, json_: Json = False) -> None:
    """Check a kernel package and show what it holds."""
    show_package(load(package), json_)


def pack(
    package: PackagePath, out: Annotated[Path, typer.Option(help="Kernel package to write.")], json_: Json = False
) -> None:
    """Copy a kernel package with all that its hardware consists of, so that any version of EdgeSight can build it."""
    show_package(load(package).pack(out), json_)


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


def calibrate(  # noqa: PLR0913 - a command's options are its surface
    package: PackagePath,
    dataset: DataSetName,
    targets: Annotated[
        str,
        typer.Option(
            help="Accuracy targets to offer, comma separated; auto: what these pictures can be expected to show."
        ),
    ],
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

    Of the data set that the package was trained on it uses the calibration split; the check by re-splits pools it with
    the test split. Of another folder, whose subfolders are named as classes of the package, it uses all pictures: the
    targets then hold for pictures like those. None of them may be one that the networks were trained on.
    """
    from edgesight.host.accuracy_targets import AUTO, CalibrationError, advice, more_images, parse_targets
    from edgesight.host.novelty import carry

    wanted = parse_targets(targets)  # before anything is measured
    opened = load(package)
    sample = sample_of(dataset, data_dir, size, opened, reading(groups, skip_damaged))
    if len(sample.split) < _FEWEST_IMAGES:
        raise CalibrationError(
            f"{len(sample.split)} images: give at least {_FEWEST_IMAGES}, to fit the curves and to test on, and better "
            "some hundreds, by which a target of use can be shown"
        )
    test = _novelty(opened, sample)
    made = _calibration(opened, _familiar(sample, test), wanted, loss=loss, seed=seed, resplits=resplits)
    said = [more_images(made)] if wanted == AUTO else advice(made)
    if not made.targets:
        raise CalibrationError(" ".join(["no target can be offered, and nothing was changed.", *said]))
    opened = carry(opened, test, calibration=made.model_dump())
    show_package(opened, json_)
    if wanted == AUTO:
        print(*said, file=sys.stderr)
    else:
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
    from edgesight.host.novelty import carry

    made = []
    for recipe in shipped(names):
        before = Earlier.of(recipe.path) if keep else None
        package = recipe.compile()
        if before is not None:
            package = calibrated_as(package, before)
        else:
            folder = data_dir if recipe.name == "fashion-mnist" else None
            sample = sample_of(recipe.name, folder, None, package, reading(Grouping.name, False))
            test = _novelty(package, sample)
            found = _calibration(package, _familiar(sample, test), recipe.targets, loss=recipe.loss)
            package = carry(package, test, calibration=found.model_dump())
        made.append(package)
        if not json_:
            show_package(package, False)
    if json_:
        ending.print_json({package.kernel.name: package.kernel.model_dump(mode="json") for package in made})


def _novelty(package: Package, sample: Sampled) -> NoveltyTest | None:
    """What tells pictures that are strange to the sample; None, said, where it can't be had.

    The detector is the package's own. One that has none, or none that can be used, gets one, trained on the train split
    of its own data set.
    """
    from edgesight.host.kernel import KernelError
    from edgesight.host.novelty import LEVEL, NoveltyTest, novelty_test
    from edgesight.sim.workers import progress

    try:
        before = novelty_test(package)
    except KernelError as error:
        if sample.trained_on is None:
            what = "its detector of strange pictures cannot be used"
            raise KernelError(f"{package.path}: {what}: calibrate it on its own data set first") from error
        before = None
    if before is not None:
        detector = before.detector
    elif sample.trained_on is not None:
        from edgesight.quant.novelty import fit

        trained_on = sample.trained_on
        with progress() as bar:
            task = bar.add_task("detector of strange pictures", total=1.0)
            detector = fit(trained_on, told=lambda share: bar.update(task, completed=share))
    else:
        warn(["strange pictures are not told: for that, calibrate on the package's own data set first"])
        return None
    test = NoveltyTest.against(detector, sample.split.photographs)
    if not test.can_flag:
        few = f"strange pictures are not told: {len(sample.split)} calibration pictures are too few for a p-value below"
        warn([f"{few} {LEVEL:g}; it takes {int(1 / LEVEL)}"])
        return None
    return test


def _familiar(sample: Sampled, test: NoveltyTest | None) -> Sampled:
    """The sample without its strange pictures, which no target covers."""
    import numpy as np

    if test is None:
        return sample
    split, held_out = (
        part and part.take(np.flatnonzero(~test.strange(part.photographs))) for part in (sample.split, sample.held_out)
    )
    assert split is not None
    return dataclasses.replace(sample, split=split, held_out=held_out)


def _calibration(
    package: Package, sample: Sampled, targets: Targets, *, loss: float, seed: int = 0, resplits: int = 200
) -> Calibration:
    from edgesight.hls.package_reference import PackageReference
    from edgesight.sim.observe import calibration_of

    return calibration_of(
        package,
        PackageReference(package),
        sample.split,
        sample.held_out,
        targets,
        loss=loss,
        seed=seed,
        resplits=resplits,
        rests_on=sample.rests_on,
    )
