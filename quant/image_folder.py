"""A data set from a user's own folder, or .zip, of images.

This module owns the word *group*: a set of near-duplicate images (the frames of one track, say). A group never
straddles two splits, since thresholds chosen on near-copies of training images come out optimistic.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgesight.host.picture_files import MAX_FILE_BYTES, SUFFIXES, Unreadable
from edgesight.host.pictures import Look, look, read
from edgesight.quant.splits import LARGEST_SIZE, DataSet, DataSetError, Split, checksum_of

LARGEST_DEFAULT_SIZE: Final = 64
"""The largest image side chosen without being asked: the front-end networks take inputs up to 64 x 64."""

# A frame's number after the last underscore; what stands before it names the group.
_GROUP_NAME: Final = re.compile(r"^(?P<group>.+)_\d+$")
# IMG_20230101_123456: a day and a time of it, as telephones name what they take. A day is no group.
_TIME_NAME: Final = re.compile(r"(?:^|\D)(?:19|20)\d{6}_\d{6,}$")
_LISTED_DAMAGES: Final = 20
_TEST_SHARE: Final = 0.20
_CALIBRATION_SHARE: Final = 0.15


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


@dataclass(frozen=True)
class Labelled:
    """Pictures of known classes, none of which a network was trained on.

    Attributes:
        name: the folder's.
        split: they all.
        checksum: sha256 over each file, label, id and class name, and the form that they are brought to.
    """

    name: str
    split: Split
    checksum: str


def load_folder(
    root: Path,
    size: int | None,
    seed: int,
    reading: FolderReading,
    say: Callable[[str], None],
    photograph: tuple[int, int, int] | None = None,
) -> DataSet:
    """The data set of the class subfolders of `root`; the rest as `edgesight.quant.datasets.load` has it."""
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
        raise DataSetError(f"{root}/test: class {unknown[0]!r} is not below train/; name classes alike in both")
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
    train, calibration, test = (found.split(pairs, files, photograph) for pairs in parts_of.values())
    cut_note = "official test split" if official else "test split cut by hash of each group's name"
    group_note = "images of one group (name before the last _number) share a split" if by_name else "without groups"
    return DataSet(
        root.name.removesuffix(".zip"),
        classes,
        train,
        calibration,
        test,
        checksum=checksum_of(classes, (train, calibration, test), found.digests),
        seed=seed,
        note=f"Images from a folder, {cut_note}; {group_note}.",
        mirrored=False,
        photographs=True,
    )


def load_labelled(
    root: Path,
    classes: Sequence[str],
    form: tuple[int, int, int],
    reading: FolderReading,
    say: Callable[[str], None],
    photograph: tuple[int, int, int] | None = None,
) -> Labelled:
    """All pictures of the class subfolders of `root`, or of those of its `train/` and `test/`, for known `classes`.

    A subfolder has a class's name, with `_` for each `/` in it; not every class need have one. Pictures of one group
    are of one thing, and so no independent ones: of each group one is taken, by a hash of its name. The pictures come
    in the `form` (H, W, C), and with a `photograph` of that form. Raises DataSetError.
    """
    label_of = {unicodedata.normalize("NFC", name.replace("/", "_")): label for label, name in enumerate(classes)}
    files = _Files(root)
    tops, prefix = _below_single_folders(files.names, label_of)
    inner = 1 if tops >= {"train", "test"} and not tops & set(label_of) else 0
    pairs: dict[str, int] = {}
    for name in files.names:
        below = PurePosixPath(name).parts[prefix + inner :]
        if len(below) < 2:
            raise DataSetError(f"{root}/{name}: an image outside a class subfolder; put it into one or remove it")
        folder = unicodedata.normalize("NFC", below[0])
        if folder not in label_of:
            raise DataSetError(
                f"{root}: {folder!r} is none of the package's classes ({', '.join(label_of)}); name its folder as one "
                "of them, or remove it"
            )
        pairs[name] = label_of[folder]
    if not pairs:
        raise DataSetError(f"{root}: no images; give subfolders with some, named as classes of the package")
    found = _read_all(files, list(pairs), form)
    found.report(root, reading.skip_damaged, say)
    single = _without_copies(root, found, pairs, say)
    by_class = {
        label: _groups([name for name in single if pairs[name] == label], reading.groups == "name")
        for label in sorted(set(pairs.values()))
    }
    taken = [
        (min(held, key=lambda name: hashlib.sha256(name.encode()).digest()), label)
        for label, groups in by_class.items()
        for held in groups.values()
    ]
    if len(taken) < len(single):
        say(
            f"groups: {len(taken)} found in the names (<group>_<number>) of {len(single)} images: one of each is "
            "taken, since several of one thing are not independent; --groups none where these are no groups"
        )
    split = found.split(taken, files, photograph)
    return Labelled(root.name.removesuffix(".zip"), split, checksum_of(tuple(classes), (split,), found.digests))


def _without_copies(root: Path, found: _Read, label_of: Mapping[str, int], say: Callable[[str], None]) -> list[str]:
    """Names of the pictures, of files that are the same byte for byte one alone, since copies prove nothing more.

    Raises DataSetError where copies are of several classes.
    """
    first: dict[bytes, str] = {}
    for name in found.pixels:
        known = first.setdefault(found.digests[name], name)
        if label_of[known] != label_of[name]:
            raise DataSetError(f"{root}: {known} and {name} are one picture in two classes: remove it from one")
    copies = len(found.pixels) - len(first)
    if copies:
        say(f"copies: {copies} of {len(found.pixels)} images are others' copies, byte for byte, and count for nothing")
    return list(first.values())


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


def _below_single_folders(names: Sequence[str], known: Collection[str] = ()) -> tuple[set[str], int]:
    """Skip wrapping folders such as a .zip's single top one; return the top names below and the levels skipped.

    A folder of a `known` name, such as that of the only class, wraps nothing.
    """
    level = 0
    while True:
        tops = {PurePosixPath(name).parts[level] for name in names}
        if len(tops) != 1 or tops & set(known) or any(len(PurePosixPath(name).parts) < level + 3 for name in names):
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

    def split(self, pairs: Sequence[tuple[str, int]], files: _Files, photograph: tuple[int, int, int] | None) -> Split:
        """The named images of `files` with their labels; with photographs of that form where it is another."""
        images = np.empty((len(pairs), *self.form), np.uint8)
        for row, (name, _) in enumerate(pairs):
            images[row] = self.pixels.pop(name)
        names = tuple(name for name, _ in pairs)
        larger = _Photographs(files, names, photograph) if photograph not in (None, self.form) else None
        return Split(images, np.array([label for _, label in pairs], np.int64), names, larger)


@dataclass(frozen=True)
class _Photographs:
    """The named pictures in a back end's form (H, W, C), read from their files as they are wanted."""

    files: _Files
    names: tuple[str, ...]
    form: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, H, W, C)`."""
        return len(self.names), *self.form

    def __getitem__(self, chosen: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Those at the indices `chosen` `[n]`: uint8 `[n, H, W, C]`; DataSetError where a file is gone or changed."""
        made = np.empty((len(chosen), *self.form), np.uint8)
        for row, index in enumerate(chosen):
            name = self.names[index]
            try:
                made[row] = read(self.files.content(name), *self.form).pixels
            except Unreadable as error:
                raise DataSetError(f"{self.files.root}/{name} {error}; it could be read before: put it back") from error
        return made


def _read_all(files: _Files, names: Sequence[str], size: int | tuple[int, int, int] | None) -> _Read:
    """The named images, all of one form: this one, or a square of this side, or what suits them."""
    looks: dict[str, Look] = {}
    damaged: dict[str, str] = {}
    for name in names:
        try:
            looks[name] = look(files.content(name))
        except Unreadable as error:
            damaged[name] = str(error)
    if not looks:
        return _Read((0, 0, 0), {}, {}, damaged, {})
    if isinstance(size, tuple):
        form = size
    else:
        side, grey = _common_form(list(looks.values()), size)
        form = (side, side, 1 if grey else 3)
    found = _Read(form, {}, {}, damaged, {})
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
