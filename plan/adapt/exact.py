"""The best mapping there is, by mixed-integer programming: proven, or with a bound on what could be better.

x[client, GPU, model] = 1 where a client uses a model on a GPU, z[GPU, setting] = 1 where the GPU runs it. A client uses
a model only where the GPU runs it in a batch that the client has time for; rates stay within the setting's throughput.
First everybody must be served, for the highest mean accuracy; where that can't be, the most requests are served, and of
such mappings the most accurate is found.

Needs SciPy (HiGHS), which only this method loads.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from edgesight.plan.adapt.pairwise import pairwise
from edgesight.plan.adapt.tables import NONE, Floats, Mapping, Tables
from edgesight.plan.deadline import best_within

_BEGINNING = 0.2  # share of the time that our own search has, whose mapping is kept where the solver has none better
_SOLVING = 0.8  # share of what is left that the solver is told
_FEW_USES = 100  # that the solver is done with in a moment
_MOST_USES = 50_000  # a program of more is not begun: the solver's preparation alone would pass the limit
_ROUNDING = 1e-5  # frames a second: what the solver's tolerance may take from a rate that was reached before


def exact(tables: Tables, until: float) -> tuple[Mapping, float]:
    """The best mapping, and the mean accuracy that no mapping of as many requests passes.

    At the moment `until` (of `time.monotonic`) it is the best so far: the solver's or that of our own search.
    """
    begun = time.monotonic()
    if len(tables.rate) * tables.on_gpu.shape[0] * len(tables.accuracy) > _MOST_USES:
        return pairwise(tables, until=until), 1.0
    known = pairwise(tables, until=begun + _BEGINNING * (until - begun))
    uses = [
        (client, gpu, model)
        for client in range(len(tables.rate))
        for gpu in range(len(tables.on_gpu))
        for model in range(len(tables.accuracy))
        if (tables.eligible[:, client] & tables.on_gpu[gpu] & (tables.model == model)).any()
    ]

    def solve(report: Callable[[tuple[Mapping, float]], None]) -> None:
        # The solver ends a little before it would be ended, so that its last mapping is not lost.
        report(_solved(tables, uses, known, time.monotonic() + _SOLVING * (until - time.monotonic())))

    return best_within(until, solve, small=len(uses) <= _FEW_USES) or (known, 1.0)


def _solved(tables: Tables, uses: list[tuple[int, int, int]], known: Mapping, until: float) -> tuple[Mapping, float]:
    """The solver's mapping, or `known` where that is better, and the bound."""
    total = float(tables.rate.sum())
    if not uses:
        return Mapping.empty(tables), 0.0
    program = _Program(tables, uses)
    rates = np.array([tables.rate[client] for client, _, _ in uses])
    gains = rates * np.array([tables.accuracy[model] for _, _, model in uses]) / total
    if len({client for client, _, _ in uses}) == len(tables.rate):
        found = program.solve(gains, until, everybody=True)
        if found is not None:
            return _better(tables, known, found[0]), found[1]
    served = program.solve(rates, until)
    if served is None:
        return known, 1.0
    known = _better(tables, known, served[0])
    least = known.served_rate(tables) - _ROUNDING
    # The bound is on mappings of as many requests: it says nothing where more may be served than by this one.
    most = max(served[1], least) <= least + 2 * _ROUNDING
    found = program.solve(gains, until, rates=rates, least=least)
    if found is None:
        return known, 1.0
    return _better(tables, known, found[0]), found[1] if most else 1.0


def _better(tables: Tables, *mappings: Mapping) -> Mapping:
    """The one that serves most requests, then the most accurate; of equal ones the last."""
    return max(reversed(mappings), key=lambda one: (round(one.served_rate(tables), 4), one.mean_accuracy(tables)))


class _Program:
    """The variables are the uses, then the settings of each GPU."""

    def __init__(self, tables: Tables, uses: list[tuple[int, int, int]]) -> None:
        self.tables, self.uses = tables, uses
        self.places = [
            (gpu, int(setting)) for gpu in range(len(tables.on_gpu)) for setting in np.flatnonzero(tables.on_gpu[gpu])
        ]
        self.rows: list[dict[int, float]] = []
        self.most: list[float] = []
        self.by_client: dict[int, list[int]] = defaultdict(list)
        by_pair: dict[tuple[int, int], list[int]] = defaultdict(list)
        first = len(uses)
        settings: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for column, (gpu, setting) in enumerate(self.places, start=first):
            settings[gpu, int(tables.model[setting])].append((column, setting))
        for column, (client, gpu, model) in enumerate(uses):
            self.by_client[client].append(column)
            by_pair[gpu, model].append(column)
            open_ = {place: -1.0 for place, setting in settings[gpu, model] if tables.eligible[setting, client]}
            self._add({column: 1.0, **open_}, 0.0)
        for gpu in range(len(tables.on_gpu)):
            mine = [column for column, (owner, _) in enumerate(self.places, start=first) if owner == gpu]
            self._add(dict.fromkeys(mine, 1.0), 1.0)
        for pair, columns in by_pair.items():
            row = {column: float(tables.rate[uses[column][0]]) for column in columns}
            row.update({place: -float(tables.throughput[setting]) for place, setting in settings[pair]})
            self._add(row, 0.0)
        self._alike(first)

    def _alike(self, first: int) -> None:
        """GPUs of one batch limit may be exchanged: of all their orders only one is looked at."""
        limits = [gpu.batch_limit for gpu in self.tables.situation.gpus]
        for gpu in range(len(limits) - 1):
            if limits[gpu] == limits[gpu + 1]:
                row = {}
                for column, (owner, setting) in enumerate(self.places, start=first):
                    if owner in (gpu, gpu + 1):
                        row[column] = float(setting + 1) * (1 if owner == gpu else -1)
                self._add(row, 0.0)

    def _add(self, row: dict[int, float], most: float) -> None:
        self.rows.append(row)
        self.most.append(most)

    def solve(
        self,
        gains: Floats,
        until: float,
        *,
        everybody: bool = False,
        rates: Floats | None = None,
        least: float = 0.0,
    ) -> tuple[Mapping, float] | None:
        """The mapping of the largest gain and the bound on it; None where there is none, or the time is over."""
        limit_s = until - time.monotonic()
        if limit_s <= 0:
            return None
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        rows, most = list(self.rows), list(self.most)
        lower = [-np.inf] * len(rows)
        for columns in self.by_client.values():
            rows.append(dict.fromkeys(columns, 1.0))
            most.append(1.0)
            lower.append(1.0 if everybody else 0.0)
        if rates is not None:
            rows.append(dict(enumerate(rates)))
            most.append(np.inf)
            lower.append(least)
        width = len(self.uses) + len(self.places)
        entries = [(row, column, value) for row, values in enumerate(rows) for column, value in values.items()]
        number, column, value = zip(*entries, strict=True)
        matrix = csr_array((value, (number, column)), shape=(len(rows), width))
        result = milp(
            c=np.concatenate([-gains, np.zeros(len(self.places))]),
            constraints=LinearConstraint(matrix, np.array(lower), np.array(most)),
            integrality=np.ones(width, dtype=np.int64),
            bounds=Bounds(0, 1),
            options={"time_limit": limit_s, "mip_rel_gap": 0.0},
        )
        if result.x is None:
            return None
        chosen = np.flatnonzero(result.x > 0.5)
        mapping = Mapping.empty(self.tables)
        for place in chosen[chosen >= len(self.uses)]:
            gpu, setting = self.places[place - len(self.uses)]
            mapping.setting[gpu] = setting
        for place in chosen[chosen < len(self.uses)]:
            client, gpu, _ = self.uses[place]
            mapping.gpu[client] = gpu
        mapping.setting[[gpu for gpu in range(len(mapping.setting)) if not (mapping.gpu == gpu).any()]] = NONE
        bound = result.mip_dual_bound
        return mapping, float(-bound) if bound is not None else float(-result.fun)
