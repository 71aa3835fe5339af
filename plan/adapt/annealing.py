"""The authors' method: simulated annealing over the models that the GPUs run, clients mapped to them by knapsacks.

Jellyfish (RTSS 2022), sections 4.3 and 4.4. Models, from the most accurate down, take the clients whose rates together
come nearest to what they can run (0/1 knapsack, rates in steps of 5 frames a second), those with the largest budgets
first, since the smallest budget decides the batch. Annealing first degrades models at random until every client is
served, then moves them up and down for accuracy.

Words owned here: *state* (the model of each GPU).
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from edgesight.plan.adapt.tables import NONE, Integers, Mapping, Tables

STEP = 5.0  # frames a second that the knapsack counts in
HOTTEST, COLDEST, COOLING = 0.0125, 0.0005, 0.99  # temperatures, and the factor from one to the next

State = tuple[int, ...]


class _Look(NamedTuple):
    mapping: Mapping
    served: float  # share of the clients that any GPU could serve
    accuracy: float  # mean per request

    def better(self, other: _Look, upgrading: bool) -> bool:
        if upgrading:
            return self.accuracy > other.accuracy and self.served >= 1
        return self.served > other.served

    def accepted(self, other: _Look, upgrading: bool, temperature: float, chance: float) -> bool:
        """Whether the search goes on from here rather than from `other`."""
        if self.better(other, upgrading):
            return True
        if upgrading and self.served < 1:
            return False
        worse = abs(self.accuracy - other.accuracy if upgrading else self.served - other.served)
        return math.exp(-worse / temperature) > chance


def annealing(tables: Tables, seed: int = 0, until: float | None = None) -> Mapping:
    """The mapping that annealing ends with; it begins at the most accurate model on every GPU.

    It also ends at the moment `until` (of `time.monotonic`), with the best so far.
    """
    generator = np.random.default_rng(seed)
    top = len(tables.accuracy) - 1
    offered = np.logical_or.reduce(tables.on_gpu)
    reachable = int(tables.eligible[offered].any(axis=0).sum())
    known: dict[State, _Look] = {}

    def look(state: State) -> _Look:
        if state not in known:
            mapping = knapsacks(tables, state, until)
            served = int((mapping.gpu != NONE).sum()) / reachable if reachable else 1.0
            known[state] = _Look(mapping, served, mapping.mean_accuracy(tables))
        return known[state]

    state: State = (top,) * len(tables.on_gpu)
    for upgrading in (False, True):
        best, temperature = state, HOTTEST
        # Degrading ends when all are served; upgrading has no sense before.
        while temperature > COLDEST and (look(best).served >= 1) == upgrading:
            if until is not None and time.monotonic() >= until:
                break
            moves = generator.integers(-1, 2 if upgrading else 1, len(state))
            other = tuple(min(max(model + int(move), 0), top) for model, move in zip(state, moves, strict=True))
            if look(other).better(look(best), upgrading):
                best = other
            if look(other).accepted(look(state), upgrading, temperature, generator.random()):
                state = other
            temperature *= COOLING
        state = best
    return look(state).mapping


def knapsacks(tables: Tables, state: State, until: float | None = None) -> Mapping:
    """Map clients to GPUs that run the models of `state`, the most accurate model first, until that moment at most."""
    mapping = Mapping.empty(tables)
    left = np.arange(len(tables.rate))
    for gpu, model in sorted(enumerate(state), key=lambda entry: -entry[1]):
        if until is not None and time.monotonic() >= until:
            break
        settings = np.flatnonzero((tables.model == model) & tables.on_gpu[gpu])
        left = left[np.argsort(-tables.budget[left, model], kind="stable")]
        chosen, setting = _knapsack(tables, settings, left)
        if chosen.size:
            mapping.setting[gpu] = setting
            mapping.gpu[chosen] = gpu
            left = left[~np.isin(left, chosen)]
    return mapping


def _knapsack(tables: Tables, settings: Integers, clients: Integers) -> tuple[Integers, int]:
    """Of the `clients`, in order of falling budget, those that use one model best, and the setting for them."""
    steps = np.ceil(tables.rate[clients] / STEP - 1e-9).astype(int)
    room = (tables.throughput[settings] // STEP).astype(int)
    # The largest batch that each client has time for; the last client taken has the least time, and decides.
    able = tables.eligible[np.ix_(settings, clients)]
    batches = able.sum(axis=0)
    if not batches.any():
        return clients[:0], NONE
    most = int(room[batches.max() - 1])
    values = np.full((len(clients) + 1, most + 1), -1, dtype=int)  # steps taken, by clients looked at and room
    values[0] = 0
    best, cell = 0, (0, 0)
    for row, (size, batch) in enumerate(zip(steps, batches, strict=True), start=1):
        if not batch:
            break
        here = int(room[batch - 1])
        values[row, : here + 1] = values[row - 1, : here + 1]
        if size <= here:
            taken = values[row - 1, : here + 1 - size] + size
            values[row, size : here + 1] = np.maximum(values[row, size : here + 1], taken)
            place = int(values[row, : here + 1].argmax())
            if values[row, place] > best and values[row, place] > values[row - 1, place]:
                best, cell = int(values[row, place]), (row, place)
    chosen = []
    row, place = cell
    while row > 0:
        if values[row, place] != values[row - 1, place]:
            chosen.append(int(clients[row - 1]))
            place -= int(steps[row - 1])
        row -= 1
    if not chosen:
        return clients[:0], NONE
    members = np.array(chosen, dtype=np.int64)
    usable = tables.eligible[np.ix_(settings, members)].all(axis=1)
    fast = usable & (tables.throughput[settings] >= tables.rate[members].sum())
    return members, int(settings[np.flatnonzero(fast)[0]])
