"""Reports: what was found, held against its bars, as JSON, a table with the unmet ones first, and pictures.

Words owned here: check, bar, obtained.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edgesight.host.files import json_claim, write_output

if TYPE_CHECKING:
    pass

REPORT = json_claim("report of EdgeSight's", "checks")
Obtained = Literal["measured", "simulated", "projected", "quoted", "proved"]


_GAP = 2  # characters between two columns of a table
_WORD = 5  # that a folded column of words is given at least


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


class PlainTable(Table):
    """A table whose cells are taken as they are: none is markup, and none is cut.

    Where the terminal is too narrow, columns of words are folded, and those of numbers only where that is not enough.
    """

    def __init__(self, title: str, columns: Sequence[str], *, words: Collection[str]) -> None:
        """`words` are the columns that hold words, and stand to the left; the others hold numbers."""
        super().__init__(title=Text(title) if title else None, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        self._headers = list(columns)
        self._widest = [0] * len(columns)  # cells, by column
        for column in columns:
            self.add_column(Text(column), justify="left" if column in words else "right", overflow="fold")

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        """A row; text in a style of its own comes as `rich.text.Text`."""
        texts = [Text(cell) if isinstance(cell, str) else cell for cell in cells]
        for place, text in enumerate(texts):
            if isinstance(text, Text):
                self._widest[place] = max(self._widest[place], text.cell_len)
        super().add_row(*texts, **more)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for a terminal of that width."""
        numbers = [place for place, column in enumerate(self.columns) if column.justify == "right"]
        room = options.max_width - _GAP * len(self.columns)
        if sum(map(max, self._widest, map(len, self._headers))) > room:
            needed = sum(max(self._widest[place], *map(len, self._headers[place].split())) for place in numbers)
            for place in numbers:
                self.columns[place].header = Text("\n".join(self._headers[place].split()))
                self.columns[place].no_wrap = needed + _WORD * (len(self.columns) - len(numbers)) <= room
        yield from super().__rich_console__(console, options)


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
