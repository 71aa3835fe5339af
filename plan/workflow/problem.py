"""Workflows: the problem of which variant and which workers each operator gets, and what a plan of them says.

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
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import (
    MOST_BYTES,
    Cores,
    Device,
    Dollars,
    Name,
    NotNegative,
    Plain,
    Plan,
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
PROVEN = 1e-5  # a gap no larger than this is the solver's rounding: the plan counts as proven optimal
SLACK = 1e-6  # relative: what two sums of the same numbers may differ by

LEAST_RATE, MOST_RATE = 1e-6, 1e9  # requests a second of an operator

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
    cores: Cores | None = None  # of a processor that it is held to where the plan is run; None: all


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


def rates_of(workflow: Workflow) -> dict[str, float]:
    """Requests a second by source, then by operator, inputs before users."""
    inputs: dict[str, list[Edge]] = {operator.name: [] for operator in workflow.operators}
    for edge in workflow.edges:
        inputs[edge.target].append(edge)
    sorter = TopologicalSorter(
        {name: sorted(edge.source for edge in edges if edge.source in inputs) for name, edges in inputs.items()}
    )
    rates = {source.name: source.rate for source in workflow.sources}
    for name in sorter.static_order():
        rates[name] = min(rates[edge.source] * edge.ratio for edge in inputs[name])
    return rates


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


def _check_rates(workflow: Workflow) -> None:
    for operator, rate in rates_of(workflow).items():
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise ValueError(
                f"edges: their ratios give operator {operator} {rate:g} requests a second; must be from {LEAST_RATE:g} "
                f"to {MOST_RATE:g}"
            )
