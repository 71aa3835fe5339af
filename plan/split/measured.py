"""What was measured of one network on one device: its layers' times and sizes, and its exits.

Words owned here: *measured network* (one network on one device).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import Bytes, Device, Milliseconds, Name, NotNegative, Plain


class MeasuredLayer(Plain):
    """A layer of a measured network."""

    name: Name
    ms: Milliseconds
    output_bytes: Bytes


class MeasuredExit(Plain):
    """An exit of a measured network; see `edgesight.plan.split.plan.Exit`."""

    name: Name
    after: Annotated[int, Field(strict=True, ge=0)]
    layers: tuple[MeasuredLayer, ...] = ()
    branch_bytes: Bytes | None = None
    answer_bytes: Bytes


class MeasuredNetwork(Plain):
    """One network's layers on one device. Two of them make a profile (`join`)."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the network: only equal ones can be cut
    device: Device
    obtained: Obtained
    origin: str  # how and on what it was measured, in words
    whole_ms: NotNegative | None = None  # all layers to the last exit in one piece; None where that was not measured
    apart_ms: NotNegative | None = None  # the same, each layer by itself: what the layers' times were scaled from
    input_bytes: Bytes
    layers: Annotated[list[MeasuredLayer], Field(min_length=1)]
    exits: Annotated[list[MeasuredExit], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _of_one_device(cls, content: Any) -> Any:
        if isinstance(content, dict) and "datacenter" in content:
            raise ValueError("is the profile of two machines, joined already; give `edgesight plan split` this one")
        return content

    @model_validator(mode="after")
    def _fits_together(self) -> MeasuredNetwork:
        for number, exit_ in enumerate(self.exits):
            if exit_.after > len(self.layers):
                raise ValueError(f"exits.{number}.after: is {exit_.after}, but the trunk has {len(self.layers)} layers")
            if exit_.after + len(exit_.layers) == 0:
                raise ValueError(f"exits.{number}: has no layer, neither of the trunk nor of its own")
        return self
