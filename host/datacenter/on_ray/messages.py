"""What door and replicas say to each other; Ray carries it.

Words owned here: packed, call, given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter.executors.base import Arrays, Recipe
from edgesight.host.datacenter.trial import Ports


@dataclass(frozen=True)
class Packed:
    """A version of a model, with all that a replica needs to load it, or without its file for one that has loaded it.

    Attributes:
        id: by which Serve tells models apart: another file or another recipe has another.
        recipe: as JSON.
        sha256: of the file.
        of_file: it has one.
        content: Ray's reference to the file's bytes, in a tuple so that only a replica which loads it fetches it; empty
            where there is no file, and where it is left out: with every request it would cost milliseconds.
    """

    id: str
    recipe: str
    sha256: str
    of_file: bool
    content: tuple[Any, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, number: str, sha256: str, content: tuple[Any, ...]) -> Packed:
        """Version `number` of a model."""
        packed = recipe.pack()
        digest = hashlib.sha256(f"{packed}\n{sha256}".encode()).hexdigest()[:16]
        return cls(f"{recipe.name}:{number}:{digest}", packed, sha256, bool(content), content)

    def without_file(self) -> Packed:
        """For a replica that has loaded it."""
        return replace(self, content=())


@dataclass(frozen=True)
class Call:
    """One request: contiguous inputs, the outputs `wanted` (all where it is empty), and rows.

    `most` rows may go together; 0: as many as the model takes.
    """

    model: Packed
    inputs: Arrays
    wanted: tuple[str, ...]
    rows: int
    most: int = 0


@dataclass(frozen=True)
class Given:
    """What a replica says to a call.

    Attributes:
        sha256: of the file that the model which answered was loaded of.
        replica: which it was.
        outputs: by name.
        seconds: of its whole batch: for taking the inputs, for the model itself, and for giving the outputs.
        batch: rows that went together.
        unread: why its picture cannot be read; empty: it can.
        fault: why the model gave nothing; empty: it did.
        loaded: False: the fault is of the load.
        lacks: it has not the model, and the file was left out.
    """

    sha256: str
    replica: str
    outputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    batch: int = 0
    unread: str = ""
    fault: str = ""
    loaded: bool = True
    lacks: bool = False


@dataclass(frozen=True)
class Described:
    """What a replica says of a model that it has loaded.

    Attributes:
        ports, takes_pictures: as its executor tells.
        bytes: by which the replica's memory grew.
        seconds: that the load took.
        fault: why it could not be loaded; empty: it could.
        where: the replica's node.
    """

    ports: Ports
    takes_pictures: bool = False
    bytes: int = 0
    seconds: float = 0.0
    fault: str = ""
    where: str = ""
