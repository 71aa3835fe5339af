"""Audits: a small share of an edge's answers, held against what the calibration showed, and kept for a person to label.

Chance alone chooses them, among the answers that a target covers. Where the fabric answered, the back end is asked,
too, once the answer is given: whether both agree is held against the target's calibrated agreement
(`edgesight.host.drift`). That tells nothing of the truth. What a person says of an audit's picture does: it is held
against the target itself.

A folder holds it all, and outlives the edge::

    agreement.json             what was seen of agreement, by target; the edge's to write
    accuracy.json              what was seen of labels, by target; `edgesight audit label`'s to write
    unlabelled/ID.png          pictures as the back end takes them, each with its audit in a text of the file
    labelled/CLASS/ID.png      those that a person labelled: a folder that `edgesight calibrate` takes

Words owned here: audit (one answer that was chosen), alarm.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.answer import Answer, StageName
from edgesight.host.drift import Fall, Watch, WatchState
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_at_most, remove_leftovers, sha256, write_atomically
from edgesight.host.kernel import Calibration, Target
from edgesight.host.measures import Measure, plain

SHARE: Final = 0.005
"""Of the answers that a target covers: so many are audits."""
LEVEL: Final = 0.03
"""Probability that any target ever gives a wrong alarm, of agreement or of accuracy."""
KEPT: Final = 1_000
"""Unlabelled pictures, at most."""
_KEPT_BYTES = 256 << 20  # of unlabelled pictures, at most; the last one is always kept
_EXAMPLES = 8  # pictures of an alarm
_WRITE_EVERY = 1.0  # seconds: what was seen is written no more often; an edge that is killed loses so much at most
_MOST_STATE_BYTES = 1 << 22
_MOST_RECORD_BYTES = 1 << 16
_ID = "[0-9a-z-]{1,64}"
_TEXT = "edgesight-audit"  # the name of the text in a picture's file

_UNLABELLED, _LABELLED, _AGREEMENT, _ACCURACY = "unlabelled", "labelled", "agreement.json", "accuracy.json"

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
What = Literal["agreement", "accuracy"]


class AuditError(EdgeSightError, ValueError):
    """Audits that cannot be read, kept or labelled: names the file, and what to do."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Audit(_Kept):
    """An answer that was chosen.

    Attributes:
        id: its picture's file is called so.
        at: seconds since 1970.
        calibration: checksum of that which it was answered under.
        classes: that it may be of.
        accuracy_target: that it was held to.
        label: index of the class that was answered.
        stage: that answered.
        confidence: that was told.
        backend_label: index of the class that the back end says; None: it was not asked, or did not reply as the
            calibration takes for granted.
    """

    id: Annotated[str, Field(pattern=f"^{_ID}$")]
    at: float
    calibration: str
    classes: Annotated[list[str], Field(min_length=2)]
    accuracy_target: float
    label: Annotated[int, Field(ge=0)]
    stage: StageName
    confidence: float
    backend_label: int | None

    @property
    def agrees(self) -> bool | None:
        """Whether the back end says what the fabric said; None where both are not there to be held together."""
        return None if self.backend_label is None or self.stage == "datacenter" else self.backend_label == self.label


class Alarm(_Kept):
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


class Followed(_Kept):
    """A share that is held against a bound, and the alarm that it gave."""

    watch: WatchState
    alarm: Alarm | None = None


class _State(_Kept):
    """A file of watches."""

    calibration: str  # its checksum: under another one all begins anew
    targets: dict[str, Followed] = Field(default_factory=dict)  # by the target's accuracy
    unanswered: int = 0  # audits that the back end was asked for in vain


class Watches:
    """The targets of one calibration that can be followed, and what was seen of them; one file keeps it."""

    def __init__(self, path: Path, what: What, calibration: Calibration) -> None:
        """As the file at `path` has it where it is of that calibration, else anew. Raises AuditError."""
        self._path, self._what = path, what
        self.calibration, self.checksum = calibration, checksum_of(calibration)
        kept = _read_state(path)
        if kept is None or kept.calibration != self.checksum:
            kept = _State(calibration=self.checksum)
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
        state = _State(calibration=self.checksum, targets=targets, unanswered=self.unanswered)
        remove_leftovers(self._path)
        write_atomically(self._path, state.model_dump_json(indent=1).encode(), mode=0o600)


@dataclass(frozen=True)
class Auditing:
    """That answers are to be audited: a `share` of those that a target covers, kept in a `folder`."""

    folder: Path
    share: float = SHARE


class Audits:
    """The audits of one edge, whose folder no other has. What touches that waits for the disk: call it in a thread."""

    def __init__(self, auditing: Auditing, calibration: Calibration, classes: Sequence[str]) -> None:
        """In a folder, which is made. Raises AuditError where it cannot be, or what it holds is damaged."""
        self._folder, self._classes, self._share = auditing.folder, list(classes), auditing.share
        folder = auditing.folder
        self._lock = threading.Lock()  # an audit may be on its way while the calibration is swapped
        self._chance = random.Random(secrets.randbits(64))
        self._unwritten, self._written_at = False, 0.0  # what was seen; of the monotonic clock
        self._room = (0, 0)  # pictures, and bytes of them, that may come before the oldest have to make room
        with _told(folder):
            for name in (_UNLABELLED, _LABELLED):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.recalibrated(calibration)
        if calibration.targets and all(target.agreement is None for target in calibration.targets):
            logger.warning(
                "agreement with the back end cannot be watched: the calibration does not tell what it was, or the "
                "fabric answers nothing by it; calibrate the package again, or with lower targets"
            )

    def measures(self) -> Sequence[Measure]:
        """What was seen of agreement, by target."""
        watches, alarms = self._watches.targets, self._watches.alarms
        return (
            Measure(
                "audits",
                "Answers of the fabric held against the back end's.",
                "counter",
                ("target", "agreed"),
                {
                    (f"{accuracy:g}", agreed): count
                    for accuracy, watch in watches.items()
                    for agreed, count in (("yes", watch.successes), ("no", watch.count - watch.successes))
                },
            ),
            Measure(
                "audit_alarm",
                "Whether a target was found not to hold any more.",
                "gauge",
                ("target",),
                {(f"{accuracy:g}",): float(accuracy in alarms) for accuracy in watches},
            ),
            Measure(
                "audit_bound",
                "Share of agreement that was calibrated, at least.",
                "gauge",
                ("target",),
                {(f"{accuracy:g}",): watch.bound for accuracy, watch in watches.items()},
            ),
            plain(
                "audits_unanswered",
                "Audits that the back end did not answer, or over a link worse than calibrated.",
                self._watches.unanswered,
            ),
        )

    def chosen(self) -> bool:
        """Whether the next answer is an audit."""
        return self._chance.random() < self._share

    def recalibrated(self, calibration: Calibration) -> None:
        """Follow the targets of `calibration` from now on. Raises AuditError."""
        with self._lock, _told(self._folder):
            self._watches = Watches(self._folder / _AGREEMENT, "agreement", calibration)
            self._write()

    def keep(self) -> None:
        """Write what was seen, where it is not written yet. Raises AuditError."""
        with self._lock, _told(self._folder):
            if self._unwritten:
                self._write()

    def take(
        self, photograph: Pixels, answer: Answer, calibration: Calibration, backend_label: int | None, asked: bool
    ) -> Alarm | None:
        """Keep an audit of `photograph` uint8 [H, W, C]; returns the alarm that it gives.

        `backend_label` is what the back end says, None where it did not, though it may have been `asked`. Raises
        AuditError where the disk takes nothing: what was seen counts all the same.
        """
        at, watches = time.time(), self._watches
        known = calibration is watches.calibration
        audit = Audit(
            id=f"{int(at * 1e3):013d}-{secrets.token_hex(4)}",
            at=at,
            calibration=watches.checksum if known else checksum_of(calibration),
            classes=self._classes,
            accuracy_target=answer.accuracy_target,
            label=answer.label,
            stage=answer.stage,
            confidence=answer.confidence,
            backend_label=backend_label,
        )
        with self._lock:
            return self._taken(photograph, audit, asked)

    def _taken(self, photograph: Pixels, audit: Audit, asked: bool) -> Alarm | None:
        alarm, self._unwritten = None, True
        if audit.calibration != self._watches.checksum:
            pass  # it was answered before a swap: it tells nothing of the targets that there are now
        elif audit.agrees is not None:
            alarm = self._watches.observe(audit.accuracy_target, audit.agrees, audit.at)
        elif asked:
            self._watches.unanswered += 1
        with _told(self._folder):
            content = _packed(photograph, audit)
            write_atomically(self._folder / _UNLABELLED / f"{audit.id}.png", content, mode=0o600)
            if alarm is not None:
                alarm = self._with_examples(alarm)
            if alarm is not None or time.monotonic() - self._written_at >= _WRITE_EVERY:
                self._write()
            self._room = (self._room[0] - 1, self._room[1] - len(content))
            if min(self._room) < 0:
                self._room = _make_room(self._folder / _UNLABELLED)
        return alarm

    def _write(self) -> None:
        self._watches.write()
        self._unwritten, self._written_at = False, time.monotonic()

    def _with_examples(self, alarm: Alarm) -> Alarm:
        """The alarm with pictures that speak against its target, the newest."""
        found = (
            audit.id
            for audit in audits_in(self._folder, newest_first=True)
            if audit.agrees is False and audit.accuracy_target == alarm.accuracy_target
        )
        named = alarm.model_copy(update={"examples": [one for one, _ in zip(found, range(_EXAMPLES), strict=False)]})
        self._watches.alarms[alarm.accuracy_target] = named
        return named


def checksum_of(calibration: Calibration) -> str:
    """SHA-256 over all that a calibration says."""
    return sha256(json.dumps(calibration.model_dump(mode="json"), sort_keys=True).encode())


def picture_of(folder: Path, audit_id: str) -> Path:
    """The picture of an audit that nobody labelled yet."""
    return folder / _UNLABELLED / f"{audit_id}.png"


def audits_in(folder: Path, *, newest_first: bool = False) -> Iterator[Audit]:
    """The unlabelled audits in a folder, by their time. Raises AuditError where one is damaged."""
    for path in sorted((folder / _UNLABELLED).glob("*.png"), reverse=newest_first):
        with contextlib.suppress(FileNotFoundError):  # it was labelled meanwhile, or had to make room
            yield _unpacked(path)


def label(folder: Path, audit_id: str, class_name: str, calibration: Calibration) -> Alarm | None:
    """Say of which class an audit's picture is; returns the alarm that it gives.

    The picture goes to the labelled ones. What was answered counts towards the accuracy of its target where
    `calibration` is the one that it was answered under. Raises AuditError.
    """
    path = picture_of(folder, audit_id)
    with _told(folder), _alone(folder):
        if not re.fullmatch(_ID, audit_id) or not path.exists():
            raise AuditError(
                f"{folder}: has no unlabelled audit {audit_id!r}: name one that `edgesight audit list` tells"
            )
        audit = _unpacked(path)
        if class_name not in audit.classes:
            raise AuditError(f"{class_name!r} is none of the classes: give one of {', '.join(audit.classes)}")
        if class_name in (".", "..") or "/" in class_name or "\0" in class_name:
            raise AuditError(f"class {class_name!r} can be no folder's name: train with class names that can")
        watches = Watches(folder / _ACCURACY, "accuracy", calibration)
        alarm = None
        if audit.calibration == watches.checksum:
            right = audit.classes[audit.label] == class_name
            alarm = watches.observe(audit.accuracy_target, right, time.time())
        place = folder / _LABELLED / class_name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        watches.write()
        path.rename(place / path.name)
        return alarm


def followed_in(folder: Path) -> dict[What, dict[float, Followed]]:
    """What was seen of `agreement` and of `accuracy` in a folder, by target. Raises AuditError."""
    found: dict[What, dict[float, Followed]] = {}
    files: dict[What, str] = {"agreement": _AGREEMENT, "accuracy": _ACCURACY}
    for what, name in files.items():
        state = _read_state(folder / name)
        found[what] = {float(accuracy): one for accuracy, one in state.targets.items()} if state is not None else {}
    return found


def _bound(what: What, target: Target) -> float | None:
    if what == "accuracy":
        return target.accuracy
    return target.agreement.lower_bound if target.agreement is not None else None


def _read_state(path: Path) -> _State | None:
    """What a file of watches says; None where there is none. Raises AuditError."""
    try:
        return _State.model_validate_json(read_at_most(path, _MOST_STATE_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise AuditError(
            f"{path}: cannot be read, or says what no edge wrote: move it away, and watching begins anew"
        ) from error


def _packed(photograph: Pixels, audit: Audit) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text(_TEXT, audit.model_dump_json())
    file = io.BytesIO()
    pixels = photograph[..., 0] if photograph.shape[2] == 1 else photograph
    Image.fromarray(pixels).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def _unpacked(path: Path) -> Audit:
    """The audit in a picture's file. Raises AuditError, or FileNotFoundError."""
    try:
        with Image.open(path) as picture:
            text = str(picture.info.get(_TEXT, ""))
        if len(text) > _MOST_RECORD_BYTES:
            raise ValueError("its text is too long")
        audit = Audit.model_validate_json(text)
        if audit.id != path.stem or audit.label >= len(audit.classes):
            raise ValueError("its text is another's")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError) as error:  # Pillow says SyntaxError of a damaged PNG
        raise AuditError(f"{path}: is no audit's picture, or damaged: move it away") from error
    return audit


def _make_room(folder: Path) -> tuple[int, int]:
    """Remove the oldest pictures where more are kept than may be: a sixteenth too many, as looking through all is dear.

    Returns how many pictures, and how many bytes of them, may come before it is to be looked again.
    """
    sizes = []  # of the newest first
    for name in sorted((name for name in os.listdir(folder) if name.endswith(".png")), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            sizes.append((name, os.stat(folder / name).st_size))
    most, most_bytes = KEPT, _KEPT_BYTES
    if len(sizes) > most or sum(size for _, size in sizes) > most_bytes:
        most, most_bytes = most - most // 16, most_bytes - most_bytes // 16
    kept = taken = 0
    for place, (name, size) in enumerate(sizes):
        if place and (place >= most or taken + size > most_bytes):
            most = 0  # nor any that is older
            (folder / name).unlink(missing_ok=True)
        else:
            kept, taken = kept + 1, taken + size
    return KEPT - kept, _KEPT_BYTES - taken


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Meanwhile no other command labels."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn an OSError into an AuditError about `folder`."""
    try:
        yield
    except OSError as error:
        raise AuditError(
            f"{folder}: audits cannot be kept there ({error.strerror}): look at the folder and the disk"
        ) from error
