"""Labelled images in three fixed splits, from Fashion-MNIST, scikit-learn's digits or a user's own folder.

This module owns the words *data set*, *split* and *group*. A data set is cut once into train, calibration and test:
networks learn on train, confidence thresholds are chosen on calibration, and test is only ever measured on. A group is
a set of near-duplicate images (the frames of one track, say); a group never straddles two splits, since thresholds
chosen on near-copies of training images come out optimistic.

It needs numpy and Pillow, never torch, because the simulator reads images through it too.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesight.host.errors import EdgeSightError
from edgesight.host.picture_files import MAX_FILE_BYTES, SUFFIXES, Unreadable
from edgesight.host.pictures import Look, fit, look, read

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
_LARGEST_IDX_BYTES: Final = 2**28
# A frame's number after the last underscore; what stands before it names the group.
_GROUP_NAME: Final = re.compile(r"^(?P<group>.+)_\d+$")
# IMG_20230101_123456: a day and a time of it, as telephones name what they take. A day is no group.
_TIME_NAME: Final = re.compile(r"(?:^|\D)(?:19|20)\d{6}_\d{6,}$")
_LISTED_DAMAGES: Final = 20
_TEST_SHARE: Final = 0.20
_CALIBRATION_SHARE: Final = 0.15


class DataSetError(EdgeSightError, ValueError):
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
        checksum: sha256 over every image, label, id and class name, split by split. Of a folder's images it is the
            files' bytes that count, and the form that they are brought to, so that no decoder's version changes it.
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


@dataclass(frozen=True)
class FolderReading:
    """How a folder of images is read.

    Attributes:
        groups: `name`, the images of a class that are named `<group>_<number>` are one group; or `none`, each is its
            own.
        skip_damaged: leave out images that cannot be read, instead of refusing the folder.
    """

    groups: Literal["name", "none"] = "name"
    skip_damaged: bool = False


AS_NAMED: Final = FolderReading()


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def load(
    name: str,
    data_dir: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    reading: FolderReading = AS_NAMED,
    say: Callable[[str], None] = _say,
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
        return _folder(Path(name.removeprefix("folder:")).expanduser(), size, seed, reading, say)
    raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


def check_name(name: str) -> None:
    """DataSetError unless `name` is one that `load` may know; looks at nothing but the place of a folder."""
    root = Path(name.removeprefix("folder:")).expanduser()
    if name.startswith("folder:") and not root.exists():
        raise DataSetError(f"{root}: no such folder or .zip; expected class subfolders with images below it")
    if name not in ("fashion-mnist", "digits") and not name.startswith("folder:"):
        raise DataSetError(f"data set {name!r} is unknown; use fashion-mnist, digits or folder:PATH")


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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(_LARGEST_IDX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataSetError(f"{path}: not a whole gzip file ({error}); fetch it again") from error
    if len(raw) > _LARGEST_IDX_BYTES:
        raise DataSetError(f"{path}: unpacks to more than {_LARGEST_IDX_BYTES} bytes: is it another data set's file?")
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
        picked = np.stack([fit(Image.fromarray(image[..., 0]), size, size, 1) for image in picked])
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
            try:
                names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
            except OSError as error:
                raise DataSetError(
                    f"{error.filename} cannot be read ({error.strerror}); allow it, or remove it"
                ) from error
        elif root.is_file():
            try:
                self._archive = zipfile.ZipFile(root)
            except (OSError, zipfile.BadZipFile) as error:
                raise DataSetError(f"{root}: not a readable .zip ({error}); give a folder or a whole .zip") from error
            self._members = {_zip_name(info): info for info in self._archive.infolist() if not info.is_dir()}
            names = list(self._members)
        else:
            raise DataSetError(f"{root}: no such folder or .zip; expected class subfolders with images below it")
        self.names = sorted(name for name in names if _is_image(name))
        others = Counter(PurePosixPath(name).suffix.lower() for name in names if not _is_hidden(name))
        self.others = {suffix: count for suffix, count in others.items() if suffix not in SUFFIXES}

    def content(self, name: str) -> bytes:
        """The bytes of an image's file.

        Raises:
            Unreadable: it is too large, or cannot be read.
        """
        try:
            if self._archive is None:
                with (self.root / name).open("rb") as file:
                    content = file.read(MAX_FILE_BYTES + 1)
                size = len(content)
            else:
                member = self._members[name]
                size = member.file_size  # zipfile unpacks no more than this
                content = self._archive.read(member) if size <= MAX_FILE_BYTES else b""
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise Unreadable(f"cannot be read ({error}): copy it again") from error
        if size > MAX_FILE_BYTES:
            raise Unreadable(f"has more than {MAX_FILE_BYTES} bytes, which is not read: make it smaller")
        return content


def _zip_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x800:
        return info.filename
    # Without the UTF-8 flag Python reads names as code page 437, yet most tools that omit the flag write UTF-8.
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _folder(root: Path, size: int | None, seed: int, reading: FolderReading, say: Callable[[str], None]) -> DataSet:
    files, by_name = _Files(root), reading.groups == "name"
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
    to_cut = listed["train" if official else ""]
    classes = tuple(sorted(to_cut))
    if len(classes) < 2:
        raise DataSetError(f"{root}: found {len(classes)} class subfolders with images, expected at least 2")
    if unknown := sorted(set(listed["test"]) - set(classes)):
        raise DataSetError(f"{root}/test: class {unknown[0]!r} is not below train/; the two must agree")
    if files.others:
        passed = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in files.others.items())
        say(f"{root}: files that are not named as pictures are passed over: {passed}")

    found = _read_all(files, [name for part in listed.values() for held in part.values() for name in held], size)
    found.report(root, reading.skip_damaged, say)
    groups_of = {name: _groups([one for one in to_cut[name] if one in found.pixels], by_name) for name in classes}
    if empty := [name for name in classes if not groups_of[name]]:
        raise DataSetError(f"{root}: no image of class {empty[0]!r} can be read; give others, or remove the class")
    say(_groups_found(groups_of, by_name))
    parts_of: dict[str, list[tuple[str, int]]] = {"train": [], "calibration": [], "test": []}
    for label, class_name in enumerate(classes):
        if official:
            cut = _cut(groups_of[class_name], class_name, seed, {"calibration": _CALIBRATION_SHARE})
            cut["test"] = [name for name in listed["test"][class_name] if name in found.pixels]
        else:
            shares = {"test": _TEST_SHARE, "calibration": _CALIBRATION_SHARE}
            cut = _cut(groups_of[class_name], class_name, seed, shares)
        for part, names in cut.items():
            parts_of[part].extend((name, label) for name in sorted(names))
    for part, pairs in parts_of.items():
        if not pairs:
            raise DataSetError(
                f"{root}: the {part} split came out empty; give each class more images, or more groups if file names "
                "begin with one"
            )
    splits = {part: found.split(pairs) for part, pairs in parts_of.items()}
    cut_note = "official test split" if official else "test split cut by hash of each group's name"
    group_note = "images of one group (name before the last _number) share a split" if by_name else "without groups"
    return _assemble(
        name=root.name.removesuffix(".zip"),
        classes=classes,
        train=splits["train"],
        calibration=splits["calibration"],
        test=splits["test"],
        seed=seed,
        note=f"Images from a folder, {cut_note}; {group_note}.",
        mirrored=False,
        files=found,
    )


def _below_single_folders(names: Sequence[str]) -> tuple[set[str], int]:
    """Skip wrapping folders such as a .zip's single top one; return the top names below and the levels skipped."""
    level = 0
    while True:
        tops = {PurePosixPath(name).parts[level] for name in names}
        if len(tops) != 1 or any(len(PurePosixPath(name).parts) < level + 3 for name in names):
            return tops, level
        level += 1


def _groups(names: Sequence[str], by_name: bool) -> Mapping[str, list[str]]:
    """Gather a class's files by group, `<group>_<n>.png`, where `by_name`; else each file is its own group.

    A prefix that every file of the class shares is the camera's (`IMG_0001.jpg`), not a group's: then, and for names
    without a number or with a time (`IMG_20230101_123456.jpg`), each file is its own group.
    """
    if not by_name:
        return {name: [name] for name in names}
    gathered: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        matched = None if _TIME_NAME.search(path.stem) else _GROUP_NAME.match(path.stem)
        gathered[str(path.parent / matched["group"]) if matched else name].append(name)
    return gathered if len(gathered) > 1 else {name: [name] for name in names}


def _groups_found(groups_of: Mapping[str, Mapping[str, Sequence[str]]], by_name: bool) -> str:
    """What grouping found, for the user to see before anything is made of it."""
    sizes = {
        f"{name}/{PurePosixPath(group).name}": len(held)
        for name in groups_of
        for group, held in groups_of[name].items()
    }
    images, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    if not by_name:
        return f"groups: none; each of {images} images may go to any split (--groups none)"
    if sizes[largest] == 1:
        return f"groups: none found in the names of {images} images; each may go to any split"
    return (
        f"groups: {len(sizes)} found in the names (<group>_<number>) of {images} images; the largest, {largest}, has "
        f"{sizes[largest]}. A group stays in one split; --groups none where these are no groups"
    )


def _cut(
    groups: Mapping[str, list[str]], class_name: str, seed: int, shares: Mapping[str, float]
) -> dict[str, list[str]]:
    """Cut one class's files into the named shares and the rest, `train`, group by group.

    Groups are ordered by a hash of seed, class and group, so that a file added later moves few others. Each share gets
    at least one group while one is left for training.
    """
    images = sum(len(held) for held in groups.values())

    def rank(group: str) -> bytes:
        below = PurePosixPath(group).name
        return hashlib.sha256(f"{seed}/{class_name}/{unicodedata.normalize('NFC', below)}".encode()).digest()

    waiting = sorted(groups, key=rank)
    cut: dict[str, list[str]] = {}
    for part, share in shares.items():
        taken: list[str] = []
        while len(waiting) > 1 and len(taken) + len(groups[waiting[0]]) / 2 <= max(share * images, 1):
            taken.extend(groups[waiting.pop(0)])
        if not taken and len(waiting) > 1:
            taken.extend(groups[waiting.pop(0)])
        cut[part] = taken
    cut["train"] = [name for group in waiting for name in groups[group]]
    return cut


def _common_form(looks: Sequence[Look], size: int | None) -> tuple[int, bool]:
    """Choose the side in pixels, and whether all images are grey, from the images' headers."""
    grey = all(one.grey for one in looks)
    if size is not None:
        return size, grey
    extents = {(one.width, one.height) for one in looks}
    if len(extents) == 1:
        width, height = extents.pop()
        if width == height and 4 <= width <= LARGEST_SIZE:
            return width, grey
    median = int(np.median([min(one.width, one.height) for one in looks]))
    return max(4, min(LARGEST_DEFAULT_SIZE, median // 4 * 4)), grey


@dataclass
class _Read:
    """A folder's images, read.

    Attributes:
        form: height, width and channels that all are brought to.
        pixels: name -> uint8 `[H, W, C]` of that form; `split` takes them out.
        digests: name -> sha256 of the file.
        damaged: names of those that cannot be read, with why.
        remarks: what to know of some that were read -> how many there are, and the first's name and remark.
    """

    form: tuple[int, int, int]
    pixels: dict[str, NDArray[np.uint8]]
    digests: dict[str, bytes]
    damaged: dict[str, str]
    remarks: dict[str, tuple[int, str]]

    def report(self, root: Path, skip_damaged: bool, say: Callable[[str], None]) -> None:
        """Tell of images that cannot be read, and of odd ones; raises DataSetError unless the former may be skipped."""
        for count, first in self.remarks.values():
            say(f"{root}: {count} like this: {first}")
        if not self.damaged:
            return
        lines = [f"{name} {reason}" for name, reason in list(self.damaged.items())[:_LISTED_DAMAGES]]
        if len(self.damaged) > len(lines):
            lines.append(f"and {len(self.damaged) - len(lines)} more")
        told = "\n  ".join(lines)
        many = f"{root}: {len(self.damaged)} of {len(self.damaged) + len(self.pixels)} images cannot be read"
        if not skip_damaged:
            raise DataSetError(f"{many}; mend or remove them, or leave them out with --skip-damaged:\n  {told}")
        say(f"{many} and are left out:\n  {told}")

    def split(self, pairs: Sequence[tuple[str, int]]) -> Split:
        """The named images with their labels."""
        images = np.empty((len(pairs), *self.form), np.uint8)
        for row, (name, _) in enumerate(pairs):
            images[row] = self.pixels.pop(name)
        return Split(images, np.array([label for _, label in pairs], np.int64), tuple(name for name, _ in pairs))


def _read_all(files: _Files, names: Sequence[str], size: int | None) -> _Read:
    looks: dict[str, Look] = {}
    damaged: dict[str, str] = {}
    for name in names:
        try:
            looks[name] = look(files.content(name))
        except Unreadable as error:
            damaged[name] = str(error)
    if not looks:
        return _Read((0, 0, 0), {}, {}, damaged, {})
    side, grey = _common_form(list(looks.values()), size)
    found = _Read((side, side, 1 if grey else 3), {}, {}, damaged, {})
    for name in looks:
        try:
            content = files.content(name)
            picture = read(content, *found.form)
        except Unreadable as error:
            damaged[name] = str(error)
            continue
        found.pixels[name] = picture.pixels
        found.digests[name] = hashlib.sha256(content).digest()
        for warning in picture.warnings:
            kind = re.sub(r"\d+", "N", warning)
            count, first = found.remarks.get(kind, (0, f"{name} {warning}"))
            found.remarks[kind] = count + 1, first
    return found


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
    files: _Read | None = None,
) -> DataSet:
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in (train, calibration, test):
        split.images.setflags(write=False)
        split.labels.setflags(write=False)
        digest.update(repr(split.images.shape).encode())
        if files is None:
            digest.update(np.ascontiguousarray(split.images).tobytes())
        else:
            digest.update(b"".join(files.digests[one] for one in split.ids))
        digest.update(split.labels.astype("<i8").tobytes())
        digest.update("\0".join(split.ids).encode())
    return DataSet(name, classes, train, calibration, test, digest.hexdigest(), seed, note, mirrored)
