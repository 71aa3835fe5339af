"""A simulated fleet: no request is lost, what fails is seen, and comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.hls.zoo import shipped_folder
from edgesight.host.kernel import Target
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.package import Package
from edgesight.sim.fleet.parts import MOST_EDGES, Fleet, FleetError, Outcome, Outcomes, Pictures, Region
from edgesight.sim.fleet.run import run
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, LinkOptions, Packets
from edgesight.sim.workload import Poisson, Workload, workload

PICTURES, LEG_S, MORE_S = 100, 0.001, 0.0002
ROUND_TRIP_S = 0.04


class Steady:
    """A model that always takes as long."""

    def __init__(self, each_s: float = 0.001) -> None:
        self.each_s = each_s

    def sample(self, batch: int, chance: np.random.Generator) -> float:
        return self.each_s * batch


@pytest.fixture(scope="module")
def target() -> Target:
    calibration = Package.load(shipped_folder() / "digits").kernel.calibration
    assert calibration is not None
    return calibration.targets[0]


def pictures(target: Target, unsure: int = 30) -> Pictures:
    away = np.arange(PICTURES)[None] < unsure
    return Pictures(
        [target],
        np.full((1, PICTURES), LEG_S),
        MORE_S,
        np.zeros((1, PICTURES), np.int8),
        away,
        np.full(PICTURES, 450),
        [220] * 4,
    )


def links(loss: float = 0.0, outages: tuple[tuple[float, float], ...] = ()) -> tuple[LinkOptions, LinkOptions]:
    one = LinkOptions(ConstantRate(20e6), ROUND_TRIP_S / 2, loss=loss, queue=BandwidthDelayProducts(1.0))
    return dataclasses.replace(one, outages=outages), dataclasses.replace(one, outages=outages)


def shared(*outages: tuple[float, float]) -> tuple[LinkOptions, LinkOptions]:
    one = LinkOptions(ConstantRate(100e6), queue=Packets(1_000), outages=outages)
    return one, one


def coming(edges: int, count: int, per_s: float, deadline_s: float = 0.25) -> list[Workload]:
    return [workload(Poisson(per_s), count, PICTURES, deadlines_s=(deadline_s,), seed=edge) for edge in range(edges)]


def unsure_of(found: Outcomes, requests: list[Workload]) -> np.ndarray:
    order = np.argsort(np.concatenate([one.at for one in requests]), kind="stable")
    return np.concatenate([one.picture for one in requests])[order] < 30


def test_each_request_is_answered_once_by_who_is_to_answer_it(target: Target) -> None:
    requests = coming(8, 200, 20.0)
    found = run(
        Fleet((Region(4, links()), Region(4, links(), shared())), 2), requests, pictures(target), [Steady()] * 2
    )
    unsure = unsure_of(found, requests)
    assert len(found.at) == 1_600
    assert found.unanswered == 0
    assert np.array_equal(found.how == Outcome.FABRIC, ~unsure)
    assert np.array_equal(found.how == Outcome.DATA_CENTRE, unsure)
    assert sum(size * count for size, count in enumerate(found.batches, 1)) == unsure.sum()
    assert (found.took_s[unsure] > LEG_S + ROUND_TRIP_S + 0.001).all()
    assert sum(found.busy_s) == pytest.approx(0.001 * unsure.sum())
    assert found.connects == 8


def test_the_fabric_takes_who_comes_first_and_all_that_wait_together(target: Target) -> None:
    at = np.array([0.0, 0.0002, 0.0004, 0.02])
    nothing = np.zeros(4, np.int64)
    requests = [Workload(at, nothing, nothing, np.full(4, 0.5))]
    found = run(Fleet((Region(1, links()),), 1), requests, pictures(target, unsure=0), [Steady()])
    together = 2 * LEG_S + MORE_S
    assert found.took_s == pytest.approx([LEG_S, together - 0.0002, together - 0.0004, LEG_S])


def test_the_same_seed_gives_the_same_and_another_does_not(target: Target) -> None:
    requests = coming(4, 100, 20.0)
    fleet = Fleet((Region(4, links(0.1), shared()),), 2)
    one, same, other = (run(fleet, requests, pictures(target), [Steady()] * 2, seed=seed).digest for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_a_region_that_is_cut_off_falls_back_and_comes_back_alone(target: Target) -> None:
    begin, end = 10.0, 30.0
    requests = coming(20, 900, 20.0)
    fleet = Fleet((Region(10, links(), shared((begin, end))), Region(10, links(0.05), shared())), 2)
    found = run(fleet, requests, pictures(target), [Steady()] * 2)
    unsure, hit = unsure_of(found, requests), fleet.region_of()[found.edge] == 0
    within = (found.at >= begin) & (found.at < end)
    assert found.unanswered == 0
    assert not found.good[unsure & hit & within].any()
    assert found.good[~unsure].all()
    assert found.good[unsure & ~hit].mean() > 0.99
    assert found.good[unsure & hit & (found.at < begin - 1.0)].all()
    assert found.good[unsure & hit & (found.at > end + 5.0)].mean() > 0.99  # back within 5 s
    # As long as an edge waits for its link it waits for the deadline; once it has given it up it answers at once.
    asked = unsure & hit & within
    waits, knows = asked & (found.at < begin + IDLE_TIMEOUT - 1.0), asked & (found.at > begin + IDLE_TIMEOUT + 1.0)
    assert (found.how[waits] == Outcome.DEADLINE).all()
    assert found.took_s[waits] == pytest.approx(0.25)
    assert (found.how[knows] == Outcome.NO_WAY).all()
    assert (found.took_s[knows] < 0.01).all()
    assert found.connects == 30


def test_a_short_outage_costs_no_connection(target: Target) -> None:
    requests = coming(4, 300, 20.0)
    found = run(Fleet((Region(4, links(), shared((5.0, 7.0))),), 1), requests, pictures(target), [Steady()])
    unsure = unsure_of(found, requests)
    assert found.connects == 4
    assert not found.good[unsure & (found.at > 5.0) & (found.at < 6.7)].any()
    assert found.good[unsure & (found.at > 7.5)].all()


def test_whoever_cannot_be_answered_in_time_falls_back(target: Target) -> None:
    requests = coming(4, 200, 50.0)
    found = run(Fleet((Region(4, links()),), 1), requests, pictures(target), [Steady(0.05)])
    unsure = unsure_of(found, requests)
    assert found.unanswered == 0
    assert 0 < (found.how[unsure] == Outcome.DATA_CENTRE).sum() < 0.6 * unsure.sum()
    assert (found.took_s <= 0.25 + 1e-9).all()
    assert found.counted_s[~found.good] == pytest.approx(0.25)


def test_what_gets_lost_goes_again_or_has_parity(target: Target) -> None:
    requests = coming(4, 500, 20.0, deadline_s=0.5)
    found = run(Fleet((Region(4, links(0.2)),), 1), requests, pictures(target), [Steady()])
    assert found.unanswered == 0
    assert found.good[unsure_of(found, requests)].mean() > 0.95


@pytest.mark.parametrize(
    ("regions", "servers", "told"),
    [((), 1, "edges"), ((Region(MOST_EDGES + 1, links()),), 1, "edges"), ((Region(1, links()),), 0, "servers")],
)
def test_what_is_no_fleet_is_refused(regions: tuple[Region, ...], servers: int, told: str) -> None:
    with pytest.raises(FleetError, match=told):
        Fleet(regions, servers)


def test_what_does_not_fit_a_fleet_is_refused(target: Target) -> None:
    fleet = Fleet((Region(2, links()),), 1)
    with pytest.raises(FleetError, match="1 workloads and 1 models for 2 edges and 1 servers: give each one"):
        run(fleet, coming(1, 5, 1.0), pictures(target), [Steady()])
    late = Workload(np.array([1e6]), np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1))
    with pytest.raises(FleetError, match=r"in 1e\+06 s: give"):
        run(fleet, [late, late], pictures(target), [Steady()])
