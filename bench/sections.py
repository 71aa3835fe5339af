"""Running the sections of a bench, one after the other; what each found is kept.

Words owned here: section (a part of a bench that finds something).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from edgesight.bench.kept import Found, Kept
from edgesight.bench.report import Check
from edgesight.host.errors import EdgeSightError

Asked = TypeVar("Asked")  # what a bench is asked for: data, and where it is


@dataclass(frozen=True)
class Section(Generic[Asked]):
    """A part of a bench.

    Attributes:
        title: for people.
        run: measures, in a folder of its own or the bench's, with what is worth saying said on the way.
        lacks: why it cannot, where what it needs is not here.
    """

    title: str
    run: Callable[[Asked, Path, Console], Found]
    lacks: Callable[[Asked], str | None] = lambda asked: None

    @property
    def module(self) -> Path:
        """The file that its code begins in."""
        run = self.run.func if isinstance(self.run, partial) else self.run
        return Path(inspect.getfile(sys.modules[run.__module__])).resolve()


@dataclass(frozen=True)
class Due:
    """A section that is to be run.

    Attributes:
        title: for people.
        lacks: why it cannot be run, where what it needs is not there.
        kept: where it keeps what it found; asked for only where it can be run.
        measure: runs it.
    """

    title: str
    lacks: str | None
    kept: Callable[[], Kept]
    measure: Callable[[], Found]


@dataclass
class Results:
    """What the sections of a bench found.

    Attributes:
        body: as it is reported, by section.
        checks: of all of them.
        skipped: sections and parts of them that were not run, with the reason.
    """

    body: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def run_sections(sections: Mapping[str, Due], console: Console, *, again: bool = False) -> Results:
    """Run `sections`, by name; what one found before stands unless it is to be measured `again`.

    One that cannot be done counts as unmet, and the others go on.
    """
    results = Results()
    for name, section in sections.items():
        if section.lacks is not None:
            results.skipped[name] = section.lacks
            continue
        console.rule(section.title, align="left")
        try:
            found = _found(name, section, console, again)
        except EdgeSightError as error:
            console.print(f"{name}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            results.body[name] = {"failed": str(error)}
            results.checks.append(Check(f"{name}: done", 0, 1, False, "section", "measured"))
            continue
        results.body[name] = found.body
        results.checks += found.checks
        results.skipped |= {f"{name}: {part}": str(why) for part, why in found.body.get("skipped", {}).items()}
    return results


def print_skipped(console: Console, results: Results) -> None:
    """Say what was not run, and why."""
    for name, reason in results.skipped.items():
        console.print(f"skipped: {name}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _found(name: str, section: Due, console: Console, again: bool) -> Found:
    """What a section found, now or before."""
    kept = section.kept()
    earlier = None if again else kept.read(name)
    if earlier is not None:
        console.print(f"{name}: as found before", highlight=False)
        return Found.unpacked(earlier)
    found = section.measure()
    kept.write(name, found.packed())
    return found
