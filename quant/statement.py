"""The small TOML file that says what an ONNX classifier of the user's own takes of a picture.

It is read without torch, so that what is wrong with it is told at once.

Words owned here: statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_regular
from edgesight.host.kernel import BackEndInput

Outputs = Mapping[str, int] | Sequence[str]  # by class; or the names of all of the model's outputs, in their order


class BackEndError(EdgeSightError, ValueError):
    """A model, or its statement, that cannot be a back end of the data: names the file, and what to do."""


# A whole number is one, too; a text or a truth is none.
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e6)]


class _Statement(BaseModel):
    """What the TOML file says: the fields of `BackEndInput`, and which of the model's outputs each class is."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    height: int
    width: int
    channels: Literal[1, 3]
    layout: str
    element: str
    mean: list[_Number] | None = None
    deviation: list[_Number] | None = None
    # By class; or the names of all of the model's outputs, in their order.
    outputs: dict[str, Annotated[int, Field(ge=0)]] | list[str] | None = None


def read_statement(path: Path) -> tuple[BackEndInput, Outputs | None]:
    """What the TOML file at `path` says: the form of pictures, and which of the model's outputs the classes are.

    Raises BackEndError where it cannot be read, or does not say all that it must.
    """
    try:
        said = tomllib.loads(read_regular(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # numbers of thousands of digits, tables in tables
        raise BackEndError(f"{path}: cannot be read ({error}): give a TOML file; {_EXAMPLE}") from error
    try:
        stated = _Statement.model_validate(said)
        zeros, ones = [0.0] * stated.channels, [1.0] * stated.channels
        form = BackEndInput.model_validate(
            stated.model_dump(exclude={"outputs"})
            | {
                "mean": zeros if stated.mean is None else stated.mean,
                "deviation": ones if stated.deviation is None else stated.deviation,
                "outputs": None,
            }
        )
    except ValidationError as error:
        raise BackEndError(f"{path}: {_first(error)}; {_EXAMPLE}") from error
    lacking = [name for name in ("mean", "deviation") if getattr(stated, name) is None]
    if form.element == "float32" and lacking:
        raise BackEndError(
            f"{path}: says no {' and no '.join(lacking)}, and floats come as (byte - mean) / deviation: give both,"
            f" [0.0, ...] and [1.0, ...] if the model takes 0 to 255"
        )
    outputs = stated.outputs
    if outputs is not None and (not outputs or len(set(outputs)) < len(outputs)):
        raise BackEndError(f"{path}: outputs: none, or one twice, is named: name each class once; {_EXAMPLE}")
    return form, outputs


_EXAMPLE: Final = (
    "expected height, width, channels (1 or 3), layout (NCHW or NHWC), element (uint8 or float32), of floats mean and "
    "deviation by channel, and outputs where the classes are not the model's, in order"
)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    one = error.errors()[0]
    if one["loc"][:1] == ("outputs",):  # of which two forms are tried, and neither's name says anything
        return "outputs: expected a number from 0 by class (boot = 3), or a list of the names of all outputs"
    place = ".".join(map(str, one["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place + ': ' if place else ''}{one['msg'].removeprefix('Value error, ')}{more}"
