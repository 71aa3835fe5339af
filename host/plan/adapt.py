"""Adaptation by one interface: which input size and model each client gets, and which models each GPU holds.

    plan(read_situation(path), "pairwise")

Each GPU runs one model at a time, in batches. A client with budget (SLO less transfer) may use a model in batches of b
when the budget is at least twice the latency of b: a frame waits for one batch and is in the next. The clients' rates
on a GPU are within the throughput of its batch. Asked for is the highest mean accuracy per request with every client
served.
"""

from __future__ import annotations

import time
from typing import Literal, get_args

from host.plan.adapt_annealing import annealing
from host.plan.adapt_baselines import fixed, greedy
from host.plan.adapt_data import AdaptPlan, Situation
from host.plan.adapt_exact import LIMIT_S, exact
from host.plan.adapt_pairwise import pairwise
from host.plan.adapt_tables import Tables, as_plan
from host.plan.profile import PlanError

Method = Literal["pairwise", "authors", "exact", "fixed", "greedy"]
METHODS: tuple[Method, ...] = get_args(Method)


def plan(
    situation: Situation,
    method: Method = "pairwise",
    *,
    seed: int = 0,
    limit_s: float = LIMIT_S,
    model: str | None = None,
) -> AdaptPlan:
    """The plan of a method: `pairwise` (ours), `authors`, `exact`, `fixed` (one model for all), `greedy`.

    `seed` is that of the authors' annealing, `limit_s` the exact solver's time, `model` the fixed one's model.
    Raises PlanError for a method or model that does not exist, or when the exact method finds nothing in time.
    """
    if method not in METHODS:
        raise PlanError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if model is not None and model not in {entry.name for entry in situation.profile.models}:
        raise PlanError(f"model {model!r}: profile {situation.profile.name} has none of that name")
    start = time.perf_counter()
    tables = Tables.of(situation)
    bound = None
    if method == "pairwise":
        mapping = pairwise(tables)
    elif method == "authors":
        mapping = annealing(tables, seed)
    elif method == "exact":
        mapping, bound = exact(tables, limit_s)
    elif method == "fixed":
        mapping = fixed(tables, model)
    else:
        mapping = greedy(tables)
    best = None if bound is None else min(1.0, max(bound, mapping.mean_accuracy(tables)))
    return as_plan(tables, mapping, method, (time.perf_counter() - start) * 1e3, best_possible=best)
