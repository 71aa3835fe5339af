"""The small TOML file that says what an ONNX classifier of the user's own takes of a picture.

It is read without torch, so that what is wrong with it is told at once.

Words owned here: statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_regular
from edgesight.host.kernel import BackEndInput

Outputs = Mapping[str, int] | Sequence[str]  # by class; or the names of all of the model's outputs, in their order


class BackEndError(EdgeSightError, ValueError):
    """A model, or its statement, that cannot be a back end of the data: names the file, and what to do."""


class _Statement(BaseModel):
    """What the TOML file says: the fields of `BackEndInput`, and which of the model's outputs each class is."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    height: int
    width: int
    channels: int
    layout: str
    element: str
    mean: list[Annotated[float, Field(strict=False)]] | None = None
    deviation: list[Annotated[float, Field(strict=False)]] | None = None
    # By class; or the names of all of the model's outputs, in their order.
    outputs: dict[str, Annotated[int, Field(ge=0)]] | list[str] | None = None


def read_statement(path: Path) -> tuple[BackEndInput, Outputs | None]:
    """What the TOML file at `path` says: the form of pictures, and which of the model's outputs the classes are.

    Raises BackEndError where it cannot be read, or does not say all that it must.
    """
    try:
        said = tomllib.loads(read_regular(path).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BackEndError(f"{path}: cannot be read ({error}): give a TOML file; {_EXAMPLE}") from error
    try:
        stated = _Statement.model_validate(said)
        zeros, ones = [0.0] * stated.channels, [1.0] * stated.channels
        form = BackEndInput.model_validate(
            stated.model_dump(exclude={"outputs"})
            | {"mean": stated.mean or zeros, "deviation": stated.deviation or ones, "outputs": None}
        )
    except ValidationError as error:
        raise BackEndError(f"{path}: {_first(error)}; {_EXAMPLE}") from error
    lacking = [name for name in ("mean", "deviation") if getattr(stated, name) is None]
    if form.element == "float32" and lacking:
        raise BackEndError(
            f"{path}: says no {' and no '.join(lacking)}, and floats come as (byte - mean) / deviation: give both,"
            f" [0.0, ...] and [1.0, ...] if the model takes 0 to 255"
        )
    return form, stated.outputs


_EXAMPLE: Final = (
    "expected height, width, channels (1 or 3), layout (NCHW or NHWC), element (uint8 or float32), of floats mean and "
    "deviation by channel, and outputs where the classes are not the model's, in order"
)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    one = error.errors()[0]
    place = ".".join(map(str, one["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place + ': ' if place else ''}{one['msg'].removeprefix('Value error, ')}{more}"
