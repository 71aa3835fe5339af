"""Planners of a folder of pieces, as what runs them wants one (`edgesight.host.split.run.Planner`)."""

from __future__ import annotations

from edgesight.host.split.pieces import Pieces
from edgesight.plan.profile import PlanError, Slo
from edgesight.plan.split.bandwidth import MovingSplit
from edgesight.plan.split.pieces import PROFILE
from edgesight.plan.split.plan import Choices, SplitPlan, SplitProfile


class Planned:
    """Says exit and cut for the link as it has been."""

    def __init__(self, pieces: Pieces) -> None:
        """By the profile and the needs that the pieces were made for."""
        told = pieces.manifest
        self._choices = Choices.of(SplitProfile.model_validate_json(pieces.read(PROFILE)))
        needs = Slo(latency_ms=told.deadline_ms, accuracy=told.accuracy)
        self._moving = MovingSplit(self._choices, needs, told.round_trip_ms, fall_back=told.fall_back)

    def choose(self) -> tuple[str, int] | None:
        """The exit and the cut for the next request; None where nothing can be on time."""
        index, _ = self._moving.choose()
        if index is None:
            return None
        exit_ = self._choices.profile.exits[int(self._choices.exits[index])]
        return exit_.name, int(self._choices.cuts[index])

    def observe(self, mbps: float) -> None:
        """Take into account what the link carried, in Mbit/s; 0 where nothing came through."""
        self._moving.observe(mbps)


class Stays:
    """Says one exit and one cut, whatever the link does."""

    def __init__(self, exit_: str, cut: int) -> None:
        """Always these."""
        self._choice = exit_, cut

    def choose(self) -> tuple[str, int]:
        """As `Planned` says."""
        return self._choice

    def observe(self, mbps: float) -> None:
        """Nothing comes of it."""


def choice_of(plan: SplitPlan) -> tuple[str, int]:
    """The plan's exit and cut; raises PlanError where it has none."""
    if plan.choice is None:
        raise PlanError(f"plan for {plan.profile}: is none ({plan.reason}): give one that is feasible")
    return plan.choice.exit, plan.choice.cut
