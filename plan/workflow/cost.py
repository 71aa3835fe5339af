"""What a plan costs, what no plan costs less than, and what is wrong with one."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesight.plan.workflow.problem import (
    GIB,
    PROVEN,
    SECONDS_PER_HOUR,
    SLACK,
    AccuracyRow,
    Assignment,
    Edge,
    Flow,
    Rates,
    Routes,
    Worker,
    Workflow,
    WorkflowPlan,
    rates_of,
)


def meets(accuracy: float, asked: float) -> bool:
    """Whether `accuracy` is enough, rounding of percents to shares forgiven."""
    return accuracy >= asked - 1e-9


@dataclass(frozen=True)
class Prices:
    """Dollars a GiB by source or worker and worker; where data may not go there is none."""

    tiers: dict[str, int]
    by_tier: dict[tuple[int, int], float]
    by_pair: dict[tuple[str, str], float]

    @classmethod
    def of(cls, workflow: Workflow) -> Prices:
        """Those of a workflow; sources sit at tier 0."""
        return cls(
            {
                **{source.name: 0 for source in workflow.sources},
                **{worker.name: worker.tier for worker in workflow.workers},
            },
            {(link.source, link.target): link.dollars_per_gib for link in workflow.tier_links},
            {(link.source, link.target): link.dollars_per_gib for link in workflow.worker_links},
        )

    def get(self, pair: tuple[str, str]) -> float | None:
        """The price, or None where data may not go."""
        found = self.by_pair.get(pair)
        if found is not None:
            return found
        first, last = self.tiers[pair[0]], self.tiers[pair[1]]
        return 0.0 if first == last else self.by_tier.get((first, last))

    def __getitem__(self, pair: tuple[str, str]) -> float:
        """The price; KeyError where data may not go."""
        found = self.get(pair)
        if found is None:
            raise KeyError(pair)
        return found

    def __contains__(self, pair: tuple[str, str]) -> bool:
        """Whether data may go there."""
        return self.get(pair) is not None


@dataclass(frozen=True)
class Facts:
    """What follows from a workflow before any plan is made.

    `order`: operators, inputs before users; `rates`: requests a second by source and operator; `inputs`: the edges into
    each operator; `prices`: dollars a GiB.
    """

    workflow: Workflow
    order: tuple[str, ...]
    rates: dict[str, float]
    inputs: dict[str, list[Edge]]
    variants: dict[str, tuple[str, ...]]
    workers: dict[str, Worker]
    sources: frozenset[str]
    prices: Prices

    @classmethod
    def of(cls, workflow: Workflow) -> Facts:
        """Work them out."""
        inputs: dict[str, list[Edge]] = {operator.name: [] for operator in workflow.operators}
        for edge in workflow.edges:
            inputs[edge.target].append(edge)
        rates = rates_of(workflow)
        return cls(
            workflow=workflow,
            order=tuple(name for name in rates if name in inputs),
            rates=rates,
            inputs=inputs,
            variants={operator.name: operator.variants for operator in workflow.operators},
            workers={worker.name: worker for worker in workflow.workers},
            sources=frozenset(source.name for source in workflow.sources),
            prices=Prices.of(workflow),
        )

    def capacity(self, worker: str, operator: str, variant: str) -> float:
        """Requests a second that the worker serves; 0 where it cannot run the variant."""
        latency = self.workers[worker].latency_ms.get(operator, {}).get(variant)
        return 0.0 if latency is None else 1000 / latency

    def fraction(self, operator: str, variant: str) -> float:
        """Dollars an hour if the rate were served by paying only the used fraction of the cheapest workers."""
        each = [
            worker.dollars_per_hour / capacity
            for worker in self.workflow.workers
            if (capacity := self.capacity(worker.name, operator, variant))
        ]
        return self.rates[operator] * min(each, default=math.inf)


def link_cost(rate: float, size_bytes: float, dollars_per_gib: float) -> float:
    """Dollars an hour of `rate` messages a second of `size_bytes`."""
    return rate * size_bytes * SECONDS_PER_HOUR / GIB * dollars_per_gib


def cheapest_cover(machines: list[tuple[float, float]], rate: float, most: int = 4000) -> float:
    """The least price of machines (price, capacity) that together serve `rate`; infinite where they do not suffice.

    Exact up to `most` sums that none beats in both price and capacity; beyond, neighbours are merged into one that is
    as cheap as the one and as large as the other, which can only make the answer less.
    """
    prices, served = np.zeros(1), np.zeros(1)
    best = math.inf
    for price, capacity in sorted(machines, key=lambda machine: -machine[1]):
        prices = np.concatenate([prices, prices + price])
        served = np.concatenate([served, served + capacity])
        best = min(best, float(np.min(prices, where=served >= rate, initial=math.inf)))
        keep = (served < rate) & (prices < best)
        order = np.lexsort((-served[keep], prices[keep]))
        prices, served = prices[keep][order], served[keep][order]
        front = np.concatenate([[True], served[1:] > np.maximum.accumulate(served)[:-1]]) if len(served) else keep[:0]
        prices, served = prices[front], served[front]
        if len(prices) > most:
            prices, served = prices[::2], np.concatenate([served[1::2], served[-1:][: len(served) % 2]])
    return best


@dataclass(frozen=True)
class Covers:
    """The least price of workers that serve an operator at a variant, were all its own; by operator and variant."""

    prices: dict[tuple[str, str], float]
    others: float  # for the operators that the accuracies do not name, at their cheapest variants

    @classmethod
    def of(cls, facts: Facts, until: float = math.inf) -> Covers:
        """Work them out; those that the time does not suffice for cost nothing, which is a bound as well."""
        prices = {
            (operator, variant): cheapest_cover(
                [
                    (worker.dollars_per_hour, capacity)
                    for worker in facts.workflow.workers
                    if (capacity := facts.capacity(worker.name, operator, variant))
                ],
                facts.rates[operator] * (1 - SLACK),
            )
            if time.monotonic() < until
            else 0.0
            for operator in facts.order
            for variant in facts.variants[operator]
        }
        named = facts.workflow.accuracies[0].variants
        others = [
            min(prices[operator, variant] for variant in facts.variants[operator])
            for operator in facts.order
            if operator not in named
        ]
        return cls(prices, math.fsum(others))

    def least(self, row: AccuracyRow) -> float:
        """Dollars an hour that no plan with the variants of `row` is below; infinite where there is none."""
        return math.fsum(self.prices[operator, variant] for operator, variant in row.variants.items()) + self.others


def bounded(made: WorkflowPlan, bound: float, origin: str | None = None) -> WorkflowPlan:
    """`made`, which is feasible, with its gap to `bound`, in dollars an hour that no plan is below, and its origin."""
    cost = made.dollars_per_hour
    bound = min(max(bound, 0.0), cost)
    gap = (cost - bound) / cost if cost > 0 else 0.0
    said = {"bound_dollars_per_hour": bound, "bound_from": origin, "gap": gap, "proven": gap <= PROVEN}
    return made.model_copy(update=said)


def compose(
    facts: Facts,
    method: str,
    asked: float,
    variants: Mapping[str, str],
    rates: Rates,
    routes: Routes | None = None,
) -> WorkflowPlan:
    """The plan with `variants` and worker `rates`, its cost, and no bound but 0.

    `routes`: for edges between operators, in requests of the target; None spreads every worker's messages evenly over
    the next operator's workers.
    """
    flows: list[Flow] = []
    communication = 0.0
    for operator in facts.order:
        for edge in facts.inputs[operator]:
            pairs: Mapping[tuple[str, str], float]
            if edge.source in facts.sources:
                pairs = {(edge.source, worker): rate for worker, rate in rates[operator].items()}
            elif routes is not None:
                pairs = routes[edge.source, operator]
            else:
                pairs = spread(rates[edge.source], rates[operator])
            size = edge.size(variants.get(edge.source), variants[operator])
            if size is None:
                raise AssertionError("checked when the workflow was read")
            for (source, target), rate in pairs.items():
                communication += link_cost(rate, size, facts.prices[source, target])
                at = None if edge.source in facts.sources else source
                flows.append(
                    Flow(source=edge.source, target=operator, source_worker=at, target_worker=target, rate=rate)
                )
    used = {worker for shares in rates.values() for worker in shares}
    made = WorkflowPlan(
        method=method,
        feasible=True,
        accuracy_asked=asked,
        accuracy=accuracy_of(facts.workflow, variants),
        variants=dict(variants),
        assignments=tuple(
            Assignment(operator=operator, worker=worker, rate=rate)
            for operator in facts.order
            for worker, rate in rates[operator].items()
        ),
        flows=tuple(flows),
        compute_dollars_per_hour=math.fsum(facts.workers[worker].dollars_per_hour for worker in used),
        communication_dollars_per_hour=communication,
    )
    return bounded(made, 0.0)


def spread(sources: Mapping[str, float], targets: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Requests a second between each pair of workers when every one's messages go evenly to the next ones."""
    total = math.fsum(sources.values())
    return {
        (source, target): taken * given / total
        for source, given in sources.items()
        for target, taken in targets.items()
    }


def accuracy_of(workflow: Workflow, variants: Mapping[str, str]) -> float | None:
    """The sink's accuracy with `variants`; None where no row tells it."""
    for row in workflow.accuracies:
        if all(variants.get(operator) == variant for operator, variant in row.variants.items()):
            return row.accuracy
    return None


def why_not(facts: Facts, asked: float) -> str | None:
    """Why no plan can have the accuracy `asked`, where a look at the accuracies or at one operator tells it."""
    best = max(row.accuracy for row in facts.workflow.accuracies)
    rows = [row for row in facts.workflow.accuracies if meets(row.accuracy, asked)]
    if not rows:
        return f"accuracy {asked:g} is asked for; the best in the accuracies is {best:g}"
    for operator in facts.order:
        choice = {row.variants[operator] for row in rows if operator in row.variants} or set(facts.variants[operator])
        most, variant = max(
            (math.fsum(facts.capacity(worker, operator, variant) for worker in facts.workers), variant)
            for variant in choice
        )
        if most < facts.rates[operator] * (1 - SLACK):
            return (
                f"operator {operator} cannot be served: {facts.rates[operator]:g} requests a second, and all workers "
                f"together serve {most:g} ({variant}, the fastest variant with which accuracy {asked:g} can be met)"
            )
    return None


def faults(workflow: Workflow, made: WorkflowPlan) -> list[str]:
    """Every constraint that `made` breaks, recomputed from the workflow alone; empty where it keeps them all."""
    if not made.feasible:
        return [] if made.reason and not made.assignments else ["not feasible, yet no reason, or workers are assigned"]
    found = []
    workers = {worker.name: worker for worker in workflow.workers}
    sources = {source.name: source.rate for source in workflow.sources}
    needed = dict(sources)
    waiting = {operator.name for operator in workflow.operators}
    while waiting:
        for name in sorted(waiting):
            edges = [edge for edge in workflow.edges if edge.target == name]
            if all(edge.source in needed for edge in edges):
                needed[name] = min(needed[edge.source] * edge.ratio for edge in edges)
                waiting.remove(name)
    for operator in workflow.operators:
        if made.variants.get(operator.name) not in operator.variants:
            found.append(f"operator {operator.name} has no variant of its own")
    for name in [assignment.worker for assignment in made.assignments] + [flow.target_worker for flow in made.flows]:
        if name not in workers:
            found.append(f"worker {name} is unknown")
    for start in [flow.source_worker or flow.source for flow in made.flows]:
        if start not in workers and start not in sources:
            found.append(f"a flow comes from {start}, neither a source nor a worker")
    for name in [assignment.operator for assignment in made.assignments]:
        if name not in needed or name in sources:
            found.append(f"operator {name} is unknown")
    for pair in {(flow.source, flow.target) for flow in made.flows}:
        if pair not in {(edge.source, edge.target) for edge in workflow.edges}:
            found.append(f"a flow goes from {pair[0]} to {pair[1]}, which is no edge")
    if found:
        return found
    given = [
        row.accuracy
        for row in workflow.accuracies
        if all(made.variants.get(name) == variant for name, variant in row.variants.items())
    ]
    if given != [made.accuracy]:
        found.append(f"accuracy is {given}, said to be {made.accuracy}")
    elif given[0] < made.accuracy_asked - 1e-9:
        found.append(f"accuracy {given[0]} is below {made.accuracy_asked}")
    for name, times in Counter(assignment.worker for assignment in made.assignments).items():
        if times > 1:
            found.append(f"worker {name} runs {times} operators")
    served: Counter[str] = Counter()
    rate_at: dict[tuple[str, str], float] = {}
    for assignment in made.assignments:
        latency = (
            workers[assignment.worker].latency_ms.get(assignment.operator, {}).get(made.variants[assignment.operator])
        )
        if latency is None or assignment.rate * latency / 1000 > 1 + SLACK:
            found.append(f"worker {assignment.worker} cannot serve {assignment.rate} of {assignment.operator}")
        served[assignment.operator] += assignment.rate  # type: ignore[assignment] # a Counter of floats
        rate_at[assignment.operator, assignment.worker] = assignment.rate
    for operator in workflow.operators:
        if not math.isclose(served[operator.name], needed[operator.name], rel_tol=SLACK):
            found.append(f"operator {operator.name} is served {served[operator.name]} of {needed[operator.name]}")
    cost = 0.0
    for edge in workflow.edges:
        sent: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        for flow in made.flows:
            if (flow.source, flow.target) != (edge.source, edge.target):
                continue
            start = flow.source_worker if flow.source_worker is not None else flow.source
            first = 0 if edge.source in sources else workers[start].tier
            last = workers[flow.target_worker].tier
            prices = [
                link.dollars_per_gib
                for link in workflow.worker_links
                if (link.source, link.target) == (start, flow.target_worker)
            ] or [link.dollars_per_gib for link in workflow.tier_links if (link.source, link.target) == (first, last)]
            if last < first or (last > first and not prices):
                found.append(f"data flows from {start} to {flow.target_worker}, tier {first} to {last}")
            elif last > first:
                size = edge.size(made.variants.get(edge.source), made.variants[edge.target])
                cost += flow.rate * (size or 0.0) / 1024 * 3600 / 1024**2 * prices[0]
            sent[start] += flow.rate  # type: ignore[assignment]
            taken[flow.target_worker] += flow.rate  # type: ignore[assignment]
        for (operator_name, worker), rate in rate_at.items():
            scale = needed[edge.target] / needed[edge.source]
            if operator_name == edge.source and not math.isclose(
                sent[worker], rate * scale, rel_tol=1e-5, abs_tol=1e-6
            ):
                found.append(
                    f"worker {worker} sends {sent[worker]} on {edge.source} to {edge.target}, not {rate * scale}"
                )
            if operator_name == edge.target and not math.isclose(taken[worker], rate, rel_tol=1e-5, abs_tol=1e-6):
                found.append(f"worker {worker} takes {taken[worker]} on {edge.source} to {edge.target}, not {rate}")
    paid = sum(workers[name].dollars_per_hour for name in {assignment.worker for assignment in made.assignments})
    if not math.isclose(paid, made.compute_dollars_per_hour or 0.0, rel_tol=SLACK, abs_tol=SLACK):
        found.append(f"compute costs {paid}, said to be {made.compute_dollars_per_hour}")
    if not math.isclose(cost, made.communication_dollars_per_hour or 0.0, rel_tol=SLACK, abs_tol=SLACK):
        found.append(f"communication costs {cost}, said to be {made.communication_dollars_per_hour}")
    return found
