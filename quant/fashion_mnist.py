"""Fashion-MNIST: its idx files, and how they are fetched."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesight.quant.splits import DataSet, DataSetError, checksum_of, numbered

FASHION_MNIST_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package `dataset-fashion-mnist` puts its idx files."""

_CLASSES: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_LARGEST_IDX_BYTES: Final = 2**28


def load_fashion_mnist(folder: Path, size: int | None, seed: int) -> DataSet:
    """The data set of the four idx files in `folder`; the rest as `edgesight.quant.datasets.load` has it."""
    images = _read_idx(folder, "train-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, "train-labels-idx1-ubyte", dimensions=1)
    test_images = _read_idx(folder, "t10k-images-idx3-ubyte", dimensions=3)
    test_labels = _read_idx(folder, "t10k-labels-idx1-ubyte", dimensions=1)
    for what, pictures, answers in (("train", images, labels), ("t10k", test_images, test_labels)):
        if len(pictures) != len(answers):
            raise DataSetError(
                f"{folder}: {what} has {len(pictures)} images but {len(answers)} labels; fetch both again"
            )
        if answers.size and answers.max() >= len(_CLASSES):
            raise DataSetError(
                f"{folder}: {what} labels reach {answers.max()}, expected 0 to 9; is this Fashion-MNIST?"
            )
    # A sixth of the official training images: 10,000 of 60,000.
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = np.sort(order[: len(images) // 6])
    rest = np.sort(order[len(images) // 6 :])
    train = numbered("train", images, labels, rest, size)
    calibration = numbered("train", images, labels, chosen, size)
    test = numbered("t10k", test_images, test_labels, np.arange(len(test_images)), size)
    return DataSet(
        "fashion-mnist",
        _CLASSES,
        train,
        calibration,
        test,
        checksum=checksum_of(_CLASSES, (train, calibration, test)),
        seed=seed,
        note="Zalando's Fashion-MNIST (MIT licence) at its official test split; calibration is a fixed sixth of train.",
        mirrored=True,
    )


def _read_idx(folder: Path, stem: str, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped or plain, and check its length against its header."""
    candidates = [folder / f"{stem}.gz", folder / stem]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise DataSetError(
            f"{folder}: neither {stem}.gz nor {stem} is there; install the Debian package dataset-fashion-mnist, give "
            "the folder of its files, or use the data set `digits`"
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(_LARGEST_IDX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataSetError(f"{path}: not a whole gzip file ({error}); fetch it again") from error
    if len(raw) > _LARGEST_IDX_BYTES:
        raise DataSetError(
            f"{path}: unpacks to more than {_LARGEST_IDX_BYTES} bytes: is it another data set's file?; fetch it anew"
        )
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if len(raw) < header or raw[:4] != magic:
        raise DataSetError(f"{path}: begins with {raw[:4].hex()}, expected idx magic {magic.hex()}; fetch it again")
    shape = tuple(int(extent) for extent in np.frombuffer(raw, ">u4", dimensions, 4))
    wanted = int(np.prod(shape, dtype=np.int64))
    if len(raw) - header != wanted:
        raise DataSetError(
            f"{path}: its header promises {' x '.join(map(str, shape))} = {wanted} bytes, found {len(raw) - header}; "
            "the file is cut short or damaged, fetch it again"
        )
    return np.frombuffer(raw, np.uint8, wanted, header).reshape(shape)


def install_fashion_mnist(into: Path) -> Path:
    """Fetch Debian's `dataset-fashion-mnist` package into a folder, without root and without installing it.

    The package lists are kept in a private folder, so that neither the system's apt state nor its files change.

    Args:
        into: folder to create `fashion-mnist/` in; files that are already there are used as they are.

    Returns:
        The folder of the four idx files, to be given to `datasets.load` as `data_dir`.

    Raises:
        DataSetError: no apt-get or dpkg-deb on this system, or one of them failed.
    """
    into = into.resolve()  # apt and dpkg are run in a folder of their own
    folder = into / "fashion-mnist"
    if folder.is_dir():
        return folder
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataSetError(
                f"{tool} is not on this system, so the package dataset-fashion-mnist cannot be fetched; put the four "
                f"idx files into {folder} yourself, or use the data set `digits`"
            )
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as work_name:
        work = Path(work_name)
        for needed in ("lists/partial", "cache/archives/partial"):
            (work / needed).mkdir(parents=True)
        private = [
            f"-oDir::State::Lists={work / 'lists'}",
            f"-oDir::Cache={work / 'cache'}",
            "-oDebug::NoLocking=1",
            # apt drops to its own user when run as root, and that user may not write here.
            "-oAPT::Sandbox::User=root",
        ]
        _run(["apt-get", *private, "-qq", "update"], work)
        _run(["apt-get", *private, "-qq", "download", "dataset-fashion-mnist"], work)
        packages = sorted(work.glob("dataset-fashion-mnist_*.deb"))
        if not packages:
            raise DataSetError(f"apt-get download left no dataset-fashion-mnist_*.deb in {work}; try again")
        _run(["dpkg-deb", "-x", str(packages[-1]), str(work / "root")], work)
        found = work / "root" / FASHION_MNIST_FOLDER.relative_to("/")
        if not found.is_dir():
            raise DataSetError(
                f"{packages[-1].name} holds no {FASHION_MNIST_FOLDER}; is it another package's file?; install it anew"
            )
        os.replace(found, folder)
    return folder


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataSetError(f"`{' '.join(command)}` took over 300 s; check the network and try again") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise DataSetError(
            f"`{command[0]} {command[-1]}` failed with exit status {done.returncode}: {said}; check the network and "
            "the apt sources, or use the data set `digits`"
        )
