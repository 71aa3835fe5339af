"""What adaptation is told by who plans, and tells him, in plain data. Planners are handed in: none is known here.

Words owned here: *model* (a network at one input size), *wants* (what a client said of itself), *round* (what holds
from now on), *sizer* (says which model a client's next frame is sized for).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgesight.host.errors import EdgeSightError


class AdaptError(EdgeSightError):
    """Adaptation that cannot be done as asked: says why and what to do."""


@dataclass(frozen=True)
class Model:
    """What a GPU runs, and what a client's frames are sized for.

    Attributes:
        input_px: side of the square input.
        frame_bytes: of a frame of this size, as planned.
        latency_ms: of a batch of one, of two and so on, never falling.
    """

    name: str
    input_px: int
    accuracy: float
    frame_bytes: int
    latency_ms: tuple[float, ...]


@dataclass(frozen=True)
class Wants:
    """Of one client.

    Attributes:
        slo_ms: from a frame to its answer.
        rate: frames a second.
        mbps: that its link carries, as it last said.
        round_trip_ms: of that link.
    """

    slo_ms: float
    rate: float
    mbps: float
    round_trip_ms: float


@dataclass(frozen=True)
class Work:
    """What a GPU does.

    Attributes:
        model: in batches of at most `batch` frames.
        ready_s: when it can, since it has to be loaded first.
        held: models that it can run as well, without loading.
    """

    model: str
    batch: int
    ready_s: float
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """What a client uses."""

    gpu: str
    model: str


@dataclass(frozen=True)
class Round:
    """What holds from now on; a client that is not named is not served, a GPU that is not goes on as it did."""

    places: Mapping[str, Place]
    work: Mapping[str, Work]


class Planner(Protocol):
    """Says who uses what. It is asked from one thread at a time.

    Attributes:
        models: all that there are, the most accurate first.
        gpus: their names.
        first: what they do before anybody asks; one that is not named does nothing.
        overhead_ms: that the computers at both ends take for a frame beside its model, together.
    """

    models: Sequence[Model]
    gpus: Sequence[str]
    first: Mapping[str, Work]
    overhead_ms: float

    def round(self, now_s: float, clients: Mapping[str, Wants]) -> Round:
        """For these clients, by a clock that never goes back."""


class Sizer(Protocol):
    """Knows a client's link by what it was told of it."""

    @property
    def mbps(self) -> float:
        """Estimated, in Mbit/s."""

    def assign(self, model: str | None, server_ms: float) -> None:
        """Use `model` from now on, for which the server takes `server_ms`; None: there is no place for this client."""

    def acknowledged(self, size: int, transfer_ms: float) -> None:
        """A frame of `size` bytes arrived, `transfer_ms` after its first byte left."""

    def choose(self, waiting: float, sent: float, sending_ms: float) -> Model | None:
        """What to size the next frame for; None: its answer could only be late.

        `waiting`: bytes before it. `sent`, `sending_ms`: bytes of the frame under way that have left, and for how long
        it has been leaving.
        """
