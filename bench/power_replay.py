"""Sensors that are made up: file trees like the kernel's and a meter's log, under virtual time.

What went into the files is known, so that what is measured from them can be held against it. Everything measured here
is marked replayed.

Words owned here: world, truth.
"""

from __future__ import annotations

import errno
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgesight.host.obtained import Obtained
from edgesight.host.power.log import CsvLog
from edgesight.host.power.measure import EnergyReport, Figure, measure
from edgesight.host.power.readings import Clock, PowerSensor, Reading
from edgesight.host.power.sensors import HwmonSensor, RaplSensor

Form = Literal["hwmon", "csv", "rapl"]
FORMS: tuple[Form, ...] = ("hwmon", "csv", "rapl")

_EPOCH = 1_760_000_000.0  # where virtual time begins: some date, as a meter's clock wants one
_FEEL = 0.1  # seconds in which a supply follows the load's steps


@dataclass(frozen=True)
class World:
    """What a board draws, how fast it answers and how its sensor sees that. Powers in W, times in s."""

    idle: float = 3.2
    added: float = 0.35  # by running, the host program included
    host: float = 0.15  # of that, by the host program alone
    images_per_second: float = 20_000.0
    drift: float = 0.0002  # W a second, for ever
    wander: float = 0.03  # amplitude of a slow swing on top, as of a fan or of the room
    noise: float = 0.02  # standard deviation of the power over one period
    period: float = 0.15  # between the sensor's values; they jitter by a tenth
    step: float = 0.01  # that values are rounded to
    lost: float = 0.02  # share of readings that fail
    batch: float = 0.05  # seconds that one batch of images takes


class Bench:
    """A world in virtual time: its clock, its idling and its running, and what its sensor would have seen."""

    def __init__(self, world: World, seed: int) -> None:
        """Time begins at a date and goes on only by `idle` and `run`."""
        self.world = world
        self.now = _EPOCH
        self._random = np.random.default_rng(seed)
        self._phase = self._random.uniform(0.0, 2.0 * math.pi)
        self._load = 0.0  # added power that is felt now, W
        self._flicker = 0.0  # power's noise until the next value
        self._joules = 0.0  # since time began
        self._value = (self.now, world.idle)  # the sensor's newest, and when it came
        self._value_joules = 0.0
        self._next = self.now + world.period
        self.values: list[tuple[float, float]] = []  # all that the sensor ever said
        self.images = 0

    @property
    def joules_per_image(self) -> float:
        """The truth."""
        return self.world.added / self.world.images_per_second

    @property
    def fabric_joules_per_image(self) -> float:
        """The fabric's part of it."""
        return (self.world.added - self.world.host) / self.world.images_per_second

    def clock(self) -> float:
        """Virtual time."""
        return self.now

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        self._pass(max(seconds, 1e-6), 0.0)

    def run(self) -> int:
        """One batch."""
        return self._batch(self.world.added)

    def control(self) -> int:
        """One batch without the fabric."""
        return self._batch(self.world.host)

    def _batch(self, added: float) -> int:
        self._pass(self.world.batch, added)
        before, self.images = self.images, self.images + round(self.world.batch * self.world.images_per_second)
        return self.images - before

    def joules(self) -> float:
        """Energy since time began."""
        return self._joules

    def watts(self) -> float:
        """What the sensor says now: its newest value, rounded."""
        return self._value[1]

    def fails(self) -> bool:
        """Whether reading the sensor fails this time."""
        return bool(self._random.random() < self.world.lost)

    def _pass(self, seconds: float, load: float) -> None:
        end = self.now + seconds
        while self.now < end:
            until = min(end, self._next)
            span = until - self.now
            # The supply follows the load exponentially; the mean over the span is exact.
            fading = math.exp(-span / _FEEL)
            mean_load = load + (self._load - load) * (1.0 - fading) * _FEEL / max(span, 1e-12)
            self._load = load + (self._load - load) * fading
            middle = (self.now + until) / 2 - _EPOCH
            base = self.world.idle + self.world.drift * middle
            base += self.world.wander * math.sin(2.0 * math.pi * middle / 300.0 + self._phase)
            self._joules += (base + self._flicker + mean_load) * span
            self.now = until
            if until == self._next:
                self._see()

    def _see(self) -> None:
        """The sensor makes a value: the mean since its last one, rounded."""
        watts = (self._joules - self._value_joules) / (self.now - self._value[0])
        rounded = round(watts / self.world.step) * self.world.step
        self._value, self._value_joules = (self.now, rounded), self._joules
        self.values.append(self._value)
        self._flicker = self._random.normal(0.0, self.world.noise)
        self._next = self.now + self.world.period * self._random.uniform(0.9, 1.1)


def hwmon_sensor(bench: Bench, root: Path, chip: str = "ina260_u14") -> HwmonSensor:
    """The world's sensor as a tree like /sys/class/hwmon under `root`, among others that are no power sensors."""
    for name, files in (("soc_thermal", ["temp1_input"]), (chip, []), ("pwmfan", ["pwm1"])):
        folder = root / f"hwmon{len(list(root.glob('hwmon*')))}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        for file in files:
            (folder / file).write_text("42000\n")
        if name == chip:
            (folder / "power1_input").write_text(_microwatts(bench.watts()))

    def read(path: Path) -> bytes:
        # What the kernel does when a file is read: ask the chip, and hand its error on.
        if path.name == "power1_input":
            if bench.fails():
                raise OSError(errno.EIO if bench.now % 2.0 < 1.0 else errno.EAGAIN, "replayed drop-out", str(path))
            _say(path, _microwatts(bench.watts()))
        return path.read_bytes()

    return HwmonSensor(chip, root=root, clock=bench.clock, read=read, obtained="replayed")


def rapl_sensor(bench: Bench, root: Path, wraps_at: float = 262.143) -> PowerSensor:
    """The world's energy counter as a tree like /sys/class/powercap under `root`; it wraps at so many joules."""
    folder = root / "intel-rapl:0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("package-0\n")
    (folder / "max_energy_range_uj").write_text(f"{round(wraps_at * 1e6)}\n")
    counter = folder / "energy_uj"
    counter.touch()

    def write() -> None:
        unit = 2.0**-14  # joules, as such processors count
        _say(counter, f"{round(bench.joules() // unit * unit % wraps_at * 1e6)}\n")

    write()
    return _Following(write, RaplSensor(root=root, clock=bench.clock, obtained="replayed"))


def csv_log(bench: Bench, path: Path, *, header: str = "time (s),power (mW)", offset: float = 0.0) -> CsvLog:
    """A log of the world's sensor, written when it is asked for; the meter's clock is `offset` seconds behind."""

    def write(seconds: float) -> None:
        bench.idle(seconds)
        lines = [f"{time - offset:.3f},{watts * 1e3:.1f}" for time, watts in bench.values]
        path.write_text("\n".join([header, *lines]) + "\n")

    return CsvLog(path, clock=bench.clock, sleep=write, obtained="replayed")


@dataclass(frozen=True)
class Estimate:
    """Joules an image above idle: what was measured from replayed files, and what these were made from."""

    joules: float
    low: float
    high: float
    truth: float

    @property
    def error(self) -> float:
        """Relative to the truth."""
        return abs(self.joules / self.truth - 1.0)

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


@dataclass(frozen=True)
class ReplayedEnergy:
    """A made-up world, measured."""

    form: Form
    seed: int
    whole: Estimate  # fabric and host program
    fabric: Estimate
    pairs: int
    drop_outs: int


def replayed_energy(
    form: Form, seed: int, world: World | None = None, *, pairs: int = 8, seconds: float = 10.0
) -> ReplayedEnergy:
    """Measure a made-up world through the files of a sensor of one form: noise, drift, rounding, drop-outs and all."""
    bench = Bench(world or World(), seed)
    with tempfile.TemporaryDirectory() as folder:
        sensor = _sensor(form, bench, Path(folder))
        report = measure(sensor, bench, bench.idle, subject="a made-up world", pairs=pairs, seconds=seconds)
    return _compare(form, seed, bench, report)


def _sensor(form: Form, bench: Bench, folder: Path) -> PowerSensor | CsvLog:
    if form == "hwmon":
        return hwmon_sensor(bench, folder)
    if form == "rapl":
        return rapl_sensor(bench, folder)
    log = csv_log(bench, folder / "meter.csv")
    bench.idle(5.0)  # the meter is started first
    return log


def _compare(form: Form, seed: int, bench: Bench, report: EnergyReport) -> ReplayedEnergy:
    return ReplayedEnergy(
        form=form,
        seed=seed,
        whole=_estimate(report.joules_per_image, bench.joules_per_image),
        fabric=_estimate(report.fabric_joules_per_image, bench.fabric_joules_per_image),
        pairs=report.pairs,
        drop_outs=report.drop_outs,
    )


def _estimate(energy: Figure, truth: float) -> Estimate:
    assert energy.low is not None  # measured energy has an interval
    assert energy.high is not None
    return Estimate(energy.value, energy.low, energy.high, truth)


class _Following:
    """A sensor whose files are brought up to the time before each reading."""

    def __init__(self, write: Callable[[], None], sensor: PowerSensor) -> None:
        self._write, self._sensor = write, sensor
        self.name = sensor.name
        self.obtained: Obtained = sensor.obtained
        self.update_seconds = sensor.update_seconds
        self.clock: Clock = sensor.clock

    def read(self) -> Reading | None:
        self._write()
        return self._sensor.read()


def _say(file: Path, text: str) -> None:
    """Let `file` hold `text`; never cut to nothing in between, since a disk's file system flushes what is."""
    with file.open("r+b", buffering=0) as opened:
        opened.write(text.encode())
        opened.truncate()


def _microwatts(watts: float) -> str:
    return f"{round(watts * 1e6)}\n"
