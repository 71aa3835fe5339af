"""Systems under load in virtual time: what each does in a cell, and what is made of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.serve import grid, page, systems, virtual
from edgesight.bench.serve.data import memory_bandwidth
from edgesight.bench.serve.floor import counted_floor_s, floor_s
from edgesight.bench.serve.links import links_of
from edgesight.bench.serve.material import TimedModel
from edgesight.bench.serve.systems import SYSTEMS
from edgesight.host.fabric.base import OFFLOAD
from edgesight.sim.link.options import EmulationError, LinkOptions, MahimahiTrace
from edgesight.sim.link.trust import Trust
from edgesight.sim.link.virtual import VirtualLoop
from edgesight.sim.workload import Poisson, workload
from tests.bench.served_digits import Served, served_digits


@pytest.fixture(scope="module")
def bench() -> Served:
    return served_digits((0.0, 0.03))


def test_all_systems_meet_the_same_requests_and_the_same_seed_gives_the_same(bench: Served) -> None:
    cell = grid.Cell(0.4, "5% loss", (0, 1))
    one, same = (grid.compared(bench.material, bench.goals, links_of(None), 1e-3, 300, 0, cell) for _ in range(2))
    assert [row.system for row in one.rows] == [system.name for system in SYSTEMS]
    for row, again in zip(one.rows, same.rows, strict=True):
        # Keys, and with them packets' sizes, are new: the link then finds a little sooner or later that it loses.
        assert {**vars(row), "system": 0} == pytest.approx({**vars(again), "system": 0}, rel=0.05, abs=0.01)
    edge, centre, selecting, *cascades = one.rows
    assert (edge.offloaded, edge.busy) == (0.0, 0.0)
    assert centre.offloaded > 0.9
    assert centre.p50_ms > 40.0  # the way there and back
    assert selecting.swaps >= 0
    for row in cascades:
        assert row.offloaded < centre.offloaded
        assert row.p50_ms < centre.p50_ms
        assert row.bytes_a_request < centre.bytes_a_request
    assert all(0.0 < row.accuracy <= 1.0 and row.late < 0.2 for row in one.rows)


def test_a_slow_machine_opens_a_way_no_later_in_virtual_time(bench: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from aioquic.asyncio.server import QuicServer

    async def opened_at(loop: VirtualLoop, trust: Trust) -> float:
        model = TimedModel(bench.material, loop, 0, {})
        async with virtual.opened(virtual.our_link, bench.material, model, trust):
            return loop.time()

    def once() -> float:
        return virtual.virtually(links_of(None)["no loss"], 0, opened_at)[0]

    soon, as_usual = once(), QuicServer.datagram_received

    def slowly(self: Any, *of_packet: Any) -> None:
        time.sleep(0.2)  # sleeps: what a busy machine takes for a stranger's packet
        as_usual(self, *of_packet)

    monkeypatch.setattr(QuicServer, "datagram_received", slowly)
    assert once() == pytest.approx(soon, abs=1e-3)


def test_a_way_that_opens_too_late_is_not_compared(bench: Served) -> None:
    """Its requests would meet another part of a trace."""
    begin = round(1e3 * virtual.BEGIN_S)
    late = MahimahiTrace(tuple(range(begin, 2 * begin)), "carries nothing at first")
    coming = workload(Poisson(60.0), 20, len(bench.material.truth))
    both = LinkOptions(late, 0.02), LinkOptions(late, 0.02)
    with pytest.raises(EmulationError, match="would meet another part of the link's trace: try a trace that carries"):
        virtual.run_data_centre(bench.material, coming, both, virtual.our_link, {}, warm_up=0)


def test_late_answers_are_wrong_and_take_the_deadline(bench: Served) -> None:
    coming = workload(Poisson(20.0), virtual.WARM_UP + 20, len(bench.material.truth), deadlines_s=(0.03,))
    found = virtual.run_data_centre(bench.material, coming, links_of(None)["no loss"], virtual.quic_streams, {})
    assert found.late.all()  # the link alone takes longer
    assert found.took_s.tolist() == [0.03] * 20
    row = grid._row(SYSTEMS[1], systems.Served(found), bench.material, bench.goals[:1], coming)
    assert (row.accuracy, row.reaches) == (0.0, False)


def test_nothing_is_faster_than_the_floor(bench: Served) -> None:
    goal = bench.goals[0]
    target = goal.cascade.model_copy(update={"thresholds": [1_000_000, 1_000_000]})  # all is offloaded
    coming = workload(Poisson(60.0), virtual.WARM_UP + 100, len(bench.material.truth))
    both = links_of(None)["no loss"]
    found = virtual.run_edge(bench.material, [target], coming, both, virtual.our_link, {}, 2)
    floor = floor_s(bench.material, [target.thresholds], coming, both, {})[virtual.WARM_UP :]
    assert (found.stage == 2).all()
    assert (np.sort(found.took_s) >= np.sort(floor) - 1e-6).mean() > 0.95
    assert np.median(found.took_s) < 1.3 * np.median(floor)


def test_the_floor_is_late_at_the_deadline_as_all_systems_are(bench: Served) -> None:
    begin = round(1e3 * virtual.BEGIN_S)
    moments = (*range(1, begin + 1_000), *range(begin + 3_000, 12_000))
    trace = MahimahiTrace(moments, "stands for two seconds")
    still = LinkOptions(trace, 0.02), LinkOptions(trace, 0.02)
    rows = [[1_000_000, 1_000_000]]  # all is offloaded
    coming = workload(Poisson(60.0), 300, len(bench.material.truth), deadlines_s=grid.DEADLINES_S)
    late = floor_s(bench.material, rows, coming, still, {}) > coming.deadline_s
    assert 0.1 < late.mean() < 0.9
    counted = counted_floor_s(bench.material, rows, coming, still)
    assert np.array_equal(counted[late], coming.deadline_s[late])
    # So it is in a cell, where systems whose late requests count so are held against it.
    cell = grid.compared(bench.material, bench.goals[:1], {"still": still}, 1e-3, 200, 0, grid.Cell(0.5, "still", (0,)))
    assert cell.floor_ms <= 1e3 * max(grid.DEADLINES_S)
    assert cell.needs
    assert cell.over_floor >= 0.9


def test_records_follow_the_thresholds(bench: Served) -> None:
    served = bench.material
    records = served.records([5, 7])
    first = served.margins[0] >= 5
    second = ~first & (served.margins[1] >= 7)
    assert np.array_equal(records["stage"] == 0, first)
    assert np.array_equal(records["stage"] == 1, second)
    assert np.array_equal(records["stage"] == (1 | OFFLOAD), ~first & ~second)
    assert np.array_equal(records["label"][first], served.labels[0][first])
    assert np.array_equal(records["label"][~first], served.labels[1][~first])


def test_a_ratio_has_an_interval_that_holds_it() -> None:
    ours = np.random.default_rng(0).exponential(0.01, 5_000)
    assert list(grid.paired_ratio(2 * ours, ours, 0)) == pytest.approx([2.0, 2.0, 2.0])
    theirs = np.random.default_rng(1).exponential(0.01, 5_000)
    ratio, low, high = grid.paired_ratio(theirs, ours, 0)
    assert low < ratio < high


def compared(ratio: float, over: float, short: float = 0.0, swaps: int = 0) -> grid.Compared:
    rows = tuple(
        grid.Row(system.name, 0.9, short if system.ours else 0.0, 1.0, 2.0, 0.0, 0.2, swaps, 1.0, 0.1)
        for system in SYSTEMS
    )
    return grid.Compared(grid.Cell(0.3, "no loss", (0,)), rows, True, "edge", (ratio, ratio, ratio), over, 40.0)


def test_each_bar_can_be_missed_and_met() -> None:
    assert all(check.met for check in grid.checks("x", [compared(2.1, 1.1), compared(1.7, 1.2)]))
    missed = [check for check in grid.checks("x", [compared(0.5, 2.0, 0.01, 3)]) if not check.met]
    assert len(missed) == 5
    names = [check.name for check in grid.checks("x", [compared(0.5, 2.0)]) if not check.met]
    assert len(names) == 3
    assert [grid._better(one) for one in (compared(1.7, 1.0), compared(1.7, 1.0, 0.01))] == [1.7, 0.0]
    reports: list[dict[str, list[float | None]]] = [{"better": [2.5, None, 1.7]}, {"better": [2.0, 1.0]}]
    assert [(check.value, check.met) for check in grid.headline(reports)] == [(0.5, True), (0.75, True)]
    assert not any(check.met for check in grid.headline([{"better": [1.9, 1.5]}]))


def test_memory_has_a_bandwidth() -> None:
    assert memory_bandwidth() > 1e8


def test_the_page_tells_where_others_take_less_energy() -> None:
    def cell(board: str, ours: float, theirs: tuple[float, bool]) -> dict[str, object]:
        rows = [
            {"system": "hedged", "microjoules": ours, "reaches": True},
            {"system": "two-stage", "microjoules": theirs[0], "reaches": theirs[1]},
            {"system": "streams", "microjoules": 1.0, "reaches": True},  # no system of today's
        ]
        return {"load": 0.6, "link": "5% loss", "board": board, "rows": rows}

    cells = [cell("less", 20.0, (10.0, True)), cell("more", 10.0, (20.0, True)), cell("misses", 20.0, (10.0, False))]
    (told,) = page._more_energy({"data": {"x": {"cells": cells}}})
    assert told == "- Energy, x, load 0.6, 5% loss, less: two-stage takes 10 microjoules an image, ours 20."


def test_the_page_shows_all_cells_and_where_ours_is_behind(bench: Served, tmp_path: Path) -> None:
    found = [compared(2.1, 1.1), compared(0.5, 1.1, 0.01)]
    body = grid.body(bench.material, bench.goals, links_of(None), found, load_s=1e-3, requests=300, seed=0)
    made = {"command": "edgesight bench serve", "date": "2000-01-01", "cores": 2, "machine": "x", "python": "3"}
    report = {"made": made, "sections": {"grid-digits": body, "other": {}}, "skipped": {"grid-x": "it is not here"}}
    told = page.page(report, grid.checks("digits", found))
    assert told.count("| 0.3 | no loss | 1 |") == 2
    assert "digits, load 0.3, no loss, less 1: edge is 2.00 times faster." in told
    assert "| 2.0 miss |" in told
    assert "- Unmet: digits: cells in which ours misses the target: 1 cells." in told
    assert "- ours, over QUIC streams: does better than ours in 1 of the 2 cells that need offloading." in told
    assert "- In 2 of the 2 cells that need offloading the floor itself is less than 1.6 times better" in told
    assert "- grid-x: it is not here." in told
    assert page.draw(report, tmp_path / "serve.png")
    assert (tmp_path / "serve.png").read_bytes().startswith(b"\x89PNG")
    assert "](serve.png)" in told
    empty = {"made": made, "sections": {}, "skipped": {}}
    assert "serve.png" not in page.page(empty, [])
    assert not page.draw(empty, tmp_path / "none.png")
