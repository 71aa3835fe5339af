"""What an edge counts of its answers is what it answered, over its doors and without them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.applications.applications import Application, Applications
from edgesight.host.audits import Auditing, Audits
from edgesight.host.cascade import Cascade
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import FabricError
from edgesight.host.images import Picture
from edgesight.host.link.datagrams import Status
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.measures import Measure, Spread
from edgesight.host.package import Package
from tests.host.by_hand import FakeFabric, calibration, package, random_images, watched


class Now(FakeFabric):
    """A fabric that fails from the third run on."""

    runs = 0

    def run(self, images: npt.NDArray[np.uint8], sets: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
        self.runs += 1
        if self.runs > 2:
            raise FabricError("it fails: reset it")
        return super().run(images, sets)


class Never:
    """A data centre that says nothing."""

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class EverySecond:
    """A data centre that answers every other request, over a link that loses more than was calibrated for."""

    asked = 0

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        self.asked += 1
        if self.asked % 2 == 0:
            raise NoAnswer("it is away")
        return Offloaded(1, Status.ANSWERED, 3, service_us=2_000, loss=0.1, coarse=True)


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", calibration())


def by_name(measures: Sequence[Measure]) -> dict[str, Measure]:
    found = {one.name: one for one in measures}
    assert len(found) == len(measures)
    for one in measures:
        assert all(len(key) == len(one.labels) for key in one.values)
    return found


def test_all_that_was_answered_is_counted(made: Package) -> None:
    async def test() -> None:
        cascade = Cascade(Now(made), calibration(), EverySecond())
        async with Edge(cascade) as edge:
            pictures = [Picture(image, ()) for image in random_images(6)]
            low, high = edge.target(0.8), edge.target(0.95)
            first = await asyncio.gather(*(edge.ask(one, low, 1.0) for one in pictures[:4]))
            second = await asyncio.gather(*(edge.ask(one, high, 1.0) for one in pictures[4:]))
            with pytest.raises(FabricError):
                await edge.ask(pictures[0], low, 1.0)
            answers = [*first, *second]
            found = by_name(edge.measures())
            stages = Counter((f"{one.accuracy_target:g}", one.stage) for one in answers)
            assert found["answers"].values == stages
            assert sum(stages.values()) == 6
            assert found["answers_degraded"].values["0.95",] == 1
            assert found["answers_failed"].values == {(): 1}
            assert found["answers_not_guaranteed"].values == {(): 2}
            assert found["offloads"].values == {("answered",): 1, ("unanswered",): 1, ("not_sent",): 0}
            assert found["offloads_coarse"].values == {(): 1}
            assert found["link_loss_ratio"].values == {(): 0.1}
            legs = found["leg_seconds"].values
            for name in ("fabric", "link", "service"):
                spread = legs[name, "measured"]
                seconds = [leg.milliseconds / 1e3 for one in answers for leg in one.legs if leg.name == name]
                assert isinstance(spread, Spread)
                assert sum(spread.counts) == len(seconds)
                assert spread.sum == pytest.approx(sum(seconds))
            runs = found["fabric_run_pictures"].values[()]
            assert isinstance(runs, Spread)
            assert (sum(runs.counts), runs.sum) == (2, 6)
            assert found["waiting"].values == {(): 0}
            await edge.swap(calibration())
            assert by_name(edge.measures())["swaps"].values == {(): 1}
        cascade.close()

    asyncio.run(test())


def test_applications_are_told_apart_and_audits_with_them(made: Package, tmp_path: Path) -> None:
    plain, known = calibration(), watched()

    async def test() -> None:
        chosen = Audits(Auditing(tmp_path / "audits", 1.0), known, made.kernel.classes)
        audited = Cascade(FakeFabric(made), known, EverySecond(), audits=chosen)
        other = Cascade(FakeFabric(made), plain, None)
        async with Edge(audited) as one, Edge(other) as two:
            for image in random_images(3):
                await one.ask(Picture(image, ()), one.target(0.9), 1.0)
                await audited.audited()
            await two.ask(Picture(random_images(1)[0], ()), two.target(0.8), 1.0)
            found = by_name(Applications({"a": Application(one), "b": Application(two)}).measures())
            assert found["answers"].values == {("a", "0.9", "stage1"): 3, ("b", "0.8", "stage0"): 1}
            assert found["audits"].labels == ("application", "target", "agreed")
            assert sum(float(count) for count in found["audits"].values.values() if not isinstance(count, Spread)) == 0
            assert found["audits_unanswered"].values == {
                ("a",): 3
            }  # one was, and two came over a link worse than calibrated
            calibrated = {target.accuracy: target.agreement for target in known.targets}
            assert found["audit_bound"].values == {
                ("a", f"{accuracy:g}"): agreement.lower_bound
                for accuracy, agreement in calibrated.items()
                if agreement is not None
            }
            assert "offloads" not in by_name(two.measures())  # no data centre was named
            assert found["audit_alarm"].values == {
                (
                    "a",
                    target,
                ): 0.0
                for target in ("0.8", "0.9", "0.95")
            }
        audited.close()
        other.close()

    asyncio.run(test())


def test_what_nobody_waits_for_any_more_is_counted_as_taken_back(made: Package) -> None:
    async def test() -> None:
        cascade = Cascade(FakeFabric(made), calibration(), Never())
        async with Edge(cascade) as edge:
            looked = asyncio.Event()
            asking = asyncio.create_task(
                edge.ask(Picture(random_images(1)[0], ()), edge.target(0.95), 9.0, looked=lambda _: looked.set())
            )
            await looked.wait()
            for _ in range(5):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            for _ in range(5):
                await asyncio.sleep(0)
            found = by_name(edge.measures())
            assert found["offloads_cancelled"].values == {(): 1}
            assert set(found["offloads"].values.values()) == {0}
        cascade.close()

    asyncio.run(test())
