"""Training all networks of a data set, each as `edgesight.quant.learn` does it, into a zoo folder.

The back end teaches: the two stages learn from its logits beside the labels. Weights shipped in the zoo are always seed
0's; further seeds only show in the card how far an accuracy depends on luck. No epoch and no weight is chosen by an
accuracy on calibration or test: the last epoch's network is the one that counts, and accuracies are only measured.

Words owned here: zoo.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from edgesight.quant import datasets
from edgesight.quant.ahead import Ahead
from edgesight.quant.answers import infer_exits
from edgesight.quant.backends import BackEnd, Wanted
from edgesight.quant.card import NetworkReport, Written, accuracy_table, measured_of, told_command, write_card
from edgesight.quant.export import ExportError, qonnx_logits, write_atomically
from edgesight.quant.image_folder import AS_NAMED, FolderReading
from edgesight.quant.learn import AS_USUAL, Course, Trained, deterministic, teach, train
from edgesight.quant.networks import EXITS, Network
from edgesight.quant.recipe import TrainingError
from edgesight.quant.remarks import remarks
from edgesight.quant.splits import DataSet

ZOO_FOLDER: Final = Path(__file__).resolve().parent / "zoo"
"""Where trained networks are shipped, a folder a data set."""


@dataclass(frozen=True)
class TrainingReport:
    """What `train_all` did: the data set's name, the zoo folder and a report for each network, or exit of one."""

    data_set: str
    folder: Path
    networks: tuple[NetworkReport, ...]


_PROVED_IMAGES: Final = 32
_MOST_OTHERS: Final = 2  # of these, that may get another class where sums are rounded


def train_all(
    data_set: str,
    wanted: Wanted | None = None,
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
        wanted: which networks; by default both shipped stages and the back end. A stage needs its teacher, so the back
            end is trained too where no finished checkpoint of it is in `course.folder`; its files are only written
            when asked for.
        seeds: how many seeds to train, from 0.
        out: the zoo folder; default `quant/zoo/<data set>`.
        data_dir: as in `datasets.load`.
        size: as in `datasets.load`.
        reading: as in `datasets.load`.
        course: as in `learn.train`, of all networks; the card says if it is quick. Progress and the table go to the
            terminal where it has no console.

    Raises:
        TrainingError: an unknown network, no seeds, a zoo folder of other data, a full disk.
        splits.DataSetError: the data cannot be loaded.
        own.OwnNetworkError: a network of the user's own that cannot be trained.
        export.ExportError: an export differs from its network.
    """
    wanted = wanted or Wanted()
    networks = wanted.networks()
    if seeds < 1:
        raise TrainingError(f"seeds: found {seeds}, expected at least 1")
    shown, quick = course.console or Console(stderr=True), course.quick
    form = wanted.form
    data = datasets.load(data_set, data_dir, size, reading=reading, photograph=None if form is None else form.shape)
    folder = out or ZOO_FOLDER / data.name
    _check_zoo(folder, data, networks, quick)
    with deterministic(0):
        for network in dict.fromkeys([wanted.backend, *networks]):
            if isinstance(network, BackEnd):
                network.check(data, shown)
            else:
                network.check(data.shape, len(data.classes))
    for line in remarks(data, data_set):
        shown.print(f"warning: {line}", soft_wrap=True, markup=False, highlight=False)

    trained: dict[str, list[Trained]] = {network.name: [] for network in networks}
    written: dict[str, Written] = {}
    teacher: NDArray[np.float32] | None = None
    backend = wanted.backend
    lone = [] if backend in networks else [backend]  # it teaches, and is not asked for
    with Ahead(data, [*lone, *(networks * seeds)], quick, shown) as ahead:
        going = dataclasses.replace(course, console=shown, ahead=ahead)
        shown.print(f"Checkpoints go into {course.folder}.", soft_wrap=True, markup=False, highlight=False)
        for seed in range(seeds):
            for network in networks:
                name = network.name
                if network is not backend and teacher is None:
                    # One teacher for all seeds: then their spread is the stage's own.
                    first = trained["backend"][0] if backend in networks else _trained(data, backend, 0, None, going)
                    teacher = backend.teach(data, first, going) if isinstance(backend, BackEnd) else teach(data, first)
                result = _trained(data, network, seed, None if network is backend else teacher, going)
                trained[name].append(result)
                if seed == 0:
                    written[name] = write_network(data, result, folder)
                    files = ", ".join(path.name for path in written[name].files)
                    shown.print(f"{name}: wrote {files} into {folder}")
                measured = [measured_of(data, results, written[one]) for one, results in trained.items() if results]
                command = told_command(data, data_set, wanted, len(trained[networks[0].name]), size, quick, reading)
                write_card(data, measured, command, folder)
        if isinstance(backend, BackEnd):
            backend.tidy(data, course)
    reports = tuple(report for one in measured for report in one.reports)
    (course.console or Console()).print(accuracy_table(data, reports))
    return TrainingReport(data.name, folder, reports)


def _trained(
    data: DataSet, network: Network | BackEnd, seed: int, teacher: NDArray[np.float32] | None, course: Course
) -> Trained:
    if isinstance(network, BackEnd):
        return network.train(data, seed, course)
    return train(data, network, seed, teacher, course)


def _check_zoo(folder: Path, data: DataSet, networks: Sequence[Network | BackEnd], quick: bool) -> None:
    """TrainingError where the zoo folder holds networks of other data, or of another cascade, or not to be replaced."""
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
    coming = {network.name for network in networks} - {"backend"}
    others = [one for one in card["networks"] if one != "backend" and (one == EXITS) != (EXITS in coming)]
    if coming and others:
        raise TrainingError(
            f"{folder}: holds {', '.join(others)}, and a cascade is of stages or of one network's exits: name another "
            "--out"
        )
    if quick and full:
        raise TrainingError(
            f"{folder}: holds fully trained networks ({', '.join(full)}): name another --out for a look"
        )


def write_network(data: DataSet, trained: Trained, folder: Path) -> Written:
    """Write a trained network's files into a zoo folder, or none where they are not what was trained.

    A stage becomes `<stage>.onnx` (QONNX), which is executed on some test images and compared with Brevitas, and
    `<stage>.npz` beside it, a network with exits `exits.onnx` and `exits.npz`; the back end becomes `backend.onnx`.
    Networks that are exact must agree in every bit. Of others float32 sums hang on their order, so that now and then
    an activation falls on the other side of its threshold: nearly all images must get the same class of every exit.

    Raises:
        export.ExportError: the export cannot be exact, or differs from its network.
    """
    network = trained.network
    with tempfile.TemporaryDirectory() as made:
        names, module = network.write(trained.module, data.shape, len(data.classes), Path(made))
        agreement = None
        if network.name != "backend":
            images = data.test.images[:_PROVED_IMAGES]
            exported = qonnx_logits(Path(made) / names[-1], images)
            agreement = _agreement(str(folder / names[-1]), infer_exits(module, images), exported, network.exact)
        for name in names:
            content = (Path(made) / name).read_bytes()
            write_atomically(folder / name, lambda temporary, content=content: temporary.write_bytes(content))  # type: ignore[misc]  # mypy can't infer it
    return Written(tuple(folder / name for name in names), agreement)


def _agreement(file: str, trained: NDArray[np.float32], exported: NDArray[np.float32], exact: bool) -> str:
    """How alike Brevitas and the QONNX `file` answer, both float32 `[exits, N, classes]`; ExportError if too little."""
    images = trained.shape[1]
    differing = int((trained != exported).any((0, 2)).sum())
    others = int((trained.argmax(2) != exported.argmax(2)).any(0).sum())
    if others > _MOST_OTHERS or (exact and differing):
        raise ExportError(
            f"{file}: answers differently from Brevitas on {differing} of {images} test images, {others} of them with "
            "another class: install the versions that `pip install 'edgesight[build]'` does"
        )
    if not differing:
        return f"equal to Brevitas in every bit on {images} test images"
    return (
        f"the same class as Brevitas on {images - others} of {images} test images; {differing} have logits that "
        f"differ, by up to {float(np.abs(trained - exported).max()):.3g}, since float32 sums hang on their order where "
        "scales are no powers of two"
    )
