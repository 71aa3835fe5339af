"""The exact method for workflows: a mixed-integer program for each row of the accuracies that may yet win, by HiGHS.

Every row has a bound that no plan with its variants is below; the row with the least one is taken next. First its bound
is raised by the program's linear relaxation, then the program is solved, with the best plan so far as its ceiling. A
row *eases* another if each of its variants serves no less on every worker and sends no larger messages: its bound holds
for the other one too, so most rows are never looked at. A row whose program is hard is left for the others, and comes
again with more time; where no proof is near, rows that differ from the best plan's in one variant are solved as well.

Workers that nothing tells apart (tier, price, latencies, links) are one *kind*, counted by an integer, so no search is
lost on swapping them; kinds with the same tier and links are one *place*, and messages are planned between places. With
share s of an operator's rate R at variant v on kind k, capacity c, n machines of the kind's N, and y a choice:

    sum_k s[v,k] = y[v],  sum_v y[v] = 1,  sum_v s[v,k] * max(1, R/c[v,k]) <= n[k],  sum over operators of n[k] <= N[k]

max(1, R/c) rather than R/c holds for whole machines and keeps the relaxation from paying for a part of a large one. The
table of accuracies is a choice of one row. Messages on an edge are a transport problem between the places of its two
ends, by variant where the variant changes the size. Whether an operator uses a place at all is an integer too: it says
nothing new, yet branching on it settles far more than on any one machine.

Words owned here: *kind*, *place*, *eases*.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesight.plan.deadline import best_within
from edgesight.plan.workflow.authors import search_authors
from edgesight.plan.workflow.cost import Covers, Facts, bounded, compose, link_cost, meets, why_not
from edgesight.plan.workflow.descent import descend
from edgesight.plan.workflow.problem import ALONE, SLACK, AccuracyRow, Edge, Workflow, WorkflowPlan

_FEW = 500  # rows times workers times operators that are planned for in a moment
_MANY = 2_000  # rows that meet the accuracy, above which they are not taken one by one from the start
_JOINT = "one program for all rows of the accuracies"
_BEGINNING = 0.25  # share of the time that the authors' plan may take
_SEARCHING = 0.9  # share of the time that the search has: the rest is for a solver that passes its limit
_PROVING = 0.45  # share after which the neighbourhood of the best plan is looked at, too
_LOOKING = 0.3  # share that this may take
_TRY = 0.5  # share that a row's program may take at first
_AROUND = 8  # neighbours that the time is meant to do for
_INFEASIBLE, _FAILED = 2, 4  # what scipy.optimize.milp says
_UNITS = 4  # capacities in units of which a cover is rounded up; the large ones matter


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
        rows = _Rows(facts, [row for row in workflow.accuracies if meets(row.accuracy, made.accuracy_asked)], covers)
        relaxed: set[int] = set()
        while (place := int(rows.bounds.argmin())) not in relaxed and time.monotonic() < until:
            relaxed.add(place)
            model = _Model(facts, [rows.rows[place]], covers)
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
    reason = why_not(facts, asked)
    if reason is not None:
        report(WorkflowPlan(method="exact", feasible=False, reason=reason, accuracy_asked=asked, proven=True))
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
    model = _Model(facts, rows, covers)
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
    reason = why_not(facts, asked)
    if reason is not None:
        report(WorkflowPlan(method="exact", feasible=False, reason=reason, accuracy_asked=asked, proven=True))
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
        self._rows = _Rows(facts, chosen, self._covers)
        if known.bound_dollars_per_hour:
            self._rows.bounds = np.maximum(self._rows.bounds, known.bound_dollars_per_hour)
        self._models: dict[int, _Model] = {}
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
        model = self._models[place] = _Model(self._facts, [self._rows.rows[place]], self._covers)
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


class _Rows:
    """Rows of the accuracies, the dollars an hour that no plan with them is below, and which are still to be solved."""

    def __init__(self, facts: Facts, rows: Sequence[AccuracyRow], covers: Covers) -> None:
        self._operators = list(rows[0].variants)
        self._eases = {operator: _eases(facts, operator) for operator in self._operators}
        numbers = {
            operator: {variant: place for place, variant in enumerate(facts.variants[operator])}
            for operator in self._operators
        }

        def eased(row: AccuracyRow) -> int:
            return sum(int(self._eases[name][numbers[name][variant]].sum()) for name, variant in row.variants.items())

        # Of rows with one bound the first is taken, which must be the one that eases the others.
        self.rows = sorted(rows, key=lambda row: (covers.least(row), -eased(row)))
        self._variants = np.array(
            [[numbers[operator][row.variants[operator]] for operator in self._operators] for row in self.rows],
            dtype=int,
        )
        self._accuracies = np.array([row.accuracy for row in self.rows])
        self.bounds = np.array([covers.least(row) for row in self.rows])
        self.open = np.ones(len(self.rows), dtype=bool)

    def next(self, least: float, made: WorkflowPlan | None) -> int | None:
        """The row with the least bound that may have a plan cheaper than `least`, or one as cheap but more accurate."""
        wins = self.bounds < least * (1 - SLACK)
        if made is not None:
            wins |= (self.bounds <= least * (1 + SLACK)) & (self._accuracies > (made.accuracy or 0.0))
        bounds = np.where(self.open & wins, self.bounds, math.inf)
        place = int(bounds.argmin())
        return place if bounds[place] < math.inf else None

    def near(self, variants: Mapping[str, str]) -> list[int]:
        """The row of `variants`, then those that differ from it in one operator, the least bound first."""
        apart = np.array([sum(row.variants[name] != variants[name] for name in row.variants) for row in self.rows])
        close = np.flatnonzero(apart <= 1)
        return [int(place) for place in close[np.lexsort((self.bounds[close], apart[close]))]]

    def raise_bounds(self, place: int, bound: float) -> None:
        """No plan with the row at `place`, nor with any that it eases, is below `bound`."""
        eased = np.ones(len(self.rows), dtype=bool)
        for column, operator in enumerate(self._operators):
            eased &= self._eases[operator][self._variants[place, column], self._variants[:, column]]
        self.bounds[eased] = np.maximum(self.bounds[eased], bound)


def _eases(facts: Facts, operator: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each two variants of the operator whether the first serves no less on any worker, its messages no larger."""
    burdens = []
    for variant in facts.variants[operator]:
        burden = [-facts.capacity(worker, operator, variant) for worker in facts.workers]
        for edge in facts.workflow.edges:
            if edge.source == operator:
                burden += [edge.size(variant, other) or 0.0 for other in facts.variants[edge.target]]
            elif edge.target == operator:
                burden += [edge.size(other, variant) or 0.0 for other in facts.variants.get(edge.source, (None,))]
        burdens.append(burden)
    each = np.array(burdens)
    return np.array(np.all(each[:, None, :] <= each[None, :, :], axis=2))


def _why_infeasible(facts: Facts, asked: float, deadline: float) -> str:
    """Why no plan has accuracy `asked`: the best accuracy of any, or the share of the rates that can be served."""
    rows = facts.workflow.accuracies
    covers = Covers.of(facts)
    lowest = min(row.accuracy for row in rows)
    if why_not(facts, lowest) is None:
        model = _Model(facts, rows, covers)
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
    partly = _Model(facts, rows, covers, partly=True)
    answer = partly.solve(partly.served, deadline)
    if answer.x is None:
        return "the workers cannot serve every operator at once, whatever the accuracy"
    return (
        "the workers cannot serve every operator at once, whatever the accuracy: "
        f"at most {-answer.bound:.3g} of the rates can be served"
    )


@dataclass(frozen=True)
class _Answer:
    """What the solver found: the variables (None: nothing yet), and what no answer is below."""

    x: np.ndarray[Any, np.dtype[np.float64]] | None
    bound: float
    infeasible: bool
    done: bool = False  # there is no better answer


@dataclass(frozen=True)
class _Kind:
    """Workers that nothing tells apart."""

    workers: tuple[str, ...]
    place: int


@dataclass
class _Sparse:
    """Linear rows low <= a.x <= high, as they are collected."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, terms: Mapping[int, float], low: float, high: float) -> None:
        for column, value in terms.items():
            self.row.append(len(self.low))
            self.column.append(column)
            self.value.append(value)
        self.low.append(low)
        self.high.append(high)


class _Model:
    """The program; `partly`: serve the same share of every rate, as large as can be, rather than all."""

    def __init__(self, facts: Facts, chosen: Sequence[AccuracyRow], covers: Covers, partly: bool = False) -> None:
        self.facts = facts
        self.covers = covers
        self.rows = [row.variants for row in chosen]
        self.accuracies = [row.accuracy for row in chosen]
        self._integer: list[int] = []
        self._upper: list[float] = []
        self._cost: list[float] = []
        self._sparse = _Sparse()
        self.kinds, self.places = _kinds(facts)
        self._y: dict[tuple[str, str], int] = {}
        self._n: dict[tuple[str, int], int] = {}
        self._s: dict[tuple[str, str, int], int] = {}
        self._g: dict[tuple[str, str], dict[tuple[int, int], list[int]]] = {}
        self._share = self._variable(upper=1.0) if partly else None
        self._operators()
        self._z = [self._variable(upper=1.0) for _ in chosen]
        self._table()
        for operator in facts.order:
            for edge in facts.inputs[operator]:
                if edge.source in facts.sources:
                    self._from_source(edge)
                else:
                    self._between(edge)
        self.cost = np.array(self._cost)
        self.accuracy_weights = np.zeros(len(self._cost))
        self.accuracy_weights[self._z] = self.accuracies
        self.served = np.zeros(len(self._cost))
        if self._share is not None:
            self.served[self._share] = -1.0

    def solve(
        self,
        objective: np.ndarray[Any, np.dtype[np.float64]],
        deadline: float,
        ceiling: float = math.inf,
        relaxed: bool = False,
    ) -> _Answer:
        """Least `objective`, the cost at most `ceiling`, not beyond `deadline` (of `time.monotonic`).

        `relaxed`: for the bound alone, parts of machines allowed.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        sparse = self._sparse
        shape = len(sparse.low), len(self._cost)
        matrix = csr_array((sparse.value, (sparse.row, sparse.column)), shape=shape)
        constraints = [LinearConstraint(matrix, np.array(sparse.low), np.array(sparse.high))]
        if ceiling < math.inf:
            constraints.append(LinearConstraint(csr_array(self.cost[None, :]), -np.inf, ceiling))
        upper = np.array(self._upper)
        integer = np.zeros(len(upper), dtype=int) if relaxed else np.array(self._integer)

        def run(low: np.ndarray[Any, Any], high: np.ndarray[Any, Any], limit: float, presolve: bool = True) -> Any:
            return milp(
                objective,
                integrality=integer,
                bounds=Bounds(low, high),
                constraints=constraints,
                options={"time_limit": max(limit, 0.05), "mip_rel_gap": 1e-7, "presolve": presolve},
            )

        result = run(np.zeros_like(upper), upper, deadline - time.monotonic())
        if result.status == _FAILED:
            # HiGHS could not map an answer back to the program as it was before presolving, and gave up.
            result = run(np.zeros_like(upper), upper, deadline - time.monotonic(), presolve=False)
        if relaxed:
            return _Answer(None, float(result.fun) if result.status == 0 else -math.inf, result.status == _INFEASIBLE)
        bound = -math.inf if result.mip_dual_bound is None else float(result.mip_dual_bound)
        if result.x is None:
            return _Answer(None, bound, result.status == _INFEASIBLE)
        # Whole numbers as such, and the rest once more for them: the search leaves them off by its tolerance.
        whole = np.where(integer == 1, np.round(result.x), 0.0)
        polished = run(whole, np.where(integer == 1, whole, upper), min(5.0, deadline - time.monotonic()))
        return _Answer(result.x if polished.x is None else polished.x, bound, False, result.status == 0)

    def plan(self, x: np.ndarray[Any, np.dtype[np.float64]], asked: float) -> WorkflowPlan:
        """The plan that the variables `x` stand for."""
        facts = self.facts
        variants = {operator: variant for (operator, variant), y in self._y.items() if x[y] > 0.5}
        free = {kind: list(self.kinds[kind].workers) for kind in range(len(self.kinds))}
        rates: dict[str, dict[str, float]] = {}
        at: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)  # by operator and place: worker's part of it
        for operator in facts.order:
            shares = {
                kind: float(x[s])
                for (name, variant, kind), s in self._s.items()
                if name == operator
                and variant == variants[operator]
                and x[s] > 1e-9
                and x[self._n[operator, kind]] > 0.5
            }
            total = math.fsum(shares.values())
            rates[operator] = {}
            for kind, share in shares.items():
                capacity = facts.capacity(self.kinds[kind].workers[0], operator, variants[operator])
                rate = facts.rates[operator] * share / total
                number = max(1, math.ceil(rate / capacity - SLACK))
                for _ in range(number):
                    worker = free[kind].pop(0)
                    rates[operator][worker] = rate / number
                    at[operator, self.kinds[kind].place][worker] = rate / number
        routes = {
            edge: _routes(
                facts, edge, {pair: math.fsum(x[flow] for flow in flows) for pair, flows in pairs.items()}, at
            )
            for edge, pairs in self._g.items()
        }
        return compose(facts, "exact", asked, variants, rates, routes)

    def _variable(self, upper: float = math.inf, cost: float = 0.0, integer: bool = False) -> int:
        self._upper.append(upper)
        self._cost.append(cost)
        self._integer.append(int(integer))
        return len(self._cost) - 1

    def _operators(self) -> None:
        facts = self.facts
        machines: dict[int, dict[int, float]] = defaultdict(dict)
        for operator in facts.order:
            rate = facts.rates[operator]
            allowed = {row[operator] for row in self.rows if operator in row} or set(facts.variants[operator])
            used: dict[int, dict[int, float]] = defaultdict(dict)  # by kind: terms of its capacity's row
            covers: list[tuple[str, dict[int, float]]] = []
            for variant in facts.variants[operator]:
                capacities = {
                    kind: capacity
                    for kind, these in enumerate(self.kinds)
                    if (capacity := facts.capacity(these.workers[0], operator, variant))
                }
                if variant not in allowed or not capacities:
                    continue
                y = self._y[operator, variant] = self._variable(upper=1.0, integer=True)
                shares = {}
                for kind, capacity in capacities.items():
                    number = len(self.kinds[kind].workers)
                    s = self._s[operator, variant, kind] = self._variable(upper=min(1.0, number * capacity / rate))
                    shares[s] = 1.0
                    used[kind][s] = max(1.0, rate / capacity) if self._share is None else rate / capacity
                if self._share is None:
                    self._sparse.add({**shares, y: -1.0}, 0.0, 0.0)
                    covers.append((variant, capacities))
                else:
                    self._sparse.add({**shares, y: -1.0}, -math.inf, 0.0)
            mine = [y for (name, _), y in self._y.items() if name == operator]
            self._sparse.add(dict.fromkeys(mine, 1.0), 1.0, 1.0)
            if self._share is not None:
                each = {s: 1.0 for terms in used.values() for s in terms}
                self._sparse.add({**each, self._share: -1.0}, 0.0, 0.0)
            for kind, terms in used.items():
                price = facts.workers[self.kinds[kind].workers[0]].dollars_per_hour
                number = len(self.kinds[kind].workers)
                n = self._n[operator, kind] = self._variable(upper=number, cost=price, integer=True)
                machines[kind][n] = 1.0
                self._sparse.add({**terms, n: -1.0}, -math.inf, 0.0)
            self._covers(operator, covers)
            self._used(operator)
        for kind, terms in machines.items():
            self._sparse.add(terms, 0.0, float(len(self.kinds[kind].workers)))

    def _covers(self, operator: str, covers: list[tuple[str, dict[int, float]]]) -> None:
        """Rows that whole machines keep anyway, and that keep the relaxation from paying for parts of them.

        For each variant: capacity covers the rate; so does its rounding up in units of a kind's capacity (Chvatal and
        Gomory); and no cover costs less than the cheapest one that the operator could have all to itself.
        """
        rate = self.facts.rates[operator] * (1 - SLACK)
        prices = {kind: self.facts.workers[these.workers[0]].dollars_per_hour for kind, these in enumerate(self.kinds)}
        least: dict[int, float] = {}
        for variant, capacities in covers:
            y = self._y[operator, variant]
            terms = {self._n[operator, kind]: capacity / rate for kind, capacity in capacities.items()}
            self._sparse.add({**terms, y: -1.0}, 0.0, math.inf)
            for unit in sorted(set(capacities.values()))[-_UNITS:]:
                rounded = {self._n[operator, kind]: float(math.ceil(c / unit)) for kind, c in capacities.items()}
                self._sparse.add({**rounded, y: -float(math.ceil(rate / unit))}, 0.0, math.inf)
            cheapest = self.covers.prices[operator, variant]
            if cheapest == math.inf:
                self._upper[y] = 0.0
            else:
                least[y] = -cheapest
        paid = {n: prices[kind] for (name, kind), n in self._n.items() if name == operator}
        self._sparse.add({**paid, **least}, 0.0, math.inf)

    def _used(self, operator: str) -> None:
        """An integer for each place: whether the operator uses it."""
        for place in range(len(self.places)):
            shares = [
                s for (name, _, kind), s in self._s.items() if name == operator and self.kinds[kind].place == place
            ]
            machines = [
                n for (name, kind), n in self._n.items() if name == operator and self.kinds[kind].place == place
            ]
            used = self._variable(upper=1.0, integer=True)
            self._sparse.add({**dict.fromkeys(shares, 1.0), used: -1.0}, -math.inf, 0.0)
            self._sparse.add({**dict.fromkeys(machines, 1.0), used: -1.0}, 0.0, math.inf)

    def _table(self) -> None:
        """One row of the accuracies is chosen, with the variants that it names."""
        self._sparse.add(dict.fromkeys(self._z, 1.0), 1.0, 1.0)
        for (operator, variant), y in self._y.items():
            rows = [z for z, row in zip(self._z, self.rows, strict=True) if row.get(operator) == variant]
            if operator in self.rows[0]:
                self._sparse.add({**dict.fromkeys(rows, 1.0), y: -1.0}, 0.0, 0.0)
        for z, row in zip(self._z, self.rows, strict=True):
            if any((operator, variant) not in self._y for operator, variant in row.items()):
                self._upper[z] = 0.0

    def _from_source(self, edge: Edge) -> None:
        """Cost of the source's messages, which go where the operator's shares are."""
        rate = self.facts.rates[edge.target]
        for (operator, variant, kind), s in self._s.items():
            if operator != edge.target:
                continue
            price = self.facts.prices.get((edge.source, self.kinds[kind].workers[0]))
            if price is None:
                self._upper[s] = 0.0
            else:
                self._cost[s] += link_cost(rate, edge.size(None, variant) or 0.0, price)

    def _between(self, edge: Edge) -> None:
        """Shares of the edge's messages from place to place, by variants as far as they change the size."""
        facts = self.facts
        ours = [variant for operator, variant in self._y if operator == edge.source]
        theirs = [variant for operator, variant in self._y if operator == edge.target]
        sizes = {(a, b): edge.size(a, b) or 0.0 for a in ours for b in theirs}
        first: dict[tuple[float, ...], list[str]] = defaultdict(
            list
        )  # source variants of one size, whatever the target
        last: dict[tuple[float, ...], list[str]] = defaultdict(list)
        for a in ours:
            first[tuple(sizes[a, b] for b in theirs)].append(a)
        for b in theirs:
            last[tuple(sizes[a, b] for a in ours)].append(b)
        out: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        into: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        flows: dict[tuple[int, int], list[int]] = defaultdict(list)
        for (operator, variant, kind), s in self._s.items():
            place = self.kinds[kind].place
            if operator == edge.source:
                out[next(i for i, group in enumerate(first.values()) if variant in group), place][s] = -1.0
            if operator == edge.target:
                into[next(i for i, group in enumerate(last.values()) if variant in group), place][s] = -1.0
        for i, p in list(out):
            for j, q in list(into):
                price = facts.prices.get((self.places[p], self.places[q])) if p != q else 0.0
                if price is None:
                    continue
                size = sizes[list(first.values())[i][0], list(last.values())[j][0]]
                g = self._variable(upper=1.0, cost=link_cost(facts.rates[edge.target], size, price))
                out[i, p][g] = into[j, q][g] = 1.0
                flows[p, q].append(g)
        for terms in (*out.values(), *into.values()):
            self._sparse.add(terms, 0.0, 0.0)
        self._g[edge.source, edge.target] = flows


def _kinds(facts: Facts) -> tuple[list[_Kind], list[str]]:
    """The kinds of workers, and one worker of each place."""
    names = [*sorted(facts.sources), *facts.workers]

    def links(worker: str) -> tuple[object, ...]:
        tier = facts.workers[worker].tier
        others = [name for name in names if name in facts.sources or facts.workers[name].tier != tier]
        return (tier, *((facts.prices.get((worker, name)), facts.prices.get((name, worker))) for name in others))

    places: dict[tuple[object, ...], str] = {}
    kinds: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, worker in facts.workers.items():
        places.setdefault(links(name), name)
        latencies = tuple(sorted((op, *sorted(each.items())) for op, each in worker.latency_ms.items()))
        kinds[links(name), worker.dollars_per_hour, latencies].append(name)
    numbers = {key: place for place, key in enumerate(places)}
    found = [_Kind(tuple(workers), numbers[key[0]]) for key, workers in kinds.items()]  # type: ignore[index]
    return found, list(places.values())


def _routes(
    facts: Facts,
    edge: tuple[str, str],
    shares: Mapping[tuple[int, int], float],
    at: Mapping[tuple[str, int], Mapping[str, float]],
) -> dict[tuple[str, str], float]:
    """Requests a second between workers, from the shares between places: evenly within each pair of places."""
    routes: dict[tuple[str, str], float] = {}
    rate = facts.rates[edge[1]]
    for (p, q), share in shares.items():
        sources, targets = at.get((edge[0], p)), at.get((edge[1], q))
        if share < 1e-9 or not sources or not targets:
            continue
        given, taken = math.fsum(sources.values()), math.fsum(targets.values())
        for source, sent in sources.items():
            for target, got in targets.items():
                routes[source, target] = rate * share * sent / given * got / taken
    return routes
