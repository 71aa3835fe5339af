"""Training all networks of a data set, each as `edgesight.quant.learn` does it, into a zoo folder.

The back end teaches: the two stages learn from its logits beside the labels. Weights shipped in the zoo are always seed
0's; further seeds only show in the card how far an accuracy depends on luck. No epoch and no weight is chosen by an
accuracy on calibration or test: the last epoch's network is the one that counts, and accuracies are only measured.

Words owned here: zoo.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from edgesight.quant import datasets, variants
from edgesight.quant.ahead import Ahead
from edgesight.quant.card import NetworkReport, accuracy_table, network_report, told_command, write_card
from edgesight.quant.export import (
    ExportError,
    StoredStage,
    export_backend,
    export_qonnx,
    qonnx_logits,
    save_stage,
)
from edgesight.quant.image_folder import AS_NAMED, FolderReading
from edgesight.quant.learn import AS_USUAL, Course, Trained, teach, train
from edgesight.quant.recipe import TrainingError, VariantName
from edgesight.quant.remarks import remarks
from edgesight.quant.splits import DataSet
from edgesight.quant.variants import (
    infer,
)

ZOO_FOLDER: Final = Path(__file__).resolve().parent / "zoo"
"""Where trained networks are shipped, a folder a data set."""


@dataclass(frozen=True)
class TrainingReport:
    """What `train_all` did: the data set's name, the zoo folder and a report for each network."""

    data_set: str
    folder: Path
    networks: tuple[NetworkReport, ...]


# The back end comes first, since it teaches.
_TRAINING_ORDER: Final[tuple[VariantName, ...]] = ("backend", "stage1", "stage0")
_PROVED_IMAGES: Final = 32


def train_all(
    data_set: str,
    variant: VariantName | Literal["all"] = "all",
    seeds: int = 3,
    out: Path | None = None,
    data_dir: Path | None = None,
    size: int | None = None,
    reading: FolderReading = AS_NAMED,
    course: Course = AS_USUAL,
) -> TrainingReport:
    """Train networks for a data set, write the zoo folder with its model card, and print a table.

    Seed 0 of every network comes first, and its files are written at once; further seeds add only accuracies to the
    card. Interrupted, the same call goes on from the last finished epoch.

    Args:
        data_set: a name that `datasets.load` knows.
        variant: one network, or `all`. A stage needs its teacher, so the back end is trained too where no finished
            checkpoint of it is in `course.folder`; its files are only written when asked for.
        seeds: how many seeds to train, from 0.
        out: the zoo folder; default `quant/zoo/<data set>`.
        data_dir: as in `datasets.load`.
        size: as in `datasets.load`.
        reading: as in `datasets.load`.
        course: as in `learn.train`, of all networks; the card says if it is quick. Progress and the table go to the
            terminal where it has no console.

    Raises:
        TrainingError: an unknown variant, no seeds, a zoo folder of other data, a full disk.
        splits.DataSetError: the data cannot be loaded.
        export.ExportError: an export differs from its network.
    """
    if variant != "all" and variant not in variants.VARIANTS:
        raise TrainingError(f"variant: found {variant!r}, expected all, {', '.join(variants.VARIANTS)}")
    if seeds < 1:
        raise TrainingError(f"seeds: found {seeds}, expected at least 1")
    shown, quick = course.console or Console(stderr=True), course.quick
    data = datasets.load(data_set, data_dir, size, reading=reading)
    folder = out or ZOO_FOLDER / data.name
    _check_zoo(folder, data, quick)
    for line in remarks(data, data_set):
        shown.print(f"warning: {line}", soft_wrap=True, markup=False, highlight=False)
    wanted: tuple[VariantName, ...] = _TRAINING_ORDER if variant == "all" else (variant,)

    trained: dict[str, list[Trained]] = {name: [] for name in wanted}
    written: dict[str, tuple[Path, ...]] = {}
    teacher: NDArray[np.float32] | None = None
    taught = any(name != "backend" for name in wanted)
    trainings = [*(["backend"] if taught and "backend" not in wanted else []), *(wanted * seeds)]
    with Ahead(data, cast(list[VariantName], trainings), quick, shown) as ahead:
        going = dataclasses.replace(course, console=shown, ahead=ahead)
        shown.print(f"Checkpoints go into {course.folder}.", soft_wrap=True, markup=False, highlight=False)
        for seed in range(seeds):
            for name in wanted:
                if name != "backend" and teacher is None:
                    # One teacher for all seeds: then their spread is the stage's own.
                    first = trained["backend"][0] if "backend" in trained else train(data, "backend", course=going)
                    teacher = teach(data, first.folded)
                lesson = None if name == "backend" else teacher
                result = train(data, name, seed, lesson, going)
                trained[name].append(result)
                if seed == 0:
                    written[name] = write_network(data, result, folder)
                    shown.print(f"{name}: wrote {', '.join(path.name for path in written[name])} into {folder}")
                reports = tuple(network_report(data, trained[name], written[name]) for name in wanted if trained[name])
                command = told_command(data, data_set, variant, len(trained[wanted[0]]), size, quick, reading)
                write_card(data, reports, command, quick, folder)
    (course.console or Console()).print(accuracy_table(data, reports))
    return TrainingReport(data.name, folder, reports)


def _check_zoo(folder: Path, data: DataSet, quick: bool) -> None:
    """TrainingError where the zoo folder holds networks of other data, or ones that a look must not replace."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        name, checksum = card["data_set"]["name"], card["data_set"]["checksum"]
        full = [network for network, entry in card["networks"].items() if not entry["command"].endswith("--quick")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no zoo is there, or none that anything could be lost of
    if checksum != data.checksum:
        raise TrainingError(
            f"{folder}: holds networks of other data ({name}, {str(checksum)[:12]}...; this is {data.name}, "
            f"{data.checksum[:12]}...): name another --out, or remove it"
        )
    if quick and full:
        raise TrainingError(
            f"{folder}: holds fully trained networks ({', '.join(full)}): name another --out for a look"
        )


def write_network(data: DataSet, trained: Trained, folder: Path) -> tuple[Path, ...]:
    """Write a trained network's files into a zoo folder.

    A stage becomes `<stage>.npz` (integers) and `<stage>.onnx` (QONNX), which is executed on some test images and
    must agree with Brevitas in every bit; the back end becomes `backend.onnx`.

    Raises:
        export.ExportError: the export cannot be exact, or differs from its network.
    """
    variant = variants.VARIANTS[trained.variant]
    path = folder / f"{variant.name}.onnx"
    if not variant.quantised:
        export_backend(variants.fit(variant, data.shape, len(data.classes)), trained.folded, path)
        return (path,)
    stage = StoredStage(variant, data.shape, len(data.classes), trained.exponents, trained.folded)
    weights = folder / f"{variant.name}.npz"
    save_stage(stage, weights)
    network = stage.build()
    export_qonnx(network, data.shape, path)
    images = data.test.images[:_PROVED_IMAGES]
    differing = int((qonnx_logits(path, images) != infer(network, images)).any(axis=1).sum())
    if differing:
        raise ExportError(
            f"{path}: answers differently from Brevitas on {differing} of {len(images)} test images"
            ": install the versions that `pip install 'edgesight[build]'` does"
        )
    return weights, path
