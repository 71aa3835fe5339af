"""Reports: what was found, held against its bars, as JSON, a table with the unmet ones first, and pictures.

Words owned here: check, bar, obtained.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from host.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """Write `body` and the `checks` as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{**asdict(check), "met": check.met} for check in checks]
    write_atomically(path, (json.dumps({**body, "checks": listed}, indent=1) + "\n").encode())


class PlainTable(Table):
    """A table whose cells are taken as they are: none is markup, and none is cut, but folded where there is no room."""

    def __init__(self, title: str, columns: Sequence[str], *, words: Collection[str]) -> None:
        """`words` are the columns that hold words, and stand to the left; the others hold numbers."""
        super().__init__(title=Text(title) if title else None, box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            self.add_column(Text(column), justify="left" if column in words else "right", overflow="fold")

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        """A row; text in a style of its own comes as `rich.text.Text`."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **more)


def print_checks(console: Console, checks: Sequence[Check]) -> bool:
    """Print the checks, unmet first; returns whether all are met."""
    columns = ("", "check", "value", "bar", "unit", "obtained")
    table = PlainTable("Checks", columns, words=("", "check", "unit", "obtained"))
    for check in sorted(checks, key=lambda check: check.met):
        sign = "≤" if check.at_most else "≥"
        mark = Text("met", "green") if check.met else Text("UNMET", "red")
        table.add_row(mark, check.name, f"{check.value:.6g}", f"{sign} {check.bar:.6g}", check.unit, check.obtained)
    console.print(table)
    return all(check.met for check in checks)


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, whole or not at all, and close it; raises PictureError when it cannot be written."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, dpi=110, format="png")
    pyplot.close(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise PictureError(f"{path}: cannot be written ({error.strerror or error})") from error
