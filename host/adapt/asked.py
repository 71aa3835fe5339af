"""What a client says with a frame, and what it is told with the answer: parameters of the Open Inference Protocol.

With each frame comes who asks (`client`), what it wants (`slo_ms`, `rate`), what it knows of its link (`mbps`,
`round_trip_ms`) and which model the frame is sized for (`sized_for`). So there is no registering apart: whoever was
forgotten is known again with its next frame. `mbps` is left out until the first frame has arrived.

How long the answer is of use the call's own deadline says. A client lets its call go on for longer, by `grace_ms`: what
has left cannot be taken back, and it learns of its link by when it arrives.

Words owned here: *said* (what comes with a frame).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgesight.host.adapt.planning import Wants
from edgesight.host.doors.served import Parameters
from edgesight.host.doors.tensors import invalid, shown

APPLICATION: Final = "frames"  # the one model that is asked for behind the doors
PICTURE: Final = "picture"
MOST_RATE: Final = 240.0  # frames a second of one client
MOST_SLO_MS: Final = 60_000.0
GRACE_MS: Final = 2_000.0
_MOST_MBPS: Final = 1e6
_LONGEST: Final = 64  # characters of a client's name

CLIENT, SLO_MS, RATE, MBPS = "client", "slo_ms", "rate", "mbps"
ROUND_TRIP_MS, SIZED_FOR, GRACE = "round_trip_ms", "sized_for", "grace_ms"
# Of answers.
RAN, ACCURACY, BATCH, EXECUTOR = "ran", "accuracy", "batch", "executor"
NEXT_MODEL, NEXT_SIDE, SERVER_MS = "next_model", "next_input_px", "server_ms"


@dataclass(frozen=True)
class Said:
    """What comes with a frame.

    Attributes:
        wants: None where the client does not know yet what its link carries.
        grace_s: seconds that the call goes on after its answer is of no use any more.
    """

    client: str
    slo_s: float
    wants: Wants | None
    sized_for: str
    grace_s: float


def read(parameters: Parameters, models: Mapping[str, object]) -> Said:
    """What the `parameters` of a request say; raises Refused (INVALID_ARGUMENT) where they say what cannot be."""
    name = parameters.get(CLIENT)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or not name.isprintable():
        raise invalid(f"parameter {CLIENT} must be a printable text of 1 to {_LONGEST} characters, not {shown(name)}")
    sized_for = parameters.get(SIZED_FOR)
    if not isinstance(sized_for, str) or sized_for not in models:
        raise invalid(f"parameter {SIZED_FOR} is {shown(sized_for)}: name one of {', '.join(models)}")
    slo_ms = _number(parameters, SLO_MS, 1.0, MOST_SLO_MS)
    rate = _number(parameters, RATE, 0.01, MOST_RATE)
    round_trip_ms = _number(parameters, ROUND_TRIP_MS, 0.0, MOST_SLO_MS)
    grace_ms = _number(parameters, GRACE, 0.0, MOST_SLO_MS) if GRACE in parameters else 0.0
    wants = None
    if MBPS in parameters:
        wants = Wants(slo_ms, rate, _number(parameters, MBPS, 1e-6, _MOST_MBPS), round_trip_ms)
    return Said(name, slo_ms / 1e3, wants, sized_for, grace_ms / 1e3)


def _number(parameters: Parameters, name: str, least: float, most: float) -> float:
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(f"parameter {name} must be a number of {least:g} to {most:g}, not {shown(value)}")
    if not least <= value <= most:
        raise invalid(f"parameter {name} is {value:g}: give {least:g} to {most:g}")
    return float(value)
