"""Local search for workflows: from a plan on, other variants for one or two operators, workers by the greedy search.

A step looks at the rows of the accuracies that differ from the plan's in one operator, and where none of them is better
at those that differ in two; those whose workers could cost least are looked at first. The first one that makes the plan
cheaper is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from edgesight.plan.workflow.authors import assign, orders
from edgesight.plan.workflow.cost import Covers, Facts, compose, meets
from edgesight.plan.workflow.problem import SLACK, WorkflowPlan

_ORDERS = 2  # of the operators that are tried for each row


def descend(
    facts: Facts, covers: Covers, made: WorkflowPlan, until: float, report: Callable[[WorkflowPlan], None]
) -> WorkflowPlan:
    """The cheapest plan on the way down from `made`, each step reported; it ends at that moment at the latest."""
    asked = made.accuracy_asked
    rows = [row for row in facts.workflow.accuracies if meets(row.accuracy, asked)]
    named = list(rows[0].variants)
    place = {name: {variant: at for at, variant in enumerate(facts.variants[name])} for name in named}
    table = np.array([[place[name][row.variants[name]] for name in named] for row in rows], dtype=int)
    least = np.array([covers.least(row) for row in rows])
    cheapest = {
        name: min(facts.variants[name], key=lambda variant: covers.prices[name, variant])
        for name in facts.order
        if name not in rows[0].variants
    }
    tried_orders = list(islice(orders(facts), _ORDERS))
    seen: set[int] = set()
    moved = True
    while moved and time.monotonic() < until:
        moved = False
        at = np.array([place[name][made.variants[name]] for name in named])
        apart = (table != at).sum(axis=1)
        for row in np.lexsort((least, apart)).tolist():
            if apart[row] > 2 or time.monotonic() >= until:
                break
            if row in seen or least[row] >= made.dollars_per_hour:
                continue
            seen.add(row)
            variants = {**cheapest, **rows[row].variants}
            for order in tried_orders:
                state = assign(facts, variants, order, until)
                if state is not None and state.cost < made.dollars_per_hour * (1 - SLACK):
                    made, moved = compose(facts, made.method, asked, variants, state.rates), True
                    report(made)
            if moved:
                break
    return made
