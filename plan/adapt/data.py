"""What adaptation is planned from, and what its plan says: models, GPUs, clients; who uses which model on which GPU.

Jellyfish (Nigade et al., RTSS 2022; Real-Time Systems 2024): clients send frames at a rate, over links that move, to
GPUs that hold several models. The larger a client's frames, the more accurate the answer, and the later it comes.

Words owned here: *model* (a variant at one input size), *network* (weights that are loaded at once; one with several
widths, exits or input sizes is *dynamic*: all its models take one place on a GPU, and nothing is loaded between them),
*held* (loaded on a GPU), *budget* (what a frame's transfer leaves of the SLO), *served* (has a model on a GPU).
"""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import (
    Bytes,
    Link,
    Milliseconds,
    Name,
    NotNegative,
    Plain,
    Plan,
    PlanError,
    Share,
    Slo,
    Variant,
)
from edgesight.plan.profile import checked as check_content
from edgesight.plan.profile import read as read_file

_SHIPPED = resources.files("edgesight.plan.adapt.profiles")
# What planners count in arrays is bounded, so that nothing leaves 64 bits and no list fills the memory.
MOST_RATE = 1e6  # frames a second of one client
Pixels = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Count = Annotated[int, Field(strict=True, ge=1, le=2**16)]
PixelsKey = Annotated[int, Field(ge=1, le=2**20)]  # a key of JSON is text
CountKey = Annotated[int, Field(ge=1, le=2**16)]
FrameBytes = Annotated[Bytes, Field(ge=1)]
BatchMs = Annotated[float, Field(strict=True, ge=1e-3, le=1e9)]  # from a microsecond to eleven days


class Model(Variant):
    """A variant at one input size: what a GPU runs and what a client's frames are sized for."""

    latency_ms: dict[CountKey, BatchMs]  # by batch size
    input_px: Pixels  # side of the square input
    network: Name | None = None  # whose weights it uses; None: its own, which no other model shares

    @property
    def weights(self) -> str:
        """The network that a GPU has to hold."""
        return self.network or self.name


class Network(Plain):
    """What is loaded at once."""

    name: Name
    load_ms: Milliseconds  # until a GPU that did not hold it can run it
    obtained: Obtained


class ModelProfile(Plain):
    """All models that clients may be given, and how large frames are at each input size."""

    name: Name
    source: str = ""  # where the numbers are from
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    networks: tuple[Network, ...] = ()  # those whose loading takes time; any other is loaded at once
    frame_bytes: dict[PixelsKey, FrameBytes]  # by input size
    frame_bytes_obtained: Obtained

    @model_validator(mode="after")
    def _whole(self) -> ModelProfile:
        _all_different("models", [model.name for model in self.models])
        _all_different("networks", [network.name for network in self.networks])
        used = {model.weights for model in self.models}
        for network in self.networks:
            if network.name not in used:
                raise ValueError(f"networks: {network.name} is no model's; a model names its network, or is one itself")
        for model in self.models:
            if model.input_px not in self.frame_bytes:
                raise ValueError(f"frame_bytes: none for {model.input_px} px, the input size of model {model.name}")
            if not model.latency_ms:
                raise ValueError(f"models: {model.name} has no latency_ms; give at least that of batch size 1")
        return self

    def load_ms(self, network: str) -> float:
        """Milliseconds until a GPU that does not hold `network` can run it."""
        return next((entry.load_ms for entry in self.networks if entry.name == network), 0.0)


class Gpu(Plain):
    """What runs models, one at a time; those that it holds besides are switched to without loading.

    `holds` is what plans count on. While a GPU loads its next network it goes on running the old one, also where the
    plan has no place for that any more: for this time its memory needs room for one network more than `holds`.
    """

    name: Name
    holds: Count = 5  # networks; one more in memory while one is loaded
    batch_limit: Count = 12
    held: tuple[Name, ...] = ()  # networks that it holds now, the one it runs first

    @model_validator(mode="after")
    def _fits(self) -> Gpu:
        if len(set(self.held)) > self.holds:
            raise ValueError(f"held: {len(set(self.held))} networks on GPU {self.name}, which holds {self.holds}")
        return self


class Client(Plain):
    """Who sends frames: `slo.rate` a second, each answered within `slo.latency_ms`, over `link` as it is now."""

    name: Name
    slo: Slo
    link: Link

    @model_validator(mode="after")
    def _needs(self) -> Client:
        for field in ("latency_ms", "rate"):
            if getattr(self.slo, field) is None:
                raise ValueError(f"slo.{field}: missing for client {self.name}")
        if self.rate > MOST_RATE:
            raise ValueError(f"slo.rate: {self.rate:g} for client {self.name}; must be at most {MOST_RATE:g}")
        return self

    @property
    def rate(self) -> float:
        """Frames a second."""
        assert self.slo.rate is not None
        return self.slo.rate

    @property
    def latency_ms(self) -> float:
        """Milliseconds from a frame to its answer."""
        assert self.slo.latency_ms is not None
        return self.slo.latency_ms


class Situation(Plain):
    """What a plan is asked for: the file that `edgesight plan adapt` reads."""

    profile: ModelProfile  # in a file also the name of a shipped one
    clients: tuple[Client, ...]
    gpus: Annotated[tuple[Gpu, ...], Field(min_length=1)]
    overhead_ms: Milliseconds = 0.0  # of the server, for each frame, beside the models' latencies
    load_limit: Annotated[float, Field(strict=True, gt=0, le=1)] = (
        1.0  # share of a GPU's throughput that clients may use
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the file, in which a shipped profile may be named."""
        found = handler(core)
        fields = handler.resolve_ref_schema(found)["properties"]
        fields["profile"] = {"anyOf": [{"enum": shipped_names()}, fields["profile"]]}
        return found

    @field_validator("profile", mode="before")
    @classmethod
    def _shipped(cls, profile: Any) -> Any:
        if not isinstance(profile, str):
            return profile
        try:
            return shipped(profile)
        except PlanError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _named(self) -> Situation:
        _all_different("clients", [client.name for client in self.clients])
        _all_different("gpus", [gpu.name for gpu in self.gpus])
        known = {model.weights for model in self.profile.models}
        for gpu in self.gpus:
            for network in gpu.held:
                if network not in known:
                    raise ValueError(f"gpus: {gpu.name} holds {network}, which is no network of the profile")
        return self

    def budget_ms(self, client: Client, model: Model) -> float:
        """What is left of the client's SLO for waiting and for the model; 0 where the link can't carry its frames."""
        size = self.profile.frame_bytes[model.input_px]
        transfer = client.link.transfer_ms(size)
        if transfer * client.rate > 1e3:
            return 0.0
        return max(0.0, client.latency_ms - transfer - client.link.round_trip_ms - self.overhead_ms)


class ClientPlan(Plain):
    """What one client uses."""

    client: Name
    model: Name
    input_px: Pixels
    gpu: Name
    accuracy: Share
    transfer_ms: NotNegative
    budget_ms: NotNegative


class GpuPlan(Plain):
    """What one GPU runs and holds."""

    gpu: Name
    model: Name | None  # None: no client uses it
    batch: Annotated[int, Field(strict=True, ge=0)]  # frames at most in one run of the model
    latency_ms: NotNegative  # of that batch
    throughput: NotNegative  # frames a second that it can run
    rate: NotNegative  # frames a second that come
    resident: tuple[Name, ...]  # networks to hold, the one it runs first
    load_ms: NotNegative  # until it runs the model; meanwhile it runs what it ran


class Unserved(Plain):
    """A client for which there is no model, and why."""

    client: Name
    reason: str


class AdaptPlan(Plan):
    """Who uses which model on which GPU. One that is not feasible serves as many requests as it can."""

    planner: Literal["adapt"] = "adapt"
    clients: tuple[ClientPlan, ...]
    gpus: tuple[GpuPlan, ...]
    unserved: tuple[Unserved, ...]
    mean_accuracy: Share  # per request, those of unserved clients counted as 0
    # Of plans that serve as many requests none has a higher mean accuracy; one that serves fewer may. None: not known.
    best_possible: Share | None = None
    proven: bool = False  # that no plan serves more requests or, serving as many, is more accurate on average
    planning_ms: NotNegative  # what planning took, measured


def shipped_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(entry.name[:-5] for entry in _SHIPPED.iterdir() if entry.name.endswith(".json"))


def shipped(name: str) -> ModelProfile:
    """The shipped profile of that name; raises PlanError naming those that there are."""
    names = shipped_names()
    if name not in names:
        raise PlanError(f"profile {name!r}: no such shipped profile; choose one of {', '.join(names)}")
    import json

    return check_content(json.loads((_SHIPPED / f"{name}.json").read_text()), ModelProfile, f"shipped profile {name}")


def read_situation(path: Path) -> Situation:
    """The situation in a JSON file; raises PlanError naming file, field and reason.

    A file without clients is refused; the scheduler's situation has none as long as nobody has registered.
    """
    situation = read_file(path, Situation)
    if not situation.clients:
        raise PlanError(f"{path}: field clients: is empty; give at least one")
    return situation


def _all_different(field: str, names: list[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"{field}: {name!r} is there more than once")
