"""Workflows: which variant and which workers each operator gets, so that the accuracy holds and the hour costs least.

A workflow is a graph of operators fed by sources. Its cost model is that of JellyBean (PVLDB 16(3)): a worker runs at
most one operator and is paid whole if used; an operator's rate splits over its workers in any fractions; a worker
serves 1000/latency(ms) requests a second; a message between tiers costs its bytes times the link's price, within a tier
nothing; data flows forward through the tiers only; sources sit at tier 0. An operator's rate is the least of its
inputs' rates times their ratios; each of its requests takes one message from each of its inputs.

Which worker's messages go to which worker of the next operator is the plan's to choose, for each edge on its own (a
transport problem). The authors' engine spreads messages evenly instead, so their plans are a case of these.

Words owned here: *workflow*, *operator*, *source* (where data comes from), *sink* (the operator whose accuracy counts),
*edge*, *ratio* (requests to an operator for each request of its input), *assignment* (a worker's rate of one operator),
*flow* (messages a second from one worker to another), *bound* (no plan costs less), *gap* (how far the bound is below).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from edgesight.plan.profile import (
    MOST_BYTES,
    SECONDS,
    Device,
    Dollars,
    Name,
    NotNegative,
    Obtained,
    Plain,
    Plan,
    PlanError,
    Positive,
    Rate,
    Share,
    SomeMilliseconds,
)

Method = Literal["exact", "authors"]
METHODS: tuple[Method, ...] = get_args(Method)

GIB = 1024.0**3
SECONDS_PER_HOUR = 3600.0
ALONE = "the cheapest workers for each operator alone, messages free"  # how the simplest bound is come by
LEAST_RATE, MOST_RATE = 1e-6, 1e9  # requests a second of an operator
PROVEN = 1e-5  # a gap no larger than this is the solver's rounding: the plan counts as proven optimal
_PLANNING = 0.95  # share of the time that the search has
_STEPS = 4  # of a curve: no plan has less than this part of the time that is left
SLACK = 1e-6  # relative: what two sums of the same numbers may differ by

Rates = Mapping[str, Mapping[str, float]]  # requests a second, by operator and worker
Routes = Mapping[tuple[str, str], Mapping[tuple[str, str], float]]  # requests a second, by edge and pair of workers


class Source(Plain):
    """Where data comes from; it sits at tier 0 and needs no worker."""

    name: Name
    rate: Rate  # requests a second


class Operator(Plain):
    """A step of the workflow."""

    name: Name
    variants: Annotated[tuple[Name, ...], Field(min_length=1)]


class Message(Plain):
    """Bytes of one message on an edge; a variant left out stands for every one that no other entry names."""

    source_variant: Name | None = None
    target_variant: Name | None = None
    size_bytes: Annotated[float, Field(strict=True, ge=0, lt=MOST_BYTES)]  # a mean, so it may have a fraction


class Edge(Plain):
    """From a source or an operator to an operator."""

    source: Name
    target: Name
    ratio: Annotated[float, Field(strict=True, ge=1e-6, le=1e6)] = 1.0
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]

    def size(self, source_variant: str | None, target_variant: str) -> float | None:
        """Bytes of a message, by the entry that names most variants, the target's before the source's, or None."""
        sizes = {(message.source_variant, message.target_variant): message.size_bytes for message in self.messages}
        for key in ((source_variant, target_variant), (None, target_variant), (source_variant, None), (None, None)):
            if key in sizes:
                return sizes[key]
        return None


class Worker(Device):
    """A device that runs one operator at a time. Its memory is not weighed: what does not fit has no latency here."""

    tier: Annotated[int, Field(strict=True, ge=0)]  # has to be said, as the price has: the plan is made of them
    dollars_per_hour: Dollars
    latency_ms: dict[Name, dict[Name, SomeMilliseconds]]  # by operator and variant; what is left out it cannot run


class TierLink(Plain):
    """What a message costs from one tier to a later one. A move that no link names is not allowed."""

    source: Annotated[int, Field(strict=True, ge=0)]
    target: Annotated[int, Field(strict=True, ge=0)]
    dollars_per_gib: Dollars


class WorkerLink(Plain):
    """What a message costs from one source or worker to one worker of a later tier, whatever the tiers' link says."""

    source: Name
    target: Name
    dollars_per_gib: Dollars


class AccuracyRow(Plain):
    """The sink's accuracy when these operators run these variants."""

    variants: dict[Name, Name]
    accuracy: Share


class Workflow(Plain):
    """All that a plan is made from. Operators that the accuracies do not name do not change the accuracy."""

    obtained: Obtained  # of latencies, sizes and accuracies
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    operators: Annotated[tuple[Operator, ...], Field(min_length=1)]
    edges: Annotated[tuple[Edge, ...], Field(min_length=1)]
    workers: Annotated[tuple[Worker, ...], Field(min_length=1)]
    tier_links: tuple[TierLink, ...] = ()
    worker_links: tuple[WorkerLink, ...] = ()
    sink: Name
    accuracies: Annotated[tuple[AccuracyRow, ...], Field(min_length=1)]
    accuracy: Share | None = None  # what is asked of the sink, where nothing else is said

    @model_validator(mode="after")
    def _fits_together(self) -> Workflow:
        _check_graph(self)
        _check_rates(self)
        _check_workers(self)
        _check_messages(self)
        _check_accuracies(self)
        return self


class Assignment(Plain):
    """What one worker does."""

    operator: Name
    worker: Name
    rate: Positive  # requests a second


class Flow(Plain):
    """What goes from one worker to another, or from a source (no worker) to one."""

    source: Name
    target: Name
    source_worker: Name | None
    target_worker: Name
    rate: Positive  # messages a second


class WorkflowPlan(Plan):
    """A plan and what it costs; where none is feasible all but `reason` is empty."""

    planner: Literal["workflow"] = "workflow"
    accuracy_asked: Share
    accuracy: Share | None = None
    variants: dict[Name, Name] = Field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    flows: tuple[Flow, ...] = ()
    compute_dollars_per_hour: NotNegative | None = None
    communication_dollars_per_hour: NotNegative | None = None
    bound_dollars_per_hour: NotNegative | None = None  # no plan costs less
    bound_from: str | None = None  # how the bound was come by, in words
    gap: NotNegative | None = None  # share of the cost by which the bound is below it
    proven: bool = False  # that the plan is optimal, the solver's rounding aside; or that there is none

    @property
    def dollars_per_hour(self) -> float:
        """The whole cost; infinite where the plan is not feasible."""
        if self.compute_dollars_per_hour is None or self.communication_dollars_per_hour is None:
            return math.inf
        return self.compute_dollars_per_hour + self.communication_dollars_per_hour


class Curve(Plain):
    """Cost against accuracy: plans of rising accuracy and cost, none of which another one beats in both."""

    planner: Literal["workflow"] = "workflow"
    method: Name
    plans: tuple[WorkflowPlan, ...]


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
        raise PlanError(f"accuracy {asked:g}: must be a share from 0 to 1")
    until = time.monotonic() + _PLANNING * seconds
    if method == "exact":
        from edgesight.plan.workflow.exact import plan_exact

        return plan_exact(workflow, asked, until)
    if method == "authors":
        from edgesight.plan.workflow.authors import plan_authors

        return plan_authors(workflow, asked, until)
    raise PlanError(f"method {method}: must be one of {', '.join(METHODS)}")


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
        sources = {source.name: source.rate for source in workflow.sources}
        sorter = TopologicalSorter(
            {name: sorted(edge.source for edge in edges if edge.source in inputs) for name, edges in inputs.items()}
        )
        order = tuple(sorter.static_order())
        rates = dict(sources)
        for name in order:
            rates[name] = min(rates[edge.source] * edge.ratio for edge in inputs[name])
        return cls(
            workflow=workflow,
            order=order,
            rates=rates,
            inputs=inputs,
            variants={operator.name: operator.variants for operator in workflow.operators},
            workers={worker.name: worker for worker in workflow.workers},
            sources=frozenset(sources),
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


def _repeated(names: Iterable[object]) -> object | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _check_graph(workflow: Workflow) -> None:
    sources = {source.name for source in workflow.sources}
    operators = {operator.name for operator in workflow.operators}
    twice = _repeated([source.name for source in workflow.sources] + [operator.name for operator in workflow.operators])
    if twice is not None:
        raise ValueError(f"sources, operators: {twice} is named twice")
    for operator in workflow.operators:
        if (variant := _repeated(operator.variants)) is not None:
            raise ValueError(f"operators: {operator.name} has variant {variant} twice")
    for place, edge in enumerate(workflow.edges):
        if edge.source not in sources | operators:
            raise ValueError(f"edges.{place}.source: {edge.source} is neither a source nor an operator")
        if edge.target not in operators:
            raise ValueError(f"edges.{place}.target: {edge.target} is not an operator")
    if (pair := _repeated((edge.source, edge.target) for edge in workflow.edges)) is not None:
        raise ValueError(f"edges: {pair} is there twice")
    for name in sorted(operators - {edge.target for edge in workflow.edges}):
        raise ValueError(f"edges: nothing leads to operator {name}")
    for name in sorted(sources - {edge.source for edge in workflow.edges}):
        raise ValueError(f"edges: source {name} leads nowhere")
    try:
        graph: dict[str, list[str]] = {name: [] for name in operators}
        for edge in workflow.edges:
            graph[edge.target].append(edge.source)
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ValueError(f"edges: a cycle, {' from '.join(error.args[1])}") from error
    if workflow.sink not in operators:
        raise ValueError(f"sink: {workflow.sink} is not an operator")
    for edge in workflow.edges:
        if edge.source == workflow.sink:
            raise ValueError(f"sink: {workflow.sink} has an edge to {edge.target}")


def _check_rates(workflow: Workflow) -> None:
    for operator, rate in Facts.of(workflow).rates.items():
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise ValueError(
                f"edges: their ratios give operator {operator} {rate:g} requests a second; must be from {LEAST_RATE:g} "
                f"to {MOST_RATE:g}"
            )


def _check_workers(workflow: Workflow) -> None:
    variants = {operator.name: operator.variants for operator in workflow.operators}
    sources = {source.name for source in workflow.sources}
    if (twice := _repeated([worker.name for worker in workflow.workers] + sorted(sources))) is not None:
        raise ValueError(f"workers, sources: {twice} is named twice")
    for place, worker in enumerate(workflow.workers):
        for operator, latencies in worker.latency_ms.items():
            if operator not in variants:
                raise ValueError(f"workers.{place}.latency_ms.{operator}: is not an operator")
            for variant in latencies:
                if variant not in variants[operator]:
                    raise ValueError(f"workers.{place}.latency_ms.{operator}.{variant}: is no variant of it")
    for place, link in enumerate(workflow.tier_links):
        if link.source >= link.target:
            raise ValueError(f"tier_links.{place}: from tier {link.source} to {link.target}; data flows forward only")
    if (pair := _repeated((link.source, link.target) for link in workflow.tier_links)) is not None:
        raise ValueError(f"tier_links: {pair} is there twice")
    tiers = {**dict.fromkeys(sources, 0), **{worker.name: worker.tier for worker in workflow.workers}}
    for place, between in enumerate(workflow.worker_links):
        if between.source not in tiers:
            raise ValueError(f"worker_links.{place}.source: {between.source} is neither a source nor a worker")
        if between.target not in tiers or between.target in sources:
            raise ValueError(f"worker_links.{place}.target: {between.target} is not a worker")
        if tiers[between.source] >= tiers[between.target]:
            raise ValueError(
                f"worker_links.{place}: from tier {tiers[between.source]} to {tiers[between.target]}; "
                "data flows forward only, and within a tier it is free"
            )
    if (link_pair := _repeated((link.source, link.target) for link in workflow.worker_links)) is not None:
        raise ValueError(f"worker_links: {link_pair} is there twice")


def _check_messages(workflow: Workflow) -> None:
    variants: dict[str, tuple[str, ...]] = {operator.name: operator.variants for operator in workflow.operators}
    for place, edge in enumerate(workflow.edges):
        for message in edge.messages:
            for field, name, variant in (
                ("source_variant", edge.source, message.source_variant),
                ("target_variant", edge.target, message.target_variant),
            ):
                if variant is not None and variant not in variants.get(name, ()):
                    raise ValueError(f"edges.{place}.messages.{field}: {variant} is no variant of {name}")
        pair = _repeated((message.source_variant, message.target_variant) for message in edge.messages)
        if pair is not None:
            raise ValueError(f"edges.{place}.messages: {pair} is there twice")
        for source_variant in variants.get(edge.source, (None,)):
            for target_variant in variants[edge.target]:
                if edge.size(source_variant, target_variant) is None:
                    raise ValueError(f"edges.{place}.messages: none for {source_variant} to {target_variant}")


def _check_accuracies(workflow: Workflow) -> None:
    variants = {operator.name: operator.variants for operator in workflow.operators}
    names = set(workflow.accuracies[0].variants)
    for place, row in enumerate(workflow.accuracies):
        if set(row.variants) != names:
            raise ValueError(f"accuracies.{place}.variants: names other operators than the first row")
        for operator, variant in row.variants.items():
            if operator not in variants:
                raise ValueError(f"accuracies.{place}.variants.{operator}: is not an operator")
            if variant not in variants[operator]:
                raise ValueError(f"accuracies.{place}.variants.{operator}: {variant} is no variant of it")
    twice = _repeated(tuple(sorted(row.variants.items())) for row in workflow.accuracies)
    if twice is not None:
        raise ValueError(f"accuracies: {twice} is there twice")
