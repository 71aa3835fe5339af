"""Arrivals have the rate that they are said to have, and the same seed gives the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesight.sim.workload import Arrivals, Bursty, Poisson, Timestamps, WorkloadError, workload

COUNT = 20_000


def gaps(arrivals: Arrivals) -> np.ndarray:
    return np.diff(workload(arrivals, COUNT, 10).at)


def test_poisson_arrivals_have_their_rate_and_spread() -> None:
    found = gaps(Poisson(40.0))
    assert found.min() >= 0.0
    assert found.mean() == pytest.approx(1 / 40, rel=0.03)
    assert found.std() == pytest.approx(found.mean(), rel=0.03)


def test_bursts_keep_the_mean_and_spread_more() -> None:
    found = gaps(Bursty(40.0, factor=8.0, share=0.1, burst_s=0.5))
    assert found.min() >= 0.0
    assert found.mean() == pytest.approx(1 / 40, rel=0.15)
    assert found.std() > 1.2 * found.mean()


def test_a_trace_goes_on_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.txt"
    path.write_text("5.0\n5.5\n7.0\n")
    trace = Timestamps.read(path)
    assert workload(trace, 7, 3).at.tolist() == [0.0, 0.5, 2.0, 3.0, 3.5, 5.0, 6.0]
    assert trace.per_second == 1.0
    assert workload(trace.at_rate(2.0), 7, 3).at.tolist() == [0.0, 0.25, 1.0, 1.5, 1.75, 2.5, 3.0]


@pytest.mark.parametrize("content", ["", "1\n", "1\n0\n", "1\nx\n", "nan\n1\n", "1\ninf\n", "\xff"])
def test_a_trace_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "arrivals.txt"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(WorkloadError, match=r"arrivals\.txt"):
        Timestamps.read(path)


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [
        (Poisson(0.0), 5),
        (Poisson(float("nan")), 5),
        (Poisson(1.0), 0),
        (Poisson(1.0), 10**9),
        (Bursty(1.0, factor=1.0), 5),
        (Bursty(1.0, share=0.0), 5),
        (Bursty(1.0, burst_s=0.0), 5),
        (Timestamps((0.0, 0.0)), 5),
        (Timestamps((0.0,)), 1),
    ],
)
def test_what_cannot_come_is_refused(arrivals: Arrivals, count: int) -> None:
    with pytest.raises(WorkloadError):
        workload(arrivals, count, 3)


def test_a_seed_decides_all_and_one_part_moves_no_other() -> None:
    one, same, more = (
        workload(Poisson(9.0), 500, 7, targets=targets, deadlines_s=(0.1, 0.2), seed=3) for targets in (2, 2, 3)
    )
    for name in ("at", "picture", "deadline_s"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
        assert np.array_equal(getattr(one, name), getattr(more, name))
    assert set(one.target.tolist()) == {0, 1}
    assert set(more.target.tolist()) == {0, 1, 2}
    assert set(one.deadline_s.tolist()) == {0.1, 0.2}
    counts = np.bincount(one.picture)
    assert counts.max() - counts.min() <= 1
    assert not np.array_equal(one.at, workload(Poisson(9.0), 500, 7, seed=4).at)


def test_each_picture_meets_each_target_as_often() -> None:
    coming = workload(Poisson(10.0), 70 + 2 * 3 * 40, 40, targets=3, seed=1)
    counted = slice(70, None)  # what comes before the whole rounds
    asked = set(zip(coming.picture[counted].tolist(), coming.target[counted].tolist(), strict=True))
    pairs = np.unique(np.stack([coming.picture[counted], coming.target[counted]]), axis=1, return_counts=True)
    assert len(asked) == 3 * 40
    assert (pairs[1] == 2).all()
    first = coming.target[counted][:40]
    assert len(set(first.tolist())) == 3  # mixed within a round, too
