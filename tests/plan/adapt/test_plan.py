"""Adaptation: no plan of any method breaks what it was given, and the best methods are as good as said."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import edgesight.cli.plan.adapt  # noqa: F401 # registers its commands
from edgesight.cli.plan import group
from edgesight.plan.adapt import jellyfish as jellyfish
from edgesight.plan.adapt import pairwise as adapt_pairwise
from edgesight.plan.adapt.data import (
    AdaptPlan,
    Client,
    Gpu,
    Model,
    ModelProfile,
    Network,
    Situation,
    read_situation,
    shipped,
)
from edgesight.plan.adapt.plan import METHODS, Method, plan
from edgesight.plan.adapt.tables import Mapping, Tables, faults
from edgesight.plan.profile import Link, PlanError, Slo, checked

RATES = (5.0, 10.0, 15.0, 25.0)


def client(
    name: str, mbps: float, *, slo_ms: float = 100.0, rate: float = 15.0, accuracy: float | None = None
) -> Client:
    return Client(name=name, slo=Slo(latency_ms=slo_ms, rate=rate, accuracy=accuracy), link=Link(mbps=mbps))


def situation(*clients: Client, gpus: int = 2, **more: Any) -> Situation:
    machines = tuple(Gpu(name=f"gpu-{number}") for number in range(gpus))
    return Situation(profile=shipped("jellyfish"), clients=clients, gpus=more.pop("machines", machines), **more)


def served_rate(asked: Situation, made: AdaptPlan) -> float:
    rates = {entry.name: entry.rate for entry in asked.clients}
    return sum(rates[entry.client] for entry in made.clients)


@st.composite
def situations(draw: st.DrawFn, most_gpus: int = 3) -> Situation:
    """Anything that may be asked: static and dynamic networks, odd batch sizes, unlike GPUs, useless links."""
    sides = draw(st.lists(st.sampled_from([128, 256, 320, 448, 640]), min_size=1, max_size=4, unique=True))
    models = []
    for side in sides:
        single = draw(st.floats(1.0, 40.0))
        sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True))
        models.append(
            Model(
                name=f"model-{side}",
                accuracy=draw(st.floats(0.05, 1.0)),
                latency_ms={size: single * (0.7 + 0.3 * size) for size in sizes},
                obtained="projected",
                input_px=side,
                network=draw(st.sampled_from([None, "slim"])),
            )
        )
    weights = sorted({model.weights for model in models})
    networks = tuple(Network(name=name, load_ms=20.0, obtained="projected") for name in weights)
    profile = ModelProfile(
        name="drawn",
        models=tuple(models),
        networks=networks,
        frame_bytes={side: side * side // 3 for side in sides},
        frame_bytes_obtained="projected",
    )
    clients = tuple(
        Client(
            name=f"client-{number}",
            slo=Slo(
                latency_ms=draw(st.floats(20.0, 200.0)),
                rate=draw(st.sampled_from(RATES)),
                accuracy=draw(st.sampled_from([None, None, 0.5])),
            ),
            link=Link(mbps=draw(st.floats(0.5, 60.0)), round_trip_ms=draw(st.sampled_from([0.0, 5.0]))),
        )
        for number in range(draw(st.integers(0, 7)))
    )
    machines = []
    for number in range(draw(st.integers(1, most_gpus))):
        holds = draw(st.integers(1, 3))
        held = draw(st.lists(st.sampled_from(weights), max_size=holds, unique=True))
        machines.append(Gpu(name=f"gpu-{number}", holds=holds, batch_limit=draw(st.integers(1, 8)), held=tuple(held)))
    return Situation(
        profile=profile,
        clients=clients,
        gpus=tuple(machines),
        overhead_ms=draw(st.sampled_from([0.0, 3.0])),
        load_limit=draw(st.sampled_from([1.0, 0.8])),
    )


@given(situations(), st.sampled_from([method for method in METHODS if method != "exact"]))
@settings(max_examples=150, deadline=None)
def test_no_plan_breaks_what_it_was_given(asked: Situation, method: Method) -> None:
    made = plan(asked, method)
    assert faults(asked, made) == []
    assert made.feasible == (len(made.clients) == len(asked.clients))
    assert {entry.client for entry in made.unserved} == {entry.name for entry in asked.clients} - {
        entry.client for entry in made.clients
    }
    assert all(entry.reason for entry in made.unserved)
    assert checked(json.loads(made.model_dump_json()), AdaptPlan, "itself") == made


@given(situations(most_gpus=2))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_beats_exact_and_on_two_gpus_ours_equals_it(asked: Situation) -> None:
    best = plan(asked, "exact")
    assert faults(asked, best) == []
    for method in METHODS:
        made = plan(asked, method)
        assert served_rate(asked, made) <= served_rate(asked, best) + 1e-6
        if abs(served_rate(asked, made) - served_rate(asked, best)) < 1e-6:
            assert made.mean_accuracy <= best.mean_accuracy + 1e-6
    if best.feasible:
        ours = plan(asked, "pairwise")
        assert ours.feasible
        assert ours.mean_accuracy == pytest.approx(best.mean_accuracy, abs=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(4.0, 60.0), st.sampled_from([75.0, 100.0, 150.0]), st.sampled_from([100.0, 200.0])),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=20, deadline=None)
def test_exact_equals_enumeration(drawn: list[tuple[float, float, float]]) -> None:
    """Every model on each GPU, every client on each GPU or on none: nothing is better."""
    models = shipped("jellyfish").models[::5]
    profile = shipped("jellyfish").model_copy(update={"models": models, "networks": ()})
    clients = tuple(
        client(f"client-{number}", mbps, slo_ms=slo_ms, rate=rate) for number, (mbps, slo_ms, rate) in enumerate(drawn)
    )
    asked = situation(*clients).model_copy(update={"profile": profile})
    best = (0.0, 0.0)
    for running in itertools.product(models, repeat=2):
        for places in itertools.product((None, 0, 1), repeat=len(clients)):
            worth = [0.0, 0.0]
            for number, model in enumerate(running):
                mine = [entry for entry, place in zip(clients, places, strict=True) if place == number]
                rate = sum(entry.rate for entry in mine)
                budget = min((asked.budget_ms(entry, model) for entry in mine), default=1e9)
                if not any(2 * ms <= budget and rate <= size * 1e3 / ms for size, ms in model.latency_ms.items()):
                    break
                worth[0] += rate
                worth[1] += rate * model.accuracy
            else:
                best = max(best, (worth[0], worth[1]))
    made = plan(asked, "exact")
    assert served_rate(asked, made) == pytest.approx(best[0])
    total = sum(entry.rate for entry in clients)
    assert made.mean_accuracy == pytest.approx(best[1] / total, abs=1e-6)


def test_the_exact_methods_bound_is_on_plans_that_serve_as_many(tmp_path: Path) -> None:
    """One GPU runs one model: who is on a thin link costs the other more accuracy than it has itself."""
    models = [
        {
            "name": f"model-{side}",
            "accuracy": accuracy,
            "latency_ms": {"1": 5},
            "obtained": "measured",
            "input_px": side,
        }
        for side, accuracy in ((64, 0.2), (640, 0.9))
    ]
    frames = {"64": 1_000, "640": 100_000}
    whole = {"name": "own", "models": models, "frame_bytes": frames, "frame_bytes_obtained": "measured"}
    needs = {"latency_ms": 100, "rate": 10}
    clients = [{"name": name, "slo": needs, "link": {"mbps": mbps}} for name, mbps in (("thin", 1), ("wide", 40))]
    path = tmp_path / "situation.json"
    path.write_text(json.dumps(changed(profile=whole, clients=clients)))
    asked = read_situation(path)
    best, fewer = plan(asked, "exact"), plan(asked, "fixed", model="model-640")
    assert (len(best.clients), len(fewer.clients)) == (2, 1)
    assert best.mean_accuracy == pytest.approx(0.2)
    assert best.best_possible == pytest.approx(0.2)
    assert fewer.mean_accuracy == pytest.approx(0.45)
    done = CliRunner().invoke(group, ["adapt", str(path), "--method", "exact"])
    assert done.exit_code == 0, done.output
    assert "(of plans that serve as many requests none has more than 0.2000)" in " ".join(done.output.split())


@pytest.mark.parametrize(("gpus", "better", "solves"), [(3, False, 3), (3, True, 20), (8, False, 28), (8, True, 28)])
def test_every_pair_of_gpus_is_solved_and_few_are_again(
    gpus: int, better: bool, solves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[tuple[int, ...]] = []

    def solve(_: Tables, units: Any, limits: Any, couple: Sequence[int], members: Any, mapping: Mapping) -> bool:
        solved.append(tuple(couple))
        return better

    monkeypatch.setattr(adapt_pairwise, "_solve", solve)
    tables = Tables.of(situation(client("one", 20.0), gpus=gpus))
    adapt_pairwise._polished(tables, np.zeros(1, int), np.zeros(1, int), Mapping.empty(tables))
    assert len(solved) == solves
    assert set(solved) == set(itertools.combinations(range(gpus), 2))


@pytest.mark.parametrize("gpus", [1, 2, 3])
def test_a_rate_that_nothing_can_carry_leaves_the_others_served(gpus: int) -> None:
    asked = situation(client("one", 40.0), client("two", 12.5, rate=7.3), client("flood", 1e12, rate=1e6), gpus=gpus)
    made = plan(asked)
    assert faults(asked, made) == []
    assert [entry.client for entry in made.unserved] == ["flood"]


def test_units_stay_small_whatever_the_rates() -> None:
    models = tuple(model.model_copy(update={"latency_ms": {1: 1e9}}) for model in shipped("jellyfish").models)
    profile = shipped("jellyfish").model_copy(update={"models": models})
    tables = Tables.of(situation(client("flood", 1e12, rate=1e6 / 3)).model_copy(update={"profile": profile}))
    units, limits = adapt_pairwise._units(tables)
    assert limits.max() == 4_096
    assert units.tolist() == [2 * 4_096 + 1]


def test_shipped_profiles_are_those_of_the_closed_forms() -> None:
    assert shipped("jellyfish") == jellyfish.jellyfish()
    assert shipped("jellyfish-simulator") == jellyfish.jellyfish(simulator=True)
    models = {model.input_px: model for model in shipped("jellyfish").models}
    assert sorted(models) == list(range(320, 641, 32))
    assert models[640].accuracy == pytest.approx(0.80583, abs=1e-5)  # 0.988 - 4.469 e^-3.2
    assert models[640].latency_ms[1] == pytest.approx(34.02971, abs=1e-5)
    assert models[640].latency_ms[12] == pytest.approx(3.75 * 34.02971, abs=1e-4)
    simulated = {model.input_px: model for model in shipped("jellyfish-simulator").models}
    assert min(simulated) == 128
    assert simulated[640].latency_ms[1] == pytest.approx(0.75 * 34.02971, abs=1e-5)
    assert all(model.obtained == "quoted" for model in (*models.values(), *simulated.values()))


def test_a_faster_link_gets_larger_frames() -> None:
    made = plan(situation(client("slow", 8.0), client("fast", 60.0)))
    sides = {entry.client: entry.input_px for entry in made.clients}
    assert made.feasible
    assert sides["slow"] < sides["fast"]


@pytest.mark.parametrize("method", METHODS)
def test_who_cannot_be_served_is_named_with_the_reason(method: Method) -> None:
    asked = situation(
        client("fine", 40.0),
        client("thin", 0.5),
        client("hasty", 40.0, slo_ms=10.0),
        client("picky", 40.0, accuracy=0.99),
    )
    made = plan(asked, method)
    reasons = {entry.client: entry.reason for entry in made.unserved}
    assert not made.feasible
    assert sorted(reasons) == ["hasty", "picky", "thin"]
    assert "0.5 Mbit/s carry no model's frames" in reasons["thin"]
    assert "within 10 ms" in reasons["hasty"] or "10 ms leave" in reasons["hasty"]
    assert "as accurate as 0.99" in reasons["picky"]
    assert made.reason is not None
    assert "client thin" in made.reason


def test_full_gpus_are_said_to_be_full() -> None:
    made = plan(situation(*(client(f"client-{number}", 40.0, rate=25.0) for number in range(40)), gpus=1))
    assert not made.feasible
    assert "no room for 25 frames a second" in made.unserved[0].reason


def test_a_dynamic_network_takes_one_place_and_never_loads_between_its_models() -> None:
    static = shipped("jellyfish")
    dynamic = static.model_copy(
        update={
            "models": tuple(model.model_copy(update={"network": "slimmable"}) for model in static.models),
            "networks": (Network(name="slimmable", load_ms=50.0, obtained="projected"),),
        }
    )
    asked = situation(client("one", 9.0), gpus=1)
    for profile, held, loads in ((static, "yolov4-640", 21.3), (dynamic, "slimmable", 0.0)):
        machine = Gpu(name="gpu-0", holds=1, held=(held,))
        gpu = plan(asked.model_copy(update={"profile": profile, "gpus": (machine,)})).gpus[0]
        assert gpu.model != "yolov4-640"
        assert len(gpu.resident) == 1
        assert gpu.load_ms == loads


def test_models_stay_where_they_are_loaded() -> None:
    asked = situation(client("slow", 8.0, rate=25.0), client("fast", 60.0, rate=25.0))
    first = plan(asked)
    held = {gpu.gpu: gpu.resident for gpu in first.gpus}
    swapped = tuple(Gpu(name=name, held=held[other]) for name, other in (("gpu-0", "gpu-1"), ("gpu-1", "gpu-0")))
    again = plan(asked.model_copy(update={"gpus": swapped}))
    assert [gpu.model for gpu in again.gpus] == [gpu.model for gpu in reversed(first.gpus)]
    assert [gpu.load_ms for gpu in again.gpus] == [0.0, 0.0]


def test_faults_are_found() -> None:
    asked = situation(client("one", 20.0), client("two", 20.0))
    made = plan(asked)
    broken = made.model_copy(update={"clients": made.clients[:1]})
    assert any("not each of them" in fault for fault in faults(asked, broken))
    odd = made.model_copy(update={"gpus": tuple(gpu.model_copy(update={"batch": 99}) for gpu in made.gpus)})
    assert any("no batch of 99" in fault for fault in faults(asked, odd))
    slower = asked.model_copy(update={"clients": tuple(client(name, 5.0) for name in ("one", "two"))})
    assert any("budget" in fault for fault in faults(slower, made))
    less = asked.model_copy(update={"load_limit": 0.01})
    assert any("more than the" in fault for fault in faults(less, made))


GOOD: dict[str, Any] = {
    "profile": "jellyfish",
    "clients": [{"name": "door", "slo": {"latency_ms": 100, "rate": 15}, "link": {"mbps": 20}}],
    "gpus": [{"name": "gpu-0"}],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(GOOD)), **changes}


def a_client(**changes: Any) -> dict[str, Any]:
    return changed(clients=[{**GOOD["clients"][0], **changes}])


def a_profile(**changes: Any) -> dict[str, Any]:
    model = {"name": "a", "accuracy": 0.5, "latency_ms": {"1": 5}, "obtained": "measured", "input_px": 64}
    whole = {"name": "own", "models": [model], "frame_bytes": {"64": 900}, "frame_bytes_obtained": "measured"}
    return changed(profile={**whole, **changes})


def a_model(**changes: Any) -> dict[str, Any]:
    model = {"name": "a", "accuracy": 0.5, "latency_ms": {"1": 5}, "obtained": "measured", "input_px": 64}
    return a_profile(models=[{**model, **changes}])


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (changed(profile="medusa"), "profile", "choose one of jellyfish, jellyfish-simulator"),
        (changed(gpus=[]), "gpus", "is empty; give at least one"),
        (changed(gpus=[{"name": "a"}, {"name": "a"}]), "", "gpus: 'a' is there more than once"),
        (changed(gpus=[{"name": "a", "batch_limit": 0}]), "gpus.0.batch_limit", "greater than or equal to 1"),
        (changed(gpus=[{"name": "a", "held": ["b"]}]), "", "gpus: a holds b, which is no network"),
        (changed(gpus=[{"name": "a", "holds": 1, "held": ["b", "c"]}]), "gpus.0", "2 networks on GPU a, which holds 1"),
        (
            changed(speed=3),
            "speed",
            "is none of the fields here; there are profile, clients, gpus, overhead_ms, load_limit",
        ),
        (changed(load_limit=0), "load_limit", "greater than 0"),
        (a_client(slo={"rate": 15}), "clients.0", "slo.latency_ms: missing for client door"),
        (a_client(slo={"latency_ms": 100}), "clients.0", "slo.rate: missing for client door"),
        (a_client(slo={"latency_ms": -1, "rate": 15}), "clients.0.slo.latency_ms", "greater than or equal to 0.000001"),
        (a_client(link={"mbps": 0}), "clients.0.link.mbps", "greater than or equal to 0.000001"),
        (a_client(name=""), "clients.0.name", "at least 1 character"),
        (changed(clients=GOOD["clients"] * 2), "", "clients: 'door' is there more than once"),
        (a_profile(models=[]), "profile.models", "is empty; give at least one"),
        (a_profile(frame_bytes={}), "profile", "frame_bytes: none for 64 px, the input size of model a"),
        (a_profile(frame_bytes={"64": 0}), "profile.frame_bytes.64", "greater than or equal to 1"),
        (a_profile(frame_bytes={"64": 10**19}), "profile.frame_bytes.64", "less than 9007199254740992"),
        (a_profile(frame_bytes={"64": 9, str(10**19): 9}), f"profile.frame_bytes.{10**19}.[key]", "less than or equal"),
        (a_model(input_px=10**19), "profile.models.0.input_px", "less than or equal to"),
        (a_model(latency_ms={str(10**19): 5}), f"profile.models.0.latency_ms.{10**19}.[key]", "less than or equal to"),
        (a_model(latency_ms={"1": 1e-320}), "profile.models.0.latency_ms.1", "greater than or equal to"),
        (a_model(latency_ms={"1": 1e300}), "profile.models.0.latency_ms.1", "less than or equal to"),
        (changed(gpus=[{"name": "a", "batch_limit": 10**19}]), "gpus.0.batch_limit", "less than or equal to"),
        (changed(gpus=[{"name": "a", "holds": 10**19}]), "gpus.0.holds", "less than or equal to"),
        (a_client(slo={"latency_ms": 100, "rate": 1e8}), "clients.0", "slo.rate: 1e+08 for client door; must be at"),
        (
            a_profile(networks=[{"name": "x", "load_ms": 1, "obtained": "measured"}]),
            "profile",
            "networks: x is no model's",
        ),
    ],
)
def test_malformed_input_is_refused_with_file_field_and_reason(
    tmp_path: Path, content: dict[str, Any], field: str, reason: str
) -> None:
    path = tmp_path / "situation.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError) as refused:
        read_situation(path)
    assert str(path) in str(refused.value)
    assert (f"json: field {field}: " if field else "json: ") in str(refused.value)
    assert reason in str(refused.value)


def test_what_is_no_json_or_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "situation.json"
    with pytest.raises(PlanError, match="cannot be read"):
        read_situation(path)
    path.write_text("{")
    with pytest.raises(PlanError, match="is no JSON"):
        read_situation(path)


def test_the_command_refuses_options_that_would_do_nothing_or_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "situation.json"
    path.write_text(json.dumps(GOOD))
    done = CliRunner().invoke(group, ["adapt", str(path), "--model", "yolov4-352"])
    assert isinstance(done.exception, PlanError)
    assert "--model yolov4-352: only --method fixed takes a model; method pairwise" in str(done.exception)
    done = CliRunner().invoke(group, ["adapt", str(path), "--model", "yolov4-352", "--method", "fixed"])
    assert done.exit_code == 0, done.output
    for command in (["adapt", str(path), "--method", "authors"], ["adapt-replay", str(path), "--trace", str(path)]):
        done = CliRunner().invoke(group, [*command, "--seed", "-1"])
        assert done.exit_code == 2
        assert "--seed" in done.output


def test_unknown_methods_and_models_are_refused() -> None:
    with pytest.raises(PlanError, match="expected one of pairwise, authors, exact, fixed, greedy"):
        plan(situation(), "best")  # type: ignore[arg-type] # what a user may type
    with pytest.raises(PlanError, match="has none of that name"):
        plan(situation(), "fixed", model="yolov9")
    made = plan(situation(client("one", 60.0)), "fixed", model="yolov4-352")
    assert [entry.model for entry in made.clients] == ["yolov4-352"]


def crowd(clients: int, gpus: int, seed: int = 0) -> Situation:
    """So many clients as the authors draw them."""
    from edgesight.bench.plan.adapt_instances import many

    return many(shipped("jellyfish"), clients, gpus, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("clients", "gpus"), [(16, 4), (32, 8), (64, 8), (64, 16)])
def test_the_authors_annealing_is_not_ahead_where_there_are_many_gpus(clients: int, gpus: int, seed: int) -> None:
    asked = crowd(clients, gpus, seed)
    ours, theirs = plan(asked, "pairwise", seconds=20), plan(asked, "authors", seed=seed, seconds=20)
    assert faults(asked, ours) == []
    assert served_rate(asked, ours) >= served_rate(asked, theirs) - 1e-6
    assert ours.mean_accuracy >= theirs.mean_accuracy - 0.002


def test_without_a_clock_the_same_is_found_every_time() -> None:
    asked = crowd(32, 8)
    first, again = (plan(asked, "pairwise", seconds=None) for _ in range(2))
    assert first.clients == again.clients
    assert first.gpus == again.gpus


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_its_time_limit(method: Method) -> None:
    import time

    asked = crowd(2048, 256)
    begun = time.monotonic()
    made = plan(asked, method, seconds=4.0)
    assert time.monotonic() - begun < 4.0 * 1.2
    assert faults(asked, made) == []
    assert made.clients
    assert not made.proven
    if method in ("pairwise", "exact"):
        assert len(made.unserved) < 100


def test_a_small_plan_is_done_long_before_its_limit_and_says_that_it_is_proven() -> None:
    made = plan(situation(client("one", 50.0)), "pairwise", seconds=600.0)
    assert made.planning_ms < 60_000
    assert made.proven
    assert made.best_possible == made.mean_accuracy
