"""The exact method for workflows: a mixed-integer program for each row of the accuracies that may yet win, by HiGHS.

Every row has a bound that no plan with its variants is below; the row with the least one is taken next. First its bound
is raised by the program's linear relaxation (`program`), then the program is solved, with the best plan so far as its
ceiling. A row's bound holds for those that it eases, too (`rows`). A row whose program is hard is left for the others,
and comes again with more time; where no proof is near, rows that differ from the best plan's in one variant are solved
as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from edgesight.plan.deadline import best_within
from edgesight.plan.workflow.authors import search_authors
from edgesight.plan.workflow.cost import Covers, Facts, bounded, meets, why_not
from edgesight.plan.workflow.descent import descend
from edgesight.plan.workflow.problem import ALONE, SLACK, Workflow, WorkflowPlan
from edgesight.plan.workflow.program import Program
from edgesight.plan.workflow.rows import Rows

_FEW = 500  # rows times workers times operators that are planned for in a moment
_MANY = 2_000  # rows that meet the accuracy, above which they are not taken one by one from the start
_JOINT = "one program for all rows of the accuracies"
_BEGINNING = 0.25  # share of the time that the authors' plan may take
_SEARCHING = 0.9  # share of the time that the search has: the rest is for a solver that passes its limit
_PROVING = 0.45  # share after which the neighbourhood of the best plan is looked at, too
_LOOKING = 0.3  # share that this may take
_TRY = 0.5  # share that a row's program may take at first
_AROUND = 8  # neighbours that the time is meant to do for


def plan_exact(workflow: Workflow, asked: float, until: float) -> WorkflowPlan:
    """The cheapest plan with accuracy `asked`, and among equal costs the most accurate; raises nothing of its own.

    At the moment `until` (of `time.monotonic`) the search ends; the plan is then the best known, the authors' one
    included, with its gap, and one of the same cost and more accuracy may have been missed.
    """
    begun = time.monotonic()
    # Each part has a process of its own: where a solver passes its limit, the others' time is not lost.
    if sum(meets(row.accuracy, asked) for row in workflow.accuracies) <= _MANY:
        parts: list[tuple[float, _Part]] = [(1.0, _by_rows)]
    else:
        parts = [(0.45, _downwards), (1.0, _jointly)]
    small = len(workflow.accuracies) * len(workflow.workers) * len(workflow.operators) <= _FEW
    best: WorkflowPlan | None = None
    for share, part in parts:
        end = begun + share * (until - begun)
        best = best_within(end, _begun(part, workflow, asked, best, end), small=small) or best
        if best is not None and best.proven:
            break
    if best is not None:
        return best
    reason = "no plan was found in the time given, nor that there is none; give the search more"
    return WorkflowPlan(method="exact", feasible=False, reason=reason, accuracy_asked=asked)


# A part is given the workflow, the accuracy, the best plan so far, its deadline, and what to report better ones with.
_Part = Callable[[Workflow, float, "WorkflowPlan | None", float, Callable[[WorkflowPlan], None]], None]


def _begun(
    part: _Part, workflow: Workflow, asked: float, best: WorkflowPlan | None, end: float
) -> Callable[[Callable[[WorkflowPlan], None]], None]:
    now = time.monotonic()

    def run(report: Callable[[WorkflowPlan], None]) -> None:
        # The solver ends a little before it would be ended, so that its last plan is not lost.
        part(workflow, asked, best, now + _SEARCHING * (end - now), report)

    return run


def tighter(workflow: Workflow, made: WorkflowPlan, until: float) -> WorkflowPlan:
    """`made`, a feasible plan, with the bound of the best row's linear relaxation; as it was where time does not do."""

    def relax(report: Callable[[float], None]) -> None:
        facts = Facts.of(workflow)
        covers = Covers.of(facts, until)
        rows = Rows(facts, [row for row in workflow.accuracies if meets(row.accuracy, made.accuracy_asked)], covers)
        relaxed: set[int] = set()
        while (place := int(rows.bounds.argmin())) not in relaxed and time.monotonic() < until:
            relaxed.add(place)
            model = Program(facts, [rows.rows[place]], covers)
            answer = model.solve(model.cost, until, relaxed=True)
            rows.raise_bounds(place, math.inf if answer.infeasible else answer.bound)
            report(float(rows.bounds.min()))

    bound = best_within(until, relax, small=len(workflow.workers) * len(workflow.operators) <= _FEW)
    if bound is None or bound <= (made.bound_dollars_per_hour or 0.0):
        return made
    return bounded(made, bound, "linear relaxation of the cheapest variants")


def _downwards(
    workflow: Workflow,
    asked: float,
    best: WorkflowPlan | None,
    deadline: float,
    report: Callable[[WorkflowPlan], None],
) -> None:
    """The authors' plan, and a local search from there on."""
    begun = time.monotonic()
    facts = Facts.of(workflow)
    if _impossible(facts, asked, report):
        return
    known = search_authors(facts, asked, begun + 0.8 * (deadline - begun))
    if known.feasible:
        known = known.model_copy(update={"method": "exact"})
        report(known)
        descend(facts, Covers.of(facts, deadline), known, deadline, report)


def _jointly(
    workflow: Workflow,
    asked: float,
    best: WorkflowPlan | None,
    deadline: float,
    report: Callable[[WorkflowPlan], None],
) -> None:
    """One program for all rows: where there are many, their bounds one by one would take too long."""
    facts = Facts.of(workflow)
    covers, rows = Covers.of(facts), [row for row in workflow.accuracies if meets(row.accuracy, asked)]
    if best is not None:
        best = bounded(best, min(covers.least(row) for row in rows), ALONE)
        report(best)
    model = Program(facts, rows, covers)
    ceiling = _cost(best) * (1 + SLACK)
    relaxed = model.solve(model.cost, deadline, ceiling, relaxed=True)
    if best is not None and relaxed.bound > (best.bound_dollars_per_hour or 0.0):
        best = bounded(best, relaxed.bound, _JOINT)
        report(best)
    answer = model.solve(model.cost, deadline, ceiling)
    found = best if answer.x is None else model.plan(answer.x, asked)
    if found is not None:
        found = found if best is None or found.dollars_per_hour < best.dollars_per_hour else best
        known = 0.0 if best is None else best.bound_dollars_per_hour or 0.0
        report(bounded(found, max(relaxed.bound, answer.bound, known), _JOINT))


def _by_rows(
    workflow: Workflow,
    asked: float,
    best: WorkflowPlan | None,
    deadline: float,
    report: Callable[[WorkflowPlan], None],
) -> None:
    """Row after row, with the best plan so far as the ceiling."""
    begun = time.monotonic()
    facts = Facts.of(workflow)
    if _impossible(facts, asked, report):
        return
    known = best
    if known is None:
        known = search_authors(facts, asked, begun + _BEGINNING * (deadline - begun))
        if known.feasible:
            report(known.model_copy(update={"method": "exact"}))
    bound = _Search(facts, asked, known, deadline, report).run()
    if bound == math.inf:
        reason = "the workers cannot serve every operator at once"
        none = WorkflowPlan(method="exact", feasible=False, reason=reason, accuracy_asked=asked, proven=True)
        report(none)
        report(none.model_copy(update={"reason": _why_infeasible(facts, asked, deadline)}))


def _impossible(facts: Facts, asked: float, report: Callable[[WorkflowPlan], None]) -> bool:
    """Whether a look at the workflow shows that no plan has accuracy `asked`; reports why."""
    reason = why_not(facts, asked)
    if reason is not None:
        report(WorkflowPlan(method="exact", feasible=False, reason=reason, accuracy_asked=asked, proven=True))
    return reason is not None


class _Search:
    """Rows are taken by their bounds; where that alone has long brought no proof, those near the best plan's, too."""

    def __init__(
        self,
        facts: Facts,
        asked: float,
        known: WorkflowPlan,
        deadline: float,
        report: Callable[[WorkflowPlan], None],
    ) -> None:
        self._facts, self._asked, self._deadline, self._report = facts, asked, deadline, report
        self._made = known.model_copy(update={"method": "exact"}) if known.feasible else None
        self._least = _cost(self._made)  # of all plans found; `_made` may cost more by rounding, and be more accurate
        self._covers = Covers.of(facts)
        chosen = [row for row in facts.workflow.accuracies if meets(row.accuracy, asked)]
        self._rows = Rows(facts, chosen, self._covers)
        if known.bound_dollars_per_hour:
            self._rows.bounds = np.maximum(self._rows.bounds, known.bound_dollars_per_hour)
        self._models: dict[int, Program] = {}
        self._tries: dict[int, int] = {}
        self._begun = time.monotonic()

    def run(self) -> float:
        """Search until nothing is left or the time is over; what no plan is below (infinite: there is none)."""
        looked = False
        while (place := self._rows.next(self._least, self._made)) is not None and self._left() > 0:
            if not looked and self._left() < (1 - _PROVING) * (self._deadline - self._begun):
                looked = True
                self._look_around()
                continue
            if place in self._models:
                # A row that is hard is left for others, and comes again with twice the time.
                share = _TRY * 2 ** self._tries.get(place, 0)
                self._settle(place, min(self._left(), share * (self._deadline - self._begun)))
            else:
                self._relax(place)
        return self._said()

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _said(self) -> float:
        bound = float(self._rows.bounds.min())
        if self._made is not None:
            self._report(bounded(self._made, bound, "search over the accuracies' rows"))
        return bound

    def _relax(self, place: int) -> None:
        """Raise the row's bound by its linear relaxation."""
        model = self._models[place] = Program(self._facts, [self._rows.rows[place]], self._covers)
        ceiling = self._ceiling(place)
        answer = model.solve(model.cost, self._deadline, ceiling, relaxed=True)
        self._rows.raise_bounds(place, math.nextafter(ceiling, math.inf) if answer.infeasible else answer.bound)

    def _settle(self, place: int, seconds: float) -> bool:
        """Solve the row's program for so long; returns whether there is a better plan."""
        model, rows = self._models[place], self._rows
        ceiling = self._ceiling(place)
        # Where only a tie may be won, any plan within the ceiling will do.
        objective = model.cost if rows.bounds[place] < self._least * (1 - SLACK) else np.zeros_like(model.cost)
        answer = model.solve(objective, time.monotonic() + seconds, ceiling)
        rows.raise_bounds(place, math.nextafter(ceiling, math.inf) if answer.infeasible else answer.bound)
        self._tries[place] = self._tries.get(place, 0) + 1
        rows.open[place] = not (answer.infeasible or answer.done)
        if answer.x is None:
            return False
        before = self._least
        found = model.plan(answer.x, self._asked)
        self._least = min(self._least, found.dollars_per_hour)
        equal = [one for one in (self._made, found) if one is not None and _cost(one) <= self._least * (1 + SLACK)]
        self._made = max(equal, key=lambda plan: (plan.accuracy or 0.0, -plan.dollars_per_hour))
        self._said()
        return self._least < before * (1 - SLACK)

    def _ceiling(self, place: int) -> float:
        made = self._made
        better = made is None or self._rows.rows[place].accuracy > (made.accuracy or 0.0)
        return self._least * (
            1 + SLACK if better else 1 - SLACK
        )  # else no cheaper by more than rounding: not looked for

    def _look_around(self) -> None:
        """Local search: rows that differ from the best plan's in one variant, those of least bound first."""
        until = time.monotonic() + _LOOKING * (self._deadline - self._begun)
        tried: set[int] = set()
        moved = True
        while moved and self._made is not None and time.monotonic() < until:
            moved = False
            for place in self._rows.near(self._made.variants):
                if time.monotonic() >= until or moved:
                    break
                if place in tried or not self._rows.open[place] or self._rows.bounds[place] >= self._least:
                    continue
                if place not in self._models:
                    self._relax(place)
                if self._rows.bounds[place] < self._least:
                    tried.add(place)
                    moved = self._settle(place, max(0.1, (until - time.monotonic()) / _AROUND))


def _cost(made: WorkflowPlan | None) -> float:
    return math.inf if made is None else made.dollars_per_hour


def _why_infeasible(facts: Facts, asked: float, deadline: float) -> str:
    """Why no plan has accuracy `asked`: the best accuracy of any, or the share of the rates that can be served."""
    rows = facts.workflow.accuracies
    covers = Covers.of(facts)
    lowest = min(row.accuracy for row in rows)
    if why_not(facts, lowest) is None:
        model = Program(facts, rows, covers)
        answer = model.solve(-model.accuracy_weights, deadline)
        if answer.x is not None:
            best = model.plan(answer.x, lowest).accuracy or 0.0
            least = "" if -answer.bound <= best + 1e-6 else "at least "
            return (
                f"the workers cannot serve every operator at once with accuracy {asked:g}; "
                f"the best accuracy that they can is {least}{best:g}"
            )
        if not answer.infeasible:
            return f"the workers cannot serve every operator at once with accuracy {asked:g}"
    partly = Program(facts, rows, covers, partly=True)
    answer = partly.solve(partly.served, deadline)
    if answer.x is None:
        return "the workers cannot serve every operator at once, whatever the accuracy"
    return (
        "the workers cannot serve every operator at once, whatever the accuracy: "
        f"at most {-answer.bound:.3g} of the rates can be served"
    )
