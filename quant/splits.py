"""A data set in three fixed splits.

This module owns the words *data set* and *split*. A data set is cut once into train, calibration and test: networks
learn on train, confidence thresholds are chosen on calibration, and test is only ever measured on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesight.host.errors import EdgeSightError
from edgesight.host.pictures import fit, refit

LARGEST_SIZE: Final = 256
"""The largest image side, in pixels, that images may be resized to."""


class DataSetError(EdgeSightError, ValueError):
    """Images or labels that cannot be used; the message names the file, what was found and the remedy."""


class Photographs(Protocol):
    """The pictures of a split in the form that a back end takes; an array, or what makes parts of one on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""

    def __getitem__(self, chosen: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Those at the indices `chosen` `[n]`: uint8 `[n, H, W, C]`."""


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        images: uint8 `[N, H, W, C]`, C is 1 (grey) or 3 (RGB).
        labels: int64 `[N]`, indices into the data set's `classes`.
        ids: N stable names, one an image: the index within the source file, or the path below the folder.
        larger: the same pictures as a back end takes them; None where it takes the images.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    larger: Photographs | None = None

    def __post_init__(self) -> None:
        """Refuse arrays whose types or lengths disagree."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataSetError(f"images: expected uint8 [N, H, W, C], found {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.images),) or len(self.ids) != len(self):
            raise DataSetError(
                f"labels, ids: expected {len(self.images)} of each, found {self.labels.dtype} {self.labels.shape} "
                f"and {len(self.ids)} ids"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def photographs(self) -> Photographs:
        """The pictures as the back end takes them."""
        return self.images if self.larger is None else self.larger

    def take(self, chosen: NDArray[np.int64]) -> Split:
        """The pictures at the indices `chosen` [n]."""
        larger = None if self.larger is None else _Chosen(self.larger, chosen)
        return Split(self.images[chosen], self.labels[chosen], tuple(self.ids[index] for index in chosen), larger)


@dataclass(frozen=True)
class _Chosen:
    """Some of the photographs, by their indices `places` [n] among all."""

    all: Photographs
    places: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n, H, W, C)`."""
        return len(self.places), *self.all.shape[1:]

    def __getitem__(self, chosen: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Those at the indices `chosen` [n] of these."""
        return self.all[self.places[chosen]]


@dataclass(frozen=True)
class Refitted:
    """Photographs that are made of smaller or larger images, uint8 `[N, H, W, C]`, one by one as they are wanted."""

    images: NDArray[np.uint8]
    form: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return len(self.images), *self.form

    def __getitem__(self, chosen: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Those at the indices `chosen` `[n]`: uint8 `[n, H, W, C]`."""
        made = np.empty((len(chosen), *self.form), np.uint8)
        for row, index in enumerate(chosen):
            made[row] = refit(self.images[index], self.form)
        return made


@dataclass(frozen=True)
class DataSet:
    """A named data set in its three disjoint splits.

    Attributes:
        name: short name, also the zoo folder's.
        classes: class names in label order.
        train: what networks are trained on.
        calibration: what thresholds and quantiser ranges may be chosen on, never trained on.
        test: what accuracies are reported on.
        checksum: sha256 over every image, label, id and class name, split by split. Of a folder's images it is the
            files' bytes that count, and the form that they are brought to, so that no decoder's version changes it.
        seed: the seed that cut the splits.
        note: what a reader of results must know about the data.
        mirrored: whether a mirror image keeps its class, so that training may mirror; false for digits or signs.
        photographs: whether the pictures of a class differ by light, place, size and angle, as a camera's do, so that
            training may vary these.

    Its images and labels are made read-only.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    calibration: Split
    test: Split
    checksum: str
    seed: int
    note: str
    mirrored: bool
    photographs: bool = False

    def __post_init__(self) -> None:
        """Let nothing change what the checksum is of."""
        for split in (self.train, self.calibration, self.test):
            split.images.setflags(write=False)
            split.labels.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image shape `(H, W, C)`."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def at_back_end(data: DataSet, form: tuple[int, int, int] | None) -> DataSet:
    """`data`, whose photographs are its images in another `form` (H, W, C); as it is where that is theirs, or None."""
    if form is None or form == data.shape:
        return data
    parts = {
        name: dataclasses.replace(split, larger=Refitted(split.images, form))
        for name, split in (("train", data.train), ("calibration", data.calibration), ("test", data.test))
    }
    return dataclasses.replace(data, **parts)  # type: ignore[arg-type] # mypy can't infer it


def numbered(
    prefix: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], chosen: NDArray[np.int64], size: int | None
) -> Split:
    """Take the `chosen` of grey `images` `[N, H, W]`, resized to `size` where asked, named by their index."""
    picked = images[chosen][..., None]
    if size is not None and picked.shape[1:3] != (size, size):
        picked = np.stack([fit(Image.fromarray(image[..., 0]), size, size, 1) for image in picked])
    return Split(picked, labels[chosen].astype(np.int64), tuple(f"{prefix}/{index}" for index in chosen))


def checksum_of(classes: tuple[str, ...], splits: tuple[Split, ...], files: Mapping[str, bytes] | None = None) -> str:
    """A data set's checksum: of its images' pixels, or of the sha256 of each image's file, by id, where `files` has it.

    `splits` are train, calibration and test.
    """
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in splits:
        digest.update(repr(split.images.shape).encode())
        if files is None:
            digest.update(np.ascontiguousarray(split.images).tobytes())
        else:
            digest.update(b"".join(files[one] for one in split.ids))
        digest.update(split.labels.astype("<i8").tobytes())
        digest.update("\0".join(split.ids).encode())
    return digest.hexdigest()
