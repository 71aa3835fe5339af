"""What a section of the link's measurements is given, finds, and is.

Words owned here: section.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.link.workload import Plan, Spacing
from edgesight.bench.report import Check

SEEDS = 3  # of cells with a gate; the others have one


@dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Attributes:
        out: folder for link.json, link.png and link/, which holds what was measured.
        zoo: folder with the back end of Fashion-MNIST.
        photos: folder or zip of photographs; None: none.
        labels: file that tells what is on them, see `photos.read_photos`; None: nothing does.
        traces: folder of traces, see `cases.trace_cases`; None: none.
        fashion: gives Fashion-MNIST's test images uint8 [N, H, W, C] and labels [N]; None: there are none.
        seeds: of cells with a gate.
        requests: of a cell; None: PHOTO_REQUESTS and FASHION_REQUESTS.
        per_second, spacing, deadline_s: of requests, see `workload.Plan`.
        again: measure again what is there already.
    """

    out: Path
    zoo: Path
    photos: Path | None = None
    labels: Path | None = None
    traces: Path | None = None
    fashion: Callable[[], tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] | None = None
    seeds: int = SEEDS
    requests: int | None = None
    per_second: float = 20.0
    spacing: Spacing = "fixed"
    deadline_s: float = 1.0
    again: bool = False

    @property
    def folder(self) -> Path:
        """Where sections keep what they measured."""
        return self.out / "link"

    def plan(self, requests: int) -> Plan:
        """The plan of a cell of so many requests, unless the user chose another number."""
        count = self.requests if self.requests is not None else requests
        return Plan(count, per_second=self.per_second, spacing=self.spacing, deadline_s=self.deadline_s)


@dataclass(frozen=True)
class Found:
    """What a section found: checks, and plain JSON."""

    checks: list[Check]
    body: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the bench.

    Attributes:
        title: for people.
        lacks: why it cannot be run, or None.
        seconds: how long it will take, about.
        run: measures, or reads what was measured.
        code: globs of the files it depends on; when one of them has changed, what it found no longer counts.
        resumes: whether it goes on by itself where it was stopped, and so is always run.
    """

    title: str
    lacks: Callable[[Settings], str | None]
    seconds: Callable[[Settings], float]
    run: Callable[[Settings, Console], Found]
    code: tuple[str, ...]
    resumes: bool = False
