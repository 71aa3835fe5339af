"""What a run of the bench is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgesight.host.files import sha256

LITE0 = ("--backend", "efficientnet-lite0")


@dataclass(frozen=True)
class Photographs:
    """A data set of photographs.

    Attributes:
        dataset: its name, as commands take it (`folder:PATH`).
        options: of `edgesight train`, but for the back end and --out.
        backend: the words that name the back end, which takes the photograph.
        thumbnail: those that name one for a picture of about the fabric's size, to compare with.
        cycles: of `edgesight compile`.
        zoo: the folder of trained networks; None: they are trained, in a folder of the bench's.
        thumbnail_zoo: likewise, of the other back end.
    """

    dataset: str
    options: tuple[str, ...] = ("--size", "48", "--seeds", "1")
    backend: tuple[str, ...] = LITE0
    thumbnail: tuple[str, ...] = (*LITE0, "--backend-size", "32")
    cycles: str = "9000,45000"
    zoo: Path | None = None
    thumbnail_zoo: Path | None = None


@dataclass(frozen=True)
class Signs:
    """GTSRB's traffic signs, which a back end of the fabric's size takes; `zoo` as of `Photographs`."""

    dataset: str
    options: tuple[str, ...] = ("--size", "32", "--seeds", "1")
    zoo: Path | None = None


@dataclass(frozen=True)
class Asked:
    """What there is to measure with; a section whose data is absent is skipped.

    Attributes:
        photographs: the data set of photographs, for all sections but the signs'.
        signs: GTSRB's traffic signs.
        pictures: folder of odd pictures: noise.png, white.png and boot-on-white.png.
        others: folders or .zip files of pictures that are of none of the kernels, by a name for people.
        anything: a folder or .zip file of photographs, some of which may show what a kernel knows.
        shipped: a shipped package that tells strange pictures, with its data set's name and folder.
    """

    photographs: Photographs | None = None
    signs: Signs | None = None
    pictures: Path | None = None
    others: Mapping[str, Path] = field(default_factory=dict)
    anything: Path | None = None
    shipped: tuple[Path, str, Path | None] | None = None


def card_of(zoo: Path) -> str:
    """What tells a zoo folder's networks from others: the checksum of its card; empty where it has none."""
    path = zoo / "card.json"
    return sha256(path.read_bytes()) if path.is_file() else ""
