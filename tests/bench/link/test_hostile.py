"""What the bench of hostile clients finds, and that a data centre which is not hurt can be told from one that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgesight.bench.link.hostile import LINES_PER_S, MEMORY_MB, SHARE, Phase, bench_hostile, judge
from edgesight.host.package import Package
from edgesight.sim.link.options import EmulationError


def phase(attack: str | None = "holes", **found: Any) -> Phase:
    """One in which nothing happened."""
    same = {"asked": 400, "answered": 400, "share": 1.0, "p50_ms": 9.0, "p99_ms": 20.0, "side": 8}
    memory = {"idle_mb": 100.0, "most_mb": 101.0, "edge_idle_mb": 70.0, "edge_most_mb": 70.0}
    quiet = {"lines": 0, "most_lines_per_s": 0, "tracebacks": 0, "server_cpu_s": 1.0, "attacker": {}}
    fields: dict[str, Any] = {"attack": attack, "source": "other addresses", **same, **memory, **quiet, **found}
    return Phase(**fields)


def test_an_attack_without_effect_meets_all_bars() -> None:
    checks = judge([phase(None), phase()])
    assert len(checks) >= 5  # each harm below has one
    assert all(check.met for check in checks)


@pytest.mark.parametrize(
    ("found", "unmet"),
    [
        ({"share": SHARE - 0.01}, "answers in time"),
        ({"most_mb": 100.0 + MEMORY_MB + 1.0}, "memory above idle, data centre"),
        ({"edge_most_mb": 70.0 + MEMORY_MB + 1.0}, "memory above idle, edge"),
        ({"most_lines_per_s": LINES_PER_S + 1}, "log"),
        ({"tracebacks": 1}, "tracebacks"),
    ],
)
def test_each_harm_has_a_check_of_its_own(found: dict[str, Any], unmet: str) -> None:
    missed = [check for check in judge([phase(**found)]) if not check.met]
    assert len(missed) == 1
    assert unmet in missed[0].name


def test_a_control_without_answers_shows_nothing() -> None:
    assert not all(check.met for check in judge([phase(None, answered=0)]))


def test_an_unknown_attack_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match=r"no attack is called nonsense: choose one of .*holes"):
        bench_hostile(tmp_path, Console(), names=["nonsense"])


def test_attacks_are_made_and_leave_no_trace_but_a_line_or_two(digits: Package, tmp_path: Path) -> None:
    """A few seconds of the cheap ones, against the programs themselves; a busy machine says nothing of the times."""
    names = ["holes", "faults"]
    bench_hostile(tmp_path, Console(width=140), names=names, seconds=2.0, package=digits.path, fabric="csim")
    phases = [Phase(**found) for found in json.loads((tmp_path / "hostile.json").read_text())["phases"]]
    assert [one.attack for one in phases] == [None, "holes", "holes", "faults", "faults"]
    for one in phases:
        assert one.answered > 0, one
        assert one.attack is None or one.attacker["connections"] > 0, one
        assert one.tracebacks == 0, one
        assert one.most_lines_per_s <= LINES_PER_S, one
        assert one.most_mb - one.idle_mb <= MEMORY_MB, one
