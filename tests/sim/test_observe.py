"""The back end observed at its own size, through loss; and what was measured is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.kernel import Rung
from edgesight.host.link.quality import LADDER, Step
from edgesight.host.observed import Observed
from edgesight.sim import observe as observing
from edgesight.sim.observe import calibration_of, observe
from tests.host.by_hand import SHAPE, package
from tests.host.drawn import LOSSES, draw
from tests.sim.patterns import SIDE, StripeReader, photographs

LABELS = np.arange(120) % 2
# The one stage takes everything for class 0, by the least margin.
LOGITS = [np.tile([1, 0], (120, 1)).astype(np.int32)]


@dataclass
class OnDemand:
    """Photographs that are made as they are wanted; remembers how many were held at once."""

    made: npt.NDArray[np.uint8]
    most: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.made.shape

    def __getitem__(self, chosen: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        self.most = max(self.most, len(chosen))
        return self.made[chosen]


@dataclass(frozen=True)
class Shown:
    """Labelled pictures."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    photographs: Any
    ids: tuple[str, ...]


def test_the_back_end_is_asked_of_photographs_at_its_own_size() -> None:
    pictures = OnDemand(photographs(LABELS))
    observed = observe(StripeReader(), LOGITS, pictures, LABELS, (0.0, 0.05, 1.0), 0)
    assert observed.backend_right[0].all()
    assert observed.backend_right[1].mean() > 0.9
    assert not observed.came[2].any()
    assert (observed.backend[2] == 0).all()  # the stage's stands in
    assert pictures.most == 64


def test_the_step_of_the_ladder_is_what_they_go_by() -> None:
    """At half the size nothing is left of the stripes; what comes is enlarged to what the back end takes."""
    observed = observe(StripeReader(), LOGITS, photographs(LABELS), LABELS, (0.0,), 0, [Step(85, 2)])
    assert observed.backend_right[0].mean() == 0.5
    quarter = observe(StripeReader(), LOGITS, photographs(LABELS), LABELS, (0.0,), 0, [Step(85, 4)])
    assert quarter.came.all()  # 24 pixels a side, in JPEG none the less


def test_a_calibration_is_of_the_first_rung_and_carries_the_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = package(tmp_path / "kernel", None)
    reader = StripeReader()
    monkeypatch.setattr(observing, "_back_end", lambda _: reader)
    labels, logits = LABELS[:40], [LOGITS[0][:40]]
    shown = Shown(np.zeros((40, *SHAPE), np.uint8), labels, photographs(labels), tuple(map(str, range(40))))

    def calibrated(targets: Any, seed: int = 0) -> Any:
        return calibration_of(made, lambda _: logits, shown, None, targets, loss=0.01, seed=seed, resplits=2)

    first = calibrated([0.6])
    assert [target.accuracy for target in first.targets] == [0.6]
    assert first.ladder
    assert isinstance(first.ladder[0], Rung)
    assert first.ladder[0].accuracy == 1.0
    assert first.ladder[0].divisor == 1
    asked = len(reader.asked)
    assert calibrated("auto").ladder == first.ladder  # other targets take no second measurement
    assert len(reader.asked) == asked
    assert calibrated([0.6], seed=1).ladder[0].accuracy == 1.0
    assert len(reader.asked) > asked


def test_what_was_measured_once_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    known = package(tmp_path / "kernel", None)
    images = np.zeros((50, 8, 8, 1), np.uint8)
    shown = Shown(images, np.zeros(50, np.int64), np.zeros((50, SIDE, SIDE, 1)), tuple("a" * 50))
    measured: list[int] = []

    def measure(
        model: object, logits: object, pictures: object, truth: Any, losses: Any, seed: int, steps: object
    ) -> Any:
        measured.append(seed)
        return draw(len(truth), seed)

    monkeypatch.setattr(observing, "observe", measure)

    def ask(
        split: Shown = shown, seed: int = 0, model: str = "one", steps: Any = LADDER, source: str = "data"
    ) -> Observed:
        asked = StripeReader(sha256=model)
        return observing.observe_once(known, asked, lambda _: [], split, LOSSES, seed, steps, source)

    first, again = ask(), ask()
    assert measured == [0]
    for name in ("margins", "labels", "backend", "came", "truth"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.losses == again.losses
    ask(seed=1)
    ask(replace(shown, labels=shown.labels + 1))
    ask(replace(shown, images=images + 1))
    ask(replace(shown, ids=tuple("b" * 50)))
    assert measured == [0, 1, 0, 0, 0]
    ask(model="other")
    ask(source="other data")
    ask(steps=[Step(50, 2)])
    assert measured == [0, 1, 0, 0, 0, 0, 0, 0]
    for path in (tmp_path / "edgesight" / "observed").iterdir():
        path.write_bytes(path.read_bytes()[:-100])  # as a crash or a full disk leaves it
    ask()
    assert measured == [0, 1, 0, 0, 0, 0, 0, 0, 0]
