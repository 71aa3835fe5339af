"""Hedging keeps to its budget, asks early only where that helps, and a sure answer takes the request back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.service import Service
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import FabricError, Images, Records
from edgesight.host.hedge import HedgeError, Hedging
from edgesight.host.images import Picture
from edgesight.host.kernel import Target
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import LinkError, Status
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import Offloaded
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import Server
from edgesight.host.package import Package
from edgesight.sim.link.trust import make_trust
from tests.host.by_hand import FakeFabric, answers_of, calibration, clear_images, package, random_images
from tests.host.offloading import SumModel, expected
from tests.waiting import until

ON_EDGE, MIDDLE, OFFLOADED = calibration().targets  # answered by stage 0, stage 1 and the data centre
T = TypeVar("T")


def learnt(budget: float = 0.5, fabric: float = 0.040, offload: float = 0.050) -> Hedging:
    """Hedging that has seen `OFFLOADED` images, with a full bucket."""
    hedging = Hedging(budget)
    for _ in range(30):
        hedging.requested()
        hedging.looked(OFFLOADED, fabric, unsure=True, hedged=False)
        hedging.replied(offload, wait=0.0)
    return hedging


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0.0, 0.9),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.001, 0.2), st.floats(0.0, 0.05)), max_size=400),
)
def test_extra_requests_never_exceed_the_budget(budget: float, images: list[tuple[bool, bool, float, float]]) -> None:
    hedging = Hedging(budget)
    open_hedges: list[bool] = []  # unsure or not; the fabric's answers come late, to strain the bucket
    for unsure, settle, took, wait in images:
        hedged = hedging.hedge(OFFLOADED, 0.1)
        if hedged:
            open_hedges.append(unsure)
        if hedged or unsure:
            hedging.requested()
            hedging.replied(took, wait)
        if not hedged:
            hedging.looked(OFFLOADED, took, unsure, hedged=False)
        while open_hedges and settle:
            hedging.looked(OFFLOADED, took, open_hedges.pop(), hedged=True)
        assert hedging.extra <= budget * hedging.requests + 1e-6
    for unsure in open_hedges:
        hedging.looked(OFFLOADED, 0.1, unsure, hedged=True)
    assert hedging.extra <= budget * hedging.requests + 1e-6


@pytest.mark.parametrize(
    ("deadline", "hedged"),
    [
        (0.200, False),  # time for both, one after the other
        (0.085, True),  # only for the slower of the two
        (0.045, False),  # for neither: an early request would come too late as well
    ],
)
def test_an_image_is_hedged_when_time_is_too_short_for_both_legs(deadline: float, hedged: bool) -> None:
    assert learnt().hedge(OFFLOADED, deadline) == hedged


def test_one_slow_offload_in_fifty_is_reason_enough() -> None:
    hedging = learnt()
    for number in range(100):
        hedging.replied(0.150 if number % 50 == 0 else 0.050, 0.0)
    assert hedging.hedge(OFFLOADED, 0.120)
    assert not hedging.hedge(OFFLOADED, 0.200)


def test_nothing_is_hedged_before_anything_is_known() -> None:
    hedging = Hedging(0.5)
    for _ in range(7):
        assert not hedging.hedge(OFFLOADED, 0.085)
        hedging.requested()
        hedging.looked(OFFLOADED, 0.040, unsure=True, hedged=False)
        hedging.replied(0.050, 0.0)


def test_the_offload_share_predicts_and_recent_images_correct_it() -> None:
    hedging = learnt()
    assert hedging.predicted(OFFLOADED) == 1.0
    assert hedging.predicted(ON_EDGE) == 0.0  # the calibration's
    assert not hedging.hedge(ON_EDGE, 0.085)
    for _ in range(8):  # a hard scene
        hedging.looked(ON_EDGE, 0.040, unsure=True, hedged=False)
    assert hedging.hedge(ON_EDGE, 0.085)
    for _ in range(8):
        hedging.looked(ON_EDGE, 0.040, unsure=False, hedged=False)
    assert not hedging.hedge(ON_EDGE, 0.085)


def test_pressure_at_the_data_centre_turns_hedging_off_until_it_is_over() -> None:
    hedging = learnt()
    for _ in range(5):
        hedging.replied(0.050, wait=0.080)
    assert hedging.pressed
    assert not hedging.hedge(OFFLOADED, 0.085)
    for _ in range(20):
        hedging.replied(0.050, wait=0.0)
    assert hedging.hedge(OFFLOADED, 0.085)
    hedging.unanswered(0.020, within=0.020)  # it had too little time, which is nobody's fault
    assert hedging.hedge(OFFLOADED, 0.085)
    for _ in range(3):
        hedging.unanswered(0.001, within=0.085)  # there is no connection
    assert not hedging.hedge(OFFLOADED, 0.085)


def test_pressure_is_tried_again_where_no_other_request_can_tell() -> None:
    """Where the deadline is too short for both legs, none but a hedge is answered; the data centre was away once."""
    hedging = learnt()
    for _ in range(5):
        hedging.unanswered(0.0, 0.085)
    tried = 0
    while not hedging.hedge(OFFLOADED, 0.085):
        hedging.requested()
        hedging.looked(OFFLOADED, 0.040, unsure=True, hedged=False)
        hedging.unanswered(0.045, 0.045)  # what the fabric's leg left
        tried += 1
        assert tried < 200
    assert tried > 20  # it is the exception


def test_the_budget_runs_out_and_needed_hedges_cost_nothing() -> None:
    hedging = learnt(budget=0.1)  # 30 requests have earned 3 tokens
    assert [hedging.hedge(OFFLOADED, 0.085) for _ in range(5)] == [True, True, True, False, False]
    hedging.looked(OFFLOADED, 0.040, unsure=True, hedged=True)
    assert hedging.hedge(OFFLOADED, 0.085)
    assert not hedging.hedge(OFFLOADED, 0.085)
    assert not learnt(budget=0.0).hedge(OFFLOADED, 0.085)


@pytest.mark.parametrize("budget", [-0.1, 1.0, float("nan")])
def test_a_budget_that_cannot_be_is_refused(budget: float) -> None:
    with pytest.raises(HedgeError, match="expected a share of requests, from 0 to below 1"):
        Hedging(budget)


class SlowFabric(FakeFabric):
    """Answers when it is let, and under any target as under `rules`, of which hedging knows nothing."""

    def __init__(self, made: Package, rules: Target) -> None:
        super().__init__(made)
        self.may_answer = threading.Event()
        self.broken = False
        self._rules = rules

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        assert self.may_answer.wait(20)
        if self.broken:
            raise FabricError("the fabric broke")
        return super().run(images, np.full_like(sets, self._rules.set_index))


class PatientOffload:
    """Answers when it is let, and notes who came and who was taken back."""

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.may_answer = asyncio.Event()
        self.error: LinkError | None = None

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        self.asked += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Offloaded(1, Status.ANSWERED, 3, service_us=2_500)


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 60)

    return asyncio.run(limited())


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", calibration())


async def until_asked(offload: PatientOffload) -> None:
    await until(lambda: offload.asked)


@pytest.mark.parametrize("unsure", [False, True])
def test_a_hedged_request_goes_with_the_fabric_and_only_an_unsure_answer_keeps_it(made: Package, unsure: bool) -> None:
    async def test() -> None:
        fabric, offload, hedging = SlowFabric(made, OFFLOADED if unsure else ON_EDGE), PatientOffload(), learnt()
        cascade = Cascade(fabric, calibration(), offload, hedging=hedging)
        async with Edge(cascade) as edge:
            hedging.looked(OFFLOADED, 5.0, unsure=True, hedged=False)  # so that 5.01 s are too short for both
            asking = asyncio.create_task(edge.ask(Picture(random_images(1)[0], ()), OFFLOADED, 5.01))
            await until_asked(offload)
            assert not asking.done()
            fabric.may_answer.set()
            if unsure:
                await until(lambda: hedging._tokens >= 3.0)  # given back once the fabric has answered
                offload.may_answer.set()
            answer: Answer = await asking
            assert (offload.asked, hedging.requests, hedging.hedges) == (1, 31, 1)
            await asyncio.sleep(0)
            assert (offload.cancelled, hedging.extra) == ((0, 0) if unsure else (1, 1))
            assert (answer.stage, answer.hedged, answer.degraded) == ("datacenter" if unsure else "stage0", True, False)
            legs = {leg.name: leg.milliseconds for leg in answer.legs}
            assert answer.milliseconds == max(legs["fabric"], legs.get("link", 0.0) + legs.get("service", 0.0))
        cascade.close()

    run(test())


def test_an_early_request_that_fails_degrades_an_unsure_answer_and_no_other_is_made(made: Package) -> None:
    async def test() -> None:
        fabric, offload, hedging = SlowFabric(made, OFFLOADED), PatientOffload(), learnt()
        fabric.may_answer.set()
        offload.may_answer.set()
        offload.error = LinkError("the link is down")
        cascade = Cascade(fabric, calibration(), offload, hedging=hedging)
        hedging.looked(OFFLOADED, 5.0, unsure=True, hedged=False)
        (answer,) = await answers_of(cascade, random_images(1), [OFFLOADED], [5.01])
        assert (answer.degraded, answer.guaranteed, answer.hedged) == (True, False, True)
        assert (answer.reason, offload.asked) == ("the link is down", 1)
        cascade.close()

    run(test())


def test_a_broken_fabric_takes_early_requests_back(made: Package) -> None:
    async def test() -> None:
        fabric, offload, hedging = SlowFabric(made, OFFLOADED), PatientOffload(), learnt()
        fabric.broken = True
        cascade = Cascade(fabric, calibration(), offload, hedging=hedging)
        async with Edge(cascade) as edge:
            hedging.looked(OFFLOADED, 5.0, unsure=True, hedged=False)
            asking = asyncio.create_task(edge.ask(Picture(random_images(1)[0], ()), OFFLOADED, 5.01))
            await until_asked(offload)
            fabric.may_answer.set()
            with pytest.raises(FabricError, match="broke"):
                await asking
            await asyncio.sleep(0)
            assert (offload.cancelled, hedging.extra) == (1, 1)
        cascade.close()

    run(test())


class GatedModel(SumModel):
    """A model that works when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = threading.Event()
        self.may_work = threading.Event()

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.busy.set()
        assert self.may_work.wait(20)
        return super().run(images)


def test_a_sure_answer_frees_the_place_at_the_data_centre(made: Package, tmp_path: Path) -> None:
    """Over real QUIC: the cancelled request is never worked on."""

    async def test() -> None:
        trust, model = make_trust(tmp_path), GatedModel()
        service = Service(model)
        with contextlib.closing(Authority(trust.datacenter)) as authority:
            configuration = authority.configuration(IDLE_TIMEOUT)
            server = Server(configuration, authority, service.served, service.received, service.gone)
            client = OffloadClient(*await server.listen("127.0.0.1", 0), client_keys(trust.edge, IDLE_TIMEOUT))
            serving = asyncio.create_task(service.run())
            await client.wait_connected(10)
            fabric, hedging = SlowFabric(made, ON_EDGE), learnt()
            cascade = Cascade(fabric, calibration(), client, hedging=hedging)
            hedging.looked(OFFLOADED, 19.9, unsure=True, hedged=False)
            first, other = clear_images(2)
            before = asyncio.create_task(client.offload(first, 20.0))
            assert await asyncio.to_thread(model.busy.wait, 10)  # the model is at work on another request
            asking = asyncio.create_task(answers_of(cascade, other[None], [OFFLOADED], [19.92]))
            await until(lambda: service.open_requests >= 2)
            fabric.may_answer.set()
            (answer,) = await asking
            assert (answer.stage, answer.hedged) == ("stage0", True)
            await until(lambda: service.open_requests <= 1)
            model.may_work.set()
            assert (await before).label == expected(first)
            assert model.batches == [1]
            assert service.open_requests == 0
            await client.close()
            serving.cancel()
            server.close()
            cascade.close()

    run(test())


def test_an_outage_says_nothing_of_how_long_an_offload_takes() -> None:
    hedging = learnt()
    for _ in range(200):
        hedging.unanswered(0.0, 0.085)  # no connection
    for _ in range(60):
        hedging.replied(0.050, 0.0)
    assert hedging.hedge(OFFLOADED, 0.085)
