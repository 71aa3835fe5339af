"""What runs the models behind the doors, as far as the data centre need know: processes here, or replicas on a cluster.

Words owned here: engine, hosted (a version of a model that was asked to be loaded).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from edgesight.host.datacenter.batching import NO_LEVEL, Done
from edgesight.host.datacenter.repository import Version
from edgesight.host.doors.served import TensorForm
from edgesight.host.measures import Measure


class State(enum.Enum):
    """Of a hosted version, in the words of Triton's index."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Hosted(Protocol):
    """A version of a model, from its file to its end.

    Attributes:
        version: as the repository has it.
        state, reason: in the index's words.
        inputs, outputs, max_batch_size: as its executor tells, once it was loaded.
        takes_pictures: encoded, beside its own inputs.
        bytes: of memory that it takes where it is loaded; an estimate unless `measured`.
        load_s: seconds of its last load.
    """

    version: Version
    state: State
    reason: str
    inputs: Sequence[TensorForm]
    outputs: Sequence[TensorForm]
    max_batch_size: int
    takes_pictures: bool
    bytes: int
    measured: bool
    load_s: float

    @property
    def sha256(self) -> str:
        """Checksum of the file that it was loaded of; empty before."""

    @property
    def faulty(self) -> bool:
        """Nothing that could answer works just now."""

    @property
    def absent(self) -> str:
        """Why it is not in memory just now though it is ready; empty: it is."""

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""

    async def begin(self, beside: Hosted | None = None) -> None:
        """Load it for the first time, try it, and take requests; `beside` is the one that it replaces.

        Raises Refused; what was there stays as it was then.
        """

    async def ask(
        self,
        caller: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        wanted: Sequence[str] = (),
        timeout: float | None = None,
        level: int = NO_LEVEL,
    ) -> Done:
        """The outputs `wanted` for contiguous inputs, within `timeout` seconds; raises Refused.

        Whoever cancels this gives its place to others at once.
        """

    def limit_rows(self, rows: int) -> None:
        """Let at most so many rows go together from now on; for one that takes batches of as many."""

    async def end(self, drain: float) -> None:
        """Answer what waits, for at most `drain` seconds, and give everything back."""


class Engine(Protocol):
    """Makes hosted versions; works while `run` does."""

    def host(self, version: Version) -> Hosted:
        """A version that was found; its `begin` loads it. Raises ModelError where its file cannot be read."""

    async def run(self) -> None:
        """What is to be done beside the requests, for ever."""

    def stays(self, hosted: Hosted) -> None:
        """Count `hosted`, whose place another was to take, again."""

    def measures(self, hosted: Mapping[tuple[str, str], Hosted]) -> Sequence[Measure]:
        """What it counts of itself, and of its versions by name and number."""
