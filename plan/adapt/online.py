"""The scheduler and the sender as what runs adaptation wants them (`edgesight.host.adapt.planning`)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from edgesight.host.adapt.planning import Model, Place, Round, Wants, Work
from edgesight.plan.adapt import data
from edgesight.plan.adapt.data import AdaptPlan, Client, Gpu, GpuPlan, ModelProfile, Situation
from edgesight.plan.adapt.plan import Method
from edgesight.plan.adapt.scheduler import Scheduler, Sender
from edgesight.plan.profile import Link, PlanError, Slo, checked


class OnlinePlanner:
    """Plans for whoever is there: the `Planner` of a situation's profile and GPUs."""

    def __init__(
        self,
        situation: Situation,
        method: Method = "pairwise",
        *,
        margin: float,
        load_limit: float,
        begins: AdaptPlan | None = None,
    ) -> None:
        """Of the situation's clients nothing is taken: they come by themselves. The GPUs begin as a plan has them.

        Raises PlanError where the plan that it `begins` with is for other GPUs or models.
        """
        self.models: Sequence[Model] = models(situation.profile)
        self.gpus: Sequence[str] = [gpu.name for gpu in situation.gpus]
        self.overhead_ms = situation.overhead_ms
        self._by_network: dict[str, list[str]] = {}
        for model in situation.profile.models:
            self._by_network.setdefault(model.weights, []).append(model.name)
        gpus = situation.gpus if begins is None else _holding(situation, begins)
        self.first: Mapping[str, Work] = (
            {} if begins is None else self._work(begins.gpus, dict.fromkeys(self.gpus, 0.0))
        )
        self._scheduler = Scheduler(
            situation.profile,
            gpus,
            method=method,
            margin=margin,
            load_limit=load_limit,
            overhead_ms=situation.overhead_ms,
        )
        self._known: dict[str, Wants] = {}

    def round(self, now_s: float, clients: Mapping[str, Wants]) -> Round:
        """As `Planner` says."""
        for name in self._known.keys() - clients.keys():
            self._scheduler.leave(name)
        for name, wants in clients.items():
            known = self._known.get(name)
            if known is None or _needs(known) != _needs(wants):
                self._scheduler.register(client(name, wants))
            else:
                self._scheduler.report(name, wants.mbps)
        self._known = dict(clients)
        made = self._scheduler.round(1e3 * now_s)
        places = {entry.client: Place(entry.gpu, entry.model) for entry in made.clients}
        return Round(places, self._work(made.gpus, self._scheduler.ready_ms))

    def _work(self, gpus: Sequence[GpuPlan], ready_ms: Mapping[str, float]) -> dict[str, Work]:
        """What those do that run a model."""
        return {
            entry.gpu: Work(
                entry.model,
                entry.batch,
                ready_ms[entry.gpu] / 1e3,
                tuple(name for network in entry.resident for name in self._by_network[network]),
            )
            for entry in gpus
            if entry.model is not None
        }


class FrameSizer:
    """The `Sizer` of one client."""

    def __init__(self, profile: ModelProfile, wants: Wants, overhead_ms: float) -> None:
        """`wants.mbps` is the first estimate."""
        self._models = {model.name: model for model in models(profile)}
        self._planned = {model.name: model for model in profile.models}
        self._sender = Sender(client("self", wants), profile, overhead_ms=overhead_ms)

    @property
    def mbps(self) -> float:
        """As `Sizer` says."""
        return self._sender.mbps

    def assign(self, model: str | None, server_ms: float) -> None:
        """As `Sizer` says; a model that the profile does not have changes nothing."""
        if model is None:
            self._sender.assign(None, server_ms)
        elif model in self._planned:
            self._sender.assign(self._planned[model], server_ms)

    def acknowledged(self, size: int, transfer_ms: float) -> None:
        """As `Sizer` says."""
        self._sender.acknowledged(size, transfer_ms)

    def choose(self, waiting: float, sent: float, sending_ms: float) -> Model | None:
        """As `Sizer` says."""
        found = self._sender.choose(waiting, sent, sending_ms)
        return None if found is None else self._models[found.name]


def _holding(situation: Situation, plan: AdaptPlan) -> list[Gpu]:
    """The situation's GPUs, which hold what the plan has them hold."""
    named = {gpu.name: gpu for gpu in situation.gpus}
    found = []
    for entry in plan.gpus:
        models = {model.name for model in situation.profile.models}
        if entry.gpu not in named or entry.model not in (None, *models):
            raise PlanError(
                f"plan: has model {entry.model} on GPU {entry.gpu}, and the situation has {', '.join(named)} with the "
                f"models of {situation.profile.name}: plan for this situation"
            )
        found.append(named.pop(entry.gpu).model_copy(update={"held": entry.resident}))
    begun = situation.model_dump()
    begun["gpus"] = [gpu.model_dump() for gpu in (*found, *named.values())]
    return list(checked(begun, Situation, "plan").gpus)


def models(profile: ModelProfile) -> list[Model]:
    """Those of a profile, the most accurate first."""
    ranked = sorted(profile.models, key=lambda model: (-model.accuracy, model.input_px))
    return [
        Model(model.name, model.input_px, model.accuracy, profile.frame_bytes[model.input_px], by_batch(model))
        for model in ranked
    ]


def by_batch(model: data.Model) -> tuple[float, ...]:
    """Latency of each batch size from 1 on; a size that the profile lacks runs as the next larger one."""
    filled = (
        min(latency for size, latency in model.latency_ms.items() if size >= count)
        for count in range(1, max(model.latency_ms) + 1)
    )
    return tuple(itertools.accumulate(filled, max))


def client(name: str, wants: Wants) -> Client:
    """As planners have it."""
    return Client(
        name=name,
        slo=Slo(latency_ms=wants.slo_ms, rate=wants.rate),
        link=Link(mbps=wants.mbps, round_trip_ms=wants.round_trip_ms),
    )


def _needs(wants: Wants) -> tuple[float, float, float]:
    return wants.slo_ms, wants.rate, wants.round_trip_ms
