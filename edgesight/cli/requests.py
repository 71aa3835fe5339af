"""The option `--input` of commands that run a network of any inputs: a request's tensors, or those of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli import ending

if TYPE_CHECKING:
    import numpy.typing as npt

Given = Annotated[
    list[str],
    typer.Option(
        "--input",
        metavar="NAME=FILE",
        help="An input (.npy) of one request, or with a row for each of several. One for each input.",
    ),
]


def requests_of(shapes: Mapping[str, tuple[int, ...]], given: Sequence[str]) -> list[dict[str, npt.NDArray[Any]]]:
    """The inputs of each request, of these `shapes` by name; raises ArgumentError."""
    from edgesight.cli.plan.profile import array_of

    arrays = dict(array_of(text) for text in given)
    if arrays.keys() != shapes.keys():
        raise ending.ArgumentError(f"--input names {', '.join(arrays)}: give one for each of {', '.join(shapes)}")
    several = {}
    for name, array in arrays.items():
        shape = shapes[name]
        if array.shape == shape:
            several[name] = array[None]
        elif shape[:1] == (1,) and array.shape[1:] == shape[1:]:
            several[name] = array[:, None]
        else:
            raise ending.ArgumentError(
                f"--input {name}: is {list(array.shape)}; give {list(shape)}, or a row for each request"
            )
    counts = {name: len(array) for name, array in several.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ending.ArgumentError(f"--input: not as many rows of each ({told}): give as many of each")
    return [{name: array[row] for name, array in several.items()} for row in range(next(iter(counts.values())))]
