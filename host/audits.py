"""Audits: a small share of an edge's answers, held against what the calibration showed, and kept for a person to label.

Chance alone chooses them, among the answers that a target covers. Where the fabric answered, the back end is asked,
too, once the answer is given: whether both agree is held against the target's calibrated agreement
(`edgesight.host.watches`). That tells nothing of the truth. What a person says of an audit's picture does: it is held
against the target itself.

A folder holds it all, and outlives the edge::

    agreement.json             what was seen of agreement, by target; the edge's to write
    accuracy.json              what was seen of labels, by target; `edgesight audit label`'s to write
    unlabelled/ID.png          pictures as the back end takes them, each with its audit in a text of the file
    labelled/CLASS/ID.png      those that a person labelled: a folder that `edgesight calibrate` takes

Words owned here: audit (one answer that was chosen).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import random
import re
import secrets
import stat
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin
from pydantic import Field

from edgesight.host.answer import Answer, StageName
from edgesight.host.files import remove_leftovers, write_atomically
from edgesight.host.kernel import Calibration
from edgesight.host.measures import Measure, plain
from edgesight.host.watches import (
    Alarm,
    AuditError,
    DamagedWatches,
    Followed,
    Kept,
    Watches,
    What,
    checksum_of,
    read_state,
)

SHARE: Final = 0.005
"""Of the answers that a target covers: so many are audits."""
KEPT: Final = 1_000
"""Unlabelled pictures, at most."""
_KEPT_BYTES = 256 << 20  # of unlabelled pictures, at most; the last one is always kept
_EXAMPLES = 8  # pictures of an alarm
_WRITE_EVERY = 1.0  # seconds: what was seen is written no more often; an edge that is killed loses so much at most
_MOST_RECORD_BYTES = 1 << 16
_ID = "[0-9a-z-]{1,64}"
_TEXT = "edgesight-audit"  # the name of the text in a picture's file

_UNLABELLED, _LABELLED, _AGREEMENT, _ACCURACY = "unlabelled", "labelled", "agreement.json", "accuracy.json"

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


class Audit(Kept):
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


@dataclass(frozen=True)
class Auditing:
    """That answers are to be audited: a `share` of those that a target covers, kept in a `folder`."""

    folder: Path
    share: float = SHARE


class Audits:
    """The audits of one edge, whose folder no other has. What touches that waits for the disk: call it in a thread."""

    def __init__(self, auditing: Auditing, calibration: Calibration, classes: Sequence[str]) -> None:
        """In a folder, which is made, and is no other edge's until `close`.

        Raises AuditError where it cannot be made, another edge has it, or what it holds is damaged.
        """
        self._folder, self._classes, self._share = auditing.folder, list(classes), auditing.share
        folder = auditing.folder
        self._lock = threading.Lock()  # an audit may be on its way while the calibration is swapped
        self._chance = random.Random(secrets.randbits(64))
        self._unwritten, self._written_at = False, 0.0  # what was seen; of the monotonic clock
        self._later: threading.Timer | None = None  # writes what no further audit does
        self._room = (0, 0)  # pictures, and bytes of them, that may come before the oldest have to make room
        with _told(folder):
            for name in (_UNLABELLED, _LABELLED):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._kept_from_others = weakref.finalize(self, os.close, _held(folder))
        self._watch(calibration)
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
        """Follow the targets of `calibration` from now on; a damaged file of watches is moved aside.

        Raises AuditError where the disk takes nothing, which the next audit says again.
        """
        try:
            self._watch(calibration)
        except DamagedWatches as error:
            aside = error.path.with_suffix(".damaged")
            logger.warning("%s: it is done, and the file is %s now", error, aside.name)
            with _told(self._folder):
                os.replace(error.path, aside)
            self._watch(calibration)

    def close(self) -> None:
        """Leave the folder to others."""
        with self._lock:
            if self._later is not None:
                self._later.cancel()
        self._kept_from_others()

    def _watch(self, calibration: Calibration) -> None:
        with self._lock, _told(self._folder):
            self._watches = Watches(self._folder / _AGREEMENT, "agreement", calibration)
            self._write()

    def keep(self) -> None:
        """Write what was seen, where it is not written yet. Raises AuditError."""
        with self._lock, _told(self._folder):
            if self._unwritten:
                self._write()

    def _keep_late(self) -> None:
        with self._lock:
            self._later = None
        try:
            self.keep()
        except AuditError as error:
            logger.warning("what audits saw is not written down: %s", error)

    def take(
        self, photograph: Pixels, answer: Answer, calibration: Calibration, backend_label: int | None, asked: bool
    ) -> Alarm | None:
        """Keep an audit of `photograph` uint8 [H, W, C]; returns the alarm that it gives.

        `backend_label` is what the back end says, None where it did not, though it may have been `asked`. Raises
        AuditError where the disk takes nothing: what was seen counts all the same, and an alarm is given, too.
        """
        at, watches = time.time(), self._watches
        known = calibration is watches.calibration
        audit = Audit(
            id=f"{int(at * 1e6):016d}-{secrets.token_hex(4)}",
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
        try:
            with _told(self._folder):
                self._keep_picture(photograph, audit)
                if alarm is not None:
                    alarm = self._with_examples(alarm)
                if alarm is not None or time.monotonic() - self._written_at >= _WRITE_EVERY:
                    self._write()
                elif self._later is None:
                    self._later = threading.Timer(_WRITE_EVERY, self._keep_late)
                    self._later.daemon = True
                    self._later.start()
        except AuditError as error:
            if alarm is None:
                raise
            logger.warning("an audit was lost: %s", error)
        return alarm

    def _keep_picture(self, photograph: Pixels, audit: Audit) -> None:
        """Keep the picture of an audit. Raises OSError."""
        content = _packed(photograph, audit)
        write_atomically(self._folder / _UNLABELLED / f"{audit.id}.png", content, mode=0o600)
        self._room = (self._room[0] - 1, self._room[1] - len(content))
        if min(self._room) < 0:
            self._room = _make_room(self._folder / _UNLABELLED)

    def _write(self) -> None:
        self._watches.write()
        self._unwritten, self._written_at = False, time.monotonic()

    def _with_examples(self, alarm: Alarm) -> Alarm:
        """The alarm with pictures that speak against its target, the newest; damaged ones are passed over."""
        examples: list[str] = []
        for path in _pictures(self._folder, newest_first=True):
            with contextlib.suppress(FileNotFoundError, AuditError):
                audit = _unpacked(path)
                if audit.agrees is False and audit.accuracy_target == alarm.accuracy_target:
                    examples.append(audit.id)
            if len(examples) == _EXAMPLES:
                break
        named = alarm.model_copy(update={"examples": examples})
        self._watches.alarms[alarm.accuracy_target] = named
        return named


def picture_of(folder: Path, audit_id: str) -> Path:
    """The picture of an audit that nobody labelled yet."""
    return folder / _UNLABELLED / f"{audit_id}.png"


def audits_in(folder: Path) -> Iterator[Audit]:
    """The unlabelled audits in a folder, by their time. Raises AuditError where one is damaged."""
    for path in _pictures(folder):
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
        state = read_state(folder / name)
        found[what] = {float(accuracy): one for accuracy, one in state.targets.items()} if state is not None else {}
    return found


def _pictures(folder: Path, *, newest_first: bool = False) -> list[Path]:
    """The unlabelled audits' files, by their time."""
    return sorted((folder / _UNLABELLED).glob("*.png"), reverse=newest_first)


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
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is a folder, a pipe or a device")
        with Image.open(path) as picture:
            text = str(picture.info.get(_TEXT, ""))
        if len(text) > _MOST_RECORD_BYTES:
            raise ValueError("its text is too long")
        audit = Audit.model_validate_json(text)
        if audit.id != path.stem or audit.label >= len(audit.classes):
            raise ValueError("its text is another's")
    except FileNotFoundError:
        raise
    # Pillow says SyntaxError of a damaged PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AuditError(f"{path}: is no audit's picture, or damaged: move it away") from error
    return audit


def _make_room(folder: Path) -> tuple[int, int]:
    """Remove the oldest pictures where more are kept than may be: a sixteenth too many, as looking through all is dear.

    Returns how many pictures, and how many bytes of them, may come before it is to be looked again.
    """
    there = os.listdir(folder)
    for name in there:
        half_written = re.match(rf"\.({_ID}\.png)\.", name)  # by an edge that was killed
        if half_written:
            remove_leftovers(folder / half_written[1])
    sizes = []  # of the newest first
    for name in sorted((name for name in there if name.endswith(".png")), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(folder / name)
            if stat.S_ISREG(found.st_mode):
                sizes.append((name, found.st_size))
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


def _held(folder: Path) -> int:
    """A descriptor that keeps other edges out of `folder` until it is closed. Raises OSError, or AuditError."""
    descriptor = os.open(folder / _UNLABELLED, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AuditError(f"{folder}: is another edge's, which runs: give each a folder of its own") from None
    except OSError:
        pass  # a file system that knows no locks
    return descriptor


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
