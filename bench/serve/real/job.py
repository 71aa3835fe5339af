"""What the two processes of a real run are told: a system, and what it is put under.

A job goes to them as a file, since pictures and what is known of them fill no command line.

Words owned here: job, held (of a run of the back end's model: it computes for real, and is let go when a stated time is
over).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgesight.bench.serve.material import Material, Profile
from edgesight.bench.serve.systems import DATA_CENTRE, EDGE, HEDGED, SELECTING, TWO_STAGE, Goal, System
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.sim.link.trust import Trust
from edgesight.sim.workload import Workload

SYSTEMS: Final = (EDGE, DATA_CENTRE, SELECTING, TWO_STAGE, HEDGED)
PORT: Final = 4_433
HELD_S, HELD_EACH_S = 0.004, 0.003  # that a run of the model is held, and for each of its pictures


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        system: by name.
        material: what is served.
        goals: that the workload's targets are.
        workload: its requests.
        trust: keys of both ends.
        load_s: seconds in which a selecting server loads a variant on the device.
        begin: of the machine's monotonic clock, when the workload begins; None: as soon as there is a connection.
    """

    system: str
    material: Material
    goals: tuple[Goal, ...]
    workload: Workload
    trust: Trust
    load_s: float
    begin: float | None = None

    @property
    def kind(self) -> System:
        """The system."""
        return named(self.system)


def named(name: str) -> System:
    """The system of that name: in another process it is another object, unless it is looked up."""
    return next(one for one in SYSTEMS if one.name == name)


def held_s(pictures: int) -> float:
    """Seconds from the beginning of a run on so many pictures until it is let go."""
    return HELD_S + HELD_EACH_S * pictures


def held_profile() -> Profile:
    """Of the device that is stated."""
    return Profile(tuple((held_s(size),) for size in range(1, MAX_BATCH + 1)))
