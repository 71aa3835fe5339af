"""The user's cache folder: what was built or measured here and can be made again, and checkpoints of trainings.

`$XDG_CACHE_HOME/edgesight`, else `~/.cache/edgesight`:

    libraries/   compiled csim and Verilated libraries of packages, see `edgesight.host.libraries`
    observed/    what calibrations measured, so that other targets need no second measurement
    training/    checkpoints, a folder a data set

All of it may be removed at any time, at the price of doing it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import remedy


class CacheError(EdgeSightError):
    """The cache folder cannot be used: says why and what to do."""


def cache_folder() -> Path:
    """The folder `edgesight` in the user's cache (XDG_CACHE_HOME, else ~/.cache), made where it is absent.

    Raises CacheError unless it is a folder of this user's that nobody else may enter: what lies there is run.
    """
    try:
        chosen = os.environ.get("XDG_CACHE_HOME", "")
        folder = (Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache") / "edgesight"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
    except (OSError, RuntimeError) as error:
        what = remedy(error) if isinstance(error, OSError) else None
        raise CacheError(
            f"the cache folder cannot be used ({error}): {what or 'set XDG_CACHE_HOME to a folder of yours'}"
        ) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise CacheError(f"{folder}: is no folder; what this user runs lies in it: remove it")
    if facts.st_uid != os.geteuid():
        raise CacheError(
            f"{folder}: belongs to another user (uid {facts.st_uid}), and what lies in it would be run: set "
            "XDG_CACHE_HOME to a folder of yours"
        )
    if facts.st_mode & 0o077:
        raise CacheError(
            f"{folder}: others may enter it (mode {facts.st_mode & 0o777:o}), and what lies in it is run: remove it, "
            f"or, if nobody wrote there, chmod 700 {folder}"
        )
    return folder


def prune(folder: Path, most: int, newest: Path) -> None:
    """Remove all but the `most` things in `folder` that were used last; `newest` stays."""

    def used(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # gone meanwhile
            return 0.0

    for old in sorted((path for path in folder.iterdir() if path != newest), key=used, reverse=True)[most - 1 :]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)
