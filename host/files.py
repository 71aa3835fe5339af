"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
import time
from pathlib import Path

_LEFT_AFTER = 60.0  # seconds


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


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()
