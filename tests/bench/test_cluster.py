"""Plans executed: the parts of the bench, each by what it must do, and a small run for real where root may make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="torch is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("tritonclient.grpc.aio", reason="tritonclient is not installed: extra `oip`")

import itertools

from edgesight.bench.cluster import alexnet, edgent, jellyfish
from edgesight.bench.cluster.asked import Asked
from edgesight.bench.cluster.bench import bench_cluster
from edgesight.bench.cluster.device import told
from edgesight.host.limits import Limits
from edgesight.host.limits import missing as no_limits
from edgesight.host.split.run import Answered
from edgesight.plan.adapt.data import ModelProfile, shipped
from edgesight.plan.split.plan import Choices, SplitProfile
from edgesight.sim.link.namespaces import missing as no_namespaces
from tests.split_network import profile_of, save_network

CLASSES = 4
LACKING = no_namespaces() or no_limits(Limits(cores=0.1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A network that saw a few pictures once, and these: each class has a colour of its own."""
    chance = np.random.default_rng(0)
    labels = np.arange(128) % CLASSES
    images = chance.integers(0, 60, (len(labels), alexnet.SIDE, alexnet.SIDE, 3)).astype(np.uint8)
    images[np.arange(len(labels)), :, :, labels % 3] += np.where(labels < 3, 150, 60)[:, None, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("alexnet") / "net.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alexnet, "_EPOCHS", ((64, 4), (alexnet.SIDE, 1)))
        alexnet.export(alexnet.train(images, labels, CLASSES), path)
    return path, images, labels


def test_the_network_learns_and_hands_over_little(
    trained: tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    path, images, labels = trained
    accuracy = alexnet.accuracies(path, images[:32], labels[:32])
    assert list(accuracy) == list(alexnet.EXITS)
    assert accuracy["final"] > 1.5 / CLASSES
    profile = edgent.profiled(path, accuracy)
    assert profile.input_bytes == 3 * alexnet.SIDE**2  # pixels of 8 bits
    least = sorted(layer.output_bytes for layer in profile.layers)
    assert least[0] < 1_000  # the answer, or what lies just before it
    assert {24 * 24 * 8, 12 * 12 * 16} <= set(least)  # what is handed over behind each block, in 8 bits
    assert profile.obtained == {"device": "projected", "data-centre": "measured"}


def test_the_link_moves_between_its_bounds_and_is_the_same_again() -> None:
    link = edgent.moving_link(240.0, 0)
    assert link == edgent.moving_link(240.0, 0)
    assert link != edgent.moving_link(240.0, 1)
    assert len(link) == 240
    assert edgent.SLOWEST <= min(link) < 1.0
    assert 10.0 < max(link) <= edgent.FASTEST
    assert 10 < sum(one != other for one, other in itertools.pairwise(link)) < 60


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> SplitProfile:
    return profile_of(save_network(tmp_path_factory.mktemp("network") / "net.onnx"))


def test_what_stays_is_chosen_by_what_the_link_came_to(profile: SplitProfile) -> None:
    whole = edgent.profile_ms(profile)
    assert whole == pytest.approx(60.0)
    fast = edgent.in_hindsight(profile, [20.0] * 10, 45.0, 1.0)
    assert fast[0][0] == "third"
    assert len(fast) == edgent.MOST_FIXED
    slow = edgent.in_hindsight(profile, [0.01] * 10, 45.0, 1.0)
    assert slow[0] == ("second", 4)  # the best that is done on the device alone


def test_the_deadline_is_one_under_which_no_choice_that_stays_does_as_well(profile: SplitProfile) -> None:
    deadline = edgent.telling_deadline_ms(profile, 5.0)
    choices = Choices.of(profile)
    rates = np.geomspace(edgent.SLOWEST, edgent.FASTEST, 500)

    def gain(deadline_ms: float) -> float:
        needed = choices.mbps_needed(deadline_ms, 5.0)
        planned = np.mean([choices.accuracy[needed <= rate].max(initial=0.0) for rate in rates])
        return float(planned - max(choices.accuracy * [np.mean(rates >= one) for one in needed]))

    assert 5.0 < deadline < edgent.profile_ms(profile)
    near = [gain(share * deadline) for share in np.linspace(1 - edgent.DEADLINE_OFF, 1 + edgent.DEADLINE_OFF, 20)]
    assert min(near) > 0.01
    # Time enough for the last exit on the device, or for nothing that comes back: no link matters.
    assert gain(edgent.profile_ms(profile)) == pytest.approx(0.0, abs=1e-9)
    assert gain(4.0) == pytest.approx(0.0, abs=1e-9)


def test_a_cut_inside_pays_where_sending_all_is_slow_and_doing_all_is_slower(profile: SplitProfile) -> None:
    # At 1 Mbit/s: 60 ms on the device, 98 ms of picture to the data centre; 2 kB cross behind 20 ms.
    saved = edgent.saved_ms(profile, 0.0)
    assert saved == pytest.approx(60.0 - min(latency_at_one_mbps(profile)), abs=1e-6)
    assert edgent.saved_ms(profile, 1_000.0) < 0.0


def latency_at_one_mbps(profile: SplitProfile) -> list[float]:
    """Of the last exit, by its cuts inside; no round trip."""
    exit_ = profile.exits[-1]
    chain, sent = profile.chain(exit_), profile.handed_over(exit_)
    return [
        10.0 * cut + 0.1 * (len(chain) - cut) + 8e-3 * (sent[cut] + exit_.answer_bytes) for cut in range(1, len(chain))
    ]


def test_a_difference_has_its_interval() -> None:
    chance = np.random.default_rng(0)
    theirs = chance.random(2_000) < 0.7
    more = edgent.difference(theirs | (chance.random(2_000) < 0.3), theirs)
    assert 0.0 < more[1] < more[0] < more[2] < 0.2
    assert edgent.difference(theirs, theirs) == [0.0, 0.0, 0.0]


def ran(name: str, right: float, cut: int = 1, by: str = "data centre") -> edgent.Ran:
    count = 1_000
    answers = [
        {"exit": "third", "cut": cut, "by": by, "late": number >= right * count, "took_s": 0.1}
        for number in range(count)
    ]
    chance = np.random.default_rng(7)
    return edgent.Ran(name, chance.permutation(np.arange(count) < right * count), answers, 1.0, 2.0)


def test_each_bar_can_be_met_and_missed(profile: SplitProfile) -> None:
    def checks(*runs: edgent.Ran) -> list[bool]:
        found = edgent.found(runs, profile, {}, [1.0], 45.0, 1.0, Console(quiet=True))
        assert found.body["best_fixed"] == "better"
        return [check.met for check in found.checks[:3]]

    worse, better = ran("worse", 0.5), ran("better", 0.6)
    assert checks(ran("as planned", 0.7), worse, better) == [True, True, True]
    assert checks(ran("as planned", 0.605), worse, better)[0] is False
    assert checks(ran("as planned", 0.55, cut=0), worse, better) == [False, False, False]
    assert checks(ran("as planned", 0.7, by="device"), worse, better)[2] is False


def test_time_counts_from_when_a_request_was_to_come() -> None:
    output = np.array([[0.1, 0.9]], np.float32)
    line = told(3, Answered(output, "third", 2, "data centre", False, 0.1, 0.02, 40), 0.5)
    assert (line["label"], line["took_s"], line["number"]) == (1, pytest.approx(0.6), 3)
    assert told(0, Answered(None, "third", 2, "nobody", True, 0.1, 0.02), 0.0)["label"] is None


def test_without_photographs_the_section_says_so(tmp_path: Path) -> None:
    assert bench_cluster(tmp_path, Console(quiet=True), Asked(), ["edgent"])
    assert "name them with --photographs" in (tmp_path / "cluster.json").read_text()


@pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
def test_a_cut_network_answers_between_held_processes_over_a_moving_link(
    trained: tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, images, labels = trained
    monkeypatch.setattr(
        edgent, "_BEGIN_S", 30.0
    )  # two data centres and two devices begin on a machine that may be busy
    np.save(tmp_path / "images.npy", images)
    found = edgent.profiled(path, dict.fromkeys(alexnet.EXITS, 0.5))
    # Time enough for a machine that does other things.
    bench = edgent._Bench(tmp_path, path, found, tmp_path / "images.npy", labels, Console(quiet=True))
    made = bench.made(20_000.0, 20.0, [("final", 1)])
    runs = bench.run([None, ("final", 1)], made, [20.0, 5.0], (0.0, 0.5, 1.0), (0, 1, 2))
    assert [one.name for one in runs] == ["as planned", "final cut behind 1"]
    for one in runs:
        assert [answer["number"] for answer in one.answers] == [0, 1, 2]
        assert all(answer["label"] is not None and answer["fault"] is None for answer in one.answers)
    assert {(answer["exit"], answer["cut"], answer["by"]) for answer in runs[1].answers} == {
        ("final", 1, "data centre")
    }


def traces(folder: Path) -> Path:
    folder.mkdir()
    (folder / "some_lte.txt").write_text("\n".join(["30"] * 10 + ["40"] * 10))
    (folder / "some_wifi.txt").write_text("\n".join(["40"] * 10 + ["60"] * 10))
    return folder


def test_without_traces_of_both_kinds_the_section_says_so(tmp_path: Path) -> None:
    assert "name their folder with --traces" in str(jellyfish.lacks(Asked()))
    folder = traces(tmp_path / "traces")
    assert jellyfish.lacks(Asked(traces=folder)) is None
    (folder / "some_wifi.txt").unlink()
    assert "holds no trace of WiFi" in str(jellyfish.lacks(Asked(traces=folder)))


def test_a_profile_with_one_model_has_what_that_needs() -> None:
    profile = jellyfish.only(shipped("jellyfish"), "yolov4-416")
    assert [model.name for model in profile.models] == ["yolov4-416"]
    assert [network.name for network in profile.networks] == ["yolov4-416"]
    assert ModelProfile.model_validate(profile.model_dump(mode="json")) == profile


def test_clients_over_links_of_their_own_are_answered_by_declared_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The section, short: its programs run, and its figures come of what they told. Bars are a quiet machine's."""
    for name, value in (
        ("CLIENTS", 2),
        ("SECONDS", 2.0),
        ("MOST_FIXED", 1),
        ("_SWIFT_SECONDS", 2.0),
        ("_BEGIN_S", 6.0),
    ):
        monkeypatch.setattr(jellyfish, name, value)
    monkeypatch.setattr(jellyfish, "CELLS", jellyfish.CELLS[:1])
    console = Console(quiet=True)
    found = jellyfish.section(Asked(traces=traces(tmp_path / "traces")), tmp_path / "out", console)
    assert [cell["trace"] for cell in found.body["cells"]] == ["LTE"]
    for cell in found.body["cells"]:
        ours, fixed = cell["runs"]
        assert ours["frames"] == fixed["frames"] == pytest.approx(2 * 15 * 2, abs=2)
        assert ours["executors"] == fixed["executors"] == ["declared"]
        assert set(fixed["models"]) == {cell["best_fixed"]}
        assert 0 < ours["accuracy"] < ours["in_time"] <= 1
    assert {check.obtained for check in found.checks} == {"measured"}
    assert len(found.checks) >= 2
