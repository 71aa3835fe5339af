"""JellyBean's own method for workflows: a beam search for variants, then greedy workers, tier by tier.

Variants are chosen from the sink back, keeping the `BEAM` cheapest partial choices that some row of the accuracies
still allows; a variant's price is what its rate would cost if only the used fraction of the best worker were paid (the
authors' published data leaves this price out; with at most `BEAM` choices it changes nothing). For each choice, workers
are given in up to `ORDERS` orders of the operators, keeping the `KEPT` cheapest states: an operator may use workers
from its inputs' highest tier up to a last tier, every last tier being tried; within these, one worker of the lowest
tier that serves all that is left is preferred, cheapest first, and else the least dollars a request. Equal states count
once. Messages go evenly from all workers of an operator to all of the next.

Source: Wu et al., "Serving and Optimizing Machine Learning Workflows on Heterogeneous Infrastructures", PVLDB 16(3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from edgesight.plan.workflow.cost import Facts, accuracy_of, compose, link_cost, meets, spread, why_not
from edgesight.plan.workflow.problem import SLACK, Edge, WorkflowPlan

BEAM = 10
ORDERS = 10
KEPT = 10


@dataclass(frozen=True)
class _State:
    """Workers given so far: requests a second by operator and worker."""

    rates: dict[str, dict[str, float]]
    cost: float


def search_authors(facts: Facts, asked: float, until: float = math.inf) -> WorkflowPlan:
    """The cheapest plan of the authors' search with accuracy `asked`, without a bound; see `plan_authors`."""
    workflow = facts.workflow
    best: tuple[float, float, Mapping[str, str], _State] | None = None
    choices = beam(facts, asked, until)
    for variants in choices:
        accuracy = accuracy_of(workflow, variants)
        if accuracy is None:
            raise AssertionError("the beam follows the accuracies")
        for order in islice(orders(facts), ORDERS):
            state = assign(facts, variants, order, until)
            if state is None:
                continue
            tie = best is not None and math.isclose(state.cost, best[0], rel_tol=SLACK)
            if best is None or (accuracy > best[1] if tie else state.cost < best[0]):
                best = state.cost, accuracy, variants, state
    if best is None:
        reason = why_not(facts, asked) or "the authors' search finds no workers that serve every operator at once"
        if time.monotonic() >= until:
            reason = "no plan was found in the time given; give the search more"
        return WorkflowPlan(method="authors", feasible=False, reason=reason, accuracy_asked=asked)
    return compose(facts, "authors", asked, best[2], best[3].rates)


def beam(facts: Facts, asked: float, until: float = math.inf) -> list[dict[str, str]]:
    """Up to `BEAM` choices of variants with accuracy `asked`, cheapest first; none where the time is over before."""
    rows = [row.variants for row in facts.workflow.accuracies if meets(row.accuracy, asked)]
    states: list[tuple[float, dict[str, str], list[dict[str, str]]]] = [(0.0, {}, rows)] if rows else []
    for operator in reversed(facts.order):
        if time.monotonic() >= until:
            return []
        grown = []
        for cost, variants, left in states:
            for variant in facts.variants[operator]:
                still = [row for row in left if row.get(operator, variant) == variant]
                price = facts.fraction(operator, variant)
                if still and price < math.inf:
                    grown.append((cost + price, {**variants, operator: variant}, still))
        states = sorted(grown, key=lambda state: state[0])[:BEAM]
    return [variants for _, variants, _ in states]


def orders(facts: Facts) -> Iterator[tuple[str, ...]]:
    """Every order of the operators in which inputs come before users."""
    needs = {operator: {edge.source for edge in facts.inputs[operator]} - facts.sources for operator in facts.order}
    begun: list[tuple[str, ...]] = [()]
    while begun:
        done = begun.pop()
        if len(done) == len(needs):
            yield done
        known = set(done)
        begun += [
            (*done, operator)
            for operator in reversed(facts.order)
            if operator not in known and needs[operator] <= known
        ]


def assign(facts: Facts, variants: Mapping[str, str], order: tuple[str, ...], until: float = math.inf) -> _State | None:
    """The cheapest workers that the greedy search finds for `variants`, operators taken in `order`; None: none.

    None, too, where the time is over before every operator has its workers.
    """
    tiers = sorted({worker.tier for worker in facts.workers.values()})
    states = [_State({}, 0.0)]
    for operator in order:
        grown: dict[tuple[tuple[str, str], ...], _State] = {}
        for state in states:
            used = {worker for shares in state.rates.values() for worker in shares}
            inputs = [edge.source for edge in facts.inputs[operator] if edge.source not in facts.sources]
            first = max((facts.workers[worker].tier for name in inputs for worker in state.rates[name]), default=0)
            if time.monotonic() >= until:
                return None
            for limit in (tier for tier in tiers if tier >= first):
                free = [
                    worker.name
                    for worker in facts.workers.values()
                    if first <= worker.tier <= limit and worker.name not in used
                ]
                shares = _greedy(facts, variants, operator, free, state)
                if shares is None:
                    continue
                cost = state.cost + math.fsum(facts.workers[worker].dollars_per_hour for worker in shares)
                cost += math.fsum(
                    _link_cost(facts, variants, edge, state, worker, rate)
                    for edge in facts.inputs[operator]
                    for worker, rate in shares.items()
                )
                rates = {**state.rates, operator: shares}
                key = tuple(sorted((name, worker) for name, given in rates.items() for worker in given))
                if key not in grown or cost < grown[key].cost:
                    grown[key] = _State(rates, cost)
        states = sorted(grown.values(), key=lambda state: state.cost)[:KEPT]
    return states[0] if states else None


def _greedy(
    facts: Facts, variants: Mapping[str, str], operator: str, free: list[str], state: _State
) -> dict[str, float] | None:
    """Requests a second by worker, taken from `free` until the operator's rate is served; None: they do not suffice."""
    capacity = {worker: facts.capacity(worker, operator, variants[operator]) for worker in free}

    def price(worker: str, rate: float) -> float:
        links = (_link_cost(facts, variants, edge, state, worker, rate) for edge in facts.inputs[operator])
        return facts.workers[worker].dollars_per_hour + math.fsum(links)

    each = {
        worker: price(worker, served) / served
        for worker, served in capacity.items()
        if served and price(worker, served) < math.inf
    }
    left = facts.rates[operator]
    shares: dict[str, float] = {}
    while left > 0 and each:
        lowest = min(facts.workers[worker].tier for worker in each)
        alone = [worker for worker in each if facts.workers[worker].tier == lowest and capacity[worker] >= left]
        if alone:
            chosen = min(alone, key=lambda worker: (price(worker, left), capacity[worker]))
        else:
            chosen = min(each, key=lambda worker: (each[worker], price(worker, capacity[worker])))
        del each[chosen]
        shares[chosen] = min(left, capacity[chosen])
        left -= shares[chosen]
        if left <= facts.rates[operator] * 1e-12:
            return shares
    return None


def _link_cost(facts: Facts, variants: Mapping[str, str], edge: Edge, state: _State, worker: str, rate: float) -> float:
    """Dollars an hour of the messages to `worker` at `rate`; infinite where one of them may not go there."""
    size = edge.size(variants.get(edge.source), variants[edge.target])
    if size is None:
        raise AssertionError("checked when the workflow was read")
    if edge.source in facts.sources:
        pairs = {(edge.source, worker): rate}
    else:
        pairs = spread(state.rates[edge.source], {worker: rate})
    if any(pair not in facts.prices for pair in pairs):
        return math.inf
    return math.fsum(link_cost(part, size, facts.prices[pair]) for pair, part in pairs.items())
