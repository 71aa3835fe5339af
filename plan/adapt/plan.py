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

import numpy as np

from edgesight.plan.adapt.annealing import annealing
from edgesight.plan.adapt.baselines import fixed, greedy
from edgesight.plan.adapt.data import AdaptPlan, Situation
from edgesight.plan.adapt.exact import exact
from edgesight.plan.adapt.pairwise import pairwise
from edgesight.plan.adapt.tables import NONE, Mapping, Tables, as_plan
from edgesight.plan.profile import SECONDS, PlanError

Method = Literal["pairwise", "authors", "exact", "fixed", "greedy"]
METHODS: tuple[Method, ...] = get_args(Method)
_PLANNING = 0.95  # share of the time that the search has, but for the writing out of the plan, which for each client
_WRITING_S = 4e-5  # and each eighth of a GPU takes so long


def plan(
    situation: Situation,
    method: Method = "pairwise",
    *,
    seed: int = 0,
    seconds: float | None = SECONDS,
    model: str | None = None,
) -> AdaptPlan:
    """The plan of a method: `pairwise` (ours), `authors`, `exact`, `fixed` (one model for all), `greedy`.

    After `seconds` it is the best one so far; None looks at no clock (for the exact method: the usual time), so that
    `pairwise` finds the same every time, as soon as a round of the scheduler needs it. `seed` is that of the
    annealings, `model` the fixed one's model. Raises PlanError for a method or model that does not exist.
    """
    if method not in METHODS:
        raise PlanError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if model is not None and model not in {entry.name for entry in situation.profile.models}:
        raise PlanError(
            f"model {model!r}: profile {situation.profile.name} has none of that name: name one that the profile has"
        )
    start = time.monotonic()
    writing = _WRITING_S * (len(situation.clients) + 8 * len(situation.gpus))
    until = None if seconds is None else start + max(seconds / 3, _PLANNING * seconds - writing)
    tables = Tables.of(situation)
    bound = None
    if method == "pairwise":
        mapping = pairwise(tables, until=until, seed=seed)
    elif method == "authors":
        mapping = annealing(tables, seed, until)
    elif method == "exact":
        mapping, bound = exact(tables, start + SECONDS if until is None else until)
    elif method == "fixed":
        mapping = fixed(tables, model, until)
    else:
        mapping = greedy(tables, until)
    reached = mapping.mean_accuracy(tables)
    if reached >= _most(tables) - 1e-9:
        bound = reached
    best = None if bound is None else min(1.0, max(bound, reached))
    return as_plan(
        tables,
        mapping,
        method,
        (time.monotonic() - start) * 1e3,
        late=until is not None and time.monotonic() >= until,
        best_possible=best,
        proven=best is not None and _all_that_can(tables, mapping, best),
    )


def _most(tables: Tables) -> float:
    """Mean accuracy if every client had the GPUs to itself: no plan has more."""
    offered = tables.eligible[tables.on_gpu.any(axis=0)]
    accuracy = tables.accuracy[tables.model[tables.on_gpu.any(axis=0)]]
    alone = np.where(offered, accuracy[:, None], 0.0).max(axis=0, initial=0.0)
    total = float(tables.rate.sum())
    return float((tables.rate * alone).sum() / total) if total else 0.0


def _all_that_can(tables: Tables, mapping: Mapping, best: float) -> bool:
    """Whether everybody is served whom any GPU could serve, with the best mean accuracy of such mappings."""
    offered = tables.eligible[tables.on_gpu.any(axis=0)].any(axis=0)
    return bool(((mapping.gpu != NONE) | ~offered).all()) and mapping.mean_accuracy(tables) >= best - 1e-6
