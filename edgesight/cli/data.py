"""Data sets for commands: found, fetched, and held against what a package was trained on."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesight.cli.ending import ArgumentError

if TYPE_CHECKING:
    from edgesight.host.kernel import Sample
    from edgesight.host.package import Package
    from edgesight.quant.image_folder import FolderReading
    from edgesight.quant.splits import DataSet, Split

FETCHED = Path("build") / "data"


@dataclass(frozen=True)
class Sampled:
    """What a calibration is made on, and what of the same is held out, if anything."""

    split: Split
    held_out: Split | None
    rests_on: Sample


def data_set(
    name: str, data_dir: Path | None, size: int | None, package: Package, reading: FolderReading | None = None
) -> DataSet:
    """The data set, checked against what the package was trained on, with photographs for its back end."""
    from edgesight.host.images import photograph_shape
    from edgesight.quant import datasets
    from edgesight.quant.image_folder import AS_NAMED

    folder = datasets.folder_of(name, data_dir, FETCHED)
    side = size or package.kernel.input.height
    larger = photograph_shape(package.kernel.input, package.kernel.backend_input)
    data = datasets.load(name, folder, side, reading=reading or AS_NAMED, photograph=larger)
    package.check_trained_on(data.name, data.checksum)
    return data


def sample_of(name: str, data_dir: Path | None, size: int | None, package: Package, reading: FolderReading) -> Sampled:
    """What to calibrate the package on: its own data set's calibration split, or all pictures of another folder.

    A folder that is named as the data set is taken for it. Raises DataSetError, or KernelError where it then differs.
    """
    import numpy as np

    from edgesight.host.files import from_home
    from edgesight.host.images import photograph_shape
    from edgesight.host.kernel import Sample
    from edgesight.quant import datasets
    from edgesight.quant.image_folder import load_labelled
    from edgesight.quant.splits import DataSetError

    kernel = package.kernel
    root = from_home(name.removeprefix("folder:"))
    if not name.startswith("folder:") or root.resolve().name.removesuffix(".zip") == kernel.dataset:
        data = data_set(name, data_dir, size, package, reading)
        return _trained_on(data)
    package.check_cascade()
    if size is not None:
        raise ArgumentError(
            "--size is of the data set that the package was trained on: leave it out for other pictures"
        )
    larger = photograph_shape(kernel.input, kernel.backend_input)
    own = load_labelled(root, kernel.classes, kernel.input.shape, reading, _say, larger)
    if len(np.unique(own.split.labels)) == len(kernel.classes):
        with contextlib.suppress(DataSetError):  # some that are no data set to be trained on
            data = datasets.load(name, None, kernel.input.height, reading=reading, say=_silent, photograph=larger)
            if data.checksum == kernel.dataset_sha256:  # under another name
                return _trained_on(data)
    rests_on = Sample(dataset=own.name, dataset_sha256=own.checksum, split="all", distribution=f"those of {own.name}")
    return Sampled(own.split, None, rests_on)


def _trained_on(data: DataSet) -> Sampled:
    from edgesight.host.kernel import calibration_split

    return Sampled(data.calibration, data.test, calibration_split(data.name, data.checksum))


def _say(line: str) -> None:
    """Tell of a folder, on standard error."""
    print(line, file=sys.stderr)


def _silent(_: str) -> None:
    """What was told before."""
