"""Splits: the model by hand, what no plan may break, and what bad input is answered with."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from edgesight.cli.plan import group
from edgesight.plan.profile import Link, PlanError, Slo, checked, read, write
from edgesight.plan.split.plan import METHODS, Choices, SplitPlan, SplitProfile, fixed, split
from tests.plan.split.profiles import content, layer, profile

app = typer.Typer()
app.add_typer(group, name="plan")
import_module("edgesight.cli.plan.split")  # puts its commands into the group

NUMBERS = st.floats(0.0, 50.0)
BYTES = st.integers(0, 100_000)


def test_edgents_formula_by_hand() -> None:
    # 8 Mbit/s carries a byte in 1 microsecond.
    plan = split(profile(), Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=21.0))
    assert plan.choice is not None
    assert (plan.choice.exit, plan.choice.cut, plan.choice.cut_behind) == ("last", 0, None)
    assert plan.choice.latency_ms == pytest.approx(0 + 3.0 + 10.0 + (1.0 + 2.0 + 0.5) + 0.1)
    cut_after_a = fixed(profile(), Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=21.0), "last", 1).choice
    assert cut_after_a is not None
    assert cut_after_a.latency_ms == pytest.approx(10.0 + 3.0 + 4.0 + (2.0 + 0.5) + 0.1)
    whole = fixed(profile(), Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=50.0), "last", 3).choice
    assert whole is not None
    assert (whole.latency_ms, whole.round_trip_ms, whole.up_bytes, whole.down_bytes) == (45.0, 0.0, 0, 0)


def test_a_slower_link_moves_the_cut_and_then_the_exit() -> None:
    slo = Slo(latency_ms=45.0)
    chosen = []
    for mbps in (8.0, 2.0, 0.01):
        choice = split(profile(), Link(mbps=mbps, round_trip_ms=3.0), slo).choice
        assert choice is not None
        chosen.append((choice.exit, choice.cut))
    assert chosen == [("last", 0), ("last", 1), ("last", 3)]
    choice = split(profile(), Link(mbps=0.01, round_trip_ms=3.0), Slo(latency_ms=44.0)).choice
    assert choice is not None
    assert (choice.exit, choice.cut) == ("early", 1)


def test_ties_go_to_fewer_bytes_then_to_the_later_cut() -> None:
    # Cut behind a: 4 + 4 ms of bytes and layers; on the device alone: the same 10 ms without a byte.
    same = content()
    same["layers"] = [layer("a", 0.0, 0.0, 1_000), layer("b", 0.0, 0.0, 1_000)]
    same["input_bytes"] = 1_000
    same["exits"] = [{"name": "end", "accuracy": 0.9, "after": 2}]
    link = Link(mbps=8.0)
    tied = checked(same, SplitProfile, "test")
    choices = Choices.of(tied)
    assert set(choices.latency_ms(link)[choices.crossing]) == {1.0}
    assert choices.best(link, 0.5) == choices.find("end", 2)
    same["layers"][1]["ms"] = {"gpu": 0.0}  # the device can't finish: cuts 0 and 1 are equal but for their place
    assert split(checked(same, SplitProfile, "test"), link, Slo(latency_ms=5.0)).choice.cut == 1  # type: ignore[union-attr]


def test_a_layer_without_a_time_is_not_run_there() -> None:
    given_ = content()
    del given_["layers"][1]["ms"]["pi"]
    found = checked(given_, SplitProfile, "test")
    cuts = {(int(e), int(c)) for e, c in zip(Choices.of(found).exits, Choices.of(found).cuts, strict=True)}
    assert cuts == {(0, 0), (0, 1), (1, 0), (1, 1)}
    with pytest.raises(PlanError, match="can't be cut there"):
        fixed(found, Link(mbps=1.0), Slo(latency_ms=50.0), "last", 3)


def test_the_branch_may_hand_over_less_than_the_trunk() -> None:
    given_ = content()
    given_["exits"][1]["branch_bytes"] = 10
    assert checked(given_, SplitProfile, "test").handed_over(checked(given_, SplitProfile, "t").exits[1]) == [
        10_000,
        4_000,
        10,
    ]


def test_no_plan_says_why_and_what_comes_nearest() -> None:
    plan = split(profile(), Link(mbps=0.1, round_trip_ms=3.0), Slo(latency_ms=9.0))
    assert not plan.feasible
    assert plan.choice is None
    assert plan.nearest is not None
    assert (plan.nearest.exit, plan.nearest.latency_ms) == ("early", 10.0)
    assert "10 ms" in str(plan.reason)
    assert "Mbit/s on one would" in str(plan.reason)
    hopeless = split(profile(), Link(mbps=0.1, round_trip_ms=30.0), Slo(latency_ms=9.0))
    assert "no bandwidth would do" in str(hopeless.reason)


def test_an_accuracy_that_no_exit_reaches_is_refused_with_the_best() -> None:
    plan = split(profile(), Link(mbps=8.0), Slo(latency_ms=100.0, accuracy=0.95))
    assert not plan.feasible
    assert plan.nearest is not None
    assert plan.nearest.exit == "last"
    assert "0.95" in str(plan.reason)
    assert "0.9" in str(plan.reason)


@pytest.mark.parametrize(
    ("exit_", "cut", "slo", "reason"),
    [
        # Others of this profile would meet each of these needs but the last.
        ("last", 1, Slo(latency_ms=18.0), "takes 19.6 of 18 ms at 8 Mbit/s (on time from 13.12 Mbit/s on)"),
        ("last", 3, Slo(latency_ms=21.0), "takes 45 of 21 ms at 8 Mbit/s (late at any bandwidth)"),
        ("early", 1, Slo(latency_ms=21.0, accuracy=0.8), "has accuracy 0.7, and 0.8 is needed"),
        ("early", 1, Slo(latency_ms=9.0, accuracy=0.95), "(late at any bandwidth); it has accuracy 0.7"),
    ],
)
def test_a_stated_choice_that_misses_says_its_own_reason(exit_: str, cut: int, slo: Slo, reason: str) -> None:
    plan = fixed(profile(), Link(mbps=8.0, round_trip_ms=3.0), slo, exit_, cut)
    assert (plan.feasible, plan.choice, plan.method) == (False, None, "fixed")
    assert plan.nearest is not None
    assert (plan.nearest.exit, plan.nearest.cut) == (exit_, cut)
    assert str(plan.reason).startswith(f"exit {exit_} cut behind {cut} of {plan.nearest.layers} layers ")
    assert reason in str(plan.reason)
    assert "nothing" not in str(plan.reason)


def ask(path: Path, *options: str) -> Result:
    write(path / "profile.json", profile())
    return CliRunner().invoke(app, ["plan", "split", str(path / "profile.json"), "--deadline-ms", "18", *options])


def test_the_command_looks_at_one_choice(tmp_path: Path) -> None:
    stated = ["--mbps", "8", "--round-trip-ms", "3", "--exit", "last", "--cut", "1"]
    found = ask(tmp_path, *stated)
    assert found.exit_code == 1
    assert "takes 19.6 of 18 ms" in " ".join(found.output.split())
    assert "nearest" not in found.output
    refused = ask(tmp_path, *stated, "--method", "neurosurgeon")
    assert isinstance(refused.exception, PlanError)
    assert "leave out --method" in str(refused.exception)


def test_baselines() -> None:
    link, slo = Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=12.0)
    neurosurgeon = split(profile(), link, slo, "neurosurgeon")
    assert not neurosurgeon.feasible
    assert neurosurgeon.nearest is not None
    assert (neurosurgeon.nearest.exit, neurosurgeon.nearest.cut) == ("last", 0)
    alone = split(profile(), link, slo, "exit-only").choice
    assert alone is not None
    assert (alone.exit, alone.cut, alone.latency_ms) == ("early", 1, 10.0)
    # The server first: the input always goes up; behind b 1,000 bytes come back and the device runs c.
    authors = Choices.of(profile(), "server-first")
    index = authors.find("last", 2)
    assert authors.latency_ms(link)[index] == pytest.approx(10.0 + 3.0 + 3.0 + 1.0 + 5.0)
    assert (authors.up_bytes[index], authors.down_bytes[index]) == (10_000, 1_000)
    everything = authors.find("last", 3)
    assert authors.latency_ms(link)[everything] == pytest.approx(10.0 + 3.0 + 3.5 + 0.1)


def test_a_device_falls_back_on_what_it_can_still_finish() -> None:
    choices = Choices.of(profile())
    # Handed over behind a at 10 ms: the early exit is there already; all of the last takes to 45 ms.
    for deadline_ms, cut, expected in ((9.0, 0, None), (10.0, 1, "early"), (44.0, 1, "early"), (45.0, 1, "last")):
        found = int(choices.fallbacks(deadline_ms)[choices.find("last", cut)])
        assert (None if found < 0 else choices.profile.exits[int(choices.exits[found])].name) == expected
    # Handed over behind the last exit's own layer b: the early exit branched off before it.
    assert choices.fallbacks(41.0)[choices.find("last", 2)] == choices.find("early", 1)
    assert choices.fallbacks(39.0)[choices.find("last", 2)] == -1  # b alone is done at 40 ms
    assert choices.fallbacks(500.0)[choices.find("last", 3)] == -1  # waits for nobody
    assert set(Choices.of(profile(), "server-first").fallbacks(500.0)) == {-1}


def test_plans_and_profiles_survive_json(tmp_path: Path) -> None:
    write(tmp_path / "profile.json", profile())
    assert read(tmp_path / "profile.json", SplitProfile) == profile()
    for slo in (Slo(latency_ms=20.0), Slo(latency_ms=1.0)):
        plan = split(profile(), Link(mbps=8.0), slo)
        write(tmp_path / "plan.json", plan)
        assert read(tmp_path / "plan.json", SplitPlan) == plan


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"input_bytes": -1}, "input_bytes", "greater than or equal to 0"),
        ({"input_bytes": 2**53}, "input_bytes", "less than 9007199254740992"),
        ({"layers": []}, "layers", "is empty"),
        ({"exits": []}, "exits", "is empty"),
        ({"nonsense": 1}, "nonsense", "is none of the fields here; there are name, origin, device"),
        ({"obtained": {"pi": "guessed", "gpu": "quoted"}}, "obtained.pi", "measured"),
        ({"obtained": {"pi": "quoted"}}, "obtained", "'gpu'"),
        ({"device": {"name": "gpu"}}, "device", "both called"),
        ({"exits": [{"name": "e", "accuracy": 1.5, "after": 1}]}, "exits.0.accuracy", "less than or equal to 1"),
        ({"exits": [{"name": "e", "accuracy": 0.5, "after": 3}]}, "exits.0.after", "has 2 layers"),
        ({"exits": [{"name": "e", "accuracy": 0.5, "after": 0}]}, "exits.0", "no layer"),
        ({"exits": [{"name": "e", "accuracy": 0.5, "after": 1}] * 2}, "exits", "two are called"),
        ({"layers": [layer("a", -1.0, 1.0, 1)] * 2}, "layers.0.ms.pi", "greater than or equal to 0"),
        ({"layers": [layer("a", None, None, 1)] * 2}, "layers.0.ms", "no time on"),
    ],
)
def test_a_malformed_profile_is_refused_with_file_field_and_reason(
    tmp_path: Path, change: dict[str, Any], field: str, reason: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**content(), **change}))
    with pytest.raises(PlanError) as caught:
        read(path, SplitProfile)
    assert str(path) in str(caught.value)
    assert field in str(caught.value)
    assert reason in str(caught.value)


def test_needs_that_no_split_can_weigh_are_refused() -> None:
    with pytest.raises(PlanError, match="latency_ms"):
        split(profile(), Link(mbps=8.0), Slo(accuracy=0.5))
    with pytest.raises(PlanError, match="rate"):
        split(profile(), Link(mbps=8.0), Slo(latency_ms=10.0, rate=3.0))
    with pytest.raises(PlanError, match="early, last"):
        fixed(profile(), Link(mbps=8.0), Slo(latency_ms=10.0), "middle", 0)
    with pytest.raises(PlanError, match="choose one of"):
        split(profile(), Link(mbps=8.0), Slo(latency_ms=10.0), "best")  # type: ignore[arg-type]


@st.composite
def profiles(draw: st.DrawFn) -> SplitProfile:
    def some(low: int, high: int) -> list[dict[str, Any]]:
        count = draw(st.integers(low, high))
        return [layer(f"l{number}", draw(NUMBERS), draw(NUMBERS), draw(BYTES)) for number in range(count)]

    trunk = some(1, 6)
    exits = []
    for number in range(draw(st.integers(1, 4))):
        exits.append(
            {
                "name": f"e{number}",
                "accuracy": draw(st.sampled_from((0.5, 0.7, 0.9))),
                "after": draw(st.integers(1, len(trunk))),
                "layers": some(0, 2),
                "answer_bytes": draw(BYTES),
            }
        )
    return checked({**content(), "input_bytes": draw(BYTES), "layers": trunk, "exits": exits}, SplitProfile, "drawn")


@settings(deadline=None, max_examples=150)
@given(
    profiles(),
    st.floats(0.01, 200.0),
    st.floats(0.0, 100.0),
    st.floats(0.1, 500.0),
    st.none() | st.sampled_from((0.6, 0.9)),
    st.sampled_from(METHODS),
)
def test_no_plan_breaks_a_constraint(
    given_: SplitProfile, mbps: float, round_trip_ms: float, deadline_ms: float, accuracy: float | None, method: str
) -> None:
    link, slo = Link(mbps=mbps, round_trip_ms=round_trip_ms), Slo(latency_ms=deadline_ms, accuracy=accuracy)
    plan = split(given_, link, slo, method)  # type: ignore[arg-type]
    shown = plan.choice or plan.nearest
    assert shown is not None
    exit_ = given_.exit(shown.exit)
    chain = [*given_.layers[: exit_.after], *exit_.layers]
    before, after = chain[: shown.cut], chain[shown.cut :]
    # From scratch: bits over bits a millisecond.
    handed = given_.input_bytes if not before else before[-1].output_bytes
    if method == "server-first":
        here, there, sent = after, before, given_.input_bytes + (handed if after else exit_.answer_bytes)
        crosses = bool(before)
    else:
        here, there, sent = before, after, handed + exit_.answer_bytes
        crosses = bool(after)
    legs = [layer.ms["pi"] for layer in here] + [layer.ms["gpu"] for layer in there]
    if crosses:
        legs += [round_trip_ms, 8 * sent / (1000 * mbps)]
    assert shown.latency_ms == pytest.approx(math.fsum(legs), rel=1e-9, abs=1e-9)
    if plan.choice is not None:
        assert math.fsum(legs) <= deadline_ms * (1 + 1e-9)
        assert accuracy is None or exit_.accuracy >= accuracy


def test_out_of_time_the_most_accurate_exits_are_what_is_chosen_from() -> None:
    late = Choices.of(profile(), until=-math.inf)
    assert not late.whole
    assert {late.profile.exits[number].name for number in late.exits} == {"last"}
    found = split(late, Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=21.0))
    assert found.proven  # nothing that was left out is more accurate
    assert found == split(profile(), Link(mbps=8.0, round_trip_ms=3.0), Slo(latency_ms=21.0))
    none = split(late, Link(mbps=0.5, round_trip_ms=3.0), Slo(latency_ms=12.0))
    assert (none.choice, none.proven) == (None, False)
    assert split(profile(), Link(mbps=0.5, round_trip_ms=3.0), Slo(latency_ms=12.0)).proven
