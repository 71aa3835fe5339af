"""The scheduler and the sender as what runs adaptation wants them."""

from __future__ import annotations

import pytest

from edgesight.host.adapt.planning import Wants
from edgesight.plan.adapt.data import Client, Gpu, Model, ModelProfile, Network, Situation, shipped
from edgesight.plan.adapt.online import FrameSizer, OnlinePlanner, models
from edgesight.plan.adapt.plan import plan
from edgesight.plan.profile import Link, PlanError, Slo

GPUS = (Gpu(name="a"), Gpu(name="b"))
SITUATION = Situation(profile=shipped("jellyfish"), clients=(), gpus=GPUS, overhead_ms=5.0)


def planner() -> OnlinePlanner:
    return OnlinePlanner(SITUATION, margin=0.0, load_limit=0.9)


def test_a_swift_link_gets_a_more_accurate_model_and_who_left_gets_none() -> None:
    online = planner()
    made = online.round(0.0, {"swift": Wants(150.0, 15.0, 60.0, 2.0), "slow": Wants(150.0, 15.0, 6.0, 2.0)})
    accuracy = {model.name: model.accuracy for model in online.models}
    assert accuracy[made.places["swift"].model] > accuracy[made.places["slow"].model]
    for place in made.places.values():
        work = made.work[place.gpu]
        assert work.model == place.model
        assert work.model in work.held
        assert work.batch >= 1
    assert set(online.round(0.5, {"slow": Wants(150.0, 15.0, 6.0, 2.0)}).places) == {"slow"}
    assert not online.round(1.0, {}).places


def test_a_link_that_became_slow_and_wants_that_changed_are_planned_for() -> None:
    online = planner()
    first = online.round(0.0, {"one": Wants(150.0, 15.0, 60.0, 2.0)})
    slower = online.round(0.5, {"one": Wants(150.0, 15.0, 8.0, 2.0)})
    assert slower.places["one"].model < first.places["one"].model
    assert not online.round(1.0, {"one": Wants(5.0, 15.0, 60.0, 2.0)}).places  # no model is as fast


def test_gpus_begin_as_a_plan_has_them_and_the_next_one_need_not_load() -> None:
    client = Client(name="one", slo=Slo(latency_ms=150.0, rate=15.0), link=Link(mbps=60.0, round_trip_ms=2.0))
    made = plan(SITUATION.model_copy(update={"clients": (client,)}))
    begun = OnlinePlanner(SITUATION, margin=0.0, load_limit=0.9, begins=made)
    runs = {gpu.gpu: (gpu.model, gpu.batch) for gpu in made.gpus if gpu.model is not None}
    assert {name: (work.model, work.batch) for name, work in begun.first.items()} == runs
    assert all(work.ready_s == 0.0 and work.model in work.held for work in begun.first.values())
    assert planner().first == {}
    other = Situation(profile=shipped("jellyfish"), clients=(), gpus=(Gpu(name="c"),))
    with pytest.raises(PlanError, match=r"on GPU a, and the situation has c with .* plan for this situation"):
        OnlinePlanner(other, margin=0.0, load_limit=0.9, begins=made)


def test_every_gpu_holds_the_fastest_model_beside_what_it_runs() -> None:
    made = planner().round(0.0, {"one": Wants(150.0, 15.0, 60.0, 2.0)})
    (work,) = made.work.values()
    assert "yolov4-320" in work.held
    assert len(work.held) == 5


def test_models_of_one_network_are_all_held() -> None:
    small, large = (
        Model(
            name=name,
            accuracy=accuracy,
            latency_ms={1: 5.0, 4: 9.0},
            input_px=side,
            network="net",
            obtained="projected",
        )
        for name, accuracy, side in (("small", 0.5, 32), ("large", 0.8, 64))
    )
    profile = ModelProfile(
        name="one network",
        models=(small, large),
        networks=(Network(name="net", load_ms=10.0, obtained="projected"),),
        frame_bytes={32: 1_000, 64: 4_000},
        frame_bytes_obtained="projected",
    )
    online = OnlinePlanner(Situation(profile=profile, clients=(), gpus=GPUS[:1]), margin=0.0, load_limit=1.0)
    assert [model.name for model in online.models] == ["large", "small"]
    assert online.models[0].latency_ms == (5.0, 9.0, 9.0, 9.0)
    made = online.round(0.0, {"one": Wants(100.0, 10.0, 20.0, 0.0)})
    assert set(made.work["a"].held) == {"small", "large"}


def test_a_sizer_goes_by_what_it_is_told_and_by_its_link() -> None:
    profile = SITUATION.profile
    sizer = FrameSizer(profile, Wants(150.0, 15.0, 20.0, 2.0), 5.0)
    smallest = models(profile)[-1]
    assert sizer.choose(0.0, 0.0, 0.0) == smallest  # nothing is assigned yet: a probe
    sizer.assign("yolov4-512", 40.0)
    sizer.assign("no such model", 1.0)
    found = sizer.choose(0.0, 0.0, 0.0)
    assert found is not None
    assert found.name == "yolov4-512"
    for _ in range(5):
        sizer.acknowledged(98_304, 200.0)
    assert sizer.mbps < 5.0
    assert sizer.choose(200_000.0, 0.0, 0.0) is None
    sizer.assign(None, 0.0)
    assert sizer.choose(0.0, 0.0, 0.0) == smallest
