"""A network's pieces: what runs here, and what the data centre runs, for each exit and cut that a plan may choose.

A folder that `edgesight plan pieces` writes. `split.json` tells of all; `device/` has what runs here, `repository/` the
models of the data centre, laid out as Triton's model repository. All come from one graph, optimised once, and are run
without further optimisation: an answer in two pieces equals the answer in one, bit for bit, on processors that compute
alike.

Words owned here: *split* (an exit and a cut, with its pieces), *head* (a piece from the inputs to the cut), *tail* (one
from there to the exit), *rest* (the tail of another exit, which the device runs while it waits), *probe* (a model that
takes bytes and does nothing: the link is measured by it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import Claim, read_regular, sha256
from edgesight.host.manifest_fields import Hex64, Strict, inside

MANIFEST: Final = "split.json"
REPOSITORY: Final = "repository"
_MANIFEST_BYTES: Final = 16 << 20
_PIECE_BYTES: Final = 2 << 30  # as much as a protobuf message may hold

Text = Annotated[str, Field(min_length=1, max_length=1_000)]
NotNegative = Annotated[float, Field(ge=0.0)]


class SplitError(EdgeSightError):
    """A split that cannot be run: names what is wrong and what to do."""


class Taken(Strict):
    """An input of the network: numpy's name of its type, and its shape."""

    name: Text
    dtype: Text
    shape: tuple[Annotated[int, Field(ge=1)], ...]


class Rest(Strict):
    """What the device runs while it waits: from the `tensors` to another exit."""

    exit: Text
    file: Text
    tensors: Annotated[tuple[Text, ...], Field(min_length=1)]


class Split(Strict):
    """An exit and a cut behind so many layers.

    Attributes:
        exit: the network's output that is the answer.
        cut: layers that the device runs.
        layers: of the exit, in all; where the cut is behind the last, nothing is handed over.
        head: file of the piece that the device runs; None: the inputs are handed over.
        tensors: that are handed over.
        tail: the data centre's model; None: the device answers.
        datacenter_ms: that it is predicted to take.
        rest: what the device answers with where the tail's answer does not come; None: nothing is in time.
    """

    exit: Text
    cut: Annotated[int, Field(ge=0)]
    layers: Annotated[int, Field(ge=1)]
    head: Text | None
    tensors: tuple[Text, ...]
    tail: Text | None
    datacenter_ms: NotNegative
    rest: Rest | None = None


class Manifest(Strict):
    """What `split.json` tells."""

    format: Literal[1]
    name: Text
    network_sha256: Hex64
    inputs: Annotated[tuple[Taken, ...], Field(min_length=1)]
    deadline_ms: Annotated[float, Field(gt=0.0)]
    round_trip_ms: NotNegative
    accuracy: Annotated[float, Field(ge=0.0, le=1.0)] | None
    fall_back: bool
    probe: Text
    splits: Annotated[tuple[Split, ...], Field(min_length=1)]
    files: dict[str, Hex64]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            inside(name)
        return files


def _stranger(path: Path) -> str | None:
    return None if (path / MANIFEST).is_file() else f"it has no {MANIFEST}"


PIECES: Final = Claim("folder of a network's pieces", _stranger)


class Pieces:
    """A folder of pieces, opened."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Of what `load` found."""
        self.path, self.manifest = path, manifest

    @classmethod
    def load(cls, path: Path) -> Pieces:
        """Raises SplitError where it is no such folder, or a piece that runs here is missing or another."""
        try:
            manifest = Manifest.model_validate_json(read_regular(path / MANIFEST, _MANIFEST_BYTES))
        except OSError as error:
            raise SplitError(
                f"{path / MANIFEST}: cannot be read ({error.strerror}): name a folder of `edgesight plan pieces`"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise SplitError(f"{path / MANIFEST}: {where}: {first['msg']}: make the pieces again") from error
        pieces = cls(path, manifest)
        for file in pieces.here:
            pieces.read(file)
        return pieces

    @property
    def here(self) -> list[str]:
        """Files of the pieces that the device runs."""
        heads = [split.head for split in self.manifest.splits if split.head is not None]
        return list(dict.fromkeys([*heads, *(one.rest.file for one in self.manifest.splits if one.rest is not None)]))

    def read(self, file: str) -> bytes:
        """A file of the folder; raises SplitError where it is not the one that was written."""
        try:
            content = read_regular(self.path / file, _PIECE_BYTES)
        except OSError as error:
            raise SplitError(f"{self.path / file}: cannot be read ({error.strerror}): make the pieces again") from error
        if self.manifest.files.get(file) != sha256(content):
            raise SplitError(f"{self.path / file}: is not the file that {MANIFEST} lists: make the pieces again")
        return content

    def split(self, exit_: str, cut: int) -> Split:
        """The split of that exit and cut; raises SplitError where there are no pieces for it."""
        for split in self.manifest.splits:
            if (split.exit, split.cut) == (exit_, cut):
                return split
        raise SplitError(f"{self.path}: has no pieces for exit {exit_} cut behind {cut} layers: make them again")
