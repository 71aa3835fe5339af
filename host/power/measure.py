"""Energy an image above idle, the fabric's and the host program's: idle, run and control windows in turn.

What is above idle is what the whole board takes more while images are answered: the fabric's work, and that of the
host program which packs frames and looks whether records have come. Of a small kernel the host's share may be the
larger one. In a control window the host program does the same at the same pace, and the fabric nothing: run less
control is the fabric's, control less idle the host program's. Idle is with the bitstream loaded, so that the clocks of
the design count as idle.

The power of a board drifts with its temperature by as much as a small kernel adds. So each run and each control window
is held against the idle right before it and right after it: the later half of the one, the earlier half of the other. A
drift that is linear over these three cancels exactly, and since no idle half serves twice, the pairs are independent
and Student's t gives the interval. Neither a sensor's slowness nor the repetition of its values harms that: the
interval comes from whole windows, never from single readings.

Words owned here: window, pair (a run window and the control window behind it, each with its idles), settling time,
figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from edgesight.host.obtained import Obtained
from edgesight.host.power.log import CsvLog
from edgesight.host.power.loop import Loop
from edgesight.host.power.readings import Clock, DropOut, PowerError, PowerSensor, Reading

MIN_PAIRS = 3  # below, the interval is too wide to say anything
MIN_UPDATES = 10  # of the sensor in each half of an idle window
CONFIDENCE = 0.95
# Two-sided 95 % quantiles of Student's t by degrees of freedom from 1; beyond, the last one is a little too wide.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)  # fmt: skip
_PACE = 0.02  # by which control may be slower or faster than running, before that is told
_WHAT = (
    "the fabric's is what the board takes while images are answered above a control, in which the host program packs "
    "frames and waits for records at the same pace and the fabric does nothing; the host program's is the control "
    "above idle; idle is with the bitstream loaded, its clocks running"
)
_LOST_SHARE = 0.5  # of the readings a half window should hold; with more lost, its pair is left out

Floats = npt.NDArray[np.float64]
Unit = Literal["J", "W", "images/s"]
Kind = Literal["idle", "control", "run"]
_TURNS: Final[tuple[Kind, ...]] = ("idle", "run", "idle", "control")  # and an idle window behind the last


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """A number that says where it comes from; `low` and `high` bound it with 95 % confidence, where that is known."""

    value: float
    unit: Unit
    obtained: Obtained
    low: float | None = None
    high: float | None = None


class WindowReport(_Strict):
    """One window after its settling time."""

    kind: Kind
    begin: float  # seconds, on the sensor's clock
    end: float
    readings: int
    drop_outs: int
    watts: float | None  # mean; None where no reading was left
    images: int


class EnergyReport(_Strict):
    """What `measure` found."""

    subject: str  # what ran
    sensor: str
    obtained: Obtained
    joules_per_image: Figure  # above idle: of the whole board, host program included; the sum of the next two
    fabric_joules_per_image: Figure  # run less control
    host_joules_per_image: Figure  # control less idle
    added_watts: Figure  # run less idle
    fabric_watts: Figure  # run less control
    host_watts: Figure  # control less idle
    idle_watts: Figure
    control_watts: Figure
    run_watts: Figure
    images_per_second: Figure
    control_images_per_second: Figure  # gone through without the fabric
    images: int  # answered in the settled parts of the pairs that count
    pairs: int
    pairs_left_out: int  # too many drop-outs, or a sensor that stood still
    readings: int
    drop_outs: int
    step_watts: float  # the smallest difference between two readings
    settle_seconds: float
    notes: list[str]  # what a reader should know before trusting the figures
    windows: list[WindowReport]

    def figures(self) -> dict[str, Figure]:
        """All of them, by name."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: figure for name, figure in fields.items() if isinstance(figure, Figure)}


def measure(
    sensor: PowerSensor | CsvLog,
    loop: Loop,
    idle: Callable[[float], None] = time.sleep,
    *,
    subject: str,
    pairs: int = 8,
    seconds: float = 10.0,
    settle: float = 1.0,
    progress: Callable[[Kind, int], None] = lambda kind, number: None,
) -> EnergyReport:
    """Energy an image of what `loop` does, above idle; takes (4 pairs + 1) windows of `seconds` each.

    The `loop` is to answer its images in much less time than the sensor's update period; `idle` waits that many seconds
    doing nothing. `settle` seconds at the start of each window don't count. `subject` says what runs, `progress` gets
    each window as it begins. Raises PowerError where windows are too short for the sensor, or where what it said cannot
    be trusted.
    """
    if pairs < MIN_PAIRS:
        raise PowerError(f"{pairs} run windows are too few for an interval: take at least {MIN_PAIRS}")
    if not settle >= 0.0 or not seconds > settle:
        raise PowerError(f"windows of {seconds:g} s of which {settle:g} s settle: leave some time to measure in")
    if not isinstance(sensor, CsvLog):
        _check_length(sensor, seconds, settle)
    windows: list[_Window] = []
    works: dict[Kind, Callable[[], int] | None] = {"idle": None, "run": loop.run, "control": loop.control}
    for number in range(windows_of(pairs)):
        kind = _TURNS[number % len(_TURNS)]
        progress(kind, number)
        windows.append(_observe(sensor, kind, works[kind], idle, seconds))
    if isinstance(sensor, CsvLog):
        _fill(sensor, windows)
    return _report(sensor, windows, subject, settle)


def windows_of(pairs: int) -> int:
    """How many windows so many pairs take."""
    return len(_TURNS) * pairs + 1


@dataclass
class _Window:
    kind: Kind
    begin: float
    end: float = math.nan
    readings: list[Reading] = field(default_factory=list)
    drop_outs: int = 0
    marks: list[tuple[float, int]] = field(default_factory=list)  # when a batch ended, images until then

    def mean(self, begin: float, end: float) -> tuple[float, int]:
        """Mean power and count of the readings whose whole span lies between two times."""
        slack = 1e-6  # of the clock
        inside = [r for r in self.readings if r.time - r.span >= begin - slack and r.time <= end + slack]
        weight = sum(reading.span for reading in inside)
        if not weight:
            return math.nan, 0
        return sum(reading.watts * reading.span for reading in inside) / weight, len(inside)

    def rate(self, begin: float) -> tuple[float, int]:
        """Images a second, and images, between the first and the last batch that ended after `begin`."""
        marks = [mark for mark in self.marks if mark[0] >= begin]
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return math.nan, 0
        images = marks[-1][1] - marks[0][1]
        return images / (marks[-1][0] - marks[0][0]), images


def _check_length(sensor: PowerSensor, seconds: float, settle: float) -> None:
    period = sensor.update_seconds
    needed = settle + 2 * (MIN_UPDATES + 1) * period
    if seconds < needed:
        raise PowerError(
            f"windows of {seconds:g} s are too short: {sensor.name} has a new value each {period:g} s, and each half "
            f"of what is left after {settle:g} s needs {MIN_UPDATES} of them: make them at least {needed:.1f} s long"
        )


def _observe(
    sensor: PowerSensor | CsvLog,
    kind: Kind,
    work: Callable[[], int] | None,
    idle: Callable[[float], None],
    seconds: float,
) -> _Window:
    """Go through one window, reading a sensor as often as it has something new."""
    clock: Clock = sensor.clock
    window = _Window(kind, clock())
    end, images = window.begin + seconds, 0
    window.marks.append((window.begin, 0))
    period = math.inf if isinstance(sensor, CsvLog) else sensor.update_seconds
    due = window.begin + period
    while clock() < end:
        if work is not None:
            images += work()
            window.marks.append((clock(), images))
        else:
            idle(max(0.0, min(due, end) - clock()))
        if clock() >= due and not isinstance(sensor, CsvLog):
            try:
                reading = sensor.read()
            except DropOut:
                window.drop_outs += 1
            else:
                if reading is not None and reading.time - reading.span >= window.begin:
                    window.readings.append(reading)
            # A late reading doesn't make the next ones hurry: the sensor has nothing new that soon.
            due = max(due + period, clock() + period / 2)
    window.end = clock()
    return window


def _fill(log: CsvLog, windows: list[_Window]) -> None:
    """Share what an external meter logged out to the windows."""
    readings = log.between(windows[0].begin, windows[-1].end)
    for window in windows:
        window.readings = [r for r in readings if window.begin <= r.time - r.span and r.time <= window.end]


def _report(sensor: PowerSensor | CsvLog, windows: list[_Window], subject: str, settle: float) -> EnergyReport:
    everything = [reading for window in windows for reading in window.readings]
    values = sorted({reading.watts for reading in everything})
    if len(values) < 2:
        said = f"{values[0]:.6g} W in all {len(everything)} readings" if values else "nothing at all"
        raise PowerError(
            f"{sensor.name}: said {said}: it is stuck, or too coarse to see this load; name another sensor"
        )
    step = min(after - before for before, after in pairwise(values))
    lag = _lag(windows, settle) if isinstance(sensor, CsvLog) else 0.0
    if isinstance(sensor, CsvLog) and lag:
        instead = f" in place of {sensor.offset:.3f}" if sensor.offset else ""
        raise PowerError(
            f"{sensor.name}: fits the windows best when its times are shifted by {lag:+.2g} s: correct its clock with "
            f"offset={sensor.offset + lag:.3f}{instead}"
        )
    expected, scatter = _expected(sensor, everything), _scatter(windows, settle)
    pairs: list[tuple[_Above, _Above]] = []  # of a run, of its control
    possible = len(windows) // len(_TURNS)
    for at in range(0, len(windows) - 1, len(_TURNS)):
        both = [_above(windows[place : place + 3], settle, expected, scatter >= step) for place in (at, at + 2)]
        if both[0] is not None and both[1] is not None:
            pairs.append((both[0], both[1]))
    drop_outs = sum(window.drop_outs for window in windows)
    if len(pairs) < MIN_PAIRS:
        raise PowerError(
            f"{sensor.name}: only {len(pairs)} of {possible} pairs of windows have enough readings ({len(everything)} "
            f"came, {drop_outs} failed): make windows longer, run fewer images at a time, or check the sensor's wiring"
        )
    obtained = sensor.obtained
    runs, controls = ([pair[which] for pair in pairs] for which in (0, 1))
    rates = np.array([run.rate for run in runs])
    total, host = (np.array([one.watts - one.idle for one in those]) for those in (runs, controls))
    # Rounding averages out only where readings scatter by about a step or more.
    rounding = step if scatter < step / 2 else 0.0

    def plain(values: Sequence[float], unit: Unit) -> Figure:
        return Figure(value=float(np.mean(values)), unit=unit, obtained=obtained)

    def both_of(watts: Floats, steps: int) -> tuple[Figure, Figure]:
        """Joules an image, and watts; rounded `steps` times."""
        wider = steps * rounding
        joules = _figure(watts / rates, "J", obtained, wider / float(rates.mean()))
        return joules, _figure(watts, "W", obtained, wider)

    (energy, added), (of_fabric, fabric_watts), (of_host, host_watts) = (
        both_of(total, 1), both_of(total - host, 2), both_of(host, 1)
    )  # fmt: skip
    report = EnergyReport(
        subject=subject,
        sensor=sensor.name,
        obtained=obtained,
        joules_per_image=energy,
        fabric_joules_per_image=of_fabric,
        host_joules_per_image=of_host,
        added_watts=added,
        fabric_watts=fabric_watts,
        host_watts=host_watts,
        idle_watts=plain([one.idle for pair in pairs for one in pair], "W"),
        control_watts=plain([control.watts for control in controls], "W"),
        run_watts=plain([run.watts for run in runs], "W"),
        images_per_second=plain([run.rate for run in runs], "images/s"),
        control_images_per_second=plain([control.rate for control in controls], "images/s"),
        images=sum(run.images for run in runs),
        pairs=len(pairs),
        pairs_left_out=possible - len(pairs),
        readings=len(everything),
        drop_outs=drop_outs,
        step_watts=step,
        settle_seconds=settle,
        notes=[_WHAT, *_notes(sensor, windows, settle, expected)],
        windows=[_window_report(window, settle) for window in windows],
    )
    if rounding:
        report.notes.append(f"readings scatter less than their step of {step:.3g} W, which is added to either side")
    report.notes.extend(_doubts(report))
    return report


@dataclass(frozen=True)
class _Above:
    """A window in which something ran, held against its idles."""

    idle: float  # watts
    watts: float
    rate: float  # images/s
    images: int


def _above(three: Sequence[_Window], settle: float, expected: float, scatters: bool) -> _Above | None:
    """Of an idle, a running and an idle window; None where one has too few readings, or the sensor stood still.

    Of a sensor whose readings scatter, that is where it says the same all through a window.
    """
    before, middle, after = three
    half = (before.begin + settle + before.end) / 2, (after.begin + settle + after.end) / 2
    parts = (
        (before.mean(half[0], before.end), before.end - half[0]),
        (middle.mean(middle.begin + settle, middle.end), middle.end - middle.begin - settle),
        (after.mean(after.begin + settle, half[1]), half[1] - after.begin - settle),
    )
    if any(count < max(2, _LOST_SHARE * (length / expected - 1)) for (_, count), length in parts):
        return None
    if scatters and any(_frozen(window, settle) for window in three):
        return None
    rate, images = middle.rate(middle.begin + settle)
    if not rate > 0.0:
        raise PowerError(
            f"a {middle.kind} window of {middle.end - middle.begin:.1f} s held fewer than two whole batches after "
            "settling: run fewer images at a time, or make windows longer"
        )
    (earlier, _), (running, _), (later, _) = (mean for mean, _ in parts)
    return _Above((earlier + later) / 2, running, rate, images)


def _doubts(report: EnergyReport) -> list[str]:
    """What keeps the figures from being taken as they are."""
    doubts = []
    for figure, what in (
        (report.joules_per_image, "running from idle"),
        (report.fabric_joules_per_image, "running from the host program alone"),
    ):
        if figure.low is not None and figure.low <= 0.0:
            doubts.append(f"the interval holds 0: this sensor does not tell {what}")
    pace = report.control_images_per_second.value / report.images_per_second.value
    if abs(pace - 1.0) > _PACE:
        doubts.append(
            f"the control went {pace:.2f} times as fast as running, so that the host program's share is too "
            f"{'large' if pace > 1.0 else 'small'}"
        )
    return doubts


def _figure(values: Floats, unit: Unit, obtained: Obtained, rounding: float) -> Figure:
    """Mean with Student's interval, `rounding` wider on either side."""
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = _T95[min(len(values) - 1, len(_T95)) - 1] * spread + rounding
    return Figure(value=mean, unit=unit, obtained=obtained, low=mean - half, high=mean + half)


def _expected(sensor: PowerSensor | CsvLog, readings: list[Reading]) -> float:
    """Seconds between readings, where none is lost."""
    if isinstance(sensor, CsvLog):
        return float(np.median([reading.span for reading in readings]))
    return sensor.update_seconds


def _scatter(windows: list[_Window], settle: float) -> float:
    """Median over the windows of their readings' standard deviation, watts."""
    return float(
        np.median([np.std([r.watts for r in w.readings if r.time >= w.begin + settle] or [0.0]) for w in windows])
    )


def _frozen(window: _Window, settle: float) -> bool:
    """Whether the sensor said the same all through a window, which one whose readings scatter does not."""
    return len({reading.watts for reading in window.readings if reading.time >= window.begin + settle}) == 1


def _notes(sensor: PowerSensor | CsvLog, windows: list[_Window], settle: float, expected: float) -> list[str]:
    notes = []
    repeats = [after.watts == before.watts for window in windows for before, after in pairwise(window.readings)]
    repeated = sum(repeats) / max(1, len(repeats))
    if repeated > 0.6:
        period = expected / (1.0 - min(repeated, 0.999))
        notes.append(
            f"{repeated:.0%} of the readings repeat the one before: the power is that even, or the sensor has "
            f"a new value only each {period:.2g} s, so that {settle:g} s of settling should be more than that"
        )
    return notes


def _lag(windows: list[_Window], settle: float) -> float:
    """Seconds by which a log's times should be shifted for its steps to lie where the windows change; 0 if within.

    Settling time absorbs a lag shorter than itself; one longer would put running power into idle windows.
    """
    readings = [reading for window in windows for reading in window.readings]
    times = np.array([reading.time for reading in readings])
    watts = np.array([reading.watts for reading in readings])
    length = (windows[-1].end - windows[0].begin) / len(windows)
    edges = np.array([window.begin for window in windows])
    running = np.array([window.kind != "idle" for window in windows])

    def contrast(lag: float) -> float:
        where = np.clip(np.searchsorted(edges, times + lag, side="right") - 1, 0, len(windows) - 1)
        mask = running[where]
        return float(watts[mask].mean() - watts[~mask].mean()) if mask.any() and not mask.all() else -math.inf

    lags = np.linspace(-length / 2, length / 2, 81)
    contrasts = [contrast(lag) for lag in lags]
    best = int(np.argmax(contrasts))
    here = contrast(0.0)
    significant = contrasts[best] > 0.0 and contrasts[best] - max(here, 0.0) > 0.15 * contrasts[best]
    noise = 4.0 * float(watts.std()) / math.sqrt(len(watts))
    if significant and contrasts[best] - here > noise and abs(lags[best]) > settle:
        return float(lags[best])
    return 0.0


def _window_report(window: _Window, settle: float) -> WindowReport:
    begin = window.begin + settle
    watts, count = window.mean(begin, window.end)
    return WindowReport(
        kind=window.kind,
        begin=begin,
        end=window.end,
        readings=count,
        drop_outs=window.drop_outs,
        watts=watts if count else None,
        images=window.rate(begin)[1],
    )
