"""What is seen of a calibration's targets, held against what it showed of them, and the alarms that this gives.

Words owned here: alarm.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.drift import Fall, Watch, WatchState
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_at_most, remove_leftovers, sha256, write_atomically
from edgesight.host.kernel import Calibration, Target

LEVEL: Final = 0.03
"""Probability that any target ever gives a wrong alarm, of agreement or of accuracy."""
_MOST_STATE_BYTES = 1 << 22

What = Literal["agreement", "accuracy"]


class AuditError(EdgeSightError, ValueError):
    """Audits that cannot be read, kept or labelled: names the file, and what to do."""


class DamagedWatches(AuditError):
    """A file of watches that cannot be read."""

    def __init__(self, path: Path) -> None:
        """At `path`."""
        super().__init__(f"{path}: cannot be read, or says what no edge wrote: move it away, and watching begins anew")
        self.path = path


class Kept(BaseModel):
    """What a file keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Alarm(Kept):
    """A target that what was seen tells against."""

    what: What
    accuracy_target: float
    bound: float  # that the share has fallen below
    fall: Fall
    examples: list[str] = Field(default_factory=list)  # ids of pictures that speak against the target

    def told(self) -> str:
        """In a sentence, with what to do."""
        fall, seen = self.fall, self.fall.until - self.fall.since + 1
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(fall.since_at))
        what = "fabric and back end agree on" if self.what == "agreement" else "right answers are"
        pictures = f", such as {', '.join(self.examples)}" if self.examples else ""
        return (
            f"target {self.accuracy_target:g} may not hold any more: {what} {fall.successes} of {seen} audits since"
            f" {since}, and calibrated was a share of {self.bound:.4g} at least{pictures}: label audits, and calibrate"
            " on pictures as they come now"
        )


class Followed(Kept):
    """A share that is held against a bound, and the alarm that it gave."""

    watch: WatchState
    alarm: Alarm | None = None


class State(Kept):
    """A file of watches."""

    calibration: str  # its checksum: under another one all begins anew
    targets: dict[str, Followed] = Field(default_factory=dict)  # by the target's accuracy
    unanswered: int = 0  # audits that the back end was asked for in vain


class Watches:
    """The targets of one calibration that can be followed, and what was seen of them; one file keeps it."""

    def __init__(self, path: Path, what: What, calibration: Calibration) -> None:
        """As the file at `path` has it where it is of that calibration, else anew. Raises DamagedWatches."""
        self._path, self._what = path, what
        self.calibration, self.checksum = calibration, checksum_of(calibration)
        kept = read_state(path)
        if kept is None or kept.calibration != self.checksum:
            kept = State(calibration=self.checksum)
        self.unanswered = kept.unanswered
        self.alarms: dict[float, Alarm] = {}
        self.targets: dict[float, Watch] = {}
        # Each target has two watches, of agreement and of accuracy; none of all may give a wrong alarm.
        level = LEVEL / (2 * max(1, len(calibration.targets)))
        for target in calibration.targets:
            bound = _bound(what, target)
            if bound is not None and 0.0 < bound < 1.0:
                before = kept.targets.get(repr(target.accuracy))
                self.targets[target.accuracy] = Watch(bound, level, before.watch if before is not None else None)
                if before is not None and before.alarm is not None:
                    self.alarms[target.accuracy] = before.alarm

    def observe(self, accuracy: float, success: bool, at: float) -> Alarm | None:
        """Take one observation of the target of that accuracy; returns the alarm that it gives."""
        watch = self.targets.get(accuracy)
        if watch is None or not watch.observe(success, at) or watch.fall is None:
            return None
        alarm = Alarm(what=self._what, accuracy_target=accuracy, bound=watch.bound, fall=watch.fall)
        self.alarms[accuracy] = alarm
        return alarm

    def write(self) -> None:
        """Keep it. Raises OSError."""
        targets = {
            repr(accuracy): Followed(watch=watch.state(), alarm=self.alarms.get(accuracy))
            for accuracy, watch in self.targets.items()
        }
        state = State(calibration=self.checksum, targets=targets, unanswered=self.unanswered)
        remove_leftovers(self._path)
        write_atomically(self._path, state.model_dump_json(indent=1).encode(), mode=0o600)


def checksum_of(calibration: Calibration) -> str:
    """SHA-256 over all that a calibration says."""
    return sha256(json.dumps(calibration.model_dump(mode="json"), sort_keys=True).encode())


def _bound(what: What, target: Target) -> float | None:
    if what == "accuracy":
        return target.accuracy
    return target.agreement.lower_bound if target.agreement is not None else None


def read_state(path: Path) -> State | None:
    """What a file of watches says; None where there is none. Raises DamagedWatches."""
    try:
        return State.model_validate_json(read_at_most(path, _MOST_STATE_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DamagedWatches(path) from error
