"""Which setting each GPU gets and which client which GPU: two GPUs at a time are solved best, until nothing improves.

For two GPUs all pairs of settings are bounded at once: clients that only one of the two can serve go there, those that
both can fill the more accurate one first. The best bounds are then made whole by subset sums over the clients' rates.
With one or two GPUs nothing better exists while everybody can be served (rates up to 1/4096 of a GPU).

With more GPUs there are two beginnings: clients of like budgets on the same pair, and a climb over the GPUs' models
with knapsacks from the most accurate model down. From the better one, pairs are solved anew over what their clients
and the unserved give.

Most requests served comes first, mean accuracy next.

Words owned here: *unit* (what rates are counted in), *worth* (of serving a request: served first, then accuracy).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from host.plan.adapt_tables import NONE, Booleans, Floats, Integers, Mapping, Tables

_SERVED = 1e3  # worth of serving a request at all, over that of its accuracy
_UNITS = 4_096  # at most this many units in the fastest setting's throughput, where rates have no common measure
_TRIES = 200  # pairs of settings that are made whole, at most
# What keeps a plan for 64 clients on 8 GPUs within 50 ms:
_SOLVES = 20  # pairs of GPUs that are solved after the beginning, at most; where there are more pairs, each once
_CLIMBED = 1_000  # GPUs that knapsacks are filled for, at most


def pairwise(tables: Tables) -> Mapping:
    """The best mapping that this search finds."""
    gpus, clients = len(tables.on_gpu), len(tables.rate)
    if not clients:
        return Mapping.empty(tables)
    units, limits = _units(tables)
    start = _paired(tables, units, limits)
    if gpus <= 2:
        return start
    starts = (start, _climbed(tables, units, limits))
    better = max(starts, key=lambda start: (round(start.served_rate(tables), 6), start.mean_accuracy(tables)))
    return _polished(tables, units, limits, better)


def _paired(tables: Tables, units: Integers, limits: Integers) -> Mapping:
    """GPUs by twos, clients of like needs on the same two."""
    gpus = len(tables.on_gpu)
    mapping = Mapping.empty(tables)
    # The clients that can use the most accurate models first; between equals, those with the most time.
    best = np.where(tables.eligible, tables.accuracy[tables.model][:, None], -1.0).max(axis=0)
    ranked = np.lexsort((-tables.budget.max(axis=1), -best))
    pairs = [(first, first + 1) for first in range(0, gpus - 1, 2)] + ([(gpus - 1,)] if gpus % 2 else [])
    for pair, members in zip(pairs, _split(ranked, tables.rate, [len(pair) for pair in pairs]), strict=True):
        _solve(tables, units, limits, pair, members, mapping)
    return mapping


def _polished(tables: Tables, units: Integers, limits: Integers, mapping: Mapping) -> Mapping:
    """Solve pairs of GPUs until none becomes better, or often enough."""
    waiting = dict.fromkeys(combinations(range(len(tables.on_gpu)), 2))
    # What becomes worth another look waits behind the rest: no pair is left out for it.
    for _ in range(max(_SOLVES, len(waiting))):
        couple = next(iter(waiting), None)
        if couple is None:
            break
        del waiting[couple]
        members = np.flatnonzero(np.isin(mapping.gpu, couple) | (mapping.gpu == NONE))
        if _solve(tables, units, limits, couple, members, mapping):
            others = (other for other in combinations(range(len(tables.on_gpu)), 2) if set(other) & set(couple))
            waiting.update(dict.fromkeys(other for other in others if other != couple))
    return mapping


def _climbed(tables: Tables, units: Integers, limits: Integers) -> Mapping:
    """The models of the GPUs, moved one at a time from the least accurate up as long as that is worth more."""
    knapsacks = _Knapsacks(tables, units, limits)
    state = (0,) * len(tables.on_gpu)
    top = len(tables.accuracy) - 1
    seen = {state: knapsacks.worth(state)}
    filled = len(state)
    while filled < _CLIMBED:
        kinds = {(model, tables.situation.gpus[gpu].batch_limit): gpu for gpu, model in enumerate(state)}
        others = {
            (*state[:gpu], min(max(model + move, 0), top), *state[gpu + 1 :])
            for (model, _), gpu in kinds.items()
            for move in (-1, 1, 2)
        }
        for other in sorted(others - seen.keys()):
            seen[other] = knapsacks.worth(other)
            filled += len(other)
        best = max(sorted(others), key=lambda other: seen[other])
        if seen[best] <= seen[state]:
            break
        state = best
    return knapsacks.mapping(state)


class _Knapsacks:
    """GPUs are filled from the most accurate model down, each with the most that it can serve."""

    def __init__(self, tables: Tables, units: Integers, limits: Integers) -> None:
        self._tables = tables
        self._units: list[int] = units.tolist()
        self._worth: list[float] = (_SERVED + tables.accuracy).tolist()
        # By model: the clients in order of falling budget, how many of its settings each has time for, the limits.
        self._models: list[tuple[list[int], list[int], Integers, list[int]]] = []
        for model in range(len(tables.accuracy)):
            settings = np.flatnonzero(tables.model == model)
            able = tables.eligible[settings].sum(axis=0)
            order = np.argsort(-tables.budget[:, model], kind="stable")
            order = order[able[order] > 0]
            self._models.append((order.tolist(), able.tolist(), settings, limits[settings].tolist()))
        self._offered = [
            [int((tables.on_gpu[gpu] & (tables.model == model)).sum()) for model in range(len(tables.accuracy))]
            for gpu in range(len(tables.on_gpu))
        ]

    def worth(self, state: tuple[int, ...]) -> float:
        """What the mapping of a state is worth."""
        filled = self._filled(state)
        return sum(self._worth[state[gpu]] * sum(self._units[client] for client in chosen) for gpu, chosen in filled)

    def mapping(self, state: tuple[int, ...]) -> Mapping:
        """The mapping of a state."""
        mapping = Mapping.empty(self._tables)
        for gpu, chosen in self._filled(state):
            if chosen:
                _, able, settings, _ = self._models[state[gpu]]
                most = min(self._offered[gpu][state[gpu]], *(able[client] for client in chosen))
                mapping.setting[gpu] = settings[most - 1]
                mapping.gpu[chosen] = gpu
        return mapping

    def _filled(self, state: tuple[int, ...]) -> list[tuple[int, list[int]]]:
        free = [True] * len(self._units)
        filled = []
        for gpu in sorted(range(len(state)), key=lambda gpu: -state[gpu]):
            chosen = self._fill(state[gpu], self._offered[gpu][state[gpu]], free)
            for client in chosen:
                free[client] = False
            filled.append((gpu, chosen))
        return filled

    def _fill(self, model: int, offered: int, free: list[bool]) -> list[int]:
        """The clients that use a model most: the one with the least budget decides which setting they share."""
        order, able, _, limits = self._models[model]
        reached, taken = [1], []  # bit s is set where some of those taken so far have s units together
        best = rows = 0
        for client in order:
            if free[client] and (most := min(able[client], offered)):
                bits = (reached[-1] | reached[-1] << self._units[client]) & ((1 << (limits[most - 1] + 1)) - 1)
                taken.append(client)
                reached.append(bits)
                if bits.bit_length() - 1 > best:
                    best, rows = bits.bit_length() - 1, len(taken)
        chosen = []
        for row in range(rows, 0, -1):
            if not reached[row - 1] >> best & 1:
                chosen.append(taken[row - 1])
                best -= self._units[taken[row - 1]]
        return chosen


def _solve(
    tables: Tables,
    units: Integers,
    limits: Integers,
    gpus: Sequence[int],
    members: Integers,
    mapping: Mapping,
) -> bool:
    """Solve one or two GPUs over the `members`, in place; returns whether that is better than what was."""
    if not members.size:
        return False
    worth = _SERVED + tables.accuracy[tables.model]
    before = sum(
        float(units[member]) * worth[mapping.setting[mapping.gpu[member]]]
        for member in members
        if mapping.gpu[member] != NONE
    )
    found = _best(tables, units[members], limits, worth, gpus, members, before)
    if found is None:
        return False
    mapping.gpu[members] = NONE
    for gpu, (setting, places) in zip(gpus, found, strict=False):  # of one GPU, the other is idle
        mapping.setting[gpu] = setting if places else NONE
        mapping.gpu[members[places]] = gpu
    return True


def _choices(tables: Tables, limits: Integers, members: Integers, on_gpu: Booleans) -> Integers:
    """Settings worth a look: with somebody eligible, and none of the same model that serves the same and is faster."""
    counts = tables.eligible[:, members].sum(axis=1)
    kept: list[int] = []
    for index in np.flatnonzero(on_gpu.any(axis=0) & (counts > 0) & (limits > 0)):
        if kept:
            last = kept[-1]
            # Who is eligible for the larger batch is for the smaller: as many are the same.
            same = tables.model[last] == tables.model[index] and counts[last] == counts[index]
            if same and (on_gpu[:, last] == on_gpu[:, index]).all():
                kept.pop()
        kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def _best(
    tables: Tables,
    units: Integers,
    limits: Integers,
    worth: Floats,
    gpus: Sequence[int],
    members: Integers,
    before: float,
) -> tuple[tuple[int, list[int]], tuple[int, list[int]]] | None:
    """For each of two GPUs its setting and the places of its members, if that is worth more than `before`."""
    chosen_from = _choices(tables, limits, members, tables.on_gpu[list(gpus)])
    # The last choice is to be idle; where there is one GPU only, the other has no other choice.
    choices = np.append(chosen_from, NONE)
    eligible = np.vstack([tables.eligible[np.ix_(chosen_from, members)], np.zeros((1, len(members)), dtype=bool)])
    limit, value = np.append(limits[chosen_from], 0), np.append(worth[chosen_from], 0.0)
    can = np.zeros((2, len(choices)), dtype=bool)
    can[: len(gpus), :-1] = tables.on_gpu[list(gpus)][:, chosen_from]
    can[:, -1] = True

    able = eligible.astype(float)
    own = able @ units
    only = own[:, None] - (able * units) @ able.T
    on_first = np.minimum(limit, own)[:, None]
    on_second = np.minimum(limit[None, :], own[None, :] - np.maximum(0.0, on_first - only))
    bounds = on_first * value[:, None] + on_second * value[None, :]
    # The first is the more accurate; either may be on either GPU, unless their batch limits say otherwise.
    fits = (can[0][:, None] & can[1][None, :]) | (can[1][:, None] & can[0][None, :])
    flat = np.where(fits & (value[:, None] >= value[None, :]), bounds, -1.0).ravel()
    best, found = before * (1 + 1e-12), None
    candidates = np.flatnonzero(flat > best)
    for place in candidates[np.argsort(-flat[candidates], kind="stable")][:_TRIES]:
        if flat[place] <= best:
            break
        row, column = divmod(int(place), len(choices))
        first_can, second_can = eligible[row], eligible[column]
        first = _fill(units, np.flatnonzero(first_can & ~second_can), int(limit[row]))
        first += _fill(units, np.flatnonzero(first_can & second_can), int(limit[row] - units[first].sum()))
        left = second_can.copy()
        left[first] = False
        second = _fill(units, np.flatnonzero(left), int(limit[column]))
        total = float(units[first].sum() * value[row] + units[second].sum() * value[column])
        if total > best:
            best = total
            pair = (int(choices[row]), first), (int(choices[column]), second)
            found = pair if can[0, row] and can[1, column] else (pair[1], pair[0])
    return found


def _fill(units: Integers, members: Integers, room: int) -> list[int]:
    """Those of the `members` whose units together come nearest to `room` without passing it (0/1 knapsack)."""
    sizes = [int(units[member]) for member in members]
    if sum(sizes) <= room:
        return [int(member) for member in members]
    if room <= 0:
        return []
    mask = (1 << (room + 1)) - 1
    reached = [1]  # after each member: bit s is set where some of them have s units together
    for size in sizes:
        reached.append((reached[-1] | reached[-1] << size) & mask)
    total, chosen = reached[-1].bit_length() - 1, []
    for place in range(len(sizes) - 1, -1, -1):
        if not reached[place] >> total & 1:
            chosen.append(int(members[place]))
            total -= sizes[place]
    return chosen


def _units(tables: Tables) -> tuple[Integers, Integers]:
    """Rates (clients), rounded up, and throughputs (settings), rounded down, in a unit that both can be counted in.

    A rate that no setting can carry counts as just above two of the largest throughputs: that changes no bound and no
    knapsack, and keeps the numbers small.
    """
    thousandths = np.rint(tables.rate * 1e3).astype(np.int64)
    fastest = float(tables.throughput.max())
    common = math.gcd(*(int(rate) for rate in thousandths)) / 1e3
    exact = bool(np.all(thousandths == tables.rate * 1e3)) and common > 0
    unit = common if exact and fastest / common <= _UNITS else fastest / _UNITS
    limits = np.floor(tables.throughput / unit + 1e-9).astype(np.int64)
    return np.minimum(np.ceil(tables.rate / unit - 1e-9), 2 * limits.max() + 1).astype(np.int64), limits


def _split(ranked: Integers, rate: Floats, shares: Sequence[int]) -> list[Integers]:
    """The ranked clients in runs whose rates are as the `shares`."""
    reached = np.cumsum(rate[ranked]) - rate[ranked] / 2
    edges = np.cumsum(shares[:-1]) / sum(shares) * rate.sum()
    return np.split(ranked, np.searchsorted(reached, edges))
