"""Labelled images in three fixed splits, from Fashion-MNIST, scikit-learn's digits or a user's own folder.

It needs numpy and Pillow, never torch, because the simulator reads images through it too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgesight.host.files import from_home
from edgesight.quant.fashion_mnist import FASHION_MNIST_FOLDER, install_fashion_mnist, load_fashion_mnist
from edgesight.quant.image_folder import AS_NAMED, FolderReading, load_folder
from edgesight.quant.splits import LARGEST_SIZE, DataSet, DataSetError, at_back_end, checksum_of, numbered


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def load(
    name: str,
    data_dir: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    reading: FolderReading = AS_NAMED,
    say: Callable[[str], None] = _say,
    photograph: tuple[int, int, int] | None = None,
) -> DataSet:
    """Load a data set by name.

    Args:
        name: `fashion-mnist`, `digits`, or `folder:PATH` for a folder or .zip of class subfolders, which may lie below
            `train/` and `test/`.
        data_dir: folder of Fashion-MNIST's four idx files, gzipped or plain. Default: the Debian
            package's folder.
        size: side in pixels that images are resized to, 4 to 256. Default: the data's own size; for a folder of mixed
            sizes the median of the shorter sides, rounded down to a multiple of 4 and at most 64.
        seed: chooses the calibration split, and the test split where the data has no official one.
        reading: how a folder is read.
        say: gets lines about a folder for its user: which groups were found, what was left out.
        photograph: height, width and channels that a back end takes of each picture, where these are others.

    Raises:
        DataSetError: unknown name, missing, truncated or corrupt files, too few images or classes.
    """
    if size is not None and not 4 <= size <= LARGEST_SIZE:
        raise DataSetError(f"size: found {size}, expected 4 to {LARGEST_SIZE} pixels")
    if name == "fashion-mnist":
        return at_back_end(load_fashion_mnist(data_dir or FASHION_MNIST_FOLDER, size, seed), photograph)
    if name == "digits":
        return at_back_end(_digits(size, seed), photograph)
    if name.startswith("folder:"):
        return load_folder(from_home(name.removeprefix("folder:")), size, seed, reading, say, photograph)
    raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


def folder_of(name: str, data_dir: Path | None, fetch_into: Path) -> Path | None:
    """Where the files of the data set `name` lie, for `load`: `data_dir` where it is given.

    Fashion-MNIST is fetched as a Debian package where it is not installed; raises DataSetError where it cannot be.
    """
    if name != "fashion-mnist" or data_dir is not None or FASHION_MNIST_FOLDER.is_dir():
        return data_dir
    return install_fashion_mnist(fetch_into)


def check_name(name: str) -> None:
    """DataSetError unless `name` is one that `load` may know; looks at nothing but the place of a folder."""
    root = from_home(name.removeprefix("folder:"))
    if name.startswith("folder:") and not root.exists():
        raise DataSetError(f"{root}: no such folder or .zip; expected class subfolders with images below it")
    if name not in ("fashion-mnist", "digits") and not name.startswith("folder:"):
        raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


def _digits(size: int | None, seed: int) -> DataSet:
    try:
        from sklearn.datasets import load_digits  # here, since only this data set needs scikit-learn
    except ImportError as error:
        raise DataSetError(
            "data set `digits` comes with scikit-learn, which is absent: pip install scikit-learn"
        ) from error
    bunch = load_digits()
    # Pixels are counts from 0 to 16: 16 becomes 255.
    images = np.rint(np.asarray(bunch.images) * (255.0 / 16.0)).astype(np.uint8)
    labels = np.asarray(bunch.target).astype(np.uint8)
    order = np.random.default_rng(seed).permutation(len(images))
    fifth = len(images) // 5
    classes = tuple(str(digit) for digit in range(10))
    train = numbered("digits", images, labels, np.sort(order[2 * fifth :]), size)
    calibration = numbered("digits", images, labels, np.sort(order[fifth : 2 * fifth]), size)
    test = numbered("digits", images, labels, np.sort(order[:fifth]), size)
    return DataSet(
        "digits",
        classes,
        train,
        calibration,
        test,
        checksum=checksum_of(classes, (train, calibration, test)),
        seed=seed,
        note="scikit-learn's 1,797 handwritten digits: a small stand-in for where Fashion-MNIST is absent.",
        mirrored=False,
    )
