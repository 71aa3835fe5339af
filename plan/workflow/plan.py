"""The cheapest plan of a workflow that holds the accuracy, by either method, and what each step of accuracy costs."""

from __future__ import annotations

import math
import time

from edgesight.plan.profile import (
    SECONDS,
    PlanError,
)
from edgesight.plan.workflow.authors import search_authors
from edgesight.plan.workflow.cost import Covers, Facts, bounded, meets
from edgesight.plan.workflow.problem import ALONE, METHODS, SLACK, Curve, Method, Workflow, WorkflowPlan

_PLANNING = 0.95  # share of the time that the search has
_RELAXING_S = 5.0  # that a tighter bound of the authors' plan may take
_STEPS = 4  # of a curve: no plan has less than this part of the time that is left


def plan(
    workflow: Workflow, accuracy: float | None = None, method: Method = "exact", seconds: float = SECONDS
) -> WorkflowPlan:
    """The cheapest plan that `method` finds with at least `accuracy`; among equal costs the most accurate.

    After `seconds` it is the best plan so far, which says how far from optimal it may be.
    Raises PlanError when no accuracy is asked for, or `method` is unknown.
    """
    asked = workflow.accuracy if accuracy is None else accuracy
    if asked is None:
        raise PlanError("no accuracy is asked for: give one, or the field accuracy in the workflow")
    if not 0 <= asked <= 1:
        raise PlanError(f"accuracy {asked:g}: give a share from 0 to 1")
    until = time.monotonic() + _PLANNING * seconds
    if method == "exact":
        from edgesight.plan.workflow.exact import plan_exact

        return plan_exact(workflow, asked, until)
    if method == "authors":
        return plan_authors(workflow, asked, until)
    raise PlanError(f"method {method}: choose one of {', '.join(METHODS)}")


def plan_authors(workflow: Workflow, asked: float, until: float = math.inf) -> WorkflowPlan:
    """The cheapest plan that the authors' search finds with accuracy `asked`; among equal costs the most accurate.

    The search ends at the moment `until` (of `time.monotonic`), with the best plan so far. Its bound lets operators
    share workers and counts no communication, so the true gap is no larger, often smaller.
    """
    made = search_authors(Facts.of(workflow), asked, until)
    if not made.feasible or time.monotonic() >= until:
        return made
    covers = Covers.of(Facts.of(workflow), until)
    bound = min(covers.least(row) for row in workflow.accuracies if meets(row.accuracy, asked))
    made = bounded(made, bound, ALONE)
    try:
        from edgesight.plan.workflow.exact import tighter

        return tighter(workflow, made, min(until, time.monotonic() + _RELAXING_S))
    except ImportError:  # no SciPy
        return made


def curve(workflow: Workflow, method: Method = "exact", seconds: float = SECONDS) -> Curve:
    """What each step of accuracy costs, from the cheapest plan to the most accurate.

    `seconds` bounds all plans together: each has an equal part of what is left for the levels that are left.
    """
    until = time.monotonic() + seconds
    levels = sorted({row.accuracy for row in workflow.accuracies})
    plans: list[WorkflowPlan] = []
    level: float | None = levels[0]
    while level is not None and (left := until - time.monotonic()) > 0:
        # The last ones need little: most levels are passed over, since a plan reaches beyond what it was asked for.
        found = plan(workflow, level, method, left / min(_STEPS, sum(other >= level for other in levels)))
        reached = level if found.accuracy is None else found.accuracy
        level = next((other for other in levels if other > reached), None)
        if not found.feasible:
            if found.proven:
                break
            continue
        plans = [other for other in plans if other.dollars_per_hour < found.dollars_per_hour * (1 - SLACK)]
        plans.append(found)
    return Curve(method=method, plans=tuple(plans))
