"""What the demo makes of answers: accuracy and punctuality are apart, and own data are held against their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from host.kernel import Package
from sim import demo
from sim.bench import ROOT
from sim.demo import DemoError, Row

LATE = (-1, 120.0, 0.0)


def replies(right: int, wrong: int, late: int) -> tuple[list[tuple[int, float, float]], np.ndarray]:
    """Answers of images that all show class 1."""
    answers = [(1, 8.0, 2.0)] * right + [(0, 8.0, 2.0)] * wrong + [LATE] * late
    return answers, np.ones(len(answers), np.int64)


def test_late_answers_do_not_make_the_data_centre_less_accurate() -> None:
    punctual, busy = demo._data_centre_row(*replies(90, 10, 0)), demo._data_centre_row(*replies(9, 1, 90))
    assert (punctual.accuracy, punctual.in_time) == (0.9, 1.0)
    assert (busy.accuracy, busy.in_time) == (0.9, 0.1)
    assert busy.stages["datacenter"] == 0.1
    assert busy.high - busy.low > punctual.high - punctual.low  # of fewer answers less is known
    with pytest.raises(DemoError, match=r"answered no image within 100 ms.*less busy"):
        demo._data_centre_row(*replies(0, 0, 5))


def row(reached: float, high: float) -> Row:
    return replace(demo._data_centre_row(*replies(1, 0, 0)), name="target", target=0.8, accuracy=reached, high=high)


def test_own_data_are_held_against_their_own_targets_alone() -> None:
    package = Package.load(ROOT / "bitstreams" / "digits")
    alone = demo._data_centre_row(*replies(99, 1, 0))
    slow = [10_000_000.0, 10_000_000.0]  # cycles a frame
    within_chance = demo._checks(package, [row(0.78, 0.81), alone], slow, shipped=False)
    missed = demo._checks(package, [row(0.7, 0.75), alone], slow, shipped=False)
    as_shipped = demo._checks(package, [row(0.78, 0.81), alone], slow, shipped=True)
    assert all(check.met for check in within_chance)
    assert [check.name for check in missed if not check.met] == ["accuracy, target, upper end of 95 %"]
    assert {"offload at data-centre accuracy less 0.5 points", "accuracy, target"} <= {
        check.name for check in as_shipped if not check.met
    }
