"""Traces are read in the form that they are in, by every command alike, or refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.bench.plan.adapt_grid import traces_in
from edgesight.bench.plan.split_links import traces
from edgesight.host.trace import TraceError, read, read_as
from edgesight.plan.profile import PlanError, read_trace
from edgesight.plan.split.bandwidth import read_series
from edgesight.sim.link.options import MahimahiTrace, RateTrace

# 200 packets in 2,400 ms: 1 Mbit/s, twice as many in the first half as in the second.
MOMENTS = [1 + 9 * place for place in range(133)] + [1200 + 18 * place for place in range(1, 67)] + [2400]


def written(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["cell.up", "cell.down", "cell.txt", "cell"])
def test_rising_whole_numbers_are_mahimahis_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    found = read(written(tmp_path / name, list(MOMENTS)))
    assert found.form == "mahimahi"
    assert found.moments_ms == tuple(MOMENTS)
    assert len(found.by_second) == 2
    assert sum(found.by_second) / 2 == pytest.approx(200 * 1500 * 8e-3 / 2400)
    assert found.by_second[0] == pytest.approx(1.9 * found.by_second[1], rel=0.1)
    assert "Mahimahi" in found.describe()
    assert read_series(tmp_path / name) == list(found.by_second)


def test_a_trace_shorter_than_a_second_has_its_mean_alone(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a", [2 * place for place in range(100)])).by_second == pytest.approx((6.06,), 0.01)


def test_other_numbers_are_rates_and_a_prefix_makes_certain(tmp_path: Path) -> None:
    assert read(written(tmp_path / "few", [5, 10, 20])).mbps == (5.0, 10.0, 20.0)
    assert read(written(tmp_path / "falls", [20, *range(5, 30)])).form == "mbit"
    assert read(written(tmp_path / "same", [20] * 50)).form == "mbit"
    path = written(tmp_path / "either", list(range(5, 30)))
    assert read(path).form == "mahimahi"
    assert read(f"mbit:{path}").mbps[0] == 5.0
    assert read(f"mahimahi:{tmp_path / 'few'}").moments_ms == (5, 10, 20)


def test_blank_lines_and_comments_are_passed_over_by_all_readers(tmp_path: Path) -> None:
    path = tmp_path / "gaps.txt"
    path.write_text("# by hand\n20\n\n  \n15\n")
    assert read(path).mbps == (20.0, 15.0)
    assert read_series(path) == [20.0, 15.0]
    assert RateTrace.read(path).mbit_per_s == (20.0, 15.0)
    assert traces_in(tmp_path) == {"gaps": (20.0, 15.0)}
    assert traces(tmp_path)[0].capacity.mean_mbps == pytest.approx(17.5)
    path.write_text("# by hand\n3\n\n9\n")
    assert MahimahiTrace.read(path).milliseconds == (3, 9)


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["1e308", "1e308"], "line 1: 1e308 Mbit/s; expected none below 0 or above 1,000,000"),
        (["20", "-1"], "line 2: -1 Mbit/s"),
        (["20", "nan"], "line 2: 'nan' is not Mbit/s"),
        (["inf"], "line 1: 'inf' is not Mbit/s"),
        (["1_0"], "line 1: '1_0' is not Mbit/s"),
        (["20", "fast"], "line 2: 'fast' is not Mbit/s"),
        ([], "is empty"),
        (["0", "0"], "on average at least 1 bit/s"),
    ],
)
def test_what_is_no_rate_is_refused_by_file_and_line(tmp_path: Path, lines: list[object], where: str) -> None:
    path = written(tmp_path / "odd.txt", lines)
    with pytest.raises(TraceError, match=r"odd\.txt") as caught:
        read(path)
    assert where in str(caught.value)
    with pytest.raises(PlanError, match=r"odd\.txt"):
        read_trace(path)


def test_what_is_no_mahimahi_trace_is_refused_where_it_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"line 2: '2\.5' is not whole milliseconds"):
        read(written(tmp_path / "odd.up", [1, 2.5]))
    with pytest.raises(TraceError, match="none below the one before it"):
        read_as(written(tmp_path / "falls", [5, 3]), "mahimahi")
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path / "nowhere")
