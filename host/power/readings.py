"""What a power sensor gives, whatever it is: readings, and now and then none.

Words owned here: reading, sensor, drop-out, update period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgesight.host.errors import EdgeSightError
from edgesight.host.obtained import Obtained

Clock = Callable[[], float]


class PowerError(EdgeSightError):
    """A sensor that is not there or cannot be trusted, or a measurement that cannot be made: says what to do."""


class DropOut(Exception):
    """This once, the sensor gave nothing; the next reading may succeed."""


@dataclass(frozen=True)
class Reading:
    """Power at one time."""

    time: float  # seconds, on the sensor's clock
    watts: float
    span: float  # seconds up to `time` that the watts are the mean of


class PowerSensor(Protocol):
    """Something that can be asked for its power now."""

    name: str
    obtained: Obtained
    update_seconds: float  # nominal time between two values
    clock: Clock  # what its readings' times are of, seconds

    def read(self) -> Reading | None:
        """The newest reading; None where a counter has not moved since the last one.

        Raises DropOut where the sensor gave nothing this once, PowerError where it is gone.
        """
