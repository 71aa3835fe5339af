"""Every image gets an answer: from a stage, from the data centre, or from the last stage marked degraded."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from edgesight.cli.show import describe_answer
from edgesight.host.cascade import Cascade, TargetRefused
from edgesight.host.fabric.base import FabricError, Images, Records
from edgesight.host.fabric.csim import decide
from edgesight.host.link.datagrams import LinkError, Status
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.package import Package
from tests.host.by_hand import FakeFabric, answers_of, ask, calibration, package, random_images, sums


class FakeOffload:
    """A data centre that says `label` at once, or raises."""

    def __init__(
        self, label: int = 3, error: Exception | None = None, loss: float = 0.01, coarse: bool = False
    ) -> None:
        self.within: list[float] = []
        self.accuracies: list[float] = []
        self._label, self._error, self._loss, self._coarse = label, error, loss, coarse

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        self.within.append(within)
        self.accuracies.append(accuracy)
        if self._error is not None:
            raise self._error
        return Offloaded(1, Status.ANSWERED, self._label, service_us=2_500, loss=self._loss, coarse=self._coarse)


class TardyOffload(FakeOffload):
    """A data centre whose answer comes, but late."""

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        await asyncio.sleep(within)  # sleeps: what this data centre takes
        return await super().offload(image, within, accuracy)


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", calibration())


@pytest.mark.parametrize(("field", "value", "said"), [("label", 4, "class 4 of stage 0"), ("stage", 2, "of stage 2")])
def test_a_fabric_that_says_what_the_kernel_does_not_have_is_refused(
    made: Package, field: str, value: int, said: str
) -> None:
    class Other(FakeFabric):
        def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
            records = super().run(images, sets)
            records[field] = value
            return records

    with pytest.raises(FabricError, match=f"{said}.* does not have: load this package's bitstream"):
        ask(Cascade(Other(made), calibration(), None), 0.8)


def test_the_cheapest_target_that_is_enough_is_chosen(made: Package) -> None:
    cascade = Cascade(FakeFabric(made), calibration(), None)
    for asked, offered in ((0.0, 0.8), (0.8, 0.8), (0.801, 0.9), (0.95, 0.95)):
        assert cascade.target(asked).accuracy == offered


@pytest.mark.parametrize("asked", [0.951, 1.0, math.nan])
def test_a_target_above_all_is_refused_with_the_best(made: Package, asked: float) -> None:
    with pytest.raises(TargetRefused, match=r"best target is 0\.95; of 0\.99, .* only 0\.9600") as caught:
        Cascade(FakeFabric(made), calibration(), None).target(asked)
    assert caught.value.best == 0.95


def test_without_any_target_all_is_refused(made: Package) -> None:
    empty = calibration().model_copy(update={"targets": []})
    with pytest.raises(TargetRefused, match="offers no accuracy target") as caught:
        Cascade(FakeFabric(made), empty, None).target(0.1)
    assert caught.value.best is None


def test_each_target_is_answered_where_its_thresholds_say(made: Package) -> None:
    images = random_images(4)
    for accuracy, stage, labels in (
        (0.8, "stage0", sums(images, 0).argmax(axis=1)),
        (0.9, "stage1", sums(images, 1).argmax(axis=1)),
        (0.95, "datacenter", np.full(4, 3)),
    ):
        answers = ask(Cascade(FakeFabric(made), calibration(), FakeOffload()), accuracy)
        assert [answer.label for answer in answers] == labels.tolist()
        for answer in answers:
            assert (answer.stage, answer.accuracy_target, answer.degraded, answer.reason) == (
                stage,
                accuracy,
                False,
                None,
            )
            assert answer.class_name == f"class {answer.label}"
            assert (answer.guaranteed, answer.hedged) == (True, False)


def test_confidence_is_read_from_the_targets_curve(made: Package) -> None:
    images = random_images(50)
    target = calibration().targets[0]
    cascade = Cascade(FakeFabric(made), calibration(), None)
    answers = asyncio.run(answers_of(cascade, images, [target] * 50, [1.0] * 50))
    margins = decide(sums(images, 0))[1]
    assert [answer.confidence for answer in answers] == [0.7 if margin >= 100 else 0.5 for margin in margins]
    assert {0.5, 0.7} == {answer.confidence for answer in answers}
    assert ask(Cascade(FakeFabric(made), calibration(), FakeOffload()), 0.95)[0].confidence == 0.96


def test_legs_add_up_and_say_how_they_were_obtained(made: Package) -> None:
    answer = ask(Cascade(FakeFabric(made, simulated=True), calibration(), FakeOffload()), 0.95)[0]
    assert [(leg.name, leg.obtained) for leg in answer.legs] == [
        ("fabric", "simulated"),
        ("link", "measured"),
        ("service", "measured"),
    ]
    assert answer.legs[0].milliseconds == 10.0  # 1,000,000 cycles at 100 MHz
    assert answer.legs[2].milliseconds == 2.5
    assert ask(Cascade(FakeFabric(made), calibration(), None), 0.8)[0].legs[0].obtained == "measured"


def test_the_fabrics_leg_counts_for_the_deadline(made: Package) -> None:
    offload = FakeOffload()
    cascade = Cascade(FakeFabric(made, simulated=True), calibration(), offload)
    ask(cascade, 0.95, deadline=0.05, count=1)
    assert offload.within == [pytest.approx(0.04)]
    assert offload.accuracies == [0.95]
    (late,) = ask(cascade, 0.95, deadline=0.009, count=1)
    assert (late.degraded, late.stage, late.reason) == (True, "stage1", "the deadline passed on the fabric")
    assert len(offload.within) == 1


def test_an_answer_after_its_deadline_says_so_whoever_gave_it(made: Package) -> None:
    cascade = Cascade(FakeFabric(made, simulated=True), calibration(), FakeOffload())
    for accuracy, stage in ((0.8, "stage0"), (0.9, "stage1")):
        (late,) = ask(cascade, accuracy, deadline=1e-6, count=1)
        assert (late.stage, late.degraded, late.guaranteed) == (stage, True, False)
        assert late.reason == "the deadline passed on the fabric"
    (slow,) = ask(Cascade(FakeFabric(made), calibration(), TardyOffload()), 0.95, deadline=0.2, count=1)
    assert (slow.stage, slow.degraded) == ("stage1", True)
    assert slow.reason == "the data centre's answer came after the deadline"


def test_a_guarantee_names_the_pictures_that_it_holds_for(made: Package) -> None:
    condition = f"pictures like those of the calibration split of {made.kernel.dataset}"
    for answer in ask(Cascade(FakeFabric(made), calibration(), FakeOffload()), 0.95):
        assert (answer.guaranteed, answer.guaranteed_for) == (True, condition)
        printed = io.StringIO()
        describe_answer(answer, Console(file=printed, width=200))
        assert f"accuracy target 0.95 guaranteed for {condition}" in printed.getvalue()
    for offload in (None, FakeOffload(loss=0.6), FakeOffload(coarse=True)):
        for answer in ask(Cascade(FakeFabric(made), calibration(), offload), 0.95):
            assert (answer.guaranteed, answer.guaranteed_for) == (False, None)


@pytest.mark.parametrize(
    ("offload", "reason"),
    [
        (lambda: None, "no data centre was named"),
        (lambda: FakeOffload(error=NoAnswer("the deadline passed")), "the deadline passed"),
        (lambda: FakeOffload(error=NoAnswer("no data centre at h:1", asked=False)), "no data centre at h:1"),
        (lambda: FakeOffload(error=LinkError("the JPEG is too large")), "the JPEG is too large"),
        (lambda: FakeOffload(label=4), "the data centre said class 4, which this kernel does not have"),
    ],
)
def test_without_a_data_centres_answer_the_last_stages_stands_in_marked(
    made: Package, offload: Callable[[], FakeOffload | None], reason: str
) -> None:
    answers = ask(Cascade(FakeFabric(made), calibration(), offload()), 0.95)
    assert [answer.label for answer in answers] == sums(random_images(4), 1).argmax(axis=1).tolist()
    for answer in answers:
        assert (answer.stage, answer.degraded, answer.reason) == ("stage1", True, reason)
        assert not answer.guaranteed
        assert answer.confidence in (0.6, 0.8)
        legs = ["fabric", "link"] if reason == "the deadline passed" else ["fabric"]  # where nothing was sent: no link
        assert [leg.name for leg in answer.legs] == legs


@pytest.mark.parametrize(
    ("loss", "confidence", "reason"),
    [
        (0.0, 0.97, None),
        (0.01, 0.96, None),
        (0.05, 0.96, None),
        (0.12, 0.9, "target not guaranteed: 12 % of packets lost, calibrated up to 5 %"),
        (0.6, 0.9, "target not guaranteed: 60 % of packets lost, calibrated up to 5 %"),
    ],
)
def test_an_answer_over_a_worse_link_than_calibrated_says_so(
    made: Package, loss: float, confidence: float, reason: str | None
) -> None:
    cascade = Cascade(FakeFabric(made), calibration(), FakeOffload(loss=loss))
    for answer in ask(cascade, 0.95):
        assert (answer.stage, answer.label, answer.degraded) == ("datacenter", 3, False)
        assert (answer.guaranteed, answer.reason, answer.confidence) == (reason is None, reason, confidence)
    assert all(answer.guaranteed for answer in ask(cascade, 0.8))  # the link had no part in those


def test_an_answer_to_a_coarser_image_than_calibrated_says_so(made: Package) -> None:
    for answer in ask(Cascade(FakeFabric(made), calibration(), FakeOffload(coarse=True)), 0.95):
        assert (answer.guaranteed, answer.degraded) == (False, False)
        assert answer.reason is not None
        assert "more coarsely" in answer.reason


def test_a_record_with_an_error_is_no_answer(made: Package) -> None:
    with pytest.raises(FabricError, match="error 6"):
        ask(Cascade(FakeFabric(made, error=6), calibration(), None), 0.8)


def test_targets_share_one_run_of_the_fabric(made: Package) -> None:
    cascade = Cascade(FakeFabric(made), calibration(), FakeOffload())
    targets = [cascade.target(accuracy) for accuracy in (0.8, 0.95, 0.9)]
    answers = asyncio.run(answers_of(cascade, random_images(3), targets, [1.0] * 3))
    assert [answer.stage for answer in answers] == ["stage0", "datacenter", "stage1"]
