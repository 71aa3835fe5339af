"""Simple methods to measure others against: one model for all, and each client for itself."""

from __future__ import annotations

import time

import numpy as np

from edgesight.plan.adapt.tables import NONE, Mapping, Tables


def fixed(tables: Tables, model: str | None = None, until: float | None = None) -> Mapping:
    """All GPUs run one model; `model` by name, else the one that serves most requests, then the most accurate.

    Clients that are not looked at before the moment `until` (of `time.monotonic`) are not served.
    """
    names = [tables.situation.profile.models[index].name for index in tables.order]
    tried = range(len(names)) if model is None else [names.index(model)]
    mappings = [_filled(tables, place, until) for place in tried]
    return max(mappings, key=lambda mapping: (round(mapping.served_rate(tables), 6), mapping.mean_accuracy(tables)))


def greedy(tables: Tables, until: float | None = None) -> Mapping:
    """Clients in the order given take what is most accurate for themselves of what those before them left.

    Clients that are not looked at before the moment `until` (of `time.monotonic`) are not served.
    """
    mapping = Mapping.empty(tables)
    best_first = np.lexsort((-tables.throughput, -tables.accuracy[tables.model]))
    for client in range(len(tables.rate)):
        for setting in best_first:
            if until is not None and time.monotonic() >= until:
                return mapping
            gpu = _place(tables, mapping, client, int(setting))
            if gpu != NONE:
                mapping.setting[gpu] = setting
                mapping.gpu[client] = gpu
                break
    return mapping


def _filled(tables: Tables, model: int, until: float | None) -> Mapping:
    mapping = Mapping.empty(tables)
    settings = np.flatnonzero(tables.model == model)
    for client in np.argsort(-tables.budget[:, model], kind="stable"):
        for setting in settings[::-1]:
            if until is not None and time.monotonic() >= until:
                return mapping
            gpu = _place(tables, mapping, int(client), int(setting))
            if gpu != NONE:
                mapping.setting[gpu] = setting
                mapping.gpu[client] = gpu
                break
    return mapping


def _place(tables: Tables, mapping: Mapping, client: int, setting: int) -> int:
    """A GPU that can run `setting` for the client and for all that it has already; an idle one last."""
    if not tables.eligible[setting, client]:
        return NONE
    for gpu in sorted(range(len(mapping.setting)), key=lambda gpu: mapping.setting[gpu] == NONE):
        now = mapping.setting[gpu]
        if (now != NONE and tables.model[now] != tables.model[setting]) or not tables.on_gpu[gpu, setting]:
            continue
        mine = mapping.gpu == gpu
        rate = tables.rate[mine].sum() + tables.rate[client]
        if rate <= tables.throughput[setting] and tables.eligible[setting, mine].all():
            return gpu
    return NONE
