"""Other arrivals than Poisson's, several applications at once, and a server that stands still: nobody hides a queue."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.serve import applications, grid, virtual, workloads
from edgesight.bench.serve.data import Prepared
from edgesight.bench.serve.links import links_of
from edgesight.bench.serve.material import Processor, TimedModel
from edgesight.bench.serve.systems import SELECTING, SYSTEMS
from edgesight.host.edge import MAX_WAITING
from edgesight.host.fabric.base import ALWAYS, NEVER, Images, Records
from edgesight.sim.workload import Timestamps, Workload, WorkloadError, workload
from tests.bench.served_digits import LATENCY_S, served_digits

PER_SECOND = 100.0
STALL_S = 1.0
LINK = links_of(None)["no loss"]


@pytest.fixture(scope="module")
def one() -> Prepared:
    served = served_digits((0.0, 0.03, 0.3), pictures=200)
    return Prepared(served.material, served.goals, (90_000, 160_000), 1e8)


def steady(count: int, deadline: float = 5.0, pictures: int = 200) -> Workload:
    """Requests every 10 ms."""
    return workload(
        Timestamps(tuple((np.arange(count) / PER_SECOND).tolist())), count, pictures, deadlines_s=(deadline,)
    )


class Stalls(TimedModel):
    """Stands still once, for a second, in its run after so many."""

    after, runs = 200, 0

    def run(self, images: Images) -> np.ndarray:
        """As the model does."""
        self.runs += bool(images.any())
        if self.runs == self.after:
            self._loop.takes(STALL_S)
        return super().run(images)


class StallingFabric(virtual.TimedFabric):
    """Stands still once, for a second."""

    runs = 0

    def run(self, images: Images, sets: np.ndarray) -> Records:
        """As the fabric does."""
        self.runs += 1
        if self.runs == Stalls.after:
            self._takes(STALL_S)
        return super().run(images, sets)


def waited(took: np.ndarray) -> np.ndarray:
    """How much longer than the usual request each took."""
    return took - float(np.median(took))


def check_nothing_hidden(took: np.ndarray) -> None:
    """Of the requests of a stalled second each shows what was left of it when it came."""
    first = int(np.argmax(waited(took)))
    assert waited(took)[first] == pytest.approx(STALL_S, abs=0.05)
    during = np.arange(first, first + int(STALL_S * PER_SECOND))
    left = STALL_S - np.arange(len(during)) / PER_SECOND
    assert (waited(took)[during] >= left - 0.05).all()
    # A client that waits for one answer before it asks again would have seen one slow request.
    assert (waited(took) > STALL_S / 2).sum() >= STALL_S / 2 * PER_SECOND - 5
    assert (waited(took)[: first - 1] < 0.02).all()


@pytest.mark.parametrize("way", [virtual.quic_streams, virtual.one_stream, virtual.our_link])
def test_a_back_end_that_stalls_hides_no_queue(
    one: Prepared, way: virtual.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual, "TimedModel", Stalls)
    found = virtual.run_data_centre(one.material, steady(500), LINK, way, {}, warm_up=0)
    assert (found.stage == 2).all()
    check_nothing_hidden(found.took_s)


def test_a_fabric_that_stalls_hides_no_queue_either(one: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "TimedFabric", StallingFabric)
    target = one.goals[0].cascade.model_copy(update={"thresholds": [NEVER, ALWAYS]})
    found = virtual.run_edge(one.material, [target], steady(500, 0.25), LINK, virtual.our_link, {}, 2, warm_up=0)
    check_nothing_hidden(found.took_s)
    assert found.late.tolist() == (found.took_s > 0.25).tolist()  # sure of itself, and of no use any more
    assert found.late.sum() > 70


def test_what_an_edge_takes_no_more_is_unanswered(one: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "TimedFabric", StallingFabric)
    target = one.goals[0].cascade.model_copy(update={"thresholds": [NEVER, ALWAYS]})
    coming = steady(1_000)
    fast = Workload(coming.at / 5, coming.picture, coming.target, coming.deadline_s)  # 500 come while it stands still
    found = virtual.run_edge(one.material, [target], fast, LINK, virtual.our_link, {}, 2, warm_up=0)
    unanswered = found.stage == virtual.NOBODY
    assert 0 < unanswered.sum() <= STALL_S * 5 * PER_SECOND - MAX_WAITING + 1
    assert found.late[unanswered].all()
    assert (found.took_s[unanswered] == 5.0).all()


def test_all_systems_meet_the_link_at_the_same_moments(one: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    began = []

    class Seen(TimedModel):
        def run(self, images: Images) -> np.ndarray:
            if images.any():
                began.append(self._loop.time())
            return super().run(images)

    monkeypatch.setattr(virtual, "TimedModel", Seen)
    for way in (virtual.quic_streams, virtual.one_stream, virtual.our_link):
        virtual.run_data_centre(one.material, steady(2), LINK, way, {}, warm_up=0)
    assert min(began) > virtual.BEGIN_S + 0.02  # half a round trip
    assert max(began[::2]) - min(began[::2]) < 0.005  # the first request of each


def test_a_processor_runs_one_after_the_other() -> None:
    shared = Processor()
    assert shared.takes(1.0, 0.5) == 0.5
    assert shared.takes(1.2, 0.5) == pytest.approx(0.8)
    assert shared.takes(3.0, 0.5) == 0.5


def test_arrivals_reach_the_load_and_say_what_they_are(tmp_path: Path) -> None:
    kinds, told = workloads.arrivals_of(None, 5_000, 0)
    assert list(kinds) == ["bursty", "day", "heavy tail"]
    spread = {}
    for name, arrive in kinds.items():
        at = arrive(200.0).times(5_000, np.random.default_rng(0))
        assert (np.diff(at) >= 0).all()
        assert 5_000 / at[-1] == pytest.approx(200.0, rel=0.01)
        counts = np.histogram(at, np.arange(0.0, at[-1], 0.5))[0]
        spread[name] = counts.var() / counts.mean()
        again, _ = workloads.arrivals_of(None, 5_000, 0)
        assert np.array_equal(at, again[name](200.0).times(5_000, np.random.default_rng(0)))
    assert min(spread.values()) > 3.0  # Poisson's is 1
    assert all("drawn here" in told[name] for name in kinds)
    path = tmp_path / "moments.txt"
    path.write_text("10\n11\n12\n15\n1e9\n")
    kinds, told = workloads.arrivals_of(path, 4, 0)  # the fifth, far away, is not replayed
    assert list(kinds) == ["bursty", "trace"]
    at = kinds["trace"](2.0).times(4, np.random.default_rng(0))
    assert np.diff(at).tolist() == pytest.approx([0.3, 0.3, 0.9])
    assert "4 of the 5 moments of moments.txt" in told["trace"]
    with pytest.raises(WorkloadError, match="rising"):
        workloads.arrivals_of(_written(tmp_path, "3\n2\n"), 4, 0)


def _written(folder: Path, content: str) -> Path:
    path = folder / "wrong.txt"
    path.write_text(content)
    return path


def test_a_selecting_server_swaps_within_its_memory(one: Prepared) -> None:
    both = [one, one]
    coming = applications.mixed(Timestamps((0.0, 0.1, 0.2, 0.3, 0.4, 0.5)), 6, both, (0.5,), 0)
    asks = coming.application.tolist()
    chosen = [np.zeros(len(part), np.int64) for part in coming.parts]
    changes = sum(before != after for before, after in itertools.pairwise(asks))
    assert changes > 1
    found, swaps = applications.on_device(both, coming, chosen, 90_000, 1e6)
    assert swaps == changes  # whoever comes in finds the other's variant
    took = [took for answers in found for _, took, _, _ in answers]
    assert sum(one > 0.09 for one in took) == changes + 1  # a load takes 90 ms, and the first is no swap
    assert min(took) == pytest.approx(LATENCY_S[0])
    assert applications.on_device(both, coming, chosen, 180_000, 1e6)[1] == 0
    first, second = ([answer[3] for answer in answers] for answers in found)
    assert {*first, *second} == {0}


def test_applications_share_a_link_and_a_processor(one: Prepared) -> None:
    again = dataclasses.replace(one, material=dataclasses.replace(one.material, name="again"))
    together = workloads.together(
        [one, again], "steady", Timestamps(tuple((np.arange(900) / 900.0).tolist())).at_rate, "5% loss",
        links_of(None)["5% loss"], 1e8, 300, 0,
    )  # fmt: skip
    rows = {row.system: row for row in together.rows}
    assert list(rows) == [system.name for system in applications.SYSTEMS]
    assert list(together.of_applications) == ["digits", "again"]
    assert rows["hedged"].swaps == rows["edge"].swaps == rows["selecting-loaded"].swaps == 0
    assert rows["selecting"].swaps > 50
    assert next(iter(together.swaps_by_memory.values())) == rows["selecting"].swaps
    assert all(row.unanswered == 0 for row in rows.values())
    assert rows["data-centre"].offloaded > 0.9
    assert all(0.0 < rows[name].offloaded < 0.5 for name in ("hedged", "two-stage"))
    assert rows["hedged"].bytes_a_request < rows["data-centre"].bytes_a_request
    assert together.needs
    for check in workloads.application_checks([together]):
        assert check.obtained == "simulated"


def test_each_bar_can_be_missed_and_met() -> None:
    def cell(ratio: float, short: float, swaps: int, unanswered: int) -> grid.Compared:
        rows = tuple(
            grid.Row(
                system.name, 0.9, short if system.ours else 0.0, 1.0, 2.0, 0.0, 0.2,
                swaps if system.ours else 3 - swaps, 1.0, 0.1, unanswered,
            )
            for system in SYSTEMS
        )  # fmt: skip
        return grid.Compared(grid.Cell(0.6, "no loss", (0,)), rows, True, "edge", (ratio, ratio, ratio), 1.0, 40.0)

    assert all(check.met for check in workloads.arrival_checks([("bursty", cell(1.0, 0.0, 0, 0))]))
    assert not any(check.met for check in workloads.arrival_checks([("bursty", cell(0.5, 0.1, 3, 1))]))


def test_swaps_are_counted_where_they_were_made() -> None:
    assert SELECTING in applications.SYSTEMS
    assert sum(system.ours for system in applications.SYSTEMS) == 1
