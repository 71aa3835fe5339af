"""What anybody may ask for is made at most so often that little of the time goes to it."""

from __future__ import annotations

import time

import pytest

from edgesight.host.doors.seldom import Seldom


def test_making_takes_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, made = [0.0], [0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def make() -> int:
        now[0] += 0.05
        made[0] += 1
        return made[0]

    told = Seldom(make)
    assert told.get() == 1
    while now[0] < 100.0:
        told.get()
        now[0] += 0.001
    assert made[0] * 0.05 < 0.11 * now[0]
    assert told.get() in (made[0], made[0] - 1)


def test_what_could_not_be_made_is_tried_again() -> None:
    tries = iter([False, True])

    def make() -> int:
        if not next(tries):
            raise ValueError("not now")
        return 7

    told = Seldom(make)
    with pytest.raises(ValueError, match="not now"):
        told.get()
    assert told.get() == 7
