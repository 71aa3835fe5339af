"""Reports: what was found, held against its bars, as JSON, a table with the unmet ones first, and pictures.

Words owned here: check, bar, obtained.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from host.files import json_claim, write_atomically, write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = json_claim("report of EdgeSight's", "checks")
Obtained = Literal["measured", "simulated", "projected", "quoted"]


class PictureError(RuntimeError):
    """A picture that cannot be written: names the file and why."""


@dataclass(frozen=True)
class Check:
    """One figure and the bar that it must reach."""

    name: str
    value: float
    bar: float
    at_most: bool  # the bar is a ceiling; otherwise a floor
    unit: str
    obtained: Obtained

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def write_report(path: Path, body: dict[str, Any], checks: Sequence[Check]) -> None:
    """Write `body` and the `checks` as JSON, whole or not at all; OutputError where something else is there."""
    listed = [{**asdict(check), "met": check.met} for check in checks]
    write_output(path, (json.dumps({**body, "checks": listed}, indent=1) + "\n").encode(), REPORT)


def print_checks(console: Console, checks: Sequence[Check]) -> bool:
    """Print the checks, unmet first; returns whether all are met."""
    table = Table(title="Checks")
    for column in ("", "check", "value", "bar", "unit", "obtained"):
        table.add_column(column, justify="right" if column in ("value", "bar") else "left")
    for check in sorted(checks, key=lambda check: check.met):
        sign = "≤" if check.at_most else "≥"
        mark = "[green]met[/green]" if check.met else "[red]UNMET[/red]"
        table.add_row(mark, check.name, f"{check.value:.6g}", f"{sign} {check.bar:.6g}", check.unit, check.obtained)
    console.print(table)
    return all(check.met for check in checks)


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, whole or not at all, and close it; raises PictureError when it cannot be written."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, dpi=110, format="png", metadata={"Software": "EdgeSight"})  # by which ours are known
    pyplot.close(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise PictureError(f"{path}: cannot be written ({error.strerror or error})") from error
