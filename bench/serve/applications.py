"""Several applications at once, each with a kernel package of its own, on one edge, one link and one data centre.

Of ours each application has its fabric, its edge program and its connection, as one `edgesight edge` with several
packages has them. The data centre serves one back end at a UDP port, so there is a service a back end, each at its
port. Their models run on one processor in turn, whoever comes first, which is simulated. The peers are laid out alike.

A model-selecting server has one device for all applications: it answers one request after the other, and loads a
variant, which takes its bytes over a bandwidth, where it is not in the device's memory; whichever was not used for
longest makes room.

Words owned here: mixed workload.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from edgesight.bench.serve.data import Prepared
from edgesight.bench.serve.links import Links
from edgesight.bench.serve.material import Processor, TimedModel
from edgesight.bench.serve.replay import Host
from edgesight.bench.serve.systems import DATA_CENTRE, EDGE, HEDGED, SELECTING, TWO_STAGE, System
from edgesight.bench.serve.virtual import (
    PORT,
    WARM_UP,
    Answered,
    Known,
    Outcomes,
    Way,
    arrive,
    ask_data_centre,
    at_edge,
    grpc,
    opened,
    our_link,
    quic_streams,
    virtually,
)
from edgesight.host.link.offload import Offload
from edgesight.sim.link.trust import Trust
from edgesight.sim.link.virtual import VirtualLoop
from edgesight.sim.workload import Arrivals, Timestamps, Workload, workload

ALL_LOADED: Final = System("selecting-loaded", "a model-selecting server with room for all variants", today=True)
SYSTEMS: Final = (EDGE, DATA_CENTRE, SELECTING, ALL_LOADED, TWO_STAGE, HEDGED)

Ints = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Mixed:
    """Requests to several applications.

    Attributes:
        at: seconds of arrival, rising [N].
        application: which one each asks [N].
        parts: the requests of each, at the same moments.
    """

    at: npt.NDArray[np.float64]
    application: Ints
    parts: tuple[Workload, ...]

    def gathered(self, of_parts: Sequence[npt.NDArray[Scalar]]) -> npt.NDArray[Scalar]:
        """One value a request, in order of arrival [N], of what there is for each of the `parts`."""
        found = np.empty(len(self.at), of_parts[0].dtype)
        for place, values in enumerate(of_parts):
            found[self.application == place] = values
        return found


@dataclass(frozen=True)
class Served:
    """What a system did with a mixed workload.

    Attributes:
        outcomes: of all requests that count, in order of arrival.
        swaps: variants that were loaded on the device in others' place.
    """

    outcomes: Outcomes
    swaps: int = 0


def mixed(arrivals: Arrivals, count: int, served: Sequence[Prepared], deadlines_s: Sequence[float], seed: int) -> Mixed:
    """`count` requests, each to one of the applications by chance, all equally often. Raises WorkloadError."""
    chance = np.random.default_rng([seed, 21])
    at = arrivals.times(count, chance)
    application = chance.integers(0, len(served), count)
    parts = []
    for place, one in enumerate(served):
        own = at[application == place]
        parts.append(
            workload(
                Timestamps(tuple(own.tolist())),
                len(own),
                len(one.material.truth),
                targets=len(one.goals),
                deadlines_s=deadlines_s,
                seed=seed + place,
            )
        )
    return Mixed(at, application, tuple(parts))


def rate_of(load: float, served: Sequence[Prepared]) -> float:
    """Requests a second, as many of each application, that are so much of what one processor answers of them."""
    return load * len(served) / sum(1 / one.material.profile.capacity for one in served)


def serve_all(
    served: Sequence[Prepared],
    coming: Mixed,
    links: Links,
    known: Sequence[Known],
    *,
    bandwidth: float,
    seed: int = 0,
) -> dict[System, Served]:
    """Every system under the same requests; `bandwidth` is that by which a variant is loaded, in bytes a second.

    `known` has the logits of each application's back end, and grows.
    """
    last = [np.full(len(part), len(one.material.labels) - 1) for one, part in zip(served, coming.parts, strict=True)]
    everything = sum(sum(one.variant_bytes) for one in served)
    edge, _ = on_device(served, coming, last, everything, bandwidth)
    chosen = _chosen(served, coming)
    away = _away(served, coming, chosen, links, known, seed)
    selected = {
        system: on_device(served, coming, chosen, memory, bandwidth)
        for system, memory in ((SELECTING, largest_variant(served)), (ALL_LOADED, everything))
    }
    return {
        EDGE: Served(_counted(coming, _Away(edge, 0, 0.0, 0))),
        DATA_CENTRE: Served(_offloading(served, coming, links, grpc, known, None, seed)),
        **{
            system: Served(
                _counted(coming, replace(away, answered=_instead(here, chosen, served, away))),
                swaps,
            )
            for system, (here, swaps) in selected.items()
        },
        TWO_STAGE: Served(_offloading(served, coming, links, quic_streams, known, TWO_STAGE, seed)),
        HEDGED: Served(_offloading(served, coming, links, our_link, known, HEDGED, seed)),
    }


def largest_variant(served: Sequence[Prepared]) -> int:
    """Bytes of the largest variant of all applications: the least memory that can serve them."""
    return max(max(one.variant_bytes) for one in served)


def swaps_by_memory(served: Sequence[Prepared], coming: Mixed, bandwidth: float) -> dict[str, int]:
    """Swaps of the selecting server, warm-up included, by the bytes of the device's memory."""
    largest, everything = largest_variant(served), sum(sum(one.variant_bytes) for one in served)
    chosen = _chosen(served, coming)
    sizes = sorted({largest, max(everything // 2, largest), everything})
    return {str(memory): on_device(served, coming, chosen, memory, bandwidth)[1] for memory in sizes}


def on_device(
    served: Sequence[Prepared], coming: Mixed, chosen: Sequence[Ints], memory: int, bandwidth: float
) -> tuple[list[list[Answered]], int]:
    """What one device answers by the variants `chosen` for each application's requests; and its swaps.

    The answers of those that go to the data centre, whose variant is the number of stages, mean nothing. `memory` is in
    bytes, and holds the largest variant.
    """
    found: list[list[Answered]] = [[] for _ in served]
    loaded: OrderedDict[tuple[int, int], int] = OrderedDict()  # bytes by application and variant; last used, last
    free, swaps = 0.0, 0
    for application, now in zip(coming.application.tolist(), coming.at.tolist(), strict=True):
        one, part = served[application].material, coming.parts[application]
        number = len(found[application])
        variant = int(chosen[application][number])
        if variant == len(one.labels):
            found[application].append((0, 0.0, True, variant))
            continue
        begins, size = max(free, now), served[application].variant_bytes[variant]
        if (application, variant) not in loaded:
            full = sum(loaded.values()) + size > memory
            while sum(loaded.values()) + size > memory:
                loaded.popitem(last=False)
            loaded[application, variant] = size
            swaps += full
            begins += size / bandwidth
        loaded.move_to_end((application, variant))
        # Alone a stage takes what it adds to those before it.
        free = begins + one.latency_s[variant] - (one.latency_s[variant - 1] if variant else 0.0)
        label = int(one.labels[variant][part.picture[number]])
        found[application].append((label, free - now, free - now > part.deadline_s[number], variant))
    return found, swaps


def _chosen(served: Sequence[Prepared], coming: Mixed) -> list[Ints]:
    """The variant of each request's goal."""
    return [
        np.array([goal.variant for goal in one.goals])[part.target]
        for one, part in zip(served, coming.parts, strict=True)
    ]


@dataclass(frozen=True)
class _Away:
    """What the data centre answered of the requests that were sent there, by application."""

    answered: list[list[Answered]]
    bytes: int
    busy_s: float
    ran: int


def _away(
    served: Sequence[Prepared], coming: Mixed, chosen: Sequence[Ints], links: Links, known: Sequence[Known], seed: int
) -> _Away:
    parts = [
        part.take(np.flatnonzero(variants == len(one.material.labels)))
        for one, part, variants in zip(served, coming.parts, chosen, strict=True)
    ]
    if not any(map(len, parts)):
        return _Away([[] for _ in served], 0, 0.0, 0)
    return _over_link(served, parts, links, grpc, known, None, seed)


def _instead(
    here: list[list[Answered]], chosen: Sequence[Ints], served: Sequence[Prepared], away: _Away
) -> list[list[Answered]]:
    """The device's answers, and the data centre's in place of those that it did not give."""
    found = []
    for one, answers, variants, there in zip(served, here, chosen, away.answered, strict=True):
        others = iter(there)
        stages = len(one.material.labels)
        found.append(
            [next(others) if variant == stages else own for own, variant in zip(answers, variants, strict=True)]
        )
    return found


def _offloading(
    served: Sequence[Prepared],
    coming: Mixed,
    links: Links,
    way: Way,
    known: Sequence[Known],
    system: System | None,
    seed: int,
) -> Outcomes:
    return _counted(coming, _over_link(served, coming.parts, links, way, known, system, seed))


def _over_link(
    served: Sequence[Prepared],
    parts: Sequence[Workload],
    links: Links,
    way: Way,
    known: Sequence[Known],
    system: System | None,
    seed: int,
) -> _Away:
    """Each application's requests over some `way` of its own on the same link; without an edge's `system`, all of them.

    Raises what the programs raise.
    """

    async def asked(loop: VirtualLoop, offload: Offload, one: Prepared, part: Workload) -> list[Answered]:
        if not len(part):
            return []
        if system is None:
            return await arrive(part, ask_data_centre(one.material, part, offload), Host())
        targets = [goal.two_stage if system is TWO_STAGE else goal.cascade for goal in one.goals]
        stages = 1 if system is TWO_STAGE else len(one.material.labels)
        return await at_edge(loop, offload, one.material, targets, part, stages, hedged=system is HEDGED)

    async def main(loop: VirtualLoop, trust: Trust) -> tuple[list[list[Answered]], list[TimedModel]]:
        processor = Processor()
        models = [
            TimedModel(one.material, loop, seed + place, of, processor)
            for place, (one, of) in enumerate(zip(served, known, strict=True))
        ]
        async with contextlib.AsyncExitStack() as stack:
            ways = [
                await stack.enter_async_context(opened(way, one.material, model, trust, PORT + place))
                for place, (one, model) in enumerate(zip(served, models, strict=True))
            ]
            work = (asked(loop, *one) for one in zip(ways, served, parts, strict=True))
            found = list(await asyncio.gather(*work))
        return found, models

    (found, models), sent = virtually(links, seed, main)
    return _Away(found, sent, sum(model.busy_s for model in models), sum(model.ran for model in models))


def _counted(coming: Mixed, did: _Away) -> Outcomes:
    """In order of arrival, without the warm-up."""
    columns: list[list[npt.NDArray[Any]]] = [list(map(np.array, zip(*one, strict=True))) for one in did.answered]
    label, took, late, stage = (coming.gathered(column)[WARM_UP:] for column in zip(*columns, strict=True))
    return Outcomes(label, took, late, stage, did.bytes, did.busy_s, did.ran)
