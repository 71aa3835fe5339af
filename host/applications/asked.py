"""What a request of the Open Inference Protocol asks of an edge: pictures, how accurate, and how fast.

`deadline_ms` is the edge's own promise: what is not sure by then is answered all the same, and marked degraded. The
protocol's `timeout`, and gRPC's deadline, end the request: later than that nobody waits. So the edge is given a part of
that time alone, and the rest is for the answer's way back.

Words owned here: time limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.doors.served import Request, Tensor, shape_of
from edgesight.host.doors.tensors import invalid, number_of, shown

PICTURE = "picture"  # the one input
MAX_PICTURES = 64  # of one request
LONGEST_DEADLINE_MS = 60_000.0
_OF_LIMIT = 0.9  # of a time limit, until the edge is to have its answer

Given = bytes | npt.NDArray[np.uint8]  # a picture's file, or its pixels [H, W, C]


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes:
        pictures: at least one.
        accuracy: that is wanted; None: the application's default.
        deadline: seconds within which the edge answers from when it has read a picture, degraded where it must.
        limit: seconds after which nobody waits for an answer; None: no such time is known.
        priority: 1 as everybody's, or more for what may wait for others.
    """

    pictures: Sequence[Given]
    accuracy: float | None
    deadline: float
    limit: float | None
    priority: int

    def deadline_after(self, seconds: float) -> float:
        """Seconds that the edge has for a picture once so many went by since the request came; none are left below 0.

        Without a time limit, reading counts for no deadline, as when the edge is asked over its socket.
        """
        return self.deadline if self.limit is None else min(self.deadline, _OF_LIMIT * self.limit - seconds)

    @property
    def size(self) -> int:
        """Bytes of its pictures as they came."""
        return sum(len(one) if isinstance(one, bytes) else one.nbytes for one in self.pictures)


def read(request: Request) -> Asked:
    """What `request` asks; Refused (INVALID_ARGUMENT) where an edge cannot be asked so."""
    accuracy = number_of(request.parameters, "accuracy")
    if accuracy is not None and not 0.0 <= accuracy <= 1.0:
        raise invalid(f"parameter accuracy is {accuracy:g}: give the least share of right answers that will do, 0 to 1")
    deadline_ms = number_of(request.parameters, "deadline_ms")
    if deadline_ms is not None and not 0.0 < deadline_ms <= LONGEST_DEADLINE_MS:
        raise invalid(
            f"parameter deadline_ms is {deadline_ms:g}: give milliseconds above 0, at most {LONGEST_DEADLINE_MS:g}"
        )
    priority = number_of(request.parameters, "priority")
    if priority is not None and not (priority >= 0 and priority.is_integer()):
        raise invalid(f"parameter priority is {priority:g}: give a whole number; 0 and 1 go before 2, and so on")
    return Asked(
        _pictures(request.inputs),
        accuracy,
        (deadline_ms or LONGEST_DEADLINE_MS) / 1e3,
        _limit(request, deadline_ms),
        max(1, int(priority or 0)),
    )


def _limit(request: Request, deadline_ms: float | None) -> float | None:
    """The request's time limit; what a door made of `deadline_ms` alone is none."""
    limit = request.timeout
    if limit is None or deadline_ms is None:
        return limit
    deadline = deadline_ms / 1e3
    if limit < deadline and not math.isclose(limit, deadline):
        return limit
    timeout = number_of(request.parameters, "timeout")
    return timeout / 1e6 if timeout else None


def _pictures(inputs: Sequence[Tensor]) -> list[Given]:
    names = [tensor.name for tensor in inputs]
    if names != [PICTURE]:
        raise invalid(f"inputs {shown(names)}: give one, called {PICTURE}")
    (tensor,) = inputs
    values: npt.NDArray[Any] = tensor.values
    if tensor.datatype == "BYTES" and (values.ndim == 1 or values.shape[1:] == (1,)):
        pictures: list[Given] = list(values.ravel())
    elif tensor.datatype == "UINT8" and values.ndim in (3, 4):
        pictures = list(values if values.ndim == 4 else values[None])
    else:
        raise invalid(
            f"input {PICTURE} is {tensor.datatype} {list(shape_of(tensor))}: give files as BYTES [N] or [N, 1], or "
            "pixels as UINT8 [N, height, width, channels] or [height, width, channels]"
        )
    if not 0 < len(pictures) <= MAX_PICTURES:
        raise invalid(f"{len(pictures)} pictures: give 1 to {MAX_PICTURES} a request")
    return pictures
