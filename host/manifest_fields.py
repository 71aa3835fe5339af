"""Kinds of fields that a kernel package's `kernel.json` has."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]


class Strict(BaseModel):
    """A part of the manifest: nothing in it is unknown, infinite or changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def inside(name: str) -> str:
    """The path `name` of a file inside a package; raises ValueError on one that leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError(f"{name!r} is no path inside the package")
    return name
