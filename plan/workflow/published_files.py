"""The files of a published workflow, line by line: what cannot be read is told by file, line and reason.

Blank lines are passed over; a comma too many at a line's end is read over, with a warning.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesight.host.files import read_at_most
from edgesight.plan.profile import MAX_FILE_BYTES, PlanError, once

_LONGEST_NAME = 200  # characters: what the plain data take


@dataclass(frozen=True)
class Row:
    """A line of a CSV file."""

    path: Path
    line: int
    cells: tuple[str, ...]

    def fault(self, reason: str) -> PlanError:
        """A fault in this line."""
        return PlanError(f"{self.path}:{self.line}: {reason}")

    def number(self, place: int, what: str, least: float = 0.0, above: bool = False) -> float:
        """Cell `place`, at least `least` (or above it); raises PlanError otherwise."""
        try:
            number = float(self.cells[place])
        except ValueError as error:
            raise self.fault(f"{what} is {self.cells[place]!r}, not a number: write one") from error
        if not math.isfinite(number) or number < least or (above and number == least):
            raise self.fault(f"{what} is {number:g}; write one {'above' if above else 'of at least'} {least:g}")
        return number

    def known(self, place: int, names: Mapping[str, object] | set[str], what: str) -> str:
        """Cell `place`, which must be among `names`; raises PlanError otherwise."""
        if self.cells[place] not in names:
            raise self.fault(f"{self.cells[place]!r} is no {what}: name one that there is")
        return self.cells[place]

    def once(self, count: int, seen: dict[tuple[str, ...], int]) -> None:
        """Note the line of the first `count` cells in `seen`; raises PlanError where they are there already."""
        key = self.cells[:count]
        if key in seen:
            raise self.fault(
                f"{', '.join(key) or 'what holds for all variants'} is already on line {seen[key]}: leave one out"
            )
        seen[key] = self.line


@dataclass
class Directory:
    """The files, and the warnings met so far."""

    path: Path
    warnings: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """What file `name` holds; raises PlanError where it cannot be read."""
        try:
            return read_at_most(self.path / name, MAX_FILE_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise PlanError(f"{self.path / name}: cannot be read ({reason}): give a readable file") from error

    def has(self, name: str) -> bool:
        """Whether there is a file `name`."""
        return (self.path / name).is_file()

    def rows(self, name: str, columns: int | None, unique: int = 0) -> Iterator[Row]:
        """The lines of `name` but blank ones, each of `columns` cells (None: as many as the first of them has).

        No two lines share the first `unique` cells.
        """
        seen: dict[tuple[str, ...], int] = {}
        reader = csv.reader(self.text(name).splitlines(), strict=True)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise PlanError(f"{self.path / name}:{reader.line_num}: is no CSV ({error}): repair it") from error
            if cells is None:
                return
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if columns is None:
                columns = max(place for place, cell in enumerate(cells, 1) if cell)
            row = Row(self.path / name, reader.line_num, tuple(cells[:columns]))
            while len(cells) > columns and not cells[-1]:
                cells.pop()
                self.warnings.append(f"{row.path}:{row.line}: a comma too many at the end, read over")
            if len(cells) != columns:
                raise row.fault(f"{len(cells)} cells where {columns} belong: write one for each column")
            for place, cell in enumerate(cells):
                if not cell:
                    raise row.fault(f"cell {place + 1} is empty: fill it")
                if len(cell) > _LONGEST_NAME:
                    raise row.fault(f"cell {place + 1} has {len(cell)} characters; write at most {_LONGEST_NAME}")
            if unique:
                row.once(unique, seen)
            yield row

    def json(self, name: str) -> Any:
        """What JSON file `name` holds, no name in an object twice; raises PlanError otherwise."""
        try:
            return json.loads(self.text(name), object_pairs_hook=once)
        except json.JSONDecodeError as error:
            raise PlanError(f"{self.path / name}:{error.lineno}: is no JSON ({error.msg}): repair it") from error
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{self.path / name}: is no JSON that can be read ({error}): repair it") from error

    def fault(self, name: str, word: str, reason: str) -> PlanError:
        """A fault in a JSON or YAML file, at the line where `word` first stands."""
        lines = self.text(name).splitlines()
        line = next((place for place, text in enumerate(lines, 1) if word in text), 1)
        return PlanError(f"{self.path / name}:{line}: {reason}")
