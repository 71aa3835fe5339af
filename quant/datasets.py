"""Labelled images in three fixed splits, from Fashion-MNIST, scikit-learn's digits or a user's own folder.

This module owns the words *data set*, *split* and *group*. A data set is cut once into train, calibration and test:
networks learn on train, confidence thresholds are chosen on calibration, and test is only ever measured on. A group is
a set of near-duplicate images (the frames of one track, say); a group never straddles two splits, since thresholds
chosen on near-copies of training images come out optimistic.

It needs numpy and Pillow, never torch, because the host and the simulator read images through it too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tempfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FASHION_MNIST_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package `dataset-fashion-mnist` puts its idx files."""

LARGEST_SIZE: Final = 256
"""The largest image side, in pixels, that a folder may be resized to."""

LARGEST_DEFAULT_SIZE: Final = 64
"""The largest image side chosen without being asked: the front-end networks take inputs up to 64 x 64."""

_FASHION_CLASSES: Final = (
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
_IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_GREY_MODES: Final = frozenset({"1", "L", "LA", "I", "I;16", "F"})
# A frame's number after the last underscore; what stands before it names the track.
_TRACK_NAME: Final = re.compile(r"^(?P<track>.+)_\d+$")
_TEST_SHARE: Final = 0.20
_CALIBRATION_SHARE: Final = 0.15


class DataSetError(ValueError):
    """Images or labels that cannot be used; the message names the file, what was found and the remedy."""


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        images: uint8 `[N, H, W, C]`, C is 1 (grey) or 3 (RGB).
        labels: int64 `[N]`, indices into the data set's `classes`.
        ids: N stable names, one an image: the index within the source file, or the path below the folder.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]

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


@dataclass(frozen=True)
class DataSet:
    """A named data set in its three disjoint splits.

    Attributes:
        name: short name, also the zoo folder's.
        classes: class names in label order.
        train: what networks are trained on.
        calibration: what thresholds and quantiser ranges may be chosen on, never trained on.
        test: what accuracies are reported on.
        checksum: sha256 over every image, label, id and class name, split by split.
        seed: the seed that cut the splits.
        note: what a reader of results must know about the data.
        mirrored: whether a mirror image keeps its class, so that training may mirror; false for digits or signs.
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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image shape `(H, W, C)`."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def load(name: str, data_dir: Path | None = None, size: int | None = None, seed: int = 0) -> DataSet:
    """Load a data set by name.

    Args:
        name: `fashion-mnist`, `digits`, or `folder:PATH` for a folder or .zip of class subfolders, which may lie below
            `train/` and `test/`.
        data_dir: folder of Fashion-MNIST's four idx files, gzipped or plain. Default: the Debian
            package's folder.
        size: side in pixels that images are resized to, 4 to 256. Default: the data's own size; for a folder of mixed
            sizes the median of the shorter sides, rounded down to a multiple of 4 and at most 64.
        seed: chooses the calibration split, and the test split where the data has no official one.

    Raises:
        DataSetError: unknown name, missing, truncated or corrupt files, too few images or classes.
    """
    if size is not None and not 4 <= size <= LARGEST_SIZE:
        raise DataSetError(f"size: found {size}, expected 4 to {LARGEST_SIZE} pixels")
    if name == "fashion-mnist":
        return _fashion_mnist(data_dir or FASHION_MNIST_FOLDER, size, seed)
    if name == "digits":
        return _digits(size, seed)
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")).expanduser(), size, seed)
    raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


def check_name(name: str) -> None:
    """DataSetError unless `name` is one that `load` may know; looks at nothing but the place of a folder."""
    root = Path(name.removeprefix("folder:")).expanduser()
    if name.startswith("folder:") and not root.exists():
        raise DataSetError(f"{root}: no such folder or .zip; expected class subfolders with images below it")
    if name not in ("fashion-mnist", "digits") and not name.startswith("folder:"):
        raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


def resize_square(image: Image.Image, size: int, grey: bool) -> NDArray[np.uint8]:
    """Bring any picture to the form that networks take: upright, `size` x `size`, grey or RGB.

    A picture that is not square is stretched, so that nothing at its border is lost; scaling is Pillow's antialiased
    bilinear filter.

    Returns:
        uint8 `[size, size, 1]` if `grey`, else `[size, size, 3]`.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        # Pillow clips 16-bit grey to 255 on conversion: scale it instead.
        wide = np.asarray(upright, dtype=np.float64)
        upright = Image.fromarray(np.clip(wide / 257.0 + 0.5, 0, 255).astype(np.uint8))
    plain = upright.convert("L" if grey else "RGB")
    if plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(size, size, 1 if grey else 3)


def install_fashion_mnist(into: Path) -> Path:
    """Fetch Debian's `dataset-fashion-mnist` package into a folder, without root and without installing it.

    The package lists are kept in a private folder, so that neither the system's apt state nor its files change.

    Args:
        into: folder to create `fashion-mnist/` in; files that are already there are used as they are.

    Returns:
        The folder of the four idx files, to be given to `load` as `data_dir`.

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
            raise DataSetError(f"{packages[-1].name} holds no {FASHION_MNIST_FOLDER}; is it another package's file?")
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


# ---------------------------------------------------------------------------------------------- Fashion-MNIST


def _fashion_mnist(folder: Path, size: int | None, seed: int) -> DataSet:
    images = _read_idx(folder, "train-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, "train-labels-idx1-ubyte", dimensions=1)
    test_images = _read_idx(folder, "t10k-images-idx3-ubyte", dimensions=3)
    test_labels = _read_idx(folder, "t10k-labels-idx1-ubyte", dimensions=1)
    for what, pictures, answers in (("train", images, labels), ("t10k", test_images, test_labels)):
        if len(pictures) != len(answers):
            raise DataSetError(
                f"{folder}: {what} has {len(pictures)} images but {len(answers)} labels; fetch both again"
            )
        if answers.size and answers.max() >= len(_FASHION_CLASSES):
            raise DataSetError(
                f"{folder}: {what} labels reach {answers.max()}, expected 0 to 9; is this Fashion-MNIST?"
            )
    # A sixth of the official training images: 10,000 of 60,000.
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = np.sort(order[: len(images) // 6])
    rest = np.sort(order[len(images) // 6 :])
    return _assemble(
        name="fashion-mnist",
        classes=_FASHION_CLASSES,
        train=_numbered("train", images, labels, rest, size),
        calibration=_numbered("train", images, labels, chosen, size),
        test=_numbered("t10k", test_images, test_labels, np.arange(len(test_images)), size),
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
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataSetError(f"{path}: not a whole gzip file ({error}); fetch it again") from error
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


def _numbered(
    prefix: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], chosen: NDArray[np.int64], size: int | None
) -> Split:
    """Take the `chosen` of grey `images` `[N, H, W]`, resized to `size` where asked, named by their index."""
    picked = images[chosen][..., None]
    if size is not None and picked.shape[1:3] != (size, size):
        picked = np.stack([resize_square(Image.fromarray(image[..., 0]), size, grey=True) for image in picked])
    return Split(picked, labels[chosen].astype(np.int64), tuple(f"{prefix}/{index}" for index in chosen))


# ----------------------------------------------------------------------------------------------------- digits


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
    return _assemble(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train=_numbered("digits", images, labels, np.sort(order[2 * fifth :]), size),
        calibration=_numbered("digits", images, labels, np.sort(order[fifth : 2 * fifth]), size),
        test=_numbered("digits", images, labels, np.sort(order[:fifth]), size),
        seed=seed,
        note="scikit-learn's 1,797 handwritten digits: a small stand-in for where Fashion-MNIST is absent.",
        mirrored=False,
    )


# ----------------------------------------------------------------------------------------------- image folders


class _Files:
    """The files below a folder or in a .zip, by their path relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._archive: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        if root.is_dir():
            names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        elif root.is_file():
            try:
                self._archive = zipfile.ZipFile(root)
            except zipfile.BadZipFile as error:
                raise DataSetError(f"{root}: not a readable .zip ({error}); give a folder or a whole .zip") from error
            self._members = {_zip_name(info): info for info in self._archive.infolist() if not info.is_dir()}
            names = list(self._members)
        else:
            raise DataSetError(f"{root}: no such folder or .zip; expected class subfolders with images below it")
        self.names = sorted(name for name in names if _is_image(name))

    def open(self, name: str) -> Image.Image:
        """Open an image, reading its header only.

        Raises:
            DataSetError: the file is no image, or a damaged one.
        """
        try:
            if self._archive is None:
                return Image.open(self.root / name)
            return Image.open(io.BytesIO(self._archive.read(self._members[name])))
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, Image.DecompressionBombError) as error:
            raise self.damaged(name, error) from error

    def damaged(self, name: str, error: Exception) -> DataSetError:
        """Describe a file that Pillow could not read."""
        return DataSetError(f"{self.root}/{name}: not a readable image ({error}); replace or remove the file")


def _zip_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x800:
        return info.filename
    # Without the UTF-8 flag Python reads names as code page 437, yet most tools that omit the flag write UTF-8.
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in _IMAGE_SUFFIXES


def _folder(root: Path, size: int | None, seed: int) -> DataSet:
    files = _Files(root)
    tops, prefix = _below_single_folders(files.names)
    official = set(tops) >= {"train", "test"}
    # part -> class -> names; the part is "" where the data has no official split.
    listed: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in files.names:
        parts = PurePosixPath(name).parts[prefix:]
        if official and parts[0] not in ("train", "test"):
            continue
        part, below = (parts[0], parts[1:]) if official else ("", parts)
        if len(below) < 2:
            raise DataSetError(f"{root}/{name}: an image outside a class subfolder; put it into one or remove it")
        listed[part][unicodedata.normalize("NFC", below[0])].append(name)
    classes = tuple(sorted(listed["train" if official else ""]))
    if len(classes) < 2:
        raise DataSetError(f"{root}: found {len(classes)} class subfolders with images, expected at least 2")
    if unknown := sorted(set(listed["test"]) - set(classes)):
        raise DataSetError(f"{root}/test: class {unknown[0]!r} is not below train/; the two must agree")

    parts_of: dict[str, list[tuple[str, int]]] = {"train": [], "calibration": [], "test": []}
    for label, class_name in enumerate(classes):
        if official:
            cut = _cut(listed["train"][class_name], class_name, seed, {"calibration": _CALIBRATION_SHARE})
            cut["test"] = listed["test"][class_name]
        else:
            shares = {"test": _TEST_SHARE, "calibration": _CALIBRATION_SHARE}
            cut = _cut(listed[""][class_name], class_name, seed, shares)
        for part, names in cut.items():
            parts_of[part].extend((name, label) for name in sorted(names))
    for part, pairs in parts_of.items():
        if not pairs:
            raise DataSetError(
                f"{root}: the {part} split came out empty; give each class more images, or more tracks if file names "
                "begin with one"
            )
    side, grey = _common_form(files, [name for pairs in parts_of.values() for name, _ in pairs], size)
    splits = {part: _read_images(files, pairs, side, grey) for part, pairs in parts_of.items()}
    cut_note = "official test split" if official else "test split cut by hash of each group's name"
    return _assemble(
        name=root.name.removesuffix(".zip"),
        classes=classes,
        train=splits["train"],
        calibration=splits["calibration"],
        test=splits["test"],
        seed=seed,
        note=f"Images from a folder, {cut_note}; images of one track (name before the last _number) share a split.",
        mirrored=False,
    )


def _below_single_folders(names: Sequence[str]) -> tuple[set[str], int]:
    """Skip wrapping folders such as a .zip's single top one; return the top names below and the levels skipped."""
    level = 0
    while True:
        tops = {PurePosixPath(name).parts[level] for name in names}
        if len(tops) != 1 or any(len(PurePosixPath(name).parts) < level + 3 for name in names):
            return tops, level
        level += 1


def _groups(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Gather a class's files by track, `<track>_<n>.png`.

    A prefix that every file of the class shares is the camera's (`IMG_0001.jpg`), not a track's: then, and for names
    without a number, each file is its own group.
    """
    by_track: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        matched = _TRACK_NAME.match(path.stem)
        by_track[str(path.parent / matched["track"]) if matched else name].append(name)
    return by_track if len(by_track) > 1 else {name: [name] for name in names}


def _cut(names: Sequence[str], class_name: str, seed: int, shares: Mapping[str, float]) -> dict[str, list[str]]:
    """Cut one class's files into the named shares and the rest, `train`, group by group.

    Groups are ordered by a hash of seed, class and group, so that a file added later moves few others. Each share gets
    at least one group while one is left for training.
    """
    groups = _groups(names)

    def rank(group: str) -> bytes:
        below = PurePosixPath(group).name
        return hashlib.sha256(f"{seed}/{class_name}/{unicodedata.normalize('NFC', below)}".encode()).digest()

    waiting = sorted(groups, key=rank)
    cut: dict[str, list[str]] = {}
    for part, share in shares.items():
        taken: list[str] = []
        while len(waiting) > 1 and len(taken) + len(groups[waiting[0]]) / 2 <= max(share * len(names), 1):
            taken.extend(groups[waiting.pop(0)])
        if not taken and len(waiting) > 1:
            taken.extend(groups[waiting.pop(0)])
        cut[part] = taken
    cut["train"] = [name for group in waiting for name in groups[group]]
    return cut


def _common_form(files: _Files, names: Sequence[str], size: int | None) -> tuple[int, bool]:
    """Choose the side in pixels, and whether all images are grey, from the images' headers."""
    grey = True
    extents: set[tuple[int, int]] = set()
    shorter: list[int] = []
    for name in names:
        with files.open(name) as image:
            grey = grey and image.mode in _GREY_MODES
            extents.add(image.size)
            shorter.append(min(image.size))
    if size is not None:
        return size, grey
    if len(extents) == 1:
        width, height = extents.pop()
        if width == height and 4 <= width <= LARGEST_SIZE:
            return width, grey
    median = int(np.median(shorter))
    return max(4, min(LARGEST_DEFAULT_SIZE, median // 4 * 4)), grey


def _read_images(files: _Files, pairs: Sequence[tuple[str, int]], size: int, grey: bool) -> Split:
    images = np.empty((len(pairs), size, size, 1 if grey else 3), np.uint8)
    for row, image in enumerate(_decoded(files, [name for name, _ in pairs], size, grey)):
        images[row] = image
    return Split(images, np.array([label for _, label in pairs], np.int64), tuple(name for name, _ in pairs))


def _decoded(files: _Files, names: Sequence[str], size: int, grey: bool) -> Iterator[NDArray[np.uint8]]:
    for name in names:
        with files.open(name) as image:
            try:
                yield resize_square(image, size, grey)
            except (OSError, ValueError, SyntaxError, zlib.error, Image.DecompressionBombError) as error:
                raise files.damaged(name, error) from error


# -------------------------------------------------------------------------------------------------- assembling


def _assemble(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    calibration: Split,
    test: Split,
    seed: int,
    note: str,
    mirrored: bool,
) -> DataSet:
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in (train, calibration, test):
        split.images.setflags(write=False)
        split.labels.setflags(write=False)
        digest.update(repr(split.images.shape).encode())
        digest.update(np.ascontiguousarray(split.images).tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
        digest.update("\0".join(split.ids).encode())
    return DataSet(name, classes, train, calibration, test, digest.hexdigest(), seed, note, mirrored)
