"""The one vocabulary of all planners: what there is, what is wanted, and what a plan says.

Times are milliseconds, sizes bytes, bandwidths Mbit/s (10^6 bits), rates per second, prices dollars an hour, accuracies
shares from 0 to 1. A number says how it was obtained, and what is computed from numbers says "projected".

Words owned here: *device* (what computes), *tier* (devices at one distance from the data, tier 0 nearest), *link* (what
joins two devices or tiers), *variant* (one of several networks for one job), *SLO* (what a request must meet), *plan*.

All planners share the units, how input is checked and files are written, and what a plan says first (`Plan`). The rest
is for those that it fits. `Device`: split's two machines, place's nodes, workflow's workers; place weighs its memory,
workflow its tier and price, split none of them; adapt's GPUs are none, since they hold so many networks of any size.
`Link`, `Slo`: split and adapt; place has a bandwidth for each pair of nodes, workflow a price of each GiB and an
accuracy to reach. `Variant`: adapt; workflow's are names, whose times are the workers' and whose accuracies hang
together.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edgesight.host.trace
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import Claim, json_claim, read_at_most, write_output
from edgesight.host.obtained import Obtained
from edgesight.host.trace import Trace, TraceError

# Numbers are strict: "20" and true are none.
Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
# What is given is within what a machine or a link can be: no sum, product or quotient leaves what a float holds.
Milliseconds = Annotated[float, Field(strict=True, ge=0, le=1e12)]
SomeMilliseconds = Annotated[float, Field(strict=True, ge=1e-6, le=1e12)]  # from a nanosecond to three decades
Mbps = Annotated[float, Field(strict=True, ge=1e-6, le=1e12)]
Rate = Annotated[float, Field(strict=True, ge=1e-6, le=1e9)]  # a second
Dollars = Annotated[float, Field(strict=True, ge=0, le=1e9)]
MOST_BYTES: Final = 2**53  # below it a float holds every integer exactly
Bytes = Annotated[int, Field(strict=True, ge=0, lt=MOST_BYTES)]

SECONDS: Final = 60.0  # that a planner may take, where nothing else is said

_BITS_PER_BYTE = 8


class PlanError(EdgeSightError):
    """Input that no plan can be made of: names file, field and reason, and what to do."""


class Plain(BaseModel):
    """Plain data: no unknown fields, no change after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Link(Plain):
    """What joins two devices or tiers."""

    mbps: Mbps
    round_trip_ms: Milliseconds = 0.0

    def transfer_ms(self, size: float) -> float:
        """Milliseconds that `size` bytes take to pass, the round trip not counted."""
        return size * _BITS_PER_BYTE / (self.mbps * 1e3)


Cores = Annotated[float, Field(strict=True, ge=0.1, le=4096)]  # of a processor that a device is held to when it runs


class Device(Plain):
    """What computes: a board, a CPU, a GPU, a node of a cluster."""

    name: Name
    tier: Annotated[int, Field(strict=True, ge=0)] = 0
    memory_bytes: Bytes | None = None  # for weights and activations; None where it bounds nothing
    dollars_per_hour: Dollars = 0.0


class Variant(Plain):
    """One of several networks for one job: how accurate it is and how long it takes."""

    name: Name
    accuracy: Share
    latency_ms: dict[Annotated[int, Field(ge=1)], SomeMilliseconds]  # by batch size, which as a key of JSON is text
    obtained: Obtained


class Slo(Plain):
    """What a request must meet."""

    latency_ms: SomeMilliseconds | None = None  # from request to answer
    accuracy: Share | None = None
    rate: Rate | None = None  # requests a second


class Plan(Plain):
    """What every planner's plan says, whatever else it says."""

    planner: Literal["split", "adapt", "workflow", "place"]
    method: Name  # of those that the planner offers
    feasible: bool
    reason: str | None = None  # why none meets the needs; None where one does
    obtained: Obtained = "projected"  # of every predicted number in it


Data = TypeVar("Data", bound=BaseModel)
MAX_FILE_BYTES: Final = 64 * 2**20


def read(path: Path, kind: type[Data]) -> Data:
    """The JSON file at `path` as `kind`; raises PlanError naming file, field and reason.

    A key that is given twice is refused: one of its two values would be lost without a word.
    """
    try:
        content = json.loads(read_at_most(path, MAX_FILE_BYTES), object_pairs_hook=once, parse_constant=_no_number)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror}): name a readable file") from error
    except _RefusedError as error:
        raise PlanError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path}: is no JSON ({error}): repair it") from error
    return checked(content, kind, str(path))


def check_text(content: Any, where: str) -> None:
    """Raise PlanError for texts that would steer the terminal on which they are printed, rather than show."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, str) and (odd := _STEERING.search(part)) is not None:
            raise PlanError(f"{where}: the text {part[:40]!a} holds the control character U+{ord(odd[0]):04X}; drop it")


# Control characters, what turns the direction of the text behind it, and halves of characters.
_STEERING: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def read_trace(path: Path | str) -> Trace:
    """The trace in a file (`edgesight.host.trace`); raises PlanError naming file, line and reason."""
    try:
        return edgesight.host.trace.read(path)
    except TraceError as error:
        raise PlanError(str(error)) from None


class _RefusedError(ValueError):
    """JSON that says something which is not taken."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `json.loads`; raises ValueError where a key is there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RefusedError(f"key {key[:40]!r} is twice in one object; keep one of the two")
        found[key] = value
    return found


def _no_number(text: str) -> Any:
    raise _RefusedError(f"{text} is no number of JSON")


def checked(content: Any, kind: type[Data], where: str) -> Data:
    """Plain `content` as `kind`; raises PlanError naming `where`, field and reason."""
    check_text(content, where)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise PlanError(f"{where}: {_faults(error, kind)}") from error


# What a field is counted in, by the end of its name.
_UNITS: Final = {
    "_ms": "milliseconds",
    "ms": "milliseconds",
    "mbps": "Mbit/s",
    "_bytes": "bytes",
    "_px": "pixels",
    "rate": "a second",
    "accuracy": "a share from 0 to 1, not percent",
    "dollars_per_hour": "dollars an hour",
    "dollars_per_gib": "dollars a GiB",
    "speed": "10^9 multiply-accumulates a second",
}


_MOST_FAULTS: Final = 3


def _faults(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first faults: field, reason, unit where its name has one, and what was found."""
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    # A list with a faulty entry is called too short as well: the entry was not counted.
    faults = [
        fault
        for fault in faults
        if fault["type"] != "too_short"
        or not any(len(place) > len(fault["loc"]) and place[: len(fault["loc"])] == fault["loc"] for place in places)
    ]
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(_fault(fault, kind) for fault in faults[:_MOST_FAULTS]) + more


def _fault(fault: Any, kind: type[BaseModel]) -> str:
    where, what = fault["loc"], fault["type"]
    field = f"field {'.'.join(str(part)[:80] for part in where)}: " if where else ""
    if what == "value_error":
        reason = str(fault["ctx"]["error"])
    elif what == "missing":
        reason = "is missing"
    elif what == "extra_forbidden":
        around = _kind_at(kind, where[:-1])
        names = "" if around is None else f"; there are {', '.join(around.model_fields)}"
        reason = f"is none of the fields here{names}"
    elif what in ("model_type", "dict_type"):
        here = _kind_at(kind, where)
        reason = "has to be an object" + ("" if here is None else f" with {', '.join(here.model_fields)}")
    elif what in ("list_type", "tuple_type"):
        reason = "has to be a list"
    elif what == "too_short":
        reason = "is empty; give at least one"
    else:
        reason = fault["msg"]
    return f"{field}{reason}{_found(fault)}"


def _kind_at(kind: Any, where: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The kind of object at a place inside of `kind`; None where there is none, or it can't be told."""
    for part in where:
        if isinstance(part, str) and isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(part)
            kind = None if field is None else field.annotation
        else:
            kind = next((one for one in reversed(get_args(kind)) if one is not Ellipsis), None)
        while get_origin(kind) in (Annotated, Union, UnionType):
            kind = next((one for one in get_args(kind) if one is not NoneType), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _found(fault: Any) -> str:
    found = fault["input"]
    if not isinstance(found, (str, int, float)):
        return ""
    names = [part for part in fault["loc"] if isinstance(part, str)]
    unit = next((unit for end, unit in _UNITS.items() for name in names[-3:] if name.endswith(end)), None)
    return f" ({'' if unit is None else f'{unit}; '}found {json.dumps(found)[:60]})"


def write(path: Path, plan: BaseModel, *others: type[BaseModel]) -> None:
    """Write `plan` as JSON, whole or not at all, over one of its kind or of the `others` that its command makes.

    Raises OutputError when it cannot be, or something else is there.
    """
    write_output(path, (plan.model_dump_json(indent=1) + "\n").encode(), claim(type(plan), *others))


def claim(*kinds: type[BaseModel]) -> Claim:
    """What a file with plans of these kinds may replace."""
    claims = [json_claim("", *kind.model_fields) for kind in kinds]

    def stranger(path: Path) -> str | None:
        found = [one.stranger(path) for one in claims]
        return None if None in found else found[0]

    return Claim("plan or profile of this kind", stranger)
