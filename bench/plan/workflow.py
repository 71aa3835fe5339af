"""Bench of the workflow planner: exact, the authors' and simple methods, on random and published workflows.

Every plan is recomputed by `edgesight.plan.workflow.cost.faults` before it counts. Random workflows look like the
published one: cheap slow workers near the data, dear fast ones further on, messages that shrink along the graph,
variants that are slower where they are more accurate.

Words owned here: *saving* (1 minus the exact plan's cost over another method's).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.report import Check, PlainTable
from edgesight.plan.profile import checked
from edgesight.plan.workflow.authors import assign
from edgesight.plan.workflow.cost import Facts, compose, faults, meets
from edgesight.plan.workflow.jellybean import read_directory
from edgesight.plan.workflow.picture import draw_bench
from edgesight.plan.workflow.plan import curve, plan, plan_authors
from edgesight.plan.workflow.problem import PROVEN, SLACK, Curve, Workflow, WorkflowPlan

SECONDS = 10.0
CLOSE = 0.01  # a gap that will do where a plan is not proven optimal
PUBLISHED_ACCURACY = 0.56
# At threshold 56 on the authors' visual question answering: what their optimiser finds, and the optimum.
AUTHORS_COST, AUTHORS_COMPUTE, AUTHORS_COMMUNICATION, OPTIMUM = 7.509, 6.242, 1.267, 7.485

_PRICES = ((0.096, 0.192, 0.384, 0.768), (1.1, 2.305, 2.497), (2.9, 4.6))  # dollars an hour of a tier's workers
_SPEEDS = ((1.0, 1.5, 2.4, 4.5), (6.0, 7.0, 15.0), (24.0, 40.0))  # how much faster than the slowest they are
_RESAMPLES = 2000

Rng = np.random.Generator


def random_workflow(seed: int, size: tuple[int, int, int] | None = None) -> Workflow:
    """A random workflow with 2 to 6 operators, 1 to 5 variants of each and 6 to 20 workers, or of just that `size`.

    It asks for an accuracy somewhere among those of its table. Nothing promises that a plan exists.
    """
    rng = np.random.default_rng(seed)
    count, most, machines = size or (int(rng.integers(2, 7)), 5, int(rng.integers(6, 21)))
    operators = [f"operator-{place}" for place in range(count)]
    variants = {
        name: [f"v{place}" for place in range(most if size else int(rng.integers(1, most + 1)))] for name in operators
    }
    sources = [f"source-{place}" for place in range(int(rng.integers(1, 3)))]
    rate = float(np.exp(rng.uniform(np.log(5), np.log(80))))
    edges = _random_edges(rng, sources, operators, variants)
    workers = _random_workers(rng, operators, variants, machines)
    tiers = 1 + max(worker["tier"] for worker in workers)
    hop = rng.choice([0.05, 0.1, 0.2], size=tiers)
    content: dict[str, Any] = {
        "obtained": "simulated",
        "sources": [{"name": name, "rate": rate} for name in sources],
        "operators": [{"name": name, "variants": variants[name]} for name in operators],
        "edges": edges,
        "workers": workers,
        "tier_links": [
            {"source": first, "target": last, "dollars_per_gib": float(hop[first:last].sum())}
            for first in range(tiers)
            for last in range(first + 1, tiers)
        ],
        "sink": operators[-1],
        "accuracies": _random_accuracies(rng, operators, variants),
    }
    levels = sorted(row["accuracy"] for row in content["accuracies"])
    content["accuracy"] = levels[int(rng.integers(len(levels)))]
    # Rates scaled so that the workers are neither idle nor hopelessly few.
    scale = rng.uniform(0.1, 0.5) / _load(Facts.of(checked(content, Workflow, f"seed {seed}")))
    content["sources"] = [{"name": name, "rate": rate * scale} for name in sources]
    return checked(content, Workflow, f"seed {seed}")


def _random_edges(
    rng: Rng, sources: list[str], operators: list[str], variants: dict[str, list[str]]
) -> list[dict[str, Any]]:
    pairs: set[tuple[str, str]] = set()
    for place, source in enumerate(sources):
        pairs.add((source, operators[min(place, len(operators) - 1)]))
    for place, name in enumerate(operators):
        if not any(target == name for _, target in pairs) or (place and rng.random() < 0.3):
            pairs.add((operators[int(rng.integers(place))], name) if place else (sources[0], name))
    for place, name in enumerate(operators[:-1]):
        if not any(source == name for source, _ in pairs):
            pairs.add((name, operators[int(rng.integers(place + 1, len(operators)))]))
    edges = []
    for source, target in sorted(pairs):
        depth = operators.index(source) + 1 if source in operators else 0
        size = 1024 * float(np.exp(rng.uniform(np.log(0.1), np.log(max(0.2, 800 / 4**depth)))))
        messages: list[dict[str, Any]] = [{"size_bytes": size}]
        if source in variants and rng.random() < 0.5:
            messages += [
                {"source_variant": variant, "size_bytes": size * float(rng.choice([1, 2, 4]))}
                for variant in variants[source][1:]
            ]
        ratio = float(rng.choice([1.0, 1.0, 1.0, 0.5, 2.0])) if source in operators else 1.0
        edges.append({"source": source, "target": target, "ratio": ratio, "messages": messages})
    return edges


def _random_workers(
    rng: Rng, operators: list[str], variants: dict[str, list[str]], machines: int
) -> list[dict[str, Any]]:
    tiers = int(rng.integers(2, 4))
    base = {name: float(np.exp(rng.uniform(np.log(20), np.log(800)))) for name in operators}
    slower = {name: np.cumprod(rng.uniform(1.1, 2.2, size=len(variants[name]))) for name in operators}
    alike = rng.random() < 0.5  # whether machines of a price are the same or each a little different
    workers: list[dict[str, Any]] = []
    models: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
    for place in range(machines):
        tier = min(tiers - 1, int(place * tiers / machines)) if place < machines - 1 else tiers - 1
        kind = int(rng.integers(len(_PRICES[tier])))
        key = (tier, kind) if alike else (place, -1)
        if key not in models:
            # A machine is good or bad at an operator, and a little so at one of its variants.
            apart = {name: float(rng.uniform(0.7, 1.4)) / _SPEEDS[tier][kind] for name in operators}
            models[key] = {
                name: {
                    variant: base[name] * float(slower[name][v] * rng.uniform(0.95, 1.05)) * apart[name]
                    for v, variant in enumerate(variants[name])
                }
                for name in operators
            }
        workers.append(
            {
                "name": f"tier{tier}-{place}",
                "tier": tier,
                "dollars_per_hour": _PRICES[tier][kind],
                "latency_ms": models[key],
            }
        )
    return workers


def _random_accuracies(rng: Rng, operators: list[str], variants: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A row for most choices of variants: losses shrink with every better variant, with a little noise."""
    counted = [name for name in operators if len(variants[name]) > 1] or operators[:1]
    loss = {name: rng.uniform(0.02, 0.1) * 0.6 ** np.arange(len(variants[name])) for name in counted}
    choices = list(product(*(range(len(variants[name])) for name in counted)))
    rows = []
    for choice in choices:
        if len(choices) > 4 and rng.random() < 0.1:
            continue  # nobody measured this one
        missed = sum(float(loss[name][place]) for name, place in zip(counted, choice, strict=True))
        accuracy = round(float(np.clip(0.95 - missed + rng.normal(0, 0.003), 0, 1)), 4)
        named = {name: variants[name][place] for name, place in zip(counted, choice, strict=True)}
        rows.append({"variants": named, "accuracy": accuracy})
    return rows


def _load(facts: Facts) -> float:
    """Share of all workers that the fastest variants would fill."""
    return math.fsum(
        facts.rates[operator]
        / math.fsum(
            max(facts.capacity(worker, operator, variant) for variant in facts.variants[operator])
            for worker in facts.workers
        )
        for operator in facts.order
    )


def all_cloud(workflow: Workflow) -> WorkflowPlan:
    """Baseline: every operator in the last tier, by the authors' method."""
    last = max(worker.tier for worker in workflow.workers)
    kept = tuple(worker for worker in workflow.workers if worker.tier == last)
    names = {worker.name for worker in kept} | {source.name for source in workflow.sources}
    links = tuple(link for link in workflow.worker_links if {link.source, link.target} <= names)
    cloud = workflow.model_copy(update={"workers": kept, "worker_links": links})
    found = plan_authors(cloud, workflow.accuracy or 0.0)
    if not found.feasible:
        return found.model_copy(update={"method": "all in the cloud"})
    rates: dict[str, dict[str, float]] = {}
    for assignment in found.assignments:
        rates.setdefault(assignment.operator, {})[assignment.worker] = assignment.rate
    return compose(Facts.of(workflow), "all in the cloud", workflow.accuracy or 0.0, found.variants, rates)


def cheapest_first(workflow: Workflow) -> WorkflowPlan:
    """Baseline: the variants with the least dollars a request, then greedy workers, operators in one order."""
    facts = Facts.of(workflow)
    return _by_row(facts, "cheapest first", lambda _, price: price)


def most_accurate(workflow: Workflow) -> WorkflowPlan:
    """Baseline: the most accurate variants that greedy workers can serve."""
    facts = Facts.of(workflow)
    return _by_row(facts, "most accurate", lambda accuracy, price: (-accuracy, price))


def _by_row(facts: Facts, method: str, rank: Callable[[float, float], Any]) -> WorkflowPlan:
    """The first row of the accuracies, by `rank` of accuracy and price, whose variants the greedy workers can serve."""
    asked = facts.workflow.accuracy or 0.0
    choices = []
    for row in facts.workflow.accuracies:
        if meets(row.accuracy, asked):
            cheapest = {name: min(facts.variants[name], key=lambda v: facts.fraction(name, v)) for name in facts.order}
            variants = {**cheapest, **row.variants}
            price = math.fsum(facts.fraction(name, variant) for name, variant in variants.items())
            choices.append((rank(row.accuracy, price), variants))
    for _, variants in sorted(choices, key=lambda choice: choice[0])[:50]:
        state = assign(facts, variants, facts.order)
        if state is not None:
            return compose(facts, method, asked, variants, state.rates)
    return WorkflowPlan(method=method, feasible=False, accuracy_asked=asked, reason="the greedy workers do not suffice")


def bench(
    out: Path,
    console: Console,
    published: Path | None = None,
    workflows: int = 200,
    seconds: float = SECONDS,
    size: tuple[int, int, int] | None = None,
) -> tuple[list[Check], dict[str, Any]]:
    """All methods on `workflows` random workflows that have a plan, and on the `published` directory, where given.

    Writes `out`/workflow.png. `seconds`: for each exact plan; `size`: operators, variants and workers of each workflow.
    """
    checks: list[Check] = []
    body: dict[str, Any] = {}
    curves: list[Curve] = []
    if published is None:
        body["published"] = "skipped: no directory of JellyBean's visual question answering was given"
        console.print(body["published"])
    else:
        checks, body["published"], curves = _published(published, console)
    drawn = _random(workflows, seconds, size, console)
    rows = drawn.rows
    if not rows:
        none = Check("workflow: random ones without a plan in time", drawn.unsettled, 0, True, "workflows", "measured")
        return [*checks, none], body
    savings = {method: _savings(rows, method) for method in rows[0].costs if method != "exact"}
    intervals = {method: _median(shares) for method, shares in savings.items() if shares}
    even = _savings([row for row in rows if row.even], "authors")
    _print_random(rows, savings, intervals, console)
    times = [row.seconds for row in rows]
    draw_bench(savings, times, seconds, curves, out / "workflow.png")
    body["random"] = {
        "workflows": len(rows),
        "seeds": [row.seed for row in rows],
        "size": "2 to 6 operators, 1 to 5 variants, 6 to 20 workers" if size is None else list(size),
        "drawn again, since proven to have no plan": drawn.infeasible,
        "limit_s": seconds,
        "exact_s": _median(times),
        "exact_processor_s": _median([row.processor for row in rows]),
        "proven optimal": sum(row.gap <= PROVEN for row in rows),
        "not proven: seed, gap, processor seconds": [
            (row.seed, row.gap, row.processor) for row in rows if row.gap > PROVEN
        ],
        "planned": {method: sum(row.costs[method] < math.inf for row in rows) for method in rows[0].costs},
        "saving, median and its 95 % interval": intervals,
        "exact plans that even spreading of messages allows": sum(row.even for row in rows),
        "saving over the authors' method on these": _median(even) if even else None,
    }
    far = sum(row.gap > CLOSE for row in rows) + drawn.unsettled
    checks += [
        Check("workflow: random ones neither proven nor within 1 %", far, 0, True, "workflows", "measured"),
        Check("workflow: slowest exact plan", max(times), seconds, True, "s", "measured"),
        Check("workflow: time taken over the time limit", _late(), 1.2, True, "times", "measured"),
        Check("workflow: constraints broken by any plan", drawn.broken, 0, True, "", "projected"),
        Check("workflow: exact plans dearer than another method's", drawn.dearer, 0, True, "workflows", "projected"),
    ]
    if "authors" in intervals:
        middle = intervals["authors"][0]
        checks.append(Check("workflow: median saving over the authors' method", middle, 0, False, "share", "projected"))
    return checks, body


def _late(limit_s: float = 5.0) -> float:
    """How many times its limit a plan takes that has far more to do: ten operators, most choices of three variants."""
    workflow = random_workflow(0, (10, 3, 30))
    begun = time.monotonic()
    plan(workflow, method="exact", seconds=limit_s)
    return (time.monotonic() - begun) / limit_s


@dataclass(frozen=True)
class _Row:
    """One random workflow: dollars an hour by method (infinite: no plan), and how the exact search went."""

    seed: int
    costs: dict[str, float]
    gap: float
    seconds: float
    processor: float
    even: bool  # whether the plan would be one if every worker's messages went to all of the next operator


@dataclass
class _Drawn:
    """The random workflows, and what went wrong with them."""

    rows: list[_Row] = field(default_factory=list)
    infeasible: int = 0
    unsettled: int = 0
    broken: int = 0
    dearer: int = 0


def _random(workflows: int, seconds: float, size: tuple[int, int, int] | None, console: Console) -> _Drawn:
    drawn = _Drawn()
    seed = 0
    while len(drawn.rows) + drawn.unsettled < workflows:
        workflow = random_workflow(seed, size)
        started, processor = time.monotonic(), time.process_time()
        exact = plan(workflow, method="exact", seconds=seconds)
        took, processor = time.monotonic() - started, time.process_time() - processor
        seed += 1
        if not exact.feasible:
            drawn.infeasible += exact.proven
            drawn.unsettled += not exact.proven
            continue
        plans = {
            "exact": exact,
            "authors": plan(workflow, method="authors"),
            **{made.method: made for made in (make(workflow) for make in (all_cloud, cheapest_first, most_accurate))},
        }
        drawn.broken += sum(len(faults(workflow, made)) for made in plans.values())
        costs = {method: made.dollars_per_hour for method, made in plans.items()}
        drawn.dearer += costs["exact"] > min(costs.values()) * (1 + 10 * SLACK)
        drawn.rows.append(_Row(seed - 1, costs, exact.gap or 0.0, took, processor, _even(workflow, exact)))
        if len(drawn.rows) % 20 == 0:
            console.print(f"{len(drawn.rows)} of {workflows} random workflows planned")
    return drawn


def _even(workflow: Workflow, made: WorkflowPlan) -> bool:
    """Whether every worker of an operator could send to every one of the next."""
    tiers = {worker.name: worker.tier for worker in workflow.workers}
    at: dict[str, list[int]] = {}
    for assignment in made.assignments:
        at.setdefault(assignment.operator, []).append(tiers[assignment.worker])
    return all(max(at.get(edge.source, [0])) <= min(at[edge.target]) for edge in workflow.edges)


def _savings(rows: Sequence[_Row], method: str) -> list[float]:
    """What the exact plans save over those of `method`, where it has one."""
    return [1 - row.costs["exact"] / row.costs[method] for row in rows if row.costs[method] < math.inf]


def _median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and its 95 % interval by resampling (seed 0)."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(array, size=(_RESAMPLES, len(array))), axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(np.median(array)), float(low), float(high)


def _print_random(
    rows: Sequence[_Row],
    savings: Mapping[str, Sequence[float]],
    intervals: Mapping[str, tuple[float, float, float]],
    console: Console,
) -> None:
    title = f"{len(rows)} random workflows, seeds {rows[0].seed} to {rows[-1].seed} (costs projected)"
    columns = ("method", "planned", "the exact plan costs less by: median", "95 % interval", "at most")
    table = PlainTable(title, columns, words=("method",))
    optimal = sum(row.gap <= PROVEN for row in rows)
    table.add_row("exact", str(len(rows)), f"{optimal} proven optimal", "", f"gap {max(row.gap for row in rows):.2%}")
    for method, (middle, low, high) in intervals.items():
        shares = savings[method]
        table.add_row(method, str(len(shares)), f"{middle:.1%}", f"{low:.1%} to {high:.1%}", f"{max(shares):.1%}")
    console.print(table)


def _published(directory: Path, console: Console) -> tuple[list[Check], dict[str, Any], list[Curve]]:
    """Both methods on the published workflow at its threshold, held against what its authors' optimiser finds."""
    read = read_directory(directory)
    for warning in read.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    workflow = read.workflow.model_copy(update={"accuracy": PUBLISHED_ACCURACY})
    exact, authors = plan(workflow, method="exact"), plan(workflow, method="authors")
    curves = [curve(workflow, "exact"), curve(workflow, "authors")]
    title = f"Published workflow, accuracy {PUBLISHED_ACCURACY} asked (projected)"
    columns = ("method", "$/h", "workers", "messages", "accuracy", "gap")
    table = PlainTable(title, columns, words=("method",))
    shown = (exact, authors, all_cloud(workflow), cheapest_first(workflow), most_accurate(workflow))
    for made in shown:
        if made.feasible:
            parts = (made.dollars_per_hour, made.compute_dollars_per_hour, made.communication_dollars_per_hour)
            gap = "proven optimal" if made.proven else f"≤ {made.gap:.1%}" if made in (exact, authors) else ""
            table.add_row(made.method, *(f"{part:.4f}" for part in parts), f"{made.accuracy:.4f}", gap)
        else:
            table.add_row(made.method, "no plan")
    console.print(table)
    off = {
        "authors' method": (authors.dollars_per_hour, AUTHORS_COST),
        "authors' workers": (authors.compute_dollars_per_hour or math.inf, AUTHORS_COMPUTE),
        "authors' messages": (authors.communication_dollars_per_hour or math.inf, AUTHORS_COMMUNICATION),
        "exact method": (exact.dollars_per_hour, OPTIMUM),
    }
    broken = sum(len(faults(workflow, made)) for made in (*shown, *(step for found in curves for step in found.plans)))
    left = math.inf if exact.gap is None else exact.gap
    checks = [
        *(
            Check(f"workflow: published, {name}, off {right}", abs(cost - right), 0.001, True, "$/h", "projected")
            for name, (cost, right) in off.items()
        ),
        Check("workflow: published, gap of the exact method", left, PROVEN, True, "share", "measured"),
        Check("workflow: published, constraints broken by any plan", broken, 0, True, "", "projected"),
    ]
    body = {
        "warnings": list(read.warnings),
        "plans": [json.loads(made.model_dump_json(exclude={"flows"})) for made in shown],
        "curves, accuracy, dollars an hour and gap": {
            found.method: [(step.accuracy, step.dollars_per_hour, step.gap) for step in found.plans] for found in curves
        },
    }
    return checks, body, curves
