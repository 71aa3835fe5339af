"""What the demo makes of answers: accuracy and punctuality are apart, and own data are held against their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgesight.bench import demo, demo_rows
from edgesight.bench.demo_rows import DemoError, Row
from edgesight.host.fabric.base import OFFLOAD, RECORD
from edgesight.host.images import Picture
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT

LATE = (-1, 120.0, 0.0)


def replies(right: int, wrong: int, late: int) -> tuple[list[tuple[int, float, float]], np.ndarray, list[str]]:
    """Answers of images that all show class 1."""
    answers = [(1, 8.0, 2.0)] * right + [(0, 8.0, 2.0)] * wrong + [LATE] * late
    return answers, np.ones(len(answers), np.int64), ["stage0", "stage1", "datacenter"]


def test_late_answers_do_not_make_the_data_centre_less_accurate() -> None:
    punctual, busy = demo_rows.data_centre_row(*replies(90, 10, 0)), demo_rows.data_centre_row(*replies(9, 1, 90))
    assert (punctual.accuracy, punctual.in_time) == (0.9, 1.0)
    assert (busy.accuracy, busy.in_time) == (0.9, 0.1)
    assert busy.stages["datacenter"] == 0.1
    assert busy.high - busy.low > punctual.high - punctual.low  # of fewer answers less is known
    with pytest.raises(DemoError, match=r"answered no image within 100 ms.*less busy"):
        demo_rows.data_centre_row(*replies(0, 0, 5))


def row(reached: float, high: float) -> Row:
    return replace(demo_rows.data_centre_row(*replies(1, 0, 0)), name="target", target=0.8, accuracy=reached, high=high)


def test_own_data_are_held_against_their_own_targets_alone() -> None:
    package = Package.load(ROOT / "bitstreams" / "digits")
    alone = demo_rows.data_centre_row(*replies(99, 1, 0))
    slow = [10_000_000.0, 10_000_000.0]  # cycles a frame
    within_chance = demo._checks(package, [row(0.78, 0.81), alone], slow, shipped=False)
    missed = demo._checks(package, [row(0.7, 0.75), alone], slow, shipped=False)
    as_shipped = demo._checks(package, [row(0.78, 0.81), alone], slow, shipped=True)
    assert all(check.met for check in within_chance)
    assert [check.name for check in missed if not check.met] == ["accuracy, target, upper end of 95 %"]
    assert {demo.SENT_AS_ACCURATE, "accuracy, target"} <= {check.name for check in as_shipped if not check.met}


def late_row(late: int, offload: float = 1.0) -> Row:
    return replace(demo_rows.data_centre_row(*replies(100 - late, 0, late)), name=f"{late} late", offload=offload)


def test_late_answers_are_told_with_their_cause_and_the_deadline() -> None:
    package = Package.load(ROOT / "bitstreams" / "digits")
    assert demo_rows.lateness([late_row(1)], 0.05, 0.05) is None
    assert demo_rows.lateness([replace(late_row(0), offload=0.0)], 0.05, 0.05) is None
    busy = demo_rows.lateness([late_row(1), late_row(40)], 0.05, 0.05)
    assert busy is not None
    assert "up to 40% of the answers that were asked of the data centre (40 late) did not come within 100 ms" in busy
    assert "run the demo again when nothing else runs" in busy
    few = demo_rows.lateness([late_row(4, offload=0.1)], 0.05, 0.05)  # 4 % of all, but 40 % of those that were asked
    assert few is not None
    assert "up to 40%" in few
    lossy = demo_rows.lateness([late_row(40)], 0.5, 0.05)
    assert lossy is not None
    assert "The link loses 50%, more than the 5% of calibration: lower --loss" in lossy
    for late in (busy, None):
        page = demo_rows.markdown([late_row(40)], [], package, 100, 0.05, "A note.", late)
        assert ("Late: up to" in page) == (late is not None)
        assert "In time: within 100 ms" in page
    assert "In time: within 100 ms" in str(demo_rows.tables([late_row(1)], package)[-1].caption)


def test_no_bar_is_shown_for_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Any = object()

    class Edge:
        kernel = SimpleNamespace(novelty=None)

        async def ask(self, *given: object) -> object:
            return answer

    def bar() -> None:
        raise AssertionError("a bar of 0 of 0")

    monkeypatch.setattr(demo, "progress", bar)
    package = Package.load(ROOT / "bitstreams" / "digits")
    assert package.kernel.calibration is not None
    records = np.zeros(3, [("stage", np.uint8), ("cycles", np.uint32)])
    edge: Any = Edge()
    images = np.zeros((3, 8, 8, 1), np.uint8)
    shown = demo._Shown(images, np.zeros(3, np.int64), np.arange(3), images)
    target = package.kernel.calibration.targets[0]
    answers = asyncio.run(demo._ask_all(edge, shown, records, target, "edge only", 1_000.0))
    assert answers == [answer] * 3


def test_the_data_centre_is_sent_photographs_of_what_the_fabric_is_unsure_of() -> None:
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    places = np.array([3, 1, 0, 2])
    photographs = np.repeat(np.repeat(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), 8, axis=1), 8, axis=2)
    shown = demo._Shown(images[places], np.zeros(4, np.int64), places, photographs)
    records = np.zeros(4, RECORD)
    records["stage"][[1, 3]] = OFFLOAD
    asked: dict[int, Picture] = {}

    class FakeEdge:
        kernel = SimpleNamespace(novelty=None)

        async def ask(self, picture: Picture, target: object, deadline: float) -> int:
            asked[int(picture.pixels[0, 0, 0])] = picture
            return int(picture.pixels[0, 0, 0])

    edge: Any = FakeEdge()
    target: Any = None
    answers: list[Any] = asyncio.run(demo._ask_all(edge, shown, records, target, "all", 1_000.0))
    assert answers == places.tolist()
    assert {index: picture.photograph is not None for index, picture in asked.items()} == {
        3: False,
        1: True,
        0: False,
        2: True,
    }
    for index in (1, 2):
        assert np.array_equal(asked[index].for_back_end, photographs[index])


def test_a_slow_model_is_asked_less_often() -> None:
    package = Package.load(ROOT / "bitstreams" / "digits")
    images = np.zeros((2, 8, 8, 1), np.uint8)
    shown = demo._Shown(images, np.zeros(2, np.int64), np.arange(2), images)
    assert 0.0 < demo._arrivals(package, shown) <= demo.ARRIVALS_PER_S


def test_targets_are_about_pictures_that_are_not_strange() -> None:
    kernel = Package.load(ROOT / "bitstreams" / "digits").kernel
    assert kernel.novelty is not None
    told: Any = [
        SimpleNamespace(novelty=value) for value in (kernel.novelty.level / 2, kernel.novelty.level, 0.7, None)
    ]
    assert demo_rows.familiar(told, kernel).tolist() == [False, True, True, True]
    with pytest.raises(demo_rows.DemoError, match="calibrate it on pictures like these"):
        demo_rows.familiar(told[:1], kernel)
    given, truth, by = replies(8, 2, 0)
    counted = np.array([True] * 4 + [False] * 4 + [True] * 2)
    assert demo_rows.data_centre_row(given, truth, by, counted).accuracy == 4 / 6
