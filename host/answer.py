"""The one answer type, all the way from the fabric to whoever asked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgesight.host.obtained import Obtained

StageName = Literal["stage0", "stage1", "stage2", "stage3", "datacenter"]


class Leg(BaseModel):
    """Time one leg of the way took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["fabric", "link", "service"]
    milliseconds: float
    obtained: Obtained  # simulated: cycles of the Verilated RTL at the package's clock


class Answer(BaseModel):
    """What the cascade says of one image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: int
    class_name: str
    confidence: float  # calibrated probability of being right
    stage: StageName  # who answered
    accuracy_target: float
    # The deadline passed, or the data centre was away and the best edge answer stands in.
    degraded: bool
    # The calibrated accuracy target covers it. Not so a degraded answer, nor one of the data centre over a link that
    # loses more than was calibrated for, or to which the image went more coarsely, nor that of a strange picture.
    guaranteed: bool
    # What the guarantee holds for, in words: a share of many pictures of one kind, never a single picture of any other.
    # None where nothing is guaranteed.
    guaranteed_for: str | None = None
    reason: str | None  # why it is degraded, or not guaranteed
    hedged: bool  # the data centre was asked before the fabric had answered: the fabric's leg overlaps the others
    legs: list[Leg]
    # Above idle, on the fabric alone: a mean over the images of late. None where no sensor could tell.
    energy_joules: float | None
    energy_obtained: Obtained | None = None
    # p-value of the picture against those that the kernel was calibrated on: of pictures like them at most a share p
    # has one of p or less. None where the kernel can't tell.
    novelty: float | None = None
    warnings: tuple[str, ...] = ()  # what to know of the picture: that it was too small, or transparent

    @property
    def milliseconds(self) -> float:
        """Time that all legs took together."""
        fabric = sum(leg.milliseconds for leg in self.legs if leg.name == "fabric")
        others = sum(leg.milliseconds for leg in self.legs if leg.name != "fabric")
        return max(fabric, others) if self.hedged else fabric + others

    def told(self) -> dict[str, object]:
        """All that it says, and the time that it took, in plain values."""
        return {**self.model_dump(mode="json"), "milliseconds": self.milliseconds}
