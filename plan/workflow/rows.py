"""The rows of the accuracies in the exact search: what no plan with each of them is below, and which is looked at next.

A row *eases* another if each of its variants serves no less on every worker and sends no larger messages: its bound
holds for the other one too, so most rows are never looked at.

Words owned here: *eases*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesight.plan.workflow.cost import Covers, Facts
from edgesight.plan.workflow.problem import SLACK, AccuracyRow, WorkflowPlan


class Rows:
    """Rows of the accuracies, the dollars an hour that no plan with them is below, and which are still to be solved."""

    def __init__(self, facts: Facts, rows: Sequence[AccuracyRow], covers: Covers) -> None:
        """Of `rows`, at least one; their bounds begin at what `covers` say."""
        self._operators = list(rows[0].variants)
        self._eases = {operator: _eases(facts, operator) for operator in self._operators}
        numbers = {
            operator: {variant: place for place, variant in enumerate(facts.variants[operator])}
            for operator in self._operators
        }

        def eased(row: AccuracyRow) -> int:
            return sum(int(self._eases[name][numbers[name][variant]].sum()) for name, variant in row.variants.items())

        # Of rows with one bound the first is taken, which must be the one that eases the others.
        self.rows = sorted(rows, key=lambda row: (covers.least(row), -eased(row)))
        self._variants = np.array(
            [[numbers[operator][row.variants[operator]] for operator in self._operators] for row in self.rows],
            dtype=int,
        )
        self._accuracies = np.array([row.accuracy for row in self.rows])
        self.bounds = np.array([covers.least(row) for row in self.rows])
        self.open = np.ones(len(self.rows), dtype=bool)

    def next(self, least: float, made: WorkflowPlan | None) -> int | None:
        """The row with the least bound that may have a plan cheaper than `least`, or one as cheap but more accurate."""
        wins = self.bounds < least * (1 - SLACK)
        if made is not None:
            wins |= (self.bounds <= least * (1 + SLACK)) & (self._accuracies > (made.accuracy or 0.0))
        bounds = np.where(self.open & wins, self.bounds, math.inf)
        place = int(bounds.argmin())
        return place if bounds[place] < math.inf else None

    def near(self, variants: Mapping[str, str]) -> list[int]:
        """The row of `variants`, then those that differ from it in one operator, the least bound first."""
        apart = np.array([sum(row.variants[name] != variants[name] for name in row.variants) for row in self.rows])
        close = np.flatnonzero(apart <= 1)
        return [int(place) for place in close[np.lexsort((self.bounds[close], apart[close]))]]

    def raise_bounds(self, place: int, bound: float) -> None:
        """No plan with the row at `place`, nor with any that it eases, is below `bound`."""
        eased = np.ones(len(self.rows), dtype=bool)
        for column, operator in enumerate(self._operators):
            eased &= self._eases[operator][self._variants[place, column], self._variants[:, column]]
        self.bounds[eased] = np.maximum(self.bounds[eased], bound)


def _eases(facts: Facts, operator: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each two variants of the operator whether the first serves no less on any worker, its messages no larger."""
    burdens = []
    for variant in facts.variants[operator]:
        burden = [-facts.capacity(worker, operator, variant) for worker in facts.workers]
        for edge in facts.workflow.edges:
            if edge.source == operator:
                burden += [edge.size(variant, other) or 0.0 for other in facts.variants[edge.target]]
            elif edge.target == operator:
                burden += [edge.size(other, variant) or 0.0 for other in facts.variants.get(edge.source, (None,))]
        burdens.append(burden)
    each = np.array(burdens)
    return np.array(np.all(each[:, None, :] <= each[None, :, :], axis=2))
