"""Which setting each GPU gets and which client which GPU: two GPUs at a time are solved best, until nothing improves.

For two GPUs all pairs of settings are bounded at once: clients that only one of the two can serve go there, those that
both can fill the more accurate one first. The best bounds are then made whole by subset sums over the clients' rates.
With one or two GPUs nothing better exists while everybody can be served (rates up to 1/4096 of a GPU).

With more GPUs there are two beginnings: clients of like budgets on the same pair, and a climb over the GPUs' models
with knapsacks from the most accurate model down. From the better one, pairs are solved anew over what their clients
and the unserved give. In the time that is left the models are annealed from there on, and pairs solved once more.

Most requests served comes first, mean accuracy next.

Words owned here: *unit* (what rates are counted in), *worth* (of serving a request: served first, then accuracy).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from edgesight.plan.adapt.models import SERVED, Knapsacks, annealed, climbed
from edgesight.plan.adapt.tables import NONE, Booleans, Floats, Integers, Mapping, Tables

_UNITS = 4_096  # at most this many units in the fastest setting's throughput, where rates have no common measure
_TRIES = 200  # pairs of settings that are made whole, at most
# What keeps a round of the scheduler for 64 clients on 8 GPUs within 50 ms:
_SOLVES = 20  # pairs of GPUs that are solved after the beginning, at most; where there are more pairs, each once
_CLIMBED = 1_000  # GPUs that knapsacks are filled for, at most
_ANNEALED = 1_500  # the same, where no clock is looked at
_MOST_MEMBERS = 4_096  # that a pair is solved over: where so many are unserved, one pair does not help
_FILLING = 0.5  # share of the time that the beginning may take


def pairwise(tables: Tables, *, until: float | None = None, seed: int = 0) -> Mapping:
    """The best mapping that this search finds until that moment (of `time.monotonic`), or sooner.

    `None` looks at no clock, and anneals for a stated number of steps: the same is found every time, and as soon as a
    round of the scheduler needs it.
    """
    gpus, clients = len(tables.on_gpu), len(tables.rate)
    if not clients:
        return Mapping.empty(tables)
    begun = time.monotonic()
    units, limits = _units(tables)
    half = None if until is None else begun + _FILLING * max(0.0, until - begun)
    start = _paired(tables, units, limits, half)
    if gpus <= 2:
        return start
    knapsacks = Knapsacks(tables, units, limits)
    state = climbed(knapsacks, _CLIMBED, half)
    if until is not None:  # for many GPUs the climb is long, and one model for all a better place to begin
        alike = ((model,) * gpus for model in range(knapsacks.top + 1))
        state = max([state, *alike], key=knapsacks.worth)
    best = _better(tables, start, knapsacks.mapping(state))
    best = _polished(tables, units, limits, best, half)
    # What pairs have made of it may be no state's filling; its models are where annealing begins, or the climb's.
    begin = max(knapsacks.models_of(best), state, key=knapsacks.worth)
    state = annealed(knapsacks, begin, np.random.default_rng(seed), until, _ANNEALED if until is None else None)
    found = knapsacks.mapping(state)
    return _better(tables, best, found if until is None else _polished(tables, units, limits, found, until))


def _better(tables: Tables, *mappings: Mapping) -> Mapping:
    return max(mappings, key=lambda one: (round(one.served_rate(tables), 6), one.mean_accuracy(tables)))


def _paired(tables: Tables, units: Integers, limits: Integers, until: float | None) -> Mapping:
    """GPUs by twos, clients of like needs on the same two; those that the time does not suffice for stay idle."""
    gpus = len(tables.on_gpu)
    mapping = Mapping.empty(tables)
    # The clients that can use the most accurate models first; between equals, those with the most time.
    best = np.where(tables.eligible, tables.accuracy[tables.model][:, None], -1.0).max(axis=0)
    ranked = np.lexsort((-tables.budget.max(axis=1), -best))
    pairs = [(first, first + 1) for first in range(0, gpus - 1, 2)] + ([(gpus - 1,)] if gpus % 2 else [])
    for pair, members in zip(pairs, _split(ranked, tables.rate, [len(pair) for pair in pairs]), strict=True):
        if _over(until):
            break
        _solve(tables, units, limits, pair, members, mapping)
    return mapping


def _polished(
    tables: Tables, units: Integers, limits: Integers, mapping: Mapping, until: float | None = None
) -> Mapping:
    """Solve pairs of GPUs until none becomes better, or often enough."""
    gpus = len(tables.on_gpu)
    pairs = gpus * (gpus - 1) // 2
    # What becomes worth another look waits behind the rest: no pair is left out for it.
    fresh, again = combinations(range(gpus), 2), dict[tuple[int, int], None]()
    for _ in range(max(_SOLVES, pairs)):
        couple = next(fresh, None) or next(iter(again), None)
        if couple is None or _over(until):
            break
        again.pop(couple, None)
        members = np.flatnonzero(np.isin(mapping.gpu, couple) | (mapping.gpu == NONE))
        if len(members) <= _MOST_MEMBERS and _solve(tables, units, limits, couple, members, mapping):
            again.update(dict.fromkeys(other for other in _touching(couple, gpus) if other != couple))
    return mapping


def _touching(couple: tuple[int, int], gpus: int) -> Iterator[tuple[int, int]]:
    """All pairs of GPUs that one of the two is in."""
    for gpu in couple:
        for other in range(gpus):
            if other != gpu:
                yield (min(gpu, other), max(gpu, other))


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


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
    worth = SERVED + tables.accuracy[tables.model]
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
