"""What a run of the bench is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What there is to measure with; a section whose data is absent is skipped.

    Attributes:
        photographs: a folder or .zip of photographs in class subfolders.
        fashion_mnist: folder of its files; None: the Debian package's.
        traces: a folder of links' capacities, .txt files of Mbit/s by the second.
    """

    photographs: Path | None = None
    fashion_mnist: Path | None = None
    traces: Path | None = None
