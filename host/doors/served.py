"""What stands behind the doors of the Open Inference Protocol, in plain types: an edge, or a data centre.

A door turns bytes into these and back, and knows who asks. What stands behind knows nothing of HTTP or gRPC. The words
are the protocol's own (KServe's "Open Inference Protocol", version 2, with Triton's extensions).

Words owned here: door, caller.
"""

from __future__ import annotations

import enum
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.measures import Measure
from edgesight.host.recent import Seen

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]


class Code(enum.Enum):
    """Why a request got no answer. The values are those of gRPC's status of that name."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8  # ask again later
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14  # ask again
    UNAUTHENTICATED = 16


class Refused(EdgeSightError):
    """A request that gets no answer: why, and what to do.

    Attributes:
        code: the kind of reason.
        retry_after: seconds after which asking again may do; None where it will not.
    """

    def __init__(self, code: Code, message: str, retry_after: float | None = None) -> None:
        """`message` goes to who asked."""
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


@dataclass(frozen=True)
class Caller:
    """Who asks, as far as the door could find out.

    Attributes:
        name: by which shares and quotas go: of the certificate, else of the token, else the address.
        trace: the W3C `traceparent` that came along; None: no trace.
    """

    name: str
    trace: str | None = None


@dataclass(frozen=True)
class Tensor:
    """A named array.

    Attributes:
        name: of the model's input or output.
        datatype: the protocol's: BOOL, UINT8 to INT64, FP16, FP32, FP64 or BYTES. BF16 is not taken.
        values: of the shape; of BYTES, dtype object, each element `bytes`.
        parameters: as they came, or are to go.
    """

    name: str
    datatype: str
    values: npt.NDArray[Any]
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for.

    Attributes:
        name: the output's.
        classes: the best so many classes as BYTES "value:index:name" (Triton's classification extension) instead of the
            tensor; 0: the tensor.
    """

    name: str
    classes: int = 0


@dataclass(frozen=True)
class Request:
    """One request for an inference.

    Attributes:
        model: name of the model, or of the edge's application.
        inputs: at least one.
        version: of the model; empty: the server's choice.
        id: the client's own, given back.
        parameters: as they came.
        outputs: those asked for; empty: all.
        timeout: seconds within which the answer is of use; None: no limit told.
    """

    model: str
    inputs: Sequence[Tensor]
    version: str = ""
    id: str = ""
    parameters: Parameters = field(default_factory=dict)
    outputs: Sequence[Wanted] = ()
    timeout: float | None = None


@dataclass(frozen=True)
class Response:
    """The answer to a `Request`.

    Attributes:
        model: the model's name.
        version: that answered.
        outputs: those asked for.
        id: the request's.
        parameters: about the answer.
    """

    model: str
    version: str
    outputs: Sequence[Tensor]
    id: str = ""
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class TensorForm:
    """What a model takes or gives: `shape` has -1 where any length will do, the batch's first."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What there is to know of a model before asking it."""

    name: str
    versions: Sequence[str]
    platform: str
    inputs: Sequence[TensorForm]
    outputs: Sequence[TensorForm]
    max_batch_size: int = 0  # 0: the first dimension is no batch
    labels: Sequence[str] = ()  # of the classes
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Duration:
    """How often something was done, and nanoseconds that all of it took."""

    count: int = 0
    ns: int = 0

    def more(self, seconds: float) -> Duration:
        """With another one, which took so many `seconds`."""
        return Duration(self.count + 1, self.ns + max(0, round(seconds * 1e9)))


@dataclass(frozen=True)
class ModelStatistics:
    """Counts of one version since it was loaded; the words are Triton's."""

    name: str
    version: str
    last_inference_ms: int  # since the epoch
    inference_count: int  # images
    execution_count: int  # batches
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: Mapping[int, Duration] = field(default_factory=dict)  # compute_infer by batch size


@dataclass(frozen=True)
class IndexEntry:
    """A model of the repository: `state` is READY, LOADING, UNLOADING or UNAVAILABLE, with the `reason`."""

    name: str
    version: str = ""
    state: str = "UNAVAILABLE"
    reason: str = ""


class Served(Protocol):
    """What stands behind a door. All methods are called in the door's loop; those that raise, raise `Refused`."""

    name: str  # of the server
    version: str
    extensions: Sequence[str]  # beyond the protocol, by Triton's names

    def live(self) -> bool:
        """It works, though it may take no requests: it need not be started anew."""

    def ready(self) -> bool:
        """It takes requests now; not while it starts or drains."""

    def model_ready(self, name: str, version: str) -> bool:
        """This model takes requests; an unknown one does not."""

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """Of a model."""

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """Of a model, or of all where `name` is empty."""

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself beside the statistics."""

    def recent(self) -> Sequence[Seen]:
        """The last pictures that were answered, the oldest first; others may not be shown them."""

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        """All models, or those that are ready."""

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """Load a model of the repository, or its newest version in place of the one that is loaded."""

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """Give a model's memory back; it is not loaded by a request until `load`."""

    async def infer(self, request: Request, caller: Caller) -> Response:
        """Answer one request; cancelled when nobody waits for it any more."""


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The tensor's shape as plain integers."""
    return tuple(int(side) for side in np.shape(tensor.values))


def own_version() -> str:
    """EdgeSight's own; `unknown` where it runs without being installed."""
    try:
        return importlib.metadata.version("edgesight")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
