"""What a run of the bench is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesight.bench.photograph.asked import Photographs, Signs


@dataclass(frozen=True)
class Asked:
    """What there is to measure with; a section whose data is absent is skipped.

    Attributes:
        fashion_mnist: the folder of that data set; None: it is not here.
        photographs: a data set of photographs.
        signs: GTSRB's traffic signs.
        traces: a folder with the LTE trace; None: its cells are left out, which is told.
        gpu: a report of `make bench-gpu`, by which the fleet's servers run; None: as this machine's CPU does.
        arrivals: a file with moments at which requests come; None: such are drawn.
    """

    fashion_mnist: Path | None = None
    photographs: Photographs | None = None
    signs: Signs | None = None
    traces: Path | None = None
    gpu: Path | None = None
    arrivals: Path | None = None
