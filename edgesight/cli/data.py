"""Data sets for commands: found, fetched, and held against what a package was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesight.host.package import Package
    from edgesight.quant.image_folder import FolderReading
    from edgesight.quant.splits import DataSet


def data_set(
    name: str, data_dir: Path | None, size: int | None, package: Package, reading: FolderReading | None = None
) -> DataSet:
    """The data set, checked against what the package was trained on."""
    from edgesight.quant import datasets
    from edgesight.quant.image_folder import AS_NAMED

    side = size or package.kernel.input.height
    data = datasets.load(name, data_folder(name, data_dir), side, reading=reading or AS_NAMED)
    _check_trained_on(package, data)
    return data


def _check_trained_on(package: Package, data: DataSet) -> None:
    from edgesight.host.kernel import KernelError

    kernel = package.kernel
    if data.checksum != kernel.dataset_sha256:
        raise KernelError(
            f"{package.path}: was trained on data set {kernel.dataset} ({kernel.dataset_sha256[:12]}...), but "
            f"{data.name} has checksum {data.checksum[:12]}...; give that data set, with the same --groups, or train "
            "and compile anew"
        )


def data_folder(name: str, data_dir: Path | None) -> Path | None:
    """Where the data set's files lie; Fashion-MNIST is fetched as a Debian package where it is not installed."""
    from edgesight.quant import fashion_mnist

    if name != "fashion-mnist" or data_dir is not None or fashion_mnist.FASHION_MNIST_FOLDER.is_dir():
        return data_dir
    return fashion_mnist.install_fashion_mnist(Path("build") / "data")


def demo_data(name: str | None, data_dir: Path | None, size: int | None, reading: FolderReading) -> tuple[DataSet, str]:
    """The demo's data: what was asked for, else Fashion-MNIST where it can be had, else digits, saying so."""
    from edgesight.quant import datasets
    from edgesight.quant.splits import DataSetError

    if name is not None:
        return datasets.load(name, data_folder(name, data_dir), size, reading=reading), f"Data: {name}."
    try:
        data = datasets.load("fashion-mnist", data_folder("fashion-mnist", data_dir))
    except DataSetError as error:
        return datasets.load("digits"), f"Data: scikit-learn's 8x8 digits, since Fashion-MNIST can't be had: {error}"
    return data, "Data: Fashion-MNIST, test split."
