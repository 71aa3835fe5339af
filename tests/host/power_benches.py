"""A sensor on a simulated power bench, without files."""

from __future__ import annotations

from edgesight.bench.power_replay import Bench
from edgesight.host.obtained import Obtained
from edgesight.host.power.readings import Clock, Reading


class BenchSensor:
    """A bench's sensor without files; what `faults` says, happens to its readings."""

    name = "made up"
    obtained: Obtained = "measured"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.update_seconds = bench.world.period
        self.clock: Clock = bench.clock
        self.watts = bench.watts

    def read(self) -> Reading | None:
        return Reading(self.clock(), self.watts(), self.update_seconds)
