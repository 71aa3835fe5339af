"""Holds processes to a share of a core, by the kernel's control groups.

Words owned here: quota (cores that processes may use together).
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from edgesight.host.errors import EdgeSightError

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_PERIOD_US: Final = 10_000  # short, so that a share of a core is a slow core, and not a fast one that stops for long
_LEAST_US: Final = 1_000  # that the kernel takes for a quota
_ENDS_S = 5.0


class QuotaError(EdgeSightError):
    """Processes that cannot be held to a share of a core: says why and what to do."""


def missing() -> str | None:
    """Why no quota can be set here; None: it can."""
    try:
        with CpuQuota(0.5):
            return None
    except QuotaError as error:
        return str(error)


class CpuQuota:
    """A control group; use it as a context. At its end what still runs in it is outside again."""

    def __init__(self, cores: float) -> None:
        """Of so many cores, at least a tenth."""
        if cores * _PERIOD_US < _LEAST_US:
            raise QuotaError(f"{cores:g} of a core is less than the kernel can give: ask for 0.1 at least")
        self._cores = cores
        self._first = (_V1 / "cpu.cfs_quota_us").exists()
        self._folder = (_V1 if self._first else _V2) / f"edgesight-{os.getpid()}-{time.monotonic_ns()}"

    def __enter__(self) -> CpuQuota:
        """Make the group; raises QuotaError where the machine does not let us."""
        quota = round(self._cores * _PERIOD_US)
        try:
            self._folder.mkdir()
            if self._first:
                (self._folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                (self._folder / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (self._folder / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            raise QuotaError(
                f"{self._folder.parent} takes no group with a share of a core ({error.strerror}): run as root, with "
                "the control group `cpu`"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the group."""
        until = time.monotonic() + _ENDS_S
        while self._folder.exists():
            for process in self.procs.read_text().split():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    (self._folder.parent / "cgroup.procs").write_text(process)
            try:
                self._folder.rmdir()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @property
    def procs(self) -> Path:
        """The file that a process writes its number into to be held."""
        return self._folder / "cgroup.procs"
