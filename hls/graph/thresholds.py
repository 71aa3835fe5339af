"""What stands between integers and the next quantiser becomes integer thresholds, or a shift where that is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgesight.hls.graph.source import Refused
from edgesight.hls.network import Integers

MAX_TABLE = 1 << 26  # integers times channels that are looked at one by one
MAX_THRESHOLDS = 1 << 22  # of all channels
MAX_LEVELS = 255  # thresholds of a channel: 8 bits
_BLOCK = 1 << 20
Counted = Callable[[npt.NDArray[Any]], Integers]  # [n, channels] integers of the source to those of the quantiser


@dataclass(frozen=True)
class Steps:
    """first[c] + step[c] * count(x >= thresholds[c]), for x from low[c] to high[c]."""

    thresholds: Integers  # [channels, n]
    first: Integers
    step: Integers
    low: Integers
    high: Integers


@dataclass(frozen=True)
class Shift:
    """clip(round((x * multiplier[c] + offset[c]) / 2**shift)) to the limits."""

    multiplier: Integers
    offset: Integers
    shift: int
    rounding: Literal[0, 1, 2]
    limits: tuple[int, int]


def steps_of(counted: Counted, low: Integers, high: Integers, direction: Integers, unit: int) -> Steps:
    """The thresholds of a function whose integers are `unit` apart, for integers from low[c] to high[c].

    `direction` tells where it is known to rise (1) or fall (-1); where it is not (0), every integer is looked at.
    Raises Refused where a channel both rises and falls, or where that takes too long.
    """
    ends = np.stack([counted(low[None])[0], counted(high[None])[0]])
    events = None
    if np.any(direction == 0):
        direction, events = _looked_at(counted, low, high)
    sides = ends * direction  # rising
    base = np.zeros_like(low)
    for way in (1, -1):
        own = direction == way
        least = sides[0][own].min(initial=np.iinfo(np.int64).max)
        base[own] = least + (sides[0][own] - least) % unit  # channels differ in what is left where unit is 2
    count = max(int(((sides[1] - base) // unit).max()), 1)
    if count * len(low) > MAX_THRESHOLDS:
        raise Refused(f"{count} thresholds for each of {len(low)} channels", "quantise to fewer bits")
    levels = base + unit * (1 + np.arange(count)[:, None])  # [n, channels]
    if events is None:
        found = _bisected(lambda x: counted(x) * direction, low, high, levels)
    else:
        found = _counted_up((*events[:2], events[2] // unit), low, high, levels, sides[0])
    return Steps(found.T, base * direction, direction * unit, low, high)


def _bisected(rising: Counted, low: Integers, high: Integers, levels: Integers) -> Integers:
    """The smallest integer [n, channels] at which each level is reached; high + 1 where it is not."""
    below = np.broadcast_to(low - 1, levels.shape).copy()
    above = np.broadcast_to(high + 1, levels.shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) // 2
        inside = np.clip(middle, low, high)
        reached = rising(inside) >= levels
        narrow = above - below > 1
        above = np.where(narrow & reached, middle, above)
        below = np.where(narrow & ~reached, middle, below)
    return above


_Events = tuple[Integers, Integers, Integers]  # integer, channel, levels that it goes up or down by


def seen_direction(function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], low: Integers, high: Integers) -> Integers:
    """1 or -1 for each channel, seen at every integer; raises Refused where one both rises and falls."""
    return _looked_at(function, low, high)[0]


def _looked_at(
    counted: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], low: Integers, high: Integers
) -> tuple[Integers, _Events]:
    """Direction [channels] and every change of a function, looked at integer by integer."""
    length = int((high - low).max()) + 1
    if length * len(low) > MAX_TABLE:
        raise Refused(
            f"a function that is not known to rise or fall, of {length} integers in {len(low)} channels",
            f"let sums be smaller (at most {MAX_TABLE} integers in all), or use a ReLU",
        )
    block = max(_BLOCK // len(low), 2)
    before = counted(low[None])
    found: list[_Events] = []
    for first in range(1, length, block):
        points = low + np.arange(first, min(first + block, length))[:, None]
        made = counted(np.minimum(points, high))
        change = np.diff(np.concatenate([before, made]), axis=0)
        rows, channels = np.nonzero(change)
        found.append((points[rows, channels], channels, change[rows, channels]))
        before = made[-1:]
    joined = [np.concatenate(each) for each in zip(*found, strict=True)] if found else [np.zeros(0, np.int64)] * 3
    events = (joined[0], joined[1], joined[2])
    up, down = (np.bincount(events[1][way], minlength=len(low)) > 0 for way in (events[2] > 0, events[2] < 0))
    both = np.flatnonzero(up & down)
    if len(both):
        shown = ", ".join(map(str, both[:4])) + (" ..." if len(both) > 4 else "")
        raise Refused(
            f"channels {shown}: the function before it both rises and falls, which thresholds cannot count",
            "use a function that only rises or only falls",
        )
    return np.where(down, -1, 1), events


def _counted_up(events: _Events, low: Integers, high: Integers, levels: Integers, start: Integers) -> Integers:
    points, channels, changes = events
    found = np.where(levels <= start, low, high + 1)
    order = np.lexsort((points, channels))
    at = np.repeat(points[order], np.abs(changes[order]))
    of = np.repeat(channels[order], np.abs(changes[order]))
    skipped = (levels <= start).sum(axis=0)
    first = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(low)))])
    rows = np.arange(len(of)) - first[of] + skipped[of]
    found[rows, of] = at
    return found


def shift_of(steps: Steps) -> Shift | None:
    """The same function as a shift: equal on the whole range, or None. No multiplication but by 1 and -1."""
    if np.any(np.abs(steps.step) != 1):
        return None
    falls = steps.step < 0
    count = steps.thresholds.shape[1]
    lowest = int(np.where(falls, steps.first - count, steps.first).min())
    highest = int(np.where(falls, steps.first, steps.first + count).max())
    low, high = np.where(falls, -steps.high, steps.low), np.where(falls, -steps.low, steps.high)
    wanted = np.arange(lowest + 1, highest + 1)
    reached = np.empty((len(low), len(wanted)), np.int64)  # smallest x or -x that gives each integer
    for channel, (row, first) in enumerate(zip(steps.thresholds, steps.first, strict=True)):
        if falls[channel]:
            places = first - wanted
            edges = np.concatenate([1 - row, [low[channel], high[channel] + 1]])
            at = np.where(places < 0, count + 1, np.where(places >= count, count, places))
        else:
            places = wanted - first - 1
            edges = np.concatenate([row, [low[channel], high[channel] + 1]])
            at = np.where(places < 0, count, np.where(places >= count, count + 1, places))
        reached[channel] = edges[at]
    reached = np.clip(reached, low[:, None], high[:, None] + 1)
    inside = (reached > low[:, None]) & (reached <= high[:, None])
    apart = np.diff(reached, axis=1)[inside[:, 1:] & inside[:, :-1]]
    if not len(apart):
        return None
    shift = round(float(np.log2(max(float(apart.mean()), 1))))
    roundings: tuple[Literal[0, 2], ...] = (0, 2) if shift else (0,)
    for rounding in roundings:
        begins = wanted << shift
        if rounding:
            begins = begins - (1 << (shift - 1)) + (wanted & 1)
        value = lowest + (reached <= low[:, None]).sum(axis=1)  # at the low end
        offset = (value << shift) + ((1 << shift) >> 1) * (rounding == 0) - (low + high) // 2
        any_inside = inside.any(axis=1)
        place = inside.argmax(axis=1)
        offset = np.where(any_inside, begins[place] - np.take_along_axis(reached, place[:, None], 1)[:, 0], offset)
        same = np.clip(begins - offset[:, None], low[:, None], high[:, None] + 1)
        if np.array_equal(same, reached):
            multiplier = np.where(falls, -1, 1)
            return Shift(multiplier, offset, shift, rounding, (lowest, highest))
    return None
