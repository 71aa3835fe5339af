"""Data sets for commands: found, fetched, and held against what a package was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesight.host.package import Package
    from edgesight.quant.image_folder import FolderReading
    from edgesight.quant.splits import DataSet

FETCHED = Path("build") / "data"


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
