"""Energy of answers while they are given: what answering adds to the board's power, shared out to the images.

No sensor sees one answer: it has a new value six times a second, and an answer takes microseconds. But over the last
minute power rose and fell with the share of time that the fabric was busy, and with it the host program, which feeds
the fabric and waits for it. A line fitted through (share busy, watts) has the power that both add as its slope; times
the busy time an image took, that is its energy above idle, a mean over the images of late. Where the fit is too poor to
tell, nothing is told: so it is while the fabric does nothing, and while it never rests.

Words owned here: busy share, block, energy of late.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesight.host.measures import Labels, Measure
from edgesight.host.obtained import Obtained
from edgesight.host.power.log import CsvLog
from edgesight.host.power.readings import DropOut, PowerError, PowerSensor

# Values of the sensor that are one point of the fit. A value lags by up to one period, which would flatten the slope.
_BLOCK = 8
_MIN_BLOCKS = 10
_HORIZON = 60.0  # seconds that an estimate looks back
_MAX_RELATIVE_ERROR = 0.2  # standard error of the slope over the slope; a poorer estimate is not told

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecentEnergy:
    """Energy above idle that an image took of late."""

    joules: float
    standard_error: float
    obtained: Obtained


@dataclass
class _Block:
    """Some of the sensor's values in a row, and what the fabric did meanwhile."""

    begin: float
    end: float
    joules: float = 0.0
    seconds: float = 0.0  # that the values are the means of
    busy: float = 0.0  # seconds
    images: int = 0
    values: int = 0


class EnergyMeter:
    """Reads a sensor in the background and relates it to when the fabric was busy; one run of the fabric at a time."""

    def __init__(self, sensor: PowerSensor | CsvLog) -> None:
        """Nothing runs before `start`; raises PowerError for a log, which cannot be read while it is written."""
        if isinstance(sensor, CsvLog):
            raise PowerError(
                f"{sensor.name}: answers need a sensor that can be read at once, which a meter's log is not"
                "; name another sensor"
            )
        self._sensor = sensor
        self._lock = threading.Lock()
        self._since: float | None = None  # when the run that goes on began
        self._busy = 0.0  # seconds, of runs that have ended
        self._images = 0
        self._taken = (sensor.clock(), 0.0, 0)  # when the last value was taken, busy seconds and images until then
        self._block: _Block | None = None
        self._blocks: deque[_Block] = deque()
        self._energy: RecentEnergy | None = None
        self._watts: float | None = None  # the sensor's newest
        self._told = sensor.clock()  # end of the block that the energy was last estimated at
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read the sensor."""
        self._thread = threading.Thread(target=self._sample_for_ever, name="power", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; calling it twice is harmless."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    @contextlib.contextmanager
    def busy(self, images: int) -> Iterator[None]:
        """The fabric runs this many images inside the `with`."""
        with self._lock:
            self._since = self._sensor.clock()
        try:
            yield
        finally:
            with self._lock:
                self._busy += self._sensor.clock() - self._since
                self._since = None
                self._images += images

    def energy(self) -> RecentEnergy | None:
        """Energy an image of late; None where the sensor cannot tell, has too little to go by yet, or fell silent."""
        with self._lock:
            late = self._sensor.clock() - self._told > _HORIZON
            return None if late else self._energy

    def measures(self) -> Sequence[Measure]:
        """What the sensor says; nothing once it fell silent."""
        with self._lock:
            watts: dict[Labels, float] = {(self._sensor.obtained,): self._watts} if self._watts is not None else {}
        return (Measure("power_watts", "Power, idle included, as the sensor has it.", "gauge", ("obtained",), watts),)

    def sample(self) -> None:
        """Take the sensor's value; `start` has this done as often as there is something new. Raises PowerError."""
        try:
            reading = self._sensor.read()
        except DropOut:
            with self._lock:  # the next value is of its own period alone
                self._taken = (self._sensor.clock(), *self._done(self._sensor.clock()))
                self._watts = None
            return
        if reading is None:
            return
        with self._lock:
            begin, busy_before, images_before = self._taken
            busy, images = self._done(reading.time)
            self._taken = (reading.time, busy, images)
            self._watts = reading.watts
            block = self._block or _Block(begin, begin)
            span = reading.time - begin
            block.end = reading.time
            block.joules += reading.watts * span
            block.seconds += span
            block.busy += busy - busy_before
            block.images += images - images_before
            block.values += 1
            self._block = block
            if block.values == _BLOCK:
                self._block = None
                self._blocks.append(block)
                while self._blocks[0].begin < block.end - _HORIZON:
                    self._blocks.popleft()
                self._energy, self._told = self._estimate(), block.end

    def _done(self, now: float) -> tuple[float, int]:
        """Busy seconds and images until `now`, the run that goes on included."""
        going = max(0.0, now - self._since) if self._since is not None else 0.0
        return self._busy + going, self._images

    def _estimate(self) -> RecentEnergy | None:
        blocks = [block for block in self._blocks if block.seconds > 0.0]
        images = sum(block.images for block in blocks)
        if len(blocks) < _MIN_BLOCKS or not images:
            return None
        shares = np.array([block.busy / block.seconds for block in blocks])
        watts = np.array([block.joules / block.seconds for block in blocks])
        slope, error = _line(shares, watts)
        if not slope > 0.0 or error > _MAX_RELATIVE_ERROR * slope:
            return None
        seconds = sum(block.busy for block in blocks) / images
        return RecentEnergy(slope * seconds, error * seconds, self._sensor.obtained)

    def _sample_for_ever(self) -> None:
        try:
            while not self._stop.wait(self._sensor.update_seconds):
                self.sample()
        except PowerError as error:
            logger.warning("energy is not metered any more: %s", error)
        except Exception:  # a thread's end is noticed by nobody else
            logger.exception("energy is not metered any more")
        finally:
            with self._lock:
                self._energy = self._watts = None


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of y on x by least squares, and its standard error; an infinite one where x does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread <= 0.0:
        return 0.0, math.inf
    slope = float(centred @ y) / spread
    residuals = y - y.mean() - slope * centred
    return slope, math.sqrt(float(residuals @ residuals) / (len(x) - 2) / spread)
