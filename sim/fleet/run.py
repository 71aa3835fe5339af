"""Runs a fleet: all requests of all edges, in order, to the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgesight.host.hedge import BUDGET, Hedging
from edgesight.sim.fleet.centre import Server
from edgesight.sim.fleet.clock import Clock, Way
from edgesight.sim.fleet.edge import Edge, Kept
from edgesight.sim.fleet.parts import Fleet, FleetError, Links, Outcome, Outcomes, Pictures, Runs, check_requests
from edgesight.sim.link.model import Direction, directions
from edgesight.sim.workload import Workload

LEAD_S = 2.0  # before the first request: within the first of them all edges begin to connect
_AFTER_S = 1.0  # behind the last deadline


def run(
    fleet: Fleet, workloads: Sequence[Workload], pictures: Pictures, models: Sequence[Runs], *, seed: int = 0
) -> Outcomes:
    """Each edge under its one of the `workloads`, each server with its one of the `models`.

    Times are counted from the first moment of the workloads. The same `seed` gives the same outcomes. Raises FleetError
    where the counts do not fit or are too large.
    """
    if len(workloads) != fleet.edges or len(models) != fleet.servers:
        raise FleetError(
            f"{len(workloads)} workloads and {len(models)} models for {fleet.edges} edges and {fleet.servers} servers: "
            "give each one"
        )
    at = np.concatenate([one.at for one in workloads])
    order = np.argsort(at, kind="stable")
    edge_of = np.repeat(np.arange(fleet.edges, dtype=np.int32), [len(one) for one in workloads])[order]
    at = at[order]
    check_requests(len(at), float(at[-1]) if len(at) else 0.0)
    due, target, picture = (
        np.concatenate([getattr(one, name) for one in workloads])[order] for name in ("deadline_s", "target", "picture")
    )
    kept = Kept(
        (at + LEAD_S).data,  # whose items are plain numbers, and fast
        due.data,
        target.data,
        picture.data,
        pictures.leg_s[target, picture].data,
        pictures.unsure[target, picture].data,
        np.full(len(at), np.nan),
        np.full(len(at), Outcome.NONE, np.int8),
    )
    clock = Clock()
    servers = [
        Server(clock, model, np.random.default_rng([seed, 7, *((place,) if place else ())]))
        for place, model in enumerate(models)
    ]
    edges = _edges(fleet, clock, pictures, kept, servers, seed)
    for number, (time, edge) in enumerate(zip(kept.at, edge_of.tolist(), strict=True)):
        clock.run(time)
        edges[edge].arrive(time, number)
    clock.run(float((at + due).max()) + LEAD_S + _AFTER_S)
    return Outcomes(
        at,
        edge_of,
        due,
        kept.took_s,
        kept.how,
        tuple(sum(server.batches[size] for server in servers) for size in range(len(servers[0].batches))),
        tuple(server.busy_s for server in servers),
        sum(edge.connects for edge in edges),
        clock.events,
    )


def _edges(
    fleet: Fleet, clock: Clock, pictures: Pictures, kept: Kept, servers: Sequence[Server], seed: int
) -> list[Edge]:
    chance = np.random.default_rng([seed, 13])
    shared = [
        _both(region.shared, f"{seed} region {place}") if region.shared is not None else None
        for place, region in enumerate(fleet.regions)
    ]
    edges = []
    for number, place in enumerate(fleet.region_of().tolist()):
        up, down = _both(fleet.regions[place].links, f"{seed} edge {number}")
        both = shared[place]
        ways = (
            Way(clock, [up] if both is None else [up, both[0]]),
            Way(clock, [down] if both is None else [both[1], down]),
        )
        own = np.random.default_rng([seed, 17, number])
        server = servers[number % len(servers)]
        edge = Edge(f"edge {number}", clock, pictures, kept, server, ways, Hedging(BUDGET), own)
        clock.at(float(chance.random()), edge.connect)
        edges.append(edge)
    return edges


def _both(links: Links, seed: str) -> tuple[Direction, Direction]:
    """Both directions of a link, whose outages are as late as the first request."""
    up, down = (
        dataclasses.replace(one, outages=tuple((begin + LEAD_S, end + LEAD_S) for begin, end in one.outages))
        for one in links
    )
    return directions(up, down, seed)
