"""A situation as arrays, a mapping of clients to GPUs, and the plan that a mapping is; also what a plan breaks.

Words owned here: *setting* (a model with the batch size that it runs at most), *mapping* (the setting of each GPU and
the GPU of each client).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.plan.adapt.data import (
    AdaptPlan,
    Client,
    ClientPlan,
    Gpu,
    GpuPlan,
    Model,
    Situation,
    Unserved,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

NONE = -1  # no setting, no GPU
_SLACK = 1e-6  # what rounding may add to a rate, relative


@dataclass(frozen=True)
class Tables:
    """A situation's numbers. Models are in the order of rising accuracy; settings by model, then by batch size.

    A larger batch of the same model that is no faster is left out: nobody needs it. One that was measured to take less
    time than a smaller one counts with the time of that.
    """

    situation: Situation
    order: Integers  # (models): the index of each in the profile
    accuracy: Floats  # (models)
    rate: Floats  # (clients): frames a second
    budget: Floats  # (clients, models): ms
    allowed: Booleans  # (clients, models): budget left, and accurate enough for the client
    model: Integers  # (settings)
    batch: Integers  # (settings)
    latency: Floats  # (settings): ms
    throughput: Floats  # (settings): frames a second that may come
    eligible: Booleans  # (settings, clients): the budget is at least twice the latency
    on_gpu: Booleans  # (gpus, settings): within the GPU's batch limit

    @classmethod
    def of(cls, situation: Situation) -> Tables:
        """The tables of a situation."""
        models = situation.profile.models
        order = sorted(range(len(models)), key=lambda index: (models[index].accuracy, -models[index].input_px))
        ranked = [models[index] for index in order]
        clients = situation.clients
        sizes = np.array([situation.profile.frame_bytes[model.input_px] for model in ranked], dtype=float)
        rate = np.array([client.rate for client in clients], dtype=float)
        mbps = np.array([client.link.mbps for client in clients], dtype=float)
        transfer = sizes[None, :] * 8 / (mbps[:, None] * 1e3)
        left = np.array(
            [client.latency_ms - client.link.round_trip_ms - situation.overhead_ms for client in clients], dtype=float
        )
        carried = transfer * rate[:, None] <= 1e3
        budget = np.where(carried, np.maximum(0.0, left[:, None] - transfer), 0.0)
        accuracy = np.array([model.accuracy for model in ranked])
        least = np.array([client.slo.accuracy or 0.0 for client in clients], dtype=float)
        settings: list[tuple[int, int, float, float]] = []
        for place, model in enumerate(ranked):
            fastest = slowest = 0.0
            for size, measured in sorted(model.latency_ms.items()):
                slowest = max(slowest, measured)
                if size * 1e3 / slowest > fastest:
                    fastest = size * 1e3 / slowest
                    settings.append((place, size, slowest, fastest))
        columns = list(zip(*settings, strict=True))
        which = np.array(columns[0], dtype=np.int64)
        batch = np.array(columns[1], dtype=np.int64)
        latency = np.array(columns[2], dtype=float)
        allowed = (budget > 0) & (accuracy[None, :] >= least[:, None])
        return cls(
            situation=situation,
            order=np.array(order, dtype=np.int64),
            accuracy=accuracy,
            rate=rate,
            budget=budget,
            allowed=allowed,
            model=which,
            batch=batch,
            latency=latency,
            throughput=np.array(columns[3], dtype=float) * situation.load_limit,
            eligible=allowed[:, which].T & (2 * latency[:, None] <= budget[:, which].T),
            on_gpu=np.array([batch <= gpu.batch_limit for gpu in situation.gpus]),
        )


@dataclass(frozen=True)
class Mapping:
    """The setting of each GPU and the GPU of each client, `NONE` where there is none."""

    setting: Integers  # (gpus)
    gpu: Integers  # (clients)

    @classmethod
    def empty(cls, tables: Tables) -> Mapping:
        """Nobody is served."""
        return cls(np.full(len(tables.on_gpu), NONE), np.full(len(tables.rate), NONE))

    def served_rate(self, tables: Tables) -> float:
        """Requests a second that are served."""
        return float(tables.rate[self.gpu != NONE].sum())

    def mean_accuracy(self, tables: Tables) -> float:
        """Mean accuracy per request, those of unserved clients counted as 0."""
        total = float(tables.rate.sum())
        served = np.flatnonzero(self.gpu != NONE)
        models = tables.model[self.setting[self.gpu[served]]]
        return float((tables.rate[served] * tables.accuracy[models]).sum() / total) if total else 0.0


def as_plan(
    tables: Tables, mapping: Mapping, method: str, planning_ms: float, *, late: bool = False, **more: Any
) -> AdaptPlan:
    """The plan that a mapping is: GPUs exchanged so that little is loaded, batches as large as the budgets allow.

    `late`: the search was ended by its time limit, so that who is not served might have been.
    """
    situation = tables.situation
    mapping = _least_loading(tables, mapping)
    models = situation.profile.models
    ranked = sorted(models, key=lambda model: (model.accuracy, -model.input_px))
    networks = list(dict.fromkeys(model.weights for model in ranked))
    fastest = min(models, key=lambda model: min(model.latency_ms.values())).weights
    offered = np.asarray(tables.on_gpu.any(axis=0))
    gpus, clients, unserved = [], [], []
    for index, gpu in enumerate(situation.gpus):
        setting, mine = int(mapping.setting[index]), np.flatnonzero(mapping.gpu == index)
        if setting == NONE or not mine.size:
            gpus.append(_idle(gpu))
            continue
        # Larger batches only add throughput, as long as everybody's budget allows them.
        larger = np.flatnonzero(
            (tables.model == tables.model[setting])
            & tables.on_gpu[index]
            & tables.eligible[:, mine].all(axis=1)
            & (tables.throughput >= tables.throughput[setting])
        )
        setting = int(larger[-1]) if larger.size else setting
        model = models[tables.order[tables.model[setting]]]
        gpus.append(
            GpuPlan(
                gpu=gpu.name,
                model=model.name,
                batch=int(tables.batch[setting]),
                latency_ms=float(tables.latency[setting]),
                throughput=float(tables.throughput[setting]),
                rate=float(tables.rate[mine].sum()),
                resident=_resident(networks, gpu, model.weights, fastest),
                load_ms=0.0 if model.weights in gpu.held else situation.profile.load_ms(model.weights),
            )
        )
    for number, client in enumerate(situation.clients):
        index = int(mapping.gpu[number])
        if index == NONE:
            unserved.append(Unserved(client=client.name, reason=_why(tables, number, offered, late)))
            continue
        place = int(tables.model[mapping.setting[index]])
        model = models[tables.order[place]]
        clients.append(
            ClientPlan(
                client=client.name,
                model=model.name,
                input_px=model.input_px,
                gpu=situation.gpus[index].name,
                accuracy=model.accuracy,
                transfer_ms=client.link.transfer_ms(situation.profile.frame_bytes[model.input_px]),
                budget_ms=float(tables.budget[number, place]),
            )
        )
    reason = "; ".join(f"client {entry.client}: {entry.reason}" for entry in unserved) or None
    return AdaptPlan(
        method=method,
        feasible=not unserved,
        reason=reason,
        clients=tuple(clients),
        gpus=tuple(gpus),
        unserved=tuple(unserved),
        mean_accuracy=mapping.mean_accuracy(tables),
        planning_ms=planning_ms,
        **more,
    )


def faults(situation: Situation, plan: AdaptPlan) -> list[str]:
    """What `plan` breaks of what `situation` asks: nothing, if it is one of its plans. Computed from the plain data."""
    found = []
    models = {model.name: model for model in situation.profile.models}
    limits = {gpu.name: gpu for gpu in situation.gpus}
    planned = {entry.gpu: entry for entry in plan.gpus}
    rates = dict.fromkeys(limits, 0.0)
    named = [entry.client for entry in plan.clients] + [entry.client for entry in plan.unserved]
    if sorted(named) != sorted(client.name for client in situation.clients):
        found.append("clients: not each of them is there once")
    if sorted(planned) != sorted(limits) or len(plan.gpus) != len(limits):
        return [*found, "gpus: not each of them is there once"]
    by_name = {client.name: client for client in situation.clients}
    for used in plan.clients:
        running = planned[used.gpu].model if used.gpu in planned else None
        if used.client not in by_name or used.model not in models or running != used.model:
            found.append(f"client {used.client}: GPU {used.gpu} runs {running}, not {used.model}")
            continue
        client, model = by_name[used.client], models[used.model]
        rates[used.gpu] += client.rate
        needed = 2 * model.latency_ms.get(planned[used.gpu].batch, 0.0)
        found.extend(_client_faults(situation, client, model, used.input_px, needed))
    for name, gpu in planned.items():
        held = len(set(gpu.resident))
        if held > limits[name].holds:
            found.append(f"gpu {name}: holds {held} networks, more than {limits[name].holds}")
        if gpu.model is None:
            continue
        if gpu.model not in models or gpu.batch not in models[gpu.model].latency_ms:
            found.append(f"gpu {name}: the profile has no batch of {gpu.batch} for {gpu.model}")
            continue
        if gpu.batch > limits[name].batch_limit:
            found.append(f"gpu {name}: batch {gpu.batch} is more than {limits[name].batch_limit}")
        most = situation.load_limit * gpu.batch * 1e3 / models[gpu.model].latency_ms[gpu.batch]
        if rates[name] > most * (1 + _SLACK):
            found.append(f"gpu {name}: {rates[name]:g} frames a second are more than the {most:g} that it may be given")
        if models[gpu.model].weights not in gpu.resident:
            found.append(f"gpu {name}: does not hold {models[gpu.model].weights}, which it runs")
    if plan.feasible != (not plan.unserved):
        found.append("feasible: does not agree with unserved")
    return found


def _client_faults(situation: Situation, client: Client, model: Model, input_px: int, needed_ms: float) -> list[str]:
    found = []
    if input_px != model.input_px:
        found.append(f"client {client.name}: {model.name} takes {model.input_px} px, not {input_px}")
    budget = situation.budget_ms(client, model)
    if budget < needed_ms * (1 - _SLACK):
        found.append(f"client {client.name}: a budget of {budget:g} ms is less than {needed_ms:g} ms")
    if client.slo.accuracy is not None and model.accuracy < client.slo.accuracy:
        found.append(f"client {client.name}: {model.name} is less accurate than asked for")
    return found


def _least_loading(tables: Tables, mapping: Mapping) -> Mapping:
    """The same mapping with GPUs of one batch limit exchanged: what a GPU runs or holds already is best run there."""
    situation = tables.situation
    names = [situation.profile.models[index].weights for index in tables.order]
    gpus = situation.gpus
    # GPUs that a network would be welcome on, by batch limit: where it is run now, where it is held, any.
    running: dict[tuple[int, str], list[int]] = defaultdict(list)
    holding: dict[tuple[int, str], list[int]] = defaultdict(list)
    alike: dict[int, list[int]] = defaultdict(list)
    for new, gpu in enumerate(gpus):
        alike[gpu.batch_limit].append(new)
        for place, network in enumerate(gpu.held):
            (running if place == 0 else holding)[gpu.batch_limit, network].append(new)
    waiting = {
        old: (gpus[old].batch_limit, names[tables.model[setting]])
        for old, setting in enumerate(mapping.setting)
        if setting != NONE
    }
    moved: dict[int, int] = {}
    taken: set[int] = set()
    welcomes: tuple[Callable[[tuple[int, str]], list[int]], ...] = (
        lambda key: running[key],
        lambda key: holding[key],
        lambda key: alike[key[0]],
    )
    for welcome in welcomes:
        for stays in (True, False):
            heads: dict[int, int] = {}  # by list: those before it are taken
            for old, key in list(waiting.items()):
                places = welcome(key)
                if stays:
                    free, new = old not in taken and _has(places, old), old
                else:
                    head = heads.get(id(places), 0)
                    while head < len(places) and places[head] in taken:
                        head += 1
                    heads[id(places)] = head
                    free, new = (True, places[head]) if head < len(places) else (False, NONE)
                if free:
                    moved[old] = new
                    taken.add(new)
                    del waiting[old]
    setting = np.full_like(mapping.setting, NONE)
    gpu_of = np.full_like(mapping.gpu, NONE)
    for old, new in moved.items():
        setting[new] = mapping.setting[old]
        gpu_of[mapping.gpu == old] = new
    return Mapping(setting, gpu_of)


def _has(rising: list[int], number: int) -> bool:
    place = bisect_left(rising, number)
    return place < len(rising) and rising[place] == number


def _idle(gpu: Gpu) -> GpuPlan:
    return GpuPlan(
        gpu=gpu.name, model=None, batch=0, latency_ms=0, throughput=0, rate=0, resident=tuple(gpu.held), load_ms=0
    )


def _resident(networks: Sequence[str], gpu: Gpu, running: str, fastest: str) -> tuple[str, ...]:
    """What a GPU should hold of `networks`, by rising accuracy: what it runs, the nearest to that, and the fastest.

    The fastest answers what would be late by any other.
    """
    place = networks.index(running)
    nearest = sorted(range(len(networks)), key=lambda other: (abs(other - place), other))
    held = [networks[other] for other in nearest[: gpu.holds]]
    if gpu.holds > 1 and fastest not in held:
        held[-1] = fastest
    return tuple(held)


def _why(tables: Tables, number: int, offered: Booleans, late: bool) -> str:
    """Why a client is not served."""
    client = tables.situation.clients[number]
    if (tables.eligible[:, number] & offered).any():
        if late:
            return "no GPU was found for it within the time limit; give the search more"
        return f"the GPUs have no room for {client.rate:g} frames a second that are as fast as it needs them"
    if not (tables.budget[number] > 0).any():
        return (
            f"{client.link.mbps:g} Mbit/s carry no model's frames at {client.rate:g} a second within "
            f"{client.latency_ms:g} ms"
        )
    if not tables.allowed[number].any():
        return f"no model that its link and SLO leave time for is as accurate as {client.slo.accuracy:g}"
    return (
        f"no model answers twice within what {client.latency_ms:g} ms leave after the transfer at "
        f"{client.link.mbps:g} Mbit/s"
    )
