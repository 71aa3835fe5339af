"""Photographs and a real network for them: what crosses the link when an image takes many packets.

The network is EfficientNet-Lite0 with its pretrained weights, as `edgesight.quant.efficientnet` has it. It is written
once as ONNX with the interface that `edgesight.host.datacenter.models.OnnxModel` serves.

Photographs are the user's own: a folder or a zip of JPEG or PNG files. Of each the central square that the network
takes is cut out, after the usual scaling to a short side of 256 pixels. What is on them is known where a file says so.

Words owned here: photograph.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.picture_files import MAX_FILE_BYTES, Unreadable
from edgesight.host.pictures import look, read

SIDE = 224  # pixels that the network takes
SHORT_SIDE = 256  # pixels that a photograph is scaled to, before its middle is cut out
CLASSES = 1_000
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LONGEST = 16  # times the short side
_MAX_LABELS_BYTES = 2**24


class PhotoError(EdgeSightError):
    """Photographs or a network for them that cannot be had: names the file and what to do."""


@dataclass(frozen=True)
class Photos:
    """Photographs as the network takes them.

    Attributes:
        images: uint8 `[N, 224, 224, 3]`.
        labels: int64 `[N]`, indices into ImageNet's classes; None where no file told them.
        checksum: sha256 over images and names.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    checksum: str


def read_photos(path: Path, labels: Path | None = None) -> Photos:
    """Read the photographs in a folder or zip, by name; raises PhotoError.

    `labels` is a text file with a line `NAME,CLASS` for each photograph, its path in the folder or zip and its index
    among ImageNet's 1,000 classes; None: labels are not known.
    """
    opened = _in_zip(path) if path.suffix == ".zip" else _in_folder(path)
    if not opened:
        raise PhotoError(f"{path}: no JPEG or PNG file is in it: give a folder or a .zip of photographs")
    names = [name for name, _ in opened]
    known = _labels(labels, names) if labels is not None else None
    images = np.empty((len(opened), SIDE, SIDE, 3), np.uint8)
    digest = hashlib.sha256()
    for row, (name, content) in enumerate(opened):
        try:
            images[row] = _middle(content())
        except Unreadable as error:
            raise PhotoError(f"{path}, {name} {error}") from error
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise PhotoError(f"{path}, {name}: cannot be read ({error}): repair or remove it") from error
        digest.update(name.encode() + b"\0")
    digest.update(images.tobytes())
    return Photos(images, known, digest.hexdigest())


def lacking(path: Path) -> str | None:
    """What is missing to make the network at `path`; None where it can be made, or is there."""
    if path.exists():
        return None
    try:
        from edgesight.quant import efficientnet
    except ImportError as error:
        return f"{error.name} is not installed: `pip install 'edgesight[build]'`"
    return efficientnet.lacking()


def make_network(path: Path) -> Path:
    """EfficientNet-Lite0 as ONNX at `path`, made where it is not there yet; returns `path`. Raises PhotoError.

    Its input is `image`, uint8 `[N, 224, 224, 3]`; its output `logits`, float32 `[N, 1000]`.
    """
    if path.exists():
        return path
    missing = lacking(path)
    if missing is not None:
        raise PhotoError(missing)
    from edgesight.quant import efficientnet

    efficientnet.export(efficientnet.pretrained(), path)
    return path


def _in_folder(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    if not path.is_dir():
        raise PhotoError(f"{path} is neither a folder nor a .zip: give one of photographs")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)

    def reader(file: Path) -> Callable[[], bytes]:
        def content() -> bytes:
            with file.open("rb") as opened:
                return opened.read(MAX_FILE_BYTES + 1)

        return content

    return [(str(file.relative_to(path)), reader(file)) for file in files]


def _in_zip(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise PhotoError(f"{path} cannot be read ({error}): give a folder or a .zip of photographs") from error
    members = {member.filename: member for member in archive.infolist()}
    names = sorted(name for name in members if Path(name).suffix.lower() in _SUFFIXES)

    def reader(name: str) -> Callable[[], bytes]:
        def content() -> bytes:
            if members[name].file_size > MAX_FILE_BYTES:
                raise Unreadable(f"unpacks to more than {MAX_FILE_BYTES} bytes: make it smaller")
            return archive.read(members[name])

        return content

    return [(name, reader(name)) for name in names]


def _middle(content: bytes) -> npt.NDArray[np.uint8]:
    seen = look(content)
    short = min(seen.width, seen.height)
    if max(seen.width, seen.height) > _LONGEST * short:
        raise Unreadable(f"is {seen.width} x {seen.height} pixels, too long a strip for a photograph: remove it")
    width, height = (max(SHORT_SIDE, round(side * SHORT_SIDE / short)) for side in (seen.width, seen.height))
    pixels = read(content, height, width, 3).pixels
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return pixels[top : top + SIDE, left : left + SIDE]


def _labels(file: Path, names: list[str]) -> npt.NDArray[np.int64]:
    """The classes of the photographs that are called `names`; raises PhotoError unless the file tells all."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_LABELS_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PhotoError(f"{file} cannot be read ({error}): give a text file of lines NAME,CLASS") from error
    classes: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.rpartition(",")
        if not name or not label.strip().isdecimal() or int(label) >= CLASSES:
            raise PhotoError(f"{file}, line {number}: expected NAME,CLASS, with a class from 0 to {CLASSES - 1}")
        classes[name.strip()] = int(label)
    if unknown := [name for name in names if name not in classes]:
        raise PhotoError(f"{file} tells no class of {unknown[0]} and {len(unknown) - 1} more: give a line for each")
    return np.array([classes[name] for name in names], np.int64)
