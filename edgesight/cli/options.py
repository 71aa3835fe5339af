"""Arguments and options that several commands share, and what is made of them."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesight.cli.ending import ArgumentError
from edgesight.host.registers import MAX_STAGES

if TYPE_CHECKING:
    from edgesight.hls.folding import Runtime
    from edgesight.quant.image_folder import FolderReading

ALL = "all"  # layers
_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")  # a positive number of at most nine digits

DATASET_HELP = "fashion-mnist, digits, or folder:PATH (class subfolders, or train/ and test/ above them; a zip too)."


DataSetName = Annotated[str, typer.Argument(metavar="DATASET", help=DATASET_HELP)]


DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data set's own files, if not where Debian puts them.")
]


Size = Annotated[
    int | None, typer.Option("--size", min=4, max=256, help="Side in pixels that a folder's images are resized to.")
]


PackagePath = Annotated[Path, typer.Argument(metavar="PACKAGE", help="Kernel package: a folder with kernel.json.")]


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]


class Grouping(str, Enum):
    """What makes images of a folder one group, which never straddles two splits."""

    name = "name"
    none = "none"


Groups = Annotated[
    Grouping,
    typer.Option(
        "--groups",
        help="name: a folder's images of one class called <group>_<number> are one group, which stays in one split; "
        "none: each image is its own. What was found is printed. The same for all commands on one folder.",
    ),
]


SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out a folder's images that cannot be read, and list them.")
]


KeysFolder = Annotated[
    Path, typer.Option("--keys", help="The data centre's keys folder, made by `edgesight keys make`.")
]


def budgets_of(cycles: str) -> list[int]:
    """Cycles a frame that each layer of a stage may take, from `--cycles`."""
    budgets = cycles.split(",")
    if len(budgets) > MAX_STAGES or not all(_COUNT.fullmatch(budget) for budget in budgets):
        raise ArgumentError(
            f"--cycles {cycles}: give a number for each stage, one to {MAX_STAGES} of them, such as 1500,10000"
        )
    return [int(budget) for budget in budgets]


def factors_of(reuse: list[str], stages: int) -> dict[str, dict[str, int]]:
    """Reuse factors by stage and layer, from each `--reuse`, of a cascade of so many stages."""
    factors: dict[str, dict[str, int]] = {f"stage{index}": {} for index in range(stages)}
    for entry in reuse:
        place, _, factor = entry.partition("=")
        stage, _, layer = place.partition(".")
        if stage not in factors or not layer or not _COUNT.fullmatch(factor):
            raise ArgumentError(f"--reuse {entry}: expected STAGE.LAYER=N, such as stage0.Conv_1=12")
        factors[stage][layer] = int(factor)
    return factors


def factors_alone(reuse: list[str]) -> dict[str, int]:
    """Reuse factors by layer, from each `--reuse`, of a network alone."""
    factors = {}
    for entry in reuse:
        layer, _, factor = entry.rpartition("=")
        if not layer or not _COUNT.fullmatch(factor):
            raise ArgumentError(f"--reuse {entry}: expected LAYER=N, such as Conv_1=12")
        factors[layer] = int(factor)
    return factors


def runtime_of(said: list[str], stages: int | None) -> dict[str, Runtime | None]:
    """By stage which layers are loaded at run time, from each `--runtime-weights`.

    `stages`: how many there are; None of a network alone.
    """
    from edgesight.hls.folding import Runtime

    names = ["stage0"] if stages is None else [f"stage{index}" for index in range(stages)]
    layers: dict[str, set[str] | None] = {name: set() for name in names}  # None: all
    for entry in said:
        stage, _, layer = ("stage0", "", entry) if stages is None else entry.partition(".")
        if entry == ALL or (stages is not None and stage in layers and not layer):
            layers |= dict.fromkeys(names if entry == ALL else [stage])
        elif stage not in layers or not layer:
            form = "a layer's name" if stages is None else f"a stage ({', '.join(names)}) or STAGE.LAYER"
            raise ArgumentError(f"--runtime-weights {entry}: give {ALL} or {form}")
        elif (found := layers[stage]) is not None:
            found.add(layer)
    return {name: None if chosen == set() else Runtime(chosen) for name, chosen in layers.items()}


def check_reports(out: Path, main: str, *others: str) -> None:
    """OutputError, before any work, where a command's report must not or cannot be written."""
    from edgesight.bench.report import REPORT
    from edgesight.host.files import check_report_folder, check_reports

    check_reports(out, REPORT, main, *others)
    check_report_folder(out, REPORT)


def warn(said: list[str]) -> None:
    """Print warnings for people, on standard error."""
    for line in said:
        print(f"warning: {line}", file=sys.stderr)


def reading(groups: Grouping, skip_damaged: bool) -> FolderReading:
    """How a folder of images is read."""
    from edgesight.quant.image_folder import FolderReading

    return FolderReading(groups.value, skip_damaged)
