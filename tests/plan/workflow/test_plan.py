"""Workflow plans: both methods keep every constraint, the exact one is the optimum, ties go to the higher accuracy."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.plan.profile import Device, PlanError, checked, read, write
from edgesight.plan.workflow.authors import beam, orders
from edgesight.plan.workflow.cost import Covers, Facts, cheapest_cover, faults, link_cost, meets
from edgesight.plan.workflow.plan import curve, plan
from edgesight.plan.workflow.problem import ALONE, METHODS, Method, Workflow, WorkflowPlan

pytest.importorskip("scipy", reason="scipy is not installed: the exact method needs the extra `plan`")


def content(**changes: Any) -> dict[str, Any]:
    """Two operators in a row; near workers are cheap and slow, far ones dear and fast."""
    return {
        "obtained": "simulated",
        "accuracy": 0.8,
        "sources": [{"name": "camera", "rate": 10}],
        "operators": [{"name": "find", "variants": ["small", "large"]}, {"name": "name", "variants": ["only"]}],
        "edges": [
            {"source": "camera", "target": "find", "messages": [{"size_bytes": 1e6}]},
            {
                "source": "find",
                "target": "name",
                "ratio": 2.0,
                "messages": [{"size_bytes": 1e4}, {"source_variant": "large", "size_bytes": 2e4}],
            },
        ],
        "workers": [
            *(
                {
                    "name": f"near-{place}",
                    "tier": 0,
                    "dollars_per_hour": 0.2,
                    "latency_ms": {"find": {"small": 100, "large": 200}, "name": {"only": 50}},
                }
                for place in range(3)
            ),
            {
                "name": "far",
                "tier": 1,
                "dollars_per_hour": 2.0,
                "latency_ms": {"find": {"small": 10, "large": 20}, "name": {"only": 5}},
            },
        ],
        "tier_links": [{"source": 0, "target": 1, "dollars_per_gib": 0.1}],
        "sink": "name",
        "accuracies": [
            {"variants": {"find": "small"}, "accuracy": 0.8},
            {"variants": {"find": "large"}, "accuracy": 0.9},
        ],
        **changes,
    }


def workflow(**changes: Any) -> Workflow:
    return checked(content(**changes), Workflow, "test")


@pytest.mark.parametrize("method", METHODS)
def test_the_cheap_workers_near_the_data_are_used_where_they_suffice(method: Method) -> None:
    made = plan(workflow(), method=method)
    assert made.variants == {"find": "small", "name": "only"}
    assert made.compute_dollars_per_hour == pytest.approx(0.4)  # one for 10 a second, one for 20
    assert made.communication_dollars_per_hour == 0
    assert made.dollars_per_hour == pytest.approx(0.4)
    assert faults(workflow(), made) == []


def test_an_exact_plan_is_proven_and_the_authors_bound_holds() -> None:
    exact, authors = plan(workflow(), 0.9), plan(workflow(), 0.9, "authors")
    assert exact.proven
    assert authors.bound_dollars_per_hour is not None
    assert authors.bound_dollars_per_hour <= exact.dollars_per_hour + 1e-9


def test_messages_cost_kib_a_second_times_the_published_factor() -> None:
    """KB/s * 3600 / 1024^2 * 0.1 * link price, with 1,024 bytes a KB."""
    assert link_cost(40, 97.07174682617188 * 1024, 0.1) == pytest.approx(40 * 97.07174682617188 * 3600 / 1024**2 * 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_equal_costs_go_to_the_higher_accuracy(method: Method) -> None:
    rows = [{"variants": {"find": name}, "accuracy": value} for name, value in (("small", 0.8), ("large", 0.95))]
    made = plan(workflow(sources=[{"name": "camera", "rate": 4}], accuracies=rows), 0.5, method)
    assert made.accuracy == 0.95  # 4 a second: one worker serves either variant


def test_equal_costs_of_nothing_go_to_the_higher_accuracy() -> None:
    free = [{**worker, "dollars_per_hour": 0.0} for worker in content()["workers"]]
    assert plan(workflow(workers=free), 0.5).accuracy == 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_curve_rises_in_both_and_its_plans_keep_all_constraints(method: Method) -> None:
    found = curve(workflow(), method)
    assert [made.accuracy for made in found.plans] == [0.8, 0.9]
    costs = [made.dollars_per_hour for made in found.plans]
    assert costs == sorted(costs)
    assert all(faults(workflow(), made) == [] for made in found.plans)


@pytest.mark.parametrize("method", METHODS)
def test_an_accuracy_beyond_the_table_is_refused_with_the_best(method: Method) -> None:
    made = plan(workflow(), 0.99, method)
    assert not made.feasible
    assert made.reason == "accuracy 0.99 is asked for; the best in the accuracies is 0.9"
    assert faults(workflow(), made) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_operator_that_cannot_be_served_is_named(method: Method) -> None:
    made = plan(workflow(sources=[{"name": "camera", "rate": 200}]), 0.9, method)
    assert made.reason is not None
    assert made.reason.startswith("operator find cannot be served: 200 requests a second")


def test_too_few_workers_for_an_accuracy_says_which_one_they_can_serve() -> None:
    few = workflow(workers=[*content()["workers"][:3]], sources=[{"name": "camera", "rate": 10}])
    made = plan(few, 0.9)  # large takes two of the three; name takes one
    assert made.feasible
    slow = workflow(workers=[*content()["workers"][:2]])
    refused = plan(slow, 0.9)
    assert refused.reason is not None
    assert "with accuracy 0.9; the best accuracy that they can is 0.8" in refused.reason
    assert refused.proven


def test_too_few_workers_for_any_accuracy_says_how_much_they_can_serve() -> None:
    one = {
        "tier": 0,
        "dollars_per_hour": 1.0,
        "latency_ms": {"find": {"small": 100, "large": 200}, "name": {"only": 50}},
    }
    made = plan(workflow(workers=[{"name": "a", **one}]), 0.8)
    assert made.reason is not None
    assert "whatever the accuracy" in made.reason


def test_moves_between_tiers_that_no_link_allows_are_not_made() -> None:
    closed = workflow(tier_links=[], sources=[{"name": "camera", "rate": 15}])
    made = plan(closed, 0.9)
    assert not made.feasible  # near: 3 for find alone
    opened = plan(workflow(sources=[{"name": "camera", "rate": 15}]), 0.9)
    assert opened.feasible


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sink": "nobody"}, "sink: nobody is not an operator"),
        ({"sink": "find"}, "sink: find has an edge to name"),
        ({"sources": []}, "field sources"),
        ({"sources": [{"name": "camera", "rate": -1}]}, "sources.0.rate"),
        ({"unknown": 1}, "field unknown"),
        ({"edges": content()["edges"][:1]}, "nothing leads to operator name"),
        ({"edges": [*content()["edges"], {**content()["edges"][1], "source": "name", "target": "find"}]}, "a cycle"),
        ({"edges": [{**content()["edges"][0], "source": "ghost"}]}, "edges.0.source: ghost"),
        ({"edges": [{**content()["edges"][0], "target": "ghost"}]}, "edges.0.target: ghost"),
        ({"edges": [*content()["edges"], content()["edges"][0]]}, "is there twice"),
        ({"tier_links": [{"source": 1, "target": 0, "dollars_per_gib": 1}]}, "data flows forward only"),
        ({"worker_links": [{"source": "far", "target": "near-0", "dollars_per_gib": 1}]}, "data flows forward only"),
        ({"worker_links": [{"source": "far", "target": "ghost", "dollars_per_gib": 1}]}, "ghost is not a worker"),
        ({"worker_links": [{"source": "ghost", "target": "far", "dollars_per_gib": 1}]}, "ghost is neither"),
        ({"accuracies": [{"variants": {"find": "huge"}, "accuracy": 0.9}]}, "huge is no variant of it"),
        ({"accuracies": [{"variants": {"ghost": "small"}, "accuracy": 0.9}]}, "accuracies.0.variants.ghost"),
        ({"accuracies": [*content()["accuracies"], {"variants": {}, "accuracy": 0.9}]}, "names other operators"),
        ({"accuracies": [*content()["accuracies"], content()["accuracies"][0]]}, "is there twice"),
        ({"accuracies": [{"variants": {"find": "small"}, "accuracy": 56}]}, "accuracies.0.accuracy"),
        ({"workers": [*content()["workers"], content()["workers"][0]]}, "near-0 is named twice"),
        ({"workers": [{**content()["workers"][0], "latency_ms": {"ghost": {"x": 1}}}]}, "workers.0.latency_ms.ghost"),
        ({"workers": [{**content()["workers"][0], "latency_ms": {"find": {"x": 1}}}]}, "find.x: is no variant"),
        ({"workers": [{**content()["workers"][0], "latency_ms": {"find": {"small": 0}}}]}, "latency_ms.find.small"),
        ({"operators": [{"name": "find", "variants": ["a", "a"]}, {"name": "name", "variants": ["b"]}]}, "twice"),
        ({"operators": [*content()["operators"], {"name": "camera", "variants": ["b"]}]}, "camera is named twice"),
        (
            {"edges": [{**content()["edges"][0], "messages": [{"target_variant": "small", "size_bytes": 1}]},
                       content()["edges"][1]]},
            "edges.0.messages: none for None to large",
        ),
        (
            {"edges": [{**content()["edges"][0], "messages": [{"target_variant": "x", "size_bytes": 1}]},
                       content()["edges"][1]]},
            "x is no variant of find",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_by_file_and_field(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(content(**changes)))
    with pytest.raises(PlanError) as refused:
        read(path, Workflow)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it: it["workers"][0]["latency_ms"]["find"].update(small=1e-320), r"latency_ms.find.small: .* 0.000001"),
        (lambda it: it["sources"][0].update(rate=1e-320), r"sources.0.rate: .* 0.000001"),
        (lambda it: it["edges"][1].update(ratio=1e300), r"edges.1.ratio: .* 1000000"),
        (lambda it: it["workers"][0].update(dollars_per_hour=1e300), r"dollars_per_hour: .* 1000000000"),
        (
            lambda it: (it["sources"][0].update(rate=1e-6), it["edges"][1].update(ratio=0.5)),
            r"edges: their ratios give operator name 5e-07 requests a second; must be from 1e-06 to 1e\+09",
        ),
    ],
)
def test_numbers_that_leave_what_a_float_holds_are_refused(change: Any, reason: str) -> None:
    given = json.loads(json.dumps(content()))
    change(given)
    with pytest.raises(PlanError, match=reason):
        checked(given, Workflow, "test")


def test_a_worker_is_a_device_whose_tier_and_price_have_to_be_said() -> None:
    assert all(isinstance(worker, Device) for worker in workflow().workers)
    for field in ("tier", "dollars_per_hour"):
        worker = {name: value for name, value in content()["workers"][0].items() if name != field}
        with pytest.raises(PlanError, match=rf"test: field workers\.0\.{field}: is missing"):
            workflow(workers=[worker])


def test_an_accuracy_must_be_asked_for_and_be_a_share() -> None:
    with pytest.raises(PlanError, match="no accuracy is asked for"):
        plan(workflow(accuracy=None))
    with pytest.raises(PlanError, match="share from 0 to 1"):
        plan(workflow(), 56.0)
    with pytest.raises(PlanError, match="method magic: choose one of exact, authors"):
        plan(workflow(), method="magic")  # type: ignore[arg-type] # what a careless caller does


def test_a_plan_is_the_same_after_a_file(tmp_path: Path) -> None:
    made = plan(workflow(), 0.9)
    write(tmp_path / "plan.json", made)
    assert read(tmp_path / "plan.json", WorkflowPlan) == made


def test_the_checker_sees_every_kind_of_fault() -> None:
    given_ = workflow()
    made = plan(given_, 0.9)
    first, *rest = made.assignments
    changed: dict[str, dict[str, Any]] = {
        "runs 2 operators": {
            "assignments": (*made.assignments, rest[-1].model_copy(update={"operator": first.operator}))
        },
        "cannot serve": {"assignments": (first.model_copy(update={"rate": 1e4}), *rest)},
        "is served": {"assignments": tuple(rest)},
        "is below": {"accuracy_asked": 0.95},
        "said to be 0.1": {"accuracy": 0.1},
        "compute costs": {"compute_dollars_per_hour": 0.1},
        "communication costs": {"communication_dollars_per_hour": 7.0},
        "takes": {"flows": made.flows[1:]},
        "no variant": {"variants": {**made.variants, "find": "huge"}},
        "worker ghost is unknown": {"assignments": (first.model_copy(update={"worker": "ghost"}), *rest)},
        "operator ghost is unknown": {"assignments": (first.model_copy(update={"operator": "ghost"}), *rest)},
        "which is no edge": {"flows": (made.flows[0].model_copy(update={"target": "name"}), *made.flows)},
        "neither a source nor a worker": {"flows": (made.flows[-1].model_copy(update={"source_worker": "ghost"}),)},
        "data flows from far": {"flows": (*made.flows, made.flows[-1].model_copy(update={"source_worker": "far"}))},
    }
    for message, change in changed.items():
        found = faults(given_, made.model_copy(update=change))
        assert any(message in fault for fault in found), (message, found)


@given(
    machines=st.lists(st.tuples(st.floats(0, 9), st.floats(0.1, 9)), min_size=1, max_size=7),
    rate=st.floats(0.1, 20),
)
def test_the_cheapest_cover_is_that_of_all_subsets(machines: list[tuple[float, float]], rate: float) -> None:
    best = math.inf
    for chosen in itertools.product((0, 1), repeat=len(machines)):
        # Summed as the cover sums: largest first, so that equal means equal.
        kept = sorted((m for m, use in zip(machines, chosen, strict=True) if use), key=lambda machine: -machine[1])
        if sum(machine[1] for machine in kept) >= rate:
            best = min(best, sum(machine[0] for machine in kept))
    assert cheapest_cover(machines, rate) == pytest.approx(best)
    assert cheapest_cover(machines, rate, most=2) <= best + 1e-9


def test_orders_take_inputs_before_users_and_the_beam_keeps_the_accuracy() -> None:
    facts = Facts.of(workflow())
    assert list(orders(facts)) == [("find", "name")]
    assert beam(facts, 0.9) == [{"name": "only", "find": "large"}]
    assert len(beam(facts, 0.5)) == 2


@st.composite
def small_workflows(draw: st.DrawFn) -> Workflow:
    """Up to 3 operators of 2 variants, 5 workers and 3 tiers, small numbers so that ties and tight fits are met."""
    count = draw(st.integers(1, 3))
    operators = [f"o{place}" for place in range(count)]
    variants = {name: ["a", "b"][: draw(st.integers(1, 2))] for name in operators}
    pairs = [("s", "o0")]
    for place in range(1, count):
        inputs = draw(st.sets(st.sampled_from(["s", *operators[:place]]), min_size=1, max_size=2))
        pairs += [(source, operators[place]) for source in sorted(inputs)]
    number = st.sampled_from([1.0, 2.0, 3.0, 5.0])
    workers = []
    for place in range(draw(st.integers(count, 5))):
        latencies = {
            name: {variant: draw(number) * 100 for variant in variants[name] if draw(st.integers(0, 5))}
            for name in operators
        }
        tier = draw(st.integers(0, 2))
        workers.append({"name": f"w{place}", "tier": tier, "dollars_per_hour": draw(number), "latency_ms": latencies})
    links = [
        {"source": first, "target": last, "dollars_per_gib": draw(number)}
        for first, last in ((0, 1), (1, 2), (0, 2))
        if draw(st.integers(0, 4))
    ]
    return checked(
        {
            "obtained": "simulated",
            "accuracy": draw(st.sampled_from([0.0, 0.7, 0.9])),
            "sources": [{"name": "s", "rate": draw(number)}],
            "operators": [{"name": name, "variants": variants[name]} for name in operators],
            "edges": [
                {
                    "source": source,
                    "target": target,
                    "ratio": draw(st.sampled_from([0.5, 1.0, 2.0])),
                    "messages": [{"size_bytes": draw(number) * 1e5}, {"target_variant": "a", "size_bytes": 1e5}],
                }
                for source, target in pairs
            ],
            "workers": workers,
            "tier_links": links,
            "sink": operators[-1],
            "accuracies": [
                {
                    "variants": dict(zip(operators, choice, strict=True)),
                    "accuracy": draw(st.sampled_from([0.6, 0.7, 0.9])),
                }
                for choice in itertools.product(*variants.values())
            ],
        },
        Workflow,
        "hypothesis",
    )


@settings(max_examples=60, deadline=None)
@given(small_workflows())
def test_no_plan_breaks_a_constraint_and_none_is_cheaper_than_exact(given_: Workflow) -> None:
    exact, authors = plan(given_, method="exact"), plan(given_, method="authors")
    assert faults(given_, exact) == []
    assert faults(given_, authors) == []
    assert exact.proven
    assert exact.dollars_per_hour <= authors.dollars_per_hour * (1 + 2e-6)
    if authors.feasible:
        assert exact.feasible
        assert (authors.bound_dollars_per_hour or 0) <= exact.dollars_per_hour * (1 + 2e-6)
    covers = Covers.of(Facts.of(given_))
    rows = [row for row in given_.accuracies if meets(row.accuracy, given_.accuracy or 0)]
    if exact.feasible:
        assert min(covers.least(row) for row in rows) <= exact.dollars_per_hour * (1 + 2e-6)


@settings(max_examples=25, deadline=None)
@given(small_workflows())
def test_the_exact_cost_and_accuracy_are_those_of_trying_everything(given_: Workflow) -> None:
    cost, accuracy = by_trying(given_)
    exact = plan(given_, method="exact")
    assert exact.dollars_per_hour == pytest.approx(cost, rel=1e-5)
    if exact.feasible:
        assert exact.accuracy == accuracy


def by_trying(given_: Workflow) -> tuple[float, float]:
    """Least cost, and the best accuracy at it: all variants and workers, shares and flows by a linear program."""
    from scipy.optimize import linprog

    facts = Facts.of(given_)
    best, best_accuracy = math.inf, 0.0
    for row in given_.accuracies:
        if not meets(row.accuracy, given_.accuracy or 0):
            continue
        for roles in itertools.product((None, *facts.order), repeat=len(given_.workers)):
            team = {
                name: [w.name for w, role in zip(given_.workers, roles, strict=True) if role == name]
                for name in facts.order
            }
            paid = sum(w.dollars_per_hour for w, role in zip(given_.workers, roles, strict=True) if role)
            full = {name: [facts.capacity(w, name, row.variants[name]) for w in team[name]] for name in facts.order}
            if paid > best * (1 + 1e-6) or any(
                sum(full[name]) < facts.rates[name] * (1 - 1e-9) for name in facts.order
            ):
                continue
            columns: list[tuple[str, str, str, str]] = []  # flows in requests of the target
            costs: list[float] = []
            for name in facts.order:
                for edge in facts.inputs[name]:
                    size = edge.size(row.variants.get(edge.source), row.variants[name])
                    assert size is not None
                    for source in team.get(edge.source, [edge.source]):
                        for target in team[name]:
                            if (source, target) in facts.prices:
                                columns.append((edge.source, name, source, target))
                                costs.append(link_cost(1.0, size, facts.prices[source, target]))
            shares = [(name, worker) for name in facts.order for worker in team[name]]
            equal, right = [], []
            for name in facts.order:
                equal.append([0.0] * len(columns) + [float(other == name) for other, _ in shares])
                right.append(facts.rates[name])
                for edge in facts.inputs[name]:
                    for end, operator in ((2, edge.source), (3, name)):
                        for worker in team.get(operator, [operator]):
                            terms = [float(c[:2] == (edge.source, name) and c[end] == worker) for c in columns]
                            scale = facts.rates[name] / facts.rates[operator]
                            terms += [-scale * float(share == (operator, worker)) for share in shares]
                            equal.append(terms)
                            right.append(facts.rates[name] if operator in facts.sources else 0.0)
            limits = [(0.0, math.inf)] * len(columns) + [
                (0.0, facts.capacity(worker, name, row.variants[name])) for name, worker in shares
            ]
            found = linprog([*costs, *[0.0] * len(shares)], A_eq=equal, b_eq=right, bounds=limits)
            if found.fun is None or not found.success:
                continue
            cost = paid + found.fun
            if cost < best * (1 - 1e-6):
                best, best_accuracy = cost, row.accuracy
            elif cost <= best * (1 + 1e-6):
                best_accuracy = max(best_accuracy, row.accuracy)
    return best, best_accuracy


def large(operators: int = 7, variants: int = 4, workers: int = 24, seed: int = 1) -> Workflow:
    from edgesight.bench.plan.workflow import random_workflow

    return random_workflow(seed, (operators, variants, workers))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_its_time_limit_where_there_is_far_more_to_do(method: Method) -> None:
    import time

    workflow = large()
    begun = time.monotonic()
    made = plan(workflow, method=method, seconds=6.0)
    assert time.monotonic() - begun < 6.0 * 1.2
    assert faults(workflow, made) == []
    assert made.feasible or not made.proven


def test_the_exact_plan_is_no_dearer_than_the_authors_even_where_time_is_short() -> None:
    workflow = large()
    authors = plan(workflow, method="authors", seconds=30.0)
    exact = plan(workflow, method="exact", seconds=12.0)
    assert authors.feasible
    assert exact.dollars_per_hour <= authors.dollars_per_hour * (1 + 1e-9)


def test_local_search_betters_a_plan_step_by_step() -> None:
    import time

    from edgesight.plan.workflow.authors import search_authors
    from edgesight.plan.workflow.descent import descend

    workflow = large(6, 4, 20, seed=2)  # one where the authors' plan can be bettered
    facts = Facts.of(workflow)
    begun = search_authors(facts, workflow.accuracy or 0.0)
    steps: list[WorkflowPlan] = []
    found = descend(facts, Covers.of(facts), begun, time.monotonic() + 20, steps.append)
    costs = [begun.dollars_per_hour, *(step.dollars_per_hour for step in steps)]
    assert costs == sorted(costs, reverse=True)
    assert found.dollars_per_hour == costs[-1] < costs[0]
    assert all(faults(workflow, step) == [] for step in steps)


def test_a_plan_says_what_its_bound_is_from() -> None:
    workflow = large(5, 3, 16)
    authors = plan(workflow, method="authors", seconds=30.0)
    exact = plan(workflow, method="exact", seconds=30.0)
    assert authors.bound_from in ("linear relaxation of the cheapest variants", ALONE)
    assert authors.bound_dollars_per_hour is not None
    assert authors.bound_dollars_per_hour <= exact.dollars_per_hour * (1 + 1e-9)
    covers = Covers.of(Facts.of(workflow))
    loose = min(covers.least(row) for row in workflow.accuracies if meets(row.accuracy, workflow.accuracy or 0.0))
    assert authors.bound_dollars_per_hour >= loose * (1 - 1e-9)


def test_many_operators_in_a_row_have_their_orders_without_end_of_the_stack() -> None:
    names = [f"o{number}" for number in range(1200)]
    edges = [{"source": a, "target": b, "messages": [{"size_bytes": 1}]} for a, b in itertools.pairwise(["s", *names])]
    asked = checked(
        {
            "obtained": "quoted",
            "sources": [{"name": "s", "rate": 1}],
            "operators": [{"name": name, "variants": ["v"]} for name in names],
            "edges": edges,
            "workers": [{"name": "w", "tier": 0, "dollars_per_hour": 1, "latency_ms": {}}],
            "sink": names[-1],
            "accuracies": [{"variants": {"o0": "v"}, "accuracy": 0.5}],
        },
        Workflow,
        "chain",
    )
    assert next(orders(Facts.of(asked))) == tuple(names)


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_of_workers_pays_the_price_of_its_own_link(method: Method) -> None:
    workers = content()["workers"]
    for worker in workers:
        worker["latency_ms"].pop("find" if worker["name"] == "far" else "name")
    prices = {"near-0": 0.01, "near-1": 1.0, "near-2": 2.0}
    links = [{"source": name, "target": "far", "dollars_per_gib": price} for name, price in prices.items()]
    given_ = workflow(workers=workers, worker_links=links)
    made = plan(given_, method=method)
    (start,) = {flow.source_worker for flow in made.flows if flow.target == "name"}
    assert start is not None
    assert made.communication_dollars_per_hour == pytest.approx(link_cost(20, 1e4, prices[start]))
    assert faults(given_, made) == []
    assert faults(given_, made.model_copy(update={"communication_dollars_per_hour": 0.0}))
