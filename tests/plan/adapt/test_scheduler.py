"""The online side: estimates follow the link, senders react at once, plans don't flap, loading takes its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesight.plan.adapt.data import Client, Gpu, shipped
from edgesight.plan.adapt.scheduler import BandwidthFilter, Scheduler, Sender, _Held
from edgesight.plan.profile import Link, Slo

PROFILE = shipped("jellyfish")
MODELS = {model.input_px: model for model in PROFILE.models}


def client(name: str = "one", mbps: float = 30.0, rate: float = 15.0, slo_ms: float = 100.0) -> Client:
    return Client(name=name, slo=Slo(latency_ms=slo_ms, rate=rate), link=Link(mbps=mbps))


def sender(mbps: float = 30.0) -> Sender:
    made = Sender(client(mbps=mbps), PROFILE, margin=0.0)
    made.assign(MODELS[512], 40.0)
    return made


def test_the_filter_is_the_published_recursion() -> None:
    estimate = BandwidthFilter(gamma=0.6, history=10)
    assert estimate.add(10.0) == 10.0
    # The first error is the largest so far: follow the sample.
    assert estimate.add(20.0) == 20.0
    # Error 1; 0.6 x 10 + 0.4 x 1 = 6.4 of at most 10: go 0.64 of the way.
    assert estimate.add(21.0) == pytest.approx(20.64)


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=50))
def test_the_filter_stays_within_its_samples(samples: list[float]) -> None:
    estimate = BandwidthFilter()
    for sample in samples:
        estimate.add(sample)
    assert estimate.value is not None
    assert min(samples) - 1e-9 <= estimate.value <= max(samples) + 1e-9


def test_a_sender_sends_what_it_was_told_to_while_the_link_carries_it() -> None:
    assert sender().choose(0.0, 0.0, 0.0) == MODELS[512]


def test_a_sender_sends_less_as_soon_as_one_frame_was_slow() -> None:
    slow = sender()
    size = PROFILE.frame_bytes[512]
    slow.acknowledged(size, Link(mbps=9.0).transfer_ms(size))
    assert slow.mbps == pytest.approx(9.0)
    chosen = slow.choose(0.0, 0.0, 0.0)
    assert chosen is not None
    assert chosen.input_px < 512


def test_a_sender_sees_that_the_frame_under_way_is_late() -> None:
    chosen = sender().choose(20_000.0, 20_000.0, 30.0)
    assert chosen is not None
    assert chosen.input_px < 512


def test_a_sender_drops_what_could_only_be_late_but_always_probes_an_idle_link() -> None:
    slow = sender(mbps=0.1)
    assert slow.choose(50_000.0, 0.0, 0.0) is None
    assert slow.choose(0.0, 0.0, 0.0) == MODELS[320]


def scheduler(*clients: Client, holds: int = 5) -> Scheduler:
    made = Scheduler(PROFILE, [Gpu(name="gpu-0", holds=holds)], margin=0.2, patience=2)
    for entry in clients:
        made.register(entry)
    return made


def side(made: Scheduler) -> int:
    assert made.plan is not None
    return made.plan.clients[0].input_px


def test_bandwidth_that_trembles_changes_nothing() -> None:
    made = scheduler(client(mbps=20.0))
    made.report("one", 20.0 * 0.94)
    first = made.round(0.0)
    for number in range(1, 40):
        made.report("one", 20.0 * (1.06 if number % 2 else 0.94))
        assert made.round(500.0 * number) is first


def test_less_bandwidth_counts_at_once_and_more_only_when_it_lasts() -> None:
    made = scheduler(client(mbps=40.0))
    made.round(0.0)
    high = side(made)
    made.report("one", 12.0)
    made.round(500.0)
    low = side(made)
    assert low < high
    made.report("one", 40.0)
    made.round(1_000.0)
    assert side(made) == low
    made.round(1_500.0)
    assert side(made) == high


def test_a_gpu_runs_its_new_model_once_that_is_loaded() -> None:
    made = scheduler(client(mbps=40.0), holds=1)
    load = PROFILE.load_ms("yolov4-320")
    made.round(0.0)
    assert made.ready_ms["gpu-0"] == pytest.approx(load)
    made.report("one", 12.0)
    made.round(500.0)
    assert made.ready_ms["gpu-0"] == pytest.approx(500.0 + load)
    roomy = scheduler(client(mbps=40.0), holds=11)
    roomy.round(0.0)
    roomy.report("one", 12.0)
    roomy.round(500.0)
    assert roomy.ready_ms["gpu-0"] == 500.0


def test_what_still_runs_while_the_next_loads_no_longer_counts_as_held() -> None:
    """It is in memory besides, so that a GPU that holds one network has two for this time."""
    held = _Held({"yolov4-320": 0.0}, "yolov4-320")
    ready = held.hold(["yolov4-640"], PROFILE, 10.0)
    assert ready == pytest.approx(10.0 + PROFILE.load_ms("yolov4-640"))
    assert held.now(10.0) == ()
    assert held.now(ready) == ("yolov4-640",)


def test_a_plan_that_serves_one_client_more_is_taken_at_once() -> None:
    made = scheduler(client("good", mbps=40.0), client("thin", mbps=0.2))
    assert [entry.client for entry in made.round(0.0).clients] == ["good"]
    made.report("thin", 40.0)
    assert [entry.client for entry in made.round(500.0).clients] == ["good", "thin"]


def test_clients_come_and_leave() -> None:
    made = scheduler()
    assert made.round(0.0).feasible
    made.register(client("one"))
    made.register(client("two"))
    assert [entry.client for entry in made.round(500.0).clients] == ["one", "two"]
    made.leave("one")
    assert [entry.client for entry in made.round(1_000.0).clients] == ["two"]


def test_who_cannot_be_served_does_not_keep_the_others_from_being_so() -> None:
    made = scheduler(client("good", mbps=40.0), client("thin", mbps=0.2))
    plan = made.round(0.0)
    assert not plan.feasible
    assert [entry.client for entry in plan.clients] == ["good"]
    assert [entry.client for entry in plan.unserved] == ["thin"]
