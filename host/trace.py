"""What a link carries over time, from a file: one reader for every command that takes a trace.

Two forms, a number a line. *Mahimahi's*: whole milliseconds, none below the one before it, at each of which one packet
of 1,500 bytes may leave; after the last the trace begins anew. *Rates*: Mbit/s, one for each second, which begin anew
after the last. A file is Mahimahi's where its name ends in `.up` or `.down`, or where it holds whole numbers that rise,
ten at least; any other holds rates. Who knows better says so before the name, `mahimahi:FILE` or `mbit:FILE`. Blank
lines, and lines that begin with `#`, are passed over in both.

Words owned here: *moment* (a line of Mahimahi's), *opportunity* (the packet that may leave then).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

OPPORTUNITY_BYTES = 1_500  # what one moment lets through
MOST_MBPS = 1e6  # of a rate: 1 Tbit/s, beyond any link
LEAST_MEAN = 1.0  # bit/s of rates: below it a packet takes hours, and looking for its end, too
LAST_MS = 10**9  # a moment is before this: 11 days
_RISING = 10  # whole numbers in a row that rise: fewer may well be rates
_MOST_BYTES = 64 << 20  # of a file: hours of a fast link
_WHOLE = re.compile(r"[0-9]{1,12}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")

Form = Literal["mahimahi", "mbit"]
_PREFIXES: dict[str, Form] = {"mahimahi:": "mahimahi", "mbit:": "mbit"}


class TraceError(ValueError):
    """No trace: names the file, the line where there is one, and what would be right."""


@dataclass(frozen=True)
class Trace:
    """A trace in one of the two forms; the other field is empty."""

    name: str
    moments_ms: tuple[int, ...] = field(default=(), repr=False)
    mbps: tuple[float, ...] = field(default=(), repr=False)

    @property
    def form(self) -> Form:
        """Which of the two it is."""
        return "mahimahi" if self.moments_ms else "mbit"

    @property
    def by_second(self) -> tuple[float, ...]:
        """Mbit/s, one for each second.

        Moments are counted in as many equal parts as there are whole seconds to the last one, so that the mean is kept
        where the trace begins anew; one that is shorter than a second has its mean alone.
        """
        if self.mbps:
            return self.mbps
        last = self.moments_ms[-1]
        parts = max(1, round(last / 1e3))
        counts = [0] * parts
        for moment in self.moments_ms:
            counts[max(0, -(-moment * parts // last) - 1)] += 1  # a moment ends the part that it closes
        return tuple(count * OPPORTUNITY_BYTES * 8e-3 * parts / last for count in counts)

    def describe(self) -> str:
        """What it was read as, in words."""
        if self.moments_ms:
            seconds = self.moments_ms[-1] / 1e3
            return (
                f"{self.name}: read as Mahimahi's, {len(self.moments_ms)} packets of {OPPORTUNITY_BYTES:,} bytes in "
                f"{seconds:g} s (if these are Mbit/s, write mbit:FILE)"
            )
        return f"{self.name}: read as Mbit/s, one for each of {len(self.mbps)} s"


def read(path: Path | str) -> Trace:
    """The trace at `path`, in the form that it shows or that is written before it; raises TraceError."""
    text = str(path)
    for prefix, form in _PREFIXES.items():
        if text.startswith(prefix):
            return read_as(Path(text.removeprefix(prefix)), form)
    if Path(path).suffix in (".up", ".down"):
        return read_as(Path(path), "mahimahi")
    lines = _lines(Path(path))
    whole = [int(line) for _, line in lines if _WHOLE.fullmatch(line)]
    rising = all(first <= second for first, second in pairwise(whole))
    if len(whole) == len(lines) >= _RISING and rising and whole[0] < whole[-1] < LAST_MS:
        return Trace(text, moments_ms=tuple(whole))
    return _rates(Path(path), lines)


def read_as(path: Path, form: Form) -> Trace:
    """The trace at `path`, which is of that form; raises TraceError where it is not."""
    lines = _lines(path)
    if form == "mbit":
        return _rates(path, lines)
    moments = []
    for number, line in lines:
        if not _WHOLE.fullmatch(line):
            raise TraceError(f"trace {path}, line {number}: {line[:40]!r} is not whole milliseconds")
        moments.append(int(line))
    reason = unsound_moments(moments)
    if reason is not None:
        raise TraceError(f"Mahimahi trace {path}: {reason}")
    return Trace(str(path), moments_ms=tuple(moments))


def unsound_moments(moments_ms: list[int] | tuple[int, ...]) -> str | None:
    """What is wrong with moments, or None."""
    rising = all(first <= second for first, second in pairwise(moments_ms))
    first, last = (moments_ms[0], moments_ms[-1]) if moments_ms else (0, 0)
    if rising and first >= 0 and 0 < last < LAST_MS:
        return None
    return (
        f"expected whole milliseconds, one a line, none below the one before it, the last above 0 and below {LAST_MS:,}"
    )


def unsound_rates(mbps: list[float] | tuple[float, ...]) -> str | None:
    """What is wrong with rates, or None."""
    sound = mbps and all(0.0 <= rate <= MOST_MBPS for rate in mbps)
    if sound and math.fsum(mbps) / len(mbps) * 1e6 >= LEAST_MEAN:
        return None
    return (
        f"expected Mbit/s, one a line, none below 0 or above {MOST_MBPS:,.0f}, on average at least {LEAST_MEAN:g} bit/s"
    )


def _rates(path: Path, lines: list[tuple[int, str]]) -> Trace:
    rates = []
    for number, line in lines:
        if not _NUMBER.fullmatch(line):
            raise TraceError(f"trace {path}, line {number}: {line[:40]!r} is not Mbit/s")
        rate = float(line)
        if not 0.0 <= rate <= MOST_MBPS:
            raise TraceError(
                f"trace {path}, line {number}: {line[:40]} Mbit/s; expected none below 0 or above {MOST_MBPS:,.0f}"
            )
        rates.append(rate)
    reason = unsound_rates(rates)
    if reason is not None:
        raise TraceError(f"rate trace {path}: {reason if rates else f'is empty; {reason}'}")
    return Trace(str(path), mbps=tuple(rates))


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise TraceError(f"trace {path}: has more than {_MOST_BYTES >> 20} MiB: give a shorter one")
        text = content.decode("ascii")
    except (OSError, ValueError) as error:  # ValueError: no path, or no ASCII
        if isinstance(error, TraceError):
            raise
        raise TraceError(f"trace {path}: cannot be read: {error}") from None
    stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]
