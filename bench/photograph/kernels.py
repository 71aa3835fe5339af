"""The networks and the kernel of the photographs, made by command line alone and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.kept import ROOT, fingerprint, with_imports
from edgesight.bench.photograph.asked import Photographs, card_of
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.quant.splits import DataSet

LOSS = 0.05  # of packets: what `edgesight calibrate` takes without being told


@dataclass(frozen=True)
class Made:
    """Compiled and calibrated photographs.

    Attributes:
        package: the kernel's folder.
        zoo: that of its networks.
        card: the model card of these.
        thumbnail: the model card of the back end that sees the small form.
        dataset: the data set's name.
    """

    package: Path
    zoo: Path
    card: dict[str, Any]
    thumbnail: dict[str, Any]
    dataset: str

    def opened(self) -> Package:
        """The kernel package."""
        return Package.load(self.package)

    def data(self) -> DataSet:
        """The data set in the kernel's forms."""
        return data_of(self.opened(), self.dataset)


def data_of(package: Package, dataset: str, folder: Path | None = None) -> DataSet:
    """A data set in the forms that a kernel's fabric and back end take."""
    kernel = package.kernel
    form = kernel.backend_input.shape if kernel.backend_input is not None else None
    return datasets.load(dataset, folder, kernel.input.height, say=lambda line: None, photograph=form)


def trained(zoo: Path | None, folder: Path, console: Console, *words: str) -> Path:
    """The zoo folder of networks: `zoo` where it is named, else `folder`, trained by these `words` where it has none.

    A training that was stopped goes on from its checkpoints. Raises CommandError.
    """
    if zoo is not None:
        return zoo
    if not card_of(folder):
        run_command(console, "train", *words, "--out", str(folder))
    return folder


def compiled(zoo: Path, package: Path, dataset: str, cycles: str, console: Console) -> None:
    """Compile a zoo folder and calibrate it for the targets that it suggests itself. Raises CommandError."""
    run_command(console, "compile", str(zoo), "--out", str(package), "--cycles", cycles)
    run_command(console, "calibrate", str(package), dataset, "--targets", "auto", "--loss", str(LOSS))


def kept_kernel(zoo: Path, folder: Path, dataset: str, cycles: str, console: Console) -> Path:
    """The kernel package of a zoo folder's networks in `folder`: made anew where it is of others.

    Raises CommandError.
    """
    package, stamp = folder / "kernel", folder / "kernel.made-of"
    code = fingerprint(with_imports([ROOT / "edgesight" / "cli" / "build.py"]), card_of(zoo), cycles)
    if not stamp.is_file() or stamp.read_text() != code:
        compiled(zoo, package, dataset, cycles, console)
        stamp.write_text(code)
    return package


def made(asked: Photographs, folder: Path, console: Console) -> Made:
    """Train, compile and calibrate what is not there yet, in `folder`. Raises CommandError."""
    words = (asked.dataset, *asked.options)
    small = (*words, *asked.thumbnail, "--variant", "backend")
    zoo = trained(asked.zoo, folder / "zoo", console, *words, *asked.backend)
    thumbnail = trained(asked.thumbnail_zoo, folder / "thumbnail", console, *small)
    package = kept_kernel(zoo, folder, asked.dataset, asked.cycles, console)
    card, small_card = (json.loads((one / "card.json").read_text()) for one in (zoo, thumbnail))
    return Made(package, zoo, card, small_card, asked.dataset)
