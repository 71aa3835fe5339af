"""What all parts of the compiler speak of: maps, integers, the names of layers, and what cannot be compiled."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
MAX_BITS = 8  # widest weight and activation that the matrix-vector unit takes
_TOLD = 20  # problems; a graph that has more of them tells how many


class CompileError(EdgeSightError, ValueError):
    """A network that cannot be compiled exactly: names the layer, what was found and what to do."""


def refuse(problems: Iterable[str], subject: str = "") -> None:
    """Raise CompileError with all the problems that there are, on a line each where there are several."""
    found = list(dict.fromkeys(problems))
    if not found:
        return
    start = f"{subject}: " if subject else ""
    if len(found) == 1:
        raise CompileError(start + found[0])
    told = "".join(f"\n- {problem}" for problem in found[:_TOLD])
    rest = f"\n- and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    raise CompileError(f"{start}{len(found)} problems:{told}{rest}")


def names_of(layer: str) -> set[str]:
    """What a user may call a layer that the compiler calls `module (node)`: that, or either of the two."""
    return {layer, *re.split(r" \(|\)$", layer)} - {""}


@dataclass(frozen=True)
class Format:
    """A fixed-point type: the value is integer * 2**-fraction."""

    bits: int
    fraction: int
    signed: bool


@dataclass(frozen=True)
class Shape:
    """A feature map; a flat vector is one pixel."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Pixels of the map."""
        return self.height * self.width

    def __str__(self) -> str:
        """As height x width x channels."""
        return f"{self.height}x{self.width}x{self.channels}"
