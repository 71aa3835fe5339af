"""The mixed-integer program of a workflow's plan, for one row of the accuracies or for all, solved by HiGHS.

Workers that nothing tells apart (tier, price, latencies, links) are one *kind*, counted by an integer, so no search is
lost on swapping them; kinds with the same tier and links are one *place*, and messages are planned between places. With
share s of an operator's rate R at variant v on kind k, capacity c, n machines of the kind's N, and y a choice:

    sum_k s[v,k] = y[v],  sum_v y[v] = 1,  sum_v s[v,k] * max(1, R/c[v,k]) <= n[k],  sum over operators of n[k] <= N[k]

max(1, R/c) rather than R/c holds for whole machines and keeps the relaxation from paying for a part of a large one. The
table of accuracies is a choice of one row. Messages on an edge are a transport problem between the places of its two
ends, by variant where the variant changes the size. Whether an operator uses a place at all is an integer too: it says
nothing new, yet branching on it settles far more than on any one machine.

Words owned here: *kind*, *place*.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesight.plan.workflow.cost import Covers, Facts, compose, link_cost
from edgesight.plan.workflow.problem import SLACK, AccuracyRow, Edge, WorkflowPlan

_INFEASIBLE, _FAILED = 2, 4  # what scipy.optimize.milp says
_UNITS = 4  # capacities in units of which a cover is rounded up; the large ones matter


@dataclass(frozen=True)
class Answer:
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


class Program:
    """The program; `partly`: serve the same share of every rate, as large as can be, rather than all."""

    def __init__(self, facts: Facts, chosen: Sequence[AccuracyRow], covers: Covers, partly: bool = False) -> None:
        """Of the rows `chosen`, at least one; builds all variables and constraints."""
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
    ) -> Answer:
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
            return Answer(None, float(result.fun) if result.status == 0 else -math.inf, result.status == _INFEASIBLE)
        bound = -math.inf if result.mip_dual_bound is None else float(result.mip_dual_bound)
        if result.x is None:
            return Answer(None, bound, result.status == _INFEASIBLE)
        # Whole numbers as such, and the rest once more for them: the search leaves them off by its tolerance.
        whole = np.where(integer == 1, np.round(result.x), 0.0)
        polished = run(whole, np.where(integer == 1, whole, upper), min(5.0, deadline - time.monotonic()))
        return Answer(result.x if polished.x is None else polished.x, bound, False, result.status == 0)

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
