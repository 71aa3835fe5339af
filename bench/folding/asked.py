"""What a run of the bench is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What there is to measure with.

    Attributes:
        zoos: folders that `edgesight train` wrote, whose cascades are folded.
        trained: a folder of QONNX files, such as the QONNX model zoo's.
    """

    zoos: tuple[Path, ...] = ()
    trained: Path | None = None
