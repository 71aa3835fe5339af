"""What the parts of a section find, as they find it: checks, figures without a bar, and what was left out.

Words owned here: part (of a section).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Figure, told
from edgesight.host.errors import EdgeSightError

_SAID = 500  # characters that are kept of what was found where something does not hold


@dataclass
class Outcome:
    """What the parts find.

    Attributes:
        checks, figures: as a section gives them.
        skipped: why something was left out, by its name.
        said: what is worth reading beside a check, by its name.
        part: the one that is at work: what it finds is called so.
    """

    checks: list[Check] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    part: str = ""

    def at_most(self, name: str, value: float, bar: float, unit: str) -> None:
        """A check with a ceiling."""
        self.checks.append(Check(f"{self.part}: {name}", value, bar, True, unit, "measured"))

    def holds(self, name: str, good: bool, what: object) -> None:
        """A check of something that is or is not; `what` was found is told where it is not."""
        self.checks.append(Check(f"{self.part}: {name}", float(good), 1.0, False, "yes", "measured"))
        if not good:
            self.said[f"{self.part}: {name}"] = str(what)[:_SAID]

    def tell(self, name: str, value: float, unit: str) -> None:
        """A figure without a bar."""
        self.figures.append(Figure(f"{self.part}: {name}", value, unit, "measured"))

    def found(self) -> Found:
        """All of it, as a section gives it."""
        body = {"told": told(*self.figures), "skipped": self.skipped, "said": self.said}
        return Found(body, tuple(self.checks))


Part = Callable[[Path, Outcome], None]


def of_parts(parts: Mapping[str, Part], folder: Path, console: Console, names: Sequence[str] = ()) -> Outcome:
    """What all parts find, or those called `names`, in a folder each.

    One that cannot be done counts as unmet, and the others go on.
    """
    outcome = Outcome()
    for name in names or parts:
        console.print(f"{name} ...", highlight=False)
        outcome.part = name
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True, exist_ok=True)
        try:
            parts[name](place, outcome)
        except EdgeSightError as error:
            outcome.holds("done", False, error)
    return outcome
