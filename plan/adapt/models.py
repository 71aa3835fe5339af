"""The models that GPUs run, moved for the better: knapsacks say what a choice of models is worth.

A *state* gives each GPU a model. GPUs are filled from the most accurate model down, each with the clients that use it
most (0/1 knapsack over their rates). Climbing moves one GPU's model at a time as long as that is worth more; annealing
(after Jellyfish, RTSS 2022, section 4.4) also goes on from states that are worth less, the less the colder it is. It
begins where it is told to, cools down again and again from the best state so far, and ends when that has long brought
nothing, or at the moment that it is given.

Words owned here: *state*, *cycle* (one cooling).
"""

from __future__ import annotations

import math
import time

import numpy as np

from edgesight.plan.adapt.tables import NONE, Integers, Mapping, Tables

SERVED = 1e3  # worth of serving a request at all, over that of its accuracy
_HOTTEST, _COLDEST, _STEPS = 0.0125, 0.0005, 320  # in mean accuracy; the authors' temperatures and steps
_IDLE = 5  # cycles without a gain after which annealing ends
_KNOWN = 200_000  # states whose worth is kept

State = tuple[int, ...]


class Knapsacks:
    """GPUs are filled from the most accurate model down, each with the most that it can serve."""

    def __init__(self, tables: Tables, units: Integers, limits: Integers) -> None:
        """`units` (clients) and `limits` (settings) count rates and throughputs in one unit."""
        self._tables = tables
        self._units: list[int] = units.tolist()
        self._worth: list[float] = (SERVED + tables.accuracy).tolist()
        self.total = float(sum(self._units)) or 1.0
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
        self.top = len(tables.accuracy) - 1
        self.kinds = [gpu.batch_limit for gpu in tables.situation.gpus]
        self._known: dict[State, float] = {}

    def worth(self, state: State) -> float:
        """What the mapping of a state is worth, in units times (`SERVED` + accuracy)."""
        found = self._known.get(state)
        if found is None:
            filled = self._filled(state)
            units = self._units
            found = sum(self._worth[state[gpu]] * sum(units[client] for client in chosen) for gpu, chosen in filled)
            if len(self._known) < _KNOWN:
                self._known[state] = found
        return found

    def models_of(self, mapping: Mapping) -> State:
        """The state that a mapping's GPUs are in; idle ones run the least accurate model."""
        return tuple(0 if setting == NONE else int(self._tables.model[setting]) for setting in mapping.setting)

    def mapping(self, state: State) -> Mapping:
        """The mapping of a state."""
        mapping = Mapping.empty(self._tables)
        for gpu, chosen in self._filled(state):
            if chosen:
                _, able, settings, _ = self._models[state[gpu]]
                most = min(self._offered[gpu][state[gpu]], *(able[client] for client in chosen))
                mapping.setting[gpu] = settings[most - 1]
                mapping.gpu[chosen] = gpu
        return mapping

    def _filled(self, state: State) -> list[tuple[int, list[int]]]:
        free = [True] * len(self._units)
        heads = [0] * len(self._models)  # by model: the clients before it are taken
        filled = []
        for gpu in sorted(range(len(state)), key=lambda gpu: -state[gpu]):
            chosen = self._fill(state[gpu], self._offered[gpu][state[gpu]], free, heads)
            for client in chosen:
                free[client] = False
            filled.append((gpu, chosen))
        return filled

    def _fill(self, model: int, offered: int, free: list[bool], heads: list[int]) -> list[int]:
        """The clients that use a model most: the one with the least budget decides which setting they share."""
        order, able, _, limits = self._models[model]
        units = self._units
        head, end = heads[model], len(order)
        while head < end and not free[order[head]]:
            head += 1
        heads[model] = head
        reached, taken = [1], []  # bit s is set where some of those taken so far have s units together
        now, best, rows = 1, 0, 0
        for place in range(head, end):
            client = order[place]
            if not free[client]:
                continue
            most = able[client]
            if most > offered:
                most = offered
            if not most:
                continue
            limit = limits[most - 1]
            if best >= limit:  # those to come have no more time, so none of them allows more
                break
            now = (now | now << units[client]) & ((1 << (limit + 1)) - 1)
            taken.append(client)
            reached.append(now)
            most_units = now.bit_length() - 1
            if most_units > best:
                best, rows = most_units, len(taken)
        chosen = []
        for row in range(rows, 0, -1):
            if not reached[row - 1] >> best & 1:
                chosen.append(taken[row - 1])
                best -= units[taken[row - 1]]
        return chosen


def climbed(knapsacks: Knapsacks, most: int, until: float | None = None) -> State:
    """The models of the GPUs, moved one at a time from the least accurate up as long as that is worth more.

    At most `most` GPUs are filled on the way, and none after the moment `until` (of `time.monotonic`).
    """
    state = (0,) * len(knapsacks.kinds)
    seen = {state: knapsacks.worth(state)}
    filled = len(state)
    while filled < most and not (until is not None and time.monotonic() >= until):
        kinds = {(model, knapsacks.kinds[gpu]): gpu for gpu, model in enumerate(state)}
        others = {
            (*state[:gpu], min(max(model + move, 0), knapsacks.top), *state[gpu + 1 :])
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
    return state


def annealed(
    knapsacks: Knapsacks, begin: State, rng: np.random.Generator, until: float | None, most: int | None = None
) -> State:
    """The state of most worth that annealing from `begin` on finds until the moment `until` (of `time.monotonic`).

    With `most` there is one cycle, in which so many GPUs are filled at most: it ends without a clock.
    """
    gpus, top = len(begin), knapsacks.top
    scale = 1 / knapsacks.total
    steps, cycles = (_STEPS, _IDLE) if most is None else (max(1, min(_STEPS, most // gpus)), 1)
    cooling = (_COLDEST / _HOTTEST) ** (1 / steps)
    best, worth_best = begin, knapsacks.worth(begin)
    idle = 0
    while idle < cycles:
        idle += 1
        state, worth, temperature = best, worth_best, _HOTTEST
        for _ in range(steps):
            if until is not None and time.monotonic() >= until:
                return best
            # Mostly one or two moves: as many as it takes from one state to another that is like it.
            count = min(gpus, 1 + int(rng.geometric(0.6)))
            other = list(state)
            for gpu in rng.integers(0, gpus, count).tolist():
                other[gpu] = min(max(other[gpu] + (1 if rng.random() < 0.5 else -1), 0), top)
            found = knapsacks.worth(tuple(other))
            if found >= worth or math.exp((found - worth) * scale / temperature) > rng.random():
                state, worth = tuple(other), found
                if found > worth_best * (1 + 1e-12):
                    best, worth_best = state, found
                    idle = 0 if most is None else idle
            temperature *= cooling
    return best
