"""The host's loop that answers images, with its fabric and without it.

Without the fabric the loop does all that it does otherwise, and finds the answers of before at the pace of before: what
it draws then is the host program's, and what it draws more with the fabric is the fabric's.

Words owned here: loop, control (a run without the fabric).
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from edgesight.host.fabric.base import DryFabric, FabricError, Images, Records
from edgesight.host.power.readings import Clock, PowerError


class Loop(Protocol):
    """What `edgesight.host.power.measure.measure` runs."""

    def run(self) -> int:
        """Answer some images; returns how many."""

    def control(self) -> int:
        """Do the same at the same pace, but without the fabric."""


class FabricLoop:
    """A fabric answers images round and round, a batch at a time."""

    def __init__(
        self, fabric: DryFabric, images: Images, set_index: int, batch: int = 64, clock: Clock = time.perf_counter
    ) -> None:
        """Of images uint8 [N, H, W, C], all answered under the threshold set `set_index`, on a `clock` in seconds."""
        if not len(images):
            raise PowerError("there is no image to run: give at least one")
        self._fabric, self._batch, self._clock = fabric, batch, clock
        self._pool = images[np.arange(max(batch, len(images))) % len(images)]
        self._sets = np.full(batch, set_index, np.uint8)
        self._begin = 0
        self._records: Records | None = None  # of the last run
        self._runs, self._seconds = 0, 0.0

    def run(self) -> int:
        """Answer a batch; returns its size. Raises FabricError where a record carries an error."""
        images, began = self._next(), self._clock()
        records = self._fabric.run(images, self._sets)
        self._seconds += self._clock() - began
        self._runs += 1
        if records["error"].any():
            raise FabricError(f"the fabric answered with error {int(records['error'].max())}: reset it, then try again")
        self._records = records
        return self._batch

    def control(self) -> int:
        """Go through a batch without the fabric, in the time that one took on average with it; returns its size.

        Raises FabricError where none was answered before.
        """
        if self._records is None:
            raise FabricError("a run without the fabric takes its answers from one before: run the fabric first")
        self._fabric.dry_run(self._next(), self._sets, self._records, self._seconds / self._runs)
        return self._batch

    def _next(self) -> Images:
        chosen = np.arange(self._begin, self._begin + self._batch) % len(self._pool)
        self._begin = (self._begin + self._batch) % len(self._pool)
        return self._pool[chosen]
