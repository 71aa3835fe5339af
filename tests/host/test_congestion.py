"""The link's congestion control: random loss doesn't slow it down, TCP gets its share, queues stay short."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from aioquic.quic.connection import QuicConnection

from edgesight.bench.link.fairness import run_flows
from edgesight.bench.link.flows import Flow, Network
from edgesight.host.link.congestion import NAME, Controller, pace
from edgesight.host.link.keys import client_keys, configuration
from edgesight.host.link.pacing import Pacer
from edgesight.sim.link.namespaces import missing
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, LinkOptions
from edgesight.sim.link.trust import make_trust

RATE = 20e6  # bit/s
PAYLOAD = 1_200 / 1_228  # of what a full packet takes on the link
ROUND_TRIP = 0.04  # seconds

needs_namespaces = pytest.mark.skipif(missing() is not None, reason=f"no link between namespaces: {missing()}")


@pytest.fixture(autouse=True)
def same_chance() -> None:
    random.seed(1)  # when to probe is drawn


def network(queue: float = 1.0, loss: float = 0.0) -> Network:
    options = LinkOptions(ConstantRate(RATE), ROUND_TRIP / 2, loss=loss, queue=BandwidthDelayProducts(queue))
    return Network(options, seed=1)


def quantile(flow: Flow, share: float, begin: float) -> float:
    """Seconds that this share of the round trips measured after `begin` does not exceed."""
    times = sorted(round_trip for time, round_trip in flow.round_trips if time >= begin)
    return times[int(share * len(times))]


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_random_loss_takes_no_more_than_what_it_loses(loss: float) -> None:
    link = network(loss=loss)
    flow = link.flow(NAME)
    link.run(9.0)
    assert flow.bit_per_s(3.0, 9.0) >= 0.95 * RATE * PAYLOAD * (1 - loss)


def test_the_same_loss_stops_a_control_that_takes_it_for_congestion() -> None:
    link = network(loss=0.05)
    flow = link.flow("cubic")
    link.run(12.0)
    assert flow.bit_per_s(3.0, 12.0) < 0.15 * RATE


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_the_queue_stays_short_alone(loss: float) -> None:
    link = network(queue=4.0, loss=loss)
    flow = link.flow(NAME)
    link.run(8.0)
    assert quantile(flow, 0.5, 3.0) <= 1.25 * ROUND_TRIP
    assert quantile(flow, 0.99, 3.0) <= 2.0 * ROUND_TRIP


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_queue_too_short_to_be_seen_is_not_overrun(loss: float) -> None:
    link = network(queue=0.1, loss=loss)
    flow = link.flow(NAME)
    link.run(8.0)
    assert link.up.counts.overflowed <= 0.15 * link.up.counts.offered
    assert flow.bit_per_s(3.0, 8.0) >= 0.85 * RATE * PAYLOAD * (1 - loss)


def test_where_the_path_is_known_to_lose_nothing_a_short_queue_is_hardly_overrun() -> None:
    overflowed = []
    for bound in (1.0, 0.0):
        link = network(queue=0.05)
        flow = link.flow(NAME)
        assert isinstance(flow.controller, Controller)
        flow.controller.loss_bound = lambda bound=bound: bound  # type: ignore[misc]
        link.run(8.0)
        overflowed.append(link.up.counts.overflowed / link.up.counts.offered)
        assert flow.bit_per_s(3.0, 8.0) >= 0.7 * RATE * PAYLOAD
    assert overflowed[1] < 0.5 * overflowed[0]


@pytest.mark.parametrize("queue", [1.0, 4.0])
def test_beside_cubic_both_get_a_fair_share(queue: float) -> None:
    link = network(queue=queue)
    ours, cubic = link.flow(NAME), link.flow("cubic", begin=0.1)
    link.run(40.0)
    ours_got, cubic_got = ours.bit_per_s(10.0, 40.0), cubic.bit_per_s(10.0, 40.0)
    assert 0.2 <= ours_got / (ours_got + cubic_got) <= 0.65
    assert isinstance(ours.controller, Controller)


@pytest.mark.parametrize("seed", [2, 3])
def test_who_lost_more_at_a_full_queue_is_left_its_share(seed: int) -> None:
    random.seed(seed)
    link = Network(LinkOptions(ConstantRate(RATE), ROUND_TRIP / 2, queue=BandwidthDelayProducts(1.0)), seed=seed)
    ours, cubic = link.flow(NAME), link.flow("cubic", begin=3.0)
    link.run(40.0)
    ours_got, cubic_got = ours.bit_per_s(10.0, 40.0), cubic.bit_per_s(10.0, 40.0)
    assert 0.4 <= ours_got / (ours_got + cubic_got) <= 0.55  # above, where the others' window is not looked at


def test_the_queue_is_short_again_when_the_other_flow_has_gone() -> None:
    link = network(queue=2.0)
    ours = link.flow(NAME)
    link.flow("cubic", begin=2.0, end=8.0)
    assert isinstance(ours.controller, Controller)
    crowded = 0
    for tenth in range(20, 60):
        link.run(tenth / 10)
        crowded += ours.controller.crowded
    assert ours.controller.competing
    assert crowded > 10
    link.run(30.0)
    assert not ours.controller.competing
    assert not ours.controller.crowded
    assert ours.bit_per_s(9.0, 13.0) >= 0.9 * RATE * PAYLOAD  # soon after, too: nobody is left to leave anything to
    assert quantile(ours, 0.5, 25.0) <= 1.25 * ROUND_TRIP


def test_two_of_the_same_share_alike() -> None:
    link = network()
    flows = [link.flow(NAME), link.flow(NAME, begin=2.0)]
    link.run(20.0)
    first, second = (flow.bit_per_s(8.0, 20.0) for flow in flows)
    assert 0.35 <= first / (first + second) <= 0.65


def test_after_a_silent_link_the_old_rate_is_soon_back() -> None:
    link = network()
    flow = link.flow(NAME)
    link.run(5.0)
    link.up.set_loss(1.0)
    link.run(7.0)
    link.up.set_loss(0.0)
    link.run(12.0)
    assert flow.bit_per_s(5.5, 7.0) == 0.0
    assert flow.bit_per_s(9.0, 12.0) >= 0.95 * RATE * PAYLOAD


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_bursts_shorter_than_a_round_trip_learn_how_fast_the_link_is(loss: float) -> None:
    link = network(loss=loss)
    flow = link.flow(NAME, backlogged=False)
    packets, every = 20, 0.05
    for number in range(100):
        link.at(0.1 + number * every, lambda: flow.give(packets))
    link.run(6.0)
    assert len(flow.departures) >= 100 * packets
    # What the bottleneck itself needs for them, from the second second on.
    lasted = [
        flow.departures[-1 - number * packets] - flow.departures[-packets - number * packets] for number in range(40)
    ]
    assert sorted(lasted)[20] <= packets * 1_228 * 8 / RATE


def test_the_pacer_spreads_what_is_sent() -> None:
    controller = Controller(max_datagram_size=1_200)
    pacer = Pacer(controller, 1_200)
    controller.pacing_rate = 1.2e6  # a packet each millisecond
    now, sent = 1.0, 0
    while now < 2.0:
        at = pacer.next_send_time(now)
        if at is None:
            pacer.update_after_send(now)
            pacer.sent(1_200)
            sent += 1
        else:
            assert at > now
            now = at
    assert sent == pytest.approx(1_000, abs=4)


def test_acknowledgements_alone_are_not_paced() -> None:
    controller = Controller(max_datagram_size=1_200)
    pacer = Pacer(controller, 1_200)
    controller.pacing_rate = 1.2e6
    for number in range(100):
        pacer.update_after_send(1.0 + number * 1e-4)
    assert pacer.next_send_time(1.1) is None


def test_both_ends_of_our_link_use_it(tmp_path: Path) -> None:
    edge = client_keys(make_trust(tmp_path).edge, 1.0).configuration
    for end in (edge, configuration(is_client=False, alpn=[], idle_timeout=1.0)):
        assert end.congestion_control_algorithm == NAME
    connection = QuicConnection(configuration=edge)
    controller = pace(connection._loss, 1_200)
    assert controller is connection._loss._cc
    assert controller is not None
    assert connection._loss._pacer is controller.pacer


@needs_namespaces
def test_real_packets_come_through_a_lossy_link_at_its_rate() -> None:
    lossy = LinkOptions(ConstantRate(RATE), ROUND_TRIP / 2, loss=0.1, queue=BandwidthDelayProducts(1.0))
    delivered = run_flows(lossy, seconds=5.0, settled=2.0)
    assert delivered.quic is not None
    assert delivered.quic >= 5.0  # of 16 that are possible, however busy the machine; CUBIC would get below 1
