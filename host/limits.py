"""Holds processes to a share of a core and to so much memory, by the kernel's control groups.

Words owned here: group (processes that are held together), quota (cores that they may use).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from edgesight.host.errors import EdgeSightError

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 10_000  # short, so that a share of a core is a slow core, and not a fast one that stops for long
_LEAST_US: Final = 1_000  # that the kernel takes for a quota
_LEAST_BYTES: Final = 16 << 20  # below which nothing of ours runs
_ENDS_S: Final = 5.0
_FRESH_S: Final = 30.0
_TRIES: Final = 5


class LimitsError(EdgeSightError):
    """Processes that cannot be held to their limits: says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What the processes of a group may take together; None: as much as there is.

    Attributes:
        cores: of the processor; at least a tenth.
        memory_bytes: that they ask for from when they are held on; what they had before does not count.
    """

    cores: float | None = None
    memory_bytes: int | None = None


def missing(limits: Limits) -> str | None:
    """Why these limits cannot be set here; None: they can."""
    try:
        with Group(limits):
            return None
    except LimitsError as error:
        return str(error)


class Group:
    """A control group; use it as a context. At its end what still runs in it is outside again."""

    def __init__(self, limits: Limits, name: str | None = None) -> None:
        """Within `limits`. A group of this `name` that is there already is taken as it is, and gets these limits."""
        if limits.cores is not None and limits.cores * _PERIOD_US < _LEAST_US:
            raise LimitsError(f"{limits.cores:g} of a core is less than the kernel can give: ask for 0.1 at least")
        if limits.memory_bytes is not None and limits.memory_bytes < _LEAST_BYTES:
            raise LimitsError(f"{limits.memory_bytes} bytes of memory are too few: ask for {_LEAST_BYTES} at least")
        own = f"edgesight-{name or f'{os.getpid()}-{time.monotonic_ns()}'}"
        self._named = name is not None
        # By folder: the files of its limits, and what is written into them.
        self._folders: dict[Path, list[tuple[str, str]]] = {}
        cores, memory = limits.cores, limits.memory_bytes
        if cores is not None:
            quota, period = str(round(cores * _PERIOD_US)), str(_PERIOD_US)
            if (_ROOT / "cpu" / "cpu.cfs_quota_us").exists():
                self._folders[_ROOT / "cpu" / own] = [("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)]
            else:
                self._folders[_ROOT / own] = [("cpu.max", f"{quota} {period}")]
        if memory is not None:
            if (_ROOT / "memory" / "memory.limit_in_bytes").exists():
                self._folders[_ROOT / "memory" / own] = [("memory.limit_in_bytes", str(memory))]
            else:
                self._folders.setdefault(_ROOT / own, []).append(("memory.max", str(memory)))

    def __enter__(self) -> Group:
        """Make the group; raises LimitsError where the machine does not let us."""
        for folder, files in self._folders.items():
            try:
                folder.mkdir(exist_ok=self._named)
                for file, value in files:
                    (folder / file).write_text(value)
            except OSError as error:
                self._remove()
                raise LimitsError(
                    f"{folder.parent} takes no group with limits ({error.strerror}): run as root, with the control "
                    "groups `cpu` and `memory`, or state no limits"
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the group."""
        until = time.monotonic() + _ENDS_S
        while left := [folder for folder in self._folders if folder.exists()]:
            for folder in left:
                for process in (folder / "cgroup.procs").read_text().split():
                    with contextlib.suppress(OSError):  # it ended meanwhile
                        (folder.parent / "cgroup.procs").write_text(process)
            self._remove()
            if time.monotonic() > until:
                raise LimitsError(f"{left[0]} cannot be removed: look what still runs in it")
            time.sleep(0.01)

    def _remove(self) -> None:
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    @property
    def procs(self) -> tuple[Path, ...]:
        """The files that a process writes its number into to be held."""
        return tuple(folder / "cgroup.procs" for folder in self._folders)

    def hold(self, process: int) -> None:
        """Take a process in; raises LimitsError."""
        for file in self.procs:
            try:
                file.write_text(str(process))
            except OSError as error:
                raise LimitsError(
                    f"{file}: process {process} cannot be held ({error.strerror}): run as root, or state no limits"
                ) from error


@contextlib.contextmanager
def held(cores: float) -> Iterator[None]:
    """This process is held to so many cores, alone. Raises LimitsError."""
    with Group(Limits(cores=cores)) as group:
        group.hold(os.getpid())
        yield


def hold_this_process(limits: Limits, name: str) -> None:
    """Hold this process for the rest of its life, with all others of the group `name` on this machine.

    Groups of ours that nobody is in any more are removed. Raises LimitsError.
    """
    for folder in _ours():
        with contextlib.suppress(OSError):  # it is in use
            if time.time() - folder.stat().st_mtime > _FRESH_S:  # else who made it has yet to go in
                folder.rmdir()
    group = Group(limits, name)
    for tries in range(1, _TRIES + 1):
        try:
            group.__enter__().hold(os.getpid())
            return
        except LimitsError:  # another that begins may have removed it in between
            if tries == _TRIES:
                raise


def _ours() -> Iterator[Path]:
    for root in (_ROOT, _ROOT / "cpu", _ROOT / "memory"):
        try:
            yield from root.glob("edgesight-*")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
