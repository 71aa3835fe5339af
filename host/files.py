"""Files that are either whole or absent, and what an output may replace.

One rule for everything that a user names as an output: what this command would make is replaced, an empty or absent
place is filled, anything else is refused and stays untouched. Each kind of output has a `Claim` that knows its own.

Words owned here: claim (what may be replaced by what), stranger (what lies in an output's place and is not ours).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgesight.host.errors import EdgeSightError

_REMEDIES = {
    errno.ENOSPC: "free some space, or name another place",
    errno.EDQUOT: "free some space, or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.EACCES: "name a place that you may write to",
    errno.EPERM: "name a place that you may write to",
    errno.ENOTDIR: "a file is in the way of a folder: name another place",
    errno.EBUSY: "it is in use, as a mount point is: name a folder inside it",
    errno.ENAMETOOLONG: "name a shorter one",
}
_LEFT_AFTER = 60.0  # seconds
_OURS = b"EdgeSight"  # what our pictures name as their software, among their first bytes


class OutputError(EdgeSightError, ValueError):
    """An output that cannot or must not be written: names the path, what is there, and what to do."""


@dataclass(frozen=True)
class Claim:
    """A kind of output, and how one that is there already is known.

    `stranger` says what in a path that exists is not this kind's, for a message; None where all of it is.
    """

    what: str
    stranger: Callable[[Path], str | None]

    def check_folder(self, path: Path) -> None:
        """OutputError unless the folder `path` is this kind's, empty, or can be made."""
        if not os.path.lexists(path):
            _check_parent(path)
        elif not path.is_dir():
            raise OutputError(f"{path}: is no folder, and a {self.what} is one: name another place")
        else:
            with _told(path):
                occupied = any(path.iterdir())
            self._refuse(path, occupied, "folder")
            if not os.access(path, os.W_OK | os.X_OK) or not os.access(path.resolve().parent, os.W_OK | os.X_OK):
                raise OutputError(f"{path}: cannot be written: name a place that can be written to")

    def check_file(self, path: Path) -> None:
        """OutputError unless the file `path` is this kind's, empty, or can be made."""
        if not os.path.lexists(path):
            _check_parent(path)
        elif path.is_dir():
            raise OutputError(f"{path}: is a folder, and a {self.what} is a file: name a file in it")
        elif path.is_file():
            self._refuse(path, path.stat().st_size > 0, "file")
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise OutputError(f"{path}: its folder cannot be written: name a place that can be written to")
        elif not path.is_symlink():  # one that leads nowhere is replaced
            raise OutputError(f"{path}: is a device or a pipe, and a {self.what} is a file: name a file")

    def _refuse(self, path: Path, occupied: bool, sort: str) -> None:
        found = self.stranger(path) if occupied else None
        if found is not None:
            raise OutputError(
                f"{path}: exists and is no {self.what} ({found}); nothing was touched: name another {sort}, or remove "
                "this one yourself"
            )


def json_claim(what: str, *keys: str) -> Claim:
    """A claim on JSON objects with these `keys`, or with some of them and no others, as an older version's."""

    def stranger(path: Path) -> str | None:
        try:
            found = json.loads(read_regular(path))
        except (OSError, ValueError, RecursionError):
            return "it holds no JSON"
        held = set(found) if isinstance(found, dict) else set()
        absent = sorted(set(keys) - held)
        return f"its JSON has no {absent[0]!r}" if absent and not (held and held <= set(keys)) else None

    return Claim(what, stranger)


def _no_picture_of_ours(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4096)
    return None if head.startswith(b"\x89PNG") and _OURS in head else "its picture was not drawn by EdgeSight"


PICTURE = Claim("picture of EdgeSight's", _no_picture_of_ours)


def check_reports(folder: Path, claim: Claim, main: str, *others: str) -> None:
    """OutputError unless the report `main` and the files beside it can be written into `folder`; for before the work.

    The `others` (pictures, arrays) are ours where the report beside them is.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is no folder, and reports go into one: name another place")
    claim.check_file(folder / main)
    if not (folder / main).exists():
        for other in others:
            if os.path.lexists(folder / other):
                raise OutputError(
                    f"{folder / other}: exists, but no {main} beside it says that it is a report's; nothing was "
                    "touched: name another folder"
                )


def check_report_folder(folder: Path, claim: Claim) -> None:
    """OutputError where `folder` holds files and none of them is a report: it is somebody else's.

    Hidden files and folders do not count: a run that was cut short leaves folders behind, and no report.
    """
    if not folder.is_dir():
        return
    with _told(folder):
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if files and not any(path.suffix == ".json" and claim.stranger(path) is None for path in files):
        raise OutputError(
            f"{folder}: exists and is no folder of reports (it holds {files[0].name}, and no {claim.what}); "
            "nothing was touched: name another folder"
        )


def write_output(path: Path, content: bytes, claim: Claim) -> None:
    """Write an output file with the folders above it, whole or not at all; OutputError where it must or can not be."""
    claim.check_file(path)
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def place_folder(path: Path, files: Mapping[str, bytes], claim: Claim) -> None:
    """Make the folder `path` hold exactly `files`, by their path in it: built beside it, then swapped in by rename.

    What the claim knows as its own is replaced whole; on any error it stays as it was. Raises OutputError.
    """
    claim.check_folder(path)
    path = path.resolve()  # where it is a link, what it leads to is replaced
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            for name, content in files.items():
                target = building / "new" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, content)
            os.chmod(building / "new", 0o755)
            if path.exists():
                os.rename(path, building / "old")
            try:
                os.rename(building / "new", path)
            except BaseException:
                if (building / "old").exists():
                    os.rename(building / "old", path)
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write `content` so that a reader, a crash or a full disk never meets half a file.

    Written, synced, renamed, and the folder synced: after that it survives a power cut. Until it has its `mode` nobody
    but its owner may read it.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in `folder` survive a power cut; a file system that cannot is left as it is."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left behind while it wrote `path`: a minute old, so that nobody writes it now."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime < time.time() - _LEFT_AFTER:
                leftover.unlink()


def remedy(error: OSError) -> str | None:
    """What to do about a file that the system refused; None where nobody but a programmer can do anything."""
    return _REMEDIES.get(error.errno or 0)


def from_home(path: str) -> Path:
    """The path that a user wrote, `~` resolved; as it stands where it is of a user that there is not."""
    with contextlib.suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def read_regular(path: Path, most: int | None = None) -> bytes:
    """All bytes of a file. Raises OSError, at once for what is none: a pipe may keep its reader waiting for ever.

    Also where it holds more than `most`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return _read_at_most(file, path, most) if most is not None else file.read()
    finally:
        os.close(descriptor)


def read_at_most(path: Path, most: int) -> bytes:
    """All bytes of a file or a pipe. Raises OSError where it holds more than `most`: a device may have no end."""
    with path.open("rb") as file:
        return _read_at_most(file, path, most)


def _read_at_most(file: BinaryIO, path: Path, most: int) -> bytes:
    content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes, more than is read", str(path))
    return content


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def _check_parent(path: Path) -> None:
    """OutputError unless what is absent at `path` could be made there."""
    above = path.absolute().parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise OutputError(f"{path}: {above} is no folder: name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {above} cannot be written to: name a place that can be")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}): {remedy(error) or 'name another place'}"
        ) from error
