"""The log of an external meter: a table of times and powers that it wrote to a file.

Unlike a sensor a log is read when what it is to tell about is over.

Words owned here: log.
"""

from __future__ import annotations

import csv
import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from statistics import median

from edgesight.host.obtained import Obtained
from edgesight.host.power.readings import Clock, PowerError, Reading

_DATE = datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()  # a smaller time is no date
_LATEST = 1e11  # seconds, in the year 5138; milliseconds since 1970 passed this number in 1973
_COLUMN = re.compile(r"(?:^|[\s_(\[])(?P<unit>uW|µW|μW|mW|W|mV|V|mA|A|uA|µA|μA|ms|s)[)\]]?$")
_SCALES = {
    "W": 1.0,
    "V": 1.0,
    "A": 1.0,
    "mW": 1e-3,
    "mV": 1e-3,
    "mA": 1e-3,
    "uW": 1e-6,
    "uA": 1e-6,
    "s": 1.0,
    "ms": 1e-3,
}

logger = logging.getLogger(__name__)


class CsvLog:
    """A table that an external meter wrote: a column of times, and power in W, mW or uW, or volts and amperes.

    The first line names the columns and their units, as in `time (s),power (mW)` or `timestamp,voltage_V,current_mA`.
    Times are seconds or milliseconds since 1970, or ISO 8601; one without a zone is this machine's local time.
    """

    def __init__(
        self,
        path: Path,
        *,
        offset: float = 0.0,
        patience: float = 600.0,
        clock: Clock = time.time,
        sleep: Callable[[float], None] = time.sleep,
        obtained: Obtained = "measured",
    ) -> None:
        """Nothing is read yet: the meter may still be writing.

        `offset` seconds are added to every time in the file: this machine's clock less the meter's. `patience` is how
        many seconds the file may take to reach the time that is asked for.
        """
        self.offset = offset
        self._path, self._patience, self._sleep = path, patience, sleep
        self.name = f"log {path}"
        self.obtained = obtained
        self.clock = clock

    def between(self, begin: float, end: float) -> list[Reading]:
        """All readings from `begin` to `end`, seconds since 1970."""
        deadline, said = self.clock() + self._patience, False
        while True:
            readings = self._load() if self._path.exists() else []
            if readings and readings[-1].time >= end:
                break
            if not said:
                logger.warning("waiting up to %g s for %s to reach %s", self._patience, self._path, _say(end))
                said = True
            if self.clock() >= deadline:
                reached = f"ends at {_say(readings[-1].time)}" if readings else "is not there"
                raise PowerError(
                    f"{self._path}: {reached}, but {_say(end)} is needed: let the meter write until the measurement "
                    "is over, or correct its clock with offset=SECONDS"
                )
            self._sleep(1.0)
        if readings[0].time > begin:
            raise PowerError(
                f"{self._path}: begins at {_say(readings[0].time)}, but {_say(begin)} is needed: start the meter "
                "first, or correct its clock with offset=SECONDS"
            )
        return [reading for reading in readings if begin <= reading.time <= end]

    def _load(self) -> list[Reading]:
        try:
            text = self._path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PowerError(f"{self._path}: cannot be read ({error}): give a text file") from error
        lines = text.splitlines()
        if text and not text.endswith(("\n", "\r")):
            lines.pop()  # the meter is in the middle of this one
        if not lines:
            return []
        separator = max(";,\t", key=lines[0].count)
        columns = self._columns([cell.strip() for cell in next(csv.reader([lines[0]], delimiter=separator))])
        times: list[float] = []
        watts: list[float] = []
        for number, row in enumerate(csv.reader(lines[1:], delimiter=separator), start=2):
            if not any(cell.strip() for cell in row):
                continue
            values = [self._number(row, column, scale, number) for column, scale in columns.power]
            moment = self._time(row, columns, number)
            if times and moment <= times[-1]:
                if moment == times[-1]:
                    continue  # a line written twice, or a clock coarser than the meter
                raise PowerError(f"{self._path}, line {number}: its time lies before the line above's: sort the file")
            times.append(moment)
            watts.append(values[0] * values[1] if len(values) == 2 else values[0])
        if len(times) < 2:
            return []
        span = median(after - before for before, after in pairwise(times))
        return [Reading(moment, value, span) for moment, value in zip(times, watts, strict=True)]

    def _columns(self, names: list[str]) -> _Columns:
        power: dict[str, tuple[int, float]] = {}
        when: tuple[int, float] | None = None
        for index, name in enumerate(names):
            match = _COLUMN.search(name)
            unit = re.sub("[µμ]", "u", match["unit"]) if match else ""
            if when is None and name.lower().startswith(("time", "date")):
                when = (index, _SCALES[unit] if unit in ("s", "ms") else 1.0)
            elif unit in _SCALES and unit not in ("s", "ms"):
                if unit[-1] in power:
                    raise PowerError(f"{self._path}, line 1: two columns are in {unit[-1]}: keep one")
                power[unit[-1]] = (index, _SCALES[unit])
        found = f"found {', '.join(names)}"
        if when is None:
            raise PowerError(f"{self._path}, line 1: no column's name begins with time ({found}): name one so")
        if "W" in power:
            return _Columns(when[0], when[1], [power["W"]])
        if "V" in power and "A" in power:
            return _Columns(when[0], when[1], [power["V"], power["A"]])
        raise PowerError(
            f"{self._path}, line 1: name a column with its unit, such as `power (mW)`, or two, such as `voltage (V)` "
            f"and `current (A)` ({found})"
        )

    def _number(self, row: list[str], column: int, scale: float, line: int) -> float:
        try:
            value = float(row[column])
        except IndexError:
            raise PowerError(
                f"{self._path}, line {line}: has {len(row)} cells, too few: write one for each column"
            ) from None
        except ValueError:
            raise PowerError(f"{self._path}, line {line}: {row[column]!r} is no number (write 1.5, not 1,5)") from None
        if value != value or abs(value) == float("inf"):
            raise PowerError(f"{self._path}, line {line}: {row[column]!r} is no power: leave the line out")
        return value * scale

    def _time(self, row: list[str], columns: _Columns, line: int) -> float:
        try:
            text = row[columns.time].strip()
        except IndexError:
            raise PowerError(
                f"{self._path}, line {line}: has {len(row)} cells, too few: write one for each column"
            ) from None
        try:
            moment = float(text) * columns.time_scale
        except ValueError:
            try:
                moment = datetime.fromisoformat(_iso(text)).timestamp()
            except (ValueError, OverflowError, OSError):
                raise PowerError(f"{self._path}, line {line}: {text!r} is no time: write seconds or ISO 8601") from None
        if not math.isfinite(moment):
            raise PowerError(f"{self._path}, line {line}: {text!r} is no time: leave the line out")
        if moment > _LATEST:
            remedy = (
                "name the column `time (ms)` if it is in milliseconds"
                if columns.time_scale == 1.0
                else "write seconds or milliseconds since 1970"
            )
            raise PowerError(f"{self._path}, line {line}: its time is {text}, which is no date: {remedy}")
        moment += self.offset
        if moment < _DATE:
            raise PowerError(
                f"{self._path}, line {line}: its time is {text}, which is no date: give offset=SECONDS, the Unix time "
                "of the meter's time 0"
            )
        return moment


@dataclass(frozen=True)
class _Columns:
    time: int
    time_scale: float
    power: list[tuple[int, float]]  # column and scale to watts, or to volts and amperes


def _iso(text: str) -> str:
    """ISO 8601 as Python 3.10 reads it: without Z, and with a dot before the fraction's six digits."""
    dotted = re.sub(r"Z$", "+00:00", text.replace(",", "."))
    return re.sub(r"(?<=:\d\d)\.(\d+)", lambda match: f".{match[1][:6]:0<6}", dotted)


def _say(moment: float) -> str:
    return datetime.fromtimestamp(moment).isoformat(sep=" ", timespec="seconds")
